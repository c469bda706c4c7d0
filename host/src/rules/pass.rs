//! Runs a pass of a plugin over the tensors of a batch: its kernel on the CPU, block by block on libtorch's threads; its
//! expression on other devices. Knows no handles; those are `tensor`'s.
//!
//! Blocks, and the order in which their sums are added, follow from the shape alone.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use abi_stable::std_types::RSlice;
use sdk::{
    Per,
    abi::{OK, PassBlock, PassCall},
    cpu,
    tape::{self, Node},
};
use tch::{Device, Kind, TchError, Tensor};

use super::{InstructionSet, chunks::CHUNK, interpret, threads};

/// Inputs, and results, that a pass may have, as in the sdk's kernels.
const MOST: usize = 8;

/// Columns of a block where there are rows: the sums of so many columns stay in the first-level cache.
const COLUMNS: usize = 2048;

/// A pass with its tensors, found to fit each other.
pub struct Pass<'a> {
    call: &'a PassCall<'a>,
    /// Contiguous.
    inputs: Vec<(Tensor, Per)>,
    results: Vec<Per>,
    shape: Vec<i64>,
    kind: Kind,
}

impl<'a> Pass<'a> {
    /// Of a call, whose inputs are these tensors.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(call: &'a PassCall<'a>, tensors: &[&Tensor]) -> Result<Pass<'a>, String> {
        let (inputs, results) = (codes(&call.input_per)?, codes(&call.result_per)?);
        if inputs.len() != tensors.len() || inputs.len() > MOST || results.is_empty() || results.len() > MOST {
            return Err(format!("{} inputs with {} codes, {} results", tensors.len(), inputs.len(), results.len()));
        }
        let leading = tensors.iter().zip(&inputs).find(|(_, per)| **per == Per::Element);
        let (leading, _) = leading.ok_or("an input with one number per element expected")?;
        let (shape, kind) = (leading.size(), leading.kind());
        if shape.is_empty() {
            return Err("a batch of parameters expected, not one number".to_owned());
        }
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err("elements of f32 or f64 expected; cast first".to_owned());
        }
        let by_matrix = inputs.iter().chain(&results).any(|per| matches!(per, Per::Row | Per::Column));
        if by_matrix && shape.len() < 3 {
            return Err(format!("rows and columns need matrices, not a batch of shape {shape:?}"));
        }
        for (k, (tensor, per)) in tensors.iter().zip(&inputs).enumerate() {
            let (kept, dropped) = (shape_of(*per, &shape, true), shape_of(*per, &shape, false));
            if tensor.size() != kept && tensor.size() != dropped {
                return Err(
                    format!("input {k} is one number per {per:?} of {shape:?}: {dropped:?} expected").to_lowercase()
                );
            }
            if tensor.kind() != kind || tensor.device() != leading.device() {
                return Err("inputs of one element type on one device expected; cast first".to_owned());
            }
        }
        let contiguous = tensors.iter().zip(inputs).map(|(tensor, per)| Ok((tensor.f_contiguous()?, per)));
        let inputs = contiguous.collect::<Result<Vec<_>, TchError>>().map_err(|error| first_line(&error))?;
        Ok(Pass { call, inputs, results, shape, kind })
    }

    /// The results, by index.
    ///
    /// # Errors
    /// The pass panics, its expression is not understood, or libtorch fails.
    pub fn run(&self) -> Result<Vec<Tensor>, String> {
        match self.inputs[0].0.device() {
            Device::Cpu => self.run_kernel(InstructionSet::detect()),
            _ => self.interpret(),
        }
    }

    /// The results as the expression says, node by node.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn interpret(&self) -> Result<Vec<Tensor>, String> {
        let inputs = self.inputs.iter().map(|(tensor, per)| tensor.f_reshape(shape_of(*per, &self.shape, true)));
        let inputs = inputs.collect::<Result<Vec<_>, TchError>>().map_err(|error| first_line(&error))?;
        let elements = interpret::pass(&expression(self.call)?, &self.call.numbers, &inputs)?;
        let summed = elements.into_iter().zip(&self.results).map(|(element, per)| {
            let dims: Vec<i64> = match per {
                Per::Element => return element.f_to_kind(self.kind)?.f_expand(&self.shape, false)?.f_contiguous(),
                Per::Row => vec![-1],
                Per::Column => vec![-2],
                Per::Parameter if self.shape.len() == 1 => return element.f_expand(&self.shape, false)?.f_contiguous(),
                Per::Parameter => (1..self.shape.len() as i64).collect(),
            };
            let wide = element.f_to_kind(Kind::Double)?.f_expand(&self.shape, false)?;
            wide.f_sum_dim_intlist(dims, false, Kind::Double)?.f_to_kind(self.kind)
        });
        summed.collect::<Result<Vec<_>, TchError>>().map_err(|error| first_line(&error))
    }

    /// The results by the kernel of an instruction set, which the machine must have.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn run_kernel(&self, isa: InstructionSet) -> Result<Vec<Tensor>, String> {
        let torch = |error: TchError| first_line(&error);
        let grid = Grid::of(&self.shape, self.inputs.iter().map(|input| input.1).chain(self.results.iter().copied()));
        let mut tensors = Vec::with_capacity(self.results.len());
        let mut sums: Vec<Vec<f64>> = Vec::with_capacity(self.results.len());
        for per in &self.results {
            let kept = *per == Per::Element;
            sums.push(vec![0.0; grid.sums(*per)]);
            let shape: &[i64] = if kept { &self.shape } else { &[0] };
            tensors.push(Tensor::f_empty(shape, (self.kind, Device::Cpu)).map_err(torch)?);
        }
        let width = self.kind.elt_size_in_bytes();
        let inputs = self.inputs.iter().map(|(tensor, per)| (tensor.data_ptr() as *mut u8, *per));
        let results = tensors.iter().zip(&mut sums).zip(&self.results).map(|((tensor, sums), per)| match per {
            Per::Element => (tensor.data_ptr() as *mut u8, *per),
            _ => (sums.as_mut_ptr().cast(), *per),
        });
        let places = Places { inputs: inputs.collect(), results: results.collect(), width };
        self.run_blocks(&grid, &places, isa)?;
        for ((tensor, sums), per) in tensors.iter_mut().zip(&sums).zip(&self.results) {
            if *per != Per::Element {
                let wide = Tensor::f_from_slice(&grid.added(*per, sums)).map_err(torch)?;
                let shape = shape_of(*per, &self.shape, false);
                *tensor = wide.f_to_kind(self.kind).and_then(|all| all.f_reshape(shape)).map_err(torch)?;
            }
        }
        Ok(tensors)
    }

    fn run_blocks(&self, grid: &Grid, places: &Places, isa: InstructionSet) -> Result<(), String> {
        let kernel = if self.kind == Kind::Double { self.call.run_f64 } else { self.call.run_f32 };
        let (numbers, take_fault) = (self.call.numbers.as_ptr(), self.call.take_fault);
        let (input_per, result_per) = (self.call.input_per.as_ptr(), self.call.result_per.as_ptr());
        let shared = Shared { numbers, input_per, result_per };
        let failed = AtomicBool::new(false);
        let first: Mutex<Option<String>> = Mutex::new(None);
        let body = |index: usize| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let at = grid.block(index);
            let (inputs, results) = (places.inputs(grid, &at), places.results(grid, &at));
            let Shared { numbers, input_per, result_per } = shared.get();
            let block = PassBlock {
                struct_size: size_of::<PassBlock>(),
                isa: isa as u32,
                numbers,
                rows: at.rows,
                columns: at.columns,
                stride: grid.columns,
                inputs: inputs.as_ptr().cast(),
                input_per,
                results: results.as_ptr().cast(),
                result_per,
            };
            // SAFETY: the kernel is the plugin's for this element type. Inputs and results are contiguous tensors of the
            // shape that the grid was made of, or of what it says of rows, columns and parameters; sums have a place per
            // block, so that no two blocks write to one. The machine has `isa`.
            let status = unsafe { kernel(&raw const block) };
            if status != OK {
                failed.store(true, Ordering::Relaxed);
                // The text of a failure is kept per thread, so it is fetched here.
                let text = take_fault().into_string();
                first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(text);
            }
        };
        if grid.elements() < CHUNK / 2 {
            // Waking the other threads would take longer.
            (0..grid.blocks()).for_each(body);
        } else {
            threads::for_each(grid.blocks(), &body);
        }
        match first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(text) => Err(text),
            None => Ok(()),
        }
    }
}

/// The checked expression of a call.
///
/// # Errors
/// It cannot be recorded, or has other numbers, inputs or results than the call.
pub fn expression(call: &PassCall<'_>) -> Result<Vec<Node>, String> {
    let nodes = (call.record)(call.result_per).into_result().map_err(|text| text.into_string())?;
    let fits = tape::check_pass(&nodes, call.numbers.len(), call.input_per.len(), &codes(&call.result_per)?);
    fits.map(|()| nodes.into_vec()).map_err(|error| error.to_string())
}

/// What all blocks read.
#[derive(Clone, Copy)]
struct Shared {
    numbers: *const f64,
    input_per: *const u32,
    result_per: *const u32,
}
// SAFETY: nobody writes what these point to.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> Shared {
        *self
    }
}

/// How the elements of a batch are cut into blocks: matrices of rows and columns; where neither rows nor columns matter,
/// each parameter is one row.
struct Grid {
    batch: usize,
    matrices: usize,
    rows: usize,
    columns: usize,
    /// Rows and columns of a block; those at the end may have fewer.
    block: (usize, usize),
}

/// One block: its matrix, its first row and column, its place among the blocks of its matrix, and its size.
struct At {
    matrix: usize,
    row: usize,
    column: usize,
    place: (usize, usize),
    rows: usize,
    columns: usize,
}

impl Grid {
    fn of(shape: &[i64], mut all: impl Iterator<Item = Per>) -> Grid {
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        let (batch, own) = (sizes[0], &sizes[1..]);
        let (matrices, rows, columns) = match own {
            [leading @ .., rows, columns] if all.any(|per| matches!(per, Per::Row | Per::Column)) => {
                (batch * leading.iter().product::<usize>(), *rows, *columns)
            }
            own => (batch, 1, own.iter().product()),
        };
        let wide = if rows == 1 { CHUNK } else { columns.clamp(1, COLUMNS) };
        Grid { batch, matrices, rows, columns, block: ((CHUNK / wide).max(1), wide) }
    }

    fn elements(&self) -> usize {
        self.matrices * self.rows * self.columns
    }

    /// Blocks of one matrix, along rows and along columns.
    fn cut(&self) -> (usize, usize) {
        (self.rows.div_ceil(self.block.0), self.columns.div_ceil(self.block.1))
    }

    fn blocks(&self) -> usize {
        self.matrices * self.cut().0 * self.cut().1
    }

    fn block(&self, index: usize) -> At {
        let (down, across) = self.cut();
        let place = (index / across % down, index % across);
        let (row, column) = (place.0 * self.block.0, place.1 * self.block.1);
        let (rows, columns) = (self.block.0.min(self.rows - row), self.block.1.min(self.columns - column));
        At { matrix: index / across / down, row, column, place, rows, columns }
    }

    /// Places for the sums of all blocks.
    fn sums(&self, per: Per) -> usize {
        let (down, across) = self.cut();
        self.matrices
            * match per {
                Per::Element => 0,
                Per::Row => across * self.rows,
                Per::Column => down * self.columns,
                Per::Parameter => down * across,
            }
    }

    /// Where a block's sums go.
    fn sum_at(&self, per: Per, at: &At) -> usize {
        let (down, across) = self.cut();
        match per {
            Per::Element => 0,
            Per::Row => (at.matrix * across + at.place.1) * self.rows + at.row,
            Per::Column => (at.matrix * down + at.place.0) * self.columns + at.column,
            Per::Parameter => (at.matrix * down + at.place.0) * across + at.place.1,
        }
    }

    /// The sums of the blocks, added up.
    fn added(&self, per: Per, sums: &[f64]) -> Vec<f64> {
        let (down, across) = self.cut();
        let (length, times) = match per {
            Per::Row => (self.rows, across),
            Per::Column => (self.columns, down),
            _ => {
                let blocks = sums.len() / self.batch.max(1);
                return (0..self.batch).map(|one| cpu::sum(&sums[one * blocks..][..blocks])).collect();
            }
        };
        let mut all = vec![0.0; self.matrices * length];
        for (place, line) in sums.chunks(length.max(1)).enumerate() {
            let to = &mut all[place / times * length..][..line.len()];
            to.iter_mut().zip(line).for_each(|(sum, more)| *sum += more);
        }
        all
    }

    /// The first element of a block, as an index into a tensor of this kind.
    fn element_at(&self, per: Per, at: &At) -> usize {
        match per {
            Per::Element => (at.matrix * self.rows + at.row) * self.columns + at.column,
            Per::Row => at.matrix * self.rows + at.row,
            Per::Column => at.matrix * self.columns + at.column,
            Per::Parameter => at.matrix / (self.matrices / self.batch.max(1)).max(1),
        }
    }
}

/// Where tensors and sums begin.
struct Places {
    inputs: Vec<(*mut u8, Per)>,
    results: Vec<(*mut u8, Per)>,
    /// Bytes of an element.
    width: usize,
}
// SAFETY: blocks write to disjoint places.
unsafe impl Sync for Places {}

impl Places {
    fn inputs(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, (first, per)) in all.iter_mut().zip(&self.inputs) {
            *pointer = first.wrapping_add(grid.element_at(*per, at) * self.width);
        }
        all
    }

    fn results(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, (first, per)) in all.iter_mut().zip(&self.results) {
            let offset = match per {
                Per::Element => grid.element_at(*per, at) * self.width,
                per => grid.sum_at(*per, at) * size_of::<f64>(),
            };
            *pointer = first.wrapping_add(offset);
        }
        all
    }
}

/// The shape of a tensor that lies along a batch in a way; `kept`: with the dimensions summed over, of size 1.
fn shape_of(per: Per, shape: &[i64], kept: bool) -> Vec<i64> {
    let dims = shape.len();
    let goes = |dim: usize| match per {
        Per::Element => false,
        Per::Row => dim + 1 == dims,
        Per::Column => dim + 2 == dims,
        Per::Parameter => dim > 0,
    };
    let sizes = shape.iter().enumerate().filter(|(dim, _)| kept || !goes(*dim));
    sizes.map(|(dim, &size)| if goes(dim) { 1 } else { size }).collect()
}

fn codes(all: &RSlice<'_, u32>) -> Result<Vec<Per>, String> {
    all.iter().map(|&code| Per::of(code).ok_or_else(|| format!("code {code} is not known here"))).collect()
}

fn first_line(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
