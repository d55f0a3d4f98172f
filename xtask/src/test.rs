//! `test`: every test of the project, runner by runner.
//!
//! Rust tests with cargo-nextest where it is installed and `cargo test` where not, then the
//! examples in the documentation, then pytest against a freshly built native module, then pytest with
//! real servers and queues against that module and the command. All of them run, whatever fails; the summary lines of the runners stand together at the end.

use std::process::Command;

use clap::{Args, ValueEnum};

use crate::{failure::Failure, process, programs, python};

/// Tests with real servers and queues, in an environment of their own.
const APPS: &str = "crates/telemetry-py/tests/apps";
/// The command that they run.
const COMMAND: &str = "telemetry";
/// The program in Rust that calls a worker of theirs.
const HOST: &str = "host";

/// Which tests to run.
#[derive(Debug, Default, Args)]
pub(crate) struct Selection {
    /// Only this runner; all of them when absent.
    #[arg(long, value_enum)]
    only: Option<Runner>,
    /// Handed to the runner as they are (to the Rust runner if none is named, and then no other
    /// runs): `cargo xtask test -p telemetry-core queue`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runner {
    /// Unit and integration tests of every crate, with all features.
    Rust,
    /// Examples in the documentation of every crate.
    Docs,
    /// pytest over crates/telemetry-py/tests, without its directory apps.
    Python,
    /// pytest over crates/telemetry-py/tests/apps: real servers, queues, scripts and a real manager.
    /// `--long` runs those too that take minutes.
    Apps,
}

/// Runs the selected tests and prints the runners' summaries last.
pub(crate) fn run(selection: &Selection) -> Result<(), Failure> {
    let outcomes = outcomes(selection);
    print_summaries(&outcomes);
    result(&outcomes)
}

/// What became of one runner.
#[derive(Debug)]
pub(crate) struct Outcome {
    runner: Runner,
    /// The runner's own last words, colours removed.
    summary: Vec<String>,
    ended: Result<(), Failure>,
}

/// Runs the selected runners one after the other, also past a failure.
pub(crate) fn outcomes(selection: &Selection) -> Vec<Outcome> {
    selection
        .runners()
        .into_iter()
        .map(|runner| {
            let (summary, ended) = match runner.command(&selection.args) {
                Ok(mut command) => process::run_keeping(&mut command, runner.summary()),
                Err(failure) => (Vec::new(), Err(failure)),
            };
            Outcome {
                runner,
                summary,
                ended,
            }
        })
        .collect()
}

/// Prints each runner's summary lines as the runner wrote them, under its name.
pub(crate) fn print_summaries(outcomes: &[Outcome]) {
    println!();
    for outcome in outcomes {
        println!("{}:", outcome.runner.title());
        for line in &outcome.summary {
            println!("  {}", line.trim_start());
        }
        if let Err(failure) = &outcome.ended {
            println!("  FAILED: {failure}");
        }
    }
}

/// A failure that names the runners that failed, if any did.
pub(crate) fn result(outcomes: &[Outcome]) -> Result<(), Failure> {
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.ended.is_err())
        .map(|outcome| outcome.runner.title().to_owned())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Steps(failed))
    }
}

impl Selection {
    fn runners(&self) -> Vec<Runner> {
        match self.only {
            Some(runner) => vec![runner],
            // Arguments mean something to one runner only.
            None if !self.args.is_empty() => vec![Runner::Rust],
            None => Runner::value_variants().to_vec(),
        }
    }
}

impl Runner {
    fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust tests",
            Self::Docs => "documentation examples",
            Self::Python => "Python tests",
            Self::Apps => "servers and queues",
        }
    }

    /// Recognises the runner's own summary lines, colours removed.
    fn summary(self) -> fn(&str) -> bool {
        match self {
            Self::Rust | Self::Docs => is_rust_summary,
            Self::Python | Self::Apps => is_pytest_summary,
        }
    }

    /// The command line, with whatever it needs made ready.
    fn command(self, args: &[String]) -> Result<Command, Failure> {
        let mut command = match self {
            Self::Rust => {
                let mut command = rust_command(args);
                if args.is_empty() {
                    // Stories with a real Python worker; without it they say that they are skipped.
                    command.env("PYTHON_WITH_TELEMETRY", python::ready()?.python());
                }
                command
            }
            Self::Docs => {
                let mut cargo = process::cargo();
                cargo
                    .args(["test", "--all-features", "--doc"])
                    .args(scope(args));
                cargo
            }
            Self::Python => {
                let mut pytest = python::ready()?.command();
                pytest.args(["-m", "pytest"]);
                if args.is_empty() {
                    pytest.args(["crates/telemetry-py/tests", "--ignore", APPS]);
                }
                pytest
            }
            Self::Apps => {
                programs::build_as_tests_do(&[COMMAND, HOST], "it")?;
                let mut pytest = python::ready_for_apps()?.command();
                pytest.env("APPS_COMMAND", programs::of_tests(COMMAND));
                pytest.env("APPS_HOST", programs::of_tests(HOST));
                // The configuration and the fixtures of the other Python tests are not for these.
                pytest.args(["-m", "pytest", "-c"]);
                pytest.arg(format!("{APPS}/pytest.ini"));
                pytest.args(["--confcutdir", APPS]);
                if !args.iter().any(|arg| arg.starts_with(APPS)) {
                    pytest.arg(APPS);
                }
                pytest
            }
        };
        command.args(args);
        Ok(command)
    }
}

fn rust_command(args: &[String]) -> Command {
    let mut cargo = process::cargo();
    if process::succeeds(process::cargo().args(["nextest", "--version"])) {
        cargo.args(["nextest", "run", "--all-features"]);
    } else {
        // Everything but the documentation examples, which have a runner of their own.
        cargo.args(["test", "--all-features", "--no-fail-fast"]);
        cargo.args(["--lib", "--bins", "--tests", "--examples"]);
    }
    cargo.args(scope(args));
    cargo
}

/// `--workspace`, unless the arguments name packages.
fn scope(args: &[String]) -> Option<&'static str> {
    let names_package = |arg: &String| arg.starts_with("-p") || arg.starts_with("--package");
    (!args.iter().any(names_package)).then_some("--workspace")
}

/// `Summary [ 2.0s] 14 tests run: …` of nextest or `test result: …` of `cargo test`.
///
/// nextest repeats the output of a failed test, indented, and that has a `test result` of its own.
/// A binary without tests has nothing to sum up.
fn is_rust_summary(line: &str) -> bool {
    line.trim_start().starts_with("Summary [")
        || (line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed; 0 ignored;"))
}

/// `==== 12 passed, 1 skipped in 3.21s ====`, with or without the frame.
fn is_pytest_summary(line: &str) -> bool {
    let text = line.trim_matches(|c| c == '=' || c == ' ');
    let Some((counts, time)) = text.split_once(" in ") else {
        return false;
    };
    let is_count = |part: &str| {
        part == "no tests ran"
            || part
                .split_once(' ')
                .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let seconds = time
        .split(' ')
        .next()
        .and_then(|time| time.strip_suffix('s'));
    counts.split(", ").all(is_count) && seconds.is_some_and(|time| time.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_all_runners_are_recognised() {
        for line in [
            "     Summary [   0.034s] 14 tests run: 14 passed, 0 skipped",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            assert!(is_rust_summary(line), "{line}");
        }
        for line in [
            "=========== 12 passed, 1 skipped, 2 warnings in 3.21s ===========",
            "1 failed, 12 passed in 3.21s",
            "===== 120 passed in 75.01s (0:01:15) =====",
            "========== no tests ran in 0.01s ==========",
        ] {
            assert!(is_pytest_summary(line), "{line}");
        }
    }

    #[test]
    fn other_output_is_no_summary() {
        for line in [
            "        PASS [   0.004s] ( 1/14) telemetry-proto::released a_field",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 11 filtered out",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "    Finished `test` profile [unoptimized] target(s) in 0.50s",
            "tests/test_span.py ....   [ 10%]",
            "3 files in 2 directories",
            "",
        ] {
            assert!(!is_rust_summary(line) && !is_pytest_summary(line), "{line}");
        }
    }

    #[test]
    fn everything_runs_unless_something_is_selected() {
        let all = Selection::default().runners();
        let runners = [Runner::Rust, Runner::Docs, Runner::Python, Runner::Apps];
        assert_eq!(all, runners);
        let only = Selection {
            only: Some(Runner::Docs),
            ..Selection::default()
        };
        assert_eq!(only.runners(), [Runner::Docs]);
        let args = Selection {
            only: None,
            args: vec!["queue".to_owned()],
        };
        assert_eq!(args.runners(), [Runner::Rust]);
    }

    #[test]
    fn named_packages_narrow_the_run() {
        assert_eq!(scope(&[]), Some("--workspace"));
        assert_eq!(scope(&["-p".to_owned(), "xtask".to_owned()]), None);
        assert_eq!(scope(&["--package=xtask".to_owned()]), None);
    }
}
