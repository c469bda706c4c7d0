//! Standard error, shared by log lines and the progress bar so that neither tears the other.
//! Does not decide what is said.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

/// Where people read. Clones are the same screen.
#[derive(Clone, Debug)]
pub struct Screen {
    bars: MultiProgress,
    terminal: bool,
    color: bool,
}

impl Screen {
    /// Standard error, with bars where it is a terminal, and colours where the terminal has them and `NO_COLOR` is
    /// not set.
    pub fn stderr() -> Screen {
        let stderr = std::io::stderr();
        let color = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        Screen { bars: MultiProgress::new(), terminal: stderr.is_terminal(), color }
    }

    /// Nothing is a terminal and bars are not drawn; lines go to standard error.
    pub fn plain() -> Screen {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Screen { bars, terminal: false, color: false }
    }

    /// Whether a bar can be drawn.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours are wanted.
    pub fn has_color(&self) -> bool {
        self.color
    }

    /// Writes text and a line end above any bar.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| {
            // A closed standard error is no reason to stop training.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    /// Puts a bar at the bottom.
    pub(crate) fn bar(&self, bar: ProgressBar) -> ProgressBar {
        self.bars.add(bar)
    }
}
