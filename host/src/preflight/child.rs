//! One child process of the gate: its command line, its environment, its time.
//! Does not read what it leaves.

use std::{
    ffi::OsString,
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Order, Plan,
    ask::Ask,
    faults::{INTERRUPTED, unable},
    plan::config_name,
    sending,
};
use crate::{
    child_process,
    fault::{Exit, Fault},
    run::atomic,
};

/// Decides how many threads libtorch uses.
pub const THREADS: &str = "OMP_NUM_THREADS";

/// How a child ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; none after a signal, or where its time was up.
    pub code: Option<i32>,
    /// In words.
    pub how: String,
    /// How long it took.
    pub seconds: f64,
    /// What it said on stderr.
    pub said: String,
    /// What it printed on stdout.
    pub printed: String,
}

/// Runs `verb` as the fleet would, with `more` arguments, to its end or to the end of its time. What it says goes to
/// `<work>/<name>.log`.
///
/// # Errors
/// E120 where it cannot be started; G010 where `stop` said so.
pub fn run(
    (plan, ask): (&Plan, &Ask),
    verb: &str,
    more: Vec<OsString>,
    threads: Option<usize>,
    work: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Ended, Fault> {
    let Order { program, limit, cwd, .. } = &plan.order;
    let mut command = Command::new(&program.path);
    command.args(&program.leading).arg(verb);
    if let Some(text) = &ask.config {
        let path = work.join(config_name(ask));
        atomic::write_file(&path, text.as_bytes())
            .map_err(|error| unable("a configuration file cannot be written", &error))?;
        command.arg("--config").arg(path);
    }
    command.args(sending::arguments(&ask.told.flags)).args(more);
    command.arg("--registry").arg(&plan.registry.path).arg("--plugin-dir").arg(&plan.plugin_dir);
    command.env_clear().envs(&ask.told.variables).current_dir(cwd);
    if let Some(threads) = threads {
        command.env(THREADS, threads.to_string());
    }
    let (log, out) = (work.join(format!("{}.log", ask.name)), work.join(format!("{}.out", ask.name)));
    let open = |path: &Path| File::create(path).map_err(|error| unable("what a run says cannot be kept", &error));
    command.stdin(Stdio::null()).stdout(open(&out)?).stderr(open(&log)?);
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| unable("a run cannot be started", &error))?;
    let status = child_process::wait(&mut child, *limit, stop);
    let seconds = begun.elapsed().as_secs_f64();
    let how = match status {
        _ if stop() => {
            let fault = Fault::new(INTERRUPTED, Exit::Interrupted, "the gate was interrupted");
            return Err(fault.hint("nothing has been decided; run it again"));
        }
        Some(status) => child_process::ended(status),
        None => child_process::killed(*limit),
    };
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let ended =
        Ended { code: status.and_then(|status| status.code()), how, seconds, said: read(&log), printed: read(&out) };
    // What it prints is read here or wanted by nobody.
    let _ = std::fs::remove_file(&out);
    Ok(ended)
}

impl Ended {
    /// The faults that it reported, from the first on; or its last lines where it reported none.
    pub fn complaint(&self) -> String {
        const LINES: usize = 12;
        let lines: Vec<&str> = self.said.lines().collect();
        let from = lines.iter().position(|line| line.starts_with("error"));
        let from = from.unwrap_or(lines.len().saturating_sub(3));
        lines[from..].iter().take(LINES).map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }

    /// Its exit code as one of this program's; that of a failed check where it has none.
    pub fn exit(&self) -> Exit {
        self.code.and_then(Exit::of_code).unwrap_or(Exit::Check)
    }
}

/// Time that a run may take where nobody says otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(600);
