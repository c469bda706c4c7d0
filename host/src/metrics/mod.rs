//! Numbers of a run over time: written for machines, drawn for people.
//! Does not compute them, and writes only through the handles of `run`.

pub mod digits;
pub mod history;
pub mod pace;
pub mod trajectory;
pub mod writer;

pub mod crc32c;
pub mod tensorboard;

pub mod plot;
pub mod progress;
pub mod report;
pub mod terminal_plot;

pub use history::History;
pub use plot::LossPlot;
pub use progress::Progress;
pub use report::{Report, Table};
pub use tensorboard::EventWriter;
pub use terminal_plot::terminal_plot;
pub use trajectory::Trajectory;
pub use writer::{EvalMetrics, MetricsWriter, StepMetrics};
