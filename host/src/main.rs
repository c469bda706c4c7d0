//! The binary: hands the command line over, and turns what came of it into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = std::panic::catch_unwind(|| host::cli::main(std::env::args_os(), std::env::vars_os()));
    // a panic of the host is a bug of the host; its text and place are on stderr already
    ExitCode::from(outcome.unwrap_or(host::fault::Exit::Bug) as u8)
}
