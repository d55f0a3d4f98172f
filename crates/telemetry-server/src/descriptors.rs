//! File descriptors of this process: how many it may have, and how many it has.
//!
//! The limit belongs to the whole process, and so does what it was before. Opens nothing but the
//! directory it counts in.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit with which the process was started, once it was raised.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of descriptors to the hard one. Workers that a pool spawns get the old limit
/// back: programs that use `select`, or close every descriptor they might have, rely on a low one.
/// Returns the limit that holds now; `None` is no limit.
///
/// # Errors
/// What the system said; the limit is as before then.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if raised != before {
        setrlimit(Resource::Nofile, raised)?;
        // A second call finds nothing to raise.
        let _raised_before = INHERITED.set(before);
    }
    Ok(raised.current)
}

/// Gives a process that was just spawned the limit that we were started with. Until then it has ours.
#[cfg(feature = "pool")]
pub(crate) fn give_back_limit(pid: u32) {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return };
    let given = rustix::process::prlimit(Some(pid), Resource::Nofile, *inherited);
    if let Err(error) = given {
        // It has ended already, or changed its user; it works with our limit as well.
        tracing::debug!(%error, "a worker keeps the raised limit of descriptors");
    }
}

/// Counts the descriptors of this process, also when none is left to open anything with.
#[derive(Debug, Clone)]
pub struct OpenDescriptors {
    /// The list of them, held open.
    list: Arc<Mutex<Dir>>,
}

impl OpenDescriptors {
    /// Opens the list.
    ///
    /// # Errors
    /// There is no `/proc`, or no descriptor left.
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let list = Dir::new(openat(CWD, "/proc/self/fd", flags, Mode::empty())?)?;
        Ok(Self {
            list: Arc::new(Mutex::new(list)),
        })
    }

    /// How many are open now, the list among them.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn count(&self) -> io::Result<u64> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.rewind();
        let mut count = 0;
        while let Some(entry) = list.read() {
            let is_number = entry?.file_name().to_bytes().first() != Some(&b'.');
            count += u64::from(is_number);
        }
        Ok(count)
    }

    /// How many there may be; `None` is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_opened_is_counted() {
        let open = OpenDescriptors::open().unwrap();
        let before = open.count().unwrap();
        let more: Vec<_> = (0..40).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close as well, but not as many.
        let now = open.count().unwrap();
        assert!(now >= before + 20, "{before} before, {now} with 40 more");
        drop(more);
        assert!(open.limit().is_none_or(|limit| limit >= now));
    }
}
