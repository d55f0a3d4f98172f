//! Samples what this process uses: memory and CPU, as events, from a thread of its own.
//!
//! The thread starts with [`ResourceSampler::start`] and ends with its guard. It reads `/proc`, so
//! it exists on Linux only; elsewhere starting says so.

use std::fs;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use telemetry_core::ValueRef;

use crate::telemetry::Telemetry;

/// Time between samples.
pub const DEFAULT_RESOURCE_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest time between samples; a shorter one is raised to it.
pub const MIN_RESOURCE_INTERVAL: Duration = Duration::from_millis(10);

/// What is sampled, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampling {
    /// Time between samples; one below [`MIN_RESOURCE_INTERVAL`] is raised to it.
    pub interval: Duration,
    /// Whether memory is.
    pub memory: bool,
    /// Whether processor time is.
    pub cpu: bool,
}

impl Sampling {
    /// Both, every `interval`.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            memory: true,
            cpu: true,
        }
    }
}

impl Default for Sampling {
    /// Both, every [`DEFAULT_RESOURCE_INTERVAL`].
    fn default() -> Self {
        Self::every(DEFAULT_RESOURCE_INTERVAL)
    }
}

/// Where the kernel tells a process about its memory, in pages.
const STATM: &str = "/proc/self/statm";

/// Why a process cannot be sampled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// There is no `/proc`, or it is not readable.
    #[error("memory cannot be sampled: {STATM}: {0}")]
    Memory(#[source] io::Error),
    /// The operating system gave no thread.
    #[error("cannot start the thread that samples resources: {0}")]
    Thread(#[source] io::Error),
}

/// Emits `python.memory.sampled` and `python.cpu.sampled` until it is dropped.
///
/// Memory: `rss_bytes`, `vms_bytes`. CPU: `cpu_percent` of one core since the sample before, so the
/// first one comes with the second sample. Both carry `system_time` and the metadata `python_pid`.
/// The names are those of the catalog, whatever language the worker is written in.
#[derive(Debug)]
#[must_use = "sampling ends when the sampler is dropped"]
pub struct ResourceSampler {
    /// Disconnecting it ends the thread at once.
    stop: Option<mpsc::Sender<()>>,
    /// The thread.
    thread: Option<JoinHandle<()>>,
    /// The process that started it; a fork has no thread.
    pid: u32,
}

impl ResourceSampler {
    /// Samples now and then every interval.
    ///
    /// # Errors
    ///
    /// [`ResourceError`] where there is no `/proc` or no thread to be had.
    pub fn start(telemetry: Telemetry, sampling: Sampling) -> Result<Self, ResourceError> {
        read_memory().map_err(ResourceError::Memory)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("telemetry-resource".to_owned())
            .spawn(move || run(&telemetry, sampling, &stopped))
            .map_err(ResourceError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            pid: std::process::id(),
        })
    }
}

impl Drop for ResourceSampler {
    fn drop(&mut self) {
        self.stop = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // In a fork the thread does not exist and must not be waited for.
        if self.pid == std::process::id() {
            let _panicked = thread.join();
        }
    }
}

/// Samples until the other end is gone.
fn run(telemetry: &Telemetry, sampling: Sampling, stopped: &mpsc::Receiver<()>) {
    let pid = std::process::id().to_string();
    let interval = sampling.interval.max(MIN_RESOURCE_INTERVAL);
    let mut before = None;
    loop {
        let now = CpuReading::take(telemetry);
        if sampling.memory {
            sample_memory(telemetry, &pid);
        }
        let percent = before.and_then(|before| now.percent_since(before));
        if let Some(percent) = percent.filter(|_| sampling.cpu) {
            let measurements = [
                ("cpu_percent", ValueRef::Float(percent)),
                ("system_time", unix(telemetry)),
            ];
            telemetry.emit(
                "python.cpu.sampled",
                &measurements,
                &[("python_pid", &pid)],
                "",
            );
        }
        before = Some(now);
        if stopped.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Emits the memory in use. A reading that fails is left out; the next one may succeed.
fn sample_memory(telemetry: &Telemetry, pid: &str) {
    match read_memory() {
        Ok((vms, rss)) => {
            let measurements = [
                ("rss_bytes", rss.into()),
                ("vms_bytes", vms.into()),
                ("system_time", unix(telemetry)),
            ];
            telemetry.emit(
                "python.memory.sampled",
                &measurements,
                &[("python_pid", pid)],
                "",
            );
        }
        Err(error) => tracing::debug!(%error, "memory could not be sampled"),
    }
}

/// The wall clock as a measurement.
fn unix(telemetry: &Telemetry) -> ValueRef<'static> {
    ValueRef::Int(telemetry.clock().unix_nanos())
}

/// Virtual and resident bytes of this process.
fn read_memory() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string(STATM)?;
    parse_statm(&text, rustix::param::page_size() as u64)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?}")))
}

/// Total and resident size from the first two fields, which count pages.
fn parse_statm(text: &str, page_bytes: u64) -> Option<(u64, u64)> {
    let mut pages = text.split_ascii_whitespace().map(str::parse::<u64>);
    let mut bytes = || pages.next()?.ok()?.checked_mul(page_bytes);
    Some((bytes()?, bytes()?))
}

/// CPU time used and when that was.
#[derive(Debug, Clone, Copy)]
struct CpuReading {
    /// CPU time of all threads, nanoseconds.
    used: u64,
    /// Monotonic clock, nanoseconds.
    at: u64,
}

impl CpuReading {
    /// Reads both clocks.
    fn take(telemetry: &Telemetry) -> Self {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(used.tv_nsec).unwrap_or_default();
        let used = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            used,
            at: telemetry.clock().monotonic_nanos(),
        }
    }

    /// Percent of one core used since `before`; `None` if no time has passed.
    fn percent_since(self, before: Self) -> Option<f64> {
        let elapsed = self.at.saturating_sub(before.at);
        (elapsed > 0).then(|| self.used.saturating_sub(before.used) as f64 * 100.0 / elapsed as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statm_counts_pages() {
        assert_eq!(
            parse_statm("100 25 3 1 0 9 0\n", 4096),
            Some((409_600, 102_400))
        );
        for broken in ["", "100", "100 x", "-1 2", "99999999999999999999 1"] {
            assert_eq!(parse_statm(broken, 4096), None, "{broken:?}");
        }
    }

    #[test]
    fn percent_is_of_one_core() {
        let before = CpuReading {
            used: 1_000,
            at: 10_000,
        };
        let after = CpuReading {
            used: 4_000,
            at: 12_000,
        };
        assert_eq!(after.percent_since(before), Some(150.0));
        assert_eq!(before.percent_since(before), None);
    }
}
