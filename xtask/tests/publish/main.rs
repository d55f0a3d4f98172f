//! `cargo xtask release publish` against a registry on loopback, with cargo doing what it always does.
//!
//! The registry keeps a record of every upload that it took. That record, and not what our code says, is the
//! truth here. A small workspace of three crates stands in for ours.

mod registry;
mod workspace;

use registry::Registry;
use workspace::Workspace;

/// All crates as they are published, in the order of their dependencies.
const ALL: [&str; 3] = ["low-wire 0.1.0", "low-core 0.1.0", "low-manager 0.1.0"];

#[test]
fn killed_at_any_step_it_uploads_each_crate_once_and_in_order() {
    let workspace = Workspace::released();
    let mut registry = Registry::start(&workspace);
    // Each is killed at a step, and goes on from where the one before it was killed.
    for (step, name, taken, record) in [
        // Nothing was uploaded.
        ("ask", "low-wire", 0, &ALL[..0]),
        // The upload is under way.
        ("begin", "low-wire", 0, &ALL[..0]),
        // It was taken, and nobody was told.
        ("taken", "low-wire", 1, &ALL[..1]),
        // Between two crates.
        ("ask", "low-core", 1, &ALL[..1]),
        // It was taken, and the index does not show it.
        ("wait", "low-core", 2, &ALL[..2]),
    ] {
        if step == "wait" {
            registry.tell(&format!("hide {name}"));
        }
        registry.tell(&format!("hold {step} {name} {taken}"));
        let run = workspace.start(&["publish", "--execute", "--registry", "loop"]);
        let held = registry.hear();
        assert_eq!(held, format!("held {step} {name}"));
        run.kill();
        registry.tell("go");
        assert_eq!(registry.record(), record, "killed at {step} of {name}");
    }
    // The index still does not show the one that was taken, until it is offered again.
    let run = workspace.start(&["publish", "--execute", "--registry", "loop"]);
    assert_eq!(registry.hear(), "refused low-core");
    registry.tell("show low-core");
    let said = run.end().expect("it goes through");
    assert_eq!(registry.record(), ALL);
    assert!(said.contains("low-wire 0.1.0: is there already"), "{said}");
    assert!(
        said.contains("low-server 0.1.0 as low-manager: published"),
        "{said}"
    );
}

#[test]
fn only_what_is_new_is_uploaded_and_what_is_there_must_be_the_same() {
    let workspace = Workspace::released();
    let mut registry = Registry::start(&workspace);
    let publish = ["publish", "--execute", "--registry", "loop"];
    let preview = ["publish", "--registry", "loop"];

    let said = workspace.run(&preview).expect("it only asks");
    for name in [
        "low-wire 0.1.0",
        "low-core 0.1.0",
        "low-server 0.1.0 as low-manager",
    ] {
        let line = format!("{name}: would publish, under a name that is new there");
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(registry.record(), [""; 0]);
    workspace.run(&publish).expect("all are uploaded");
    assert_eq!(registry.record(), ALL);

    workspace.fix("low-core", "A better crate.");
    workspace.run(&["prepare"]).expect("a release of one crate");
    let said = workspace.run(&preview).expect("it only asks");
    assert!(
        said.contains("low-core 0.1.1: would publish, as the next version"),
        "{said}"
    );
    assert!(said.contains("low-wire 0.1.0: is there already"), "{said}");
    let said = workspace.run(&publish).expect("one is uploaded");
    // It is locked to the new `low-core` when it is packed again, and the same but for that.
    assert!(
        said.contains("low-server 0.1.0 as low-manager: is there already"),
        "{said}"
    );
    assert_eq!(registry.record()[3..], ["low-core 0.1.1"]);

    // Somebody tags other files as what was uploaded.
    workspace.fix("low-core", "Another crate.");
    workspace.git(&["tag", "--force", "low-core-v0.1.1", "HEAD"]);
    let refused = workspace.run(&publish).expect_err("it is another crate");
    for part in [
        "has low-core 0.1.1 with the checksum",
        "differs: src/lib.rs",
    ] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(registry.record().len(), 4);

    registry.end();
    let refused = workspace.run(&preview).expect_err("nobody answers");
    assert!(
        refused.contains("could not be asked for low-wire 0.1.0"),
        "{refused}"
    );
}

#[test]
fn what_is_not_ready_is_refused_before_anything_is_uploaded() {
    let workspace = Workspace::new();
    let mut registry = Registry::start(&workspace);
    let publish = ["publish", "--execute", "--registry", "loop"];
    let refuses = |expected: &[&str]| {
        let refused = workspace.run(&publish).expect_err("it is not ready");
        for part in expected {
            assert!(refused.contains(part), "{part} in {refused}");
        }
    };
    refuses(&[
        "crates/low-core/Cargo.toml has version 0.1.0, and there is no tag low-core-v0.1.0",
        "there is no tag low-server-v0.1.0",
    ]);
    let said = workspace
        .run(&["publish", "--registry", "loop"])
        .expect("it only asks");
    assert!(
        said.contains("low-core 0.1.0: tag missing, low-core-v0.1.0"),
        "{said}"
    );

    workspace.unset();
    for name in ["low-wire", "low-core", "low-server"] {
        workspace.git(&["tag", &format!("{name}-v0.1.0")]);
    }
    refuses(&[
        "`maintainer` in [workspace.metadata.release] is unset",
        "`repository` in",
    ]);

    workspace.write("crates/low-core/src/lib.rs", "//! Half a crate.\n");
    refuses(&[
        "crates/low-core/src/lib.rs is not committed",
        "but crates/low-core/src/lib.rs and 0 more are not as at low-core-v0.1.0",
    ]);
    workspace.git(&["checkout", "--quiet", "."]);

    workspace.set();
    workspace.write(
        "crates/low-core/public-api.txt",
        "pub struct low_core::Lost\n",
    );
    workspace.commit();
    workspace.git(&["tag", "--force", "low-core-v0.1.0", "HEAD"]);
    refuses(&["differs: crates/low-core/public-api.txt"]);
    assert_eq!(registry.record(), [""; 0]);
    registry.end();
}
