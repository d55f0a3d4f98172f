//! Connections of one worker that overtake each other between the door and its session.

use telemetry_core::Introduction;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::OwnedPermit;

use super::*;
use crate::manager::ManagerConfig;

/// What every client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A worker that has dialled in several times; nothing was handed over yet.
struct Worker {
    hall: Arc<Hall>,
    caller: Caller,
}

impl Worker {
    fn new() -> Self {
        let manager = Manager::start(ManagerConfig::new("node")).expect("a sound policy");
        let introduction = Introduction {
            worker: "w".to_owned(),
            incarnation: "0123456789abcdef0123456789abcdef".to_owned(),
            ..Introduction::default()
        };
        Self {
            hall: Door::new(manager).hall,
            caller: Caller {
                introduction,
                pid: None,
                life: Life::default(),
                ancestry: Ancestry::default(),
            },
        }
    }

    /// A connection that was accepted and has its permit: the worker's end of it, and how to hand it over.
    async fn accepted(&self) -> (UnixStream, OwnedPermit<Arrival>, Arrival) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let permit = self.hall.admit(&self.caller).await.expect("welcome");
        let arrival = Arrival {
            stream: Carrier::Unix(ours),
            incarnation: self.caller.introduction.incarnation.clone(),
            pid: None,
            life: Life::default(),
            region: None,
            since: Instant::now(),
        };
        (theirs, permit, arrival)
    }
}

/// Waits until HTTP/2 begins on it.
async fn is_served(stream: &mut UnixStream) {
    let mut said = [0; PREFACE.len()];
    let read = stream.read_exact(&mut said);
    timeout(Duration::from_secs(20), read)
        .await
        .expect("in time")
        .expect("it is served");
    assert_eq!(said, PREFACE);
}

/// Waits until it was closed without a word.
async fn is_dropped(stream: &mut UnixStream) {
    let read = stream.read_u8();
    let read = timeout(Duration::from_secs(20), read)
        .await
        .expect("in time");
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn of_two_that_wait_the_newer_is_served_whichever_was_handed_over_first() {
    let worker = Worker::new();
    let (mut older, older_permit, older_arrival) = worker.accepted().await;
    let (mut newer, newer_permit, newer_arrival) = worker.accepted().await;
    newer_permit.send(newer_arrival);
    older_permit.send(older_arrival);
    is_served(&mut newer).await;
    is_dropped(&mut older).await;
}

#[tokio::test]
async fn an_older_one_does_not_take_the_place_of_the_newer_that_is_served() {
    let worker = Worker::new();
    let (mut older, older_permit, older_arrival) = worker.accepted().await;
    let (mut newer, newer_permit, newer_arrival) = worker.accepted().await;
    newer_permit.send(newer_arrival);
    is_served(&mut newer).await;
    older_permit.send(older_arrival);
    is_dropped(&mut older).await;
    // One that is newer still does.
    let (mut newest, permit, arrival) = worker.accepted().await;
    permit.send(arrival);
    is_served(&mut newest).await;
}
