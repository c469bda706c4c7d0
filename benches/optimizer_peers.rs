//! Optimizer steps beside PyTorch's and pytorch_optimizer's: the same parameters and gradients, the same
//! hyper-parameters, in turn; equal changes are shown before anything is timed. `cargo xtask bench optimizers --help`.
//!
//! Prints a Markdown table. A peer whose changes are not equal is marked: it has another rule, or computes in bf16, or
//! chose other bases of a null space. The norm of the gradients is not part of our time.
#![allow(missing_docs)]

#[path = "../tests/support/plugins.rs"]
#[allow(dead_code)]
mod plugins;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use host::{
    config::{knobs, settings},
    model::{Parameter, Role},
    optim::{Optim, clip},
    registry::{Catalogue, Kind, Registry, hyper, state_bytes::StateBytes},
};
use serde_json::{Value, json};
use tch::{Device, Kind as Dtype, Tensor};

/// A line of the table: a rule, what differs from its defaults so that both sides run one, and its peers. The first peer
/// that has the same rule is what counts.
struct Case {
    label: &'static str,
    setting: Option<(&'static str, &'static str)>,
    peers: &'static [&'static str],
}

const fn case(label: &'static str, peers: &'static [&'static str]) -> Case {
    Case { label, setting: None, peers }
}

const CASES: [Case; 34] = [
    case("adamw", &["torch fused", "torch foreach", "torch compiled"]),
    case("sgdm", &["torch fused", "torch foreach"]),
    case("adam", &["torch fused"]),
    case("adagrad", &["torch foreach"]),
    case("rmsprop", &["torch foreach"]),
    case("adamax", &["torch foreach"]),
    case("radam", &["torch foreach"]),
    case("nadam", &["torch foreach"]),
    case("adadelta", &["torch foreach"]),
    case("asgd", &["torch foreach"]),
    case("lion", &["foreach"]),
    case("tiger", &["foreach"]),
    case("adabelief", &["foreach"]),
    case("yogi", &["foreach"]),
    case("adopt", &["foreach"]),
    case("adan", &["foreach"]),
    case("ademamix", &["foreach"]),
    case("laprop", &["foreach"]),
    case("schedulefree-adamw", &["foreach"]),
    case("schedulefree-sgd", &["foreach"]),
    case("stableadamw", &["foreach"]),
    case("novograd", &["foreach"]),
    case("lamb", &["foreach"]),
    case("prodigy", &["foreach"]),
    case("dadapt-adam", &["foreach"]),
    case("adafactor", &["torch foreach"]),
    case("came", &["foreach"]),
    case("ranger", &["foreach"]),
    case("mars", &["foreach"]),
    case("adamp", &["foreach"]),
    // The peers iterate in bf16; in the parameter's own type the result is the exact one.
    case("muon", &["torch", "pytorch_optimizer"]),
    Case { setting: Some(("ns_dtype", "bf16")), ..case("muon", &["torch", "pytorch_optimizer"]) },
    case("soap", &["pytorch_optimizer"]),
    case("shampoo", &["pytorch_optimizer"]),
];
/// Rules over matrices; they get the matrices of the blocks alone.
const MATRIX: [&str; 3] = ["muon", "soap", "shampoo"];
/// Steps whose changes are compared.
const COMPARED: usize = 3;

/// What the command line says.
struct Options {
    device: Device,
    size: String,
    threads: usize,
    rounds: usize,
    seconds: f64,
    labels: Vec<String>,
    python: PathBuf,
}

impl Options {
    fn parse() -> Options {
        let mut options = Options {
            device: Device::Cpu,
            size: "10M".into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            rounds: 5,
            seconds: 0.5,
            labels: Vec::new(),
            python: "python3".into(),
        };
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{flag} takes a value"));
            match flag.as_str() {
                "--device" => match value().as_str() {
                    "cpu" => options.device = Device::Cpu,
                    "cuda" => {
                        let opened = host::tensor::device::open(settings::Device::Cuda);
                        options.device = opened.unwrap_or_else(|fault| panic!("{fault}"));
                    }
                    other => panic!("--device is cpu or cuda, not {other}"),
                },
                "--size" => options.size = value(),
                "--threads" => options.threads = value().parse().expect("--threads takes a number"),
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
                "--seconds" => options.seconds = value().parse().expect("--seconds takes a number"),
                "--optimizer" => options.labels.push(value()),
                "--python" => options.python = value().into(),
                other => panic!("unknown flag {other}"),
            }
        }
        let unknown: Vec<&String> =
            options.labels.iter().filter(|label| CASES.iter().all(|case| case.label != *label)).collect();
        let known: Vec<&str> = CASES.iter().map(|case| case.label).collect();
        assert!(unknown.is_empty(), "no peer is known for {unknown:?}; there is one for {}", known.join(", "));
        options
    }

    fn takes(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|known| known == label)
    }

    /// Layers, width, positions and tokens of a GPT.
    fn network(&self) -> (i64, i64, i64, i64) {
        match self.size.as_str() {
            "10M" => (6, 384, 256, 65),
            "124M" => (12, 768, 1024, 50304),
            other => panic!("--size is 10M or 124M, not {other}"),
        }
    }
}

/// The parameters of a GPT, by shape: those of nanoGPT without biases.
fn shapes(options: &Options, matrices_alone: bool) -> Vec<Vec<i64>> {
    let (layers, d, positions, tokens) = options.network();
    let mut shapes = Vec::new();
    if !matrices_alone {
        shapes.extend([vec![tokens, d], vec![positions, d], vec![d]]);
    }
    for _ in 0..layers {
        shapes.extend([vec![3 * d, d], vec![d, d], vec![4 * d, d], vec![d, 4 * d]]);
        if !matrices_alone {
            shapes.extend([vec![d], vec![d]]);
        }
    }
    shapes
}

/// As `numbers` of `peers/optimizers.py`.
fn numbers(shape: &[i64], which: usize, scale: f64, device: Device) -> Tensor {
    let index = Tensor::arange(shape.iter().product::<i64>(), (Dtype::Int64, device)) + 1_000_003 * which as i64;
    let unit = (index * 48271i64).remainder(2_147_483_647i64).to_kind(Dtype::Double) / 2_147_483_647.0 - 0.5;
    (unit * scale).to_kind(Dtype::Float).reshape(shape)
}

/// Our side of one label.
struct Ours {
    params: Vec<Parameter>,
    optim: Optim,
    skip: Vec<bool>,
    /// Of all gradients, which stay the same.
    norm: f64,
    device: Device,
}

impl Ours {
    fn new(case: &Case, catalogue: &Catalogue, shapes: &[Vec<i64>], device: Device) -> Ours {
        let parameter = |(which, shape): (usize, &Vec<i64>)| {
            let tensor = numbers(shape, which, 0.04, device).set_requires_grad(true);
            // The gradient of a sum of products is the other factor.
            (&tensor * numbers(shape, which + 500, 0.002, device)).sum(Dtype::Float).backward();
            let role = if shape.len() == 2 { Role::Matrix } else { Role::Vector };
            Parameter { name: format!("p{which}"), role, layer: None, tensor, frozen: false }
        };
        let params: Vec<Parameter> = shapes.iter().enumerate().map(parameter).collect();
        let mut settings = knobs::builtin();
        settings.optimizer.label = case.label.to_string();
        if let Some((name, word)) = case.setting {
            settings.optimizer.hyper.insert(name.to_string(), settings::HyperValue::Choice(word.to_string()));
        }
        let planned = Optim::plan(&settings, &|key| key.to_string(), catalogue, &params);
        let optim = planned.unwrap_or_else(|faults| panic!("{faults}"));
        let norm = clip::measure(&params).unwrap_or_else(|fault| panic!("{fault}")).norm;
        Ours { skip: vec![false; params.len()], norm, params, optim, device }
    }

    /// Seconds for as many steps.
    fn steps(&mut self, count: usize) -> f64 {
        self.wait();
        let start = Instant::now();
        for _ in 0..count {
            self.optim.step(&mut self.params, 1.0, self.norm, &self.skip).unwrap_or_else(|fault| panic!("{fault}"));
        }
        self.wait();
        start.elapsed().as_secs_f64()
    }

    fn wait(&self) {
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
    }

    fn changes(&self) -> Vec<Vec<f64>> {
        let change = |(which, param): (usize, &Parameter)| {
            let start = numbers(&param.tensor.size(), which, 0.04, self.device).to_kind(Dtype::Double);
            let change = (param.tensor.detach().to_kind(Dtype::Double) - start).flatten(0, -1);
            let every = (change.size()[0] / 64).max(1);
            let some = change.slice(0, 0, i64::MAX, every).to_device(Device::Cpu);
            let all: Vec<f64> = some.contiguous().try_into().expect("numbers of f64");
            all.into_iter().take(64).collect()
        };
        self.params.iter().enumerate().map(change).collect()
    }
}

/// The Python process.
struct Peer {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(options: &Options) -> Peer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/optimizers.py");
        let mut command = Command::new(&options.python);
        // As `memory::keep_freed` does here.
        command.env("MALLOC_MMAP_MAX_", "0").env("MALLOC_TRIM_THRESHOLD_", "-1");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("LD_LIBRARY_PATH");
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", options.python.display()));
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Peer { process, answers }
    }

    fn ask(&mut self, question: Value) -> Result<Value, String> {
        let stdin = self.process.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{question}").expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the peer said `{line}`"));
        match answer["failed"].as_str() {
            Some(why) => Err(why.to_string()),
            None => Ok(answer["is"].take()),
        }
    }

    fn number(&mut self, question: Value) -> f64 {
        let answer = self.ask(question.clone()).unwrap_or_else(|why| panic!("{question}: {why}"));
        answer.as_f64().unwrap_or_else(|| panic!("{question}: {answer}"))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The largest difference, as a share of the largest change.
fn difference(ours: &[Vec<f64>], theirs: &Value) -> f64 {
    let theirs =
        theirs.as_array().expect("a list per parameter").iter().flat_map(|one| one.as_array().expect("a list"));
    let (mut largest, mut apart, mut seen) = (0.0f64, 0.0f64, 0);
    for (ours, theirs) in ours.iter().flatten().zip(theirs) {
        let theirs = theirs.as_f64().unwrap_or(f64::NAN);
        largest = largest.max(theirs.abs()).max(ours.abs());
        apart = if theirs.is_nan() || ours.is_nan() { f64::INFINITY } else { apart.max((ours - theirs).abs()) };
        seen += 1;
    }
    assert!(seen > 0, "no elements to compare");
    if largest > 0.0 { apart / largest } else { f64::INFINITY }
}

fn main() {
    let options = Options::parse();
    host::tensor::memory::keep_freed();
    assert!(host::rules::threads::set_count(options.threads), "libtorch refused {} threads", options.threads);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry.toml");
    let registry = Registry::open(&path).unwrap_or_else(|faults| panic!("{faults}"));
    let registry = registry.with_plugin_dir(plugins::plugins());
    let catalogue = registry.load_all().unwrap_or_else(|faults| panic!("{faults}"));
    let mut peer = Peer::start(&options);
    let on_card = options.device != Device::Cpu;
    let moved = if on_card { "copy" } else { "in-place scale" };
    println!(
        "| optimizer | peer | ours, us | peer, us | peer / ours | {moved} / ours | difference after {COMPARED} steps |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| options.takes(case.label)) {
        let label = case.label;
        let shown = case.setting.map_or(label.to_string(), |(name, word)| format!("{label}, {name} = {word}"));
        let shapes = shapes(&options, MATRIX.contains(&label));
        let loaded = catalogue.get(Kind::Optimizer, label).expect("the labels are in the registry");
        let schema = loaded.schema().iter().zip(loaded.defaults());
        let given: serde_json::Map<String, Value> =
            schema.map(|(schema, value)| (schema.name.to_string(), json!(hyper::value(schema, value)))).collect();
        let device = if on_card { "cuda" } else { "cpu" };
        peer.ask(json!({"do": "tensors", "shapes": shapes, "device": device, "threads": options.threads})).unwrap();
        let elements: i64 = shapes.iter().map(|shape| shape.iter().product::<i64>()).sum();
        let mut ours = Ours::new(case, &catalogue, &shapes, options.device);
        ours.steps(COMPARED);
        let changes = ours.changes();
        // Enough steps that a round lasts.
        let once = ours.steps(2) / 2.0;
        let count = ((options.seconds / once) as usize).clamp(1, 500);
        for name in case.peers.iter().filter(|name| on_card || **name != "torch compiled") {
            let made = peer.ask(json!({"do": "make", "label": label, "peer": name, "hyper": given}));
            let ready = made.and_then(|_| peer.ask(json!({"do": "renewed", "count": COMPARED})));
            if let Err(why) = ready {
                println!("| {shown} | {name} | | | | | cannot be run: {why} |");
                continue;
            }
            let apart = difference(&changes, &peer.ask(json!({"do": "changes"})).unwrap());
            let theirs_once = peer.number(json!({"do": "steps", "count": 1}));
            let theirs_count = ((options.seconds / theirs_once) as usize).clamp(1, 500);
            let (mut our_times, mut their_times, mut move_times) = (Vec::new(), Vec::new(), Vec::new());
            let bytes = loaded.state_bytes().unwrap().and_then(|state| rule_bytes(&state, elements));
            for _ in 0..options.rounds {
                their_times.push(peer.number(json!({"do": "steps", "count": theirs_count})) / theirs_count as f64);
                our_times.push(ours.steps(count) / count as f64);
                if let Some(bytes) = bytes {
                    move_times.push(peer.number(json!({"do": "move", "bytes": bytes})));
                }
            }
            let (our, their) = (median(our_times), median(their_times));
            let share = bytes.map_or("".to_string(), |_| format!("{:.2}", median(move_times) / our));
            let rule = if apart < 1e-3 { "" } else { ", not equal" };
            println!(
                "| {shown} | {name} | {:.0} | {:.0} | {:.2} | {share} | {apart:.1e}{rule} |",
                our * 1e6,
                their * 1e6,
                their / our
            );
        }
    }
}

/// Bytes that a step reads and writes at least: parameter and state both ways, the gradient once. None where a slot has
/// another shape than its parameter.
fn rule_bytes(state: &StateBytes, elements: i64) -> Option<i64> {
    // A number is none of an element.
    let by_element = state.others.iter().all(|shape| *shape == "number");
    by_element.then_some(elements * (3 * 4 + 2 * state.per_parameter as i64))
}
