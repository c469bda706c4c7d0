//! Projections through a plugin's table, against closed forms; files of inputs.
//! The shipped plugin is tested with itself, and in a run by the tests of the binary.
#![allow(unsafe_code)] // the fixtures are entries of a plugin

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use abi_stable::std_types::{RSlice, RStr, RString, RVec};
use safetensors::{Dtype, tensor::TensorView};
use sdk::abi::{FAILED, OK, ProjectionCall, ProjectionTable, TableHeader, TensorTable};
use tch::{Device, Kind, Tensor};

use super::{
    inputs,
    plan::{Member, Planned, Projections},
    run::Plugin,
};
use crate::{
    config::settings::ProjectionSettings,
    fault::{Exit, Fault},
    model::{Parameter, Role},
    registry::Catalogue,
    tensor::tables::get_table,
};

/// `kept = g − share·(v·g)·v`, reported as `dot`; −1 fails, −2 returns a number, −3 returns g itself.
struct Remove;

static TABLE: ProjectionTable = ProjectionTable {
    header: TableHeader {
        struct_size: size_of::<ProjectionTable>(),
        id: RStr::from_str("plugin.projection/1"),
        revision: 0,
    },
    inputs: names,
    metrics: names,
    project: remove,
};

extern "C" fn names() -> RVec<RString> {
    vec!["dot".into()].into()
}

unsafe extern "C" fn remove(call: *const ProjectionCall) -> u32 {
    // SAFETY: the host's call lives until this returns, and the table is what its id says.
    unsafe {
        let call = &*call;
        let t = &*get_table("host.tensor/1".into(), "".into()).cast::<TensorTable>();
        let share = *call.hyper;
        let (mut along, mut dot) = (0, 0);
        if share == -1.0 {
            return FAILED;
        }
        assert_eq!((t.mul)(call.g, *call.inputs, &raw mut along), OK);
        assert_eq!((t.sum)(along, RSlice::EMPTY, &raw mut dot), OK);
        assert_eq!((t.item)(dot, call.metrics), OK);
        match share {
            -2.0 => *call.kept = dot,
            -3.0 => *call.kept = call.g,
            _ => assert_eq!((t.add_scaled)(call.g, *call.inputs, -share * *call.metrics, call.kept), OK),
        }
    }
    OK
}

impl Plugin for Remove {
    fn label(&self) -> &str {
        "remove"
    }

    fn table(&self) -> Option<&ProjectionTable> {
        Some(&TABLE)
    }

    fn ready(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn fault(&self, status: u32, stage: &str) -> Fault {
        Fault::new("P002", Exit::Plugin, format!("status {status} in {stage}"))
    }
}

fn parameter(name: &str, kind: Kind, grad: Option<&[f64]>) -> Parameter {
    let tensor = Tensor::zeros([3], (kind, Device::Cpu)).set_requires_grad(true);
    if let Some(grad) = grad {
        (&tensor * Tensor::from_slice(grad).to_kind(kind)).sum(kind).backward();
    }
    Parameter { name: name.into(), role: Role::Vector, layer: None, tensor, frozen: false }
}

fn remove_from(index: usize, name: &str, share: f64, direction: &[f64], kind: Kind) -> Planned {
    let inputs = vec![Tensor::from_slice(direction).to_kind(inputs::computing_kind(kind))];
    let members = vec![Member { index, name: name.into(), inputs }];
    Planned { plugin: Arc::new(Remove), hyper: vec![share], metrics: vec!["dot".into()], members }
}

fn grad(parameter: &Parameter) -> Vec<f64> {
    Vec::try_from(parameter.tensor.grad().to_kind(Kind::Double)).unwrap()
}

/// g = (3, −4, 12): removed along (0.6, 0.8, 0), half removed, then along the third axis; each element type.
#[test]
fn closed_forms() {
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        let mut params = [parameter("a", kind, Some(&[3.0, -4.0, 12.0]))];
        let along = |share, direction: &[f64]| remove_from(0, "a", share, direction, kind);
        let all = vec![along(1.0, &[1.0, 0.0, 0.0]), along(0.5, &[0.0, 0.0, 1.0])];
        let reports = Projections { all }.apply(&mut params, &[]).unwrap();
        assert_eq!(grad(&params[0]), [0.0, -4.0, 6.0], "{kind:?}");
        assert_eq!(params[0].tensor.grad().kind(), kind);
        let dots: Vec<_> = reports.iter().map(|report| (&*report.parameter, &*report.label, &report.metrics)).collect();
        let expected = [vec![("dot".to_owned(), 3.0)], vec![("dot".to_owned(), 12.0)]];
        assert_eq!(dots, [("a", "remove", &expected[0]), ("a", "remove", &expected[1])]);
    }
    let mut params = [parameter("a", Kind::Double, Some(&[3.0, -4.0, 12.0]))];
    let all = vec![remove_from(0, "a", 1.0, &[0.6, 0.8, 0.0], Kind::Double)];
    let reports = Projections { all }.apply(&mut params, &[]).unwrap();
    let dot = reports[0].metrics[0].1;
    assert!((dot + 1.4).abs() < 1e-15);
    let expected = [3.84, -2.88, 12.0];
    assert!(grad(&params[0]).iter().zip(expected).all(|(given, expected)| (given - expected).abs() < 1e-14));
}

/// Where a plugin returns what it was given, bits stay; frozen parameters and those without a gradient are left out.
#[test]
fn untouched_gradients_keep_their_bits() {
    let odd = [0.1, -0.0, 1e-30];
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        let mut params =
            [parameter("a", kind, Some(&odd)), parameter("b", kind, Some(&odd)), parameter("c", kind, None)];
        params[1].frozen = true;
        let before = [params[0].tensor.grad().copy(), params[1].tensor.grad().copy()];
        let all = vec![
            remove_from(0, "a", -3.0, &[1.0, 1.0, 1.0], kind),
            remove_from(1, "b", 1.0, &[1.0, 1.0, 1.0], kind),
            remove_from(2, "c", 1.0, &[1.0, 1.0, 1.0], kind),
        ];
        let reports = Projections { all }.apply(&mut params, &[]).unwrap();
        assert_eq!(reports.len(), 1);
        for (parameter, before) in params.iter().zip(before) {
            let bits = |tensor: &Tensor| crate::tensor::bytes::to_bytes(tensor).unwrap();
            assert_eq!(bits(&parameter.tensor.grad()), bits(&before));
        }
        assert!(!params[2].tensor.grad().defined());
    }
}

#[test]
fn failures_are_faults_and_name_the_parameter() {
    let table = [(-1.0, "P002", "status 1 in project"), (-2.0, "P020", "`remove` returned Double []")];
    for (share, code, part) in table {
        let mut params = [parameter("a", Kind::Double, Some(&[3.0, -4.0, 12.0]))];
        let all = vec![remove_from(0, "a", share, &[1.0, 0.0, 0.0], Kind::Double)];
        let fault = Projections { all }.apply(&mut params, &[]).unwrap_err();
        assert_eq!((fault.code, fault.exit), (code, Exit::Plugin));
        assert!(fault.message.contains(part) && fault.to_string().contains('a'), "{fault}");
        assert_eq!(grad(&params[0]), [3.0, -4.0, 12.0]);
    }
    let mut params = [parameter("b", Kind::Double, Some(&[0.0; 3]))];
    let all = vec![remove_from(0, "a", 1.0, &[1.0, 0.0, 0.0], Kind::Double)];
    assert_eq!(Projections { all }.apply(&mut params, &[]).unwrap_err().exit, Exit::Bug);
}

/// A file of inputs with these tensors.
fn file(folder: &tempfile::TempDir, tensors: &[(&str, Dtype, Vec<u8>)]) -> PathBuf {
    let path = folder.path().join("inputs.safetensors");
    let views = tensors.iter().map(|(name, dtype, bytes)| {
        let width = if *dtype == Dtype::F32 { 4 } else { 1 };
        (*name, TensorView::new(*dtype, vec![bytes.len() / width], bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn inputs_are_found_by_name_and_checked() {
    let params = [parameter("a", Kind::Double, None), parameter("h.0.b", Kind::BFloat16, None)];
    let wanted = [&params[0], &params[1]];
    let folder = tempfile::tempdir().unwrap();
    let one = |name| (name, Dtype::F32, f32_bytes(&[1.0, 0.5]));
    let loaded = inputs::load(&file(&folder, &[one("h.0.b"), one("a")]), &wanted, &params, "here").unwrap();
    assert_eq!(loaded[0], Tensor::from_slice(&[1.0_f64, 0.5]));
    assert_eq!(loaded[1], Tensor::from_slice(&[1.0_f32, 0.5]));

    type Stored<'a> = (&'a str, Dtype, Vec<u8>);
    let table: [(&[Stored<'_>], &[&str]); 4] = [
        (&[one("a")], &["no tensor for parameter `h.0.b`"]),
        (&[one("a"), one("h.0.bb")], &["`h.0.bb` is named after no parameter", "no tensor for parameter `h.0.b`"]),
        (&[("a", Dtype::U8, vec![1]), one("h.0.b")], &["tensor `a`: a stored tensor of U8"]),
        (&[("a", Dtype::F32, f32_bytes(&[1.0, f32::NAN])), one("h.0.b")], &["not finite"]),
    ];
    for (tensors, expected) in table {
        let faults = inputs::load(&file(&folder, tensors), &wanted, &params, "here").unwrap_err().0;
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.message.contains(part), "{fault}");
            assert_eq!((fault.code, fault.exit, fault.place.as_deref()), ("D061", Exit::Data, Some("here")));
        }
    }
    let path = folder.path().join("inputs.safetensors");
    std::fs::write(&path, "no safetensors").unwrap();
    assert_eq!(inputs::load(&path, &wanted, &params, "here").unwrap_err().0[0].code, "D060");
    assert_eq!(inputs::load(&folder.path().join("none"), &wanted, &params, "here").unwrap_err().0[0].code, "D060");
}

#[test]
fn a_label_that_was_not_loaded_is_refused() {
    let settings = ProjectionSettings {
        label: "remove".into(),
        pattern: "*".into(),
        inputs: BTreeMap::new(),
        hyper: BTreeMap::new(),
    };
    let faults = Projections::plan(&[settings], &Catalogue::default(), &[], false).map(|_| ()).unwrap_err();
    assert_eq!((faults.0[0].code, faults.exit()), ("R001", Exit::Registry));
    assert!(Projections::plan(&[], &Catalogue::default(), &[], false).unwrap().is_empty());
}

#[test]
fn a_pattern_without_a_trained_parameter_is_refused() {
    let check = |pattern: &str, frozen: [bool; 2], thaws: bool| {
        let settings = ProjectionSettings {
            label: "remove".into(),
            pattern: pattern.into(),
            inputs: BTreeMap::new(),
            hyper: BTreeMap::new(),
        };
        let mut params = [parameter("h.0.a", Kind::Float, None), parameter("h.1.a", Kind::Float, None)];
        params.iter_mut().zip(frozen).for_each(|(parameter, frozen)| parameter.frozen = frozen);
        let checked = Projections::check(&[settings], &Catalogue::default(), &params, thaws);
        checked.err().map(|faults| faults.to_string())
    };
    for (pattern, frozen, thaws, says) in [
        ("h.*", [false, false], false, None),
        ("h.*", [true, false], false, None),
        ("h.*", [true, true], false, Some("takes: h.0.a, h.1.a")),
        ("h.0.*", [true, false], false, Some("pattern `h.0.*` takes frozen parameters alone")),
        ("h.0.*", [true, false], true, None),
        ("h.0.b", [false, false], false, Some("did you mean `h.0.a`?")),
        ("x*", [false, false], true, Some("takes no parameter")),
    ] {
        match (check(pattern, frozen, thaws), says) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains("C060") && text.contains(part), "{text}"),
            (found, _) => panic!("{pattern} {frozen:?} {thaws}: {found:?}"),
        }
    }
}
