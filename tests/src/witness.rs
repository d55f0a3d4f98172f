//! A handler that remembers: it keeps every event it is called with and lets a test wait for them.
//!
//! It never forgets and never drops, so what it has not seen was not dispatched to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_core::{Event, EventRef};
use tokio::sync::Notify;

use crate::patience::within;

/// Everything that was dispatched to one handler. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<Event>>,
    arrived: Notify,
}

impl Witness {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handler to attach.
    pub fn handler(&self) -> impl Fn(&EventRef<'_>) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |event| {
            shared.lock().push(event.to_owned());
            shared.arrived.notify_waiters();
        }
    }

    /// All events so far, in the order of their calls.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().clone()
    }

    /// How many events there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.lock().len() as u64
    }

    /// How many events there are of one name.
    #[must_use]
    pub fn count_of(&self, name: &str) -> u64 {
        self.shared
            .lock()
            .iter()
            .filter(|event| &*event.name == name)
            .count() as u64
    }

    /// How many events there are of each name.
    #[must_use]
    pub fn count_by_name(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for event in self.shared.lock().iter() {
            *counts.entry(event.name.to_string()).or_default() += 1;
        }
        counts
    }

    /// What `look` finds in the events, once it finds something.
    ///
    /// # Panics
    ///
    /// When it takes too long; says `what` never came and which events did.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&[Event]) -> Option<T>) -> T {
        let found = async {
            loop {
                let arrived = self.shared.arrived.notified();
                tokio::pin!(arrived);
                // Registered before the look: what comes after it wakes us.
                arrived.as_mut().enable();
                if let Some(found) = look(&self.shared.lock()) {
                    return found;
                }
                arrived.await;
            }
        };
        within(
            &format!("{what}; see the events with `count_by_name`"),
            found,
        )
        .await
    }

    /// Waits until there are `count` events.
    pub async fn until_count(&self, count: u64) {
        let look = |events: &[Event]| (events.len() as u64 >= count).then_some(());
        self.until(&format!("{count} events"), look).await;
    }

    /// Waits for the first event of this name and returns it.
    pub async fn until_named(&self, name: &str) -> Event {
        let look = |events: &[Event]| events.iter().find(|event| &*event.name == name).cloned();
        self.until(&format!("an event {name}"), look).await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
