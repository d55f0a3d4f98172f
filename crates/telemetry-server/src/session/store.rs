//! Keeps the memory of workers where it outlives the manager, and takes it back.
//!
//! Who keeps it is the embedding program's choice; a service manager such as systemd holds descriptors
//! for a service between two of its lives. All that is kept beside the descriptor is a name, so that says
//! whose it is.

use std::fmt::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::accounts::Process;
use crate::identity::{WorkerContext, WorkerId};

/// Longest name that systemd takes.
const MAX_NAME_BYTES: usize = 255;
/// What names of regions begin with.
const MARK: &str = "telemetry";
/// Between the parts of a name.
const BETWEEN: char = '.';

/// Somebody who keeps descriptors beyond the life of this process.
///
/// Neither call may block for long. What cannot be kept is not an error: then less is known about a worker
/// that dies while no manager runs.
pub trait RegionStore: Send + Sync + fmt::Debug {
    /// Keeps a descriptor under a name of up to 255 printable ASCII characters without a colon. One that
    /// was kept under it before is to be let go.
    fn keep(&self, name: &str, region: BorrowedFd<'_>);

    /// Lets go what is kept under a name.
    fn forget(&self, name: &str);
}

/// The store of a manager.
#[derive(Debug)]
pub(crate) struct Shelf {
    store: Option<Arc<dyn RegionStore>>,
    /// The manager ends, and what is kept is for its successor.
    is_left: AtomicBool,
}

/// One that is kept; dropped, it is let go, unless it is for a successor.
#[derive(Debug)]
pub(crate) struct Kept {
    shelf: Arc<Shelf>,
    /// Under which name; none once it is let go.
    name: Option<String>,
}

impl Shelf {
    pub(crate) fn new(store: Option<Arc<dyn RegionStore>>) -> Arc<Self> {
        let is_left = AtomicBool::new(false);
        Arc::new(Self { store, is_left })
    }

    /// From now on nothing is let go.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Keeps the memory of a worker, if there is a store and a name for it.
    pub(super) fn keep(
        self: &Arc<Self>,
        context: &WorkerContext,
        process: Option<Process>,
        region: BorrowedFd<'_>,
    ) -> Option<Kept> {
        let store = self.store.as_ref()?;
        let name = name_of(context, process?)?;
        store.keep(&name, region);
        Some(self.kept(name))
    }

    /// What is kept under this name already.
    pub(crate) fn kept(self: &Arc<Self>, name: String) -> Kept {
        Kept {
            shelf: Arc::clone(self),
            name: Some(name),
        }
    }
}

impl Kept {
    /// Nobody needs it any more, a successor of the manager included.
    pub(super) fn let_go(&mut self) {
        if let Some(name) = self.name.take()
            && let Some(store) = &self.shelf.store
        {
            store.forget(&name);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.shelf.is_left.load(Ordering::Relaxed) {
            self.let_go();
        }
    }
}

/// The name under which a worker's memory is kept: its process, its id, its pool. None if that is too long.
fn name_of(context: &WorkerContext, process: Process) -> Option<String> {
    let mut name = format!(
        "{MARK}{BETWEEN}{}{BETWEEN}{}{BETWEEN}",
        process.pid(),
        process.began()
    );
    quote(&mut name, context.worker_id.as_str());
    if let Some(pool) = &context.pool_name {
        name.push(BETWEEN);
        quote(&mut name, pool);
    }
    let fits = name.len() <= MAX_NAME_BYTES;
    if !fits {
        tracing::debug!(worker = %context.worker_id, "its names are too long to keep its memory");
    }
    fits.then_some(name)
}

/// Whose memory is kept under a name; `None` if it is something else.
pub(crate) fn read_name(name: &str) -> Option<(WorkerContext, Process)> {
    let mut parts = name.split(BETWEEN);
    if parts.next()? != MARK {
        return None;
    }
    let process = Process::known(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let mut context = WorkerContext::new(WorkerId::from(unquote(parts.next()?)?));
    context.pool_name = match parts.next() {
        Some(pool) => Some(unquote(pool)?),
        None => None,
    };
    parts.next().is_none().then_some((context, process))
}

/// Adds a text, all but letters, digits and two signs written as their numbers.
fn quote(name: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => name.push(char::from(byte)),
            // A string takes everything.
            other => drop(write!(name, "%{other:02x}")),
        }
    }
}

fn unquote(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_whatever_that_is_called() {
        for (worker, pool) in [
            ("w-1", None),
            ("a.b:c%d/7", Some("p 1")),
            ("wörker", Some("")),
        ] {
            let mut context = WorkerContext::new(worker);
            context.pool_name = pool.map(str::to_owned);
            let name = name_of(&context, Process::known(7, 99)).expect("short");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
            assert!(!name.contains(':'), "{name}");
            let read = read_name(&name).expect("one of ours");
            assert_eq!(read, (context, Process::known(7, 99)));
        }
    }

    #[test]
    fn what_is_too_long_has_none_and_other_names_are_nobodys() {
        let context = WorkerContext::new("ö".repeat(64));
        assert_eq!(name_of(&context, Process::known(7, 99)), None);
        for other in [
            "",
            "telemetry",
            "http.1.2.w",
            "telemetry.x.2.w",
            "telemetry.1.2.%f",
            "telemetry.1.2.w.p.more",
        ] {
            assert_eq!(read_name(other), None, "{other}");
        }
    }
}
