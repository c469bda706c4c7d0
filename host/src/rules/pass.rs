//! Runs a pass of a plugin over the tensors of a batch: its kernel on the CPU, block by block on libtorch's threads; its
//! expression on other devices. Knows no handles, those are `tensor`'s, and cuts no blocks, that is `grid.rs`.

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
    tape::{self, Node},
};
use tch::{Device, Kind, TchError, Tensor};

use super::{
    InstructionSet, chunks,
    grid::{Grid, MOST, Place, Places},
    interpret, threads,
};
use crate::tensor::{
    Batch,
    memory::{extent, lie_apart},
};

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
        let inputs: Vec<Per> = self.inputs.iter().map(|input| input.per).collect();
        let grid = Grid::of(&self.shape, &inputs, &self.results);
        let contiguous = |input: &Input<'_>| input.batch.parts().iter().map(Tensor::f_contiguous).collect();
        let parts: Vec<Vec<Tensor>> =
            self.inputs.iter().map(contiguous).collect::<Result<_, TchError>>().map_err(torch)?;
        let mut batches = Vec::with_capacity(self.results.len());
        let mut sums: Vec<Vec<f64>> = Vec::with_capacity(self.results.len());
        let lies: Vec<Vec<Range<usize>>> = parts.iter().map(|parts| parts.iter().map(extent).collect()).collect();
        let mut taken: Vec<usize> = Vec::new();
        for (per, input) in self.results.iter().zip(&self.replaces) {
            let kept = *per == Per::Element;
            sums.push(vec![0.0; grid.sums(*per)]);
            let place = input.filter(|&input| {
                // Two inputs may be one tensor, where there is room for one result.
                let is_free = taken.iter().all(|other| lie_apart(&lies[*other], &lies[input]));
                is_free && may_be_replaced.get(input) == Some(&true) && self.is_read_once(input, &lies)
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

    /// Whether no input is read where this one lies, but for one that is the same element by element; `lies` is where each
    /// does.
    fn is_read_once(&self, input: usize, lies: &[Vec<Range<usize>>]) -> bool {
        let own = &lies[input];
        let others = self.inputs.iter().zip(lies).enumerate().filter(|(other, _)| *other != input);
        others
            .map(|(_, other)| other)
            .all(|(other, its)| lie_apart(own, its) || (other.per == Per::Element && own == its))
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
