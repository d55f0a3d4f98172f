//! A story with a manager in the test's own process: it is looked at all the time, and at the end
//! every process that ever emitted is judged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use telemetry_server::{Manager, WorkerContext, WorkerId, pool::Pool, stream::StreamState};
use tokio::task::JoinHandle;

use super::account::{Book, incarnations, pools};
use super::arrivals::Arrivals;
use super::judge::{Finding, Verdict, judge};
use super::laws::Laws;
use super::pages::Pages;
use super::program::{Kind, Program};
use super::role::PoolRole;
use crate::manager::{POOL, TestManager};
use crate::patience::{PATIENCE, eventually, within};

/// Between two looks at what the manager says.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How long the account of a process may take to be right once nothing happens any more.
const TO_REST: Duration = Duration::from_secs(10);
/// Events a second of each worker.
const RATE: u32 = 500;

/// What a process's account has to be at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every event accounted for.
    Exact,
    /// That, or it is said to be unknown: the process died between two reports.
    ExactOrUnknown,
}

/// A manager under watch, and the truth beside it.
#[derive(Debug)]
pub struct Story {
    /// The manager.
    pub manager: TestManager,
    /// What processes counted themselves.
    pub pages: Pages,
    /// What was dispatched.
    pub arrivals: Arrivals,
    dir: tempfile::TempDir,
    /// The last that was said about each process.
    book: Arc<Mutex<Book>>,
    /// Tells the watch to end.
    over: Arc<AtomicBool>,
    watch: JoinHandle<Laws>,
}

impl Story {
    /// A manager without workers, looked at from now on.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn begin() -> Self {
        let manager = TestManager::blind();
        let dir = tempfile::tempdir().expect("a directory");
        let pages = dir.path().join("pages");
        std::fs::create_dir(&pages).expect("a directory for the pages");
        let pages = Pages::new(pages);
        let arrivals = Arrivals::in_memory();
        manager
            .dispatcher()
            .attach("arrivals", "snakepit.python.tool.*", arrivals.handler())
            .expect("a free id");
        let over = Arc::new(AtomicBool::new(false));
        let book = Arc::default();
        let watch = tokio::spawn(look_at(
            (*manager).clone(),
            pages.clone(),
            Arc::clone(&book),
            Arc::clone(&over),
        ));
        Self {
            manager,
            pages,
            arrivals,
            dir,
            book,
            over,
            watch,
        }
    }

    /// A directory for sockets.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How truthful workers of this kind are started.
    #[must_use]
    pub fn program(&self, kind: Kind) -> Program {
        Program {
            kind,
            pages: self.pages.clone(),
            rate: RATE,
        }
    }

    /// A pool of plain Python workers, all of them ready.
    ///
    /// # Panics
    ///
    /// When they do not start.
    pub async fn pool(&self, python: PathBuf, size: usize) -> Pool {
        let program = self.program(Kind::Python(python));
        let role = PoolRole {
            name: POOL.to_owned(),
            command: program.command(),
            env: program.env(),
            size,
            run_dir: self.dir().join("run"),
        };
        let pool = Pool::start(&self.manager, role.config(None)).await;
        let pool = pool.unwrap_or_else(|error| panic!("{error}"));
        within("all workers ready", pool.ready()).await;
        pool
    }

    /// Registers who listens at a socket, as this process, and waits for the stream.
    ///
    /// # Panics
    ///
    /// When the manager refuses.
    pub async fn register(&self, socket: &Path, id: &str, pool: &str, pid: u32) -> WorkerId {
        let mut context = WorkerContext::new(id).in_pool(pool);
        context.python_pid = Some(pid);
        let endpoint = format!("unix:{}", socket.display());
        let endpoint = endpoint.parse().expect("an endpoint");
        let id = self
            .manager
            .register_worker(endpoint, context)
            .expect("a valid worker");
        self.manager
            .until("a stream with a hello", &id, |info| {
                info.state == StreamState::Streaming && !info.incarnation.is_empty()
            })
            .await;
        id
    }

    /// Waits until the first worker of a pool is a ready process that has emitted so many.
    pub async fn ready_process(&self, pool: &Pool, emitted: u64) -> u32 {
        eventually("a worker with some events", || {
            let status = pool.status();
            let worker = status.workers.first()?;
            let pid = worker.pid?;
            let is_ready = worker.state == telemetry_server::pool::WorkerState::Ready;
            (is_ready && self.pages.returned(pid) >= emitted).then_some(pid)
        })
        .await
    }

    /// Judges every process that ever emitted; those that `expected` does not name must be exact.
    /// Shuts the manager down.
    ///
    /// # Panics
    ///
    /// When an account is wrong without saying so, a law was broken at any look, or an event was
    /// dispatched twice: says all of it, with the numbers.
    pub async fn judge(self, expected: &[(u32, Expected)]) -> BTreeMap<u32, Verdict> {
        let expected: BTreeMap<_, _> = expected.iter().copied().collect();
        let deadline = Instant::now() + TO_REST;
        let (verdicts, mut faults) = loop {
            let verdicts = self.verdicts();
            let faults = self.faults(&verdicts, &expected);
            if faults.is_empty() || Instant::now() > deadline {
                break (verdicts, faults);
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        };
        self.over.store(true, Ordering::SeqCst);
        let laws = self.watch.await.expect("the watch does not panic");
        if laws.broken() > 0 {
            faults.push(format!(
                "{} broken laws in {} looks:",
                laws.broken(),
                laws.looks()
            ));
            faults.extend(laws.told());
        }
        self.manager.shutdown(PATIENCE).await;
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
        verdicts
    }

    /// Compares for every process.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<u32, Verdict> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.note(&incarnations(&self.manager));
        let pages = self.pages.all().into_iter();
        pages
            .map(|(pid, truth)| (pid, judge(pid, truth, book.of(pid))))
            .collect()
    }

    /// What is wrong, in words; numbers of all processes first if anything is.
    fn faults(
        &self,
        verdicts: &BTreeMap<u32, Verdict>,
        expected: &BTreeMap<u32, Expected>,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (pid, verdict) in verdicts {
            let seen = self.arrivals.of(*pid);
            let expected = expected.get(pid).copied().unwrap_or(Expected::Exact);
            let is_unexpected = verdict.finding == Finding::Unknown && expected == Expected::Exact;
            if verdict.finding == Finding::Silent || is_unexpected {
                faults.push(format!("{verdict}; {} dispatched", seen.distinct()));
            }
            if seen.twice > 0 {
                faults.push(format!("process {pid}: {} dispatched twice", seen.twice));
            }
            let received = verdict.row.as_ref().map_or(0, |row| row.received);
            if seen.distinct() < received {
                faults.push(format!(
                    "process {pid}: received {received}, dispatched {}",
                    seen.distinct()
                ));
            }
        }
        let sums = pools(&self.manager);
        let truth = self.pages.sum();
        let silent: u64 = verdicts.values().map(|verdict| verdict.silent).sum();
        if silent > 0 {
            faults.push(format!(
                "silent {silent} of {}; pools say {sums:?}",
                truth.returned
            ));
        }
        // Each row is right; then the totals have to be their sum.
        if verdicts.values().all(|it| it.finding == Finding::Exact) {
            let before = |it: &Verdict| it.row.as_ref().map_or(0, |row| row.emitted_before);
            let before: u64 = verdicts.values().map(before).sum();
            let emitted: u64 = sums.iter().map(|sums| sums.emitted).sum();
            if truth.distance(before + emitted) > 0 {
                faults.push(format!(
                    "truth {truth:?}, totals {before} + {emitted}: {sums:?}"
                ));
            }
        }
        faults
    }
}

async fn look_at(
    manager: Manager,
    pages: Pages,
    book: Arc<Mutex<Book>>,
    over: Arc<AtomicBool>,
) -> Laws {
    let mut laws = Laws::default();
    while !over.load(Ordering::SeqCst) {
        book.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(&incarnations(&manager));
        let said = pools(&manager);
        laws.look(&said, pages.sum().begun);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    laws
}
