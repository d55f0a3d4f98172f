//! The backend of a worker with a manager: events wait in the queue for the telemetry stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_core::{
    Address, Outcome,
    catalog::NameError,
    emit::{Fields, Recorder},
    ledger::{Reason, WorkerSnapshot},
    wire::{Control, ControlError},
};

use super::{Backend, Draw, Site, SpanFate, SpanSites, through_recorder};
use crate::region::RegionKind;
use crate::serve::{
    ConnectConfig, ConnectError, Connection, ServeConfig, ServeError, Server, StreamConfig,
    TelemetryService,
};

/// Sends events to whichever manager opened the newest stream.
#[derive(Debug)]
pub struct StreamBackend {
    /// The whole emit path.
    recorder: Arc<Recorder>,
    /// What serves it.
    host: Host,
    /// Held by whoever ends it: a second one waits, or it would take from the first what is still to
    /// be sent.
    ending: Mutex<()>,
}

/// What serves a recorder.
#[derive(Debug)]
enum Host {
    /// A server of our own.
    Server(Server),
    /// A connection that we opened.
    Connection(Connection),
    /// A server of the program's, which mounts this service.
    Mounted(TelemetryService),
}

impl StreamBackend {
    /// Listens at `address`, or at a private unix socket, with a thread of its own; see [`Server::start`].
    ///
    /// # Errors
    ///
    /// [`ServeError`] says what is wrong with the address and what to do.
    pub fn serve<'a>(
        address: impl Into<Option<&'a Address>>,
        recorder: Arc<Recorder>,
        config: ServeConfig,
    ) -> Result<Self, ServeError> {
        let server = Server::start(address, Arc::clone(&recorder), config)?;
        Ok(Self {
            recorder,
            host: Host::Server(server),
            ending: Mutex::default(),
        })
    }

    /// Connects to a manager, whenever there is one, with a thread of its own; see
    /// [`Connection::start`].
    ///
    /// # Errors
    ///
    /// [`ConnectError`] for an address that can never be connected to.
    pub fn connect(
        managers: Vec<Address>,
        recorder: Arc<Recorder>,
        config: ConnectConfig,
    ) -> Result<Self, ConnectError> {
        let connection = Connection::start(managers, Arc::clone(&recorder), config)?;
        Ok(Self {
            recorder,
            host: Host::Connection(connection),
            ending: Mutex::default(),
        })
    }

    /// Makes a service to mount in a gRPC server that the program runs itself.
    #[must_use]
    pub fn mounted(recorder: Arc<Recorder>, config: StreamConfig) -> (Self, TelemetryService) {
        let service = TelemetryService::new(Arc::clone(&recorder), config);
        (
            Self {
                recorder,
                host: Host::Mounted(service.clone()),
                ending: Mutex::default(),
            },
            service,
        )
    }

    /// The server, if this backend has its own.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        match &self.host {
            Host::Server(server) => Some(server),
            Host::Connection(_) | Host::Mounted(_) => None,
        }
    }

    /// The connection to the manager, if this backend opens one.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        match &self.host {
            Host::Connection(connection) => Some(connection),
            Host::Server(_) | Host::Mounted(_) => None,
        }
    }

    /// The recorder behind it.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

impl Backend for StreamBackend {
    through_recorder!();

    fn recorder(&self) -> Option<Arc<Recorder>> {
        Some(Arc::clone(&self.recorder))
    }

    fn record(&self, site: &Site, draw: Draw<'_>, fields: &Fields<'_>) -> Outcome {
        Backend::record(&*self.recorder, site, draw, fields)
    }

    /// Waits until it is in the socket of the present stream; without a stream it does not wait.
    fn flush(&self, timeout: Duration) -> bool {
        self.recorder.settle(timeout)
    }

    fn flush_acknowledged(&self, timeout: Duration) -> bool {
        self.recorder.settle_acknowledged(timeout)
    }

    fn region(&self) -> RegionKind {
        let connection = self.connection();
        connection.map_or(RegionKind::Heap, |connection| connection.region())
    }

    fn shutdown(&self, timeout: Duration) -> WorkerSnapshot {
        let _ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        self.recorder.close();
        match &self.host {
            Host::Server(server) => {
                if !server.close(timeout) {
                    tracing::warn!("the telemetry server did not end in time");
                }
            }
            Host::Connection(connection) => {
                if !connection.close(timeout) {
                    tracing::warn!("the connection to the manager did not end in time");
                }
            }
            // Without a stream nobody would come for the rest.
            Host::Mounted(service) if service.streams() > 0 => {
                service.end_streams();
                self.recorder.wait_drained(timeout);
            }
            Host::Mounted(service) => service.end_streams(),
        }
        self.recorder.discard_queued(Reason::ShutdownDeadline);
        self.recorder.snapshot()
    }
}
