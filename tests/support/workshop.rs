//! A temporary folder in which the binary is run as a user would run it: a small text, a tiny configuration, a clean
//! environment.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder with `text.txt` and `tiny.toml` in it.
pub struct Workshop {
    folder: TempDir,
}

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Finished {
    /// Fails with everything it said, unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr contains every one of these.
    #[track_caller]
    pub fn says(self, all: &[&str]) -> Finished {
        for text in all {
            assert!(self.stderr.contains(text), "stderr lacks `{text}`:\n{}", self.stderr);
        }
        self
    }
}

/// Trains in well under a second a step.
pub const TINY: &str = r#"
seed = 7
device = "cpu"

[data]
train = "text.txt"

[model]
n_layer = 2
n_head = 2
n_embd = 16
block_size = 16
bias = true
dropout = 0.1

[train]
steps = 12
batch_size = 4
eval_every = 4
eval_steps = 4

[run]
checkpoint_every = 4
sample_tokens = 0

[optimizer]
label = "adamw"
lr = 1e-2
"#;

impl Workshop {
    /// With `text.txt`, `tiny.toml`, and all plugins of the repository built.
    pub fn new() -> Workshop {
        super::plugins();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("text.txt"), text(6000)).unwrap();
        fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        Workshop { folder }
    }

    /// The folder, in which the binary runs.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// `tiny.toml` with some text replaced; every replacement must hit.
    pub fn tiny_with(&self, name: &str, replaced: &[(&str, &str)]) -> PathBuf {
        let mut text = TINY.to_string();
        for (old, new) in replaced {
            assert!(text.contains(old), "tiny.toml has no `{old}`");
            text = text.replace(old, new);
        }
        self.write(name, text)
    }

    /// The command, with nothing of the tester's environment but PATH, and the repository's registry unless one is
    /// given.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("OMP_NUM_THREADS", "1")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let named = args.iter().any(|arg| arg.as_ref().to_string_lossy().starts_with("--registry"));
        // a sample, a comparison of finished runs and a manual need no registry
        let word = |index: usize| args.get(index).map(|word| word.as_ref().to_string_lossy().into_owned());
        let wanted =
            !matches!(word(0).as_deref(), Some("sample" | "compare" | "export")) && word(1).as_deref() != Some("man");
        if wanted && !named && !self.path().join("registry.toml").exists() {
            command.arg("--registry").arg(registry());
        }
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S], env: &[(&str, &str)]) -> Finished {
        let output = self.command(args, env).output().expect("the binary starts");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Starts and leaves it running.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        self.command(args, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }

    /// Trains `tiny.toml` into `run`, with more arguments.
    pub fn train(&self, run: &str, more: &[&str]) -> Finished {
        let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run];
        args.extend(more);
        self.run(&args, &[])
    }

    /// Every path below the folder.
    pub fn listing(&self) -> BTreeSet<PathBuf> {
        fn walk(folder: &Path, all: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, all);
                }
                all.insert(path);
            }
        }
        let mut all = BTreeSet::new();
        walk(self.path(), &mut all);
        all
    }

    /// `run.json` of a run.
    pub fn record(&self, run: &str) -> Value {
        let path = self.path().join(run).join("run.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    /// What a run's record says of the optimizer it was asked for.
    pub fn optimizer(&self, run: &str, asked: &str) -> Value {
        let record = self.record(run);
        let labels = record["labels"].as_array().expect("labels");
        let found = labels.iter().find(|label| label["kind"] == "optimizer" && label["asked"] == asked);
        found.unwrap_or_else(|| panic!("no `{asked}` in {labels:#?}")).clone()
    }

    /// `metrics.jsonl` of a run.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path().join(run).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Hash over the final parameters of a run.
    pub fn hash(&self, run: &str) -> String {
        let record = self.record(run);
        record["parameter_hash"].as_str().unwrap_or_else(|| panic!("no parameter hash in {record:#}")).to_string()
    }
}

/// The registry of the repository.
pub fn registry() -> PathBuf {
    repository().join("registry.toml")
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host lies in the repository").to_path_buf()
}

/// Text with some structure: letters chosen by a counter, words of one to six of them.
pub fn text(characters: usize) -> String {
    let mut text = String::with_capacity(characters);
    let mut state = 1u64;
    while text.len() < characters {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let word = &"abacadebefagahabieooua"[(state >> 60) as usize..][..1 + (state >> 40) as usize % 6];
        text.push_str(word);
        text.push(if (state >> 33).is_multiple_of(7) { '\n' } else { ' ' });
    }
    text.truncate(characters);
    text
}
