//! The door of a simulation: connections come from it, and it says which process is behind each.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Door, Hall};
use crate::manager::{Caller, Manager};
use crate::session::{Accepted, Ancestry, Carrier, Life, Peer};
use crate::simulated::Io;

/// Takes connections as an [`Acceptor`](crate::accept::Acceptor) does.
#[derive(Debug, Clone)]
pub struct SimulatedDoor(Arc<Hall>);

impl SimulatedDoor {
    /// The door of a manager.
    #[must_use]
    pub fn new(manager: Manager) -> Self {
        Self(Door::new(manager).hall)
    }

    /// One connection of this process, which hands its memory over, until its session has it or it is sent off;
    /// whether its session has it.
    pub async fn visit(self, mut stream: Box<dyn Io>, pid: u32, memory: Option<OwnedFd>) -> bool {
        let accepted = Accepted::now();
        let hall = self.0;
        let (_end, ended) = oneshot::channel();
        let introduced = hall.introduction(&mut stream, ended).await;
        let stream = Carrier::Simulated(stream);
        let introduction = match introduced {
            Ok(introduction) => introduction,
            Err(None) => return false,
            Err(Some(no)) => {
                let peer = Peer::Process { pid: Some(pid) };
                hall.turn_away(stream, &peer, &no).await;
                return false;
            }
        };
        let caller = Caller {
            introduction,
            peer: Peer::Process { pid: Some(pid) },
            pid: Some(pid),
            life: Life::of(pid),
            ancestry: Ancestry::simulated(pid),
        };
        hall.let_in(stream, caller, Ok(memory), accepted).await
    }
}
