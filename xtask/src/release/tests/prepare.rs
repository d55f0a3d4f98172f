//! Releases of the small repository: what they write, and what they refuse to begin with.

use std::fs;

use super::{
    super::{prepare, version::Version},
    *,
};

const DATE: &str = "2026-01-31";

impl Released {
    fn prepare(&self, wishes: &[(&str, &str)]) -> Result<(), String> {
        let wish =
            |(name, version): &(&str, &str)| ((*name).to_owned(), Version::parse(version).unwrap());
        let wishes = wishes.iter().map(wish).collect();
        prepare::run(self.root(), &wishes, DATE, false).map_err(|failure| failure.to_string())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--message", "Change"]);
    }

    /// A fix of `low-core`, told in its changelog and committed.
    fn fix(&self) {
        self.write("crates/low-core/src/lib.rs", "//! A better crate.\n");
        let text = "# Changelog\n\n## [Unreleased]\n\n* It is better.\n\n## [0.1.0] - 2026-01-01\n\n* A thing.\n";
        self.write("crates/low-core/CHANGELOG.md", text);
        self.commit();
    }

    fn refuses(&self, wishes: &[(&str, &str)], expected: &str) {
        let head = self.asked(&["rev-parse", "HEAD"]);
        let status = self.asked(&["status", "--porcelain"]);
        let refused = self.prepare(wishes).unwrap_err();
        assert!(refused.contains(expected), "{expected} in {refused}");
        assert_eq!(self.asked(&["rev-parse", "HEAD"]), head);
        assert_eq!(self.asked(&["status", "--porcelain"]), status);
    }

    /// Whether cargo finds nothing to change in the lock file.
    fn is_locked(&self) -> bool {
        let mut cargo = process::cargo();
        let arguments = ["metadata", "--locked", "--offline", "--format-version", "1"];
        process::succeeds(cargo.current_dir(self.root()).args(arguments))
    }
}

#[test]
fn the_first_release_keeps_the_versions_and_dates_the_changelogs() {
    let released = Released::untagged();
    released.prepare(&[]).unwrap();
    for name in ["low-wire", "low-core", "low-server"] {
        let text = released.read(&format!("crates/{name}/CHANGELOG.md"));
        let expected = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-31\n\n* A thing.\n";
        assert_eq!(text, expected);
        let tag = format!("{name}-v0.1.0");
        assert_eq!(released.asked(&["cat-file", "-t", &tag]), "tag");
    }
    let told = released.asked(&["log", "-1", "--format=%B"]);
    let crates = "* low-wire 0.1.0\n* low-core 0.1.0\n* low-server 0.1.0";
    assert_eq!(told, format!("Release 3 packages\n\n{crates}"));
    assert_eq!(released.asked(&["status", "--porcelain"]), "");
    assert_eq!(released.problems(), [""; 0]);
}

#[test]
fn a_fix_releases_its_own_crate_and_no_other() {
    let released = Released::untagged();
    released.prepare(&[]).unwrap();
    released.fix();
    let plan = released.plan();
    for line in [
        "propose 0.1.1: files changed, the public API did not",
        "low-server need not move for low-core 0.1.1: what it asks for admits that",
    ] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    released.prepare(&[]).unwrap();

    let told = released.asked(&["show", "--format=%s", "--name-only"]);
    let files = "Cargo.lock\nCargo.toml\ncrates/low-core/CHANGELOG.md\ncrates/low-core/Cargo.toml";
    assert_eq!(told, format!("Release low-core 0.1.1\n\n{files}"));
    let manifest = released.read("crates/low-core/Cargo.toml");
    assert!(manifest.contains("version = \"0.1.1\""), "{manifest}");
    let table = released.read("Cargo.toml");
    assert!(
        table.contains("crates/low-core\", version = \"0.1.1\""),
        "{table}"
    );
    assert!(
        table.contains("crates/low-wire\", version = \"0.1.0\""),
        "{table}"
    );
    let changelog = released.read("crates/low-core/CHANGELOG.md");
    assert!(
        changelog.contains(
            "## [Unreleased]\n\n## [0.1.1] - 2026-01-31\n\n* It is better.\n\n## [0.1.0]"
        ),
        "{changelog}"
    );
    assert!(released.is_locked());
    let tags = released.asked(&["tag", "--points-at", "HEAD"]);
    assert_eq!(tags, "low-core-v0.1.1");
    assert_eq!(released.problems(), [""; 0]);
    assert_eq!(released.plan().matches("nothing changed").count(), 3);
}

#[test]
fn a_dry_run_writes_nothing() {
    let released = Released::new();
    released.fix();
    let head = released.asked(&["rev-parse", "HEAD"]);
    prepare::run(released.root(), &Wishes::new(), DATE, true).unwrap();
    assert_eq!(released.asked(&["rev-parse", "HEAD"]), head);
    assert_eq!(released.asked(&["status", "--porcelain"]), "");
    assert_eq!(released.asked(&["tag", "--list", "*0.1.1"]), "");
}

#[test]
fn whoever_was_stopped_before_the_tags_gets_them_the_next_time() {
    let released = Released::untagged();
    released.prepare(&[]).unwrap();
    released.git(&["tag", "--delete", "low-core-v0.1.0"]);
    let head = released.asked(&["rev-parse", "HEAD"]);
    released.prepare(&[]).unwrap();
    assert_eq!(released.asked(&["rev-parse", "HEAD"]), head);
    assert_eq!(
        released.asked(&["tag", "--list", "low-core-*"]),
        "low-core-v0.1.0"
    );
}

#[test]
fn a_version_that_is_asked_for_is_taken_and_moves_those_above_as_far() {
    let released = Released::new();
    released.fix();
    released.prepare(&[("low-core", "0.3.0")]).unwrap();
    let table = released.read("Cargo.toml");
    assert!(
        table.contains("crates/low-core\", version = \"0.3.0\""),
        "{table}"
    );
    let tags = released.asked(&["tag", "--points-at", "HEAD"]);
    assert_eq!(tags, "low-core-v0.3.0\nlow-server-v0.2.0");
    assert!(released.is_locked());
    assert_eq!(released.problems(), [""; 0]);
}

#[test]
fn a_version_that_is_too_low_or_of_no_crate_is_refused() {
    let released = Released::new();
    released.fix();
    let expected =
        "low-core 0.0.9 is too low: files changed, the public API did not; at least 0.1.1 is";
    released.refuses(&[("low-core", "0.0.9")], expected);
    let expected = "low-wire 0.1.0 is released: the tag low-wire-v0.1.0 exists";
    released.refuses(&[("low-wire", "0.1.0")], expected);
    let expected = "lower is not released; those that are: low-wire, low-core, low-server";
    released.refuses(&[("lower", "0.2.0")], expected);
    released.write("crates/low-core/public-api.txt", "");
    released.commit();
    released.refuses(&[("low-core", "0.1.1")], "at least 0.2.0 is allowed");
}

#[test]
fn a_tree_that_is_not_committed_is_refused() {
    let released = Released::untagged();
    released.write("crates/low-core/src/lib.rs", "//! Half a crate.\n");
    released.write("crates/low-core/src/new.rs", "//! Unknown to git.\n");
    released.refuses(&[], "crates/low-core/src/lib.rs is not committed");
    released.refuses(&[], "crates/low-core/src/new.rs is not committed");
}

#[test]
fn a_changelog_with_nothing_to_release_is_refused_and_named() {
    let released = Released::new();
    released.write(
        "crates/low-core/CHANGELOG.md",
        "# Changelog\n\n## [Unreleased]\n\n### Added\n",
    );
    released.commit();
    let expected = "crates/low-core/CHANGELOG.md has nothing in [Unreleased], which is to be released as 0.1.1";
    released.refuses(&[], expected);
}

#[test]
fn a_python_package_is_released_like_the_others_and_published_nowhere() {
    let released = Released::untagged();
    released.package("low-py", "0.1.0", Some("low-core"), "");
    let manifest = released.read("crates/low-py/Cargo.toml");
    let manifest = manifest.replace("edition", "publish = false\nedition");
    released.write("crates/low-py/Cargo.toml", manifest);
    released.write("crates/low-py/pyproject.toml", "[project]\n");
    released.lock();
    released.commit();
    released.prepare(&[]).unwrap();
    let tags = released.asked(&["tag", "--list", "low-py-*"]);
    assert_eq!(tags, "low-py-v0.1.0");
    let published = packages::published(released.root()).unwrap();
    assert!(published.iter().all(|package| package.name != "low-py"));

    released.write("crates/low-py/tests/test_it.py", "");
    released.commit();
    assert!(
        released.plan().contains("low-py-v0.1.0\n  no file changed"),
        "{}",
        released.plan()
    );
    released.write("crates/low-py/python/low.py", "");
    released.commit();
    let plan = released.plan();
    assert!(plan.contains("propose 0.1.1: files changed"), "{plan}");
}
