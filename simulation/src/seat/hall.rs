//! The doors of all seats, as workers find them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_core::{Address, IntroductionAnswer};
use telemetry_server::SimulatedDoor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::lock;
use crate::network::{End, Network};
use crate::plan::Says;

/// How long somebody else at a door stays with one worker.
const ATTENTION: Duration = Duration::from_secs(1);

/// What is behind one address.
#[derive(Debug, Default)]
struct Front {
    /// The door of the manager, if there is one.
    door: Option<SimulatedDoor>,
    /// Who answers in its place, and until when.
    other: Option<(Says, Instant)>,
}

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Hall(Arc<Mutex<Vec<Front>>>);

impl Hall {
    /// So many seats, all empty.
    #[must_use]
    pub(crate) fn new(seats: usize) -> Self {
        let fronts = (0..seats).map(|_| Front::default()).collect();
        Self(Arc::new(Mutex::new(fronts)))
    }

    /// Where the seats are.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<Address> {
        (0..lock(&self.0).len()).map(address).collect()
    }

    /// Opens a door, or closes it.
    pub(crate) fn set_door(&self, seat: usize, door: Option<SimulatedDoor>) {
        if let Some(front) = lock(&self.0).get_mut(seat) {
            front.door = door;
        }
    }

    /// Has somebody else answer.
    pub(crate) fn set_other(&self, seat: usize, other: Option<(Says, Instant)>) {
        if let Some(front) = lock(&self.0).get_mut(seat) {
            front.other = other;
        }
    }

    /// Connects a process with whoever is behind an address.
    ///
    /// # Errors
    ///
    /// Nobody is.
    pub(crate) fn connect(
        &self,
        to: &Address,
        network: &Mutex<Network>,
        pid: u32,
    ) -> io::Result<End> {
        let fronts = lock(&self.0);
        let seat = (0..fronts.len()).find(|seat| address(*seat) == *to);
        let nobody = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let seat = seat.ok_or_else(nobody)?;
        let other = fronts[seat]
            .other
            .filter(|(_, until)| Instant::now() < *until);
        if let Some((says, _)) = other {
            let (ours, theirs) = lock(network).connect(pid, seat);
            tokio::spawn(answer(theirs, says));
            return Ok(ours);
        }
        let door = fronts[seat].door.clone().ok_or_else(nobody)?;
        let (ours, theirs) = lock(network).connect(pid, seat);
        tokio::spawn(door.visit(Box::new(theirs), pid));
        Ok(ours)
    }
}

fn address(seat: usize) -> Address {
    Address::Unix(format!("/seat/{seat}").into())
}

/// Answers one worker.
async fn answer(mut stream: End, says: Says) {
    let answer = match says {
        Says::Moved(seat) => IntroductionAnswer::Moved {
            address: address(seat).to_string(),
        },
        Says::Wait(seconds) => IntroductionAnswer::Wait { seconds },
        Says::Refused => IntroductionAnswer::Refused {
            reason: "the simulation says so".to_owned(),
        },
        Says::Silence => return sleep(ATTENTION).await,
    };
    // Who does not listen, or is cut off, has no answer.
    let said = timeout(ATTENTION, async {
        let _first_byte = stream.read_u8().await?;
        stream.write_all(&answer.to_frame()).await?;
        stream.shutdown().await
    });
    let _said = said.await;
    sleep(ATTENTION).await;
}
