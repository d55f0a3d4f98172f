//! The events of one directory that its subscriber has not asked for yet. Bounded: when they grow too
//! many they become one "look again".

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::DirEvent;

/// Most events that wait for one subscriber.
const MAX_WAITING: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Wakes the subscriber; keeps one call for who is not waiting yet.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<DirEvent>,
    /// Files of which a write is among them.
    written: HashSet<OsString>,
}

impl Outbox {
    /// Adds an event.
    pub(super) fn push(&self, event: DirEvent) {
        let mut waiting = self.lock();
        if let DirEvent::Written(name) = &event
            && !waiting.written.insert(name.clone())
        {
            return;
        }
        if event == DirEvent::LookAgain || waiting.events.len() >= MAX_WAITING {
            // Whoever looks at everything sees what these were about.
            waiting.events.clear();
            waiting.written.clear();
            waiting.events.push_back(DirEvent::LookAgain);
        } else {
            waiting.events.push_back(event);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// The oldest event.
    pub(super) fn try_next(&self) -> Option<DirEvent> {
        let mut waiting = self.lock();
        let event = waiting.events.pop_front()?;
        if let DirEvent::Written(name) = &event {
            waiting.written.remove(name);
        }
        Some(event)
    }

    /// Waits for it.
    pub(super) async fn next(&self) -> DirEvent {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.wake.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_to_one_file_are_one_event_until_it_is_asked_for() {
        let outbox = Outbox::default();
        let written = || DirEvent::Written("a".into());
        outbox.push(written());
        outbox.push(written());
        assert_eq!(outbox.try_next(), Some(written()));
        assert_eq!(outbox.try_next(), None);
        outbox.push(written());
        assert_eq!(outbox.try_next(), Some(written()));
    }

    #[test]
    fn too_many_events_become_one_look() {
        let outbox = Outbox::default();
        for number in 0..=MAX_WAITING {
            outbox.push(DirEvent::Appeared(number.to_string().into()));
        }
        assert_eq!(outbox.try_next(), Some(DirEvent::LookAgain));
        assert_eq!(outbox.try_next(), None);
    }
}
