//! What a worker calls itself that was given no name.

use std::ffi::OsStr;
use std::path::Path;

use telemetry_core::catalog::truncate;

/// Longest part of the name that the program or the host makes up, in bytes.
const MAX_PART_BYTES: usize = 40;

/// `{program}-{host}-{pid}`; in a namespace of its own, where every process is the first, a part of the
/// incarnation id stands for the pid.
pub(super) fn own_name(incarnation: &str) -> String {
    let program = program(std::env::args_os());
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let pid = std::process::id();
    let process = if pid > 1 {
        pid.to_string()
    } else {
        truncate(incarnation, 8).to_owned()
    };
    format!("{}-{}-{process}", plain(&program), plain(&host))
}

/// The name of the program; of an interpreter that of what it runs.
fn program(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> String {
    let first = arguments.next();
    let command = first.map_or_else(String::new, |path| stem(path.as_ref()));
    if !command.starts_with("python") {
        return command;
    }
    while let Some(argument) = arguments.next() {
        let argument = argument.as_ref().to_string_lossy();
        match &*argument {
            "-m" => {
                let module = arguments.next();
                let module = module.map(|module| module.as_ref().to_string_lossy().into_owned());
                return module.unwrap_or(command);
            }
            // The rest is a program, or the values of options that nobody names a worker after.
            "-" | "-c" | "-X" | "-W" => return command,
            option if option.starts_with('-') => {}
            script => return stem(OsStr::new(script)),
        }
    }
    command
}

/// The name of a file without its directory and ending.
fn stem(path: &OsStr) -> String {
    let stem = Path::new(path).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Without what would not fit an id.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    let text = truncate(text.trim(), MAX_PART_BYTES);
    if text.is_empty() { "worker" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_named_after_what_it_runs() {
        for (arguments, name) in [
            (&["/usr/bin/server", "--port", "1"][..], "server"),
            (&["python3", "-u", "/srv/app/job.py", "-m"], "job"),
            (
                &["/usr/bin/python3.11", "-m", "gunicorn", "app"],
                "gunicorn",
            ),
            (&["python3", "-c", "import this"], "python3"),
            (&["python3", "-X", "dev", "job.py"], "python3"),
            (&["python3"], "python3"),
            (&[], ""),
        ] {
            assert_eq!(program(arguments.iter()), name, "{arguments:?}");
        }
    }

    #[test]
    fn a_name_fits_an_id() {
        let name = own_name("0123456789abcdef");
        assert!(name.ends_with(&std::process::id().to_string()), "{name}");
        assert!(name.len() <= 128 && !name.contains(char::is_control));
        assert_eq!(plain("\n"), "worker");
        assert_eq!(plain(&"x".repeat(200)).len(), MAX_PART_BYTES);
    }
}
