//! Processes that the system lets have little memory, and kills when they want more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the system keeps groups: the first way and, where everything is in one tree, the second one.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
/// What bounds the memory of a group, in each way.
const BOUNDS: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
/// What has memory not be moved to a disk instead, in each way.
const NO_SWAP: [&str; 2] = ["memory.swappiness", "memory.swap.max"];

/// A group of processes with little memory between them. Dropping it lets it go, once all of them have ended.
#[derive(Debug)]
pub struct ScarceMemory {
    dir: PathBuf,
}

impl ScarceMemory {
    /// A group that may have so many bytes; for a story that only says that it is skipped where the system has
    /// none for us.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "a story that is not told says so")]
    pub fn or_skip(bytes: u64) -> Option<Self> {
        Self::of(bytes)
            .inspect_err(|error| println!("skipped: memory cannot be made scarce here: {error}"))
            .ok()
    }

    fn of(bytes: u64) -> io::Result<Self> {
        let name = format!("telemetry-test-{}", std::process::id());
        let mut roots = ROOTS.into_iter();
        let root = roots.find(|root| Path::new(root).join("cgroup.procs").exists());
        let root = root.ok_or_else(|| io::Error::other("no cgroups of memory are mounted"))?;
        let group = Self {
            dir: Path::new(root).join(name),
        };
        fs::create_dir(&group.dir)?;
        group.set(&BOUNDS, bytes)?;
        group.set(&NO_SWAP, 0)?;
        Ok(group)
    }

    /// Writes to the file of this name that is there.
    fn set(&self, names: &[&str], value: u64) -> io::Result<()> {
        let mut files = names.iter().map(|name| self.dir.join(name));
        let file = files.find(|file| file.exists());
        let file = file.ok_or_else(|| io::Error::other(format!("a cgroup has no {names:?}")))?;
        fs::write(file, value.to_string())
    }

    /// Has a process be one of them. What it has already does not count.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for ScarceMemory {
    fn drop(&mut self) {
        // One that still has processes stays, which the story has failed for.
        let _busy = fs::remove_dir(&self.dir);
    }
}
