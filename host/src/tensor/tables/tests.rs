//! The tables through their C function pointers, against closed forms.
//! What muon makes of them is tested with muon.

use abi_stable::std_types::{RSlice, RVec};
use sdk::abi::{
    CoreTable, FAILED, LinalgTable, OK, RngTable, TensorTable,
    host_tables::{Binary, Handle, Unary},
};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::tensor::Scope;

fn core_table() -> &'static CoreTable {
    // SAFETY: the id names this type.
    unsafe { &*get_table("host.core/1".into(), "".into()).cast() }
}

fn tensor_table() -> &'static TensorTable {
    // SAFETY: the id names this type.
    unsafe { &*get_table("host.tensor/1".into(), "".into()).cast() }
}

fn linalg_table() -> &'static LinalgTable {
    // SAFETY: the id names this type.
    unsafe { &*get_table("host.linalg/1".into(), "".into()).cast() }
}

fn rng_table() -> &'static RngTable {
    // SAFETY: the id names this type.
    unsafe { &*get_table("host.rng/1".into(), "".into()).cast() }
}

fn error() -> String {
    (core_table().take_error)().into()
}

/// The result of a call that must go well.
fn result(scope: &Scope, name: &str, call: impl FnOnce(*mut Handle) -> u32) -> Tensor {
    let mut out = 0;
    let status = call(&raw mut out);
    assert_eq!(status, OK, "{name}: {}", error());
    scope.get(out).unwrap()
}

fn matrix(rows: i64, values: &[f64]) -> Tensor {
    Tensor::from_slice(values).reshape([rows, -1])
}

/// Every function of `host.tensor/1` that returns a tensor: name, what it gave, what it must give.
fn cases(scope: &Scope) -> Vec<(&'static str, Tensor, Tensor)> {
    let t = tensor_table();
    let nan = f64::NAN;
    let inf = f64::INFINITY;
    let handle = |tensor: &Tensor| scope.insert(tensor.shallow_clone());
    let [a, b] = [matrix(2, &[1.0, -2.0, 4.0, 0.25]), matrix(2, &[3.0, 0.5, -1.0, 2.0])];
    let (ha, hb) = (handle(&a), handle(&b));
    let mut cases = Vec::new();

    let unary: [(&str, Unary, [f64; 4]); 9] = [
        ("neg", t.neg, [-1.0, 2.0, -4.0, -0.25]),
        ("abs", t.abs, [1.0, 2.0, 4.0, 0.25]),
        ("sign", t.sign, [1.0, -1.0, 1.0, 1.0]),
        ("sqrt", t.sqrt, [1.0, nan, 2.0, 0.5]),
        ("rsqrt", t.rsqrt, [1.0, nan, 0.5, 2.0]),
        ("reciprocal", t.reciprocal, [1.0, -0.5, 0.25, 4.0]),
        ("exp", t.exp, [1f64.exp(), (-2f64).exp(), 4f64.exp(), 0.25f64.exp()]),
        ("ln", t.ln, [0.0, nan, 4f64.ln(), 0.25f64.ln()]),
        ("tanh", t.tanh, [1f64.tanh(), (-2f64).tanh(), 4f64.tanh(), 0.25f64.tanh()]),
    ];
    for (name, function, expected) in unary {
        cases.push((name, result(scope, name, |out| function(ha, out)), matrix(2, &expected)));
    }
    cases.push(("copy", result(scope, "copy", |out| (t.copy)(ha, out)), a.shallow_clone()));

    let binary: [(&str, Binary, [f64; 4]); 9] = [
        ("add", t.add, [4.0, -1.5, 3.0, 2.25]),
        ("sub", t.sub, [-2.0, -2.5, 5.0, -1.75]),
        ("mul", t.mul, [3.0, -1.0, -4.0, 0.5]),
        ("div", t.div, [1.0 / 3.0, -4.0, -4.0, 0.125]),
        ("max", t.max, [3.0, 0.5, 4.0, 2.0]),
        ("min", t.min, [1.0, -2.0, -1.0, 0.25]),
        ("gt", t.gt, [0.0, 0.0, 1.0, 0.0]),
        ("ge", t.ge, [0.0, 0.0, 1.0, 0.0]),
        ("matmul", t.matmul, [5.0, -3.5, 11.75, 2.5]),
    ];
    for (name, function, expected) in binary {
        cases.push((name, result(scope, name, |out| function(ha, hb, out)), matrix(2, &expected)));
    }
    // `a > b ? a : b`: with a NaN on either side, and with two zeros, it is b.
    let [left, right] = [matrix(1, &[nan, 1.0, 0.0, inf]), matrix(1, &[1.0, nan, -0.0, 2.0])];
    let (hl, hr) = (handle(&left), handle(&right));
    cases.push(("max", result(scope, "max", |out| (t.max)(hl, hr, out)), matrix(1, &[1.0, nan, -0.0, inf])));
    cases.push(("min", result(scope, "min", |out| (t.min)(hl, hr, out)), matrix(1, &[1.0, nan, -0.0, 2.0])));
    cases.push(("ge", result(scope, "ge", |out| (t.ge)(hl, hl, out)), matrix(1, &[0.0, 1.0, 1.0, 1.0])));
    // A row broadcasts.
    let row = handle(&matrix(1, &[10.0, 20.0]));
    cases.push(("add", result(scope, "add", |out| (t.add)(ha, row, out)), matrix(2, &[11.0, 18.0, 14.0, 20.25])));

    type WithNumber = extern "C" fn(Handle, f64, *mut Handle) -> u32;
    let with_number: [(&str, WithNumber, f64, [f64; 4]); 4] = [
        ("add_scalar", t.add_scalar, 0.5, [1.5, -1.5, 4.5, 0.75]),
        ("mul_scalar", t.mul_scalar, -2.0, [-2.0, 4.0, -8.0, -0.5]),
        ("pow_scalar", t.pow_scalar, 2.0, [1.0, 4.0, 16.0, 0.0625]),
        ("max_scalar", t.max_scalar, 1.0, [1.0, 1.0, 4.0, 1.0]),
    ];
    for (name, function, x, expected) in with_number {
        cases.push((name, result(scope, name, |out| function(ha, x, out)), matrix(2, &expected)));
    }
    cases.push((
        "max_scalar",
        result(scope, "max_scalar", |out| (t.max_scalar)(hl, 0.5, out)),
        matrix(1, &[0.5, 1.0, 0.5, inf]),
    ));
    let scaled = |x, y| result(scope, "add_scaled", |out| (t.add_scaled)(x, y, 2.0, out));
    cases.push(("add_scaled", scaled(ha, hb), matrix(2, &[7.0, -1.0, 2.0, 4.25])));
    cases.push(("add_scaled", scaled(ha, row), matrix(2, &[21.0, 38.0, 24.0, 40.25])));
    cases.push(("add_scaled", scaled(row, ha), matrix(2, &[12.0, 16.0, 18.0, 20.5])));
    let mask = handle(&matrix(2, &[1.0, 0.0, nan, -1.0]));
    cases.push((
        "select",
        result(scope, "select", |out| (t.select)(mask, ha, hb, out)),
        matrix(2, &[1.0, 0.5, 4.0, 0.25]),
    ));

    type Reduction = extern "C" fn(Handle, RSlice<'_, i64>, *mut Handle) -> u32;
    let reductions: [(&str, Reduction, f64, [f64; 2]); 3] = [
        ("sum", t.sum, 3.25, [-1.0, 4.25]),
        ("mean", t.mean, 0.8125, [-0.5, 2.125]),
        ("norm", t.norm, 21.0625f64.sqrt(), [5f64.sqrt(), 16.0625f64.sqrt()]),
    ];
    for (name, function, all, rows) in reductions {
        let dims = [-1_i64];
        let whole = result(scope, name, |out| function(ha, RSlice::EMPTY, out));
        cases.push((name, whole, Tensor::from(all)));
        let kept = result(scope, name, |out| function(ha, RSlice::from_slice(&dims), out));
        cases.push((name, kept, matrix(2, &rows)));
    }

    let batch = |tensor: &Tensor| handle(&tensor.unsqueeze(0));
    let (ca, cb, cc) = (batch(&a), batch(&b), batch(&matrix(2, &[1.0, 1.0, 1.0, 1.0])));
    let product = result(scope, "add_matmul", |out| (t.add_matmul)(cc, ca, cb, 0.5, 2.0, out));
    cases.push(("add_matmul", product, matrix(2, &[10.5, -6.5, 24.0, 5.5]).unsqueeze(0)));

    let shape = [4_i64, -1];
    let flat = result(scope, "reshape", |out| (t.reshape)(ha, RSlice::from_slice(&shape), out));
    cases.push(("reshape", flat, matrix(4, &[1.0, -2.0, 4.0, 0.25])));
    let swapped = result(scope, "transpose", |out| (t.transpose)(ha, 0, -1, out));
    cases.push(("transpose", swapped, matrix(2, &[1.0, 4.0, -2.0, 0.25])));
    cases.push(("narrow", result(scope, "narrow", |out| (t.narrow)(ha, 1, 1, 1, out)), matrix(2, &[-2.0, 0.25])));
    let index = [1_i64, 1, 0];
    let picked = result(scope, "index_select", |out| (t.index_select)(ha, -2, RSlice::from_slice(&index), out));
    cases.push(("index_select", picked, matrix(3, &[4.0, 0.25, 4.0, 0.25, 1.0, -2.0])));
    let both = [ha, hb];
    let joined = result(scope, "concat", |out| (t.concat)(RSlice::from_slice(&both), 1, out));
    cases.push(("concat", joined, matrix(2, &[1.0, -2.0, 3.0, 0.5, 4.0, 0.25, -1.0, 2.0])));
    let shape = [1_i64, 3];
    let filled = result(scope, "full", |out| (t.full)(RSlice::from_slice(&shape), 0.1, ha, out));
    cases.push(("full", filled, matrix(1, &[0.1, 0.1, 0.1])));
    cases.push(("eye", result(scope, "eye", |out| (t.eye)(2, ha, out)), matrix(2, &[1.0, 0.0, 0.0, 1.0])));
    let narrower = result(scope, "cast", |out| (t.cast)(ha, 2, out));
    cases.push(("cast", narrower, a.to_kind(Kind::BFloat16)));
    cases
}

/// Same type, shape and values; NaN equals NaN, and zeros have signs.
fn same(given: &Tensor, expected: &Tensor) -> bool {
    let values = |tensor: &Tensor| Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view(-1)).unwrap();
    let near = |(a, b): (&f64, &f64)| {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() || *a != 0.0 && (a - b).abs() <= 4e-16 * b.abs()
    };
    given.kind() == expected.kind()
        && given.size() == expected.size()
        && values(given).iter().zip(&values(expected)).all(near)
}

#[test]
fn closed_forms() {
    let scope = Scope::enter();
    let cases = cases(&scope);
    let wrong: Vec<&str> = cases.iter().filter(|(_, given, expected)| !same(given, expected)).map(|c| c.0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // A pass has cases of its own, in `pass.rs`.
    let others = ["shape", "dtype", "device", "item", "pass"];
    let missing: Vec<String> = fields("host_tables.rs", "TensorTable")
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name != "header" && !others.contains(&name.as_str()))
        .filter(|name| !cases.iter().any(|case| case.0 == name))
        .collect();
    assert!(missing.is_empty(), "functions without a case: {missing:?}");
}

#[test]
fn questions() {
    let t = tensor_table();
    let scope = Scope::enter();
    for (kind, code) in [(Kind::Float, 0), (Kind::Double, 1), (Kind::BFloat16, 2)] {
        let a = scope.insert(Tensor::full([1, 1], 2.5, (kind, Device::Cpu)));
        let (mut sizes, mut dtype, mut device, mut item) = (RVec::new(), 9, 9, 0.0);
        assert_eq!((t.shape)(a, &mut sizes), OK);
        assert_eq!((t.dtype)(a, &raw mut dtype), OK);
        assert_eq!((t.device)(a, &raw mut device), OK);
        assert_eq!((t.item)(a, &raw mut item), OK);
        assert_eq!((sizes.as_slice(), dtype, device, item), ([1_i64, 1].as_slice(), code, 0, 2.5));
    }
}

#[test]
fn failures_say_what_does_not_fit() {
    let t = tensor_table();
    let scope = Scope::enter();
    let a = scope.insert(matrix(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let b = scope.insert(matrix(2, &[1.0, 2.0, 3.0, 4.0]));
    let single = scope.insert(matrix(2, &[1.0, 2.0, 3.0, 4.0]).to_kind(Kind::Float));
    let mut out = 5;
    let mut number = 5.0;
    let none = std::ptr::null_mut();
    let outside = [2_i64];
    let cases: [(u32, &[&str]); 8] = [
        ((t.matmul)(a, a, &raw mut out), &["matmul of f64 [2, 3] and f64 [2, 3]", "shapes cannot be multiplied"]),
        ((t.add)(b, single, &raw mut out), &["add of f64 [2, 2] and f32 [2, 2]", "one element type expected"]),
        ((t.item)(a, &raw mut number), &["item of f64 [2, 3]: one element expected, not 6"]),
        ((t.cast)(a, 7, &raw mut out), &["there is no element type 7"]),
        ((t.neg)(12345, &raw mut out), &["neg: stale tensor handle"]),
        ((t.neg)(a, none), &["neg: no place for the result"]),
        ((t.index_select)(a, 0, RSlice::from_slice(&outside), &raw mut out), &["index 2 is not in 0..2"]),
        ((t.add_matmul)(a, b, a, 1.0, 1.0, &raw mut out), &["add_matmul of f64 [2, 3] and f64 [2, 2]", "[batch, rows"]),
    ];
    // The calls ran while the list was made: only the last text is left.
    assert!(error().contains("add_matmul"));
    for (status, _) in &cases {
        assert_eq!(*status, FAILED);
    }
    assert_eq!((out, number), (5, 5.0));
    let again: [&dyn Fn(&mut Handle) -> u32; 7] = [
        &|out| (t.matmul)(a, a, out),
        &|out| (t.add)(b, single, out),
        &|_| (t.item)(a, &mut 0.0),
        &|out| (t.cast)(a, 7, out),
        &|out| (t.neg)(12345, out),
        &|_| (t.neg)(a, std::ptr::null_mut()),
        &|out| (t.index_select)(a, 0, RSlice::from_slice(&outside), out),
    ];
    for (call, (_, texts)) in again.iter().zip(cases) {
        assert_eq!(call(&mut out), FAILED);
        let text = error();
        assert!(texts.iter().all(|part| text.contains(part)) && text.lines().count() == 1, "{text}");
        assert_eq!(error(), "", "an error is taken once");
    }
}

#[test]
fn a_handle_of_an_earlier_call_is_stale() {
    let t = tensor_table();
    let mut old = 0;
    {
        let scope = Scope::enter();
        let a = scope.insert(Tensor::from(1.0));
        assert_eq!((t.neg)(a, &raw mut old), OK);
    }
    assert_eq!((t.neg)(old, &mut 0), FAILED);
    assert_eq!(error(), "no plugin call is under way on this thread");
    let scope = Scope::enter();
    scope.insert(Tensor::from(1.0));
    scope.insert(Tensor::from(1.0));
    assert_eq!((t.neg)(old, &mut 0), FAILED);
    assert!(error().starts_with("neg: stale tensor handle"));
}

#[test]
fn nothing_changes_in_place() {
    let t = tensor_table();
    let scope = Scope::enter();
    let (a, b) = (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[3.0, 4.0]));
    let (ha, hb) = (scope.insert(a.shallow_clone()), scope.insert(b.shallow_clone()));
    let sum = result(&scope, "add_scaled", |out| (t.add_scaled)(ha, hb, 1.0, out));
    assert_eq!(sum, Tensor::from_slice(&[4.0, 6.0]));
    assert_eq!((a, b), (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[3.0, 4.0])));
}

/// The factors multiply to the matrix, are orthogonal, and eigenvalues ascend; a batch at once.
#[test]
fn factorizations() {
    let t = linalg_table();
    let scope = Scope::enter();
    let a = Tensor::from_slice(&[4.0, 1.0, -2.0, 2.0, 3.0, 0.5, 1.0, 1.0, 0.0, 2.0, 5.0, -1.0]).reshape([2, 3, 2]);
    let near = |x: &Tensor, y: &Tensor| (x - y).abs().max().double_value(&[]) < 1e-13;
    let orthogonal = |q: &Tensor| near(&q.transpose(-2, -1).matmul(q), &Tensor::eye(2, (Kind::Double, Device::Cpu)));
    let (mut x, mut y, mut z) = (0, 0, 0);

    assert_eq!((t.qr)(scope.insert(a.shallow_clone()), &raw mut x, &raw mut y), OK, "{}", error());
    let (q, r) = (scope.get(x).unwrap(), scope.get(y).unwrap());
    assert!(orthogonal(&q) && near(&q.matmul(&r), &a) && near(&r.tril(-1), &r.zeros_like()));

    let symmetric = a.transpose(-2, -1).matmul(&a);
    assert_eq!((t.eigh)(scope.insert(symmetric.shallow_clone()), &raw mut x, &raw mut y), OK, "{}", error());
    let (w, v) = (scope.get(x).unwrap(), scope.get(y).unwrap());
    assert!(orthogonal(&v) && near(&v.matmul(&w.diag_embed(0, -2, -1)).matmul(&v.transpose(-2, -1)), &symmetric));
    assert!((w.select(1, 1) - w.select(1, 0)).min().double_value(&[]) > 0.0);

    assert_eq!((t.svd)(scope.insert(a.shallow_clone()), &raw mut x, &raw mut y, &raw mut z), OK, "{}", error());
    let (u, s, vh) = (scope.get(x).unwrap(), scope.get(y).unwrap(), scope.get(z).unwrap());
    assert!(orthogonal(&u) && orthogonal(&vh.transpose(-2, -1)));
    assert!(near(&u.matmul(&s.diag_embed(0, -2, -1)).matmul(&vh), &a));
    assert!(near(&s.square().flip([1]), &w));

    assert_eq!((t.eigh)(scope.insert(a), &raw mut x, &raw mut y), FAILED);
    assert!(error().starts_with("eigh of f64 [2, 3, 2]"));
}

/// The whole product where it is symmetric, whether cut into bands or not; with a last band that is narrower.
#[test]
fn symmetric_products() {
    let t = linalg_table();
    let scope = Scope::enter();
    for (n, m, kind, most) in [(5, 3, Kind::Double, 1e-14), (650, 40, Kind::Double, 1e-12), (700, 9, Kind::Float, 1e-4)]
    {
        let a = Tensor::randn([2, n, m], (kind, Device::Cpu));
        let (turned, c) = (a.transpose(1, 2), a.matmul(&a.transpose(1, 2)));
        let expected = &c * 0.5 - c.matmul(&c) * 0.25;
        let [a, turned, c] = [a, turned, c].map(|tensor| scope.insert(tensor));
        let product = result(&scope, "product", |out| (t.symmetric_product)(0, a, turned, 0.0, 1.0, out));
        let sum = result(&scope, "sum", |out| (t.symmetric_product)(c, c, c, 0.5, -0.25, out));
        let apart = |x: &Tensor, y: &Tensor| ((x - y).abs().max() / y.abs().max()).double_value(&[]);
        assert!(apart(&product, &scope.get(c).unwrap()) < most && apart(&sum, &expected) < most, "{n}");

        let mut out = 7;
        assert_eq!((t.symmetric_product)(0, a, a, 0.0, 1.0, &raw mut out), FAILED);
        assert!(error().contains("[batch, n, m] times [batch, m, n] expected"));
        assert_eq!((t.symmetric_product)(turned, a, turned, 1.0, 1.0, &raw mut out), FAILED);
        assert_eq!((error().is_empty(), out), (false, 7));
    }
}

#[test]
fn random_numbers_follow_seed_step_and_name() {
    let t = rng_table();
    let scope = Scope::enter();
    let like = |kind, n: i64| scope.insert(Tensor::zeros([n], (kind, Device::Cpu)));
    let draw = |normal: bool, seed, step, name: &'static str, like| {
        let function = if normal { t.normal } else { t.uniform };
        result(&scope, "draw", |out| function(seed, step, name.into(), like, out))
    };
    let long = like(Kind::Double, 40_000);
    for normal in [false, true] {
        let first = draw(normal, 1, 2, "w", long);
        assert_eq!(first, draw(normal, 1, 2, "w", long));
        for (seed, step, name) in [(2, 2, "w"), (1, 3, "w"), (1, 2, "v")] {
            assert_ne!(first, draw(normal, seed, step, name, long));
        }
        // A shorter tensor is the beginning of a longer one; narrower types hold the same numbers.
        assert_eq!(draw(normal, 1, 2, "w", like(Kind::Double, 7)), first.narrow(0, 0, 7));
        let single = draw(normal, 1, 2, "w", like(Kind::Float, 40_000));
        assert!((single.to_kind(Kind::Double) - &first).abs().max().double_value(&[]) < 1e-6);
        let half = draw(normal, 1, 2, "w", like(Kind::BFloat16, 40_000));
        assert!((half.to_kind(Kind::Double) - &first).abs().max().double_value(&[]) < 0.02);

        let moments: Vec<f64> =
            [1.0, 2.0, 4.0].iter().map(|&k| first.pow_tensor_scalar(k).mean(Kind::Double).double_value(&[])).collect();
        let expected = if normal { [0.0, 1.0, 3.0] } else { [1.0 / 2.0, 1.0 / 3.0, 1.0 / 5.0] };
        let deviation = if normal { [1.0, 2f64.sqrt(), 96f64.sqrt()] } else { [0.3, 0.3, 0.3] };
        for i in 0..3 {
            let off = (moments[i] - expected[i]).abs() / deviation[i] * 200.0;
            assert!(off < 4.0, "moment {i} of normal={normal} is off by {off} standard errors");
        }
        if !normal {
            for drawn in [&first, &single, &half] {
                assert!(drawn.min().double_value(&[]) >= 0.0 && drawn.max().double_value(&[]) < 1.0);
            }
        }
    }
}

#[test]
fn ids_lead_to_tables_that_say_so() {
    for id in ["host.core/1", "host.tensor/1", "host.linalg/1", "host.rng/1"] {
        // SAFETY: every table begins with a header.
        let header = unsafe { &*get_table(id.into(), "".into()) };
        assert_eq!(header.id.as_str(), id);
        assert!(get_table(id.into(), "adamw".into()).is_null());
    }
    assert!(get_table("host.tensor/2".into(), "".into()).is_null());
}

fn source(file: &str) -> String {
    std::fs::read_to_string(format!("{}/../sdk/src/abi/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Fields and their types of a struct in the sdk's boundary, as written.
fn fields(file: &str, name: &str) -> Vec<(String, String)> {
    let text = source(file);
    let begin = text.find(&format!("pub struct {name} {{")).unwrap();
    let body = &text[begin..begin + text[begin..].find("\n}").unwrap()];
    let code: Vec<&str> = body.lines().skip(1).map(str::trim).filter(|line| !line.starts_with("//")).collect();
    code.join(" ")
        .split("pub ")
        .filter_map(|field| field.trim().trim_end_matches(',').split_once(": "))
        .map(|(name, of)| (name.to_owned(), of.replace("( ", "(").replace(", )", ")")))
        .collect()
}

/// An id never changes its meaning. This list may grow at the end of a table; a line of it is never edited.
#[test]
fn tables_are_append_only() {
    let mut list = String::new();
    for (file, tables) in [
        ("host_tables.rs", ["CoreTable", "TensorTable", "LinalgTable", "RngTable"].as_slice()),
        ("plugin_tables.rs", &["PluginCoreTable", "RuleTable", "OptimizerTable", "ProjectionTable", "ArchOpTable"]),
        ("plugin_tables.rs", &["KernelCall", "OptimizerCall", "ProjectionCall"]),
        ("root.rs", &["TableHeader"]),
    ] {
        for table in tables {
            list.push_str(&format!("{table}\n"));
            for (position, (name, of)) in fields(file, table).into_iter().enumerate() {
                list.push_str(&format!("  {position} {name}: {of}\n"));
            }
        }
    }
    for (file, alias) in [
        ("host_tables.rs", "Handle"),
        ("host_tables.rs", "Unary"),
        ("host_tables.rs", "Binary"),
        ("plugin_tables.rs", "NarrowEntry"),
        ("plugin_tables.rs", "NarrowKernel"),
    ] {
        let text = source(file);
        list.push_str(text.lines().find(|line| line.starts_with(&format!("pub type {alias} "))).unwrap());
        list.push('\n');
    }
    let path = format!("{}/src/tensor/tables/golden.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(list, golden, "\n{list}");
    // Fields of one pointer each, behind the header: the position decides the offset.
    let functions = |table| fields("host_tables.rs", table).len() - 1;
    let size = |functions: usize| size_of::<TableHeader>() + functions * size_of::<usize>();
    assert_eq!(size_of::<TensorTable>(), size(functions("TensorTable")));
    assert_eq!(size_of::<CoreTable>(), size(functions("CoreTable")));
    assert_eq!(size_of::<LinalgTable>(), size(functions("LinalgTable")));
    assert_eq!(size_of::<RngTable>(), size(functions("RngTable")));
    assert_eq!(std::mem::offset_of!(TensorTable, pass), size(functions("TensorTable") - 1));
}
