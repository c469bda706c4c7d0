//! What this process stands on: the program itself, libtorch, the processor.

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
    vec![program(), library(&config), instructions(&config), thread_count()]
}

fn program() -> Finding {
    let versions = Versions::of_this_program();
    let path = std::env::current_exe().map_or_else(|_| "a path that is not known".into(), |path| path.display().to_string());
    let text = format!("{} ({}), sdk {}, at {path}", versions.host, versions.rustc, versions.sdk);
    Finding::ok("host", text).fact("version", versions.host).fact("sdk", versions.sdk).fact("path", path)
}

fn library(config: &str) -> Finding {
    let version = libtorch::version(config).unwrap_or("unknown");
    let folder = libtorch::folder().map_or_else(|| "a folder that is not known".into(), |path| path.display().to_string());
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

fn thread_count() -> Finding {
    let (threads, cores) = (threads::count(), std::thread::available_parallelism().map_or(1, |cores| cores.get()));
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
