//! Runs a pass of a plugin over the tensors of a batch: its kernel on the CPU, block by block on libtorch's threads; its
//! expression on other devices. Knows no handles; those are `tensor`'s.
//!
//! Blocks, and the order in which their sums are added, follow from the shape alone.

use std::{
    cell::Cell,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use abi_stable::std_types::RSlice;
use sdk::{
    Per,
    abi::{OK, PassBlock, PassCall},
    cpu,
    tape::{self, Node},
};
use tch::{Device, Kind, TchError, Tensor};

use super::{InstructionSet, chunks, interpret, threads};
use crate::tensor::{
    Batch,
    memory::{extent, overlap},
};

/// Inputs, and results, that a pass may have, as in the sdk's kernels.
const MOST: usize = 8;

/// Elements of a block: few enough that a matrix has many, and no thread waits long for the last.
const BLOCK: usize = 32_768;
/// Columns of a block where there are rows: the sums of so many columns stay in the first-level cache.
const COLUMNS: usize = 512;

thread_local! {
    /// Whether passes that this thread begins go by their expressions on every device.
    static BY_EXPRESSION: Cell<bool> = const { Cell::new(false) };
}

/// From now on, passes that this thread begins go by their expressions also on the CPU, as they do on other devices. For
/// tests, where there is no other device.
pub fn by_expression(always: bool) {
    BY_EXPRESSION.set(always);
}

/// A pass with its tensors, found to fit each other.
pub struct Pass<'a> {
    call: &'a PassCall<'a>,
    inputs: Vec<Input<'a>>,
    results: Vec<Per>,
    /// The input whose place each result takes.
    replaces: Vec<Option<usize>>,
    shape: Vec<i64>,
    kind: Kind,
}

/// What an element is computed from.
struct Input<'a> {
    batch: &'a Batch,
    per: Per,
}

impl<'a> Pass<'a> {
    /// Of a call, whose inputs are these batches.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(call: &'a PassCall<'a>, batches: &[&'a Batch]) -> Result<Pass<'a>, String> {
        let (inputs, results) = (codes(&call.input_per)?, codes(&call.result_per)?);
        if inputs.len() != batches.len() || inputs.len() > MOST || results.is_empty() || results.len() > MOST {
            return Err(format!("{} inputs with {} codes, {} results", batches.len(), inputs.len(), results.len()));
        }
        let leading = batches.iter().zip(&inputs).find(|(_, per)| **per == Per::Element);
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
        for (k, (batch, per)) in batches.iter().zip(&inputs).enumerate() {
            let (kept, dropped) = (shape_of(*per, &shape, true), shape_of(*per, &shape, false));
            if batch.size() != kept && batch.size() != dropped {
                return Err(
                    format!("input {k} is one number per {per:?} of {shape:?}: {dropped:?} expected").to_lowercase()
                );
            }
            if batch.kind() != kind || batch.device() != leading.device() {
                return Err("inputs of one element type on one device expected; cast first".to_owned());
            }
        }
        let replaces = replaced(call, &inputs, &results)?;
        let inputs = batches.iter().zip(inputs).map(|(batch, per)| Input { batch, per }).collect();
        Ok(Pass { call, inputs, results, replaces, shape, kind })
    }

    /// The results, by index. Where the call says so, one lies where an input lay, if the input of that index may be
    /// overwritten and no other is read there; after a failure such an input is in an undefined state.
    ///
    /// # Errors
    /// The pass panics, its expression is not understood, or libtorch fails.
    pub fn run(&self, may_be_replaced: &[bool]) -> Result<Vec<Batch>, String> {
        match self.inputs[0].batch.device() {
            Device::Cpu if !BY_EXPRESSION.get() => self.run_kernel(InstructionSet::detect(), may_be_replaced),
            _ => Ok(self.interpret()?.into_iter().map(Batch::Stacked).collect()),
        }
    }

    /// The results as the expression says, node by node.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn interpret(&self) -> Result<Vec<Tensor>, String> {
        let inputs = self.inputs.iter().map(|input| {
            let (stacked, shape) = (input.batch.stacked()?, shape_of(input.per, &self.shape, true));
            stacked.f_reshape(shape)
        });
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
    pub fn run_kernel(&self, isa: InstructionSet, may_be_replaced: &[bool]) -> Result<Vec<Batch>, String> {
        let torch = |error: TchError| first_line(&error);
        let grid = Grid::of(&self.shape, &self.inputs, &self.results);
        let contiguous = |input: &Input<'_>| input.batch.parts().iter().map(Tensor::f_contiguous).collect();
        let parts: Vec<Vec<Tensor>> =
            self.inputs.iter().map(contiguous).collect::<Result<_, TchError>>().map_err(torch)?;
        let mut batches = Vec::with_capacity(self.results.len());
        let mut sums: Vec<Vec<f64>> = Vec::with_capacity(self.results.len());
        let mut taken: Vec<usize> = Vec::new();
        for (per, input) in self.results.iter().zip(&self.replaces) {
            let kept = *per == Per::Element;
            sums.push(vec![0.0; grid.sums(*per)]);
            let place = input.filter(|&input| {
                // Two inputs may be one tensor, where there is room for one result.
                let is_free = taken.iter().all(|other| lie_apart(&parts[*other], &parts[input]));
                is_free && may_be_replaced.get(input) == Some(&true) && self.is_read_once(input, &parts)
            });
            taken.extend(place);
            batches.push(match place.map(|input| &parts[input][..]) {
                Some([all]) => Batch::Stacked(all.f_view(&self.shape[..]).map_err(torch)?),
                Some(each) => Batch::apart(each.iter().map(Tensor::shallow_clone).collect()),
                None => {
                    let shape: &[i64] = if kept { &self.shape } else { &[0] };
                    Batch::Stacked(Tensor::f_empty(shape, (self.kind, Device::Cpu)).map_err(torch)?)
                }
            });
        }
        let width = self.kind.elt_size_in_bytes();
        let inputs = self.inputs.iter().zip(&parts).map(|(input, parts)| grid.place(parts, input.per, width));
        let results = batches.iter().zip(&mut sums).zip(&self.results).map(|((batch, sums), per)| match per {
            Per::Element => grid.place(batch.parts(), *per, width),
            _ => Place { per: *per, parts: vec![sums.as_mut_ptr().cast()] },
        });
        let places = Places { inputs: inputs.collect(), results: results.collect(), width };
        self.run_blocks(&grid, &places, isa)?;
        for ((batch, sums), per) in batches.iter_mut().zip(&sums).zip(&self.results) {
            if *per != Per::Element {
                let sums = grid.added(*per, sums);
                let all = match self.kind {
                    Kind::Double => Tensor::f_from_slice(&sums),
                    _ => Tensor::f_from_slice(&sums.iter().map(|&sum| sum as f32).collect::<Vec<f32>>()),
                };
                let shape = shape_of(*per, &self.shape, false);
                *batch = Batch::Stacked(all.and_then(|all| all.f_reshape(shape)).map_err(torch)?);
            }
        }
        Ok(batches)
    }

    /// Whether no input is read where this one lies, but for one that is the same element by element; `parts` are where each
    /// lies.
    fn is_read_once(&self, input: usize, parts: &[Vec<Tensor>]) -> bool {
        let own = &parts[input];
        self.inputs.iter().zip(parts).enumerate().filter(|(other, _)| *other != input).all(|(_, (other, parts))| {
            let is_same = || extents(parts) == extents(own);
            lie_apart(own, parts) || (other.per == Per::Element && is_same())
        })
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
        if grid.elements() < chunks::CHUNK / 2 {
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
    fn of(shape: &[i64], inputs: &[Input<'_>], results: &[Per]) -> Grid {
        let sums_columns = results.contains(&Per::Column);
        let mut all = inputs.iter().map(|input| input.per).chain(results.iter().copied());
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        let (batch, own) = (sizes[0], &sizes[1..]);
        let (matrices, rows, columns) = match own {
            [leading @ .., rows, columns] if all.any(|per| matches!(per, Per::Row | Per::Column)) => {
                (batch * leading.iter().product::<usize>(), *rows, *columns)
            }
            own => (batch, 1, own.iter().product()),
        };
        // Of even width, and a multiple of the kernels' tiles.
        let most = if sums_columns { COLUMNS } else { chunks::CHUNK };
        let even = columns.div_ceil(columns.div_ceil(most).max(1)).next_multiple_of(128);
        let wide = if rows == 1 { BLOCK } else { even.min(columns).max(1) };
        Grid { batch, matrices, rows, columns, block: ((BLOCK / wide).max(1), wide) }
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

    /// Matrices of one parameter.
    fn own_matrices(&self) -> usize {
        (self.matrices / self.batch.max(1)).max(1)
    }

    /// Where the parts of a batch that lies so begin: those of each parameter.
    fn place(&self, parts: &[Tensor], per: Per, width: usize) -> Place {
        let first = |tensor: &Tensor| tensor.data_ptr() as *mut u8;
        let parts = match parts {
            [all] => {
                let of_one = match per {
                    Per::Element => self.own_matrices() * self.rows * self.columns,
                    Per::Row => self.own_matrices() * self.rows,
                    Per::Column => self.own_matrices() * self.columns,
                    Per::Parameter => 1,
                };
                (0..self.batch).map(|parameter| first(all).wrapping_add(parameter * of_one * width)).collect()
            }
            parts => parts.iter().map(first).collect(),
        };
        Place { per, parts }
    }

    /// The first element of a block: its parameter, and an index into what lies so of that.
    fn element_at(&self, per: Per, at: &At) -> (usize, usize) {
        let (parameter, matrix) = (at.matrix / self.own_matrices(), at.matrix % self.own_matrices());
        let index = match per {
            Per::Element => (matrix * self.rows + at.row) * self.columns + at.column,
            Per::Row => matrix * self.rows + at.row,
            Per::Column => matrix * self.columns + at.column,
            Per::Parameter => 0,
        };
        (parameter, index)
    }
}

/// Where a batch begins, parameter by parameter; sums, all in one.
struct Place {
    per: Per,
    parts: Vec<*mut u8>,
}

/// Where tensors and sums begin.
struct Places {
    inputs: Vec<Place>,
    results: Vec<Place>,
    /// Bytes of an element.
    width: usize,
}
// SAFETY: blocks write to disjoint places.
unsafe impl Sync for Places {}

impl Places {
    fn inputs(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, place) in all.iter_mut().zip(&self.inputs) {
            let (parameter, index) = grid.element_at(place.per, at);
            *pointer = place.parts[parameter].wrapping_add(index * self.width);
        }
        all
    }

    fn results(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, place) in all.iter_mut().zip(&self.results) {
            let (parameter, offset) = match place.per {
                Per::Element => {
                    let (parameter, index) = grid.element_at(place.per, at);
                    (parameter, index * self.width)
                }
                per => (0, grid.sum_at(per, at) * size_of::<f64>()),
            };
            *pointer = place.parts[parameter].wrapping_add(offset);
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

fn extents(parts: &[Tensor]) -> Vec<Range<usize>> {
    parts.iter().map(extent).collect()
}

/// Whether no byte is of both.
fn lie_apart(a: &[Tensor], b: &[Tensor]) -> bool {
    let b = extents(b);
    extents(a).iter().all(|a| !b.iter().any(|b| overlap(a, b)))
}

/// The input whose place each result takes.
///
/// # Errors
/// A list that does not fit the call.
fn replaced(call: &PassCall<'_>, inputs: &[Per], results: &[Per]) -> Result<Vec<Option<usize>>, String> {
    let all: Vec<Option<usize>> = call.replaces.iter().map(|&input| (input as usize).checked_sub(1)).collect();
    if all.is_empty() {
        return Ok(vec![None; results.len()]);
    }
    let both_kept = |(input, per): (&Option<usize>, &Per)| {
        input.is_none_or(|input| inputs.get(input) == Some(&Per::Element) && *per == Per::Element)
    };
    let taken: Vec<usize> = all.iter().flatten().copied().collect();
    let twice = (1..taken.len()).any(|k| taken[..k].contains(&taken[k]));
    if twice || all.len() != results.len() || !all.iter().zip(results).all(both_kept) {
        return Err(format!("results that take the places {taken:?} of inputs, which they cannot"));
    }
    Ok(all)
}

fn first_line(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
