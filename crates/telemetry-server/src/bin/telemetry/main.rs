//! The `telemetry` command: runs a manager, and looks at one that runs.
//!
//! Parses the command line and turns the outcome into an exit code: 0 done, 1 failed, 2 wrong usage
//! or configuration. One file per subcommand.

mod api;
mod catalog;
mod completions;
mod exec;
mod failure;
mod log;
mod man;
mod manager;
mod running;
mod service;
mod show;
mod signals;
mod tap;
mod tls;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use running::Running;

/// What `telemetry manager --help` says below its options.
const MANAGER_HELP: &str = "\
Environment:
  TELEMETRY_LOG  What the manager logs to stderr: off, error, warn, info, debug or trace, or by
                 target, e.g. \"info,telemetry_server::session=debug\". Wins over [log] level.
  NO_COLOR       If not empty, no colours.

Signals:
  SIGINT, SIGTERM  Stop in order; once more, at least 2 s later: kill the workers and end.
  SIGQUIT          Kill the workers and end.
  SIGHUP           Nothing but a line in the log.";

/// What `telemetry completions --help` says below its options.
const COMPLETIONS_HELP: &str = "\
For this shell only:
  bash  source <(telemetry completions bash)
  zsh   source <(telemetry completions zsh)
  fish  telemetry completions fish | source

For all to come, write it to where the shell looks:
  bash  /usr/share/bash-completion/completions/telemetry
  zsh   a directory of $fpath, as _telemetry
  fish  ~/.config/fish/completions/telemetry.fish";

/// Collects and controls the telemetry of a fleet of worker processes.
#[derive(Debug, Parser)]
#[command(name = "telemetry", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a manager until SIGINT or SIGTERM.
    #[command(after_help = MANAGER_HELP)]
    Manager {
        /// The configuration file. By default telemetry.toml here, unless somebody else could have written that.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List the workers of a running manager.
    Workers {
        #[command(flatten)]
        manager: Running,
        /// Print what the manager answers, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show events as they arrive, one line each.
    Tap {
        #[command(flatten)]
        manager: Running,
        /// Only events whose name matches, e.g. 'snakepit.python.call.*'.
        #[arg(long = "match", value_name = "GLOB", default_value = "*")]
        pattern: String,
    },
    /// The events and keys that are known, and what workers sent beyond them.
    Catalog {
        #[command(flatten)]
        manager: Running,
        /// As a document instead of a list.
        #[arg(long)]
        markdown: bool,
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        task: Option<catalog::Task>,
    },
    /// Make certificates for a try.
    #[command(subcommand)]
    Tls(tls::Tls),
    /// Print what a shell needs to complete this command.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of this command and of each of its own.
    Man {
        /// The directory; it is made, and pages in it are replaced.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// Become a worker that ends with its manager; used by managers.
    #[command(hide = true)]
    Exec(exec::Exec),
}

fn main() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    let outcome = match command {
        Command::Manager { config } => match manager::run(config.as_deref()) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::Workers { manager, json } => workers::run(&manager, json),
        Command::Tap { manager, pattern } => tap::run(&manager, &pattern),
        Command::Catalog {
            manager,
            markdown,
            json,
            task,
        } => catalog::run(&manager, markdown, json, task),
        Command::Tls(task) => tls::run(&task),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { into } => man::run(&into),
        Command::Exec(exec) => exec::run(exec),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
