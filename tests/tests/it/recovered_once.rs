//! What a dead worker left is read while other things happen: somebody comes under its name, it is taken away, the
//! manager ends. It is counted once, it is nobody else's, and nothing of it is lost.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_client::region::{recorder, region_file};
use telemetry_client::serve::{ConnectConfig, Connection, Identity};
use telemetry_core::{
    EventRef, Outcome, SystemClock, ValueRef,
    emit::{Fields, Recorder, RecorderConfig},
};
use telemetry_server::{
    Address, ManagerConfig, Totals, WorkerId,
    accept::{AcceptConfig, Acceptor},
    stream::RegionStore,
};
use telemetry_tests::{NODE, PATIENCE, TestManager, Turnstile, WITNESS, eventually, within};
use tempfile::TempDir;

/// Events that each worker leaves.
const EVENTS: u64 = 5;

/// The worker of all stories.
const WORKER: &str = "w";

/// A process that does nothing, for memory to be its own.
struct Process(Child);

impl Process {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        let child = command.arg("600").stdin(Stdio::null()).spawn();
        Self(child.expect("a process"))
    }

    /// The name under which its memory is kept.
    fn name(&self) -> String {
        let pid = self.0.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let began = fields.split_whitespace().nth(19).expect("a time");
        format!("telemetry.{pid}.{began}.{WORKER}")
    }

    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _ended_before = self.0.wait();
    }
}

fn emit(recorder: &Recorder) {
    let site = recorder.callsite("tool.result_size").expect("a name");
    for bytes in 0..EVENTS {
        let bytes = i64::try_from(bytes).expect("small");
        let fields = Fields {
            measurements: &[("bytes", ValueRef::Int(bytes))],
            ..Fields::default()
        };
        assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    }
}

/// The memory of a worker with some events, none of which was sent.
fn memory(incarnation: u128) -> OwnedFd {
    let config = RecorderConfig::default();
    let identity = telemetry_core::emit::Identity {
        pid: 1,
        incarnation,
    };
    let (region, file) = region_file(config.layout(), identity).expect("a memory file");
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::in_region(config, clock, region).expect("the default policy");
    emit(&recorder);
    file
}

/// A manager at whose door workers may dial in, and whose handler waits with the first event.
struct House {
    manager: TestManager,
    turnstile: Turnstile,
    acceptor: Acceptor,
    socket: PathBuf,
    _dir: TempDir,
}

impl House {
    fn open(config: ManagerConfig) -> Self {
        let manager = TestManager::with(config);
        let (turnstile, gate) = Turnstile::closed();
        let witness = manager.witness().handler();
        let attached = manager.dispatcher().attach(
            WITNESS,
            "snakepit.python.*",
            move |event: &EventRef<'_>| {
                gate.pass();
                witness(event);
            },
        );
        attached.expect("a free id");
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("manager.sock");
        let at = AcceptConfig::at(Address::Unix(socket.clone()));
        let acceptor = Acceptor::start(&manager, at).expect("a free path");
        Self {
            manager,
            turnstile,
            acceptor,
            socket,
            _dir: dir,
        }
    }

    fn adopt(&self, process: &Process, incarnation: u128) {
        let adopted = self
            .manager
            .adopt_region(&process.name(), memory(incarnation));
        assert!(adopted, "it is fit");
    }

    /// Says from elsewhere that the worker's process has ended, and has that stand in the handler.
    async fn end_of_process(&self) -> std::thread::JoinHandle<bool> {
        let manager = (*self.manager).clone();
        let told =
            std::thread::spawn(move || manager.process_ended(&WorkerId::from(WORKER), false));
        self.turnstile.somebody_waits().await;
        told
    }

    fn dispatched(&self) -> u64 {
        self.manager.witness().events().len() as u64
    }

    async fn sums(&self, received: u64) -> Totals {
        eventually("all to be counted", || {
            let totals = self.manager.totals();
            (totals.ledger.received >= received).then_some(totals)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_while_its_worker_is_taken_away_is_counted() {
    let house = House::open(ManagerConfig::new(NODE));
    let mut process = Process::start();
    house.adopt(&process, 1);
    process.kill();
    let told = house.end_of_process().await;
    let manager = (*house.manager).clone();
    let unregistering =
        tokio::spawn(async move { manager.unregister_worker(&WorkerId::from(WORKER)).await });
    // Long enough for whoever does not wait.
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.turnstile.open();
    assert!(
        within("the departure", unregistering)
            .await
            .expect("no panic")
    );
    assert!(told.join().expect("no panic"));
    let totals = house.manager.totals();
    assert_eq!(house.dispatched(), EVENTS);
    assert_eq!(totals.ledger.received, EVENTS);
    assert_eq!(totals.reported.emitted, EVENTS);
    assert_eq!(
        (totals.lost_at_crash, totals.unaccounted_incarnations),
        (0, 0)
    );
    house.acceptor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_successor_that_lives_is_not_read_in_place_of_the_dead_ones() {
    let house = House::open(ManagerConfig::new(NODE));
    let mut process = Process::start();
    house.adopt(&process, 1);
    process.kill();
    let told = house.end_of_process().await;
    let mut identity = Identity::default();
    identity.worker_id = WORKER.to_owned();
    let config = RecorderConfig::default();
    let clock = Arc::new(SystemClock::new());
    let (recorder, region) =
        recorder(config, clock, &identity.incarnation_id).expect("the default policy");
    let recorder = Arc::new(recorder);
    emit(&recorder);
    region.as_ref().expect("a place").move_in();
    let mut config = ConnectConfig::default();
    config.stream.identity = identity;
    config.stream.region = region;
    let at = vec![Address::Unix(house.socket.clone())];
    let connection = Connection::start(at, Arc::clone(&recorder), config).expect("an address");
    // It is welcome and waits; nothing shows that from outside.
    tokio::time::sleep(Duration::from_millis(300)).await;
    house.turnstile.open();
    assert!(told.join().expect("no panic"));
    house.sums(2 * EVENTS).await;
    let seen = house.manager.incarnations();
    let living = seen
        .iter()
        .find(|it| it.pid == Some(std::process::id()))
        .expect("it was met");
    assert_eq!(living.recovered, None, "it lives: {living:?}");
    assert!(!living.ended, "{living:?}");
    assert_eq!(house.dispatched(), 2 * EVENTS);
    assert_eq!(house.manager.totals().unaccounted_incarnations, 0);
    drop(connection);
    house.acceptor.stop().await;
}

/// Says who it is, hands over what it reads, and waits for its death.
const INTRODUCES_ITSELF: &str = r#"
import fcntl, os, signal, socket, sys
path, body = sys.argv[1], sys.argv[2].encode()
manager = socket.socket(socket.AF_UNIX)
manager.connect(path)
frame = b"TELEMETRY/1" + len(body).to_bytes(4, "big") + body
socket.send_fds(manager, [frame], [0])
assert b"welcome" in manager.recv(4096).lower()
print("welcome", flush=True)
while True:
    signal.pause()
"#;

/// A worker that was welcome and died before it was served.
fn short_life(socket: &Path, incarnation: u128) {
    let body = format!(
        r#"{{"worker":"{WORKER}","incarnation":"{incarnation:032x}","pid":1,"language":"sh"}}"#
    );
    let mut child = Command::new("python3")
        .args(["-c", INTRODUCES_ITSELF])
        .arg(socket)
        .arg(body)
        .stdin(std::fs::File::from(memory(incarnation)))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = child.stdout.take().expect("piped");
    let mut word = [0; 8];
    std::io::Read::read_exact(&mut said, &mut word).expect("it is welcome");
    child.kill().expect("it runs");
    child.wait().expect("a child");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_die_while_their_session_is_busy_are_all_read() {
    let house = House::open(ManagerConfig::new(NODE));
    let mut process = Process::start();
    house.adopt(&process, 1);
    process.kill();
    // The session itself finds that the one before has died, and stands in the handler.
    let socket = house.socket.clone();
    let lives = tokio::task::spawn_blocking(move || {
        for incarnation in 2..=4 {
            short_life(&socket, incarnation);
        }
    });
    house.turnstile.somebody_waits().await;
    lives.await.expect("no panic");
    house.turnstile.open();
    let totals = house.sums(4 * EVENTS).await;
    assert_eq!(totals.ledger.received, 4 * EVENTS);
    assert_eq!(house.dispatched(), 4 * EVENTS);
    assert_eq!(
        (totals.lost_at_crash, totals.unaccounted_incarnations),
        (0, 0)
    );
    house.acceptor.stop().await;
}

/// A store that remembers what it was told to let go.
#[derive(Debug, Default)]
struct Store(Mutex<Vec<String>>);

impl RegionStore for Store {
    fn keep(&self, _: &str, _: std::os::fd::BorrowedFd<'_>) {}

    fn forget(&self, name: &str) {
        self.0.lock().expect("no panic").push(name.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manager_reads_while_it_ends_is_not_left_for_the_next_one() {
    let store = Arc::new(Store::default());
    let mut config = ManagerConfig::new(NODE);
    config.region_store = Some(Arc::clone(&store) as _);
    let house = House::open(config);
    house.turnstile.open();
    let (mut dead, name) = {
        let process = Process::start();
        house.adopt(&process, 1);
        let name = process.name();
        (process, name)
    };
    dead.kill();
    assert!(house.manager.shutdown(PATIENCE).await);
    assert_eq!(house.manager.totals().ledger.received, EVENTS);
    assert_eq!(*store.0.lock().expect("no panic"), [name]);
    house.acceptor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_when_its_manager_ends_is_left_for_the_next_one() {
    let store = Arc::new(Store::default());
    let mut config = ManagerConfig::new(NODE);
    config.region_store = Some(Arc::clone(&store) as _);
    let house = House::open(config);
    let process = Process::start();
    house.adopt(&process, 1);
    assert!(house.manager.shutdown(PATIENCE).await);
    assert!(store.0.lock().expect("no panic").is_empty());
    house.acceptor.stop().await;
}
