//! A manager at whose door workers may dial in, and workers that are processes of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use telemetry_core::wire::{Introduction, IntroductionAnswer};
use telemetry_server::{
    ManagerConfig, Totals, WorkerId,
    accept::{AcceptConfig, Acceptor},
};
use telemetry_tests::{NODE, TestManager, WITNESS, ask, eventually, within};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(super) const CALLER: &str = env!("CARGO_BIN_EXE_caller");

/// A manager at whose door workers may dial in.
pub(super) struct House {
    pub(super) manager: TestManager,
    pub(super) acceptor: Acceptor,
    pub(super) socket: PathBuf,
    _dir: TempDir,
}

impl House {
    pub(super) fn open() -> Self {
        Self::with(ManagerConfig::new(NODE))
    }

    pub(super) fn with(config: ManagerConfig) -> Self {
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
    pub(super) fn totals(&self, pool: &str) -> Totals {
        let pools = self.manager.pools();
        let found = pools
            .into_iter()
            .find(|it| it.pool_name.as_deref() == Some(pool));
        found.expect("its pool").totals
    }

    /// The ids of all workers.
    pub(super) fn ids(&self) -> BTreeSet<String> {
        let streams = self.manager.list_streams();
        streams.iter().map(|it| it.worker_id.to_string()).collect()
    }

    /// Says any bytes at the door; what is answered.
    pub(super) async fn say(&self, bytes: &[u8]) -> Option<IntroductionAnswer> {
        let mut stream = UnixStream::connect(&self.socket).await.expect("a door");
        ask(&mut stream, bytes).await
    }

    /// Waits until the manager knows nobody under this id.
    pub(super) async fn left(&self, id: &WorkerId) {
        eventually(&format!("{id} to leave"), || {
            self.manager.stream(id).is_none().then_some(())
        })
        .await;
    }
}

/// A worker process of its own.
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts one, without waiting until it is welcome.
    pub(super) fn start(socket: &Path, id: &str, pool: &str) -> Self {
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

    pub(super) async fn hears(&mut self, word: &str) {
        let line = within("a word of a worker", self.stdout.next_line()).await;
        assert_eq!(line.expect("a pipe").as_deref(), Some(word));
    }

    /// Has it emit so many events, and waits until they are sent.
    pub(super) async fn emit(&mut self, count: u64) {
        let order = format!("{count}\n");
        self.stdin
            .write_all(order.as_bytes())
            .await
            .expect("a pipe");
        self.hears("sent").await;
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(super) async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }
}

pub(super) fn reason(answer: Option<IntroductionAnswer>) -> String {
    match answer {
        Some(IntroductionAnswer::Refused { reason }) => reason,
        other => panic!("expected to be refused, was answered {other:?}"),
    }
}

pub(super) fn introduction(worker: &str) -> Introduction {
    let mut introduction = Introduction::default();
    introduction.worker = worker.to_owned();
    introduction.incarnation = "0123456789abcdef0123456789abcdef".to_owned();
    introduction
}
