//! A child process that has so much time and no more, and how it ended, in words.
//! Does not know what it is for.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Waits for its end. None where the time was up, or `stop` said so: it is killed then, and nothing of it is left.
pub fn wait(child: &mut Child, limit: Duration, stop: &dyn Fn() -> bool) -> Option<ExitStatus> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if started.elapsed() >= limit || stop() {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// How it ended: `ended itself with exit code 3`, `was ended by signal 11 (invalid memory)`.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended itself with exit code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}{}", signal_name(signal)),
        _ => "ended".to_string(),
    }
}

/// What is said of one whose time was up.
pub fn killed(limit: Duration) -> String {
    format!("did not come back within {} s and was killed", limit.as_secs_f64())
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic)",
        9 => " (killed)",
        11 => " (invalid memory)",
        _ => "",
    }
}
