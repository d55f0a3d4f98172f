//! A stranger's project: a worker and a manager, outside of the tree, from a rehearsal and nothing else.
//!
//! It asks for our crates by the names under which they are published.
//! Cargo gets a home of its own there, so neither its downloads nor its settings help.

use std::{fs, path::Path};

use crate::{failure::Failure, process};

use super::packages::Package;

const MANIFEST: &str = r#"[package]
name = "stranger"
version = "0.1.0"
edition = "2024"

[dependencies]
{client}, features = ["signals"] }
{server}, features = ["http", "pool"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

# Whatever lies above the project, it belongs to no workspace but its own.
[workspace]
"#;

const WORKER: &str = r#"fn main() {
    let mut worker = telemetry_client::start();
    worker.telemetry().emit("tool.result_size", &[("bytes", 512.into())], &[("tool", "grep")], "");
    worker.shutdown();
}
"#;

const MANAGER: &str = r#"use telemetry_server::{Manager, ManagerConfig, export::LogHandler};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::start(ManagerConfig::new("stranger"))?;
    manager.dispatcher().attach("log", "*", LogHandler)?;
    Ok(())
}
"#;

/// Checks the project against the registry in `folder`, which has `packages` of ours.
pub(crate) fn run(folder: &Path, packages: &[Package]) -> Result<(), Failure> {
    let asked = |library: &str| {
        let package = packages.iter().find(|it| it.library() == library);
        package.map_or_else(String::new, |it| {
            format!("{} = {{ version = \"{}\"", it.published, it.version)
        })
    };
    let manifest = MANIFEST
        .replace("{client}", &asked("telemetry_client"))
        .replace("{server}", &asked("telemetry_server"));
    let registry = fs::canonicalize(folder).map_err(Failure::file("find", folder))?;
    let project = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    let settings = format!(
        "[source.crates-io]\nreplace-with = \"rehearsal\"\n\n[source.rehearsal]\nlocal-registry = '{}'\n",
        registry.display()
    );
    for (path, text) in [
        ("Cargo.toml", &*manifest),
        ("src/bin/worker.rs", WORKER),
        ("src/bin/manager.rs", MANAGER),
        (".cargo/config.toml", &settings),
    ] {
        let path = project.path().join(path);
        let directory = path.parent().unwrap_or(project.path());
        fs::create_dir_all(directory).map_err(Failure::file("create", directory))?;
        fs::write(&path, text).map_err(Failure::file("write", &path))?;
    }
    let mut cargo = process::cargo();
    cargo
        .current_dir(project.path())
        .args(["check", "--offline", "--quiet"])
        .env("CARGO_HOME", project.path().join("home"))
        .env("CARGO_TARGET_DIR", project.path().join("target"));
    process::run(&mut cargo)?;
    println!(
        "a worker and a manager outside of the tree build from {}",
        folder.display()
    );
    Ok(())
}
