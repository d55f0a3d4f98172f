//! One process of a worker: its recorder, its streams, and how it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_client::serve::simulated::{SimulatedRoad, dial_in, serve_dialled, set_pid};
use telemetry_client::serve::{StreamConfig, TelemetryService};
use telemetry_core::{
    Address, Clock, ValueRef,
    emit::{Callsite, Fields, Identity as Whose, Overflow, QueueLimits, Recorder, RecorderConfig},
    ledger::Reason,
    wire::{Introduction, capability},
};
use telemetry_server::simulated;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use crate::memory::recorder;
use crate::network::{End, Network};
use crate::plan::{Shape, Way};
use crate::seat::{Guest, Hall, dialled_at, lock};
use crate::truth::Truth;

/// What workers emit, one after the other.
const EVENTS: [&str; 2] = ["tool.execution.stop", "tool.execution.start"];

/// How a process begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    /// Which of all incarnations it is.
    pub(crate) number: usize,
    /// Its number, which another one may have had before.
    pub(crate) pid: u32,
    /// The process that forked it.
    pub(crate) parent: Option<u32>,
    /// Whether its memory outlives it where somebody has that open.
    pub(crate) leaves_memory: bool,
}

/// A process that lives.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Which of all incarnations it is.
    pub(crate) number: usize,
    pub(crate) pid: u32,
    pub(crate) recorder: Arc<Recorder>,
    service: TelemetryService,
    sites: [Arc<Callsite>; 2],
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
    /// Where it is dialled, if it is.
    slot: Option<usize>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was killed.
    Killed,
    /// In order, as far as the network and its time let it.
    Hurried,
    /// In order, when all was calm.
    Calm,
}

/// What is left of a process.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) number: usize,
    /// How it ended.
    pub(crate) how: How,
    /// Events that were kept and dropped later.
    pub(crate) dropped_late: u64,
    /// Events that were sent and let go of.
    pub(crate) forgotten: u64,
}

/// The way to the seats.
struct Road {
    hall: Hall,
    network: Arc<Mutex<Network>>,
    pid: u32,
    /// Which of all incarnations it is.
    number: usize,
    /// What its memory is read by.
    memory: Option<OwnedFd>,
}

impl SimulatedRoad for Road {
    type Stream = End;

    fn connect(&self, address: &Address) -> io::Result<End> {
        let memory = self.memory.as_ref();
        let guest = Guest {
            pid: self.pid,
            number: self.number,
            memory: memory.map(OwnedFd::try_clone).transpose()?,
        };
        self.hall.connect(address, &self.network, guest)
    }
}

/// The id of an incarnation.
#[must_use]
pub(crate) fn incarnation(number: usize) -> String {
    format!("{:032x}", number + 1)
}

impl Worker {
    /// Begins a process in a slot.
    ///
    /// # Errors
    ///
    /// What the code under test says of it.
    pub(crate) fn begin(
        name: String,
        birth: Birth,
        slot: usize,
        shape: &Shape,
        clock: Arc<dyn Clock>,
        hall: &Hall,
        network: &Arc<Mutex<Network>>,
    ) -> Result<Self, String> {
        let Birth {
            number,
            pid,
            parent,
            leaves_memory,
        } = birth;
        simulated::begin_process(pid, parent);
        set_pid(&incarnation(number), pid);
        let mut config = RecorderConfig::default();
        config.queue = QueueLimits::new(shape.events, shape.ring);
        config.overflow = match shape.evicts {
            true => Overflow::DropOldest,
            false => Overflow::DropNewest,
        };
        let whose = Whose {
            pid,
            incarnation: number as u128 + 1,
        };
        let (recorder, memory) = recorder(config, clock, leaves_memory.then_some(whose))?;
        let site = |name| recorder.callsite(name).map_err(|it| it.to_string());
        let sites = [site(EVENTS[0])?, site(EVENTS[1])?];
        let recorder = Arc::new(recorder);
        let mut introduction = Introduction::default();
        introduction.worker = name.clone();
        introduction.incarnation = incarnation(number);
        introduction.pid = pid;
        introduction.capabilities = capability::ALL.map(str::to_owned).into();
        let mut config = StreamConfig::default();
        config.identity.worker_id = name;
        config.identity.incarnation_id = incarnation(number);
        config.identity.package_version = "0".to_owned();
        let service = TelemetryService::new(Arc::clone(&recorder), config);
        let served = service.clone();
        let (stop, stopped) = watch::channel(None);
        let managers = hall.addresses();
        let (dialled, arrivals) = mpsc::channel(16);
        let shown = Some(pid).filter(|_| shape.shows_process);
        for seat in (0..managers.len()).filter(|_| shape.way != Way::In) {
            let (network, dialled) = (Arc::clone(network), dialled.clone());
            let connect = move || {
                let (ours, theirs) = lock(&network).connect(pid, seat);
                let busy = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                dialled.try_send(ours).map_err(busy)?;
                let theirs: Box<dyn simulated::Io> = Box::new(theirs);
                Ok((theirs, shown))
            };
            simulated::listen(dialled_at(slot, seat), Some(Box::new(connect)));
        }
        let road = Road {
            hall: hall.clone(),
            network: Arc::clone(network),
            pid,
            number,
            memory,
        };
        let (is_dialled, dials) = (shape.way != Way::In, shape.way != Way::Out);
        let task = tokio::spawn(async move {
            let dialling_in = async {
                if dials {
                    dial_in(
                        &managers,
                        road,
                        introduction,
                        served.clone(),
                        stopped.clone(),
                    )
                    .await;
                }
            };
            let listening = async {
                if is_dialled {
                    serve_dialled(arrivals, served.clone(), stopped.clone()).await;
                }
            };
            tokio::join!(dialling_in, listening);
        });
        Ok(Self {
            number,
            pid,
            recorder,
            service,
            sites,
            stop,
            task,
            slot: (shape.way != Way::In).then_some(slot),
        })
    }

    /// Emits one event with its number and so many bytes of text.
    pub(crate) fn emit(&self, truth: &Truth, bytes: usize) {
        let number = truth.next_number();
        let text = "x".repeat(bytes);
        let fields = Fields {
            measurements: &[("count", ValueRef::Int(number.cast_signed()))],
            metadata: &[("operation", &text)],
            ..Fields::default()
        };
        let site = &self.sites[usize::from(number.is_multiple_of(2))];
        let outcome = self.recorder.record(site, &fields);
        truth.emitted(self.number, number, outcome);
    }

    /// Whether a manager listens to it.
    #[must_use]
    pub(crate) fn is_heard(&self) -> bool {
        self.service.streams() > 0
    }

    /// Ends it at once, with all that it has.
    pub(crate) async fn kill(mut self, seats: usize, truth: &Truth) -> Ended {
        self.task.abort();
        let _aborted = (&mut self.task).await;
        // They have tasks of their own, which end with their connections: nothing of it runs any more.
        while self.service.streams() > 0 {
            yield_now().await;
        }
        self.be_gone(seats, How::Killed, truth)
    }

    /// Ends it in order, within this time.
    pub(crate) async fn stop(
        mut self,
        time: Duration,
        how: How,
        seats: usize,
        truth: &Truth,
    ) -> Ended {
        self.recorder.close();
        self.stop.send_replace(Some(Instant::now() + time));
        // An error is a panic, which the whole process reports.
        let _ended = (&mut self.task).await.is_ok();
        self.recorder.discard_queued(Reason::ShutdownDeadline);
        self.be_gone(seats, how, truth)
    }

    fn be_gone(self, seats: usize, how: How, truth: &Truth) -> Ended {
        if let Some(slot) = self.slot {
            for seat in 0..seats {
                simulated::listen(dialled_at(slot, seat), None);
            }
        }
        simulated::end_process(self.pid);
        let ledger = self.recorder.snapshot();
        let refused = truth.of(self.number).dropped;
        Ended {
            number: self.number,
            how,
            dropped_late: ledger.dropped.total().saturating_sub(refused),
            forgotten: ledger.forgotten,
        }
    }
}
