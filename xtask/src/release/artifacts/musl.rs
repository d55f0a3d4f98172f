//! The command as one static file, which needs nothing of the system that it runs on.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process};

use super::{
    build::{self, Build},
    facts::SERVER,
};

/// What it is compiled for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
/// The feature that the command needs.
pub(crate) const FEATURES: &str = "cli";

/// Addresses that are set at the start are 280,000 bytes one by one, and next to nothing as a map of bits, which
/// the library for the target reads since Rust 1.93. A linker that cannot write it says so and goes on.
const PACKED: &str = "link-arg=-Wl,-z,pack-relative-relocs";
/// The minor version of the first Rust whose library reads them.
const PACKS_SINCE: u32 = 93;

/// Whether this Rust reads packed addresses.
fn packs() -> Result<bool, Failure> {
    let said = process::output(build::rustc().arg("--version"))?;
    let said = String::from_utf8_lossy(&said);
    let minor = said.split('.').nth(1).and_then(|minor| minor.parse().ok());
    Ok(minor.is_some_and(|minor: u32| minor >= PACKS_SINCE))
}

/// Builds the command as `build` says, and returns where it lies.
pub(crate) fn build(build: &Build) -> Result<PathBuf, Failure> {
    ready()?;
    let mut cargo = process::cargo();
    cargo
        .args(["rustc", "--locked", "--package", SERVER])
        .args(["--features", FEATURES, "--bin", "telemetry"])
        .args(["--target", TARGET, "--profile", &build.profile]);
    match packs()? {
        true => drop(cargo.args(["--", "-C", PACKED])),
        false => println!(
            "addresses are not packed, which takes Rust 1.{PACKS_SINCE}: the command is larger"
        ),
    }
    process::run(build.tell(&mut cargo))?;
    Ok(build
        .directory
        .join(TARGET)
        .join(&build.profile)
        .join("telemetry"))
}

/// What compiles C for the target, as the crate `cc` looks for it.
const COMPILER: &str = "musl-gcc";
/// The variable that names another one.
const OTHER_COMPILER: &str = "CC_x86_64_unknown_linux_musl";

/// Sees to Rust's library for the target, and to the compiler of the little C that TLS has.
fn ready() -> Result<(), Failure> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Failure::Machine(format!(
            "this machine is {}; the command is built, and run once, for x86_64",
            std::env::consts::ARCH
        )));
    }
    if std::env::var_os(OTHER_COMPILER).is_none()
        && !process::succeeds(process::command(COMPILER).arg("--version"))
    {
        return Err(Failure::Machine(format!(
            "{COMPILER} is not installed, which compiles what TLS has in C; Debian has it in musl-tools, and \
             {OTHER_COMPILER} may name another compiler"
        )));
    }
    if is_there()? {
        return Ok(());
    }
    // Where Rust comes from a distribution there is no rustup, and its failure says less than ours.
    let _failed = process::run(process::command("rustup").args(["target", "add", TARGET]));
    if is_there()? {
        return Ok(());
    }
    Err(Failure::Machine(format!(
        "Rust has no library for {TARGET} here, and rustup could not add it: `rustup target add {TARGET}` \
         needs the network; where Rust is a package of the system, so is that library"
    )))
}

fn is_there() -> Result<bool, Failure> {
    let mut rustc = build::rustc();
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let said = process::output(&mut rustc)?;
    Ok(Path::new(String::from_utf8_lossy(&said).trim()).exists())
}

/// Runs `binary` where there is nothing else, if that is allowed here: only root may.
pub(crate) fn run_alone(binary: &Path) -> Result<(), Failure> {
    let root = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    let copy = root.path().join("telemetry");
    std::fs::copy(binary, &copy).map_err(Failure::file("write", &copy))?;
    if !process::succeeds(process::command("chroot").args(["/", "/bin/sh", "-c", ":"])) {
        println!("not run in an empty root: that takes root's rights");
        return process::run(Command::new(&copy).arg("--version"));
    }
    let mut alone = process::command("chroot");
    process::run(alone.arg(root.path()).args(["/telemetry", "--version"]))
}
