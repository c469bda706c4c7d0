//! An elementwise rule as a CPU kernel: the same source compiled for three instruction sets.
//! Pure, allocates nothing, calls no table; threads and chunks are the host's.
//!
//! Rust neither fuses nor reorders float operations, so all instruction sets give the same bits. What makes it fast:
//! tiles on the stack, so that no question of aliasing stands in the way of vector code; memory asked for ahead of its
//! use; and a lane type of its own per kernel, so that a rule's closure has one caller and is inlined whatever its
//! length.
#![allow(unsafe_code)]

mod lane;
mod measure;
mod pass;
mod storage;

use core::mem::MaybeUninit;
use std::fmt;

use crate::abi::KernelCall;
use crate::rule::{ElementwiseKernel, Kernel, Now, Step};
use crate::{Elementwise, Record, Scalar};
pub use lane::CpuLane;
pub use measure::{BLOCK, blocks, measure, rows_of, sum};
pub use pass::pass;
pub use storage::{Brain, Double, Single, Storage, from_bf16, to_bf16};

/// Elements handled at a time.
pub const TILE: usize = 64;
/// Most slots a rule may have.
const MAX_SLOTS: usize = 8;
/// How far ahead of its use memory is asked for, in elements.
const AHEAD: usize = 512;

/// An instruction set, as [`KernelCall::isa`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Isa {
    /// What every machine of the target has.
    Baseline = 0,
    /// AVX2 with FMA.
    Avx2 = 1,
    /// AVX-512 F, VL, DQ and BW.
    Avx512 = 2,
}

impl Isa {
    /// The best this machine has.
    pub fn of_this_machine() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512vl") && has!("avx512dq") && has!("avx512bw") {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Baseline
    }

    /// All this machine has, from the plainest.
    pub fn all_of_this_machine() -> impl Iterator<Item = Isa> {
        [Isa::Baseline, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= Isa::of_this_machine())
    }

    /// By its number; the best where the number is beyond it.
    fn of(number: u32) -> Isa {
        let asked = match number {
            0 => Isa::Baseline,
            1 => Isa::Avx2,
            _ => Isa::Avx512,
        };
        asked.min(Isa::of_this_machine())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "AVX2",
            Isa::Avx512 => "AVX-512",
        })
    }
}

/// Runs an elementwise rule over one chunk of any length, at any address. An instruction set that the machine lacks is
/// not used.
///
/// # Safety
/// `call` upholds what [`KernelCall`] says: `hyper` and `step` hold as many numbers as the rule reads; `x`, `g` and
/// every slot that is not null point to `n` elements of the storage format; `x` and the slots are written by nobody
/// else, `g` by nobody, during the call; `state` points to one pointer per slot.
pub unsafe fn update<R: Elementwise, S: Storage>(call: &KernelCall) {
    // SAFETY: as the caller's.
    unsafe { update_kernel::<ElementwiseKernel<R>, S>(call, 0) }
}

/// As [`update`], for any rule over elements, with the slots of the bits `narrow` in bf16.
///
/// # Safety
/// As [`update`]; a slot whose bit is set points to `n` bf16.
#[doc(hidden)]
pub unsafe fn update_kernel<R: Kernel, S: Storage>(call: &KernelCall, narrow: u64) {
    let run: unsafe fn(&KernelCall, u64) = match Isa::of(call.isa) {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<R, S>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<R, S>,
        _ => baseline::<R, S>,
    };
    let rest = call.n % TILE;
    let whole = call.n - rest;
    // SAFETY: `run` needs what the machine was just asked for; both calls cover elements of the caller's.
    unsafe {
        if whole > 0 {
            run(&KernelCall { n: whole, ..*call }, narrow);
        }
        if rest > 0 {
            run_rest::<R, S>(call, narrow, whole, rest, run);
        }
    }
}

/// The last `rest` elements, on a copy that is filled up with zeros.
///
/// # Safety
/// As [`update_kernel`], with `whole + rest == call.n` and `rest < TILE`.
unsafe fn run_rest<R: Kernel, S: Storage>(
    call: &KernelCall,
    narrow: u64,
    whole: usize,
    rest: usize,
    run: unsafe fn(&KernelCall, u64),
) {
    let slots = <R::State<f64> as Record<f64>>::NAMES.len();
    let mut x = [S::Value::default(); TILE];
    let mut g = [S::Value::default(); TILE];
    let mut state = [[S::Held::default(); TILE]; MAX_SLOTS];
    let mut pointers = [core::ptr::null_mut::<()>(); MAX_SLOTS];
    // SAFETY: elements `whole..whole + rest` are the caller's, and the copies have room for `rest < TILE` of them.
    // Bytes are copied, so no address need be aligned.
    unsafe {
        copy_in(call.x.cast::<S::Value>().add(whole), &mut x, rest);
        copy_in(call.g.cast::<S::Value>().add(whole), &mut g, rest);
        for (k, (copy, pointer)) in state.iter_mut().zip(&mut pointers).enumerate().take(slots) {
            let slot = *call.state.add(k);
            if !slot.is_null() {
                slot_in(slot, is_narrow(narrow, k), whole, copy, rest);
                *pointer = copy.as_mut_ptr().cast();
            }
        }
        let (in_x, in_g) = (x.as_mut_ptr().cast(), g.as_ptr().cast());
        run(&KernelCall { n: TILE, x: in_x, g: in_g, state: pointers.as_ptr(), ..*call }, narrow);
        copy_out(&x, call.x.cast::<S::Value>().add(whole), rest);
        for (k, copy) in state.iter().enumerate().take(slots) {
            let slot = *call.state.add(k);
            if !slot.is_null() {
                slot_out(copy, slot, is_narrow(narrow, k), whole, rest);
            }
        }
    }
}

/// Whether a slot lies in memory as bf16.
#[inline(always)]
fn is_narrow(narrow: u64, slot: usize) -> bool {
    narrow >> slot & 1 != 0
}

/// Bytes of an element of a slot.
fn width<H>(narrow: bool) -> usize {
    if narrow { size_of::<u16>() } else { size_of::<H>() }
}

/// Elements `at..at + n` of a slot as they lie in memory, to the beginning of `to`.
///
/// # Safety
/// `slot` has them, at any address; `n` is at most `TILE`, and an `H` no smaller than a bf16.
unsafe fn slot_in<H>(slot: *const (), narrow: bool, at: usize, to: &mut [H; TILE], n: usize) {
    let width = width::<H>(narrow);
    // SAFETY: the caller's promise; a stack array does not overlap it.
    unsafe { core::ptr::copy_nonoverlapping(slot.cast::<u8>().add(at * width), to.as_mut_ptr().cast(), n * width) }
}

/// The way back of [`slot_in`].
///
/// # Safety
/// As there.
unsafe fn slot_out<H>(from: &[H; TILE], slot: *mut (), narrow: bool, at: usize, n: usize) {
    let width = width::<H>(narrow);
    // SAFETY: the caller's promise; a stack array does not overlap it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr().cast(), slot.cast::<u8>().add(at * width), n * width) }
}

/// # Safety
/// `from` has `n` elements, at any address; `n` is at most `TILE`.
unsafe fn copy_in<E>(from: *const E, to: &mut [E; TILE], n: usize) {
    // SAFETY: the caller's promise; a stack array does not overlap it.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), to.as_mut_ptr().cast(), n * size_of::<E>()) }
}

/// # Safety
/// `to` has room for `n` elements, at any address; `n` is at most `TILE`.
unsafe fn copy_out<E>(from: &[E; TILE], to: *mut E, n: usize) {
    // SAFETY: the caller's promise; a stack array does not overlap it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr().cast::<u8>(), to.cast(), n * size_of::<E>()) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<R: Kernel, S: Storage>(call: &KernelCall, narrow: u64) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 2>(call, narrow) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<R: Kernel, S: Storage>(call: &KernelCall, narrow: u64) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 1>(call, narrow) }
}

#[inline(never)]
unsafe fn baseline<R: Kernel, S: Storage>(call: &KernelCall, narrow: u64) {
    // SAFETY: as the caller's.
    unsafe { tiles::<R, S, 0>(call, narrow) }
}

/// The numbers of a step, as they lie in memory: t, numel, grad_norm, the sums, the memory.
///
/// # Safety
/// `hyper` and `step` hold as many numbers as the rule reads.
#[inline(always)]
unsafe fn now<R: Kernel, L: CpuLane>(hyper: *const f64, step: *const f64) -> Now<R, L> {
    let sums = <R::Sums<f64> as Record<f64>>::NAMES.len();
    // SAFETY: the caller's promise.
    unsafe {
        Now {
            h: R::Hyper::build(|k| Scalar(*hyper.add(k))),
            step: Step::build(|k| Scalar(*step.add(k))),
            sums: R::Sums::build(|k| Scalar(*step.add(3 + k))),
            memory: R::Memory::build(|k| Scalar(*step.add(3 + sums + k))),
        }
    }
}

/// An element at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Anywhere<E>(E);

/// A tile of elements, wherever it lies.
type Tile<E> = [Anywhere<E>; TILE];

/// A tile of a slot, as the rule reads it: where it lies or, where it lies in bf16, widened into `room`.
///
/// # Safety
/// `slot` has the elements `at..at + TILE`, which nobody writes while the tile is looked at.
#[inline(always)]
unsafe fn held<S: Storage>(slot: *const (), narrow: bool, at: usize, room: &mut Tile<S::Held>) -> &Tile<S::Held> {
    // SAFETY: the caller's promise; a tile has no alignment.
    unsafe {
        if !narrow {
            return &*slot.cast::<S::Held>().add(at).cast::<Tile<S::Held>>();
        }
        let tile = &*slot.cast::<u16>().add(at).cast::<Tile<u16>>();
        for i in 0..TILE {
            room[i] = Anywhere(S::widen(tile[i].0));
        }
        room
    }
}

/// Room for the tiles of slots that lie in bf16.
const fn room<H: Copy>(zero: H) -> [Tile<H>; MAX_SLOTS] {
    [[Anywhere(zero); TILE]; MAX_SLOTS]
}

/// `call.n` elements in whole tiles. The results of a tile stay on the stack until all of it is read; an absent slot
/// reads as zeros.
///
/// # Safety
/// As [`update_kernel`], and `call.n` is a multiple of `TILE`.
#[inline(always)]
unsafe fn tiles<R: Kernel, S: Storage, const ISA: u8>(call: &KernelCall, narrow: u64) {
    const { assert!(<R::State<f64> as Record<f64>>::NAMES.len() <= MAX_SLOTS, "a rule has at most 8 state slots") };
    let slots = <R::State<f64> as Record<f64>>::NAMES.len();
    let zeros = [Anywhere(S::Held::default()); TILE];
    let mut wide = room(S::Held::default());
    // SAFETY: the caller's promise about `hyper` and `step`.
    let rule = R::update::<S::Lane<ISA>>(unsafe { now::<R, _>(call.hyper, call.step) });
    let looks_ahead = looks_ahead();
    for at in (0..call.n).step_by(TILE) {
        // SAFETY: `at + TILE` is at most `call.n`, so these are the caller's elements; a tile has no alignment. Nobody
        // writes them while the references live: this call does so after their last use.
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
        let mut new_x = [MaybeUninit::<Anywhere<S::Value>>::uninit(); TILE];
        let mut new_state = [[MaybeUninit::<Anywhere<S::Held>>::uninit(); TILE]; MAX_SLOTS];
        for i in 0..TILE {
            let mut lanes = R::State::build(|k| S::load_state::<ISA>(state[k][i].0));
            let new = rule(S::load::<ISA>(x[i].0), S::load::<ISA>(g[i].0), &mut lanes);
            new_x[i].write(Anywhere(S::store::<ISA>(new)));
            lanes.visit(|k, lane| {
                new_state[k][i].write(Anywhere(S::store_state::<ISA>(lane.without_denormals())));
            });
        }
        // SAFETY: the same elements, which the caller lets us write. What is written was initialized by the loop:
        // `new_x` always, a slot because `visit` of a record visits every index.
        unsafe {
            call.x.cast::<S::Value>().add(at).cast::<[MaybeUninit<Anywhere<S::Value>>; TILE]>().write(new_x);
            for (k, tile) in new_state.iter().enumerate().take(slots) {
                let slot = *call.state.add(k);
                if slot.is_null() {
                    continue;
                }
                if is_narrow(narrow, k) {
                    let bits = tile.map(|element| Anywhere(S::narrow(element.assume_init().0)));
                    slot.cast::<u16>().add(at).cast::<Tile<u16>>().write(bits);
                } else {
                    slot.cast::<S::Held>().add(at).cast::<[MaybeUninit<Anywhere<S::Held>>; TILE]>().write(*tile);
                }
            }
        }
    }
}

/// Whether asking for memory ahead of its use makes a kernel faster. On Intel's processors it does, by a third for AdamW;
/// on AMD's it costs a tenth, and what the hardware foresees is enough. A host does not hand over slots that the reducing pass
/// does not read.
fn looks_ahead() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::LazyLock;
        static INTEL: LazyLock<bool> = LazyLock::new(|| {
            let id = core::arch::x86_64::__cpuid(0);
            [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
        });
        *INTEL
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Asks for the memory of `N` elements, `distance` elements behind these. Past the end it is only a hint and never faults.
#[inline(always)]
fn ahead<E, const N: usize>(tile: *const E, distance: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(N * size_of::<E>()).div_ceil(64) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, whatever the address; SSE is part of the target.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(tile.cast::<i8>().wrapping_add(distance * size_of::<E>() + line * 64)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (tile, distance);
}
