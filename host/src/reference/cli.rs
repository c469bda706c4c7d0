//! `docs/reference/cli.md`: every verb with its flags, from the definition of the command line.
//! Explains nothing that the flags do not say themselves.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::cell;
use crate::cli::args::Cli;

const INTRODUCTION: &str = "# Command line

What `host VERB --help` prints, for all verbs. Flags that are knobs can also be set by variables and files:
[configuration.md](configuration.md), [environment.md](environment.md). What an exit code means:
[exit-codes.md](exit-codes.md).
";

/// The page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_string();
    let mut command = Cli::command();
    command.build();
    verb(&command, "host", &mut page);
    page
}

/// A verb and those below it; those that are hidden are the program's own business.
fn verb(command: &Command, name: &str, page: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage: ").replace("\n       ", "\n");
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## `{name}`\n\n{}\n\n```\n{usage}\n```\n", sentence(&about));
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_help(arg));
    let rows: Vec<String> = arguments.map(row).collect();
    if !rows.is_empty() {
        let _ = write!(page, "\n| argument | meaning |\n|---|---|\n{}", rows.concat());
    }
    if let Some(more) = command.get_after_help() {
        let _ = write!(page, "\n```\n{more}\n```\n");
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        verb(inner, &format!("{name} {}", inner.get_name()), page);
    }
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

fn row(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let values = || arg.get_value_names().unwrap_or_default().iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let shown = match arg.get_long() {
        Some(flag) if takes && arg.is_require_equals_set() => format!("--{flag}[={}]", values().join(" ")),
        Some(flag) if takes => format!("--{flag} {}", values().join(" ")),
        Some(flag) => format!("--{flag}"),
        None => values().join(" "),
    };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let words: Vec<String> =
        arg.get_possible_values().iter().filter(|_| takes).map(|word| format!("`{}`", word.get_name())).collect();
    if !words.is_empty() {
        meaning += &format!(": {}", words.join(", "));
    }
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| format!("{value:?}")).collect();
    if takes && !defaults.is_empty() {
        meaning += &format!(" [default: {}]", defaults.join(" ").trim_matches('"'));
    }
    let required = if arg.is_required_set() { " (needed)" } else { "" };
    format!("| `{}`{required} | {} |\n", cell(&shown), cell(&meaning))
}

fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_string() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KNOBS;

    #[test]
    fn every_visible_verb_and_every_knob_is_on_the_page() {
        let page = page();
        fn verbs(command: &Command, name: &str, all: &mut Vec<String>) {
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                let name = format!("{name} {}", inner.get_name());
                verbs(inner, &name, all);
                all.push(name);
            }
        }
        let mut all = Vec::new();
        verbs(&Cli::command(), "host", &mut all);
        assert!(all.len() > 10);
        for name in all {
            assert!(page.contains(&format!("\n## `{name}`\n")), "{name}");
        }
        for flag in KNOBS.iter().filter_map(|knob| knob.flag) {
            assert!(page.contains(&format!("| `--{flag} ")), "--{flag}");
        }
        assert!(!page.contains("check-one"));
    }
}
