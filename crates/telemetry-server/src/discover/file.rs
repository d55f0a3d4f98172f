//! A file that lists workers, read when it changes.
//!
//! What is written in place is seen half written: a fault is looked at twice before it is told. Looks are not closer
//! together than [`BETWEEN_LOOKS`], whatever happens beside the file, and not further apart than [`SLOW_LOOK`], since
//! what lies behind a link changes unseen.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::file_sd::{Format, read};
use super::{Answer, MAX_LIST_BYTES};
use crate::dir_events::{DirEvent, DirEvents, DirWatch, Interest};

/// Shortest time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Longest time between two looks.
const SLOW_LOOK: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct ListFile {
    path: PathBuf,
    pool: Option<String>,
    events: DirWatch,
    /// When to look next.
    due: Instant,
    /// What was found at the last look.
    last: Option<Found>,
    /// Whether that was told.
    is_told: bool,
}

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Text(String),
    Fault(String),
}

impl ListFile {
    pub(super) fn new(dirs: &DirEvents, path: PathBuf, pool: Option<String>) -> Self {
        let path = std::path::absolute(&path).unwrap_or(path);
        let directory = path.parent().unwrap_or(Path::new("/"));
        Self {
            pool,
            events: dirs.watch(directory, Interest::Writes),
            due: Instant::now(),
            last: None,
            is_told: true,
            path,
        }
    }

    /// What the file says, once that is another thing than before. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Answer {
        loop {
            tokio::select! {
                event = self.events.next() => {
                    if self.concerns(&event) {
                        self.due = self.due.min(Instant::now() + BETWEEN_LOOKS);
                    }
                    continue;
                }
                () = sleep_until(self.due) => {}
            }
            let path = self.path.clone();
            let Ok(found) = spawn_blocking(move || look(&path)).await else {
                // The runtime is gone.
                return std::future::pending().await;
            };
            self.due = Instant::now() + SLOW_LOOK;
            let is_same = self.last.as_ref() == Some(&found);
            if is_same && self.is_told {
                continue;
            }
            let answer = match &found {
                Found::Text(text) => {
                    let file = self.path.to_string_lossy();
                    read(text, self.format(), &file, self.pool.as_deref())
                }
                Found::Fault(fault) => Answer::Fault(fault.clone()),
            };
            let is_fault = matches!(answer, Answer::Fault(_));
            self.last = Some(found);
            self.is_told = is_same || !is_fault;
            if self.is_told {
                return answer;
            }
            self.due = Instant::now() + BETWEEN_LOOKS;
        }
    }

    fn format(&self) -> Format {
        let ending = self.path.extension().and_then(OsStr::to_str);
        match ending {
            Some("yml" | "yaml") => Format::Yaml,
            _ => Format::Json,
        }
    }

    /// Whether something may have happened to the file. A name that comes or goes may be that of a link on the way.
    fn concerns(&self, event: &DirEvent) -> bool {
        let is_it = |name: &OsString| Some(&**name) == self.path.file_name();
        match event {
            DirEvent::Written(name) | DirEvent::Touched(name) => is_it(name),
            DirEvent::Appeared(_)
            | DirEvent::Vanished(_)
            | DirEvent::LookAgain
            | DirEvent::Gone => true,
        }
    }
}

/// Reads the file. May wait for the disk, and for nobody's writing.
fn look(path: &Path) -> Found {
    let check = |found: Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is no file")),
    };
    let read = || -> io::Result<String> {
        // A device may do something when it is opened.
        check(fs::metadata(path)?)?;
        // A pipe that has come in between would wait for who writes to it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        check(file.metadata()?)?;
        let mut text = String::new();
        file.take(MAX_LIST_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) if text.len() as u64 > MAX_LIST_BYTES => Found::Fault(format!(
            "{} is longer than the {MAX_LIST_BYTES} bytes that a list may have",
            path.display()
        )),
        Ok(text) => Found::Text(text),
        Err(error) => Found::Fault(format!("{} cannot be read: {error}", path.display())),
    }
}
