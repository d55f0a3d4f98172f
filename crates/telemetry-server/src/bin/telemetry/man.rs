//! `telemetry man`: the manual pages, made from what `--help` says.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::CommandLine;
use crate::failure::Failure;

/// What the foot of every page says.
const SOURCE: &str = concat!("telemetry ", env!("CARGO_PKG_VERSION"));

/// Writes `telemetry.1` and `telemetry-manager.1`, `telemetry-workers.1`, … into the directory `into`.
pub(crate) fn run(into: &Path) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        let into = into.display();
        Failure::Failed(format!("cannot write manual pages into {into}: {error}"))
    };
    fs::create_dir_all(into).map_err(cannot)?;
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let mut out = io::stdout().lock();
    for command in shown(&command) {
        let page = Man::new(command.clone()).source(SOURCE);
        let path = page.generate_to(into).map_err(cannot)?;
        writeln!(out, "wrote {}", path.display())?;
    }
    Ok(())
}

/// A command and those below it.
fn shown(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().filter(|it| !it.is_hide_set());
    std::iter::once(command)
        .chain(below.flat_map(shown))
        .collect()
}
