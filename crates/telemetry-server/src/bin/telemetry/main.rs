//! The `telemetry` command: runs a manager, and looks at one that runs.
//!
//! Parses the command line and turns the outcome into an exit code: 0 done, 1 failed, 2 wrong usage
//! or configuration, 3 not in time. One file per subcommand.

mod api;
mod catalog;
mod completions;
mod config;
mod doctor;
mod exec;
mod failure;
mod log;
mod look;
mod man;
mod manager;
mod policy;
mod running;
mod service;
mod show;
mod signals;
mod tables;
mod tap;
mod tls;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use look::Look;
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
        look: Look,
        /// Only of these pools.
        #[arg(long, value_name = "GLOB")]
        pool: Option<String>,
        /// Only those whose id matches.
        #[arg(long = "match", value_name = "GLOB", default_value = "*")]
        pattern: String,
    },
    /// List the pools.
    Pools(Look),
    /// List the handlers and what became of the events that went there.
    Handlers(Look),
    /// List the names of events that workers sent and nobody knows.
    Quarantine(Look),
    /// Show what became of all events.
    Ledger {
        #[command(flatten)]
        look: Look,
        /// Fail if it does not add up.
        #[arg(long)]
        verify: bool,
    },
    /// Show events as they arrive, one line each.
    Tap(tap::Tap),
    /// Look at the rules of what workers send, and change them.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Have workers send nothing.
    Mute(policy::Aim),
    /// Have workers that were muted send again.
    Unmute(policy::Aim),
    /// Keep a part of the events of workers only.
    Sample {
        #[command(flatten)]
        aim: policy::Aim,
        /// The part that is kept, 0 to 1; with 1 the rule is taken away.
        rate: f64,
        /// Only of these events.
        #[arg(value_name = "GLOB")]
        globs: Vec<String>,
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
    /// Say what is not as it should be with a manager and its workers.
    Doctor(Look),
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(config::Task),
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
        Command::Workers {
            look,
            pool,
            pattern,
        } => workers::run(&look, pool.as_deref(), &pattern),
        Command::Pools(look) => tables::pools(&look),
        Command::Handlers(look) => tables::handlers(&look),
        Command::Quarantine(look) => tables::quarantine(&look),
        Command::Ledger { look, verify } => tables::ledger(&look, verify),
        Command::Tap(tap) => tap::run(&tap),
        Command::Policy(task) => policy::run(&task),
        Command::Mute(aim) => policy::mute(&aim),
        Command::Unmute(aim) => policy::unmute(&aim),
        Command::Sample { aim, rate, globs } => policy::sample(&aim, rate, &globs),
        Command::Catalog {
            manager,
            markdown,
            json,
            task,
        } => catalog::run(&manager, markdown, json, task),
        Command::Config(task) => config::run(&task),
        Command::Doctor(look) => doctor::run(&look),
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
