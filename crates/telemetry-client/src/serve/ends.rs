//! Turns the clock of rules: those that end by themselves do so when it is time, whether the manager is there
//! or not.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;

use telemetry_core::emit::Recorder;
use tokio::time::{Instant, sleep};

/// Longest time between two looks at the clock while a rule is to end: timers stand still while the machine is
/// suspended, and that clock does not.
const LOOK: Duration = Duration::from_secs(1);

/// Turns the clock of a recorder's rules as long as there is one. Waits without a timer as long as no rule is
/// to end. Must be spawned within a tokio runtime.
pub(super) async fn end_rules(recorder: Weak<Recorder>) {
    let mut timer = pin!(sleep(Duration::ZERO));
    let turning = poll_fn(|cx| {
        loop {
            let recorder: Option<Arc<Recorder>> = recorder.upgrade();
            let Some(recorder) = recorder else {
                return Poll::Ready(());
            };
            let Some(left) = recorder.turn_rules(cx.waker()) else {
                return Poll::Pending;
            };
            timer.as_mut().reset(Instant::now() + left.min(LOOK));
            ready!(timer.as_mut().poll(cx));
        }
    });
    turning.await;
}
