//! Releases of the small repository: what they write, and what they refuse to begin with.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::failure::Failure;

use super::{
    super::{prepare, version::Version},
    *,
};

const DATE: &str = "2026-01-31";

/// Finds every text of a public API fresh.
const FRESH: prepare::Stale = |_, _| Ok(Vec::new());

impl Released {
    fn prepare_with(&self, wishes: &Wishes, stale: prepare::Stale) -> Result<(), Failure> {
        prepare::run(self.root(), wishes, DATE, false, stale)
    }

    fn prepare(&self, wishes: &[(&str, &str)]) -> Result<(), String> {
        let wish =
            |(name, version): &(&str, &str)| ((*name).to_owned(), Version::parse(version).unwrap());
        let wishes = wishes.iter().map(wish).collect();
        self.prepare_with(&wishes, FRESH)
            .map_err(|failure| failure.to_string())
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
    prepare::run(released.root(), &Wishes::new(), DATE, true, FRESH).unwrap();
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

#[test]
fn a_public_api_that_is_not_fresh_is_refused() {
    let released = Released::new();
    released.fix();
    let stale: prepare::Stale = |_, packages| Ok(vec![format!("differs: {}", packages[1].name)]);
    let refused = released.prepare_with(&Wishes::new(), stale).unwrap_err();
    assert!(
        refused.to_string().contains("differs: low-core"),
        "{refused}"
    );
    assert_eq!(released.asked(&["tag", "--list", "*0.1.1"]), "");
}

#[test]
fn what_is_unset_is_refused_before_it_is_tagged() {
    let released = Released::untagged();
    let root = released.read("Cargo.toml").replace("A <a@example.org>", "");
    released.write("Cargo.toml", root.replace("https://example.org", ""));
    released.commit();
    let rest = "is unset; set them first: what is tagged is what is published";
    released.refuses(
        &[],
        &format!("`maintainer` in [workspace.metadata.release] {rest}"),
    );
    released.refuses(&[], "`repository` in [workspace.package] is unset");
    prepare::run(released.root(), &Wishes::new(), DATE, true, FRESH).unwrap();
}

#[test]
fn tags_that_are_missing_stand_at_the_commit_that_an_earlier_run_made() {
    let released = Released::untagged();
    released.prepare(&[]).unwrap();
    let head = released.asked(&["rev-parse", "HEAD"]);
    released.git(&["tag", "--delete", "low-core-v0.1.0"]);
    released.fix();
    let text = released.read("crates/low-core/CHANGELOG.md");
    released.write(
        "crates/low-core/CHANGELOG.md",
        text.replace("2026-01-01", DATE),
    );
    released.commit();
    released.refuses(&[("low-core", "0.3.0")], "low-core 0.3.0 has to wait");
    released.prepare(&[]).unwrap();
    assert_eq!(released.asked(&["rev-parse", "low-core-v0.1.0^{}"]), head);
    released.prepare(&[]).unwrap();
    let tags = released.asked(&["tag", "--points-at", "HEAD"]);
    assert_eq!(tags, "low-core-v0.1.1");
}

#[test]
fn a_clone_without_tags_releases_nothing_again() {
    let released = Released::untagged();
    released.prepare(&[]).unwrap();
    let clone = tempfile::tempdir().unwrap();
    let (from, to) = (
        released.root().to_str().unwrap(),
        clone.path().to_str().unwrap(),
    );
    released.git(&["clone", "--quiet", "--no-tags", from, to]);
    let clone = Released { directory: clone };
    let expected = "crates/low-core/CHANGELOG.md says that 0.1.0 was released and there is no tag \
                    low-core-v0.1.0 here; `git fetch --tags`";
    clone.refuses(&[], expected);
    let refused = Plan::of(clone.root(), &Wishes::new()).unwrap_err();
    assert!(refused.to_string().contains(expected), "{refused}");
    assert!(
        clone.problems()[1].contains(expected),
        "{:?}",
        clone.problems()
    );
    clone.git(&["fetch", "--quiet", "--tags"]);
    assert_eq!(clone.problems(), [""; 0]);
}

#[test]
fn a_commit_that_fails_leaves_the_files_as_they_were() {
    let released = Released::untagged();
    let hook = released.root().join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    released.refuses(&[], "nothing is released, and all files are as they were");
    fs::remove_file(&hook).unwrap();
    released.prepare(&[]).unwrap();
}

#[test]
fn whoever_was_stopped_between_two_files_goes_on_and_half_a_file_can_be_restored() {
    let released = Released::new();
    released.fix();
    let path = "crates/low-core/Cargo.toml";
    let manifest = released.read(path);
    released.write(path, manifest.replace("0.1.0", "0.1.1"));
    let changelog = released.read("crates/low-core/CHANGELOG.md");
    released.write("crates/low-core/CHANGELOG.md", "# Changelog\n");
    released.refuses(
        &[],
        "`git checkout HEAD -- crates/low-core/CHANGELOG.md` restores it",
    );
    released.write("crates/low-core/CHANGELOG.md", changelog);
    released.prepare(&[]).unwrap();
    assert_eq!(
        released.asked(&["tag", "--points-at", "HEAD"]),
        "low-core-v0.1.1"
    );
    assert_eq!(released.asked(&["status", "--porcelain"]), "");
}

#[test]
fn a_release_on_no_branch_is_made_all_the_same() {
    let released = Released::new();
    released.fix();
    released.git(&["checkout", "--quiet", "--detach"]);
    released.prepare(&[]).unwrap();
    let tags = released.asked(&["tag", "--points-at", "HEAD"]);
    assert_eq!(tags, "low-core-v0.1.1");
}

#[test]
fn the_wire_of_the_last_release_is_renewed() {
    let released = Released::untagged();
    let kept = "crates/low-wire/released/descriptor.bin";
    released.write(kept, descriptor(""));
    released.commit();
    released.prepare(&[]).unwrap();
    let found = fs::read(released.root().join(kept)).unwrap();
    assert_eq!(found, descriptor("uint32 pid = 4;"));
    assert_eq!(released.asked(&["status", "--porcelain"]), "");
    assert_eq!(released.plan().matches("nothing changed").count(), 3);

    released.describe("uint32 pid = 5;");
    released.commit();
    released.refuses(
        &[("low-wire", "1.0.0")],
        "field .a.Hello.pid was uint32 = 4",
    );
}

#[test]
fn a_form_of_a_manifest_that_cannot_be_changed_is_refused_by_name() {
    let released = Released::new();
    released.fix();
    let server = "crates/low-server/Cargo.toml";
    let manifest = released.read(server);
    let line = "low-core = { path = \"../low-core\", version = \"0.1.0\" }";
    released.write(server, manifest.replace("low-core.workspace = true", line));
    released.commit();
    released.refuses(
        &[],
        "crates/low-server/Cargo.toml asks for low-core in another form",
    );
    released.write(server, manifest);
    let root = released.read("Cargo.toml").replace(
        "low-core = { path = \"crates/low-core\", version = \"0.1.0\" }",
        "[workspace.dependencies.low-core]\npath = \"crates/low-core\"\nversion = \"0.1.0\"",
    );
    released.write("Cargo.toml", root);
    released.commit();
    released.refuses(&[], "Cargo.toml asks for low-core in another form");
}
