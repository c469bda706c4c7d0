//! A TensorBoard event file of scalars: `Event` messages of Protocol Buffers in frames of TFRecord.
//! Does not write anything but scalars, and reads nothing.
//!
//! A frame is the length (little-endian u64), its masked CRC-32C, the message, and its masked CRC-32C (TensorFlow,
//! "TFRecords format details"). Field numbers are those of `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`.

use super::crc32c::masked;
use crate::{
    fault::Fault,
    run::{RunDirectory, clock::Utc, stream::Stream},
};

/// Appends to one event file. A resumed run writes a new one, as TensorBoard expects.
#[derive(Debug)]
pub struct EventWriter {
    stream: Stream,
}

impl EventWriter {
    /// Begins a file for the steps after `step`. TensorBoard then forgets what an earlier file says of them.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn begin(run: &RunDirectory, step: u64, now: Utc) -> Result<EventWriter, Fault> {
        // TensorBoard reads files in the order of their names, and knows them by `tfevents`.
        let name = format!("events.out.tfevents.{:010}.{}", now.seconds() as u64, std::process::id());
        let mut stream = run.stream(&name)?;
        let mut version = event(now, 0);
        text(&mut version, 3, "brain.Event:2");
        let mut start = event(now, step + 1);
        message(&mut start, 7, &[tag(1, VARINT), 1]);
        stream.append(&[frame(&version), frame(&start)].concat())?;
        Ok(EventWriter { stream })
    }

    /// Writes scalars after `step` steps, each under its tag, such as `loss/train`.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn scalars(&mut self, step: u64, now: Utc, scalars: &[(&str, f64)]) -> Result<(), Fault> {
        let mut summary = Vec::new();
        for (name, value) in scalars {
            let mut scalar = Vec::new();
            text(&mut scalar, 1, name);
            scalar.push(tag(2, FIXED32));
            scalar.extend_from_slice(&(*value as f32).to_le_bytes());
            message(&mut summary, 1, &scalar);
        }
        let mut event = event(now, step);
        message(&mut event, 5, &summary);
        self.stream.append(&frame(&event))
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

const fn tag(field: u8, kind: u8) -> u8 {
    field << 3 | kind
}

fn event(now: Utc, step: u64) -> Vec<u8> {
    let mut event = vec![tag(1, FIXED64)];
    event.extend_from_slice(&now.seconds().to_le_bytes());
    event.push(tag(2, VARINT));
    varint(&mut event, step);
    event
}

fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    message(out, field, text.as_bytes());
}

fn message(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(tag(field, BYTES));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), message, &masked(message).to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run::Purpose;

    /// A field as it stands in a message.
    #[derive(Debug, PartialEq)]
    enum Field {
        Varint(u64),
        Double(f64),
        Float(f32),
        Bytes(Vec<u8>),
    }

    fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (head, tail) = rest.split_at(length);
        *rest = tail;
        head
    }

    fn read_varint(rest: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = take(rest, 1)[0];
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn decode(mut rest: &[u8]) -> Vec<(u64, Field)> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = read_varint(&mut rest);
            let field = match key & 7 {
                0 => Field::Varint(read_varint(&mut rest)),
                1 => Field::Double(f64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
                5 => Field::Float(f32::from_le_bytes(take(&mut rest, 4).try_into().unwrap())),
                2 => {
                    let length = read_varint(&mut rest) as usize;
                    Field::Bytes(take(&mut rest, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    /// Bit by bit, as the definition says, unlike the table of the writer.
    fn slow_crc(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for bit in bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
            crc = if (crc ^ bit) & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xA282_EAD8)
    }

    fn messages(mut rest: &[u8]) -> Vec<Vec<(u64, Field)>> {
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = take(&mut rest, 8);
            assert_eq!(take(&mut rest, 4), slow_crc(length).to_le_bytes());
            let message = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            assert_eq!(take(&mut rest, 4), slow_crc(message).to_le_bytes());
            messages.push(decode(message));
        }
        messages
    }

    #[test]
    fn an_independent_reader_finds_every_scalar() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(root.path(), Purpose::New).unwrap();
        let now = Utc::from_milliseconds(1_709_251_199_500);
        let mut writer = EventWriter::begin(&run, 299, now).unwrap();
        let long = "grad_norm/".repeat(20);
        writer.scalars(300, now, &[("loss/train", 2.5), (&long, f64::INFINITY)]).unwrap();
        let name = format!("events.out.tfevents.1709251199.{}", std::process::id());
        let messages = messages(&fs::read(root.path().join(name)).unwrap());

        let time = || (1, Field::Double(1_709_251_199.5));
        let bytes = |text: &str| Field::Bytes(text.as_bytes().to_vec());
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0], [time(), (2, Field::Varint(0)), (3, bytes("brain.Event:2"))]);
        assert_eq!(messages[1][..2], [time(), (2, Field::Varint(300))]);
        let (7, Field::Bytes(session)) = &messages[1][2] else { panic!("{:?}", messages[1]) };
        assert_eq!(decode(session), [(1, Field::Varint(1))], "status START");
        assert_eq!(messages[2][..2], [time(), (2, Field::Varint(300))]);
        let (5, Field::Bytes(summary)) = &messages[2][2] else { panic!("{:?}", messages[2]) };
        let scalars: Vec<Vec<(u64, Field)>> = decode(summary)
            .into_iter()
            .map(|field| match field {
                (1, Field::Bytes(scalar)) => decode(&scalar),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(scalars[0], [(1, bytes("loss/train")), (2, Field::Float(2.5))]);
        assert_eq!(scalars[1], [(1, bytes(&long)), (2, Field::Float(f32::INFINITY))]);
    }
}
