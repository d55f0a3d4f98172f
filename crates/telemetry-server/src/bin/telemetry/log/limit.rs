//! A rate limit for each message of the log: what repeats itself is said a few times and then
//! counted.
//!
//! A message is a place in the source, whatever its fields say. Places are few and fixed, so the table
//! of them is bounded.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Target of exported events.
pub(super) const EVENTS: &str = "telemetry::event";
/// What has a bound of its own, or is said once for each of several things.
const UNLIMITED: [&str; 3] = [EVENTS, "telemetry::ledger", "telemetry::log"];
/// Lines of one message within [`WINDOW`].
const LINES: u64 = 10;
/// Time after which a message may be said again.
const WINDOW: Duration = Duration::from_secs(10);
/// How often to look whether there is something to tell.
const LOOK: Duration = Duration::from_secs(1);
/// Characters that are kept of a suppressed message.
const MAX_MESSAGE_CHARS: usize = 200;

/// Keeps events from the layers above it that repeat themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit {
    windows: Arc<Mutex<HashMap<Identifier, Window>>>,
}

/// What was said of one message lately.
#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u64,
    /// The message whose further lines were suppressed.
    suppressed: Option<Suppressed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Suppressed {
    level: Level,
    target: &'static str,
    lines: u64,
    /// How the first of them began.
    message: String,
}

impl Limit {
    fn windows(&self) -> MutexGuard<'_, HashMap<Identifier, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this event may be said at `now`.
    fn allows(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if UNLIMITED.contains(&metadata.target()) {
            return true;
        }
        let mut windows = self.windows();
        let window = windows.entry(metadata.callsite()).or_insert(Window {
            began: now,
            lines: 0,
            suppressed: None,
        });
        // A window in which something was suppressed lasts until that was told.
        if window.suppressed.is_none() && now.duration_since(window.began) >= WINDOW {
            window.began = now;
            window.lines = 0;
        }
        if window.lines < LINES {
            window.lines += 1;
            return true;
        }
        let suppressed = window.suppressed.get_or_insert_with(|| Suppressed {
            level: *metadata.level(),
            target: metadata.target(),
            lines: 0,
            message: message(event),
        });
        suppressed.lines += 1;
        false
    }

    /// What was suppressed in windows that are over at `now`; they begin anew.
    fn over(&self, now: Instant, all: bool) -> Vec<Suppressed> {
        let mut told = Vec::new();
        for window in self.windows().values_mut() {
            if all || now.duration_since(window.began) >= WINDOW {
                window.began = now;
                window.lines = 0;
                told.extend(mem::take(&mut window.suppressed));
            }
        }
        told
    }

    /// Tells what was suppressed, each message when its window is over, for as long as it is polled.
    pub(super) async fn keep_telling(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.over(Instant::now(), false).iter().for_each(tell);
        }
    }

    /// Tells what was suppressed so far.
    pub(super) fn tell_all(&self) {
        self.over(Instant::now(), true).iter().for_each(tell);
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        self.allows(event, Instant::now())
    }
}

/// As loud as what was suppressed, but no quieter than `info`.
fn tell(suppressed: &Suppressed) {
    let Suppressed {
        level,
        target: of,
        lines,
        message,
    } = suppressed;
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(
                target: "telemetry::log",
                $level,
                of,
                "suppressed {lines} more lines like: {message}"
            )
        };
    }
    match *level {
        Level::ERROR => say!(Level::ERROR),
        Level::WARN => say!(Level::WARN),
        _ => say!(Level::INFO),
    }
}

/// How an event's message begins.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                // Writing to a string does not fail.
                let _written = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    if let Some((end, _)) = message.0.char_indices().nth(MAX_MESSAGE_CHARS) {
        message.0.truncate(end);
    }
    message.0
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Counts what gets through, and when it is said to be.
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
    }

    #[test]
    fn what_repeats_itself_is_said_ten_times_and_then_counted() {
        let (limit, seen) = (Limit::default(), Arc::<Mutex<Vec<_>>>::default());
        let subscriber = tracing_subscriber::registry()
            .with(limit.clone())
            .with(Seen(Arc::clone(&seen)));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..25 {
                tracing::warn!(target: "again", n, "again and again");
                tracing::info!(target: "telemetry::event", "each is one");
            }
            tracing::warn!(target: "again", "another message of that target");
            let count = |target| {
                seen.lock()
                    .unwrap()
                    .iter()
                    .filter(|s| **s == target)
                    .count()
            };
            assert_eq!((count("again"), count("telemetry::event")), (11, 25));

            let now = Instant::now();
            assert!(limit.over(now, false).is_empty(), "its window is not over");
            let told = limit.over(now + WINDOW, false);
            let expected = Suppressed {
                level: Level::WARN,
                target: "again",
                lines: 15,
                message: "again and again".into(),
            };
            assert_eq!(told, [expected]);
            assert!(limit.over(now + WINDOW, true).is_empty(), "told twice");
        });
    }
}
