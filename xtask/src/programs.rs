//! Programs of the workspace that commands start: cargo builds them, and they are run from where they lie.
//!
//! Not by `cargo run`: crates that several programs share are built anew for each that asks for other features of
//! them, unless cargo is asked for all of these programs at once.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process, workspace};

/// Fast code without the wait of a release, for whatever has to be fast and is not handed out.
pub(crate) const QUICK: &str = "demo";

/// What is built with optimisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The system on one screen.
    Demo,
    /// Real processes and every fault.
    Chaos,
    /// The benchmarks.
    Benches,
}

impl Program {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Demo, Self::Chaos, Self::Benches];

    /// Its package, what it is to cargo, and its name.
    fn target(self) -> [&'static str; 3] {
        match self {
            Self::Demo => ["telemetry-server", "--example", "demo"],
            Self::Chaos => ["telemetry-tests", "--bin", "chaos"],
            Self::Benches => ["telemetry-benches", "--bin", "telemetry-benches"],
        }
    }

    /// The features that it needs, for cargo.
    fn features(self) -> Option<&'static str> {
        match self {
            Self::Demo => Some("telemetry-server/http,telemetry-server/pool"),
            Self::Chaos | Self::Benches => None,
        }
    }

    /// The program as it was built in `profile`, to be given its arguments.
    pub(crate) fn command(self, profile: &str) -> Command {
        let [_package, kind, name] = self.target();
        let folder = if kind == "--example" { "examples" } else { "" };
        process::command(directory(profile).join(folder).join(name))
    }
}

/// Builds all of `programs` at once in `profile`.
pub(crate) fn build(profile: &str, programs: &[Program]) -> Result<(), Failure> {
    process::run(&mut build_command(profile, programs))
}

fn build_command(profile: &str, programs: &[Program]) -> Command {
    let mut cargo = process::cargo();
    cargo.args(["build", "--profile", profile]);
    for program in programs {
        let [package, kind, name] = program.target();
        cargo.args(["--package", package, kind, name]);
        if let Some(features) = program.features() {
            cargo.args(["--features", features]);
        }
    }
    cargo
}

/// Builds programs of the workspace as its tests have them, so that nothing is built twice.
///
/// A test is built, too: only with one among them do crates get the features that tests ask for.
pub(crate) fn build_as_tests_do(names: &[&str], test: &str) -> Result<(), Failure> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--workspace", "--all-features"]);
    cargo.args(names.iter().flat_map(|name| ["--bin", name]));
    process::run(cargo.args(["--test", test]))
}

/// Where the program `name` lies that tests have.
pub(crate) fn of_tests(name: &str) -> PathBuf {
    directory("debug").join(name)
}

/// Where cargo leaves programs, by the name that it gives to the directory of a profile.
fn directory(profile: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace::path(target).join(Path::new(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn one_cargo_is_asked_for_all_programs() {
        assert_eq!(
            words(&build_command(QUICK, &Program::ALL)),
            "build --profile demo --package telemetry-server --example demo --features \
             telemetry-server/http,telemetry-server/pool --package telemetry-tests --bin chaos \
             --package telemetry-benches --bin telemetry-benches"
        );
    }

    #[test]
    fn a_program_lies_where_cargo_leaves_it() {
        let lies = |program: Program| {
            let command = program.command("release");
            command.get_program().to_string_lossy().into_owned()
        };
        assert!(lies(Program::Demo).ends_with("/release/examples/demo"));
        assert!(lies(Program::Benches).ends_with("/release/telemetry-benches"));
    }
}
