//! How a recorder is set up.

use crate::callsite::DEFAULT_MAX_CALLSITES;
use crate::control::PolicySpec;
use crate::queue::QueueLimits;
use crate::region::Layout;
use crate::sanitize::{Limits, Redactor};

/// What happens to a full queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new event is dropped as `queue_full`.
    #[default]
    DropNewest,
    /// The oldest events make room and are dropped as `evicted_oldest`.
    DropOldest,
}

/// How a [`Recorder`](crate::emit::Recorder) is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecorderConfig {
    /// Bounds of the queue.
    pub queue: QueueLimits,
    /// What a full queue does.
    pub overflow: Overflow,
    /// Limits of one event.
    pub limits: Limits,
    /// Which metadata values are secret.
    pub redactor: Redactor,
    /// The policy until a manager sends one.
    pub policy: PolicySpec,
    /// Names that are kept, up to [`MAX_CALLSITES`](crate::emit::MAX_CALLSITES); more are still recorded,
    /// at a higher cost each.
    pub max_callsites: usize,
}

impl RecorderConfig {
    /// The layout of the region of such a recorder.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.queue.layout(self.max_callsites)
    }
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            overflow: Overflow::default(),
            limits: Limits::default(),
            redactor: Redactor::default(),
            policy: PolicySpec::default(),
            max_callsites: DEFAULT_MAX_CALLSITES,
        }
    }
}
