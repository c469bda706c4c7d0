//! The pages of `docs/reference` that are made from the code: command line, configuration, variables, optimizers.
//! Explains nothing by itself; `exit-codes.md` is written by people, and held to the code by tests.

mod cli;
mod environment;
mod optimizers;

use crate::{config::reference as configuration, fault::Faults, registry::Registry};

/// What every made page begins with.
pub const MADE: &str = "<!-- made by `cargo xtask docs`; do not edit -->\n\n";

/// Every page: its file's name and its text. The optimizers are those of the registry.
///
/// # Errors
/// All faults of the registry and of its plugins.
pub fn pages(registry: &Registry) -> Result<Vec<(&'static str, String)>, Faults> {
    let pages = [
        ("cli.md", cli::page()),
        ("configuration.md", configuration::page()),
        ("environment.md", environment::page()),
        ("optimizers.md", optimizers::page(registry)?),
    ];
    Ok(pages.map(|(name, text)| (name, format!("{MADE}{text}"))).to_vec())
}

/// Text inside a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::fault::Exit;

    const EXIT_CODES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/exit-codes.md");

    #[test]
    fn the_exit_codes_are_those_of_the_program() {
        let page = std::fs::read_to_string(EXIT_CODES).unwrap();
        let cell = |line: &str| line.strip_prefix("| ")?.split(" | ").next()?.parse::<u8>().ok();
        let told: BTreeSet<u8> = page.lines().filter_map(cell).collect();
        assert_eq!(told, Exit::ALL.iter().map(|exit| *exit as u8).collect());
    }
}
