//! The reducing pass of a rule: sums over a chunk, block by block.
//! Does not add up the blocks of a tensor; the host does, once all chunks are done, by [`sum`].
//!
//! The order of every addition follows from an element's place in its tensor alone: 16 accumulators in f64 take the
//! elements in turn within a block, and are added pairwise. So no number of threads, chunk size or instruction set
//! changes a bit.

use core::mem::MaybeUninit;

use super::{
    AHEAD, Anywhere, CpuLane, Isa, MAX_SLOTS, Storage, TILE, Tile, ahead, copy_in, held, is_narrow, looks_ahead, now,
    room, slot_in,
};
use crate::Record;
use crate::abi::MeasureCall;
use crate::rule::Kernel;

/// Elements that one row of sums covers. A chunk begins at a multiple of it, counted from its tensor's first element.
pub const BLOCK: usize = 4096;
/// Accumulators of a sum.
pub(super) const ACCUMULATORS: usize = 16;

/// Rows of sums that a chunk of `n` elements has: one per block of whole tiles, and one for the rest.
pub fn blocks(n: usize) -> usize {
    (n - n % TILE).div_ceil(BLOCK) + usize::from(!n.is_multiple_of(TILE))
}

/// Sum of a tensor's rows, pairwise in a fixed order.
pub fn sum(rows: &[f64]) -> f64 {
    match rows {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = rows.split_at(rows.len().next_power_of_two() / 2);
            sum(left) + sum(right)
        }
    }
}

/// Measures one chunk of any length, at any address, with the slots of the bits `narrow` in bf16.
///
/// # Safety
/// `call` upholds what [`MeasureCall`] says; see [`update_kernel`](super::update_kernel).
#[doc(hidden)]
pub unsafe fn measure<R: Kernel, S: Storage>(call: &MeasureCall, narrow: u64) {
    let run: unsafe fn(&MeasureCall, u64, usize) = match Isa::of(call.isa) {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<R, S>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<R, S>,
        _ => baseline::<R, S>,
    };
    let (slots, sums) = (<R::State<f64> as Record<f64>>::NAMES.len(), <R::Sums<f64> as Record<f64>>::NAMES.len());
    let rest = call.n % TILE;
    let whole = call.n - rest;
    // SAFETY: `run` needs what the machine was just asked for; both calls read elements of the caller's, and the copies
    // have room for `rest < TILE` of them; the rest's row is the last of `blocks(call.n)`.
    unsafe {
        if whole > 0 {
            run(&MeasureCall { n: whole, ..*call }, narrow, TILE);
        }
        if rest > 0 {
            let mut x = [S::Value::default(); TILE];
            let mut g = [S::Value::default(); TILE];
            let mut state = [[S::Held::default(); TILE]; MAX_SLOTS];
            let mut pointers = [core::ptr::null::<()>(); MAX_SLOTS];
            copy_in(call.x.cast::<S::Value>().add(whole), &mut x, rest);
            copy_in(call.g.cast::<S::Value>().add(whole), &mut g, rest);
            for (k, (copy, pointer)) in state.iter_mut().zip(&mut pointers).enumerate().take(slots) {
                let slot = *call.state.add(k);
                if !slot.is_null() {
                    slot_in(slot, is_narrow(narrow, k), whole, copy, rest);
                    *pointer = copy.as_ptr().cast();
                }
            }
            let rows = call.rows.add(whole.div_ceil(BLOCK) * sums);
            let (x, g, state) = (x.as_ptr().cast(), g.as_ptr().cast(), pointers.as_ptr());
            run(&MeasureCall { n: TILE, x, g, state, rows, ..*call }, narrow, rest);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<R: Kernel, S: Storage>(call: &MeasureCall, narrow: u64, used: usize) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 2>(call, narrow, used) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<R: Kernel, S: Storage>(call: &MeasureCall, narrow: u64, used: usize) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 1>(call, narrow, used) }
}

#[inline(never)]
unsafe fn baseline<R: Kernel, S: Storage>(call: &MeasureCall, narrow: u64, used: usize) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 0>(call, narrow, used) }
}

/// `call.n` elements in whole tiles. Of each tile the first `used` elements count.
///
/// # Safety
/// As [`measure`], and `call.n` is a multiple of `TILE`.
#[inline(always)]
unsafe fn tiles<R: Kernel, S: Storage, const ISA: u8>(call: &MeasureCall, narrow: u64, used: usize) {
    const { assert!(<R::Sums<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a rule has at most 8 sums") };
    let (slots, sums) = (<R::State<f64> as Record<f64>>::NAMES.len(), <R::Sums<f64> as Record<f64>>::NAMES.len());
    let zeros = [Anywhere(S::Held::default()); TILE];
    let mut wide = room(S::Held::default());
    // SAFETY: the caller's promise about `hyper` and `step`.
    let rule = R::measure::<S::Lane<ISA>>(unsafe { now::<R, _>(call.hyper, call.step) });
    let looks_ahead = looks_ahead();
    let mut accumulators = [[0.0f64; ACCUMULATORS]; MAX_SLOTS];
    for at in (0..call.n).step_by(TILE) {
        // SAFETY: `at + TILE` is at most `call.n`, so these are the caller's elements, which nobody writes during the
        // call; a tile has no alignment.
        let (x, g, state) = unsafe {
            let mut state = [&zeros; MAX_SLOTS];
            for (k, (tile, room)) in state.iter_mut().zip(&mut wide).enumerate().take(slots) {
                let slot = *call.state.add(k);
                if !slot.is_null() {
                    *tile = held::<S>(slot, is_narrow(narrow, k), at, room);
                    if looks_ahead && is_narrow(narrow, k) {
                        ahead::<_, TILE>(slot.cast::<u16>().add(at), AHEAD);
                    } else if looks_ahead {
                        ahead::<_, TILE>(slot.cast::<S::Held>().add(at), AHEAD);
                    }
                }
            }
            let x = &*call.x.cast::<S::Value>().add(at).cast::<Tile<S::Value>>();
            let g = &*call.g.cast::<S::Value>().add(at).cast::<Tile<S::Value>>();
            (x, g, state)
        };
        if looks_ahead {
            ahead::<_, TILE>(x.as_ptr(), AHEAD);
            ahead::<_, TILE>(g.as_ptr(), AHEAD);
        }
        let mut terms = [[MaybeUninit::<S::Lane<ISA>>::uninit(); TILE]; MAX_SLOTS];
        for i in 0..TILE {
            let lanes = R::State::build(|k| S::load_state::<ISA>(state[k][i].0));
            rule(S::load::<ISA>(x[i].0), S::load::<ISA>(g[i].0), lanes).visit(|k, term| {
                terms[k][i].write(term);
            });
        }
        for (terms, accumulators) in terms.iter_mut().zip(&mut accumulators).take(sums) {
            for term in &mut terms[used..] {
                term.write(S::Lane::<ISA>::from(0.0));
            }
            // SAFETY: the loop above wrote every element of every sum: `visit` of a record visits every index.
            accumulate(accumulators, unsafe { &*(&raw const *terms).cast::<[S::Lane<ISA>; TILE]>() });
        }
        let done = at + TILE;
        if done.is_multiple_of(BLOCK) || done == call.n {
            for (k, accumulators) in accumulators.iter_mut().enumerate().take(sums) {
                // SAFETY: the caller has room for a row per block.
                unsafe { *call.rows.add((done - 1) / BLOCK * sums + k) = pairwise(accumulators) };
                *accumulators = [0.0; ACCUMULATORS];
            }
        }
    }
}

#[inline(always)]
pub(super) fn accumulate<L: CpuLane, const N: usize>(accumulators: &mut [f64; ACCUMULATORS], terms: &[L; N]) {
    let mut sums = *accumulators;
    for row in terms.chunks_exact(ACCUMULATORS) {
        for (sum, term) in sums.iter_mut().zip(row) {
            *sum += term.wide();
        }
    }
    *accumulators = sums;
}

/// Not inlined: seen together with the loop before it, LLVM would pair up two sums and spoil both.
#[inline(never)]
pub(super) fn pairwise(values: &[f64; ACCUMULATORS]) -> f64 {
    let mut values = *values;
    let mut half = ACCUMULATORS / 2;
    while half > 0 {
        for k in 0..half {
            values[k] += values[k + half];
        }
        half /= 2;
    }
    values[0]
}

/// The rows of sums of a whole tensor's terms, as [`measure`] makes them. For comparing: plain and slow.
pub fn rows_of(terms: &[f64]) -> Vec<f64> {
    let rest = terms.len() % TILE;
    let (whole, rest) = terms.split_at(terms.len() - rest);
    let row = |terms: &[f64]| {
        let mut sums = [0.0; ACCUMULATORS];
        for (k, term) in terms.iter().enumerate() {
            sums[k % ACCUMULATORS] += term;
        }
        pairwise(&sums)
    };
    whole.chunks(BLOCK).chain((!rest.is_empty()).then_some(rest)).map(row).collect()
}
