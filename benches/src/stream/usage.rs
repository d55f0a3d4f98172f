//! What this process used so far: CPU, memory, system calls that write.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads, ended ones included.
pub(crate) fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(spent.tv_nsec).unwrap_or_default();
    Duration::new(spent.tv_sec.unsigned_abs(), nanos)
}

/// Resident memory in bytes.
pub(crate) fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// What went through `write` and its kin so far, wake-ups included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Calls.
    pub(crate) calls: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// `None` where the kernel does not count it.
pub(crate) fn written() -> Option<Written> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let count = |name| {
        let count = io.lines().find_map(|line| line.strip_prefix(name))?;
        count.trim().parse().ok()
    };
    Some(Written {
        calls: count("syscw:")?,
        bytes: count("wchar:")?,
    })
}
