//! Runs one command of several: says what it runs, and passes its failure on.
//! Decides nothing about what to run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use crate::failure::{ENVIRONMENT, Failure};

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        line.push(' ');
        if arg.is_empty() || arg.contains([' ', '\'', '"', '*', '$']) {
            line.push_str(&format!("{arg:?}"));
        } else {
            line.push_str(&arg);
        }
    }
    line
}

/// Runs to the end on this terminal; an exit code other than 0 becomes this program's.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("> {}", shown(command));
    let status = command.status().with_context(|| cannot_start(command))?;
    passed(status)
}

/// Like [`run`], and hands back the lines of standard output, which is shown as it comes.
pub fn run_and_read(command: &mut Command) -> Result<(Vec<String>, Result<()>)> {
    eprintln!("> {}", shown(command));
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| cannot_start(command))?;
    let output = child.stdout.take().context("the child's standard output is not a pipe")?;
    let mut lines = Vec::new();
    let mut here = std::io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(here, "{line}")?;
        lines.push(line);
    }
    Ok((lines, passed(child.wait()?)))
}

/// The standard output of a command that is asked something; its standard error is shown only if it fails.
pub fn answer(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!("`{}` failed: {}", shown(command), said.trim());
        return Err(Failure::new(ENVIRONMENT, message).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the command, so that signals and the exit code are its own. Returns only if that fails.
#[cfg(unix)]
pub fn become_it(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    eprintln!("> {}", shown(command));
    let error = command.exec();
    Err(anyhow::Error::new(error).context(cannot_start(command)))
}

/// Runs the command and passes its exit code on.
#[cfg(not(unix))]
pub fn become_it(command: &mut Command) -> Result<()> {
    run(command)
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", command.get_program().to_string_lossy())
}

fn passed(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(Failure::forwarded(exit_code(status)).into()) }
}

/// A child ended by a signal counts as 128 + signal, as in a shell.
fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128_u8.saturating_add(u8::try_from(signal).unwrap_or(1));
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("/opt/bin/cargo");
        command.args(["test", "--", "two words", ""]);
        assert_eq!(shown(&command), "cargo test -- \"two words\" \"\"");
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_and_signals_are_passed_on() {
        for (script, expected) in [("exit 4", 4), ("exit 75", 75), ("kill -9 $$", 137)] {
            let error = run(Command::new("sh").args(["-c", script])).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, expected, "{script}");
        }
        assert!(run(Command::new("sh").args(["-c", "exit 0"])).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn output_is_read_even_when_the_command_fails() {
        let (lines, outcome) = run_and_read(Command::new("sh").args(["-c", "echo one; echo two; exit 3"])).unwrap();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(outcome.unwrap_err().downcast_ref::<Failure>().unwrap().exit, 3);
    }
}
