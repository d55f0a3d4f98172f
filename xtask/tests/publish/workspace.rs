//! A workspace of three small crates with all that a release asks for, and our tool run in it.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const ROOT: &str = r#"[workspace]
resolver = "3"
members = ["crates/*"]

[workspace.package]
repository = "https://example.org/low"

[workspace.metadata.release]
maintainer = "Somebody <somebody@example.org>"

[workspace.metadata.release.names]
low-server = "low-manager"

[workspace.dependencies]
low-wire = { path = "crates/low-wire", version = "0.1.0" }
low-core = { path = "crates/low-core", version = "0.1.0" }
low-server = { path = "crates/low-server", version = "0.1.0" }
"#;

/// The workspace, and the home that cargo has there.
pub(crate) struct Workspace {
    place: TempDir,
}

/// Our tool at work, with all that it starts in a group of its own.
pub(crate) struct Run {
    process: Child,
}

impl Workspace {
    /// One whose crates were never released.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let workspace = Self { place };
        fs::create_dir_all(workspace.place().join("home")).expect("a home");
        workspace.write("Cargo.toml", ROOT);
        workspace.write(".gitignore", "/target/\n");
        workspace.package("low-wire", "pub struct Hello;", "");
        workspace.package(
            "low-core",
            "pub use low_wire::Hello;",
            "low-wire.workspace = true\n",
        );
        let server = "pub fn handle(hello: low_core::Hello) {\n    drop(hello);\n}";
        workspace.package("low-server", server, "low-core.workspace = true\n");
        workspace.cargo(&["generate-lockfile", "--offline", "--quiet"]);
        workspace.run(&["api"]).expect("the public APIs as text");
        workspace.git(&["init", "--quiet"]);
        workspace.git(&["config", "user.name", "A"]);
        workspace.git(&["config", "user.email", "a@example.org"]);
        workspace.git(&["config", "commit.gpgsign", "false"]);
        workspace.git(&["config", "tag.gpgsign", "false"]);
        workspace.commit();
        workspace
    }

    /// One whose crates are tagged and in no registry.
    pub(crate) fn released() -> Self {
        let workspace = Self::new();
        workspace.run(&["prepare"]).expect("a first release");
        workspace
    }

    fn package(&self, name: &str, code: &str, uses: &str) {
        // With the feature that ours have, pages and public API are two builds, and both stay fresh.
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.88\"\n\
             license = \"MIT\"\ndescription = \"A crate.\"\nrepository.workspace = true\n\n[features]\nsimulation = []\n\n[dependencies]\n{uses}"
        );
        let code = code.replace("pub ", "/// A thing.\npub ");
        for (file, text) in [
            ("Cargo.toml", &*manifest),
            ("src/lib.rs", &format!("//! A crate.\n\n{code}\n")),
            ("README.md", "A crate.\n"),
            ("LICENSE-MIT", "Yours.\n"),
            ("LICENSE-APACHE", "Yours.\n"),
            (
                "CHANGELOG.md",
                "# Changelog\n\n## [Unreleased]\n\n* A thing.\n",
            ),
        ] {
            self.write(&format!("crates/{name}/{file}"), text);
        }
    }

    /// Changes a crate so that nobody has to know, and tells it in its changelog.
    pub(crate) fn fix(&self, name: &str, remark: &str) {
        let code = format!("crates/{name}/src/lib.rs");
        let text = self
            .read(&code)
            .replace("A crate.", &format!("A crate. {remark}"));
        self.write(&code, &text);
        let changelog = format!("crates/{name}/CHANGELOG.md");
        let text = self.read(&changelog);
        let text = text.replacen(
            "[Unreleased]\n",
            &format!("[Unreleased]\n\n* {remark}\n"),
            1,
        );
        self.write(&changelog, &text);
        self.commit();
    }

    /// Adds the crate `name`, published under that name and an `r`, and commits.
    pub(crate) fn add(&self, name: &str) {
        self.package(name, "pub struct Late;", "");
        let table = "[workspace.metadata.release.names]\n";
        let text = self.read("Cargo.toml");
        let text = text.replace(table, &format!("{table}{name} = \"{name}r\"\n"));
        self.write("Cargo.toml", &text);
        self.cargo(&["generate-lockfile", "--offline", "--quiet"]);
        self.run(&["api"]).expect("the public APIs as text");
        self.commit();
    }

    /// Takes away what must be set, and commits.
    pub(crate) fn unset(&self) {
        let text = ROOT
            .replace("https://example.org/low", "")
            .replace("Somebody <somebody@example.org>", "");
        self.write("Cargo.toml", &text);
        self.commit();
    }

    /// Sets what must be set, and commits.
    pub(crate) fn set(&self) {
        self.write("Cargo.toml", ROOT);
        self.commit();
    }

    /// Gives cargo its configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.place().join("home/config.toml"), text).expect("it is written");
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).expect("it is there")
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--message", "Change"]);
    }

    pub(crate) fn git(&self, arguments: &[&str]) {
        self.asked(arguments);
    }

    /// What git says to `arguments`.
    pub(crate) fn asked(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        let output = git.current_dir(self.root()).args(arguments).output();
        let output = output.expect("git starts");
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    fn cargo(&self, arguments: &[&str]) {
        let status = self.command("cargo").args(arguments).status();
        assert!(
            status.expect("cargo starts").success(),
            "cargo {arguments:?}"
        );
    }

    /// `cargo xtask release` with `arguments`: what it says, or what it says when it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.start(arguments).end()
    }

    /// Starts `cargo xtask release` with `arguments`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Run {
        let process = self
            .command(env!("CARGO_BIN_EXE_xtask"))
            .arg("release")
            .arg("--root")
            .arg(self.root())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("our tool starts");
        Run { process }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env("CARGO_HOME", self.place().join("home"))
            .env("CARGO_TARGET_DIR", self.root().join("target"))
            // One processor for each: another test is beside it.
            .env("CARGO_BUILD_JOBS", "1")
            .env("SOURCE_DATE_EPOCH", "1769817600");
        command
    }

    /// The directory of everything that a test needs.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    fn root(&self) -> PathBuf {
        self.place().join("workspace")
    }
}

impl Run {
    /// Kills it and all that it started, at once.
    pub(crate) fn kill(mut self) {
        let group = format!("-{}", self.process.id());
        let status = Command::new("kill").args(["-KILL", "--", &group]).status();
        assert!(status.expect("kill starts").success(), "it had ended");
        let ended = self.process.wait().expect("it is gone");
        assert_eq!(ended.code(), None, "it ended by itself: {ended}");
    }

    /// Waits for its end: what it says, or what it says when it fails.
    pub(crate) fn end(self) -> Result<String, String> {
        let output = self.process.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(all)
        } else {
            Err(all)
        }
    }
}
