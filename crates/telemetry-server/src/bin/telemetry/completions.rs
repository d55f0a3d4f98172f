//! `telemetry completions`: what a shell needs to complete the command line.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::CommandLine;
use crate::failure::Failure;

/// Prints the script for `shell`.
pub(crate) fn run(shell: Shell) -> Result<(), Failure> {
    let all = CommandLine::command();
    // The generator would offer what is hidden too.
    let shown = all.get_subcommands().filter(|it| !it.is_hide_set());
    let mut command = Command::new("telemetry")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(shown.cloned());
    let mut script = Vec::new();
    // Straight into a pipe it would panic when whoever reads goes away.
    generate(shell, &mut command, "telemetry", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(())
}
