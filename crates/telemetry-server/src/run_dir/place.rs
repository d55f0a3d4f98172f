//! Where a manager's directory is unless its configuration says so: at a place of this user's or this
//! service's that goes with the session or the machine, never below `/tmp`.
//!
//! Reads the environment; makes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What to do where there is no such place.
pub(crate) const ALLOWED: &str = "neither XDG_RUNTIME_DIR nor RUNTIME_DIRECTORY is set, and only root may \
     use /run; set one of them, or [manager] run_dir to a directory of this user's";

/// Where root's directories are.
const SYSTEM: &str = "/run";

/// The directory of the manager with the configuration file `file`, if there is a place for it.
pub(crate) fn default_run_dir(file: &str) -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root() && Path::new(SYSTEM).is_dir();
    choose(file, |name| std::env::var_os(name), is_root)
}

fn choose(
    file: &str,
    variable: impl Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let stem = Path::new(file).file_stem().unwrap_or("telemetry".as_ref());
    if let Some(session) = set("XDG_RUNTIME_DIR") {
        return Some(Path::new(&session).join("telemetry").join(stem));
    }
    if let Some(service) = set("RUNTIME_DIRECTORY") {
        // systemd lists several if the unit has several.
        return std::env::split_paths(&service).next();
    }
    is_root.then(|| Path::new(SYSTEM).join("telemetry").join(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_that_of_the_session_else_of_the_service_else_of_root() {
        let check = |xdg: &str, service: &str, is_root: bool, expected: Option<&str>| {
            let variable = |name: &str| match name {
                "XDG_RUNTIME_DIR" => Some(xdg.into()),
                _ => Some(service.into()),
            };
            let chosen = choose("/etc/telemetry/web.toml", variable, is_root);
            assert_eq!(chosen.as_deref(), expected.map(Path::new));
        };
        check(
            "/run/user/7",
            "/run/x",
            true,
            Some("/run/user/7/telemetry/web"),
        );
        check("", "/run/x:/run/y", true, Some("/run/x"));
        check("", "", true, Some("/run/telemetry/web"));
        check("", "", false, None);
    }
}
