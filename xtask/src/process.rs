//! Starting other programs: say what is run, pass its output on, turn a bad end into a failure.
//!
//! Every command is made here, so every program runs in the root of the workspace and gets no
//! standard input: none of them can wait for an answer that nobody gives.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
};

use crate::{failure::Failure, workspace};

/// `program`, to be run in the root of the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` with its output on ours.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    announce(command);
    let status = command
        .status()
        .map_err(|source| start_failure(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Process {
            command: line(command),
            status,
        })
    }
}

/// Becomes `command`: it gets our terminal, our signals and our exit code. Returns only if it could
/// not be started.
pub(crate) fn replace(command: &mut Command) -> Result<(), Failure> {
    announce(command);
    let source = command.exec();
    Err(start_failure(command, source))
}

/// Whether `command` starts and succeeds; its output is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `command` in silence and returns what it printed; its errors are on ours.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| start_failure(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure::Process {
            command: line(command),
            status: output.status,
        })
    }
}

/// Runs `command` with its output on ours, and keeps the lines of it that `keep` accepts, without
/// colours. The lines come back also when the command fails.
pub(crate) fn run_keeping(
    command: &mut Command,
    keep: fn(&str) -> bool,
) -> (Vec<String>, Result<(), Failure>) {
    announce(command);
    if std::io::stdout().is_terminal() {
        // The programs see a pipe and would turn colours off.
        command
            .env("CARGO_TERM_COLOR", "always")
            .env("PY_COLORS", "1");
    }
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(source) => return (Vec::new(), Err(start_failure(command, source))),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let kept = thread::scope(|scope| {
        let errors = scope.spawn(|| forward(stderr, std::io::stderr(), keep));
        let mut kept = forward(stdout, std::io::stdout(), keep);
        kept.extend(errors.join().unwrap_or_default());
        kept
    });
    let ended = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Process {
            command: line(command),
            status,
        }),
        Err(source) => Err(start_failure(command, source)),
    };
    (kept, ended)
}

/// Copies `from` to `to` line by line until it ends; returns the lines that `keep` accepts.
fn forward(from: Option<impl Read>, mut to: impl Write, keep: fn(&str) -> bool) -> Vec<String> {
    let Some(from) = from else {
        return Vec::new();
    };
    let mut from = BufReader::new(from);
    let mut kept = Vec::new();
    let mut bytes = Vec::new();
    while from
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        // Our own output may be closed early (`| head`); the program's end still counts.
        let _ = to.write_all(&bytes).and_then(|()| to.flush());
        let text = without_colours(String::from_utf8_lossy(&bytes).trim_end());
        if keep(&text) {
            kept.push(text);
        }
        bytes.clear();
    }
    kept
}

/// `text` without the escape sequences that colour it (`ESC [ … m`).
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    plain
}

fn announce(command: &Command) {
    println!("$ {}", line(command));
}

fn start_failure(command: &Command, source: std::io::Error) -> Failure {
    Failure::Start {
        command: line(command),
        source,
    }
}

/// The command as one would type it in the root, close enough to be copied.
fn line(command: &Command) -> String {
    let program = command.get_program();
    // A full path to the toolchain's cargo says nothing that `cargo` does not.
    let program = match workspace::relative(program.as_ref()) {
        path if path.is_absolute() => path.file_name().unwrap_or(program),
        path => path.as_os_str(),
    };
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| workspace::relative(word.as_ref()).display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_text_is_kept() {
        assert_eq!(
            without_colours("\u{1b}[32;1m Summary\u{1b}[0m [ 1.2s] 3 passed"),
            " Summary [ 1.2s] 3 passed"
        );
        assert_eq!(without_colours("[plain] text"), "[plain] text");
    }

    #[test]
    fn kept_lines_come_from_both_outputs_and_survive_a_failure() {
        let mut shell = command("sh");
        shell.args(["-c", "echo keep out; echo other; echo keep err >&2; exit 3"]);
        let (mut kept, ended) = run_keeping(&mut shell, |line| line.starts_with("keep"));
        kept.sort();
        assert_eq!(kept, ["keep err", "keep out"]);
        let failure = ended.unwrap_err().to_string();
        assert!(
            failure.starts_with("`sh -c") && failure.contains('3'),
            "{failure}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut command("no-such-program"))
            .unwrap_err()
            .to_string();
        assert!(failure.contains("`no-such-program`"), "{failure}");
    }

    #[test]
    fn a_command_is_shown_as_typed_in_the_root() {
        let mut python = command(workspace::path("target/.venv/bin/python"));
        python
            .args(["-m", "pip"])
            .arg(workspace::path("requirements.txt"));
        assert_eq!(
            line(&python),
            "target/.venv/bin/python -m pip requirements.txt"
        );
        assert_eq!(line(command("/opt/rust/bin/cargo").arg("fmt")), "cargo fmt");
    }
}
