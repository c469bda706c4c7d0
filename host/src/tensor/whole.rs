//! One step of a rule over whole tensors: in through handles, out through handles, checked before anything is taken
//! over. Owns no parameter and no state: what comes out is the caller's to keep.

use std::{ops::Range, ptr};

use sdk::abi::{OK, OptimizerCall, OptimizerTable, SlotsTable};
use tch::{Kind, TchError, Tensor};

use super::{
    Batch, Scope,
    memory::{extent, overlap},
    tables::kind_name,
};
use crate::fault::{Exit, Fault};

/// Slots that a rule's state record may have. More are handed over than a rule has, because a record's last slots may
/// be switched off and then are not listed, though the plugin reads their places.
pub const MOST_SLOTS: usize = 64;

/// An optimizer over whole tensors, and how a failure of it is told.
pub struct WholeRule<'a> {
    /// Its label.
    pub label: &'a str,
    /// Its entries.
    pub table: &'a OptimizerTable,
    /// Its slots by shape, where they depend on it.
    pub slots: Option<&'a SlotsTable>,
    /// The fault behind a status that is not `OK`; takes the plugin's text.
    pub fault: &'a dyn Fn(u32, &str) -> Fault,
}

/// What a step may do with the memory of parameters and state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing: they are as they were, also after an error.
    Kept,
    /// Put results there: they are not to be used again, and after an error they are in an undefined state.
    Replaced,
}

/// One step of a batch of parameters of one shape.
///
/// `x` and `g` are `[batch, …shape]` of one element type; `state` holds the slots by their index in the state record,
/// `[batch, …slot shape]`, none where a slot is switched off. `step` is the batch's own step (from 1), the elements of
/// one parameter, and the L2 norm of all gradients of the run before clipping. The plugin's calls are in `scope`.
///
/// Returns the new parameters, in the element type of `x`, and the new state, in its own, in memory that nothing else has; a
/// slot that the rule left alone comes back as it was given. What is bf16 (parameters and gradients, slots) is computed
/// with in f32, and rounded to nearest even.
#[allow(clippy::too_many_arguments, reason = "those of a step, and how it is done")]
pub fn step_whole(
    scope: &Scope,
    arguments: Arguments,
    rule: &WholeRule<'_>,
    hyper: &[f64],
    step: [f64; 3],
    x: &Batch,
    g: &Batch,
    state: &[Option<Batch>],
) -> Result<(Batch, Vec<Option<Batch>>), Fault> {
    let torch = |error: TchError| torch_fault(rule.label, &error);
    if state.len() > MOST_SLOTS {
        return Err(unfit(rule.label, format!("has more than {MOST_SLOTS} state slots")));
    }
    let (wide_x, wide_g) = (x.map(widened).map_err(torch)?, g.map(widened).map_err(torch)?);
    let mut handles = [0_u64; MOST_SLOTS];
    let wide_state = state.iter().map(|slot| slot.as_ref().map(|slot| slot.map(widened)).transpose());
    let wide_state: Vec<Option<Batch>> = wide_state.collect::<Result<_, TchError>>().map_err(torch)?;
    let named = |batch: &Batch| match arguments {
        Arguments::Kept => scope.lend(batch.shallow_clone()),
        Arguments::Replaced => scope.give(batch.shallow_clone()),
    };
    for (handle, batch) in handles.iter_mut().zip(&wide_state) {
        *handle = batch.as_ref().map_or(0, named);
    }
    let given = handles;
    let mut new_x = 0_u64;
    let call = OptimizerCall {
        struct_size: size_of::<OptimizerCall>(),
        batch: x.size().first().map_or(1, |&batch| batch as usize),
        hyper: hyper.as_ptr(),
        step: step.as_ptr(),
        x: named(&wide_x),
        g: scope.lend(wide_g.shallow_clone()),
        state: handles.as_mut_ptr(),
        new_x: &raw mut new_x,
    };
    // SAFETY: the entry is the plugin's own, found under its id, and every pointer of the call lives in this frame and
    // is as long as the boundary says.
    let status = unsafe { (rule.table.step)(ptr::from_ref(&call)) };
    if status != OK {
        return Err((rule.fault)(status, "step"));
    }

    // A slot that was left alone, and is still there.
    let left_alone = |index: usize| handles[index] == given[index] && scope.batch(given[index]).is_ok();
    // A result may lie where what it replaces lay, and nowhere else that something does.
    let of = |batch: &Batch, place: Option<Place>| {
        batch.extents().into_iter().map(|range| (range, place)).collect::<Vec<_>>()
    };
    let replaced = |place: Place| (arguments == Arguments::Replaced).then_some(place);
    let mut kept = of(g, None);
    kept.extend(of(x, replaced(Place::X)));
    for (index, slot) in state.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?))) {
        kept.extend(of(slot, replaced(Place::Slot(index)).filter(|_| !left_alone(index))));
    }
    let fetched = scope.batch(new_x).map_err(|_| unfit(rule.label, "returned no parameters"))?;
    fits(rule.label, "the parameters", &fetched, &wide_x)?;
    let new_x = owned(&fetched, x.kind(), Place::X, &mut kept).map_err(torch)?;
    let mut new_state = Vec::with_capacity(state.len());
    for (index, ((old, wide), handle)) in state.iter().zip(&wide_state).zip(handles).enumerate() {
        let (Some(old), Some(wide)) = (old, wide) else {
            new_state.push(None);
            continue;
        };
        if left_alone(index) {
            new_state.push(Some(old.shallow_clone()));
            continue;
        }
        let what = format!("state slot {index}");
        let new = scope.batch(handle).map_err(|_| unfit(rule.label, format!("returned no {what}")))?;
        fits(rule.label, &what, &new, wide)?;
        new_state.push(Some(owned(&new, old.kind(), Place::Slot(index), &mut kept).map_err(torch)?));
    }
    Ok((new_x, new_state))
}

/// Without history, and wide enough to compute with.
fn widened(tensor: &Tensor) -> Result<Tensor, TchError> {
    let tensor = tensor.f_detach()?;
    if tensor.f_kind()? == Kind::BFloat16 { tensor.f_to_kind(Kind::Float) } else { Ok(tensor) }
}

/// What a result replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    X,
    Slot(usize),
}

/// What came back for a place: in an element type, row-major and in memory that nobody else holds. A rule may return what it was
/// given, or one tensor twice. `kept` is memory that is held, with the place that may be held there instead.
fn owned(
    batch: &Batch,
    kind: Kind,
    place: Place,
    kept: &mut Vec<(Range<usize>, Option<Place>)>,
) -> Result<Batch, TchError> {
    batch.map(|tensor| {
        let tensor = tensor.f_to_kind(kind)?;
        let own = extent(&tensor);
        let shared = kept.iter().any(|(other, replaced)| *replaced != Some(place) && overlap(other, &own));
        let copied = if shared { tensor.f_to_dtype(kind, false, true)? } else { tensor };
        let contiguous = copied.f_contiguous()?;
        kept.push((extent(&contiguous), None));
        Ok(contiguous)
    })
}

fn fits(label: &str, what: &str, new: &Batch, old: &Batch) -> Result<(), Fault> {
    if new.size() == old.size() && new.kind() == old.kind() && new.device() == old.device() {
        return Ok(());
    }
    let show = |batch: &Batch| format!("{} {:?} on {:?}", kind_name(batch.kind()), batch.size(), batch.device());
    Err(unfit(label, format!("returned {what} as {}, not {}", show(new), show(old))))
}

fn unfit(label: &str, what: impl std::fmt::Display) -> Fault {
    Fault::new("P010", Exit::Plugin, format!("optimizer `{label}` {what}"))
}

fn torch_fault(label: &str, error: &TchError) -> Fault {
    let text = error.to_string();
    Fault::new("E091", Exit::Environment, format!("a step of `{label}` cannot be done"))
        .note("libtorch", text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RString, RVec};
    use sdk::abi::{FAILED, SlotDescriptor, TableHeader, TensorTable};
    use tch::Device;

    use super::*;
    use crate::tensor::{matrix_fingerprint, tables::get_table};

    /// `m ← m + g; x ← x − lr·m`, and what goes wrong at other values of the second hyper-parameter.
    static TABLE: OptimizerTable = OptimizerTable {
        header: TableHeader {
            struct_size: size_of::<OptimizerTable>(),
            id: RStr::from_str("plugin.optimizer/1"),
            revision: 0,
        },
        accepts,
        slots,
        step,
        narrow: None,
    };

    extern "C" fn accepts(shape: RSlice<'_, i64>) -> RResult<(), RString> {
        if shape.len() == 2 { ROk(()) } else { RErr("matrices only".into()) }
    }

    extern "C" fn slots(_: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
        let slot = SlotDescriptor {
            name: "momentum_buffer".into(),
            index: 1,
            shape_kind: 0,
            start: 0,
            fill: 0.0,
            value_degree: 0,
            grad_degree: 1,
        };
        ROk(vec![slot].into())
    }

    unsafe extern "C" fn step(call: *const OptimizerCall) -> u32 {
        // SAFETY: the host's call lives until this returns, and the table is what its id says.
        unsafe {
            let call = &*call;
            let t = &*get_table("host.tensor/1".into(), "".into()).cast::<TensorTable>();
            let (lr, how, state) = (*call.hyper, *call.hyper.add(1), call.state);
            let old = *state.add(1);
            match how as u32 {
                1 => return FAILED,
                2 => *call.new_x = 12345,
                3 => assert_eq!((t.transpose)(call.x, -1, -2, call.new_x), OK),
                // What was given comes back: the gradient as state, the parameters as themselves.
                4 => (*state.add(1), *call.new_x) = (call.g, call.x),
                5 => {
                    assert_eq!((t.sum)(call.g, RSlice::EMPTY, state.add(1)), OK);
                    *call.new_x = call.x;
                }
                6 => {
                    assert_eq!((t.add_scaled)(call.x, call.g, -lr, call.new_x), OK);
                    *state.add(1) = *call.new_x;
                }
                // What was x becomes state, or the state x.
                8 => {
                    assert_eq!((t.add_scaled)(call.x, call.g, -lr, call.new_x), OK);
                    *state.add(1) = call.x;
                }
                9 => {
                    assert_eq!((t.add)(old, call.g, state.add(1)), OK);
                    *call.new_x = old;
                }
                how => {
                    assert_eq!((t.add)(old, call.g, state.add(1)), OK);
                    let m = if how == 7 { old } else { *state.add(1) };
                    assert_eq!((t.add_scaled)(call.x, m, -lr, call.new_x), OK);
                }
            }
        }
        OK
    }

    fn rule() -> WholeRule<'static> {
        let fault = &|status, stage: &str| Fault::new("P002", Exit::Plugin, format!("status {status} in {stage}"));
        WholeRule { label: "momentum", table: &TABLE, slots: None, fault }
    }

    fn stacked(tensor: &Tensor) -> Batch {
        Batch::Stacked(tensor.shallow_clone())
    }

    /// A step that keeps its arguments, of stacked tensors.
    fn step_kept(
        hyper: &[f64],
        x: &Tensor,
        g: &Tensor,
        state: &[Option<Tensor>],
    ) -> Result<(Tensor, Vec<Option<Tensor>>), Fault> {
        let state: Vec<Option<Batch>> = state.iter().map(|slot| slot.as_ref().map(stacked)).collect();
        let (scope, step) = (Scope::enter(), [1.0, 6.0, 0.0]);
        let (x, g) = (stacked(x), stacked(g));
        let (x, state) = step_whole(&scope, Arguments::Kept, &rule(), hyper, step, &x, &g, &state)?;
        let one = |batch: Batch| batch.stacked().unwrap().shallow_clone();
        Ok((one(x), state.into_iter().map(|slot| slot.map(one)).collect()))
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view(-1)).unwrap()
    }

    fn case(kind: Kind) -> (Tensor, Tensor, Vec<Option<Tensor>>) {
        let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([1, 2, 3]).to_kind(kind);
        let state = if kind == Kind::BFloat16 { Kind::Float } else { kind };
        (x.shallow_clone(), &x * 0.5, vec![None, Some(Tensor::ones([1, 2, 3], (state, Device::Cpu)))])
    }

    #[test]
    fn a_step_gives_new_tensors_and_leaves_the_old() {
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
            let (x, g, state) = case(kind);
            let x = x.set_requires_grad(true);
            let (new_x, new_state) = step_kept(&[0.5, 0.0], &x, &g, &state).unwrap();
            assert_eq!(values(&new_x), [0.25, 1.0, 1.75, 2.5, 3.25, 4.0], "{kind:?}");
            assert_eq!(values(new_state[1].as_ref().unwrap()), [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
            assert_eq!((new_x.kind(), new_x.requires_grad(), new_state[0].is_none()), (kind, false, true));
            assert_eq!(values(&x), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            assert_eq!(values(state[1].as_ref().unwrap()), [1.0; 6]);
        }
    }

    /// State in bf16 is f32 to the rule; what it returns is rounded once.
    #[test]
    fn state_in_bf16_is_computed_with_in_f32() {
        for (how, expected) in [(0.0, [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]), (7.0, [1.5, 2.0, 2.5, 3.0, 3.5, 4.0])] {
            let (x, g, state) = case(Kind::Float);
            let narrow = |slot: &Tensor| (slot + 0.001).to_kind(Kind::BFloat16);
            let narrow: Vec<Option<Tensor>> = state.iter().map(|slot| slot.as_ref().map(narrow)).collect();
            let (_, new_state) = step_kept(&[0.5, how], &x, &g, &narrow).unwrap();
            let new = new_state[1].as_ref().unwrap();
            assert_eq!((new.kind(), values(new)), (Kind::BFloat16, expected.to_vec()));
        }
    }

    /// A plugin may return its arguments, or one tensor twice; the host must not then share memory between them.
    #[test]
    fn results_own_their_memory() {
        for how in [4.0, 6.0] {
            let (x, mut g, state) = case(Kind::Double);
            let (mut new_x, new_state) = step_kept(&[0.5, how], &x, &g, &state).unwrap();
            let before = values(new_state[1].as_ref().unwrap());
            let _ = (g.fill_(7.0), new_x.fill_(8.0));
            assert_eq!(values(new_state[1].as_ref().unwrap()), before);
            assert_eq!(values(&x), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        }
    }

    /// In place too: nothing comes back where something else lay, whose own values may yet be copied there.
    #[test]
    fn a_result_lies_in_its_own_place_or_in_none() {
        for (how, batch) in [4.0, 6.0, 7.0, 8.0, 9.0].into_iter().flat_map(|how| [(how, 1), (how, 2)]) {
            let (x, g, state) = case(Kind::Double);
            let apart = |one: &Tensor| {
                let each: Vec<Tensor> = (0..batch).map(|k| (one + f64::from(k)).squeeze_dim(0)).collect();
                Batch::of(&each.iter().collect::<Vec<_>>()).unwrap()
            };
            let (x, g, slot) = (apart(&x), apart(&g), apart(state[1].as_ref().unwrap()));
            let [old_x, old_g] = [&x, &g].map(|batch| batch.stacked().unwrap().copy());
            let old_state = vec![None, Some(slot.stacked().unwrap().copy())];
            let (scope, hyper, step) = (Scope::enter(), [0.5, how], [1.0, 6.0, 0.0]);
            let (expected_x, expected) = step_kept(&hyper, &old_x, &old_g, &old_state).unwrap();
            let state = [None, Some(slot)];
            let (new_x, new_state) =
                step_whole(&scope, Arguments::Replaced, &rule(), &hyper, step, &x, &g, &state).unwrap();
            let (slot, new_slot) = (state[1].as_ref().unwrap(), new_state[1].as_ref().unwrap());
            assert_eq!(values(new_x.stacked().unwrap()), values(&expected_x), "{how} {batch}");
            assert_eq!(values(new_slot.stacked().unwrap()), values(expected[1].as_ref().unwrap()), "{how} {batch}");
            let lies_in = |batch: &Batch, other: &Batch| {
                batch.parts().iter().any(|own| other.parts().iter().any(|its| overlap(&extent(own), &extent(its))))
            };
            let wrong = [(&new_x, slot), (&new_x, &g), (&new_x, new_slot), (new_slot, &x), (new_slot, &g)];
            assert_eq!(wrong.map(|(batch, other)| lies_in(batch, other)), [false; 5], "{how} {batch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_a_fault() {
        let table = [
            (1.0, "P002", "status 1 in step"),
            (2.0, "P010", "returned no parameters"),
            (3.0, "P010", "returned the parameters as f64 [1, 3, 2] on Cpu, not f64 [1, 2, 3]"),
            (5.0, "P010", "returned state slot 1 as f64 [] on Cpu"),
        ];
        for (how, code, part) in table {
            let (x, g, state) = case(Kind::Double);
            let fault = step_kept(&[0.5, how], &x, &g, &state).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(part)), (code, true), "{fault}");
        }
    }

    /// The same rule has the same fingerprint; another number, or another order of calls, has another.
    #[test]
    fn fingerprints_tell_rules_apart() {
        let of = |hyper: [f64; 2]| matrix_fingerprint(&rule(), &hyper).unwrap();
        let first = of([0.5, 0.0]);
        assert_eq!(first.len(), 64);
        assert_eq!(first, of([0.5, 0.0]));
        let others = [of([0.25, 0.0]), of([0.5, 7.0]), of([0.5, 4.0]), of([0.5, 6.0])];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(first, *other);
            assert!(!others[..i].contains(other));
        }
        assert_eq!(matrix_fingerprint(&rule(), &[0.5, 1.0]).unwrap_err().code, "P002");
    }
}
