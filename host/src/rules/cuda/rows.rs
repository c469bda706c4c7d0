//! What a launch is told: a row per tensor, and the chunks of work. Bytes as `launch.cu` reads them.
//! Talks to no card.

use sdk::{
    cpu::{BLOCK, TILE},
    tape,
};

use super::{Item, source::Shape};

/// Elements per chunk of an update, which is a block's work: small, so that all multiprocessors end at about the same
/// time. Of 2048 to 65536 on an H200, 2048 is the fastest for AdamW at 124M parameters, by 8 % over the largest.
pub const CHUNK: usize = 2048;

/// The rows of `items`, in order, into `bytes`, which is emptied first. `nodes` is the tape of them all.
pub fn rows(nodes: &[tape::Node], shape: &Shape, items: &[&Item<'_>], bytes: &mut Vec<u8>) {
    bytes.clear();
    let mut scalars: Vec<u8> = Vec::new();
    let mut known: Option<(*const [f64], f64, &[f64], f64)> = None;
    for item in items {
        let start = bytes.len();
        let mut together = 0;
        let mut pointer = |address: usize, bytes: &mut Vec<u8>| {
            together |= address;
            bytes.extend((address as u64).to_le_bytes());
        };
        pointer(item.target.x.data_ptr() as usize, bytes);
        pointer(item.g.data_ptr() as usize, bytes);
        for place in 0..shape.slots {
            let slot = item.target.state.get(place).and_then(Option::as_ref);
            pointer(slot.map_or(0, |slot| slot.data_ptr() as usize), bytes);
        }
        bytes.extend(u64::from(together.is_multiple_of(16)).to_le_bytes());
        // Most tensors of a step share their numbers.
        let [t, numel, others @ ..] = item.numbers else { continue };
        let same = (std::ptr::from_ref(item.target.hyper), *t, others, if shape.reads_numel { *numel } else { 0.0 });
        if known != Some(same) {
            known = Some(same);
            let values = tape::scalars(nodes, item.target.hyper, item.numbers);
            scalars.clear();
            for &node in &shape.scalars {
                let value = values[node as usize];
                match shape.scalar_bytes() {
                    8 => scalars.extend(value.to_le_bytes()),
                    _ => scalars.extend((value as f32).to_le_bytes()),
                }
            }
        }
        bytes.extend(&scalars);
        bytes.resize(start + shape.row_bytes(), 0);
    }
}

/// The chunks of an update over tensors of these sizes.
pub fn update_chunks(numels: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (row, &numel) in numels.iter().enumerate() {
        for at in (0..numel).step_by(CHUNK) {
            push_chunk(&mut bytes, row, CHUNK.min(numel - at), at);
        }
    }
    bytes
}

/// The chunks of a measuring pass, one per row of sums, in the order of the CPU's; and where each tensor's begin, with
/// their number.
pub fn measure_chunks(numels: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut spans, mut first) = (Vec::new(), Vec::new(), 0);
    for (row, &numel) in numels.iter().enumerate() {
        let whole = numel - numel % TILE;
        for at in (0..whole).step_by(BLOCK) {
            push_chunk(&mut bytes, row, BLOCK.min(whole - at), at);
        }
        if whole < numel {
            push_chunk(&mut bytes, row, numel - whole, whole);
        }
        let count = bytes.len() / CHUNK_BYTES - first;
        spans.extend((first as u32).to_le_bytes());
        spans.extend((count as u32).to_le_bytes());
        first += count;
    }
    (bytes, spans)
}

/// Bytes of one `Chunk` of `launch.cu`.
pub const CHUNK_BYTES: usize = 16;

fn push_chunk(bytes: &mut Vec<u8>, row: usize, n: usize, at: usize) {
    bytes.extend((row as u32).to_le_bytes());
    bytes.extend((n as u32).to_le_bytes());
    bytes.extend((at as u64).to_le_bytes());
}
