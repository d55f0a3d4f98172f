//! Who holds a directory: a lock on a file in it that also says so.
//!
//! The lock is the system's (`flock`) and goes with the process that holds it. The file stays; what it says
//! means something only while somebody holds it. The directory itself is not locked: workers that make
//! sockets in it do that, for a moment.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use telemetry_core::catalog::escape;

use super::RunDirError;

/// Name of the file.
const FILE: &str = "manager.lock";
/// How long a holder that was killed may take to be gone, and a child of it to let go of what it inherited
/// until its exec.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two attempts meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// Seconds since the Unix epoch.
    since: u64,
    name: String,
}

/// A directory that is held as long as this lives. No child inherits it.
#[derive(Debug)]
pub(super) struct Lock {
    directory: File,
    _file: File,
}

impl Lock {
    /// Whether the directory at this path is the one that is held.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let identity = |it: Metadata| (it.dev(), it.ino());
        let (held, now) = (self.directory.metadata(), std::fs::metadata(path));
        now.is_ok_and(|now| held.is_ok_and(|held| identity(held) == identity(now)))
    }
}

/// Takes the lock of a directory and writes down who we are.
pub(super) fn take(directory: &Path, name: &str) -> Result<Lock, RunDirError> {
    let path = directory.join(FILE);
    let refuse = |source: io::Error| RunDirError::Lock {
        path: path.clone(),
        source,
    };
    let held = |holder: Option<Holder>| RunDirError::Held {
        path: directory.to_owned(),
        holder: holder.map_or_else(
            || "another process that does not say who it is".to_owned(),
            |holder| holder.describe(),
        ),
    };
    let deadline = Instant::now() + PATIENCE;
    let itself = File::open(directory).map_err(refuse)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(refuse)?;
    if !try_until(&file, deadline).map_err(refuse)? {
        return Err(held(read(&mut file)));
    }
    let pid = std::process::id();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let holder = Holder {
        pid,
        since: now.map_or(0, |since| since.as_secs()),
        name: name.to_owned(),
    };
    if let Err(error) = write(&mut file, &holder) {
        // The lock is what counts; it must not take space to start where there is none.
        tracing::warn!(?path, %error, "it cannot be written down who holds run_dir");
    }
    Ok(Lock {
        directory: itself,
        _file: file,
    })
}

/// Locks the file, unless somebody else holds it until the deadline. Whether who holds it lives is not
/// asked: one that was killed a moment ago is shown as living.
fn try_until(file: &File, deadline: Instant) -> io::Result<bool> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() > deadline => return Ok(false),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.push(b'\n');
    // In the space that the file has.
    file.rewind()?;
    file.write_all(&text)?;
    file.set_len(text.len() as u64)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

impl Holder {
    fn describe(&self) -> String {
        format!(
            "the manager with pid {}, since {} (configuration {:?})",
            self.pid,
            utc(self.since),
            escape(&self.name)
        )
    }
}

/// A time of the Unix epoch as `2026-11-27 02:30:00 UTC`. The date by Howard Hinnant's
/// `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is_and_the_third_may() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path(), "a.toml").unwrap();
        let refused = take(directory.path(), "b.toml").unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            refused.contains(&format!("is held by the manager with pid {pid}, since 20")),
            "{refused}"
        );
        assert!(
            refused.contains("(configuration \"a.toml\"); stop"),
            "{refused}"
        );
        drop(first);
        take(directory.path(), "c.toml").unwrap();
    }

    #[test]
    fn holder_that_is_about_to_be_gone_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path(), "a.toml").unwrap();
        // It lives, so only its letting go can tell.
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(directory.path(), "b.toml").is_ok());
            std::thread::sleep(PAUSE * 5);
            drop(first);
            assert!(second.join().unwrap());
        });
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_746_600), "2026-11-27 02:30:00 UTC");
    }
}
