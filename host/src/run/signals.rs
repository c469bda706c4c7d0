//! Requests to stop: SIGINT, SIGTERM and SIGUSR2 raise a flag that the training loop reads between steps.
//! Does not save and does not stop anything, except that a second SIGINT ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR2, SIGXFSZ},
    flag,
};

use crate::fault::{Exit, Fault};

/// The flag, raised by the first of the signals. Clones share it.
#[derive(Clone, Debug)]
pub struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes the three signals, and that of a file that is too large, over for the rest of the process.
    ///
    /// # Errors
    /// E103 the system refuses.
    pub fn install() -> Result<Signals, Fault> {
        let received = Arc::new(AtomicUsize::new(0));
        let interrupted = Arc::new(AtomicBool::new(false));
        let exit = Exit::Interrupted as i32;
        // Actions run in order of registration: at the first SIGINT the flag of the shutdown is still down.
        let install = || {
            flag::register_conditional_shutdown(SIGINT, exit, Arc::clone(&interrupted))?;
            flag::register(SIGINT, interrupted)?;
            // A file that may not grow further is then an error of the write, which is told, and not the end.
            flag::register(SIGXFSZ, Arc::default())?;
            for signal in [SIGINT, SIGTERM, SIGUSR2] {
                flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
            }
            Ok(())
        };
        install().map_err(|error: std::io::Error| {
            Fault::new("E103", Exit::Environment, "cannot listen to signals").note("system", error.to_string())
        })?;
        Ok(Signals { received })
    }

    /// Whether to finish the step, save, and end with exit code 75.
    pub fn stop_requested(&self) -> bool {
        self.name().is_some()
    }

    /// The signal received last, if any.
    pub fn name(&self) -> Option<&'static str> {
        match self.received.load(Ordering::Relaxed) as i32 {
            SIGINT => Some("SIGINT"),
            SIGTERM => Some("SIGTERM"),
            SIGUSR2 => Some("SIGUSR2"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use signal_hook::low_level::raise;

    use super::*;

    const CHILD: &str = "HOST_TEST_SIGNALS";

    /// Signals belong to a whole process, so each case is a child that runs this test alone.
    fn child(signals: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "run::signals::tests::child_raises", "--ignored", "--test-threads=1"])
            .env(CHILD, signals)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[ignore = "runs as a child of the tests below"]
    fn child_raises() {
        let wanted = std::env::var(CHILD).unwrap();
        let signals = Signals::install().unwrap();
        assert!(!signals.stop_requested());
        for name in wanted.split(',') {
            let (signal, name) = match name {
                "INT" => (SIGINT, "SIGINT"),
                "TERM" => (SIGTERM, "SIGTERM"),
                _ => (SIGUSR2, "SIGUSR2"),
            };
            raise(signal).unwrap();
            assert_eq!(signals.name(), Some(name));
            assert!(signals.clone().stop_requested());
        }
    }

    #[test]
    fn one_signal_raises_the_flag_and_a_second_interrupt_ends() {
        let cases = [("INT", 0), ("TERM,TERM,USR2,INT", 0), ("INT,INT", 130), ("INT,TERM,INT", 130)];
        let children = cases.map(|(signals, code)| (signals, code, child(signals)));
        for (signals, code, mut child) in children {
            assert_eq!(child.wait().unwrap().code(), Some(code), "{signals}");
        }
    }
}
