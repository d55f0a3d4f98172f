//! `[watch]`: a directory in which workers appear as sockets, and none of our own do.

use std::fs;
use std::path::{Path, PathBuf};

use super::AcceptSection;
use super::HttpSection;
use super::error::ConfigError;
use super::section::Section;

/// `[watch]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchSection {
    /// Directory with `{worker_id}.sock` files, or `{worker_id}.ready` files that hold an address.
    pub directory: PathBuf,
    /// Pool of the workers found there.
    pub pool: Option<String>,
}

/// Reads the section, beside what else the file says.
pub(super) fn watch(
    section: &Section<'_>,
    pools_dir: Option<&Path>,
    accept: Option<&AcceptSection>,
    http: Option<&HttpSection>,
) -> Result<WatchSection, ConfigError> {
    let directory = PathBuf::from(section.required("directory")?);
    let pool = super::pool_name(section)?;
    section.finish()?;
    if pools_dir.is_some_and(|it| is_same(it, &directory)) {
        return Err(section.invalid(
            "directory",
            "is the run_dir of the pools, whose workers are dialled anyway; watch another directory",
        ));
    }
    let dial_in = "at which workers dial in";
    let path = |socket: fn(&AcceptSection) -> &Option<telemetry_core::Address>| {
        accept.and_then(|accept| socket(accept).as_ref()?.socket_path())
    };
    for (socket, what, setting) in [
        (path(|it| &it.socket), dial_in, "[accept] listen"),
        (
            path(|it| &it.users_socket),
            dial_in,
            "[accept] users_socket",
        ),
        (
            http.and_then(|http| http.socket.as_deref()),
            "at which HTTP is asked",
            "[http] socket",
        ),
    ] {
        let dir = socket.and_then(Path::parent);
        if dir.is_some_and(|dir| is_same(dir, &directory)) {
            return Err(section.invalid(
                "directory",
                format!(
                    "holds the socket {what} ({setting}), which is no worker's; watch another directory"
                ),
            ));
        }
    }
    Ok(WatchSection { directory, pool })
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let absolute = |path| std::path::absolute(path).ok();
    let real = |path| fs::canonicalize(path).ok();
    absolute(one) == absolute(other) || real(one).is_some_and(|it| real(other) == Some(it))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[track_caller]
    fn refused(rest: &str, directory: &Path, expected: &str) {
        let text = format!("[watch]\ndirectory = {directory:?}\n{rest}");
        let said = Config::parse(&text, "t.toml")
            .expect_err(expected)
            .to_string();
        assert!(said.starts_with("t.toml:2:13: watch.directory: "), "{said}");
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn a_directory_with_a_socket_of_ours_is_refused_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let socket = real.join("x.sock");
        let socket = socket.display();
        for directory in [&real, &link] {
            refused(
                &format!("[accept]\nlisten = \"unix:{socket}\""),
                directory,
                "([accept] listen)",
            );
            refused(
                &format!(
                    "[accept]\nlisten = \"unix:/run/a.sock\"\nusers_socket = \"unix:{socket}\"\naccept_users = [\"33\"]"
                ),
                directory,
                "([accept] users_socket)",
            );
            refused(
                &format!("[http]\nsocket = \"unix:{socket}\""),
                directory,
                "([http] socket)",
            );
        }
    }
}
