//! The door of a simulation: connections come from it, and it says which process is behind each.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Door, Hall};
use crate::manager::{Caller, Manager};
use crate::session::{Ancestry, Arrival, Carrier, Life};
use crate::simulated::Io;
use telemetry_core::IntroductionAnswer;

/// Takes connections as an [`Acceptor`](crate::Acceptor) does.
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
        let since = Instant::now();
        let hall = self.0;
        let (_end, ended) = oneshot::channel();
        let introduction = match hall.introduction(&mut stream, ended).await {
            Ok(introduction) => introduction,
            Err(None) => return false,
            Err(Some((why, answer))) => {
                hall.turn_away(stream, why, Some(pid), &answer).await;
                return false;
            }
        };
        let caller = Caller {
            introduction,
            pid: Some(pid),
            life: Life::of(pid),
            ancestry: Ancestry::simulated(pid),
        };
        let welcome = IntroductionAnswer::Welcome.to_frame();
        match hall.admit(&caller).await {
            Ok(permit) => {
                // Where it fails, the session will find that the connection is of no use.
                let _heard = stream.write_all(&welcome).await;
                permit.send(Arrival {
                    stream: Carrier::Simulated(stream),
                    incarnation: caller.introduction.incarnation,
                    pid: Some(pid),
                    life: caller.life,
                    region: hall.region(Ok(memory), Some(pid)),
                    since,
                });
                true
            }
            Err((why, answer)) => {
                hall.turn_away(stream, why, Some(pid), &answer).await;
                false
            }
        }
    }
}
