//! What `cargo xtask` runs: it builds xtask and becomes it.
//!
//! A cargo that is quiet compiles for minutes without a word, and one that is not says two lines before each
//! command. This asks a cargo that is not quiet, keeps what it says to itself, and says one line when
//! something has to be compiled. It uses no crate, so it is compiled itself in a moment.

#![expect(clippy::print_stderr, reason = "a command line tool talks here")]

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

/// What cargo says before it takes long.
const TAKES_LONG: [&str; 3] = ["Compiling ", "Downloading ", "Updating "];
/// What it says before it waits for another cargo; shown as it is.
const WAITS: &str = "Blocking ";

fn main() -> ExitCode {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    if let Err(error) = build(&cargo) {
        eprintln!("error: could not start cargo: {error}");
        return ExitCode::FAILURE;
    }
    // Also where the build failed: this cargo says why. Where it did not, this one has nothing to do.
    let error = Command::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--"])
        .args(env::args_os().skip(1))
        .exec();
    eprintln!("error: could not start cargo: {error}");
    ExitCode::FAILURE
}

/// Builds xtask with `cargo`; says one line if that takes long.
fn build(cargo: &OsString) -> std::io::Result<()> {
    let mut cargo = Command::new(cargo)
        .args(["build", "--package", "xtask", "--color", "never"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(said) = cargo.stderr.take() {
        pass(said, |line| eprintln!("{line}"));
    }
    cargo.wait().map(drop)
}

/// Reads what cargo says to its end, and shows what somebody who waits should know.
fn pass(said: impl Read, mut show: impl FnMut(&str)) {
    let mut is_told = false;
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        let line = line.trim_start();
        if line.starts_with(WAITS) {
            show(line);
        } else if !is_told && TAKES_LONG.iter().any(|word| line.starts_with(word)) {
            is_told = true;
            show("compiling xtask; from nothing that takes some minutes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expected: &[&str]) {
        let mut shown = Vec::new();
        pass(said.as_bytes(), |line| shown.push(line.to_owned()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn one_line_is_said_when_something_is_compiled_and_none_when_not() {
        let told = "compiling xtask; from nothing that takes some minutes";
        let said = "   Compiling a v1.0.0\n   Compiling xtask v0.0.0\n    Finished `dev` profile\n";
        check(said, &[told]);
        check("    Finished `dev` profile\n", &[]);
    }

    #[test]
    fn waiting_for_another_cargo_is_said_as_it_is() {
        let line = "Blocking waiting for file lock on build directory";
        check(
            &format!("    {line}\n    Finished `dev` profile\n"),
            &[line],
        );
    }
}
