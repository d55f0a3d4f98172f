//! Workers that die while their manager holds their memory: every event whose emit returned is dispatched
//! once or counted, and nothing is unknown.
//!
//! `DEATHS=n` repeats each death so often instead of a few times.

use std::path::PathBuf;

use rustix::process::Signal;
use telemetry_server::{
    Address,
    accept::{AcceptConfig, Acceptor},
};
use telemetry_tests::truth::{
    Finding, Kind, Loose, Program, Story, gone, order_only, process_state, signal,
};
use telemetry_tests::{ScarceMemory, Seed, eventually, python_or_skip};

/// Deaths of each kind, unless it is said.
const DEATHS: usize = 4;
/// Most events before a death in a burst.
const BURST: usize = 60_000;
/// What a worker may have beside what it had when it started, in bytes, before the system kills it.
const SCARCE: u64 = 24 << 20;

/// A manager at which workers dial in.
struct Scene {
    story: Story,
    socket: PathBuf,
    acceptor: Acceptor,
    program: Program,
    seed: Seed,
}

impl Scene {
    fn begin() -> Option<Self> {
        let python = python_or_skip()?;
        let story = Story::begin();
        let socket = story.dir().join("manager.sock");
        let at = AcceptConfig::at(Address::Unix(socket.clone()));
        let acceptor = Acceptor::start(&story.manager, at).expect("a free path");
        let program = story.program(Kind::Python(python));
        Some(Self {
            story,
            socket,
            acceptor,
            program,
            seed: Seed::new(0x5eed),
        })
    }

    /// A worker of which something has arrived.
    async fn worker(&self, number: usize) -> Loose {
        let worker = self.program.dial(&self.socket, &format!("w-{number}"));
        eventually("its first events", || {
            (self.story.arrivals.of(worker.pid).distinct() > 0).then_some(())
        })
        .await;
        worker
    }

    /// Waits until it has emitted so many more, without a pause of its own.
    async fn amid_a_burst(&mut self, worker: &Loose) {
        let pages = &self.story.pages;
        let before = pages.returned(worker.pid);
        order_only(pages, worker.pid, "burst 100000000");
        let more = u64::try_from(1 + self.seed.below(BURST)).expect("small");
        eventually("a burst", || {
            (pages.returned(worker.pid) >= before + more).then_some(())
        })
        .await;
    }

    /// Every process is accounted for to the event; says how much was read from memory.
    async fn end(self) -> u64 {
        let Self {
            story, acceptor, ..
        } = self;
        // All may have arrived before anybody has noticed the last end.
        eventually("the end of all", || {
            let verdicts = story.verdicts();
            let rows = verdicts.values().map(|verdict| verdict.row.as_ref());
            rows.into_iter()
                .all(|row| row.is_some_and(|row| row.ended))
                .then_some(())
        })
        .await;
        let verdicts = story.judge(&[]).await;
        acceptor.stop().await;
        let mut recovered = 0;
        for verdict in verdicts.values() {
            assert_eq!(verdict.finding, Finding::Exact, "{verdict}");
            let row = verdict.row.as_ref().expect("an account");
            assert!(
                row.lost_at_crash <= 1,
                "more than one was under way: {verdict}"
            );
            recovered += row.recovered.expect("its memory was read");
        }
        recovered
    }
}

fn deaths() -> usize {
    let said = std::env::var("DEATHS").ok();
    said.and_then(|it| it.parse().ok()).unwrap_or(DEATHS)
}

/// Kills workers amid bursts by a signal.
async fn by_signal(by: Signal) {
    let Some(mut scene) = Scene::begin() else {
        return;
    };
    for number in 0..deaths() {
        let mut worker = scene.worker(number).await;
        scene.amid_a_burst(&worker).await;
        worker.end_by(by).await;
    }
    let recovered = scene.end().await;
    assert!(
        recovered > 0,
        "nothing was left in any memory: no fault was seen"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_burst_loses_nothing() {
    by_signal(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segmentation_fault_in_a_burst_loses_nothing() {
    by_signal(Signal::SEGV).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_because_memory_is_short_loses_nothing() {
    let Some(scene) = Scene::begin() else { return };
    let Some(group) = ScarceMemory::or_skip(SCARCE) else {
        return;
    };
    for number in 0..deaths() {
        let mut worker = scene.worker(number).await;
        group.take(worker.pid).expect("a group for it");
        order_only(&scene.story.pages, worker.pid, "hoard 1000000");
        let end = worker.ended().await;
        assert!(end.contains("SIGKILL"), "the system did not kill it: {end}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_steady_flow_loses_nothing() {
    let Some(scene) = Scene::begin() else { return };
    for number in 0..deaths() {
        let mut worker = scene.worker(number).await;
        worker.emitted(200).await;
        worker.end_by(Signal::KILL).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_a_word_loses_nothing() {
    let Some(scene) = Scene::begin() else { return };
    for number in 0..deaths() {
        let worker = scene.worker(number).await;
        order_only(&scene.story.pages, worker.pid, "burst 20000 exit");
        gone(worker.pid).await;
    }
    let recovered = scene.end().await;
    assert!(
        recovered > 0,
        "nothing was left in any memory: no fault was seen"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_exits_without_a_word_loses_nothing() {
    let Some(scene) = Scene::begin() else { return };
    for _ in 0..deaths() {
        let mut script = scene.program.abrupt_script(&scene.socket, 500);
        script.ended().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_it_stands_still_loses_nothing() {
    let Some(mut scene) = Scene::begin() else {
        return;
    };
    for number in 0..deaths() {
        let mut worker = scene.worker(number).await;
        scene.amid_a_burst(&worker).await;
        signal(worker.pid, Signal::STOP);
        eventually("it to stand still", || {
            (process_state(worker.pid) == Some('T')).then_some(())
        })
        .await;
        worker.end_by(Signal::KILL).await;
    }
    scene.end().await;
}
