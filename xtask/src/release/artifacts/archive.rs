//! The command with all that belongs to it, in an archive for any Linux; and beside it what is in it.

use std::{fs, path::Path};

use crate::failure::Failure;

use super::{facts::Facts, gathered::Gathered, musl, tree::Tree};

/// Files of the tree that go with the command, by the name that they have in the archive.
const TEXTS: [(&str, &str); 6] = [
    ("CHANGELOG.md", "crates/telemetry-server/CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("README.md", "crates/telemetry-server/README.md"),
    (
        "telemetry.toml",
        "crates/telemetry-server/examples/telemetry.toml",
    ),
    ("systemd/telemetry.service", "packaging/telemetry.service"),
];

/// Writes both into the folder `into`.
pub(crate) fn write(facts: &Facts, gathered: &Gathered, into: &Path) -> Result<(), Failure> {
    let name = format!("telemetry-{}-{}", facts.version, musl::TARGET);
    let mut tree = Tree::default();
    tree.program("telemetry", &*gathered.binary);
    for (path, from) in TEXTS {
        tree.copy(path, &facts.root.join(from))?;
    }
    for (shell, script) in &gathered.completions {
        tree.file(format!("completions/telemetry.{shell}"), &**script);
    }
    for (page, text) in &gathered.pages {
        tree.file(format!("man/{page}"), &**text);
    }
    tree.pack(&into.join(format!("{name}.tar.gz")), &name, facts.epoch)?;
    let contents = into.join(format!("{name}.cdx.json"));
    fs::write(&contents, &gathered.contents).map_err(Failure::file("write", &contents))
}
