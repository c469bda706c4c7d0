//! The comparison as one page, without anything from elsewhere: no script, no font, no picture that is not in it.
//! Computes nothing.

use std::fmt::Write;

use super::{
    chart::{Chart, stroke},
    comparison::Comparison,
    curves::{self, Curve},
    remarks::Weight,
    tables::{self, Table},
    told::{SEED, short},
};
use crate::metrics::report::escaped;

const STYLE: &str = include_str!("page.css");

/// How every page begins; what does not is no page of this program.
pub const BEGINNING: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
     <meta name=\"generator\" content=\"host compare\">\n";

/// The page.
pub fn html(comparison: &Comparison) -> String {
    let names: Vec<String> = comparison.rows.iter().map(|row| row.arm.name.clone()).collect();
    let title = escaped(&format!("Comparison of {}", listed(&names)));
    let mut page = format!(
        "{BEGINNING}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let _ = writeln!(page, "<p class=\"lead\">{}</p>", escaped(&lead(comparison)));
    remarks(comparison, Weight::Warning, "Before you believe this", &mut page);
    remarks(comparison, Weight::Note, "Good to know", &mut page);
    page.push_str("<h2>Arms</h2>\n");
    table("arms", &tables::arms(comparison), true, &mut page);
    let _ = writeln!(page, "<p class=\"remark\">{}</p>", escaped(&tables_caption(comparison)));
    tests(comparison, &mut page);
    page.push_str("<h2>Curves</h2>\n");
    figure("validation", "Validation", "bits per byte", &curves::validation(comparison), VALIDATION, &mut page);
    figure("training", "Training", "loss (nats per token)", &curves::training(comparison), TRAINING, &mut page);
    section("differing", "What differs, and where it came from", &tables::knobs(comparison), &mut page);
    section("groups", "Parameter groups", &tables::groups(comparison), &mut page);
    section("runs", "Runs", &tables::runs(comparison), &mut page);
    page.push_str("</body>\n</html>\n");
    page
}

const VALIDATION: &str = "Evaluations during training read some windows of the validation text; the last one reads all of it and is the \
    result.";

const TRAINING: &str = "Smoothed within each run.";

/// Of every figure.
const READING: &str = "Line: mean over the seeds that have finished. Band: one sample standard deviation. The first steps may leave the \
    picture.";

/// What the page is about, in a sentence or two.
fn lead(comparison: &Comparison) -> String {
    let runs = &comparison.runs;
    let finished = runs.iter().filter(|run| run.bpb().is_some()).count();
    let data = runs.first().map_or("", |run| run.record.data.as_str());
    let data = data.split_once(" sha256=").map_or(data, |(described, _)| described);
    format!("{finished} of {} runs have finished. Text: {data}.", runs.len())
}

/// How the numbers of the arms are meant.
fn tables_caption(comparison: &Comparison) -> String {
    let mut text = "Final BPB: bits per byte of the whole validation text at the end, mean over the seeds that have finished; std: sample \
                    standard deviation. Lowest first."
        .to_string();
    if let Some(target) = comparison.target {
        let which = if target.given { "as given" } else { "the highest result of all runs that have finished" };
        let _ = write!(
            text,
            " Target: {:.4}, {which}; steps are those of the first evaluation at or below it, time is spent in steps alone.",
            target.bpb
        );
    }
    text
}

fn tests(comparison: &Comparison, page: &mut String) {
    if comparison.tests.is_empty() {
        return;
    }
    let (shown, hidden) = tables::shown_tests(comparison);
    page.push_str("<h2>Tests between arms</h2>\n");
    table("tests", &tables::tests(comparison, &shown), false, page);
    if hidden > 0 {
        let all: Vec<_> = comparison.tests.iter().collect();
        let _ = writeln!(page, "<details><summary>All {} pairs</summary>", all.len());
        table("all-tests", &tables::tests(comparison, &all), false, page);
        page.push_str("</details>\n");
    }
    let keys: Vec<String> = comparison.paired_by.iter().map(|key| short(key).to_string()).collect();
    let by = if keys == [SEED] || keys.is_empty() { SEED.to_string() } else { keys.join(", ") };
    let _ = writeln!(
        page,
        "<p class=\"remark\">Two-sided paired t-tests of final BPB, first arm minus the other, paired by {}. p (Holm) is corrected \
         for the number of tests; a verdict needs p (Holm) below 0.05. Intervals are not corrected.</p>",
        escaped(&by)
    );
}

fn remarks(comparison: &Comparison, weight: Weight, title: &str, page: &mut String) {
    let mut remarks = comparison.remarks.iter().filter(|remark| remark.weight == weight).peekable();
    if remarks.peek().is_none() {
        return;
    }
    let role = if weight == Weight::Warning { "alert" } else { "note" };
    let _ = writeln!(page, "<section class=\"remarks {}\" role=\"{role}\">\n<h2>{title}</h2>\n<ul>", weight.name());
    for remark in remarks {
        let _ = writeln!(page, "<li data-about=\"{}\">{}</li>", remark.about, escaped(&remark.text));
    }
    page.push_str("</ul>\n</section>\n");
}

fn figure(id: &str, title: &str, unit: &str, curves: &[Curve], caption: &str, page: &mut String) {
    let Some(svg) = (Chart { id, title, unit, curves }).svg() else { return };
    let _ = writeln!(page, "<figure>\n<h3>{title}</h3>\n<ul class=\"legend\">");
    for (place, curve) in curves.iter().enumerate() {
        let _ = writeln!(page, "<li>{}{}</li>", swatch(place), escaped(&curve.name));
    }
    let open = curves.iter().any(|curve| !curve.unfinished.is_empty());
    let open = if open { " Dotted, ending in a cross: a run that has not finished, on its own." } else { "" };
    let _ = writeln!(page, "</ul>\n{svg}\n<figcaption>{caption} {READING}{open}</figcaption>\n</figure>");
}

fn swatch(place: usize) -> String {
    let (colour, dash) = stroke(place);
    format!(
        "<svg class=\"swatch c{colour}\" viewBox=\"0 0 26 10\" aria-hidden=\"true\">\
         <line x1=\"0\" y1=\"5\" x2=\"26\" y2=\"5\" stroke-dasharray=\"{dash}\"/></svg>"
    )
}

fn section(id: &str, title: &str, rows: &Table, page: &mut String) {
    if !rows.rows.is_empty() {
        let _ = writeln!(page, "<h2>{title}</h2>");
        table(id, rows, false, page);
    }
}

/// A table; with `swatches` its rows are the arms and show their colours.
fn table(id: &str, table: &Table, swatches: bool, page: &mut String) {
    let _ = write!(page, "<div class=\"scroll\"><table id=\"{id}\">\n<thead><tr>");
    for column in &table.columns {
        let class = if column.numbers { " class=\"number\"" } else { "" };
        let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", escaped(&column.name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (place, row) in table.rows.iter().enumerate() {
        page.push_str("<tr>");
        for (at, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
            let class = match column.name.as_str() {
                _ if column.numbers => " class=\"number\"",
                name if name.contains("hash") || name.contains("bits") => " class=\"hash\"",
                "others" | "state" | "directory" | "origin" => " class=\"long\"",
                _ if at == 0 => " class=\"key\"",
                _ => "",
            };
            let swatch = if swatches && at == 0 { swatch(place) } else { String::new() };
            let _ = write!(page, "<td{class}>{swatch}{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// `a`; `a and b`; `a, b and c`; many are counted.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.clone(),
        [many @ .., last] if names.len() <= 4 => format!("{} and {last}", many.join(", ")),
        _ => format!("{} arms", names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_list_a_few_and_count_many() {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (all, text) in [
            (&["a"][..], "a"),
            (&["a", "b"], "a and b"),
            (&["a", "b", "c"], "a, b and c"),
            (&["a", "b", "c", "d", "e"], "5 arms"),
        ] {
            assert_eq!(listed(&names(all)), text);
        }
    }

    #[test]
    fn the_style_needs_nothing_from_elsewhere() {
        for foreign in ["@import", "url(", "http"] {
            assert!(!STYLE.contains(foreign), "{foreign}");
        }
    }
}
