//! Where managers sit: an address each, behind which there is a manager, another one later, or somebody else.

mod hall;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_core::{Address, Clock, EventRef, Source, ValueRef, catalog::Catalog};
use telemetry_server::{
    ControlRefused, Manager, ManagerConfig, Target, Totals, WorkerContext, WorkerId,
    dispatch::Dispatcher,
};

use crate::plan::{Shape, Way, Wish};
use crate::truth::Truth;
pub(crate) use hall::{Guest, Hall};

/// What handlers are called with.
const HANDLED: &str = "snakepit.python.tool.execution.*";

/// One manager, from its begin to its end.
#[derive(Debug)]
pub(crate) struct Reign {
    /// Which of all managers it is.
    pub(crate) number: usize,
    pub(crate) manager: Manager,
    /// The sums when they were looked at last.
    pub(crate) before: Totals,
    /// It is no more: what is handled from now on is handled by nobody.
    is_dead: Arc<AtomicBool>,
}

impl Reign {
    /// Begins a manager.
    ///
    /// # Errors
    ///
    /// What the code under test says of it.
    pub(crate) fn begin(
        number: usize,
        seat: usize,
        shape: &Shape,
        clock: Arc<dyn Clock>,
        truth: &Truth,
    ) -> Result<Self, String> {
        let source = Source::of_node("node");
        let dispatcher = Dispatcher::new(Arc::clone(Catalog::builtin()), source, clock);
        let is_dead = Arc::<AtomicBool>::default();
        let handler = {
            let (truth, is_dead) = (truth.clone(), Arc::clone(&is_dead));
            move |event: &EventRef<'_>| {
                let event = match event.measurement("count") {
                    Some(ValueRef::Int(event)) => Some(event.cast_unsigned()),
                    _ => None,
                };
                if !is_dead.load(Ordering::Relaxed) {
                    truth.handled(number, event);
                }
            }
        };
        let attached = dispatcher.attach("truth", HANDLED, handler);
        attached.map_err(|error| error.to_string())?;
        let mut config = ManagerConfig::with_dispatcher("node", dispatcher);
        config.manager_id = format!("manager {number}");
        let manager = Manager::start(config).map_err(|error| error.to_string())?;
        for slot in (0..shape.slots).filter(|_| shape.way != Way::In) {
            let context = WorkerContext::new(WorkerId::from(format!("w{slot}")));
            let address = Address::Tcp(dialled_at(slot, seat));
            let registered = manager.register_worker(address, context);
            registered.map_err(|error| error.to_string())?;
        }
        Ok(Self {
            number,
            manager,
            before: Totals::default(),
            is_dead,
        })
    }

    /// From now on it is dead.
    pub(crate) fn die(self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// It wants something else of all workers.
    ///
    /// # Errors
    ///
    /// What the code under test says of it.
    pub(crate) fn wish(&self, wish: Wish) -> Result<(), ControlRefused> {
        self.manager.toggle(Target::All, wish != Wish::Nothing)?;
        let rate = if wish == Wish::Half { 0.5 } else { 1.0 };
        self.manager.update_sampling(Target::All, rate, &[])?;
        let deny: &[String] = match wish {
            Wish::Denied => &["*.start".to_owned()],
            _ => &[],
        };
        self.manager.update_filter(Target::All, &[], deny)?;
        Ok(())
    }
}

/// Where a worker is dialled from a seat.
#[must_use]
pub(crate) fn dialled_at(slot: usize, seat: usize) -> SocketAddr {
    let port = u16::try_from(1_000 + seat * 100 + slot).unwrap_or(1);
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
