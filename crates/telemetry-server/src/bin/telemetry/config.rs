//! `telemetry config check`: whether a manager would take a configuration file.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use telemetry_server::config::Config;

use crate::failure::Failure;
use crate::look::print;
use crate::running::DEFAULT_CONFIG;

/// What is to be done with a file.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Say whether a manager would take it; if not, with line and column.
    Check {
        /// The file; telemetry.toml here by default.
        file: Option<PathBuf>,
    },
}

/// Does it. A mistake is a wrong configuration, exit code 2.
pub(crate) fn run(task: &Task) -> Result<(), Failure> {
    let Task::Check { file } = task;
    let file = file.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    let config = Config::load(file)?;
    let (pools, rules) = (config.pools.len(), config.policy.rules.len());
    print(&format!(
        "{}: good, with {pools} pools and {rules} rules\n",
        file.display()
    ))
}
