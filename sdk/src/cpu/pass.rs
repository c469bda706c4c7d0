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
/// Elements handled at a time at the end of a row, where a whole tile is too long.
const END: usize = ACCUMULATORS;

/// Columns of a block whose sums are kept on the stack until the block is done: beside those of another thread, what the
/// processor fetches ahead of one would be taken from the other at every row.
const WIDTH: usize = 512;

/// A tile of elements, wherever it lies.
type Tile<E, const N: usize = TILE> = [Anywhere<E>; N];

const ELEMENT: u32 = Per::Element as u32;
const ROW: u32 = Per::Row as u32;
const COLUMN: u32 = Per::Column as u32;

/// Runs a pass over one block of any size, at any address. An instruction set that the machine lacks is not used.
///
/// # Safety
/// `block` upholds what [`PassBlock`] says, for this storage format: as many numbers, inputs and results as the pass has;
/// inputs and results reach as far as rows, columns and stride say; results are written by nobody else and inputs by
/// nobody during the call; a kept result lies apart from all inputs, or is where an input of elements is; places for sums are
/// aligned.
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
    unsafe { tiles::<P, S, 2, 12>(block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<P: Pass, S: Storage>(block: &PassBlock) {
    // SAFETY: as the caller's.
    unsafe { tiles::<P, S, 1, 11>(block) }
}

#[inline(never)]
unsafe fn baseline<P: Pass, S: Storage>(block: &PassBlock) {
    // SAFETY: as the caller's.
    unsafe { tiles::<P, S, 0, 10>(block) }
}

/// Inputs: where each begins, and its code. Results: the same.
struct Block<V> {
    from: [(*const V, u32); MAX_SLOTS],
    to: [(*mut (), u32); MAX_SLOTS],
    stride: usize,
    /// How far ahead of its use memory is asked for, in elements; none where that does not pay.
    ahead: Option<usize>,
}

/// Sums of one row or one block, for every result.
type Sums = [[f64; ACCUMULATORS]; MAX_SLOTS];

/// The whole block. `END_ISA` keeps the rows' ends a kernel apart, as an instruction set does, so that the pass has a single
/// caller in each.
///
/// # Safety
/// As [`pass`].
#[inline(always)]
unsafe fn tiles<P: Pass, S: Storage, const ISA: u8, const END_ISA: u8>(block: &PassBlock) {
    const { assert!(<P::Inputs<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a pass has at most 8 inputs") };
    const { assert!(<P::Results<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a pass has at most 8 results") };
    let inputs = <P::Inputs<f64> as Record<f64>>::NAMES.len();
    let results = <P::Results<f64> as Record<f64>>::NAMES.len();
    let mut own = Block::<S::Value> {
        from: [(core::ptr::null(), ELEMENT); MAX_SLOTS],
        to: [(core::ptr::null_mut(), ELEMENT); MAX_SLOTS],
        stride: block.stride,
        ahead: looks_ahead().then(|| match block.rows {
            0 | 1 => super::AHEAD,
            // The same columns of a row below: what comes next in memory may be another block's.
            _ => super::AHEAD.div_ceil(block.columns.max(1)) * block.stride,
        }),
    };
    // What is not read where it lies: the end of a row, and one number for many elements.
    let mut spare = [[Anywhere(S::Value::default()); TILE]; MAX_SLOTS];
    let mut own_sums = [[MaybeUninit::<f64>::uninit(); WIDTH]; MAX_SLOTS];
    // SAFETY: the caller's promise about numbers, and about as many pointers and codes as there are inputs and results;
    // a parameter's input is one element, a column's sums are as many as the block has columns.
    let (pass, pass_at_end) = unsafe {
        for (k, from) in own.from.iter_mut().enumerate().take(inputs) {
            *from = ((*block.inputs.add(k)).cast(), *block.input_per.add(k));
            if from.1 == Per::Parameter as u32 {
                spare[k] = [from.0.cast::<Anywhere<S::Value>>().read(); TILE];
            }
        }
        for (k, to) in own.to.iter_mut().enumerate().take(results) {
            *to = (*block.results.add(k), *block.result_per.add(k));
            if to.1 == COLUMN {
                if block.columns <= WIDTH {
                    to.0 = own_sums[k].as_mut_ptr().cast();
                }
                to.0.cast::<f64>().write_bytes(0, block.columns);
            }
        }
        (
            P::each::<S::Lane<ISA>>(P::Numbers::build(|k| Scalar(*block.numbers.add(k)))),
            P::each::<S::Lane<END_ISA>>(P::Numbers::build(|k| Scalar(*block.numbers.add(k)))),
        )
    };
    let mut of_block: Sums = [[0.0; ACCUMULATORS]; MAX_SLOTS];
    for row in 0..block.rows {
        for (from, spare) in own.from.iter().zip(&mut spare).take(inputs).filter(|(from, _)| from.1 == ROW) {
            // SAFETY: there is one number per row.
            *spare = [unsafe { from.0.add(row).cast::<Anywhere<S::Value>>().read() }; TILE];
        }
        let mut of_row: Sums = [[0.0; ACCUMULATORS]; MAX_SLOTS];
        let whole = block.columns - block.columns % TILE;
        // SAFETY: elements of this row of the caller's block, each once.
        unsafe {
            for at in (0..whole).step_by(TILE) {
                tile::<P, S, ISA, TILE>(&own, &mut spare, (row, at, TILE), &mut of_row, &mut of_block, &pass);
            }
            for at in (whole..block.columns).step_by(END) {
                let n = END.min(block.columns - at);
                tile::<P, S, END_ISA, END>(&own, &mut spare, (row, at, n), &mut of_row, &mut of_block, &pass_at_end);
            }
        }
        for (k, to) in own.to.iter().enumerate().take(results).filter(|(_, to)| to.1 == ROW) {
            // SAFETY: there is one sum per row.
            unsafe { to.0.cast::<f64>().add(row).write(pairwise(&of_row[k])) };
        }
    }
    if block.columns <= WIDTH {
        for (k, to) in own.to.iter().enumerate().take(results).filter(|(_, to)| to.1 == COLUMN) {
            // SAFETY: there is one sum per column, all written, and the caller's place for them is another.
            unsafe { (*block.results.add(k)).cast::<f64>().copy_from_nonoverlapping(to.0.cast(), block.columns) };
        }
    }
    for (k, to) in own.to.iter().enumerate().take(results).filter(|(_, to)| to.1 == Per::Parameter as u32) {
        // SAFETY: the place for the block's sum.
        unsafe { to.0.cast::<f64>().write(pairwise(&of_block[k])) };
    }
}

/// `n` elements of a row, at most `N`. A tile that is not full is filled up on the stack; what does not belong to the block
/// is neither stored nor summed. What an element's sums are added to follows from its column alone: `at` and `N` are
/// multiples of the accumulators.
///
/// # Safety
/// As [`pass`]; the elements lie in the block.
#[inline(always)]
unsafe fn tile<P: Pass, S: Storage, const ISA: u8, const N: usize>(
    block: &Block<S::Value>,
    spare: &mut [Tile<S::Value>; MAX_SLOTS],
    (row, at, n): (usize, usize, usize),
    of_row: &mut Sums,
    of_block: &mut Sums,
    pass: &impl Fn(P::Inputs<S::Lane<ISA>>) -> P::Results<S::Lane<ISA>>,
) {
    let inputs = <P::Inputs<f64> as Record<f64>>::NAMES.len();
    let results = <P::Results<f64> as Record<f64>>::NAMES.len();
    let mut tiles = [core::ptr::null::<Tile<S::Value, N>>(); MAX_SLOTS];
    for k in 0..inputs {
        let offset = match block.from[k].1 {
            ELEMENT => row * block.stride + at,
            COLUMN => at,
            _ => {
                tiles[k] = (&raw const spare[k]).cast();
                continue;
            }
        };
        // SAFETY: `n` elements from here on are the caller's; a tile has no alignment.
        unsafe {
            let first = block.from[k].0.add(offset);
            if n == N {
                if let (Some(distance), ELEMENT) = (block.ahead, block.from[k].1) {
                    ahead::<S::Value, N>(first, distance);
                }
                tiles[k] = first.cast();
            } else {
                core::ptr::copy_nonoverlapping(first.cast::<Anywhere<S::Value>>(), spare[k].as_mut_ptr(), n);
                tiles[k] = (&raw const spare[k]).cast();
            }
        }
    }
    let mut terms = [[MaybeUninit::<S::Lane<ISA>>::uninit(); N]; MAX_SLOTS];
    // By index: the first dimension of `terms` is the result.
    #[allow(clippy::needless_range_loop)]
    for i in 0..N {
        // SAFETY: every input has a tile, in the caller's memory or in `spare`.
        let lanes = P::Inputs::build(|k| S::load::<ISA>(unsafe { (*tiles[k])[i].0 }));
        pass(lanes).visit(|k, term| {
            terms[k][i].write(term);
        });
    }
    for k in 0..results {
        // SAFETY: the loop above wrote every element of every result: `visit` of a record visits every index.
        let terms = unsafe { &mut *(&raw mut terms[k]).cast::<[S::Lane<ISA>; N]>() };
        let (to, per) = block.to[k];
        match per {
            ELEMENT => {
                let store = |term: &S::Lane<ISA>| Anywhere(S::store::<ISA>(term.without_denormals()));
                // SAFETY: `n` elements from here on are the caller's place for this result, where no input is read any more;
                // such an element has no alignment.
                let stored = unsafe {
                    let first = to.cast::<Anywhere<S::Value>>().add(row * block.stride + at);
                    core::slice::from_raw_parts_mut(first, n)
                };
                match <&mut Tile<S::Value, N>>::try_from(&mut *stored) {
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
