//! The log: `tracing` events as lines for people on standard error, and as `log.jsonl` in the run directory.
//! Does not hold metrics, and decides nothing from what is logged.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use super::{clock::Utc, screen::Screen, stream::Stream};
use crate::fault::{Exit, Fault};

/// Events kept until the run directory exists; a start-up has a few dozen.
const HELD_AT_MOST: usize = 10_000;

/// Handle on the log of this process. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    file: Arc<Mutex<Destination>>,
}

#[derive(Debug, Default)]
struct Destination {
    stream: Option<Stream>,
    held: Vec<u8>,
    lines: usize,
    failure: Option<Fault>,
}

impl Log {
    /// Takes the events of this process over: `shown` and graver to the screen, all but traces to the file.
    ///
    /// # Errors
    /// E102 another subscriber was there first.
    pub fn install(screen: Screen, shown: Level) -> Result<Log, Fault> {
        let log = Log::default();
        log.subscriber(screen, shown).try_init().map_err(|error| {
            Fault::new("E102", Exit::Environment, "the log cannot be started").note("reason", error.to_string())
        })?;
        Ok(log)
    }

    fn subscriber(&self, screen: Screen, shown: Level) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry().with(Lines { log: self.clone(), screen, shown })
    }

    /// From now on to this file, beginning with what was logged before.
    pub fn attach(&self, mut stream: Stream) -> Result<(), Fault> {
        let mut destination = self.destination();
        // What an interrupted process wrote of a line would spoil the next one.
        stream.drop_half_line()?;
        stream.append(&std::mem::take(&mut destination.held))?;
        destination.stream = Some(stream);
        Ok(())
    }

    /// What kept a line out of the file, if anything did. An event cannot fail, so the training loop asks.
    pub fn failure(&self) -> Option<Fault> {
        self.destination().failure.clone()
    }

    fn write(&self, line: &[u8]) {
        let destination = &mut *self.destination();
        match &mut destination.stream {
            Some(stream) => {
                if let Err(fault) = stream.append(line) {
                    destination.failure.get_or_insert(fault);
                }
            }
            None if destination.lines < HELD_AT_MOST => {
                destination.lines += 1;
                destination.held.extend_from_slice(line);
            }
            None => {}
        }
    }

    fn destination(&self) -> MutexGuard<'_, Destination> {
        // Whoever panicked while holding it had whole lines written.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lines {
    log: Log,
    screen: Screen,
    shown: Level,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if *metadata.level() <= self.shown {
            self.screen.line(&for_people(*metadata.level(), &fields, self.screen.has_color()));
        }
        let mut object = Map::new();
        object.insert("time".into(), Utc::now().rfc3339().into());
        object.insert("level".into(), metadata.level().as_str().to_lowercase().into());
        object.insert("target".into(), metadata.target().into());
        object.insert("message".into(), fields.message.into());
        for (name, value) in fields.others {
            object.insert(name, value);
        }
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        self.log.write(line.as_bytes());
    }
}

fn for_people(level: Level, fields: &Fields, color: bool) -> String {
    use anstyle::{AnsiColor, Style};
    let (prefix, style) = match level {
        Level::ERROR => ("error: ", AnsiColor::Red.on_default().bold()),
        Level::WARN => ("warning: ", AnsiColor::Yellow.on_default().bold()),
        Level::INFO => ("", Style::new()),
        _ => ("debug: ", Style::new().dimmed()),
    };
    let mut line = String::new();
    if color && !prefix.is_empty() {
        let _ = write!(line, "{style}{prefix}{style:#}");
    } else {
        line.push_str(prefix);
    }
    line.push_str(&fields.message);
    for (name, value) in &fields.others {
        let _ = match value {
            Value::String(text) => write!(line, "  {name}={text}"),
            other => write!(line, "  {name}={other}"),
        };
    }
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.others.push((field.name().to_owned(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value.into());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN; as text it is still readable.
        let finite = serde_json::Number::from_f64(value).map(Value::Number);
        self.add(field, finite.unwrap_or_else(|| value.to_string().into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Purpose, RunDirectory};

    #[test]
    fn events_before_and_after_the_directory_reach_the_file() {
        let root = tempfile::tempdir().unwrap();
        let log = Log::default();
        let subscriber = log.subscriber(Screen::plain(), Level::ERROR);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(steps = 7u64, label = "lion", "before \"it\" exists");
            tracing::trace!("never kept");
            let run = RunDirectory::open(root.path(), Purpose::New).unwrap();
            log.attach(run.stream("log.jsonl").unwrap()).unwrap();
            tracing::warn!(loss = f64::NAN, lr = 0.5, "after");
            tracing::debug!("kept, not shown");
        });
        assert!(log.failure().is_none());
        let text = std::fs::read_to_string(root.path().join("log.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            ("info", "before \"it\" exists", "steps", Value::from(7)),
            ("warn", "after", "loss", Value::from("NaN")),
            ("debug", "kept, not shown", "none", Value::Null),
        ];
        assert_eq!(lines.len(), expected.len());
        for (line, (level, message, field, value)) in lines.iter().zip(expected) {
            assert_eq!(line["level"], level);
            assert_eq!(line["message"], message);
            assert_eq!(line[field], value);
            assert_eq!(line["time"].as_str().map(str::len), Some(24));
        }
        assert_eq!(lines[0]["label"], "lion");
        assert_eq!(lines[1]["lr"], 0.5);
    }

    #[test]
    fn people_see_the_level_in_words() {
        let fields = Fields { message: "loss rose".into(), others: vec![("step".into(), 3.into())] };
        for (level, color, expected) in [
            (Level::INFO, true, "loss rose  step=3"),
            (Level::WARN, false, "warning: loss rose  step=3"),
            (Level::ERROR, false, "error: loss rose  step=3"),
        ] {
            assert_eq!(for_people(level, &fields, color), expected);
        }
        assert!(for_people(Level::WARN, &fields, true).contains('\u{1b}'));
    }
}
