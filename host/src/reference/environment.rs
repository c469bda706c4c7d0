//! `docs/reference/environment.md`: every variable that is read.
//! What the value of a knob may be stands on `configuration.md`.

use std::fmt::Write;

use crate::config::{
    KNOBS,
    variables::{COMPILERS, TAGS},
};

const INTRODUCTION: &str = "# Environment variables

## Knobs

Within a row the first column outranks the second, and that the third; flags and `--set` outrank all, and files and
presets none. A variable that is set but empty, cannot be read, or looks like one of these and is none is an error:
[configuration.md](configuration.md) has the rules and what the values may be.

| key | `HOST_*` | `TRIOS_*` | bare |
|---|---|---|---|
";

/// Variables that are no knobs: name, who reads it, what it does.
const OTHERS: [(&str, &str, &str); 9] = [
    ("NO_COLOR", "host", "set and not empty: no colours"),
    ("CLICOLOR_FORCE", "host", "set and not 0: colours where no terminal is, too"),
    ("CLICOLOR", "host", "0: no colours"),
    ("OMP_NUM_THREADS", "libtorch", "threads of an operation; without it as many as there are cores"),
    ("CUDA_VISIBLE_DEVICES", "CUDA driver", "the cards that can be seen, the first of which is used"),
    (
        "XDG_CACHE_HOME",
        "host",
        "compiled CUDA kernels are kept in `trainer/kernels` below it; without it below `~/.cache`",
    ),
    ("HOME", "host", "for `~/.cache`, where `XDG_CACHE_HOME` is not set"),
    (
        "TMPDIR",
        "host",
        "where `host plugin check` and `host registry lock --conformance` keep the journals of their checks",
    ),
    (
        "LIBTORCH",
        "the build, xtask",
        "folder of a libtorch to build against instead of `.libtorch/`; a built program reads it no more",
    ),
];

/// The page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_string();
    for knob in KNOBS.iter().filter(|knob| knob.stems().next().is_some()) {
        let [host, trios, bare] = knob.ranked_variables().map(|names| quoted(&names));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {host} | {trios} | {bare} |", knob.key);
    }
    page += "\n## Tags\n\nRecorded with the run; nothing else is done with them.\n\n| variable | recorded as |\n|---|---|\n";
    for (name, key) in TAGS {
        let _ = writeln!(page, "| `{name}` | `{key}` |");
    }
    page += "\n## Others\n\n| variable | read by | what it does |\n|---|---|---|\n";
    for (name, reader, meaning) in OTHERS {
        let _ = writeln!(page, "| `{name}` | {reader} | {meaning} |");
    }
    let compilers = COMPILERS.map(|name| format!("`{name}`")).join(" and ");
    let _ = writeln!(page, "\n{compilers}, which cross compilers use, are left alone, as are all others.");
    page
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_variable_of_a_knob_is_on_the_page() {
        let page = page();
        for name in KNOBS.iter().flat_map(|knob| knob.ranked_variables().concat()) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    /// Sources ask for a variable by its name in quotes; what is asked for must be on the page.
    #[test]
    fn every_variable_that_a_source_asks_for_is_on_the_page() {
        fn asked(folder: &Path, all: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    asked(&path, all);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                    for call in ["env::var(\"", "env::var_os(\"", "absolute(\""] {
                        let names = code.split(call).skip(1);
                        all.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_string())));
                    }
                }
            }
        }
        let mut all = Vec::new();
        asked(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut all);
        assert!(all.contains(&"XDG_CACHE_HOME".to_string()), "{all:?}");
        for name in all {
            assert!(OTHERS.iter().any(|(known, _, _)| *known == name), "{name}");
        }
    }
}
