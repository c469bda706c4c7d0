//! Texts, flags and variables that nobody meant: whatever comes in, what comes out is work or a documented fault. No panic,
//! no hang, nothing written.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use host::{
    cli::args::{Verb, parse},
    config::{self, Flags, KNOBS, Value, Variables},
    fault::{Exit, Faults},
    registry::Registry,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, RngSeed, TestRng, TestRunner},
};
use support::{TINY, Workshop, plugins, registry, repository};

/// Codes and the exit that follows from each, as the reference page has them.
fn documented() -> &'static BTreeMap<String, u8> {
    static CODES: OnceLock<BTreeMap<String, u8>> = OnceLock::new();
    CODES.get_or_init(read_documented)
}

fn read_documented() -> BTreeMap<String, u8> {
    let page = fs::read_to_string(repository().join("docs/reference/exit-codes.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let code = cells.next()?.strip_suffix('`')?.to_string();
        Some((code, cells.next()?.parse().ok()?))
    };
    let codes: BTreeMap<String, u8> = page.lines().filter_map(row).collect();
    assert!(codes.len() > 100);
    codes
}

/// Faults that a person can use: documented, with the exit code that is documented, each in one line.
fn judge(faults: &Faults, input: &str) {
    let documented = documented();
    assert!(!faults.0.is_empty(), "refused without a word: {input}");
    for fault in &faults.0 {
        let text = fault.to_string();
        assert_eq!(documented.get(fault.code), Some(&(fault.exit as u8)), "{text}\nof {input}");
        assert!(matches!(fault.exit, Exit::Config | Exit::Registry), "{text}\nof {input}");
        assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{text}\nof {input}");
    }
}

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    /// Bytes from here, this many, are gone.
    Cut(usize, usize),
    /// A line is there twice.
    Twice(usize),
    /// Two lines have changed places.
    Swap(usize, usize),
    /// The value of a line is another one.
    Set(usize, String),
    /// A text is put in.
    Insert(usize, String),
}

/// Words that mean something somewhere.
const WORDS: [&str; 44] = [
    "",
    "0",
    "1",
    "-1",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "true",
    "false",
    "\"\"",
    "\" \"",
    "[]",
    "{}",
    "[[]]",
    "[1, \"a\"]",
    "99999999999999999999",
    "18446744073709551615",
    "4294967296",
    "0x10",
    "0b1",
    "1979-05-27T07:32:00Z",
    "'''",
    "\"\"\"",
    "\"\\u0000\"",
    "\"\\n\"",
    "adamw",
    "\"adamw\"",
    "\"lion\"",
    "\"muon\"",
    "\"/dev/null\"",
    "\"../..\"",
    "\"*\"",
    "=",
    "[",
    "]]",
    "[optimizer]",
    "[[group]]",
    "[[optimizer]]",
    "[plugins]",
    "#",
    "a.b.c = 1",
    "\u{feff}",
    "é = \"日本\"",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(&WORDS[..]).prop_map(str::to_string), 1 => ".{0,12}", 1 => "[0-9eE.+-]{1,12}"]
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4000usize;
    prop_oneof![
        (at.clone(), 1..40usize).prop_map(|(at, length)| Change::Cut(at, length)),
        at.clone().prop_map(Change::Twice),
        (at.clone(), at.clone()).prop_map(|(a, b)| Change::Swap(a, b)),
        (at.clone(), word()).prop_map(|(at, word)| Change::Set(at, word)),
        (at, word()).prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_string();
    for change in changes {
        let boundary = |at: usize| text.floor_char_boundary(at % (text.len() + 1));
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        let count = lines.len().max(1);
        match change {
            Change::Cut(at, length) => {
                let start = boundary(*at);
                let end = text.floor_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end.max(start), "");
                continue;
            }
            Change::Insert(at, word) => {
                let at = boundary(*at);
                text.insert_str(at, word);
                continue;
            }
            _ if lines.is_empty() => continue,
            Change::Twice(at) => lines.insert(at % count, lines[at % count].clone()),
            Change::Swap(a, b) => lines.swap(a % count, b % count),
            Change::Set(at, word) => {
                let line = &mut lines[at % count];
                if let Some((key, _)) = line.split_once('=') {
                    *line = format!("{key}= {word}");
                }
            }
        }
        text = lines.join("\n") + "\n";
    }
    text
}

/// Valid configurations to begin from.
fn configurations() -> Vec<String> {
    let mut texts = vec![TINY.to_string()];
    for entry in fs::read_dir(repository().join("configs")).unwrap() {
        texts.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    texts.push(
        "[optimizer]\nlabel = \"muon\"\n[[group]]\nroles = [\"matrix\"]\n[[group]]\npattern = \"*\"\noptimizer = \"adamw\"\n\
         [[projection]]\nlabel = \"remove-direction\"\ninputs.direction = \"d.safetensors\"\n\
         [[schedule]]\nname = \"freeze-layer\"\nmax_wait_steps = 10\n[tags]\nlane = \"7\"\n"
            .to_string(),
    );
    texts
}

/// No files of failures: a failure prints the input that it was shrunk to.
fn cases(count: u32) -> ProptestConfig {
    // The same cases in every run: a test that fails now and then tells nobody what broke it.
    let rng_seed = RngSeed::Fixed(20_250_301);
    ProptestConfig { cases: count, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

fn from_file(path: &Path) -> Flags {
    Flags { values: vec![("config", Value::Path(path.to_owned()))], sets: Vec::new() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn changed_configurations_are_settings_or_faults(
        which in 0..20usize,
        changes in vec(change(), 1..6),
    ) {
        let texts = configurations();
        let text = changed(&texts[which % texts.len()], &changes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        fs::write(&path, &text).unwrap();
        if let Err(faults) = config::resolve(&from_file(&path), &Variables::new(), folder.path()) {
            judge(&faults, &text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_faults(bytes in vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["my.toml", "registry.toml", "registry.lock"] {
            fs::write(folder.path().join(name), &bytes).unwrap();
        }
        let input = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(faults) = config::resolve(&from_file(&folder.path().join("my.toml")), &Variables::new(), folder.path()) {
            judge(&faults, &input);
        }
        judge(&Registry::open(&folder.path().join("registry.toml")).unwrap_err(), &input);
    }

    #[test]
    fn changed_registries_are_read_or_faults(changes in vec(change(), 1..6), with_lock in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        let text = changed(&fs::read_to_string(registry()).unwrap(), &changes);
        fs::write(&path, &text).unwrap();
        if with_lock {
            let lock = "version = 1\n[[library]]\nplugin = \"sign\"\ntarget = \"x\"\nsha256 = \"00\"\nabi = \"1.0\"\n\
                sdk = \"0\"\nrustc = \"1\"\n";
            fs::write(folder.path().join("registry.lock"), changed(lock, &changes)).unwrap();
        }
        if let Err(faults) = Registry::open(&path) {
            judge(&faults, &text);
        }
    }

    #[test]
    fn values_in_variables_and_sets_are_settings_or_faults(
        said in vec((0..400usize, word(), 0..8u8), 1..5),
        sets in vec((0..400usize, word()), 0..4),
    ) {
        let names: Vec<String> = KNOBS.iter().flat_map(|knob| knob.ranked_variables().concat()).collect();
        let mut variables = Variables::new();
        for (index, value, how) in &said {
            let name = &names[index % names.len()];
            match how {
                // One letter away, in another alphabet, or with a value that is no text.
                0 => drop(variables.insert(name[..name.len() - 1].into(), value.into())),
                1 => drop(variables.insert(format!("TRIOS_{value}").into(), "1".into())),
                2 => drop(variables.insert(name.into(), OsString::from_vec(vec![0xff, b'1', 0xfe]))),
                _ => drop(variables.insert(name.into(), value.into())),
            }
        }
        let mut flags = Flags::default();
        for (index, value) in &sets {
            let knob = &KNOBS[index % KNOBS.len()];
            flags = flags.set(&match index % 5 {
                0 => value.clone(),
                1 => format!("group.{}.{}={value}", index % 3, knob.key),
                _ => format!("{}={value}", knob.key),
            });
        }
        let cwd = tempfile::tempdir().unwrap();
        if let Err(faults) = config::resolve(&flags, &variables, cwd.path()) {
            judge(&faults, &format!("{variables:?} {sets:?}"));
        }
    }

    #[test]
    fn command_lines_are_understood_or_refused_with_2(
        words in vec(prop_oneof![
            select(vec!["train", "resume", "sample", "config", "show", "doctor", "generate", "--json", "--set", "--resume"])
                .prop_map(str::to_string),
            (0..100usize, word()).prop_map(|(index, value)| {
                let flags: Vec<&str> = KNOBS.iter().filter_map(|knob| knob.flag).collect();
                format!("--{}={value}", flags[index % flags.len()])
            }),
            word(),
        ], 0..6),
    ) {
        let line = std::iter::once("host".to_string()).chain(words.iter().cloned());
        match parse(line.map(OsString::from)) {
            Ok(cli) => {
                if let Some(Verb::Train(flags)) = cli.verb {
                    let cwd = tempfile::tempdir().unwrap();
                    if let Err(faults) = config::resolve(&flags.knobs.0, &Variables::new(), cwd.path()) {
                        judge(&faults, &format!("{words:?}"));
                    }
                }
            }
            Err(error) => prop_assert!(matches!(error.exit_code(), 0 | 2), "{words:?}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(cases(12))]

    /// A registry that is understood opens what it names, or says why not.
    #[test]
    fn what_a_changed_registry_names_is_loaded_or_a_fault(changes in vec(change(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        let text = changed(&fs::read_to_string(registry()).unwrap(), &changes);
        fs::write(&path, &text).unwrap();
        if let Ok(registry) = Registry::open(&path) {
            let faults = registry.with_plugin_dir(plugins()).survey().faults();
            if !faults.0.is_empty() {
                judge(&faults, &text);
            }
        }
    }
}

/// How the program is told what makes no sense: arguments, variables, and a file to write first.
type Case = (Vec<String>, Vec<(String, String)>, Option<(&'static str, Vec<u8>)>);

/// Runs the program with a bound on memory and time, and looks what it ends with.
fn through_the_program(shop: &Workshop, (args, variables, file): &Case) {
    if let Some((name, bytes)) = file {
        shop.write(name, bytes);
    }
    let before = shop.listing();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let program = shop.command(args, &variables);
    let mut limited = Command::new("sh");
    // A message goes into a file, so that a long one fills no pipe.
    let said = tempfile::NamedTempFile::new().unwrap();
    limited.args(["-c", "ulimit -v 16000000; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    limited.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(shop.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.reopen().unwrap());
    let mut child = limited.spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > patience {
            child.kill().unwrap();
            panic!("it hangs: {args:?} {variables:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let said = String::from_utf8_lossy(&fs::read(said.path()).unwrap()).into_owned();
    let what = || format!("{args:?} {variables:?} ended with {status}: {said}");
    assert!(!said.contains("panicked"), "{}", what());
    let code = status.code().unwrap_or_else(|| panic!("{}", what()));
    assert_eq!(shop.listing(), before, "it wrote something: {}", what());
    let expected: BTreeSet<i32> = [0, 2, 3, 4, 8, 10].into();
    assert!(expected.contains(&code), "{}", what());
    if !matches!(code, 0 | 2) {
        let documented = documented();
        let codes: Vec<u8> = said
            .lines()
            .filter_map(|line| line.strip_prefix("error[")?.split(']').next())
            .map(|code| *documented.get(code).unwrap_or_else(|| panic!("{code} is not documented: {}", what())))
            .collect();
        let exit = if codes.contains(&4) { Some(4) } else { codes.first().copied() };
        assert_eq!(exit.map(i32::from), Some(code), "{}", what());
    }
}

#[test]
fn the_program_ends_with_a_documented_code_whatever_it_is_told() {
    let text = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let show = |more: &[&str]| [text(&["config", "show"]), text(more)].concat();
    let file = |bytes: Vec<u8>| -> Case { (show(&["--config", "bad.toml"]), Vec::new(), Some(("bad.toml", bytes))) };
    let repeated = |part: &str, times: usize| part.repeat(times).into_bytes();
    let mut all: Vec<Case> = vec![
        // Deep, long, endless.
        file([b"a = ".to_vec(), repeated("[", 100_000)].concat()),
        file([b"a = ".to_vec(), repeated("{a=", 50_000)].concat()),
        file([repeated("a.", 50_000), b"a = 1".to_vec()].concat()),
        file([b"[".to_vec(), repeated("a.", 50_000), b"a]\n".to_vec()].concat()),
        file(repeated("[[group]]\nlr = 1.0\n", 5000)),
        file([b"seed = ".to_vec(), repeated("9", 100_000)].concat()),
        file(repeated("\u{0}", 5000)),
        (show(&["--config", "/dev/zero"]), Vec::new(), None),
        (show(&["--registry", "/dev/zero"]), Vec::new(), None),
        (show(&["--config", "."]), Vec::new(), None),
        (show(&["--registry", "."]), Vec::new(), None),
        (show(&["--plugin-dir", "/dev/null"]), Vec::new(), None),
        (text(&["train", "--data", "/proc/self/mem", "--dry-run"]), Vec::new(), None),
        (text(&["train", "--data", "/dev/null", "--dry-run"]), Vec::new(), None),
        (text(&["resume", "/dev/null"]), Vec::new(), None),
        (text(&["resume", "\u{1b}[31m"]), Vec::new(), None),
        (text(&["sample", "/proc/self"]), Vec::new(), None),
        // Sizes that no machine holds, or whose product no number does.
        (text(&["train", "--dry-run", "--hidden", "65536", "--set", "model.n_head=1000"]), Vec::new(), None),
        (text(&["train", "--config", "tiny.toml", "--dry-run", "--set", "model.block_size=1048576"]), Vec::new(), None),
    ];
    // A sample of the inputs above, as people would give them.
    let mut runner = TestRunner::new_with_rng(cases(1), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let texts = configurations();
    for index in 0..12 {
        let changes = vec(change(), 1..5).new_tree(&mut runner).unwrap().current();
        all.push(file(changed(&texts[index % texts.len()], &changes).into_bytes()));
        let value = word().new_tree(&mut runner).unwrap().current().replace('\0', "");
        let knob = &KNOBS[(index * 7) % KNOBS.len()];
        match (index % 2, knob.ranked_variables().concat().first()) {
            (0, Some(name)) => all.push((show(&[]), vec![(name.clone(), value)], None)),
            _ => all.push((show(&["--set", &format!("{}={value}", knob.key)]), Vec::new(), None)),
        }
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let shop = Workshop::new();
                while let Some(case) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    through_the_program(&shop, case);
                }
            });
        }
    });
}
