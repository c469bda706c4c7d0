//! The codes of faults: those in the host's sources, and those that the reference page explains.
//! Explains none; people write the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};

use crate::failure::{CHECK, Failure};
use crate::house_rules;
use crate::workspace::Workspace;

/// The page that explains every code, one per row.
const PAGE: &str = "docs/reference/exit-codes.md";

/// Codes that several rooms raise, each for the one fault that the page tells.
const SHARED: [&str; 3] = ["P002", "R001", "R014"];

/// Letters a code may begin with.
const LETTERS: &str = "CDEGNPRU";

/// Compares sources and page, and sees that a code means one thing: one room of the host has it, or it is [`SHARED`].
pub fn check(workspace: &Workspace) -> Result<()> {
    let sources = workspace.root.join("host/src");
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in house_rules::files_below(&sources)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(&sources).unwrap_or(&file).to_string_lossy().into_owned();
        if name.ends_with("tests.rs") {
            continue;
        }
        let room = name.split(['/', '.']).next().unwrap_or_default();
        for code in quoted_codes(&text) {
            rooms.entry(code).or_default().insert(room.to_string());
        }
    }
    let page = fs::read_to_string(workspace.root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let complaints = complaints(&rooms, &explained_codes(&page));
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 if rooms.is_empty() => Err(Failure::new(CHECK, "no code was found in the sources").into()),
        0 => Ok(()),
        count => Err(Failure::new(CHECK, format!("{count} complaints")).into()),
    }
}

fn complaints(rooms: &BTreeMap<String, BTreeSet<String>>, explained: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (code, rooms) in rooms {
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        if rooms.len() > 1 && !SHARED.contains(&code.as_str()) {
            complaints.push(format!("{code} means different things in {}", rooms.join(", ")));
        }
        match explained.iter().filter(|other| *other == code).count() {
            0 => complaints.push(format!("{code} of host/src/{} is not explained in {PAGE}", rooms[0])),
            1 => {}
            _ => complaints.push(format!("{code} is explained twice in {PAGE}")),
        }
    }
    let unused = explained.iter().filter(|code| !rooms.contains_key(*code));
    complaints.extend(unused.map(|code| format!("{code} of {PAGE} is in no source")));
    complaints
}

/// Every `"R001"` in a source, without its tests.
fn quoted_codes(source: &str) -> Vec<String> {
    let code = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.split('"').filter(|text| is_code(text)).map(str::to_string).collect()
}

/// Codes at the beginning of a table's rows: "| `R001` | …".
fn explained_codes(page: &str) -> Vec<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|text| is_code(text))
        .map(str::to_string)
        .collect()
}

fn is_code(text: &str) -> bool {
    text.len() == 4 && text.starts_with(|c| LETTERS.contains(c)) && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_letter_and_three_digits() {
        let source = "Fault::new(\"R001\", x).hint(\"R01\"); const A: &str = \"N010\"; \"X001\" \"R0010\" \"é01\"";
        assert_eq!(quoted_codes(source), ["R001", "N010"]);
    }

    #[test]
    fn codes_of_tests_do_not_count() {
        assert_eq!(quoted_codes("\"R001\"\n#[cfg(test)]\nmod tests { const X: &str = \"R002\"; }"), ["R001"]);
        assert_eq!(quoted_codes("#[cfg(test)]\nuse x;\nfn f() -> &str { \"R002\" }"), ["R002"]);
    }

    #[test]
    fn a_code_is_explained_once_and_belongs_to_one_room() {
        let rooms = |all: &[(&str, &[&str])]| {
            let rooms = |rooms: &[&str]| rooms.iter().map(|room| room.to_string()).collect();
            all.iter().map(|(code, all)| (code.to_string(), rooms(all))).collect::<BTreeMap<_, _>>()
        };
        let explained = ["D101".to_string(), "D102".to_string()];
        assert!(complaints(&rooms(&[("D101", &["run"]), ("D102", &["data"])]), &explained).is_empty());
        for (found, expected) in [
            (rooms(&[("D101", &["data", "run"]), ("D102", &["data"])]), "D101 means different things in data, run"),
            (rooms(&[("D101", &["run"])]), "D102 of docs/reference/exit-codes.md is in no source"),
            (rooms(&[("D101", &["run"]), ("D102", &["data"]), ("N001", &["train"])]), "N001 of host/src/train is not"),
        ] {
            let complaints = complaints(&found, &explained);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            assert!(complaints[0].starts_with(expected), "{complaints:?}");
        }
    }

    #[test]
    fn rows_explain_codes() {
        let page = "| code | fault |\n|---|---|\n| `R001` | unknown label |\n| 4 | registry |\nsee `R002`\n";
        assert_eq!(explained_codes(page), ["R001"]);
    }
}
