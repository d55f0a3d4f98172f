//! Which tags count, and that no setting of a user changes what git says.

use super::Released;

#[test]
fn a_release_elsewhere_is_told_and_not_compared_with() {
    let released = Released::new();
    let main = released.asked(&["symbolic-ref", "--short", "HEAD"]);
    released.git(&["checkout", "--quiet", "-b", "later"]);
    released.write("crates/low-core/src/lib.rs", "//! A later crate.\n");
    released.git(&["commit", "--quiet", "--all", "--message", "Later"]);
    for version in ["0.1.1", "0.2.0"] {
        released.git(&["tag", &format!("low-core-v{version}")]);
    }
    released.git(&["checkout", "--quiet", &main]);
    released.write("crates/low-core/src/lib.rs", "//! A mended crate.\n");
    let plan = released.plan();
    for line in [
        "low-core: manifest 0.1.0, last tag low-core-v0.1.0",
        "  low-core-v0.2.0 is higher, and not in this history",
        // 0.1.1 is released.
        "  propose 0.1.2: files changed",
    ] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    assert_eq!(plan.matches("is higher").count(), 1, "{plan}");
}

#[test]
fn what_a_user_sets_in_git_changes_nothing() {
    let released = Released::new();
    for (key, value) in [
        ("column.ui", "always"),
        ("color.ui", "always"),
        ("diff.external", "false"),
        ("diff.renames", "copies"),
    ] {
        released.git(&["config", key, value]);
    }
    for version in ["0.0.1", "0.0.2"] {
        released.git(&["tag", &format!("low-core-v{version}")]);
    }
    // The name is that of a branch, too, which stands for something else.
    released.write("crates/low-core/src/lib.rs", "//! A better crate.\n");
    released.git(&["commit", "--quiet", "--all", "--message", "Better"]);
    released.git(&["branch", "low-core-v0.1.0"]);
    let plan = released.plan();
    for line in ["last tag low-core-v0.1.0", "  1 file changed"] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
}

#[test]
fn an_example_that_became_a_test_has_changed() {
    let released = Released::untagged();
    released.write("crates/low-core/examples/demo.rs", "fn main() {}\n");
    released.git(&["add", "."]);
    released.git(&["commit", "--quiet", "--message", "Example"]);
    released.git(&["tag", "low-core-v0.1.0"]);
    released.git(&["mv", "crates/low-core/examples", "crates/low-core/tests"]);
    let plan = released.plan();
    assert!(plan.contains("propose 0.1.1: files changed"), "{plan}");
}
