//! The run directory: everything a run leaves behind is written through here, whole or not at all.
//! Does not train, and does not know what a checkpoint or a metric means.

pub mod directory;

pub mod atomic;
pub mod clock;
pub mod cost;
pub mod groups;
pub mod log;
pub mod output;
pub mod record;
pub mod screen;
pub mod signals;
pub mod stream;

pub use cost::Cost;
pub use directory::{Purpose, RunDirectory};
pub use output::{Output, Unfit};
pub use record::{Record, Status};
pub use screen::Screen;
pub use signals::Signals;
