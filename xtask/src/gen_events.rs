//! `gen-events`: `docs/events.md`, the reference of every event, from the built-in catalog.
//!
//! The text is the catalog's own; this file knows only where it goes.

use telemetry_core::catalog::Catalog;

use crate::{artifacts::Artifacts, failure::Failure, workspace};

/// Writes the reference, or with `check` fails if it is not fresh.
pub(crate) fn run(check: bool) -> Result<(), Failure> {
    generate().apply(workspace::root(), check, "cargo xtask gen-events")
}

/// The reference, made in memory from the catalog.
pub(crate) fn generate() -> Artifacts {
    let mut artifacts = Artifacts::default();
    artifacts.insert("docs/events.md", Catalog::builtin().to_markdown());
    artifacts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_reference_is_what_the_catalog_generates() {
        let differences = generate().compare(workspace::root()).unwrap();
        assert_eq!(differences, [], "run `cargo xtask gen-events`");
    }
}
