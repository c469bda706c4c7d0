//! What went wrong, said once and well: code, place, facts, way out; and the exit code that follows from it.
//! Does not decide when something is wrong, and prints nothing by itself.

use std::fmt;

/// How a run of the binary ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// A bug of the host, such as a panic.
    Bug = 1,
    /// The command line was not understood.
    Usage = 2,
    /// A configuration value was not understood.
    Config = 3,
    /// A label is not in the registry, or its plugin cannot be loaded.
    Registry = 4,
    /// A plugin failed while running.
    Plugin = 5,
    /// A check failed.
    Check = 6,
    /// The loss or a gradient is not finite.
    Diverged = 7,
    /// Data, run directory or checkpoint missing, unreadable or full.
    Data = 8,
    /// Some cells of a sweep failed.
    Cells = 9,
    /// libtorch or CUDA are not as needed.
    Environment = 10,
    /// Stopped on request; can be resumed.
    Stopped = 75,
    /// Interrupted a second time.
    Interrupted = 130,
}

impl Exit {
    /// Every way to end.
    pub const ALL: [Exit; 13] = [
        Exit::Ok,
        Exit::Bug,
        Exit::Usage,
        Exit::Config,
        Exit::Registry,
        Exit::Plugin,
        Exit::Check,
        Exit::Diverged,
        Exit::Data,
        Exit::Cells,
        Exit::Environment,
        Exit::Stopped,
        Exit::Interrupted,
    ];

    /// The way to end that has this number, if one has.
    pub fn of_code(code: i32) -> Option<Exit> {
        Exit::ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}

/// One fault, as it is shown:
///
/// ```text
/// error[R001]: optimizer label `lionn` is not in the registry
///   --> configs/my.toml:12  optimizer.label = "lionn"
///   registry: registry.toml (4 optimizer labels)
///   known: adamw, lion, muon, sgdm
///   hint: did you mean `lion`? `host --list-optimizers` lists all
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    /// Stable code, such as `R001`.
    pub code: &'static str,
    /// What the process exits with.
    pub exit: Exit,
    /// What is wrong: lower-case, one line.
    pub message: String,
    /// Where: a file and line, a variable, a flag.
    pub place: Option<String>,
    /// Facts, as name and text.
    pub notes: Vec<(&'static str, String)>,
    /// The way out.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without place or hint yet.
    pub fn new(code: &'static str, exit: Exit, message: impl Into<String>) -> Fault {
        Fault { code, exit, message: one_line(message.into()), place: None, notes: Vec::new(), hint: None }
    }

    /// Says where.
    pub fn at(mut self, place: impl Into<String>) -> Fault {
        self.place = Some(one_line(place.into()));
        self
    }

    /// Adds a fact.
    pub fn note(mut self, name: &'static str, text: impl Into<String>) -> Fault {
        self.notes.push((name, text.into()));
        self
    }

    /// Says the way out.
    pub fn hint(mut self, text: impl Into<String>) -> Fault {
        self.hint = Some(text.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
        }
        for (name, text) in &self.notes {
            write!(f, "\n  {name}: {text}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// All faults found before work begins, shown together.
#[derive(Clone, Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Nothing found yet.
    pub fn none() -> Faults {
        Faults(Vec::new())
    }

    /// Keeps the value, or notes what is wrong and goes on.
    pub fn take<T>(&mut self, result: Result<T, impl Into<Faults>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(more) => {
                self.0.extend(more.into().0);
                None
            }
        }
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// An error if anything was noted.
    pub fn check(self) -> Result<(), Faults> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The first, with the others as its notes: where one fault ends a run.
    pub fn into_one(self) -> Fault {
        let mut all = self.0.into_iter();
        let Some(first) = all.next() else { unreachable!("what went wrong has at least one fault") };
        all.fold(first, |first, other| first.note("and", format!("[{}] {}", other.code, other.message)))
    }

    /// Registry faults outrank configuration faults; otherwise the first one decides.
    pub fn exit(&self) -> Exit {
        let first = self.0.first().map_or(Exit::Ok, |fault| fault.exit);
        if self.0.iter().any(|fault| fault.exit == Exit::Registry) { Exit::Registry } else { first }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The text with control characters escaped: a message may quote what somebody wrote, and stays one line.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// The known name nearest to `given`, if one is near enough to be meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_one_line() {
        let fault = Fault::new("R003", Exit::Registry, "`a\nb\u{1b}` — no label").at("x.toml:1\r");
        assert_eq!(fault.to_string(), "error[R003]: `a\\nb\\u{1b}` — no label\n  --> x.toml:1\\r");
    }

    #[test]
    fn registry_faults_outrank_the_first_one() {
        let config = Fault::new("C001", Exit::Config, "unknown key");
        let registry = Fault::new("R001", Exit::Registry, "unknown label");
        assert_eq!(Faults(vec![config.clone()]).exit(), Exit::Config);
        assert_eq!(Faults(vec![config, registry]).exit(), Exit::Registry);
    }

    #[test]
    fn every_number_is_one_way_to_end() {
        for exit in Exit::ALL {
            assert_eq!(Exit::of_code(exit as i32), Some(exit));
        }
        assert_eq!((Exit::of_code(11), Exit::of_code(-1)), (None, None));
    }

    #[test]
    fn nearest_is_near_or_none() {
        let known = ["adamw", "lion", "muon", "sgdm"];
        assert_eq!(nearest("lionn", known), Some("lion"));
        assert_eq!(nearest("ADAMW", known), Some("adamw"));
        assert_eq!(nearest("shampoo", known), None);
    }
}
