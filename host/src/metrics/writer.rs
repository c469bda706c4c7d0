//! `metrics.jsonl`: one JSON object a line, every float with 17 significant digits and the deciding ones with their
//! bits. Does not compute the numbers.
//!
//! `kind` is `train` (a step), `eval` (an evaluation), `hash` (what parameters and way are, at every checkpoint and at the
//! end) or `event` (anything else that happened at a step).

use serde_json::Value;

use super::digits::{bits, digits, from_bits};
use crate::{
    fault::{Exit, Fault},
    run::{RunDirectory, stream::Stream},
};

/// Member of an event's line that numbers the scheduled operation it is of, from 0.
pub const OPERATION: &str = "operation";

/// Name of the file in the run directory.
pub const FILE: &str = "metrics.jsonl";

/// One step of training.
#[derive(Clone, Debug, PartialEq)]
pub struct StepMetrics<'a> {
    /// From 1.
    pub step: u64,
    /// Mean over the step's tokens, in nats.
    pub loss: f64,
    /// The same in bits per byte of the batch's text, where bytes are known.
    pub bpb: Option<f64>,
    /// Learning rate of the main group.
    pub lr: f64,
    /// Global norm of the raw gradient, before clipping.
    pub grad_norm: f64,
    /// Backward passes of this step.
    pub passes: u64,
    /// Tokens trained on since the beginning.
    pub tokens: u64,
    /// Of this step.
    pub tokens_per_second: f64,
    /// Wall time of this step in milliseconds.
    pub milliseconds: f64,
    /// Tensors left out for a gradient that is not finite.
    pub skipped: &'a [String],
    /// Further columns.
    pub extra: &'a [(String, f64)],
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalMetrics {
    /// Steps done before it.
    pub step: u64,
    /// Nats per token.
    pub val_loss: f64,
    /// Bits per byte.
    pub val_bpb: f64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes of those tokens.
    pub bytes: u64,
    /// Whether the whole validation text was read.
    pub whole: bool,
}

/// Appends to `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsWriter {
    stream: Stream,
}

impl MetricsWriter {
    /// For a run that begins.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn begin(run: &RunDirectory) -> Result<MetricsWriter, Fault> {
        MetricsWriter::resume(run, 0, 0)
    }

    /// For a run that goes on after `step` and `operations` scheduled operations: what was written of later ones is
    /// dropped, and so is a half-written last line.
    ///
    /// # Errors
    /// D301 a line is damaged · D105 it cannot be written.
    pub fn resume(run: &RunDirectory, step: u64, operations: usize) -> Result<MetricsWriter, Fault> {
        let mut stream = run.stream(FILE)?;
        let contents = stream.contents()?;
        let kept = length_up_to(&contents, step, operations).map_err(|line| {
            Fault::new("D301", Exit::Data, "a line of the metrics is damaged")
                .at(format!("{}:{line}", stream.path().display()))
                .hint("remove that line, or move the file away; the checkpoints do not depend on it")
        })?;
        if kept < contents.len() {
            stream.truncate(kept as u64)?;
        }
        Ok(MetricsWriter { stream })
    }

    /// Writes one step.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn step(&mut self, metrics: &StepMetrics) -> Result<(), Fault> {
        let mut row = Row::new(metrics.step, "train").float("loss", metrics.loss).bits("loss_bits", metrics.loss);
        if let Some(bpb) = metrics.bpb {
            row = row.float("bpb", bpb);
        }
        row = row
            .float("lr", metrics.lr)
            .float("grad_norm", metrics.grad_norm)
            .bits("grad_norm_bits", metrics.grad_norm)
            .json("passes", &metrics.passes.into())
            .json("tokens", &metrics.tokens.into())
            .float("tokens_per_second", metrics.tokens_per_second)
            .float("ms", metrics.milliseconds);
        if !metrics.skipped.is_empty() {
            row = row.json("skipped", &metrics.skipped.into());
        }
        for (name, value) in metrics.extra {
            row = row.float(name, *value);
        }
        self.stream.append(&row.line())
    }

    /// Writes one evaluation.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn eval(&mut self, metrics: &EvalMetrics) -> Result<(), Fault> {
        let row = Row::new(metrics.step, "eval")
            .float("val_loss", metrics.val_loss)
            .bits("val_loss_bits", metrics.val_loss)
            .float("val_bpb", metrics.val_bpb)
            .bits("val_bpb_bits", metrics.val_bpb)
            .json("tokens", &metrics.tokens.into())
            .json("bytes", &metrics.bytes.into())
            .json("whole", &metrics.whole.into());
        self.stream.append(&row.line())
    }

    /// Writes what the parameters and the way to them are after `step` steps; a checkpoint's numbers.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn hashes(&mut self, step: u64, parameter_hash: &str, trajectory_hash: &str) -> Result<(), Fault> {
        let row = Row::new(step, "hash")
            .json("parameter_hash", &parameter_hash.into())
            .json("trajectory_hash", &trajectory_hash.into());
        self.stream.append(&row.line())
    }

    /// Writes anything else that happened after `step` steps.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn event(&mut self, step: u64, name: &str, facts: &[(&str, Value)]) -> Result<(), Fault> {
        let row = Row::new(step, "event").json("event", &name.into());
        let row = facts.iter().fold(row, |row, (name, value)| row.json(name, value));
        self.stream.append(&row.line())
    }

    /// Waits until all lines are on disk; before a checkpoint, so that no resumed run misses lines before it.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn sync(&self) -> Result<(), Fault> {
        self.stream.sync()
    }
}

/// One line in the making.
struct Row(String);

impl Row {
    fn new(step: u64, kind: &str) -> Row {
        Row(format!("{{\"step\":{step},\"kind\":\"{kind}\""))
    }

    fn raw(mut self, name: &str, text: &str) -> Row {
        self.0.push(',');
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(text);
        self
    }

    fn float(self, name: &str, value: f64) -> Row {
        self.raw(name, &digits(value))
    }

    fn bits(self, name: &str, value: f64) -> Row {
        self.raw(name, &format!("\"{}\"", bits(value)))
    }

    fn json(self, name: &str, value: &Value) -> Row {
        self.raw(name, &value.to_string())
    }

    fn line(mut self) -> Vec<u8> {
        self.0.push_str("}\n");
        self.0.into_bytes()
    }
}

/// A line as read: its step, its kind, and its members.
pub(super) struct Line {
    pub step: u64,
    pub kind: String,
    pub members: serde_json::Map<String, Value>,
}

impl Line {
    pub(super) fn parse(bytes: &[u8]) -> Option<Line> {
        let members: serde_json::Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let step = members.get("step")?.as_u64()?;
        let kind = members.get("kind")?.as_str()?.to_owned();
        Some(Line { step, kind, members })
    }

    /// A float by its bits where they are written, which keeps what is not finite; else by its digits.
    pub(super) fn float(&self, name: &str) -> Option<f64> {
        let bits = self.members.get(&format!("{name}_bits"));
        match bits.and_then(Value::as_str).and_then(from_bits) {
            Some(value) => Some(value),
            None => self.members.get(name)?.as_f64(),
        }
    }
}

/// Lines with their length in bytes. A last line that is cut off or unreadable was being written when the process was
/// killed, and is left out; any other unreadable line is an error with its number.
pub(super) fn lines(contents: &[u8]) -> impl Iterator<Item = Result<(usize, Line), usize>> {
    let whole = contents.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut rest = &contents[..whole];
    let mut number = 0;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        number += 1;
        match Line::parse(line) {
            Some(parsed) => Some(Ok((end + 1, parsed))),
            None if after.is_empty() => None,
            None => Some(Err(number)),
        }
    })
}

/// Length of the leading lines up to `step`, and before the operation of this number.
fn length_up_to(contents: &[u8], step: u64, operations: usize) -> Result<usize, usize> {
    let mut kept = 0;
    for line in lines(contents) {
        let (length, line) = line?;
        let operation = line.members.get(OPERATION).and_then(Value::as_u64);
        if line.step > step || operation.is_some_and(|number| number >= operations as u64) {
            break;
        }
        kept += length;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::run::Purpose;

    fn run(root: &Path) -> RunDirectory {
        RunDirectory::open(root, Purpose::Auto).unwrap()
    }

    fn step(step: u64) -> StepMetrics<'static> {
        StepMetrics {
            step,
            loss: 4.0 / step as f64,
            bpb: None,
            lr: 1e-3,
            grad_norm: 0.1,
            passes: 2,
            tokens: 768 * step,
            tokens_per_second: 1e4,
            milliseconds: 7.5,
            skipped: &[],
            extra: &[],
        }
    }

    #[test]
    fn lines_are_json_with_digits_and_bits() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::begin(&run(root.path())).unwrap();
        let (skipped, extra) = (["w \"q\"".to_owned()], [("update_ratio/w".to_owned(), 0.25)]);
        let odd = StepMetrics { loss: f64::NAN, bpb: Some(0.1), skipped: &skipped, extra: &extra, ..step(3) };
        writer.step(&odd).unwrap();
        let eval = EvalMetrics { step: 3, val_loss: 0.1, val_bpb: 0.2, tokens: 7, bytes: 9, whole: true };
        writer.eval(&eval).unwrap();
        writer.hashes(3, "0a", "0b").unwrap();
        writer.event(3, "freeze", &[("layer", 0.into()), ("note", "a\nb".into())]).unwrap();
        writer.sync().unwrap();
        let text = fs::read_to_string(root.path().join(FILE)).unwrap();
        let expected = concat!(
            r#"{"step":3,"kind":"train","loss":null,"loss_bits":"7ff8000000000000","bpb":1.0000000000000001e-1,"#,
            r#""lr":1.0000000000000000e-3,"grad_norm":1.0000000000000001e-1,"grad_norm_bits":"3fb999999999999a","#,
            r#""passes":2,"tokens":2304,"tokens_per_second":1.0000000000000000e4,"ms":7.5000000000000000e0,"#,
            r#""skipped":["w \"q\""],"update_ratio/w":2.5000000000000000e-1}"#,
            "\n",
            r#"{"step":3,"kind":"eval","val_loss":1.0000000000000001e-1,"val_loss_bits":"3fb999999999999a","#,
            r#""val_bpb":2.0000000000000001e-1,"val_bpb_bits":"3fc999999999999a","tokens":7,"bytes":9,"whole":true}"#,
            "\n",
            r#"{"step":3,"kind":"hash","parameter_hash":"0a","trajectory_hash":"0b"}"#,
            "\n",
            r#"{"step":3,"kind":"event","event":"freeze","layer":0,"note":"a\nb"}"#,
            "\n",
        );
        assert_eq!(text, expected);
        for line in text.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }

    #[test]
    fn resuming_keeps_exactly_the_lines_up_to_the_checkpoint() {
        for (tail, kept) in [("", 4), ("{\"step\":5,\"ki", 4), ("{\"step\":5,\0\0\0\n", 4), ("garbage", 4)] {
            let root = tempfile::tempdir().unwrap();
            let run = run(root.path());
            let mut writer = MetricsWriter::begin(&run).unwrap();
            for number in 1..=4 {
                writer.step(&step(number)).unwrap();
                writer.event(number, "after", &[]).unwrap();
            }
            drop(writer);
            let path = root.path().join(FILE);
            let before = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{before}{tail}")).unwrap();
            for step in [kept, 2, 0] {
                drop(MetricsWriter::resume(&run, step, 0).unwrap());
                let expected: String = before.lines().take(2 * step as usize).map(|line| format!("{line}\n")).collect();
                assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{tail:?} {step}");
            }
        }
    }

    #[test]
    fn a_resumed_file_is_the_uninterrupted_one() {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        let mut writer = MetricsWriter::begin(&run).unwrap();
        (1..=6).for_each(|number| writer.step(&step(number)).unwrap());
        let whole = fs::read(root.path().join(FILE)).unwrap();
        let mut writer = MetricsWriter::resume(&run, 3, 0).unwrap();
        (4..=6).for_each(|number| writer.step(&step(number)).unwrap());
        assert_eq!(fs::read(root.path().join(FILE)).unwrap(), whole);
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_named() {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        let text = "{\"step\":1,\"kind\":\"train\"}\n{\"step\":\n{\"step\":3,\"kind\":\"train\"}\n";
        fs::write(root.path().join(FILE), text).unwrap();
        let fault = MetricsWriter::resume(&run, 3, 0).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("D301", Exit::Data));
        assert!(fault.place.unwrap().ends_with("metrics.jsonl:2"));
        assert_eq!(fs::read_to_string(root.path().join(FILE)).unwrap(), text, "left as it was");
    }
}
