//! Attaching: what a handler must bring, and how it gets its place and its thread.
//!
//! The only place that makes entries of the table. It checks ids and patterns; it never calls a
//! handler.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use telemetry_core::catalog::{Catalog, Pattern, PatternError, nearest};
use thiserror::Error;

use super::handler::Handler;
use super::queued::{MAX_HANDLER_QUEUE, Queue, QueuedConfig};
use super::table::{Contained, Entry, Inline, Kind};
use super::{Dispatcher, Level};

/// Why a handler was not attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// A handler of this id is attached.
    #[error("a handler with the id {id:?} is already attached; detach it first or use another id")]
    AlreadyExists {
        /// The id.
        id: String,
    },
    /// There is no pattern, so the handler would never be called.
    #[error("handler {id:?} has no pattern; write `*` to attach to every event")]
    NoPattern {
        /// The id of the handler.
        id: String,
    },
    /// A pattern is no valid glob.
    #[error("handler {id:?}: {source}")]
    Pattern {
        /// The id of the handler.
        id: String,
        /// What is wrong with the pattern.
        source: PatternError,
    },
    /// A pattern is the exact name of an event that the catalog does not have, and that looks like one which it
    /// has, or that no worker could send. A glob that matches nothing is no error.
    #[error(
        "handler {id:?}: the catalog has no event {name:?}{}",
        did_you_mean(suggestion)
    )]
    UnknownEvent {
        /// The id of the handler.
        id: String,
        /// The name.
        name: String,
        /// The event that was probably meant.
        suggestion: Option<String>,
    },
    /// The queue of a queued handler has an impossible size.
    #[error(
        "handler {id:?}: a queue of {capacity} events is not possible; 1 to {MAX_HANDLER_QUEUE} are \
         allowed"
    )]
    Capacity {
        /// The id of the handler.
        id: String,
        /// The capacity asked for.
        capacity: usize,
    },
    /// The system gave no thread for a queued handler.
    #[error("handler {id:?}: the system gave no thread: {source}")]
    Thread {
        /// The id of the handler.
        id: String,
        /// What the system said.
        source: io::Error,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

impl Dispatcher {
    /// Attaches an inline handler to the events that `pattern` covers (`snakepit.python.call.*`).
    ///
    /// It runs on whoever dispatches, mostly the task of one worker's stream, and several may be
    /// inside it at once: for quick handlers that never block. One that blocks holds up its runtime
    /// thread, and with it perhaps every other stream; such a handler belongs into
    /// [`attach_queued`](Self::attach_queued).
    ///
    /// # Errors
    ///
    /// [`AttachError`]; nothing is attached then.
    pub fn attach(
        &self,
        id: &str,
        pattern: &str,
        handler: impl Handler + 'static,
    ) -> Result<(), AttachError> {
        self.attach_many(id, &[pattern], handler)
    }

    /// As [`attach`](Self::attach), for several patterns. An event that several of them cover is
    /// handled once.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; nothing is attached then.
    pub fn attach_many(
        &self,
        id: &str,
        patterns: &[&str],
        handler: impl Handler + 'static,
    ) -> Result<(), AttachError> {
        let patterns = compile(id, patterns, self.catalog())?;
        self.attach_compiled(id, patterns, handler)
    }

    /// As [`attach_many`](Self::attach_many), whether or not the catalog has what the patterns say.
    pub(crate) fn attach_compiled(
        &self,
        id: &str,
        patterns: Vec<Pattern>,
        handler: impl Handler + 'static,
    ) -> Result<(), AttachError> {
        let kind = Kind::Inline(Inline::new(Contained::new(handler)));
        self.insert(id, patterns, kind).map(drop)
    }

    /// Attaches a handler with a thread and a bounded queue of its own: for anything that may block.
    ///
    /// Events are copied into the queue; when it is full the newest is dropped and counted as
    /// `queue_full`. However slow the handler is, no dispatcher and no other handler waits for it.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; nothing is attached then, and no thread is left.
    pub fn attach_queued(
        &self,
        id: &str,
        patterns: &[&str],
        handler: impl Handler + 'static,
        config: QueuedConfig,
    ) -> Result<(), AttachError> {
        let patterns = compile(id, patterns, self.catalog())?;
        let capacity = config.capacity;
        if !(1..=MAX_HANDLER_QUEUE).contains(&capacity) {
            return Err(AttachError::Capacity {
                id: id.to_owned(),
                capacity,
            });
        }
        let queue = Queue::new(config);
        let entry = self.insert(id, patterns, Kind::Queued(Arc::clone(&queue)))?;

        // The thread holds the dispatcher weakly: a handler must not keep it alive.
        let shared = Arc::downgrade(&self.shared);
        let catalog = Arc::clone(self.catalog());
        let owner = Arc::downgrade(&entry);
        let handler = Contained::new(handler);
        let run = move || {
            queue.run(handler.get(), &catalog, |failure| {
                let (Some(shared), Some(entry)) = (shared.upgrade(), owner.upgrade()) else {
                    return;
                };
                if shared.remove(&entry) {
                    let _level = Level::enter();
                    shared.report(vec![(entry, failure)]);
                }
            });
        };
        match thread::Builder::new()
            .name("tlm-handler".to_owned())
            .spawn(run)
        {
            Ok(_) => Ok(()),
            Err(source) => {
                self.shared.remove(&entry);
                if let Kind::Queued(queue) = &entry.kind {
                    queue.wait(Instant::now());
                }
                Err(AttachError::Thread {
                    id: id.to_owned(),
                    source,
                })
            }
        }
    }

    fn insert(
        &self,
        id: &str,
        patterns: Vec<Pattern>,
        kind: Kind,
    ) -> Result<Arc<Entry>, AttachError> {
        let attached_at = self.clock().monotonic_nanos();
        let entry = Arc::new(Entry::new(
            id.into(),
            patterns,
            self.catalog(),
            attached_at,
            kind,
        ));
        let inserted = self.shared.replace(|entries| {
            let free = !entries
                .iter()
                .any(|other| &*other.id == id && !other.is_gone());
            if free {
                entries.push(Arc::clone(&entry));
            }
            free
        });
        if inserted {
            Ok(entry)
        } else {
            Err(AttachError::AlreadyExists { id: id.to_owned() })
        }
    }
}

fn compile(id: &str, patterns: &[&str], catalog: &Catalog) -> Result<Vec<Pattern>, AttachError> {
    if patterns.is_empty() {
        return Err(AttachError::NoPattern { id: id.to_owned() });
    }
    let one = |pattern: &&str| {
        if !pattern.is_empty() && Pattern::is_exact(pattern) && catalog.by_name(pattern).is_none() {
            let suggestion = suggest(pattern, catalog);
            let own = pattern.strip_prefix("snakepit.python.");
            let is_own = own.is_some_and(|wire_name| catalog.learned(wire_name).is_some());
            if suggestion.is_some() || !is_own {
                let (id, name) = (id.to_owned(), (*pattern).to_owned());
                return Err(AttachError::UnknownEvent {
                    id,
                    name,
                    suggestion,
                });
            }
        }
        Pattern::new(pattern).map_err(|source| AttachError::Pattern {
            id: id.to_owned(),
            source,
        })
    };
    patterns.iter().map(one).collect()
}

/// The event that `name` was probably meant to be: a wire name or a path given instead of the event
/// name, or the nearest one.
pub(super) fn suggest(name: &str, catalog: &Catalog) -> Option<String> {
    let by_habit = catalog
        .by_wire_name(name)
        .or_else(|| catalog.events().iter().find(|event| event.path() == name));
    if let Some(event) = by_habit {
        return Some(event.name.to_string());
    }
    let known = catalog.events().iter().map(|event| &*event.name);
    nearest(name, known).map(str::to_owned)
}
