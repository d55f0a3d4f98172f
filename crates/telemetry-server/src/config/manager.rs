//! `[manager]` and `[accept]`: the manager's own place, its pace, and the door for workers that dial in.

use std::path::{Path, PathBuf};

use telemetry_core::Address;

use super::AcceptSection;
use super::error::ConfigError;
use super::section::Section;
use crate::manager::DEFAULT_AWAY_GRACE;
use crate::pool::OnManagerExit;
use crate::run_dir::{RUN_DIR_ALLOWED, default_run_dir};
use crate::session::MAX_DIALS_PER_SECOND;

/// Name of the socket at which workers dial in, unless the file says otherwise.
const ACCEPT_SOCKET: &str = "manager.sock";
/// Most dials per second that may be asked for: one each millisecond, which is the timers' step.
const DIALS_PER_SECOND_CAP: usize = 1_000;

/// `[manager]`
pub(super) struct ManagerSection {
    pub(super) node: Option<String>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) on_exit: OnManagerExit,
    pub(super) dials_per_second: u32,
}

pub(super) fn manager(
    section: Option<Section<'_>>,
    file: &str,
) -> Result<ManagerSection, ConfigError> {
    let Some(section) = section else {
        return Ok(ManagerSection {
            node: None,
            run_dir: default_run_dir(file),
            on_exit: OnManagerExit::Keep,
            dials_per_second: MAX_DIALS_PER_SECOND,
        });
    };
    let node = section.text("node")?;
    if node.as_deref().is_some_and(str::is_empty) {
        return Err(section.invalid(
            "node",
            "must not be empty; leave it out for the host's name",
        ));
    }
    let run_dir = section.text("run_dir")?.map(PathBuf::from);
    let on_exit = section.parsed("on_manager_exit", |word| match word {
        "keep" => Ok(OnManagerExit::Keep),
        "stop" => Ok(OnManagerExit::Stop),
        _ => Err(format!(
            "{word:?} is not allowed; it must be \"keep\" or \"stop\""
        )),
    })?;
    let dials_per_second = section
        .whole_number("dials_per_second", 1..=DIALS_PER_SECOND_CAP)?
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(MAX_DIALS_PER_SECOND);
    section.finish()?;
    Ok(ManagerSection {
        node,
        run_dir: run_dir.or_else(|| default_run_dir(file)),
        on_exit: on_exit.unwrap_or(OnManagerExit::Keep),
        dials_per_second,
    })
}

/// `[accept]`, which is on unless it is switched off.
pub(super) fn accept(
    section: Option<Section<'_>>,
    run_dir: Option<&Path>,
) -> Result<Option<AcceptSection>, ConfigError> {
    // Workers may have another working directory.
    let default = run_dir.map(|run_dir| {
        let run_dir = std::path::absolute(run_dir).unwrap_or_else(|_| run_dir.to_owned());
        Address::Unix(run_dir.join(ACCEPT_SOCKET))
    });
    let Some(section) = section else {
        return Ok(default.map(|listen| AcceptSection {
            listen,
            grace: DEFAULT_AWAY_GRACE,
        }));
    };
    let is_on = section.flag("enabled")?.unwrap_or(true);
    let listen = section.parsed("listen", |text| match text.parse::<Address>() {
        Ok(Address::Unix(path)) => Ok(Address::Unix(std::path::absolute(&path).unwrap_or(path))),
        Ok(port) => Err(format!(
            "{port} is a port, at which workers can only dial in with TLS, which this version does \
             not have; use \"unix:/path/to.sock\""
        )),
        Err(problem) => Err(problem.to_string()),
    })?;
    let grace = section.duration("grace")?.unwrap_or(DEFAULT_AWAY_GRACE);
    section.finish()?;
    if !is_on {
        return Ok(None);
    }
    let Some(listen) = listen.or(default) else {
        return Err(section.refuse(format!(
            "[accept] needs the key \"listen\", or a run_dir: {RUN_DIR_ALLOWED}"
        )));
    };
    Ok(Some(AcceptSection { listen, grace }))
}
