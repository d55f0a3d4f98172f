//! A program that cannot run, seen from a thread that can.
//!
//! The program, or a thread that shares its fate, [beats](Heartbeat::beat) several times a second: it
//! stamps a word. The telemetry thread looks at the stamp. When it is old, and the telemetry thread itself
//! was not held up, `python.stall.started` says so while it lasts, and `python.stall.ended` how long it
//! was. This room knows nothing of Python: whatever cannot take a lock, or is stuck in a call, does not
//! beat.

mod busy;
mod thread;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_core::{
    ValueRef,
    emit::{Fields, OpenSpan, Recorder},
};

use busy::Busy;

pub use thread::thread_id;

/// How old a stamp may be.
pub const DEFAULT_STALL_LIMIT: Duration = Duration::from_millis(500);
/// Shortest such time; a shorter one is raised to it.
pub const MIN_STALL_LIMIT: Duration = Duration::from_millis(200);
/// Time between two beats.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Open spans that an event names.
const MAX_NAMED_SPANS: usize = 16;
/// Bytes of all their names, which is what the value of a metadata entry may have.
const MAX_NAMED_BYTES: usize = telemetry_core::catalog::MAX_VALUE_BYTES;
/// How much later than it should the watch may look, nanoseconds. If it is more, the whole process or
/// machine stood still, and the stamp says nothing.
const MAX_LATE: u64 = 250_000_000;

/// The word that a program stamps, and who looks at it.
#[derive(Debug)]
pub struct Heartbeat {
    /// Where events and reports go.
    recorder: Arc<Recorder>,
    /// How old a stamp may be, nanoseconds.
    limit: u64,
    /// When the last beat was, on the recorder's clock; 0 before the first one: nothing is watched yet.
    stamped: AtomicU64,
    /// Nobody is to beat, or watched, any more.
    ended: AtomicBool,
    /// What was seen.
    watch: Mutex<Watch>,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Watch {
    /// When it was looked last.
    looked: Option<u64>,
    /// Stamps older than this are as good as this: the process stood still until then.
    trusted_from: u64,
    /// Who was busy when the stamp began to be old.
    busy: Option<Busy>,
    /// The stall that lasts.
    stall: Option<Stall>,
}

/// A stall that lasts.
#[derive(Debug)]
struct Stall {
    /// The last stamp before it.
    since: u64,
    /// What was being done; empty if no span was open.
    operation: String,
    /// All that was being done.
    open_spans: String,
}

impl Heartbeat {
    /// Watches a program whose events go to `recorder`; it has stalled when it has not beaten for
    /// `limit`. Nothing is watched before the first beat.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>, limit: Duration) -> Self {
        Self {
            recorder,
            limit: nanos(limit.max(MIN_STALL_LIMIT)),
            stamped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            watch: Mutex::default(),
        }
    }

    /// The program runs. Returns whether it should beat again, [`BEAT_INTERVAL`] later.
    pub fn beat(&self) -> bool {
        let now = self.recorder.clock().monotonic_nanos().max(1);
        self.stamped.store(now, Ordering::Release);
        !self.ended.load(Ordering::Acquire)
    }

    /// The program runs, and will not beat any more. A stall that lasts is over.
    pub fn end(&self) {
        let mut watch = self.lock();
        if !self.ended.swap(true, Ordering::AcqRel)
            && let Some(stall) = watch.stall.take()
        {
            self.say_ended(&stall, self.recorder.clock().monotonic_nanos());
        }
    }

    /// Looks at the stamp until the end.
    pub(crate) async fn watched(self: Arc<Self>) {
        let period = Duration::from_nanos(self.period());
        self.look();
        while !self.ended.load(Ordering::Acquire) {
            tokio::time::sleep(period).await;
            self.look();
        }
    }

    /// Time between two looks, nanoseconds.
    fn period(&self) -> u64 {
        self.limit / 4
    }

    /// Looks at the stamp.
    fn look(&self) {
        let mut watch = self.lock();
        let stamped = self.stamped.load(Ordering::Acquire);
        let now = self.recorder.clock().monotonic_nanos();
        // Also before the first beat: the process may be stopped right after that.
        let before = watch.looked.replace(now).unwrap_or(now);
        if stamped == 0 || self.ended.load(Ordering::Acquire) {
            return;
        }
        if let Some(stall) = &watch.stall {
            if stamped > stall.since {
                self.say_ended(stall, stamped);
                watch.stall = None;
                watch.busy = None;
            } else {
                self.say_lasting(stall, now);
            }
            return;
        }
        let late = now.saturating_sub(before).saturating_sub(self.period());
        if late > MAX_LATE.min(self.limit / 2) {
            watch.trusted_from = now;
            watch.busy = None;
        }
        let since = stamped.max(watch.trusted_from);
        let age = now.saturating_sub(since);
        if age < self.period() {
            watch.busy = None;
        } else if age < self.limit {
            watch
                .busy
                .get_or_insert_with(|| Busy::now(&self.recorder.open_spans().list()));
        } else {
            let spans = self.recorder.open_spans().list();
            let innermost = watch.busy.take().map(|busy| busy.innermost(&spans));
            let innermost = innermost.unwrap_or_else(|| spans.first());
            let stall = Stall {
                since,
                operation: innermost.map_or_else(String::new, |span| span.operation.clone()),
                open_spans: named(&spans),
            };
            self.say_lasting(&stall, now);
            let system_time = self.recorder.clock().unix_nanos();
            let time = ("system_time", ValueRef::Int(system_time));
            self.emit("python.stall.started", time, &stall);
            watch.stall = Some(stall);
        }
    }

    /// Has reports say that the stall lasts.
    fn say_lasting(&self, stall: &Stall, now: u64) {
        let lasted = now.saturating_sub(stall.since) / 1_000_000;
        self.recorder.set_stalled_ms(lasted.max(1));
    }

    /// Says that a stall is over.
    fn say_ended(&self, stall: &Stall, now: u64) {
        self.recorder.set_stalled_ms(0);
        let lasted = i64::try_from(now.saturating_sub(stall.since)).unwrap_or(i64::MAX);
        let time = ("duration", ValueRef::Int(lasted));
        self.emit("python.stall.ended", time, stall);
    }

    /// Emits one of the two events.
    fn emit(&self, name: &str, time: (&str, ValueRef<'_>), stall: &Stall) {
        let Ok(site) = self.recorder.callsite(name) else {
            return;
        };
        let metadata = [
            ("operation", stall.operation.as_str()),
            ("open_spans", stall.open_spans.as_str()),
        ];
        // Without a span there is nothing to say of any.
        let said = if stall.open_spans.is_empty() { 0 } else { 2 };
        let fields = Fields {
            measurements: &[time],
            metadata: &metadata[..said],
            correlation_id: "",
            span: None,
            timestamp_ns: None,
        };
        self.recorder.record(&site, &fields);
    }

    /// What was seen so far.
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of spans, the latest first, as far as there is room for them.
fn named(spans: &[OpenSpan]) -> String {
    let mut names = String::new();
    for span in spans.iter().take(MAX_NAMED_SPANS) {
        let comma = if names.is_empty() { "" } else { "," };
        if names.len() + comma.len() + span.operation.len() > MAX_NAMED_BYTES {
            break;
        }
        names.push_str(comma);
        names.push_str(&span.operation);
    }
    names
}

/// A time in nanoseconds.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
