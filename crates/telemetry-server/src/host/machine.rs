//! What a host does with its machine: accelerators, shared buffers, and the end of a script.
//!
//! What has a start and an end is a guard that tells the end exactly once.

use std::time::Duration;

use super::{Host, ONCE, nanos};

/// Events of accelerators; from [`Host::hardware`].
///
/// `kind` says what is looked for or found: `cuda`, `mps`, `cpu`. `device` is one of its devices,
/// such as `cuda:0`. Empty text means not known.
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct HardwareEvents<'h>(pub(super) &'h Host);

impl HardwareEvents<'_> {
    /// Begins the search for accelerators; end it with [`HardwareStep::found`].
    pub fn detect(&self, kind: &str) -> HardwareStep {
        let (start, stop) = (
            "snakepit.hardware.detect.start",
            "snakepit.hardware.detect.stop",
        );
        HardwareStep::begin(self.0.clone(), start, stop, kind)
    }

    /// Begins the choice of a device; end it with [`HardwareStep::found`].
    pub fn select(&self, kind: &str) -> HardwareStep {
        let (start, stop) = (
            "snakepit.hardware.select.start",
            "snakepit.hardware.select.stop",
        );
        HardwareStep::begin(self.0.clone(), start, stop, kind)
    }

    /// What is known about the hardware could be reused.
    pub fn cache_hit(&self, device: &str, kind: &str) {
        let metadata = [("device", Some(device)), ("kind", Some(kind))];
        self.0
            .emit("snakepit.hardware.cache.hit", &[ONCE], &metadata);
    }

    /// The hardware has to be searched anew.
    pub fn cache_miss(&self, kind: &str) {
        self.0.emit(
            "snakepit.hardware.cache.miss",
            &[ONCE],
            &[("kind", Some(kind))],
        );
    }
}

/// A search or a choice under way; from [`HardwareEvents`].
///
/// Dropped before it found something, it ends without a device.
#[derive(Debug)]
#[must_use = "dropping the guard tells that the step has ended"]
pub struct HardwareStep {
    host: Host,
    /// The event that tells the end.
    stop: &'static str,
    kind: Box<str>,
    /// What was found; empty until then.
    device: Box<str>,
    /// Monotonic clock when the step began.
    start: u64,
}

impl HardwareStep {
    fn begin(host: Host, start: &str, stop: &'static str, kind: &str) -> Self {
        host.emit(start, &[host.system_time()], &[("kind", Some(kind))]);
        let start = host.now();
        Self {
            host,
            stop,
            kind: kind.into(),
            device: Box::default(),
            start,
        }
    }

    /// The step ended with `device`.
    pub fn found(mut self, device: &str) {
        self.device = device.into();
    }
}

impl Drop for HardwareStep {
    fn drop(&mut self) {
        let metadata = [("device", Some(&*self.device)), ("kind", Some(&*self.kind))];
        self.host
            .emit(self.stop, &[self.host.since(self.start)], &metadata);
    }
}

/// A buffer that is handed over. Empty text means not known.
#[derive(Clone, Copy, Default, Debug)]
pub struct Buffer<'a> {
    /// How it is shared: `dlpack`, `arrow`, `shm`.
    pub kind: &'a str,
    /// Where it lives: `cpu`, `cuda:0`.
    pub device: &'a str,
    /// Type of its elements.
    pub dtype: &'a str,
    /// Its dimensions, as `2x3`.
    pub shape: &'a str,
    /// Its size.
    pub bytes: u64,
}

/// Events of shared buffers; from [`Host::zero_copy`]. Each says how long the handing over took.
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct ZeroCopyEvents<'h>(pub(super) &'h Host);

impl ZeroCopyEvents<'_> {
    /// A buffer was handed to a worker.
    pub fn exported(&self, buffer: &Buffer<'_>, took: Duration) {
        self.tell("snakepit.zero_copy.export", buffer, took);
    }

    /// A buffer was taken from a worker.
    pub fn imported(&self, buffer: &Buffer<'_>, took: Duration) {
        self.tell("snakepit.zero_copy.import", buffer, took);
    }

    /// A buffer had to be copied after all.
    pub fn fell_back(&self, buffer: &Buffer<'_>, took: Duration) {
        self.tell("snakepit.zero_copy.fallback", buffer, took);
    }

    fn tell(&self, name: &str, buffer: &Buffer<'_>, took: Duration) {
        let metadata = [
            ("kind", Some(buffer.kind)),
            ("device", Some(buffer.device)),
            ("dtype", Some(buffer.dtype)),
            ("shape", Some(buffer.shape)),
        ];
        self.0.emit(
            name,
            &[nanos("duration", took), ("bytes", buffer.bytes.into())],
            &metadata,
        );
    }
}

/// The shutdown of a script; from [`Host::script_shutdown`].
///
/// Tells each step once, with the time since the shutdown began. Dropped before
/// [`exit`](Self::exit), it tells an exit without a code.
#[derive(Debug)]
#[must_use = "dropping the guard tells that the script exits"]
pub struct ScriptShutdown {
    host: Host,
    reason: Box<str>,
    /// Monotonic clock when the shutdown began.
    start: u64,
    /// Whether `stop` was told.
    stopped: bool,
    /// Whether `cleanup` was told.
    cleaned_up: bool,
    /// In decimal; `None` until known.
    exit_code: Option<String>,
}

impl ScriptShutdown {
    pub(super) fn begin(host: Host, reason: &str) -> Self {
        let start = host.now();
        let reason = reason.into();
        let shutdown = Self {
            host,
            reason,
            start,
            stopped: false,
            cleaned_up: false,
            exit_code: None,
        };
        shutdown.tell("snakepit.script.shutdown.start");
        shutdown
    }

    /// The application has stopped.
    pub fn stopped(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.tell("snakepit.script.shutdown.stop");
        }
    }

    /// What the workers left has been cleaned up.
    pub fn cleaned_up(&mut self) {
        if !std::mem::replace(&mut self.cleaned_up, true) {
            self.tell("snakepit.script.shutdown.cleanup");
        }
    }

    /// The script is about to exit with `code`.
    pub fn exit(mut self, code: i32) {
        self.exit_code = Some(code.to_string());
    }

    fn tell(&self, name: &str) {
        let metadata = [
            ("reason", Some(&*self.reason)),
            ("exit_code", self.exit_code.as_deref()),
        ];
        self.host
            .emit(name, &[self.host.since(self.start)], &metadata);
    }
}

impl Drop for ScriptShutdown {
    fn drop(&mut self) {
        self.tell("snakepit.script.shutdown.exit");
    }
}
