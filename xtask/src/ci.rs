//! `ci`: what a change must pass, in one command that is the same here and on a build machine.
//!
//! Format, lints, freshness of generated files, every feature alone, documentation, what a release may not
//! do, optional tools where installed, the queue in the model checker, both roles in simulated worlds, a
//! short demo, every fault of `chaos`, a smoke run of the benchmarks, the command and the wheel that others
//! get, then exactly what `test` runs. A failing step does not stop the others; the list of steps with their
//! durations and the summaries of the tests come last.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    bench, chaos, demo,
    failure::Failure,
    features, gen_events, gen_proto, gen_reference, loom, process,
    programs::{self, Program},
    release, simulate, test,
};

/// Runs all steps; fails if any of them did and names those.
pub(crate) fn run() -> Result<(), Failure> {
    let mut report = Report::default();
    report.step("format", || {
        process::run(process::cargo().args(["fmt", "--all", "--check"]))
    });
    report.step("gen-proto", || gen_proto::run(true));
    report.step("gen-events", || gen_events::run(true));
    report.step("gen-reference", || gen_reference::run(true));
    report.step("lints", || {
        process::run(&mut lints(&[
            "--workspace",
            "--all-targets",
            "--all-features",
        ]))
    });
    for set in features::sets()? {
        report.step(&set.to_string(), || {
            process::run(&mut lints(&set.arguments()))
        });
    }
    report.step("documentation", || process::run(&mut documentation()?));
    report.step("release check", release::check);
    report.optional(
        "dependencies",
        "cargo-deny",
        process::cargo().args(["deny", "check"]),
    );
    report.optional("spelling", "typos", &mut process::command("typos"));

    report.step("loom", || loom::run(&loom::Depth::default()));
    report.step("simulate", simulate::quick);
    // At once, for each alone has other features of what they share.
    report.step("programs", || {
        programs::build(programs::QUICK, &Program::ALL)
    });
    report.step("demo", demo::smoke);
    report.step("chaos", chaos::quick);
    report.step("bench", bench::smoke);

    let mut outcomes = Vec::new();
    report.step("artifacts", release::try_artifacts);

    report.step("tests", || {
        outcomes = test::outcomes(&test::Selection::default());
        test::result(&outcomes)
    });
    report.print();
    test::print_summaries(&outcomes);
    report.result()
}

/// Clippy with warnings as errors. They are not made so through `RUSTFLAGS`, which would build
/// every dependency anew.
fn lints(arguments: &[impl AsRef<str>]) -> Command {
    let mut clippy = process::cargo();
    clippy
        .arg("clippy")
        .args(arguments.iter().map(AsRef::as_ref));
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

/// The pages of everything that `release check` does not make as docs.rs will.
fn documentation() -> Result<Command, Failure> {
    let mut cargo = process::cargo();
    cargo.args(["doc", "--workspace", "--all-features", "--no-deps"]);
    for package in release::published()? {
        cargo.args(["--exclude", &package]);
    }
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    Ok(cargo)
}

/// The steps so far, in order.
#[derive(Debug, Default)]
struct Report {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    result: StepResult,
    took: Duration,
}

#[derive(Debug)]
enum StepResult {
    Passed,
    Failed(Failure),
    Skipped(String),
}

impl Report {
    /// Runs `work` as the step `name` and notes how it went.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), Failure>) {
        println!("\n== {name}");
        let begun = Instant::now();
        let result = match work() {
            Ok(()) => StepResult::Passed,
            Err(failure) => StepResult::Failed(failure),
        };
        self.note(Step {
            name: name.to_owned(),
            result,
            took: begun.elapsed(),
        });
    }

    /// As [`step`](Self::step), or skipped with a reason where the tool is not installed.
    fn optional(&mut self, name: &str, tool: &str, command: &mut Command) {
        if process::succeeds(process::command(tool).arg("--version")) {
            return self.step(name, || process::run(command));
        }
        println!("\n== {name}");
        let result = StepResult::Skipped(format!("{tool} is not installed"));
        self.note(Step {
            name: name.to_owned(),
            result,
            took: Duration::ZERO,
        });
    }

    fn note(&mut self, step: Step) {
        println!("{step}");
        self.steps.push(step);
    }

    fn print(&self) {
        println!("\n== all steps");
        for step in &self.steps {
            println!("{step}");
        }
    }

    /// A failure that names the failed steps, if there are any.
    fn result(&self) -> Result<(), Failure> {
        let failed: Vec<String> = self
            .steps
            .iter()
            .filter(|step| matches!(step.result, StepResult::Failed(_)))
            .map(|step| step.name.clone())
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::Steps(failed))
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, seconds) = (&self.name, self.took.as_secs_f64());
        match &self.result {
            StepResult::Passed => write!(f, "passed  {seconds:>6.1} s  {name}"),
            StepResult::Failed(failure) => write!(f, "FAILED  {seconds:>6.1} s  {name}: {failure}"),
            StepResult::Skipped(reason) => write!(f, "skipped           {name}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_next_and_fails_the_whole() {
        let mut report = Report::default();
        report.step("first", || Err(Failure::Machine("no disk".to_owned())));
        report.step("second", || Ok(()));
        report.optional(
            "third",
            "no-such-tool",
            &mut process::command("no-such-tool"),
        );

        let lines: Vec<String> = report.steps.iter().map(ToString::to_string).collect();
        assert!(
            lines[0].starts_with("FAILED") && lines[0].contains("no disk"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("passed"), "{lines:?}");
        assert_eq!(
            lines[2],
            "skipped           third: no-such-tool is not installed"
        );
        assert_eq!(
            report.result().unwrap_err().to_string(),
            "a step failed: first"
        );
    }

    #[test]
    fn passed_and_skipped_steps_pass() {
        let mut report = Report::default();
        report.step("first", || Ok(()));
        report.optional(
            "second",
            "no-such-tool",
            &mut process::command("no-such-tool"),
        );
        assert!(report.result().is_ok());
    }
}
