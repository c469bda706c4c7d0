//! What this process stands on: the program itself, libtorch, the processor.
//! Starts nothing: what could end the process is looked at by children.

use crate::{
    fault::{Exit, Fault},
    rules::{InstructionSet, threads},
    run::record::Versions,
    tensor::libtorch,
};

use super::Finding;

/// The findings that need no child.
pub fn findings() -> Vec<Finding> {
    let config = libtorch::config();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    vec![program(), library(&config), instructions(&config), thread_count(threads::count(), cores)]
}

fn program() -> Finding {
    let versions = Versions::of_this_program();
    let path =
        std::env::current_exe().map_or_else(|_| "a path that is not known".into(), |path| path.display().to_string());
    let text = format!("{} ({}), sdk {}, at {path}", versions.host, versions.rustc, versions.sdk);
    Finding::ok("host", text).fact("version", versions.host).fact("sdk", versions.sdk).fact("path", path)
}

fn library(config: &str) -> Finding {
    let version = libtorch::version(config).unwrap_or("unknown");
    let folder =
        libtorch::folder().map_or_else(|| "a folder that is not known".into(), |path| path.display().to_string());
    let (built, text) = (libtorch::BUILT_AGAINST, format!("{version} in {folder}"));
    let unfit = |message: String, hint: &str| {
        let fault = Fault::new("E006", Exit::Environment, message).at(folder.clone()).hint(hint);
        Finding::unfit("libtorch", text.clone(), &fault.into())
    };
    let finding = match libtorch::computes() {
        Err(reason) => unfit(format!("libtorch does not compute: {reason}"), "`cargo xtask setup` installs it again"),
        Ok(()) if !libtorch::same_release(version, built) => unfit(
            format!("libtorch is {version}, and this program was built against {built}"),
            "build again, or give the program its own libtorch: is LD_LIBRARY_PATH set?",
        ),
        Ok(()) => Finding::ok("libtorch", text.clone()),
    };
    finding.fact("version", version).fact("built_against", built).fact("folder", folder.clone())
}

fn instructions(config: &str) -> Finding {
    let (ours, theirs) = (InstructionSet::detect().name(), libtorch::capability(config).unwrap_or("unknown"));
    Finding::ok("instructions", format!("{ours} in rules, {theirs} in libtorch"))
        .fact("rules", ours)
        .fact("libtorch", theirs)
}

/// libtorch counts the machine's cores, and knows nothing of a share of them that this process is given.
fn thread_count(threads: usize, cores: usize) -> Finding {
    let text = format!("{threads} threads for {cores} cores");
    let finding = match threads > cores {
        true => {
            let text = format!("{text}: they will wait for each other");
            Finding::limited("threads", text, format!("set OMP_NUM_THREADS={cores}"))
        }
        false => Finding::ok("threads", text),
    };
    finding.fact("threads", threads).fact("cores", cores)
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn more_threads_than_cores_are_a_remark() {
        for (threads, cores, state) in [(1, 4, State::Ok), (4, 4, State::Ok), (5, 4, State::Limited)] {
            let finding = thread_count(threads, cores);
            assert_eq!(finding.state, state, "{threads} {cores}");
            assert_eq!(finding.hint.is_some(), state == State::Limited);
        }
    }

    #[test]
    fn this_machine_is_told_and_fit_to_test_on() {
        let findings = findings();
        assert_eq!(
            findings.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(),
            ["host", "libtorch", "instructions", "threads"]
        );
        assert!(findings.iter().all(|one| one.state != State::Unfit), "{findings:?}");
    }
}
