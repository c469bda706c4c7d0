//! The codes of faults: those in the host's sources, and those that the reference page explains.
//! Explains none; people write the page.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::failure::{CHECK, Failure};
use crate::house_rules;
use crate::workspace::Workspace;

/// The page that explains every code, one per row.
const PAGE: &str = "docs/reference/exit-codes.md";

/// Letters a code may begin with.
const LETTERS: &str = "CDENPRU";

/// Compares sources and page.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut used = BTreeMap::new();
    for file in house_rules::files_below(&workspace.root.join("host/src"))? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for code in quoted_codes(&text) {
            used.entry(code).or_insert_with(|| file.clone());
        }
    }
    let page = fs::read_to_string(workspace.root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let explained = explained_codes(&page);

    let mut complaints = Vec::new();
    for (code, file) in used.iter().filter(|(code, _)| !explained.contains(code)) {
        complaints.push(format!("{code} of {} is not explained in {PAGE}", file.display()));
    }
    for code in explained.iter().filter(|code| !used.contains_key(*code)) {
        complaints.push(format!("{code} of {PAGE} is in no source"));
    }
    if let Some(code) = explained.iter().find(|code| explained.iter().filter(|other| other == code).count() > 1) {
        complaints.push(format!("{code} is explained twice in {PAGE}"));
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 if used.is_empty() => Err(Failure::new(CHECK, "no code was found in the sources").into()),
        0 => Ok(()),
        count => Err(Failure::new(CHECK, format!("{count} complaints")).into()),
    }
}

/// Every `"R001"` in a source.
fn quoted_codes(source: &str) -> Vec<String> {
    source.split('"').filter(|text| is_code(text)).map(str::to_string).collect()
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
    fn rows_explain_codes() {
        let page = "| code | fault |\n|---|---|\n| `R001` | unknown label |\n| 4 | registry |\nsee `R002`\n";
        assert_eq!(explained_codes(page), ["R001"]);
    }
}
