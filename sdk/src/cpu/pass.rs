//! A pass as a CPU kernel: one block of rows and columns, tile by tile.
//! Does not add up the sums of blocks; who runs them does.
//!
//! Within a block the order of every addition follows from its shape: a row's sum and the block's have 16 accumulators
//! that take the elements in turn, a column's takes row after row.

use core::mem::MaybeUninit;

use super::measure::{ACCUMULATORS, accumulate, pairwise};
use super::{Anywhere, CpuLane, Isa, MAX_SLOTS, Storage, ahead, looks_ahead};
use crate::abi::PassBlock;
use crate::{Pass, Per, Record, Scalar};

/// Elements handled at a time. More than a rule's: what a tile costs beside its arithmetic is more here.
const TILE: usize = 128;

/// A tile of elements, wherever it lies.
type Tile<E> = [Anywhere<E>; TILE];

const ELEMENT: u32 = Per::Element as u32;
const ROW: u32 = Per::Row as u32;
const COLUMN: u32 = Per::Column as u32;

/// Runs a pass over one block of any size, at any address. An instruction set that the machine lacks is not used.
///
/// # Safety
/// `block` upholds what [`PassBlock`] says, for this storage format: as many numbers, inputs and results as the pass has;
/// inputs and results reach as far as rows, columns and stride say; results are written by nobody else and inputs by
/// nobody during the call; places for sums are aligned.
pub unsafe fn pass<P: Pass, S: Storage>(block: &PassBlock) {
    let run: unsafe fn(&PassBlock) = match Isa::of(block.isa) {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<P, S>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<P, S>,
        _ => baseline::<P, S>,
    };
    // SAFETY: `run` needs what the machine was just asked for, and what the caller promised.
    unsafe { run(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<P: Pass, S: Storage>(block: &PassBlock) {
    // SAFETY: as the caller's.
    unsafe { tiles::<P, S, 2>(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<P: Pass, S: Storage>(block: &PassBlock) {
    // SAFETY: as the caller's.
    unsafe { tiles::<P, S, 1>(block) }
}

#[inline(never)]
unsafe fn baseline<P: Pass, S: Storage>(block: &PassBlock) {
    // SAFETY: as the caller's.
    unsafe { tiles::<P, S, 0>(block) }
}

/// The whole block. A tile that is not full is filled up on the stack; what does not belong to the block is neither
/// stored nor summed.
///
/// # Safety
/// As [`pass`].
#[inline(always)]
unsafe fn tiles<P: Pass, S: Storage, const ISA: u8>(block: &PassBlock) {
    const { assert!(<P::Inputs<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a pass has at most 8 inputs") };
    const { assert!(<P::Results<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a pass has at most 8 results") };
    let inputs = <P::Inputs<f64> as Record<f64>>::NAMES.len();
    let results = <P::Results<f64> as Record<f64>>::NAMES.len();
    let mut from = [(core::ptr::null::<S::Value>(), ELEMENT); MAX_SLOTS];
    let mut to = [(core::ptr::null_mut::<()>(), ELEMENT); MAX_SLOTS];
    // What is not read where it lies: tiles filled up at the end of a row, and one number for many elements.
    let mut spare = [[Anywhere(S::Value::default()); TILE]; MAX_SLOTS];
    // SAFETY: the caller's promise about numbers, and about as many pointers and codes as there are inputs and results;
    // a parameter's input is one element, a column's sums are as many as the block has columns.
    let pass = unsafe {
        for (k, from) in from.iter_mut().enumerate().take(inputs) {
            *from = ((*block.inputs.add(k)).cast(), *block.input_per.add(k));
            if from.1 == Per::Parameter as u32 {
                spare[k] = [from.0.cast::<Anywhere<S::Value>>().read(); TILE];
            }
        }
        for (k, to) in to.iter_mut().enumerate().take(results) {
            *to = (*block.results.add(k), *block.result_per.add(k));
            if to.1 == COLUMN {
                to.0.cast::<f64>().write_bytes(0, block.columns);
            }
        }
        P::each::<S::Lane<ISA>>(P::Numbers::build(|k| Scalar(*block.numbers.add(k))))
    };
    let looks_ahead = looks_ahead();
    let mut of_block = [[0.0f64; ACCUMULATORS]; MAX_SLOTS];
    for row in 0..block.rows {
        for (from, spare) in from.iter().zip(&mut spare).take(inputs).filter(|(from, _)| from.1 == ROW) {
            // SAFETY: there is one number per row.
            *spare = [unsafe { from.0.add(row).cast::<Anywhere<S::Value>>().read() }; TILE];
        }
        let mut of_row = [[0.0f64; ACCUMULATORS]; MAX_SLOTS];
        for at in (0..block.columns).step_by(TILE) {
            let n = TILE.min(block.columns - at);
            let mut tiles = [core::ptr::null::<Tile<S::Value>>(); MAX_SLOTS];
            for k in 0..inputs {
                let offset = match from[k].1 {
                    ELEMENT => row * block.stride + at,
                    COLUMN => at,
                    _ => {
                        tiles[k] = &raw const spare[k];
                        continue;
                    }
                };
                // SAFETY: `n` elements from here on are the caller's; a tile has no alignment.
                unsafe {
                    let first = from[k].0.add(offset);
                    if n == TILE {
                        if looks_ahead {
                            (0..TILE).step_by(super::TILE).for_each(|i| ahead(first.add(i)));
                        }
                        tiles[k] = first.cast();
                    } else {
                        core::ptr::copy_nonoverlapping(first.cast::<Anywhere<S::Value>>(), spare[k].as_mut_ptr(), n);
                        tiles[k] = &raw const spare[k];
                    }
                }
            }
            let mut terms = [[MaybeUninit::<S::Lane<ISA>>::uninit(); TILE]; MAX_SLOTS];
            // By index: the first dimension of `terms` is the result.
            #[allow(clippy::needless_range_loop)]
            for i in 0..TILE {
                // SAFETY: every input has a tile, in the caller's memory or in `spare`.
                let lanes = P::Inputs::build(|k| S::load::<ISA>(unsafe { (*tiles[k])[i].0 }));
                pass(lanes).visit(|k, term| {
                    terms[k][i].write(term);
                });
            }
            for k in 0..results {
                // SAFETY: the loop above wrote every element of every result: `visit` of a record visits every index.
                let terms = unsafe { &mut *(&raw mut terms[k]).cast::<[S::Lane<ISA>; TILE]>() };
                let (to, per) = to[k];
                match per {
                    ELEMENT => {
                        let store = |term: &S::Lane<ISA>| Anywhere(S::store::<ISA>(term.without_denormals()));
                        // SAFETY: `n` elements from here on are the caller's place for this result; such an element has
                        // no alignment.
                        let stored = unsafe {
                            let first = to.cast::<Anywhere<S::Value>>().add(row * block.stride + at);
                            core::slice::from_raw_parts_mut(first, n)
                        };
                        match <&mut Tile<S::Value>>::try_from(&mut *stored) {
                            Ok(whole) => whole.iter_mut().zip(&*terms).for_each(|(to, term)| *to = store(term)),
                            Err(_) => stored.iter_mut().zip(&*terms).for_each(|(to, term)| *to = store(term)),
                        }
                    }
                    COLUMN => {
                        // SAFETY: there is one sum per column, and nobody else looks at it now.
                        let sums = unsafe { core::slice::from_raw_parts_mut(to.cast::<f64>().add(at), n) };
                        for (sum, term) in sums.iter_mut().zip(&*terms) {
                            *sum += term.wide();
                        }
                    }
                    per => {
                        terms[n..].fill(S::Lane::<ISA>::from(0.0));
                        accumulate(if per == ROW { &mut of_row[k] } else { &mut of_block[k] }, terms);
                    }
                }
            }
        }
        for (k, to) in to.iter().enumerate().take(results).filter(|(_, to)| to.1 == ROW) {
            // SAFETY: there is one sum per row.
            unsafe { to.0.cast::<f64>().add(row).write(pairwise(&of_row[k])) };
        }
    }
    for (k, to) in to.iter().enumerate().take(results).filter(|(_, to)| to.1 == Per::Parameter as u32) {
        // SAFETY: the place for the block's sum.
        unsafe { to.0.cast::<f64>().write(pairwise(&of_block[k])) };
    }
}
