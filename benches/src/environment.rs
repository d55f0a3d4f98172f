//! Where a run took place: processor, kernel, compiler, versions of the peers.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use crate::report::Environment;

/// Versions come from the lock file that this binary was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// This machine and this build, with the versions of `peers`, which are crates.
pub(crate) fn here(peers: &[&str]) -> Environment {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Environment {
        cpu: cpu
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
            .unwrap_or_default(),
        cores: available_parallelism().map_or(0, usize::from),
        kernel: kernel.trim().to_owned(),
        rustc: rustc(),
        optimised: !cfg!(debug_assertions),
        tools: peers
            .iter()
            .filter_map(|peer| Some(((*peer).to_owned(), locked_version(peer)?)))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// `rustc 1.88.0`; empty where it cannot be asked.
fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.split(" (").next().map(|text| text.trim().to_owned()))
        .unwrap_or_default()
}

/// The version of a crate in the lock file; the first one where there are several.
fn locked_version(name: &str) -> Option<String> {
    let (_, rest) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_the_versions_of_the_lock_file() {
        let environment = here(&["prost", "no-such-crate"]);
        assert!(environment.tools["prost"].starts_with("0."));
        assert!(!environment.tools.contains_key("no-such-crate"));
    }
}
