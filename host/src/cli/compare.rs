//! `host compare`: prints what several runs say together, and writes a page of it.
//! Compares nothing; that is `compare/`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{compare_args::CompareFlags, stdout};
use crate::{
    compare::{
        self, Comparison, Question, arms, json, page,
        remarks::{Remark, Weight},
        tables::{self, Table},
    },
    fault::{Exit, Fault},
    run::{Output, Unfit, atomic},
};

/// `host compare`.
///
/// # Errors
/// Runs that cannot be read, and runs on different texts; D324 the page cannot be written, or would replace something
/// else.
pub fn compare(flags: &CompareFlags) -> anyhow::Result<Exit> {
    let place = flags.html.as_deref().map(page_at).transpose()?;
    let gathered = compare::gather(&flags.runs)?;
    let by = flags.by.as_ref().map(|name| arms::key_named(name, &gathered.runs)).transpose()?;
    let comparison = Comparison::of(gathered, &Question { by, target: flags.target })?;
    if let Some(path) = &place {
        let page = page::html(&comparison);
        atomic::write_file(path, page.as_bytes()).map_err(|error| unwritable(path, &error))?;
    }
    if flags.json {
        // JSON is read by programs; people shall see warnings all the same.
        let warnings = comparison.remarks.iter().filter(|remark| remark.weight == Weight::Warning);
        warnings.for_each(|warning| anstream::eprintln!("{}", line(warning)));
        stdout::print(&json::text(&comparison))?;
    } else {
        stdout::print_styled(&text(&comparison))?;
    }
    Ok(Exit::Ok)
}

/// Where the page is written: outside run directories, and over nothing but an earlier page.
fn page_at(path: &Path) -> Result<PathBuf, Fault> {
    let refused = |text: String, hint: &str| {
        Fault::new("D324", Exit::Data, text).at(format!("--html {}", path.display())).hint(hint)
    };
    let output = Output::at(path).map_err(|unfit| match unfit {
        Unfit::InRun(run) => {
            let text = format!("{} is a run directory, in which a run alone writes", run.display());
            refused(text, "write beside it")
        }
        Unfit::Unreachable(error) => unwritable(path, &error),
    })?;
    let is_page = |is_file: bool| is_file && begins_a_page(&output.path).is_ok_and(|begins| begins);
    match output.there {
        Some(there) if !is_page(there.is_file()) => {
            Err(refused("what is there already is no page of a comparison".into(), "give another name"))
        }
        _ => Ok(output.path),
    }
}

fn begins_a_page(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(page::BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == page::BEGINNING.as_bytes())
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new("D324", Exit::Data, "the page cannot be written")
        .at(path.display().to_string())
        .note("system", error.to_string())
        .hint("give a file in a folder that exists and can be written: `--html FILE`")
}

fn text(comparison: &Comparison) -> String {
    let mut text: String = comparison.remarks.iter().map(|remark| line(remark) + "\n").collect();
    let mut part = |heading: &str, table: &Table| {
        if !table.rows.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{heading}\n{}", aligned(table)));
        }
    };
    part("arms, lowest mean first", &tables::arms(comparison));
    let (shown, hidden) = tables::shown_tests(comparison);
    let more = match hidden {
        0 => String::new(),
        more => format!("; {more} pairs without the best arm are in --json and --html"),
    };
    let heading = format!("paired t-tests of final BPB, first arm minus the other{more}");
    part(&heading, &tables::tests(comparison, &shown));
    part("what differs, and where it came from", &tables::knobs(comparison));
    text
}

/// `warning: …`; what is in it may be of any colour where the terminal has colours.
fn line(remark: &Remark) -> String {
    let style = match remark.weight {
        Weight::Warning => anstyle::AnsiColor::Yellow.on_default().bold(),
        Weight::Note => anstyle::Style::new().bold(),
    };
    format!("{style}{}:{style:#} {}", remark.weight.name(), remark.text)
}

fn aligned(table: &Table) -> String {
    let head: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    stdout::table(&head, table.rows.clone())
}
