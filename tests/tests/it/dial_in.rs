//! Workers that dial in: who is welcome, under which name, and what becomes of their events.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use telemetry_core::{Introduction, IntroductionAnswer};
use telemetry_server::{
    AcceptConfig, Acceptor, INTRODUCTION_TIMEOUT, LinkKind, ManagerConfig, Pool, PoolConfig,
    StreamInfo, StreamState, Target, Totals, WorkerId,
};
use telemetry_tests::{
    Caller, NODE, PATIENCE, TestManager, WITNESS, answer, ask, eventually, within,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const CALLER: &str = env!("CARGO_BIN_EXE_caller");

/// A manager at whose door workers may dial in.
struct House {
    manager: TestManager,
    acceptor: Acceptor,
    socket: PathBuf,
    _dir: TempDir,
}

impl House {
    fn open() -> Self {
        Self::with(ManagerConfig::new(NODE))
    }

    fn with(config: ManagerConfig) -> Self {
        let manager = TestManager::with(config);
        let handler = manager.witness().handler();
        let attached = manager
            .dispatcher()
            .attach(WITNESS, "snakepit.python.*", handler);
        attached.expect("a free id");
        let dir = tempfile::tempdir().expect("a directory for the socket");
        let socket = dir.path().join("manager.sock");
        let config = AcceptConfig::at(telemetry_core::Address::Unix(socket.clone()));
        let acceptor = Acceptor::start(&manager, config).expect("a free path");
        Self {
            manager,
            acceptor,
            socket,
            _dir: dir,
        }
    }

    /// The sums of a pool.
    fn totals(&self, pool: &str) -> Totals {
        let pools = self.manager.pools();
        let found = pools
            .into_iter()
            .find(|it| it.pool_name.as_deref() == Some(pool));
        found.expect("its pool").totals
    }

    /// The ids of all workers.
    fn ids(&self) -> BTreeSet<String> {
        let streams = self.manager.list_streams();
        streams.iter().map(|it| it.worker_id.to_string()).collect()
    }

    /// Says any bytes at the door; what is answered.
    async fn say(&self, bytes: &[u8]) -> Option<IntroductionAnswer> {
        let mut stream = UnixStream::connect(&self.socket).await.expect("a door");
        ask(&mut stream, bytes).await
    }

    /// Waits until the manager knows nobody under this id.
    async fn left(&self, id: &WorkerId) {
        eventually(&format!("{id} to leave"), || {
            self.manager.stream(id).is_none().then_some(())
        })
        .await;
    }
}

/// A worker process of its own.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts one, without waiting until it is welcome.
    fn start(socket: &Path, id: &str, pool: &str) -> Self {
        let mut child = Command::new(CALLER)
            .args([socket.as_os_str(), id.as_ref(), pool.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout).lines(),
        }
    }

    async fn hears(&mut self, word: &str) {
        let line = within("a word of a worker", self.stdout.next_line()).await;
        assert_eq!(line.expect("a pipe").as_deref(), Some(word));
    }

    /// Has it emit so many events, and waits until they are sent.
    async fn emit(&mut self, count: u64) {
        let order = format!("{count}\n");
        self.stdin
            .write_all(order.as_bytes())
            .await
            .expect("a pipe");
        self.hears("sent").await;
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }
}

fn reason(answer: Option<IntroductionAnswer>) -> String {
    match answer {
        Some(IntroductionAnswer::Refused { reason }) => reason,
        other => panic!("expected to be refused, was answered {other:?}"),
    }
}

fn introduction(worker: &str) -> Introduction {
    Introduction {
        worker: worker.to_owned(),
        incarnation: "0123456789abcdef0123456789abcdef".to_owned(),
        ..Introduction::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dials_in_is_streamed_listed_and_leaves_with_its_last_word() {
    let house = House::open();
    let worker = Caller::new("w", "p");
    let serving = worker.dial_in(&house.socket).await;
    let id = WorkerId::from("w");
    worker.emit(100);
    let info = house.manager.received(&id, 100).await;
    assert_eq!(info.state, StreamState::Streaming);
    assert_eq!((info.link, info.endpoint), (LinkKind::In, None));
    assert_eq!(info.pool_name.as_deref(), Some("p"));
    assert_eq!(info.pid, Some(std::process::id()));
    let ledger = tokio::task::spawn_blocking(move || {
        worker.end();
        worker.telemetry().ledger()
    });
    let ledger = ledger.await.expect("no panic");
    house.left(&id).await;
    assert_eq!((ledger.emitted, ledger.sent), (100, 100));
    assert_eq!(house.manager.witness().count(), 100);
    let pools = house.manager.pools();
    let totals = &pools
        .iter()
        .find(|pool| pool.pool_name.as_deref() == Some("p"));
    let totals = &totals.expect("its pool").totals;
    assert_eq!(
        (totals.ledger.received, totals.reported.emitted),
        (100, 100)
    );
    assert_eq!(totals.unaccounted_incarnations, 0);
    serving.abort();
    house.acceptor.stop().await;
    assert!(!house.socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_and_started_again_takes_its_id_over() {
    let house = House::open();
    let id = WorkerId::from("w");
    for life in 1..=20 {
        let mut process = Process::start(&house.socket, "w", "p");
        process.hears("welcome").await;
        process.emit(5).await;
        eventually("its events", || {
            (house.manager.witness().count() == 5 * life).then_some(())
        })
        .await;
        assert_eq!(house.ids(), [id.to_string()].into());
        assert_eq!(house.manager.info(&id).pid, Some(process.pid()));
        process.kill().await;
    }
    house.left(&id).await;
    let totals = house.totals("p");
    assert_eq!((totals.ledger.received, totals.lost_at_crash), (100, 0));
    // Each died without a last word, and none had handed its memory over.
    assert_eq!(totals.unaccounted_incarnations, 20);
    assert_eq!(totals.ledger.gaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_processes_with_one_id_are_sixteen_workers() {
    let house = House::open();
    let mut processes: Vec<_> = (0..16)
        .map(|_| Process::start(&house.socket, "w", "p"))
        .collect();
    for process in &mut processes {
        process.hears("welcome").await;
        process.emit(3).await;
    }
    eventually("all events", || {
        (house.manager.witness().count() == 48).then_some(())
    })
    .await;
    let numbered = (2..=16).map(|number| format!("w~{number}"));
    let wanted: BTreeSet<_> = std::iter::once("w".to_owned()).chain(numbered).collect();
    assert_eq!(house.ids(), wanted);
    let streams = house.manager.list_streams();
    let pids: BTreeSet<_> = streams.iter().map(|info| info.pid).collect();
    let theirs: BTreeSet<_> = processes.iter().map(|it| Some(it.pid())).collect();
    assert_eq!(pids, theirs);
    for info in &streams {
        assert_eq!((info.streams, info.ledger.received), (1, 3), "{info:#?}");
        assert_eq!(info.ledger_difference(), 0);
    }
    for process in processes {
        process.kill().await;
    }
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_end_without_a_word_leave_no_row() {
    const CHILDREN: u64 = 300;
    let house = House::open();
    for _ in 0..CHILDREN / 20 {
        let mut batch = Vec::new();
        for number in 0..20 {
            batch.push(Process::start(&house.socket, &format!("c-{number}"), "p"));
        }
        for process in &mut batch {
            process.hears("welcome").await;
            process.emit(2).await;
        }
        // The end of stdin is the end of the process.
        for mut process in batch {
            drop(process.stdin);
            let exit = within("the end of a child", process.child.wait()).await;
            assert!(exit.expect("a child").success());
        }
    }
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
    let totals = house.totals("p");
    assert_eq!(totals.ledger.received, 2 * CHILDREN);
    assert_eq!(totals.unaccounted_incarnations, CHILDREN);
    assert_eq!((totals.ledger.gaps, totals.lost_at_crash), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_worker_is_served_at_once_beside_three_hundred_silent_ones() {
    let house = House::open();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(UnixStream::connect(&house.socket).await.expect("a door"));
    }
    let worker = Caller::new("honest", "");
    let began = Instant::now();
    let _serving = worker.dial_in(&house.socket).await;
    assert!(began.elapsed() < INTRODUCTION_TIMEOUT / 2, "it had to wait");
    worker.emit(1);
    house.manager.received(&"honest".into(), 1).await;
    // The oldest were sent off, with a word; the newest are still there.
    let first = answer(&mut silent[0]).await;
    assert_eq!(first, Some(IntroductionAnswer::Wait { seconds: 1 }));
    let last = silent.last_mut().expect("300");
    assert!(last.try_read(&mut [0]).is_err(), "it may still speak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_introduction_is_refused_with_what_is_wrong_with_it() {
    let house = House::open();
    let mut long = introduction("w").to_frame();
    long[11] = 1;
    let not_json = [&b"TELEMETRY/1"[..], &[0, 0, 0, 3], b"abc"].concat();
    let malformed = Introduction {
        incarnation: "1".to_owned(),
        ..introduction("w")
    };
    for (bytes, wanted) in [
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            "workers that serve are dialled",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "did not begin with TELEMETRY/1",
        ),
        (long, "at most 4096 are allowed"),
        (not_json, "cannot be read"),
        (introduction("").to_frame(), "worker id \"\" is empty"),
        (introduction("a\nb").to_frame(), "has control characters"),
        (
            introduction(&"x".repeat(129)).to_frame(),
            "longer than 128 bytes",
        ),
        (malformed.to_frame(), "is not 32 hexadecimal digits"),
    ] {
        let reason = reason(house.say(&bytes).await);
        assert!(reason.contains(wanted), "{reason}");
    }
    let (began, frame) = (Instant::now(), introduction("w").to_frame());
    let mut slow = UnixStream::connect(&house.socket).await.expect("a door");
    let mut bytes = frame.iter();
    let refused = loop {
        let Some(byte) = bytes.next() else {
            panic!("all {} bytes were waited for", frame.len());
        };
        let _refused = slow.write_all(&[*byte]).await;
        if let Ok(refused) = tokio::time::timeout(Duration::from_millis(100), slow.readable()).await
        {
            refused.expect("a socket");
            break answer(&mut slow).await;
        }
    };
    assert!(reason(refused).contains("no introduction within 5 s"));
    assert!(began.elapsed() >= INTRODUCTION_TIMEOUT);
    assert!(house.ids().is_empty());
    let counted = house.manager.refused_connections();
    let wanted = [
        ("slow", 1),
        ("http2", 1),
        ("unknown", 1),
        ("too_long", 1),
        ("malformed", 1),
    ];
    assert_eq!(counted, [&wanted[..], &[("identity", 4)]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_another_user_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::open();
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else; the door is closed to others anyway.
        return;
    }
    // Somebody opened the door, so that it is the check that refuses.
    let dir = house.socket.parent().expect("a directory");
    for (path, mode) in [(dir, 0o755), (&house.socket, 0o666)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("ours");
    }
    for (uid, wanted) in [
        ("1234", "runs as user 1234, who is not accepted"),
        ("65534", "does not tell the manager which user"),
    ] {
        let output = Command::new("setpriv")
            .args(["--reuid", uid, "--clear-groups", CALLER])
            .args([house.socket.as_os_str(), "w".as_ref()])
            .output();
        let output = within("the end of a stranger", output).await;
        let said = output.expect("setpriv").stderr;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(wanted), "{said}");
    }
    assert!(house.ids().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_away_keeps_its_place_for_its_grace_and_no_longer() {
    let mut config = ManagerConfig::new(NODE);
    config.away_grace = PATIENCE * 2;
    let house = House::with(config);
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let serving = worker.dial_in(&house.socket).await;
    worker.emit(10);
    house.manager.received(&id, 10).await;
    serving.abort();
    let away = |info: &StreamInfo| info.state == StreamState::Away;
    house.manager.until("its absence", &id, away).await;
    worker.emit(10);
    let _serving = worker.dial_in(&house.socket).await;
    let info = house.manager.received(&id, 20).await;
    assert_eq!((info.streams, info.ledger.gaps), (2, 0));
    assert_eq!(info.ledger_difference(), 0);

    let mut config = ManagerConfig::new(NODE);
    config.away_grace = Duration::from_millis(50);
    let house = House::with(config);
    let serving = worker.dial_in(&house.socket).await;
    house.manager.streaming(&id).await;
    serving.abort();
    house.left(&id).await;
    let again = worker.dial_in(&house.socket).await;
    worker.emit(1);
    house.manager.received(&id, 1).await;
    again.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_unregistered_is_kept_away_until_it_is_admitted_again() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let _serving = worker.dial_in(&house.socket).await;
    house.manager.streaming(&id).await;
    let muted = house.manager.toggle(Target::Worker(id.clone()), false);
    muted.expect("it is there");
    house.manager.applied(&id).await;
    assert!(house.manager.unregister_worker(&id).await);
    assert!(house.ids().is_empty());
    let (refused, _) = worker.call(&house.socket).await;
    assert!(reason(Some(refused)).contains("was unregistered"));
    assert!(house.manager.readmit(&id) && !house.manager.readmit(&id));
    let _serving = worker.dial_in(&house.socket).await;
    house.manager.applied(&id).await;
    let policy = house.manager.policy(&id).expect("it is there");
    assert!(!policy.enabled, "it is still muted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_of_a_worker_replaces_the_older_and_costs_nothing() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let mut connections = Vec::new();
    for round in 1..=20 {
        connections.push(worker.dial_in(&house.socket).await);
        worker.emit(50);
        let open = |info: &StreamInfo| info.streams == round && info.ledger.received == 50 * round;
        house.manager.until("its events", &id, open).await;
    }
    let settled = |info: &StreamInfo| info.state == StreamState::Streaming && info.streams == 20;
    let info = house.manager.until("the last stream", &id, settled).await;
    assert_eq!((info.ledger.gaps, info.ledger_difference()), (0, 0));
    assert_eq!(info.ledger.received, info.ledger.dispatched);
    assert_eq!(house.ids().len(), 1);
    assert_eq!(worker.telemetry().ledger().check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_under_load_loses_only_what_is_counted() {
    let house = House::open();
    let id = WorkerId::from("w");
    let worker = Caller::new("w", "p");
    let mut emitted = 0;
    for _ in 0..20 {
        let serving = worker.dial_in(&house.socket).await;
        let open = |info: &StreamInfo| {
            info.state == StreamState::Streaming && !info.incarnation.is_empty()
        };
        house.manager.until("its hello", &id, open).await;
        worker.emit(200);
        emitted += 200;
        serving.abort();
        let _over = serving.await;
    }
    let _serving = worker.dial_in(&house.socket).await;
    worker.emit(1);
    emitted += 1;
    let balanced = |info: &StreamInfo| info.ledger.received + info.ledger.gaps == emitted;
    let info = house.manager.until("the balance", &id, balanced).await;
    assert_eq!(info.ledger_difference(), 0);
    assert_eq!(info.ledger.received, house.manager.witness().count());
    let _here = worker.telemetry().ledger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_of_another_incarnation_ends_the_connection() {
    let house = House::open();
    let mut worker = Caller::new("w", "");
    worker.introduction().incarnation = introduction("w").incarnation;
    let _serving = worker.dial_in(&house.socket).await;
    let refused = |info: &StreamInfo| {
        let error = info.last_error.as_deref().unwrap_or_default();
        info.state == StreamState::Away && error.contains("names another incarnation")
    };
    let info = house.manager.until("the end", &"w".into(), refused).await;
    assert_eq!(info.incarnation, "", "nothing of it was believed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_ends_has_callers_wait() {
    let house = House::open();
    let worker = Caller::new("w", "p");
    let _serving = worker.dial_in(&house.socket).await;
    worker.emit(10);
    house.manager.received(&"w".into(), 10).await;
    assert!(house.manager.shutdown(PATIENCE).await);
    let (answer, _) = worker.call(&house.socket).await;
    assert_eq!(answer, IntroductionAnswer::Wait { seconds: 1 });
    assert_eq!(house.totals("p").ledger.received, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_worker_that_dials_in_has_its_name_and_its_children_have_names_of_their_own() {
    let house = House::open();
    let script = format!(
        "{CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID \"\" stay & \
         exec {CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID other stay"
    );
    let dir = house.socket.parent().expect("a directory").join("run");
    let mut config = PoolConfig::new("web", ["sh", "-c", &script], dir);
    config.manager = Some(house.acceptor.address().clone());
    let pool = Pool::start(&house.manager, config).await.expect("a shell");
    within("the pool", pool.ready()).await;
    let called = |info: &StreamInfo| info.link == LinkKind::In;
    let own = house
        .manager
        .until("the worker itself", &"web-1".into(), called)
        .await;
    assert_eq!(own.parent, None);
    assert_eq!(own.pid, pool.status().workers[0].pid);
    let child = eventually("the child", || {
        let streams = house.manager.list_streams();
        let mut children = streams.into_iter();
        children.find(|info| info.parent.is_some() && info.state == StreamState::Streaming)
    })
    .await;
    let pid = child.pid.expect("a process");
    assert_eq!(child.worker_id.as_str(), format!("web-1.{pid}"));
    assert_eq!(child.parent, Some("web-1".into()));
    assert_eq!(child.pool_name.as_deref(), Some("web"));
    assert_eq!(house.ids().len(), 2);
    pool.recycle("web-1").await.expect("it runs");
    let succeeded = |info: &StreamInfo| info.link == LinkKind::In && info.pid != own.pid;
    house
        .manager
        .until("the successor", &"web-1".into(), succeeded)
        .await;
    pool.shutdown(PATIENCE).await;
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_worker_that_only_starts_others_is_ready_when_one_of_them_is_there() {
    let house = House::open();
    let call = format!("{CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID \"\" stay");
    let script = format!("{call} & {call} & {call} & wait");
    let dir = house.socket.parent().expect("a directory").join("run");
    let mut config = PoolConfig::new("web", ["sh", "-c", &script], dir);
    config.manager = Some(house.acceptor.address().clone());
    let pool = Pool::start(&house.manager, config).await.expect("a shell");
    within("the pool", pool.ready()).await;
    let children = || {
        let streams = house.manager.list_streams().into_iter();
        let children = streams.filter(|info| info.parent == Some("web-1".into()));
        children
            .filter(|info| info.state == StreamState::Streaming)
            .count()
    };
    eventually("three children", || (children() == 3).then_some(())).await;
    assert_eq!(pool.status().workers[0].restarts, 0);
    pool.shutdown(PATIENCE).await;
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}
