//! `report.html`: one page, without anything from elsewhere, that says what ran and how it went.
//! Does not gather what it shows.

use std::fmt::Write;

/// A table with a head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows as long as the head.
    pub rows: Vec<Vec<String>>,
}

/// What the page shows, in its order. Empty parts are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What ran.
    pub title: String,
    /// Results: name and value.
    pub results: Vec<(String, String)>,
    /// The picture of the loss, as a whole SVG document.
    pub plot: Option<String>,
    /// Text that the model wrote.
    pub sample: Option<String>,
    /// Operations that were done or failed.
    pub operations: Table,
    /// Parameter groups.
    pub groups: Table,
    /// Settings: key, value, and where it came from.
    pub settings: Vec<[String; 3]>,
    /// Versions, hashes, libraries: name and value.
    pub facts: Vec<(String, String)>,
    /// The trace line.
    pub trace: String,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}\
td,th{padding:.15rem .8rem .15rem 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top;\
overflow-wrap:anywhere}pre{background:#f5f5f5;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}\
svg{max-width:100%;height:auto}";

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        section(&mut page, "Results", &pairs(&self.results));
        if let Some(svg) = &self.plot {
            // Inside a page the document's own declaration has no place.
            let svg = svg.find("<svg").map_or("", |at| &svg[at..]);
            section(&mut page, "Loss", svg);
        }
        section(&mut page, "Sample", &self.sample.as_deref().map_or(String::new(), verbatim));
        section(&mut page, "Operations", &table(&self.operations.head, &self.operations.rows));
        section(&mut page, "Parameter groups", &table(&self.groups.head, &self.groups.rows));
        section(&mut page, "Settings", &table(&["setting", "value", "source"], &self.settings));
        section(&mut page, "Made with", &pairs(&self.facts));
        section(&mut page, "Trace", &verbatim(&self.trace));
        page.push_str("</body>\n</html>\n");
        page
    }
}

fn section(page: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(page, "<h2>{title}</h2>\n{body}\n");
    }
}

fn pairs(pairs: &[(String, String)]) -> String {
    let rows: Vec<[&str; 2]> = pairs.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    table::<&str, _, _>(&[], &rows)
}

fn table<T: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>>(head: &[T], rows: &[R]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |cells: String| format!("<tr>{cells}</tr>\n");
    let mut body = String::from("<table>\n");
    if !head.is_empty() {
        body.push_str(&row(head.iter().map(|cell| format!("<th>{}</th>", escaped(cell.as_ref()))).collect()));
    }
    for cells in rows {
        body.push_str(&row(cells.as_ref().iter().map(|cell| format!("<td>{}</td>", escaped(cell.as_ref()))).collect()));
    }
    body.push_str("</table>");
    body
}

fn verbatim(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<pre>{}</pre>", escaped(text)) }
}

pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Forbidden in a page; a model's sample can hold any of them.
            control if control.is_control() && !matches!(control, '\n' | '\t') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_shown_and_nothing_is_taken_for_markup() {
        let report = Report {
            title: "lion & <co>".into(),
            results: vec![("val_bpb".into(), "1.7811".into())],
            plot: Some("<?xml version=\"1.0\"?><svg><circle/></svg>".into()),
            sample: Some("<script>alert('x')</script>\u{0}".into()),
            operations: Table { head: vec!["after step".into()], rows: vec![vec!["change_lr".into()]] },
            groups: Table { head: vec!["pattern".into()], rows: vec![vec!["*.weight".into()]] },
            settings: vec![["train.steps".into(), "10".into(), "file:a.toml:3".into()]],
            facts: vec![("libtorch".into(), "2".into())],
            trace: "[entrypoint-trace] seed=(1, src=flag)".into(),
        };
        let page = report.html();
        for part in [
            "<h1>lion &amp; &lt;co&gt;</h1>",
            "<tr><td>val_bpb</td><td>1.7811</td></tr>",
            "<svg><circle/></svg>",
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\u{fffd}",
            "<tr><th>after step</th></tr>\n<tr><td>change_lr</td></tr>",
            "<tr><th>pattern</th></tr>\n<tr><td>*.weight</td></tr>",
            "<tr><th>setting</th><th>value</th><th>source</th></tr>",
            "<td>file:a.toml:3</td>",
            "<pre>[entrypoint-trace] seed=(1, src=flag)</pre>",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        for absent in ["<script", "<?xml", "http:", "https:", "src=\"", "href="] {
            assert!(!page.contains(absent), "{absent}");
        }
    }

    #[test]
    fn empty_parts_are_left_out() {
        let page = Report { title: "t".into(), ..Report::default() }.html();
        assert!(!page.contains("<h2>") && !page.contains("<table>"));
    }
}
