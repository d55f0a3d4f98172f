//! The command as a Debian package: put together here, packed by `dpkg-deb`.

use std::path::Path;

use crate::{failure::Failure, process};

use super::{
    facts::Facts,
    gathered::Gathered,
    tree::{Tree, compressed},
};

/// What Debian calls the processor.
const ARCHITECTURE: &str = "amd64";
/// Where documents go.
const DOCUMENTS: &str = "usr/share/doc/telemetry";
/// The configuration, which belongs to whoever runs the machine.
const CONFIGURATION: &str = "etc/telemetry/telemetry.toml";

/// Files of the tree, by where they go.
const COPIES: [(&str, &str); 6] = [
    (CONFIGURATION, "packaging/telemetry.toml"),
    (
        "usr/lib/systemd/system/telemetry.service",
        "packaging/telemetry.service",
    ),
    ("usr/share/doc/telemetry/copyright", "packaging/copyright"),
    ("usr/share/doc/telemetry/LICENSE-APACHE", "LICENSE-APACHE"),
    ("usr/share/doc/telemetry/LICENSE-MIT", "LICENSE-MIT"),
    (
        "usr/share/doc/telemetry/examples/telemetry.toml",
        "crates/telemetry-server/examples/telemetry.toml",
    ),
];

/// Run by dpkg; what each does stands in it.
const SCRIPTS: [&str; 3] = ["postinst", "postrm", "prerm"];

/// Writes the package into the folder `into`.
pub(crate) fn write(facts: &Facts, gathered: &Gathered, into: &Path) -> Result<(), Failure> {
    if !process::succeeds(process::command("dpkg-deb").arg("--version")) {
        return Err(Failure::Machine(
            "there is no dpkg-deb, which packs the .deb; on Debian it is part of dpkg, elsewhere install \
             dpkg, or leave it out with --only telemetry,wheel,sdist"
                .to_owned(),
        ));
    }
    let mut tree = installed(facts, gathered)?;
    let size = tree.bytes().div_ceil(1024);
    tree.file("DEBIAN/control", control(facts, size));
    tree.file("DEBIAN/conffiles", format!("/{CONFIGURATION}\n"));
    for script in SCRIPTS {
        let path = facts.root.join("packaging").join(script);
        let text = std::fs::read(&path).map_err(Failure::file("read", &path))?;
        tree.program(format!("DEBIAN/{script}"), text);
    }
    let staged = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    tree.write(staged.path())?;
    let name = format!("telemetry_{}_{ARCHITECTURE}.deb", facts.version);
    let mut dpkg = process::command("dpkg-deb");
    // One thread: several cut the content into pieces, and where depends on how many there are.
    dpkg.env("DPKG_DEB_THREADS_MAX", "1")
        .env("SOURCE_DATE_EPOCH", facts.epoch.to_string())
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(staged.path())
        .arg(into.join(name));
    process::output(&mut dpkg).map(|_said| ())
}

/// What lies on a machine that has the package.
fn installed(facts: &Facts, gathered: &Gathered) -> Result<Tree, Failure> {
    let mut tree = Tree::default();
    tree.program("usr/bin/telemetry", &*gathered.binary);
    for (path, from) in COPIES {
        tree.copy(path, &facts.root.join(from))?;
    }
    let changes = facts.root.join("crates/telemetry-server/CHANGELOG.md");
    let changes = std::fs::read(&changes).map_err(Failure::file("read", &changes))?;
    tree.file(format!("{DOCUMENTS}/changelog.gz"), compressed(&changes)?);
    tree.file(
        format!("{DOCUMENTS}/telemetry.cdx.json"),
        &*gathered.contents,
    );
    for (shell, script) in &gathered.completions {
        let path = match *shell {
            "bash" => "usr/share/bash-completion/completions/telemetry",
            "fish" => "usr/share/fish/vendor_completions.d/telemetry.fish",
            _ => "usr/share/zsh/vendor-completions/_telemetry",
        };
        tree.file(path, &**script);
    }
    for (page, text) in &gathered.pages {
        tree.file(format!("usr/share/man/man1/{page}.gz"), compressed(text)?);
    }
    Ok(tree)
}

/// What dpkg knows of the package; `size` in KiB.
fn control(facts: &Facts, size: usize) -> String {
    let maintainer = facts.maintainer.as_deref().unwrap_or("unset");
    let homepage = facts
        .repository
        .as_ref()
        .map_or(String::new(), |place| format!("Homepage: {place}\n"));
    format!(
        "Package: telemetry\n\
         Version: {}\n\
         Architecture: {ARCHITECTURE}\n\
         Maintainer: {maintainer}\n\
         Installed-Size: {size}\n\
         Section: admin\n\
         Priority: optional\n\
         {homepage}\
         Description: manager of the telemetry of worker processes\n \
         Collects, checks, enriches and dispatches the telemetry of worker\n \
         processes, and controls them.\n .\n \
         It runs as the service telemetry, which the installation does not start.\n",
        facts.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn what_is_unset_is_said_and_no_address_is_made_up() {
        let mut facts = Facts::of(workspace::root()).unwrap();
        (facts.maintainer, facts.repository) = (None, None);
        let text = control(&facts, 3);
        assert!(text.contains("\nMaintainer: unset\n"), "{text}");
        assert!(!text.contains("Homepage"), "{text}");
        assert!(text.contains("\nInstalled-Size: 3\n"), "{text}");
        facts.repository = Some("somewhere".to_owned());
        assert!(control(&facts, 3).contains("\nHomepage: somewhere\n"));
    }

    #[test]
    fn every_file_of_the_package_is_there() {
        for (_, from) in COPIES {
            assert!(workspace::path(from).exists(), "{from}");
        }
        for script in SCRIPTS {
            let path = workspace::path("packaging").join(script);
            let mut shell = process::command("sh");
            assert!(process::succeeds(shell.arg("-n").arg(path)), "{script}");
        }
    }
}
