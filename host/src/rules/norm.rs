//! The L2 norm of gradients and whether each is finite, in one pass that only reads.
//! Does not scale or skip anything; that is `optim::clip` and `optim::non_finite`.
//!
//! The order of the additions is fixed: blocks of 4096 elements counted from the start of a tensor, in each 16
//! interleaved f64 sums, joined pairwise; then the blocks of a tensor pairwise; then the tensors in their order. So the
//! bits do not depend on threads, chunks or instruction sets.

use tch::{Device, Kind, Tensor};

use super::{
    InstructionSet,
    chunks::{self, Chunk},
    threads,
};
use crate::fault::{Exit, Fault};

/// Elements per partial sum.
const BLOCK: usize = 4096;
/// Interleaved sums of a block: element i goes to sum i mod 16.
const LANES: usize = 16;
/// How far ahead of its use memory is asked for, in bytes.
const AHEAD: usize = 8192;

/// The squared norm of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SquaredNorm {
    /// Sum of the squares of all elements, in f64.
    pub sum: f64,
    /// Whether every element is finite.
    pub finite: bool,
}

/// Squared norms of tensors of f32, f64 or bf16 elements, on libtorch's threads. An absent tensor has norm 0.
///
/// # Errors
/// An element type without a norm, or a failure of libtorch.
pub fn squared_norms(tensors: &[Option<Tensor>]) -> Result<Vec<SquaredNorm>, Fault> {
    squared_norms_with(tensors, chunks::CHUNK, InstructionSet::detect())
}

/// As [`squared_norms`], with chunks of `chunk` elements and an instruction set that the machine has.
fn squared_norms_with(
    tensors: &[Option<Tensor>],
    chunk: usize,
    isa: InstructionSet,
) -> Result<Vec<SquaredNorm>, Fault> {
    let chunk = chunk.next_multiple_of(BLOCK);
    // Gradients may lie in memory in any order; the sum must not depend on it.
    let tensors: Vec<Option<Tensor>> = tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::contiguous)).collect();
    let on_cpu: Vec<Option<Elements>> =
        tensors.iter().map(|tensor| elements(tensor.as_ref())).collect::<Result<_, _>>()?;
    let numels: Vec<usize> = on_cpu.iter().map(|found| found.map_or(0, |elements| elements.n)).collect();

    let mut pieces = Vec::new();
    chunks::split(numels.iter().copied(), chunk, &mut pieces);
    let mut first_row = Vec::with_capacity(numels.len());
    let mut rows = 0;
    for n in &numels {
        first_row.push(rows);
        rows += n.div_ceil(BLOCK);
    }
    let mut partials = vec![0.0f64; rows];
    let sink = Partials(partials.as_mut_ptr());
    let body = |index: usize| {
        let Chunk { tensor, at, n } = pieces[index];
        let Some(source) = on_cpu[tensor] else { return };
        let sink = &sink;
        for (row, start) in (at..at + n).step_by(BLOCK).enumerate() {
            let len = BLOCK.min(at + n - start);
            // SAFETY: `start + len` is at most the number of elements of a contiguous tensor that `tensors` keeps
            // alive.
            let sum = unsafe { source.block(start, len, isa) };
            // SAFETY: chunks are multiples of a block, so this row belongs to this chunk alone, and lies in `partials`.
            unsafe { *sink.0.add(first_row[tensor] + at / BLOCK + row) = sum };
        }
    };
    if numels.iter().sum::<usize>() < chunks::CHUNK {
        (0..pieces.len()).for_each(body);
    } else {
        threads::for_each(pieces.len(), &body);
    }

    let mut norms = Vec::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        norms.push(match (tensor, on_cpu[index]) {
            (None, _) => SquaredNorm { sum: 0.0, finite: true },
            (Some(tensor), Some(_)) => {
                let sum = pairwise(&partials[first_row[index]..first_row[index] + numels[index].div_ceil(BLOCK)]);
                SquaredNorm { sum, finite: finite(sum, tensor)? }
            }
            (Some(tensor), None) => on_device(tensor)?,
        });
    }
    Ok(norms)
}

/// Squares of f32 and bf16 fit into f64, so their sum tells; squares of large f64 do not.
fn finite(sum: f64, tensor: &Tensor) -> Result<bool, Fault> {
    if sum.is_finite() || tensor.kind() != Kind::Double {
        return Ok(sum.is_finite());
    }
    let all = tensor.f_isfinite().and_then(|each| each.f_all()).and_then(|all| all.f_int64_value(&[]));
    Ok(all.map_err(failed)? != 0)
}

/// On a device the order is that of its reduction, which is fixed for one device and shape.
fn on_device(tensor: &Tensor) -> Result<SquaredNorm, Fault> {
    let flat = tensor.f_flatten(0, -1).map_err(failed)?;
    let norm = flat.f_linalg_norm(2.0, None::<&[i64]>, false, Kind::Double).map_err(failed)?;
    let norm = norm.f_double_value(&[]).map_err(failed)?;
    Ok(SquaredNorm { sum: norm * norm, finite: finite(norm, tensor)? })
}

fn failed(error: tch::TchError) -> Fault {
    Fault::new("N003", Exit::Bug, format!("the norm of a gradient could not be computed: {error}"))
}

/// Where partial sums go; each row has one writer.
struct Partials(*mut f64);
// SAFETY: every chunk writes rows of its own.
unsafe impl Sync for Partials {}

/// The elements of a contiguous CPU tensor.
#[derive(Clone, Copy)]
struct Elements {
    data: *const u8,
    n: usize,
    storage: Storage,
}
// SAFETY: read only, and kept alive by the caller.
unsafe impl Sync for Elements {}

#[derive(Clone, Copy)]
enum Storage {
    F32,
    F64,
    Bf16,
}

/// None for an absent tensor and for one on another device.
fn elements(tensor: Option<&Tensor>) -> Result<Option<Elements>, Fault> {
    let Some(tensor) = tensor.filter(|tensor| tensor.device() == Device::Cpu) else { return Ok(None) };
    let storage = match tensor.kind() {
        Kind::Float => Storage::F32,
        Kind::Double => Storage::F64,
        Kind::BFloat16 => Storage::Bf16,
        other => return Err(Fault::new("N003", Exit::Bug, format!("no norm for gradients of type {other:?}"))),
    };
    Ok(Some(Elements { data: tensor.data_ptr() as *const u8, n: tensor.numel(), storage }))
}

impl Elements {
    /// Sum of the squares of `len` elements from `start`, at most a block.
    ///
    /// # Safety
    /// The elements exist, and the machine has `isa`.
    unsafe fn block(self, start: usize, len: usize, isa: InstructionSet) -> f64 {
        // SAFETY: as promised by the caller; the element type was read from the tensor.
        unsafe {
            match self.storage {
                Storage::F32 => dispatch(std::slice::from_raw_parts((self.data as *const f32).add(start), len), isa),
                Storage::F64 => dispatch(std::slice::from_raw_parts((self.data as *const f64).add(start), len), isa),
                Storage::Bf16 => dispatch(std::slice::from_raw_parts((self.data as *const Bf16).add(start), len), isa),
            }
        }
    }
}

/// A bfloat16 by its bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bf16(u16);

trait Wide: Copy {
    fn wide(self) -> f64;
}
impl Wide for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}
impl Wide for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}
impl Wide for Bf16 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.0) << 16))
    }
}

/// # Safety
/// The machine has `isa`.
unsafe fn dispatch<E: Wide>(values: &[E], isa: InstructionSet) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<E: Wide>(values: &[E]) -> f64 {
            block_sum(values)
        }
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
        fn avx512<E: Wide>(values: &[E]) -> f64 {
            block_sum(values)
        }
        match isa {
            // SAFETY: the machine has `isa`, as promised.
            InstructionSet::Avx512 => return unsafe { avx512(values) },
            // SAFETY: the machine has `isa`, as promised.
            InstructionSet::Avx2 => return unsafe { avx2(values) },
            InstructionSet::Baseline => {}
        }
    }
    let _ = isa;
    block_sum(values)
}

#[inline(always)]
fn block_sum<E: Wide>(values: &[E]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let mut add = |row: &[E]| {
        for (sum, value) in sums.iter_mut().zip(row) {
            let value = value.wide();
            *sum += value * value;
        }
    };
    let tiles = values.chunks_exact(4 * LANES);
    let rest = tiles.remainder();
    for tile in tiles {
        ahead(tile);
        tile.chunks_exact(LANES).for_each(&mut add);
    }
    rest.chunks(LANES).for_each(&mut add);
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Asks for the memory that comes after `tile`.
#[inline(always)]
fn ahead<E>(tile: &[E]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(tile)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint and never faults, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((tile.as_ptr() as *const i8).wrapping_add(AHEAD + line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (tile, AHEAD);
}

/// Pairwise sum in an order that depends on the length alone.
fn pairwise(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            pairwise(left) + pairwise(right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<Option<Tensor>> {
        let sizes = [0i64, 1, 15, 4095, 4096, 4097, 300_001];
        let kinds = [Kind::Float, Kind::Double, Kind::BFloat16];
        let make = |(i, n): (usize, &i64)| {
            let ramp = Tensor::arange(*n, (Kind::Double, Device::Cpu));
            Some(((ramp * 0.37).sin() * 3.0).to_kind(kinds[i % 3]))
        };
        sizes.iter().enumerate().map(make).chain([None]).collect()
    }

    #[test]
    fn same_bits_for_any_threads_chunks_and_instructions() {
        let tensors = tensors();
        let _alone = crate::rules::tests::alone();
        let before = threads::count();
        let mut all = Vec::new();
        for threads in [1, 2, 3, 5] {
            assert!(threads::set_count(threads));
            for chunk in [1, 4096, 20_000, 1 << 24] {
                for isa in InstructionSet::ALL.into_iter().filter(|isa| *isa <= InstructionSet::detect()) {
                    all.push(squared_norms_with(&tensors, chunk, isa).unwrap());
                }
            }
        }
        threads::set_count(before);
        for other in &all[1..] {
            for (a, b) in all[0].iter().zip(other) {
                assert_eq!(a.sum.to_bits(), b.sum.to_bits());
            }
        }
    }

    #[test]
    fn the_norm_is_that_of_torch() {
        for (tensor, norm) in tensors().iter().zip(squared_norms(&tensors()).unwrap()) {
            let torch = tensor.as_ref().map_or(0.0, |t| t.to_kind(Kind::Double).square().sum(None).double_value(&[]));
            assert!((norm.sum - torch).abs() <= 1e-12 * torch, "{} {torch}", norm.sum);
            assert!(norm.finite);
        }
    }

    #[test]
    fn a_transposed_gradient_has_the_norm_of_its_elements() {
        let g = Tensor::arange(12, (Kind::Float, Device::Cpu)).reshape([3, 4]).transpose(0, 1);
        assert_eq!(squared_norms(&[Some(g)]).unwrap()[0].sum, 506.0);
    }

    #[test]
    fn one_element_tells() {
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for at in [0, 4999, 9_998] {
                    let g = Tensor::ones([9_999], (kind, Device::Cpu));
                    let _ = g.narrow(0, at, 1).fill_(bad);
                    assert!(!squared_norms(&[Some(g)]).unwrap()[0].finite, "{kind:?} {bad} {at}");
                }
            }
        }
        let large = Tensor::full([3], 1e200, (Kind::Double, Device::Cpu));
        assert!(squared_norms(&[Some(large)]).unwrap()[0].finite);
        let largest = Tensor::full([9_999], f64::from(f32::MAX), (Kind::Float, Device::Cpu));
        assert!(squared_norms(&[Some(largest)]).unwrap()[0].finite);
    }
}
