//! Plans and checks of a small repository of its own: three crates, released once, then changed.

mod history;
mod prepare;

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::process;

use super::{
    api, check,
    git::Repository,
    packages,
    plan::{Plan, Wishes},
    wire::tests::descriptor,
};

const WIRE_API: &str = "pub struct low_wire::Hello\n";
const CORE_API: &str = "pub fn low_core::emit(name: &str)\npub struct low_core::Event\n";
const SERVER_API: &str = "pub fn low_server::handle(event: low_core::Event)\n";

/// A repository whose crates `low-wire`, `low-core` and `low-server` were released as 0.1.0.
struct Released {
    directory: TempDir,
}

impl Released {
    fn new() -> Self {
        let released = Self::untagged();
        for name in ["low-wire", "low-core", "low-server"] {
            released.git(&["tag", &format!("{name}-v0.1.0")]);
        }
        released
    }

    fn untagged() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let released = Self { directory };
        released.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\n[workspace.package]\n\
             repository = \"https://example.org\"\n\n[workspace.metadata.release]\n\
             maintainer = \"A <a@example.org>\"\n\n[workspace.dependencies]\n\
             low-wire = { path = \"crates/low-wire\", version = \"0.1.0\" }\n\
             low-core = { path = \"crates/low-core\", version = \"0.1.0\" }\n",
        );
        released.package("low-wire", "0.1.0", None, WIRE_API);
        released.package("low-core", "0.1.0", Some("low-wire"), CORE_API);
        released.package("low-server", "0.1.0", Some("low-core"), SERVER_API);
        released.describe("uint32 pid = 4;");
        released.lock();
        released.write(".gitignore", "/target/\n");
        released.git(&["init", "--quiet"]);
        for setting in [
            ["user.name", "A"],
            ["user.email", "a@example.org"],
            ["commit.gpgsign", "false"],
            ["tag.gpgsign", "false"],
        ] {
            released.git(&["config", setting[0], setting[1]]);
        }
        released.git(&["add", "."]);
        released.git(&["commit", "--quiet", "--message", "Release"]);
        released
    }

    fn package(&self, name: &str, version: &str, uses: Option<&str>, api: &str) {
        let uses = uses.map_or_else(String::new, |uses| format!("{uses}.workspace = true\n"));
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\
             repository.workspace = true\n\n[dependencies]\n{uses}"
        );
        self.write(&format!("crates/{name}/Cargo.toml"), &manifest);
        self.write(&format!("crates/{name}/src/lib.rs"), "//! A crate.\n");
        self.write(&format!("crates/{name}/public-api.txt"), api);
        self.write(
            &format!("crates/{name}/CHANGELOG.md"),
            "# Changelog\n\n## [Unreleased]\n\n* A thing.\n",
        );
    }

    /// Compiles the only message of `low-wire`, whose only field is `field`.
    fn describe(&self, field: &str) {
        self.write(
            "crates/low-wire/src/generated/descriptor.bin",
            descriptor(field),
        );
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        self.asked(arguments);
    }

    fn lock(&self) {
        let mut cargo = process::cargo();
        let arguments = ["generate-lockfile", "--offline", "--quiet"];
        process::output(cargo.current_dir(self.root()).args(arguments)).unwrap();
    }

    /// What git says to `arguments`.
    fn asked(&self, arguments: &[&str]) -> String {
        let mut git = Repository::at(self.root()).git();
        let said = process::output(git.args(arguments)).unwrap();
        String::from_utf8(said).unwrap().trim_end().to_owned()
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn plan(&self) -> String {
        let plan = Plan::of(self.root(), &Wishes::new()).unwrap();
        plan.lines.join("\n")
    }

    fn problems(&self) -> Vec<String> {
        self.findings().problems
    }

    fn findings(&self) -> check::Findings {
        let packages = packages::published(self.root()).unwrap();
        let texts = api::committed(self.root(), &packages).unwrap();
        check::problems(self.root(), &packages, &texts).unwrap()
    }
}

#[test]
fn before_the_first_release_the_versions_of_the_manifests_are_proposed() {
    let plan = Released::untagged().plan();
    assert_eq!(
        plan.matches("propose 0.1.0: first release").count(),
        3,
        "{plan}"
    );
    assert!(plan.contains("low-wire: manifest 0.1.0, no tag"), "{plan}");
    assert!(plan.contains("  used by low-core"), "{plan}");
}

#[test]
fn what_did_not_change_is_not_released_again() {
    let released = Released::new();
    let plan = released.plan();
    assert_eq!(
        plan.matches("propose 0.1.0: nothing changed").count(),
        3,
        "{plan}"
    );
    assert_eq!(released.problems(), [""; 0]);
}

#[test]
fn a_fix_moves_its_own_crate_and_no_other() {
    let released = Released::new();
    released.write("crates/low-core/src/lib.rs", "//! A better crate.\n");
    let plan = released.plan();
    assert!(
        plan.contains("propose 0.1.1: files changed, the public API did not"),
        "{plan}"
    );
    assert!(
        plan.contains("low-server need not move for low-core 0.1.1: what it asks for admits that"),
        "{plan}"
    );
    assert_eq!(
        plan.matches("propose 0.1.0: nothing changed").count(),
        2,
        "{plan}"
    );
}

#[test]
fn a_breaking_change_moves_those_in_whose_api_it_shows_as_far() {
    let released = Released::new();
    released.write(
        "crates/low-core/public-api.txt",
        CORE_API.replace("name: &str", "name: &[u8]"),
    );
    let plan = released.plan();
    for line in [
        "propose 0.2.0: 1 breaking change of the public API",
        "propose 0.2.0: types of low-core, which breaks, are public in it",
        "low-server must move for low-core 0.2.0: what it asks for does not admit that",
    ] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
}

#[test]
fn a_breaking_change_that_does_not_show_moves_by_a_fix() {
    let released = Released::new();
    released.write("crates/low-wire/public-api.txt", "");
    let plan = released.plan();
    assert!(
        plan.contains("propose 0.1.1: it has to ask for the new low-wire"),
        "{plan}"
    );
}

#[test]
fn a_breaking_change_without_a_breaking_step_is_refused_and_named() {
    let released = Released::new();
    let api = "pub struct low_core::Event\n";
    released.package("low-core", "0.1.1", Some("low-wire"), api);
    let problems = released.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in [
        "crates/low-core/Cargo.toml has version 0.1.1",
        "at least 0.2.0 is allowed",
        "`pub fn low_core::emit(name: &str)` is gone",
    ] {
        assert!(problems[0].contains(part), "{part} in {problems:?}");
    }
}

#[test]
fn a_version_that_is_still_to_be_chosen_is_no_problem_and_what_breaks_is_noted() {
    let released = Released::new();
    released.write(
        "crates/low-core/public-api.txt",
        "pub struct low_core::Event\n",
    );
    let found = released.findings();
    assert_eq!(found.problems, [""; 0]);
    let expected = "low-core: 1 breaking change since low-core-v0.1.0; `prepare` makes it 0.2.0:\n    \
                    `pub fn low_core::emit(name: &str)` is gone";
    assert_eq!(found.notes, [expected]);
}

#[test]
fn an_addition_needs_a_patch_and_no_more() {
    let released = Released::new();
    let api = format!("{CORE_API}pub fn low_core::later()\n");
    released.write("crates/low-core/public-api.txt", &api);
    assert_eq!(released.problems(), [""; 0]);
    assert_eq!(released.findings().notes, [""; 0]);
    released.package("low-core", "0.1.1", Some("low-wire"), &api);
    assert_eq!(released.problems(), [""; 0]);
}

#[test]
fn a_change_that_no_changelog_tells_is_refused_as_prepare_would() {
    let released = Released::new();
    released.write(
        "crates/low-core/CHANGELOG.md",
        "# Changelog\n\n## [Unreleased]\n",
    );
    let expected = "crates/low-core/CHANGELOG.md has nothing in [Unreleased], which is to be released as 0.1.1";
    assert_eq!(released.problems(), [expected]);
}

#[test]
fn a_renumbered_field_is_refused_whatever_the_version_says() {
    let released = Released::new();
    released.describe("uint32 pid = 5;");
    released.package("low-wire", "1.0.0", None, WIRE_API);
    let expected =
        "field .a.Hello.pid was uint32 = 4 and is uint32 = 5; what low-wire-v0.1.0 has stays";
    let problems = released.problems();
    let is_named = problems.iter().any(|problem| problem.contains(expected));
    assert!(is_named, "{problems:?}");
}

#[test]
fn every_problem_is_named_and_not_only_the_first() {
    let released = Released::new();
    released.package("low-wire", "0.1.1", None, "");
    released.package("low-core", "0.1.1", Some("low-wire"), "");
    released.describe("");
    assert_eq!(released.problems().len(), 3, "{:?}", released.problems());
}

#[test]
fn a_crate_that_shows_types_of_one_that_broke_must_break_too() {
    let released = Released::new();
    let api = "pub struct low_core::Event\n";
    released.package("low-core", "0.2.0", Some("low-wire"), api);
    assert_eq!(released.problems(), [""; 0]);
    released.package("low-server", "0.1.1", Some("low-core"), SERVER_API);
    let expected = "crates/low-server/Cargo.toml has version 0.1.1, but low-core, whose types are in \
                    its API, goes from 0.1.0 to 0.2.0; at least 0.2.0 is allowed";
    assert_eq!(released.problems(), [expected]);
    released.package("low-server", "0.2.0", Some("low-core"), SERVER_API);
    assert_eq!(released.problems(), [""; 0]);
}

#[test]
fn a_version_of_more_than_three_numbers_is_named() {
    let released = Released::new();
    released.package("low-core", "0.2.0-rc.1", Some("low-wire"), CORE_API);
    let refused = packages::released(released.root()).unwrap_err().to_string();
    let expected =
        "crates/low-core/Cargo.toml has version 0.2.0-rc.1; three numbers are allowed, as 0.1.0";
    assert!(refused.ends_with(expected), "{refused}");
}

#[test]
fn a_change_of_tests_alone_is_no_reason_for_a_release() {
    let released = Released::new();
    released.write("crates/low-core/tests/more.rs", "//! A test.\n");
    released.git(&["add", "."]);
    let plan = released.plan();
    assert_eq!(
        plan.matches("propose 0.1.0: nothing changed").count(),
        3,
        "{plan}"
    );
}
