//! The doors of all seats, as workers find them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_core::{Address, wire::IntroductionAnswer};
use telemetry_server::accept::SimulatedDoor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::lock;
use crate::network::{End, Network};
use crate::plan::Says;
use crate::truth::Truth;

/// How long somebody else at a door stays with one worker.
const ATTENTION: Duration = Duration::from_secs(1);

/// What is behind one address.
#[derive(Debug, Default)]
struct Front {
    /// Which manager there is, and its door.
    door: Option<(usize, SimulatedDoor)>,
    /// Who answers in its place, and until when.
    other: Option<(Says, Instant)>,
}

/// Who connects.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Its process.
    pub(crate) pid: u32,
    /// Which of all incarnations it is.
    pub(crate) number: usize,
    /// What its memory is read by, if that outlives it.
    pub(crate) memory: Option<OwnedFd>,
}

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Hall {
    fronts: Arc<Mutex<Vec<Front>>>,
    /// The manager that was handed the memory of an incarnation last.
    handed: Arc<Mutex<BTreeMap<usize, usize>>>,
    truth: Truth,
}

impl Hall {
    /// So many seats, all empty.
    #[must_use]
    pub(crate) fn new(seats: usize, truth: Truth) -> Self {
        let fronts = (0..seats).map(|_| Front::default()).collect();
        Self {
            fronts: Arc::new(Mutex::new(fronts)),
            handed: Arc::default(),
            truth,
        }
    }

    /// Where the seats are.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<Address> {
        (0..lock(&self.fronts).len()).map(address).collect()
    }

    /// The manager that was handed the memory of an incarnation last, if one was.
    #[must_use]
    pub(crate) fn handed_to(&self, number: usize) -> Option<usize> {
        lock(&self.handed).get(&number).copied()
    }

    /// Opens a door, or closes it.
    pub(crate) fn set_door(&self, seat: usize, door: Option<(usize, SimulatedDoor)>) {
        if let Some(front) = lock(&self.fronts).get_mut(seat) {
            front.door = door;
        }
    }

    /// Has somebody else answer.
    pub(crate) fn set_other(&self, seat: usize, other: Option<(Says, Instant)>) {
        if let Some(front) = lock(&self.fronts).get_mut(seat) {
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
        guest: Guest,
    ) -> io::Result<End> {
        let Guest {
            pid,
            number,
            memory,
        } = guest;
        let fronts = lock(&self.fronts);
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
        let (manager, door) = fronts[seat].door.clone().ok_or_else(nobody)?;
        let (ours, theirs) = lock(network).connect(pid, seat);
        let (handed, truth) = (Arc::clone(&self.handed), self.truth.clone());
        let was_welcomed = theirs.begins_with(IntroductionAnswer::Welcome.to_frame());
        tokio::spawn(async move {
            let has_memory = memory.is_some();
            let is_served = door.visit(Box::new(theirs), pid, memory).await;
            if is_served && has_memory {
                lock(&handed).insert(number, manager);
            }
            if !is_served && was_welcomed() {
                truth.cannot_be(format!(
                    "incarnation {number} was welcomed by manager {manager} and then sent off"
                ));
            }
        });
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
