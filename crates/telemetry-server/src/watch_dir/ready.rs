//! Ready files: every `{worker_id}.ready` of a watched directory holds the address of a worker on its one line.
//!
//! For workers that listen at a port which the system chooses, as stock ones do. A file is read again whenever
//! anything happens to it. One that holds something else is said once and no worker; other files are not touched.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use telemetry_core::Address;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::dir_events::{DirEvent, DirWatch};
use crate::socket_dir::{self, SocketDirError};
use crate::targets::{Target, Targets};

/// How the name of a ready file ends.
const SUFFIX: &str = ".ready";
/// Longest ready file, in bytes: a path, and what stands around it.
const MAX_BYTES: u64 = 512;

/// Reads the ready files of a directory until it is told to stop.
pub(super) struct ReadyFiles {
    pub(super) directory: PathBuf,
    pub(super) pool: Option<String>,
    pub(super) targets: Targets,
}

impl ReadyFiles {
    pub(super) async fn run(mut self, mut events: DirWatch, mut stopped: watch::Receiver<bool>) {
        let mut is_due = false;
        loop {
            tokio::select! {
                event = events.next() => is_due |= concerns(&event),
                () = self.targets.due() => self.targets.attend(),
                stop = stopped.changed() => match stop {
                    Ok(()) => break,
                    Err(_dropped) => return,
                },
            }
            while let Some(event) = events.try_next() {
                is_due |= concerns(&event);
            }
            if std::mem::take(&mut is_due) && !self.look().await {
                return;
            }
        }
        self.targets.stop().await;
    }

    /// Reads all of them. False once the runtime is gone.
    async fn look(&mut self) -> bool {
        let directory = self.directory.clone();
        let Ok(read) = spawn_blocking(move || read_all(&directory)).await else {
            return false;
        };
        match read {
            Ok(files) => {
                let (mut targets, mut faults) = (Vec::new(), Vec::new());
                for (name, address) in files {
                    let worker = Path::new(&name).file_stem().and_then(OsStr::to_str);
                    match (worker, address) {
                        (Some(worker), Ok(address)) => {
                            targets.push(Target::new(address, worker, self.pool.clone()));
                        }
                        (None, _) => faults.push(format!("{name:?} is no name in UTF-8")),
                        (_, Err(fault)) => faults.push(format!("{name:?} {fault}")),
                    }
                }
                self.targets.follow(targets, faults);
            }
            // Nobody can be in a directory that is not there.
            Err(SocketDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.targets.follow(Vec::new(), Vec::new());
            }
            Err(fault) => self.targets.say(vec![fault.to_string()]),
        }
        true
    }
}

/// Whether something may have happened to a ready file.
fn concerns(event: &DirEvent) -> bool {
    match event {
        DirEvent::Appeared(name)
        | DirEvent::Vanished(name)
        | DirEvent::Touched(name)
        | DirEvent::Written(name) => is_ready_file(name),
        DirEvent::LookAgain | DirEvent::Gone => true,
    }
}

/// Whether this is how a ready file is named.
fn is_ready_file(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.len() > SUFFIX.len() && name.ends_with(SUFFIX))
}

/// The addresses in all ready files, or what is wrong with them.
fn read_all(
    directory: &Path,
) -> Result<BTreeMap<OsString, Result<Address, String>>, SocketDirError> {
    socket_dir::check_private(directory)?;
    let failed = |source| SocketDirError::Io {
        action: "read",
        path: directory.to_owned(),
        source,
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // A link to a file elsewhere is not followed, and nothing that could keep us waiting is opened.
        if is_ready_file(&name) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            match address_in(&entry.path()) {
                // It vanished meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    files.insert(name, Err(format!("cannot be read: {error}")));
                }
                Ok(address) => {
                    files.extend(address.map(|address| (name, address)));
                }
            }
        }
    }
    Ok(files)
}

/// The address in a ready file; none while it is empty, as one that is about to be written.
fn address_in(path: &Path) -> io::Result<Option<Result<Address, String>>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let allowed = "a ready file holds one line with one address";
    let text = match std::str::from_utf8(&bytes) {
        _ if bytes.len() as u64 > MAX_BYTES => {
            return Ok(Some(Err(format!(
                "is longer than {MAX_BYTES} bytes; {allowed}"
            ))));
        }
        Err(_) => return Ok(Some(Err(format!("is no UTF-8; {allowed}")))),
        Ok(text) => text.trim(),
    };
    if text.lines().count() > 1 {
        return Ok(Some(Err(format!("has more than one line; {allowed}"))));
    }
    let address = text.parse::<Address>();
    Ok(Some(
        address.map_err(|error| format!("holds no address: {error}")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file with this content says.
    fn said(content: &[u8]) -> Option<Result<String, String>> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("w.ready");
        fs::write(&path, content).expect("it is ours");
        let address = address_in(&path).expect("it is there");
        address.map(|it| it.map(|it| it.to_string()))
    }

    #[test]
    fn a_ready_file_holds_one_address() {
        let address = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(said(b"127.0.0.1:50051\n"), address("127.0.0.1:50051"));
        assert_eq!(said(b" unix:/run/w.sock"), address("unix:/run/w.sock"));
        assert_eq!(said(b""), None, "it is about to be written");
        for (content, fault) in [
            (&b"50051"[..], "holds no address: \"50051\""),
            (b"\n", "holds no address"),
            (b"127.0.0.1:1\n127.0.0.1:2\n", "more than one line"),
            (b"\xff", "no UTF-8"),
            (&[b'1'; 600], "longer than 512 bytes"),
        ] {
            let said = said(content).expect("not empty").expect_err("a fault");
            assert!(said.contains(fault), "{said}");
        }
    }

    #[test]
    fn only_files_with_a_name_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["a.ready", ".ready", "b.readying", "c.sock"] {
            fs::write(path(name), "127.0.0.1:1").expect("it is ours");
        }
        std::os::unix::fs::symlink(path("a.ready"), path("link.ready")).expect("a link");
        fs::create_dir(path("directory.ready")).expect("a directory");
        let files = read_all(dir.path()).expect("it is ours alone");
        let names: Vec<_> = files.keys().collect();
        assert_eq!(names, ["a.ready"]);
    }
}
