//! One caller's own way to the handlers, for those that dispatch many events in a row.
//!
//! What every dispatch needs is fetched once for the row: the table of handlers, and a cell of each
//! handler's counter that nobody else writes. Whether the table is still the newest is asked for
//! each event. This room decides nothing about dispatching; it hands over to `Shared`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use telemetry_core::EventRef;

use super::table::{Entry, Table};
use super::tally::{Cell, Tally};
use super::{Dispatcher, Level};

/// Which handlers get the events of one name that no catalog has.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// The version of the table in which they have these places.
    version: Option<u64>,
    places: Vec<usize>,
}

impl Matched {
    /// The handlers in `table` that get events of this name, which is always the same one.
    fn handlers<'t>(
        &mut self,
        table: &'t Table,
        version: u64,
        name: &str,
    ) -> impl Iterator<Item = &'t Arc<Entry>> {
        if self.version != Some(version) {
            self.version = Some(version);
            self.places.clear();
            let entries = table.entries().iter().enumerate();
            let covering = entries.filter(|(_, entry)| entry.covers(name));
            self.places.extend(covering.map(|(place, _)| place));
        }
        self.places
            .iter()
            .filter_map(|place| table.entries().get(*place))
    }
}

/// A way to the handlers of one dispatcher, used by one caller at a time.
pub(crate) struct Lane {
    dispatcher: Dispatcher,
    /// The table and its version, while events follow one another. Not kept for longer: it holds
    /// handlers that were detached, and their destructors must not wait for a quiet worker.
    table: Option<(u64, Arc<Table>)>,
    /// Our cells in the counters of the handlers called so far.
    cells: Vec<(Weak<Entry>, Cell)>,
}

impl Lane {
    pub(crate) fn new(dispatcher: Dispatcher) -> Self {
        Self {
            dispatcher,
            table: None,
            cells: Vec::new(),
        }
    }

    pub(crate) fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// As [`Dispatcher::execute`].
    #[inline]
    pub(crate) fn execute(&mut self, event: &EventRef<'_>) {
        self.offer(event, None);
    }

    /// As [`execute`](Self::execute), of an event that the catalog does not have: `matched` is what was
    /// found out before about its name.
    #[inline(never)]
    pub(crate) fn execute_matched(&mut self, event: &EventRef<'_>, matched: &mut Matched) {
        self.offer(event, Some(matched));
    }

    #[inline(always)]
    fn offer(&mut self, event: &EventRef<'_>, matched: Option<&mut Matched>) {
        let shared = &*self.dispatcher.shared;
        let Some(_level) = Level::enter() else {
            shared.count_too_deep();
            return;
        };
        let version = shared.version.load(Ordering::Acquire);
        let table = match &mut self.table {
            Some((known, table)) if *known == version => table,
            stale => {
                // The version was read before: the table is this one or a newer one.
                let table = shared.table.load_full();
                self.cells.retain(|(entry, _)| entry.strong_count() > 0);
                &mut stale.insert((version, table)).1
            }
        };
        let mut failed = Vec::new();
        let cells = &mut self.cells;
        let mut count = |entry: &Arc<Entry>, tally: &Tally| {
            let mine = cells
                .iter_mut()
                .find(|(owner, _)| owner.as_ptr() == Arc::as_ptr(entry));
            match mine {
                Some((_, cell)) => cell.add_one(),
                None => {
                    let mut cell = tally.cell();
                    cell.add_one();
                    cells.push((Arc::downgrade(entry), cell));
                }
            }
        };
        match matched {
            None => shared.offer(table, event, &mut failed, count),
            Some(matched) => {
                for entry in matched.handlers(table, version, event.name()) {
                    shared.offer_to(entry, event, &mut failed, &mut count);
                }
            }
        }
        if !failed.is_empty() {
            shared.report(failed);
        }
    }

    /// Lets go of what is kept only while events follow one another.
    #[inline]
    pub(crate) fn rest(&mut self) {
        self.table = None;
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("dispatcher", &self.dispatcher)
            .finish_non_exhaustive()
    }
}
