//! `[manager]`: the manager's own place and its pace.

use std::path::PathBuf;

use super::error::ConfigError;
use super::section::Section;
use crate::pool::OnManagerExit;
use crate::run_dir::default_run_dir;
use crate::session::MAX_DIALS_PER_SECOND;

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
