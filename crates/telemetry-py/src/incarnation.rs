//! What one process has and a forked child must not touch: recorder, resolved names, and what runs.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use telemetry_client::backend::Backend;
use telemetry_client::region::{RegionKind, SharedRegion};
use telemetry_client::{ResourceError, ResourceSampler, Sampling, Telemetry};
use telemetry_core::{
    catalog::{NameError, Redactor},
    emit::{Callsite, Recorder},
    ledger::WorkerSnapshot,
};

use crate::fork;
use crate::identity::ByIdentity;
use crate::past::Past;
use crate::service::{Ask, Service, SignalsMasked, Source, sibling};
use crate::settings::{ForkMode, NoRecorder, Settings};

/// Operations whose three event names are kept resolved; more are resolved for each span.
const MAX_SPAN_SITES: usize = 1_024;
/// How long a thread waits before it looks whether another one has started the service.
const START_INTERVAL: Duration = Duration::from_millis(1);

/// What one process has and a forked child must not touch.
#[derive(Debug)]
pub(crate) struct Incarnation {
    /// [`fork::generation`] of the process it belongs to.
    generation: u64,
    /// How it was set up; a child is set up in the same way. Replaced by `configure`.
    settings: ArcSwap<Settings>,
    /// Of the settings, what each event in a span asks for.
    ids_in_metadata: AtomicBool,
    /// Queue, policy and ledger.
    pub(crate) recorder: Arc<Recorder>,
    /// Where that lies, if it can outlive the process.
    region: Option<Arc<SharedRegion>>,
    /// Which values are hidden from backends that are Python objects; the recorder has its own.
    pub(crate) redactor: Redactor,
    /// Callsites by the objects that name them.
    pub(crate) callsites: ByIdentity<Arc<Callsite>>,
    /// Events of spans by the objects that name their operations.
    pub(crate) operations: ByIdentity<Arc<SpanSites>>,
    /// The resolved names of spans.
    span_sites: Mutex<FxHashMap<Box<str>, Arc<SpanSites>>>,
    /// What runs.
    service: Mutex<Option<Arc<Service>>>,
    /// Whether that was done.
    ended: AtomicBool,
    /// Held by the thread that ends it: a second one waits, or it would take from the first what is
    /// still to be sent.
    ending: Mutex<()>,
    /// Whether a thread is about to start what runs.
    starting: AtomicBool,
    /// Samples memory and CPU, if it should.
    sampler: Mutex<Option<ResourceSampler>>,
    /// What the program wants sampled, whatever the environment says; a child wants the same.
    sampling: Mutex<Option<Sampling>>,
    /// The last exception of a backend, as one line.
    last_error: Mutex<Option<String>>,
    /// What it, or the process it was forked from, was asked to run first; set once and then only read,
    /// as in a child.
    asked: OnceLock<Ask>,
    /// What is to be done when the first event comes.
    due: Mutex<Option<Due>>,
    /// Those before it in this process.
    past: Past,
}

/// What is to be done when the first event comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// This is started: the process is a fork of one that has it.
    Start(Ask),
    /// It is said that a fork of a process that serves has nobody to send to.
    SayInherited,
    /// It is said that a manager is named and nothing was started.
    SayNotStarted,
}

/// The events of a span.
#[derive(Debug)]
pub(crate) struct SpanSites {
    /// `{operation}.start`
    pub(crate) start: Arc<Callsite>,
    /// `{operation}.stop`
    pub(crate) stop: Arc<Callsite>,
    /// `{operation}.exception`
    pub(crate) exception: Arc<Callsite>,
}

/// What became of a wish to have something run.
#[derive(Debug)]
pub(crate) enum Found {
    /// Something runs, what was asked for or something else.
    Running(Arc<Service>),
    /// This thread, and no other, is to start it.
    Mine(Starting),
}

/// The right to start what runs; one thread has it at a time.
#[derive(Debug)]
pub(crate) struct Starting(Arc<Incarnation>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.starting.store(false, Ordering::Release);
    }
}

impl Incarnation {
    /// An incarnation for this process.
    pub(crate) fn new(settings: Settings) -> Result<Self, NoRecorder> {
        let (recorder, region) = settings.recorder()?;
        recorder.set_started(false);
        Ok(Self::around(Arc::new(recorder), region, settings))
    }

    /// An incarnation with a recorder of this process.
    fn around(
        recorder: Arc<Recorder>,
        region: Option<Arc<SharedRegion>>,
        settings: Settings,
    ) -> Self {
        fork::watch();
        Self {
            generation: fork::generation(),
            recorder,
            region,
            ids_in_metadata: AtomicBool::new(settings.ids_in_metadata),
            settings: ArcSwap::from_pointee(settings),
            redactor: Redactor::default(),
            callsites: ByIdentity::default(),
            operations: ByIdentity::default(),
            span_sites: Mutex::default(),
            service: Mutex::default(),
            ended: AtomicBool::new(false),
            ending: Mutex::default(),
            starting: AtomicBool::new(false),
            sampler: Mutex::default(),
            sampling: Mutex::default(),
            last_error: Mutex::default(),
            asked: OnceLock::new(),
            due: Mutex::default(),
            past: Past::default(),
        }
    }

    /// One that comes after this, which was ended, in the same process: the ledger goes on.
    pub(crate) fn successor(&self, settings: Settings) -> Result<Self, NoRecorder> {
        let mut next = Self::new(settings)?;
        next.past = self.past.clone();
        self.past.add(&self.recorder);
        *locked(&next.sampling) = *locked(&self.sampling);
        Ok(next)
    }

    /// The same for its own recorder, which had nothing to send to yet.
    pub(crate) fn settled(&self, settings: Settings) -> Self {
        let recorder = Arc::clone(&self.recorder);
        let mut settled = Self::around(recorder, self.region.clone(), settings);
        settled.past = self.past.clone();
        *locked(&settled.sampling) = *locked(&self.sampling);
        settled
    }

    /// Where its events come from, for what is about to run. For a connection they are made to outlive the
    /// process before that.
    pub(crate) fn source(&self, _attached: Python<'_>, ask: &Ask) -> Source<'_> {
        // Whoever records here is attached, and nothing takes events out yet; who ends it has the lock.
        if let (Ask::Connect(_), Some(region)) = (ask, &self.region)
            && let Ok(_not_ending) = self.ending.try_lock()
        {
            region.move_in();
        }
        Source {
            recorder: &self.recorder,
            region: self.region.as_ref(),
        }
    }

    /// Where its events lie, as a manager has it that connects from now on.
    pub(crate) fn region(&self) -> RegionKind {
        match (self.service(), &self.region) {
            (Some(service), _) => service.region(),
            (None, Some(region)) => region.kind(),
            (None, None) => RegionKind::Heap,
        }
    }

    /// The ledger of this process: this one's and that of those before.
    pub(crate) fn ledger(&self) -> WorkerSnapshot {
        let mut ledger = self.past.sum();
        ledger.merge(&self.recorder.snapshot());
        ledger
    }

    /// The child's counterpart of its parent's, which this one is.
    pub(crate) fn for_child(&self) -> Result<Self, NoRecorder> {
        let child = Self::new(Settings::clone(&self.settings()))?;
        *locked(&child.sampling) = *locked(&self.sampling);
        // One that was ended has nothing to hand down. The inherited recorder knows nothing of that any more.
        let asked = self.asked.get().filter(|_| !self.is_ended());
        if let Some(asked) = asked {
            let due = self.due_in_child(asked);
            if due == Some(Due::SayInherited) {
                child.recorder.set_inherited();
            }
            *locked(&child.due) = due;
            let _just_made = child.asked.set(asked.clone());
        }
        Ok(child)
    }

    /// What a child does at its first event, of one that was asked for this.
    fn due_in_child(&self, asked: &Ask) -> Option<Due> {
        let settings = self.settings();
        let managers = &settings.config.managers;
        match (settings.on_fork, asked) {
            (ForkMode::Reset | ForkMode::Disable, _) => None,
            (_, Ask::Connect(_)) => Some(Due::Start(asked.clone())),
            (_, Ask::Serve(_)) if !managers.is_empty() => {
                Some(Due::Start(Ask::Connect(managers.clone())))
            }
            (ForkMode::Restart, Ask::Serve(address)) => {
                Some(Due::Start(Ask::Serve(address.as_ref().map(sibling))))
            }
            (ForkMode::Unsaid, Ask::Serve(_)) => Some(Due::SayInherited),
        }
    }

    /// How it is set up.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Sets it up differently from now on; what is made already stays as it is.
    pub(crate) fn set_settings(&self, settings: Settings) {
        let ids_in_metadata = settings.ids_in_metadata;
        self.settings.store(Arc::new(settings));
        self.ids_in_metadata
            .store(ids_in_metadata, Ordering::Relaxed);
    }

    /// Whether the ids of a span are metadata of its events, too.
    #[inline]
    pub(crate) fn ids_in_metadata(&self) -> bool {
        self.ids_in_metadata.load(Ordering::Relaxed)
    }

    /// Whether it belongs to an ancestor of this process; then only its settings may be read.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Whether something is to be done when the first event comes.
    pub(crate) fn is_due(&self) -> bool {
        locked(&self.due).is_some()
    }

    /// Has something done when the first event comes.
    pub(crate) fn set_due(&self, due: Due) {
        *locked(&self.due) = Some(due);
    }

    /// What is to be done, which is left to the caller.
    pub(crate) fn take_due(&self) -> Option<Due> {
        locked(&self.due).take()
    }

    /// What runs. Not to be asked of an inherited one.
    pub(crate) fn service(&self) -> Option<Arc<Service>> {
        locked(&self.service).clone()
    }

    /// What runs, or the right to start it. Waits while another thread is at it, which takes no longer
    /// than to bind a socket and start a thread.
    pub(crate) fn service_or_right(self: &Arc<Self>, py: Python<'_>) -> PyResult<Found> {
        loop {
            if let Some(service) = self.service() {
                return Ok(Found::Running(service));
            }
            if let Some(starting) = self.claim() {
                return Ok(Found::Mine(starting));
            }
            py.check_signals()?;
            py.detach(|| std::thread::sleep(START_INTERVAL));
        }
    }

    /// The right to start something, if nothing runs and nobody else has it.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Starting> {
        if self.starting.swap(true, Ordering::Acquire) {
            return None;
        }
        let starting = Starting(Arc::clone(self));
        self.service().is_none().then_some(starting)
    }

    /// Remembers what runs.
    pub(crate) fn keep(&self, service: Arc<Service>, asked: Ask) {
        let _asked_before = self.asked.set(asked);
        self.recorder.set_started(true);
        *locked(&self.service) = Some(service);
    }

    /// Begins to sample resources into a backend, if it should and does not.
    pub(crate) fn sample(&self, backend: Arc<dyn Backend>) -> Result<(), ResourceError> {
        let by_program = *locked(&self.sampling);
        let by_environment = self
            .settings()
            .config
            .resource_interval
            .map(Sampling::every);
        let Some(sampling) = by_program.or(by_environment) else {
            return Ok(());
        };
        let mut sampler = locked(&self.sampler);
        if sampler.is_none() {
            let telemetry = Telemetry::builder().backend(backend).build();
            let _masked = SignalsMasked::new();
            *sampler = Some(ResourceSampler::start(telemetry, sampling)?);
        }
        Ok(())
    }

    /// Begins to sample what the program wants, or again what the environment says, if anything runs.
    pub(crate) fn resample(&self, sampling: Option<Sampling>) -> Result<(), ResourceError> {
        let before = mem::replace(&mut *locked(&self.sampling), sampling);
        if before == sampling {
            return Ok(());
        }
        drop(locked(&self.sampler).take());
        if self.service().is_none() {
            return Ok(());
        }
        let recorder = Arc::clone(&self.recorder);
        self.sample(recorder)
    }

    /// Whether it was ended; may be asked of an inherited one, too, whose recorder may not.
    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Ends the recorder and what runs; says whether all was sent in time. Touches nothing of Python.
    pub(crate) fn end(&self, timeout: Duration) -> bool {
        if self.is_inherited() {
            return true;
        }
        let _ending = locked(&self.ending);
        let service = locked(&self.service).take();
        let sampler = locked(&self.sampler).take();
        drop(sampler);
        if let Some(service) = &service {
            service.rest();
        }
        self.ended.store(true, Ordering::Relaxed);
        self.recorder.close();
        let in_time = service.is_none_or(|service| service.close(timeout));
        self.recorder.discard_queued(self.recorder.reason_at_end()) == 0 && in_time
    }

    /// Keeps what a backend raised.
    pub(crate) fn note_error(&self, text: String) {
        *self.last_error() = Some(text);
    }

    /// The last exception of a backend. No Python code may run while it is held.
    pub(crate) fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        locked(&self.last_error)
    }

    /// The events of a span; a name that breaks the rules is counted.
    pub(crate) fn span_sites(&self, operation: &str) -> Result<Arc<SpanSites>, NameError> {
        let mut known = locked(&self.span_sites);
        if let Some(sites) = known.get(operation) {
            return Ok(Arc::clone(sites));
        }
        let resolve = |end: &str| self.recorder.callsite(&format!("{operation}.{end}"));
        let sites = Arc::new(SpanSites {
            start: resolve("start")?,
            stop: resolve("stop")?,
            exception: resolve("exception")?,
        });
        if known.len() < MAX_SPAN_SITES {
            known.insert(operation.into(), Arc::clone(&sites));
        }
        Ok(sites)
    }
}

/// A lock, whatever became of the thread that had it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
