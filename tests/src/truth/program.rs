//! Truthful workers as processes: started, ordered about, ended by their process id.
//!
//! An order is a file `order-<pid>` in the directory of the pages, its answer a file `answer-<pid>`:
//! they need no descriptor that stays open and no thread, and work for workers that a pool started.
//!
//! * `pause`, `resume`: answer how many were emitted.
//! * `burst N`: emits N as fast as it can, then answers; `burst N exit` ends by `_exit` instead.
//! * `finish`: answers and ends in order.
//! * With `TRUTH_ORPHANS=1` it goes on without whoever started it, as long as its pages are there.
//! * With `TRUTH_SCRIPT=N` it takes no orders: it emits N and ends.
//! * Python only: `hoard N` emits N and keeps four more KiB with each, until the system kills it; `fork` answers the child, which then is a worker like its parent; `closerange`
//!   closes descriptors 3 to 255, opens files of its own and answers what kept it from that,
//!   `check` names those that hold anything else than what it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tokio::process::{Child, Command};

use super::pages::Pages;
use crate::patience::eventually;

/// The Python program of truthful workers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/truthful.py");

/// The pool of workers that dial in.
pub(super) const DIALLED: &str = "dialled";

/// What a truthful worker is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The program that calls `run_worker` when its first argument is `worker`.
    Rust(PathBuf),
    /// The Python that has the native module.
    Python(PathBuf),
}

/// How to start truthful workers.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is written in.
    pub kind: Kind,
    /// Where it keeps its page.
    pub pages: Pages,
    /// Events a second.
    pub rate: u32,
}

impl Program {
    /// The command line, as a pool takes it.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let (program, argument) = match &self.kind {
            Kind::Rust(program) => (program, "worker"),
            Kind::Python(python) => (python, SCRIPT),
        };
        vec![program.display().to_string(), argument.to_owned()]
    }

    /// The environment, as a pool takes it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let dir = self.pages.dir().display().to_string();
        [
            ("TRUTH_DIR", dir),
            ("TRUTH_RATE", self.rate.to_string()),
            ("TELEMETRY_MAX_BUFFER", "65536".to_owned()),
            ("TELEMETRY_EXIT_TIMEOUT_MS", "10000".to_owned()),
            ("TELEMETRY_ON_FORK", "restart".to_owned()),
            // Events of its own, which nobody emits and no page counts.
            ("TELEMETRY_STALL_MS", "0".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    /// The same for workers that outlive the manager that started them.
    #[must_use]
    pub fn env_of_orphans(&self) -> Vec<(String, String)> {
        let mut env = self.env();
        env.push(("TRUTH_ORPHANS".to_owned(), "1".to_owned()));
        env
    }

    /// Starts one that serves at `socket`, outside of any pool.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, socket: &Path) -> Loose {
        // What an earlier process left there; there may be nothing.
        let _absent = fs::remove_file(socket);
        self.start_with(socket, &[("TELEMETRY_ADDRESS", &unix(socket))])
    }

    /// Starts one that dials in at `manager` under this id.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn dial(&self, manager: &Path, id: &str) -> Loose {
        let manager_address = unix(manager);
        let env = [
            ("TELEMETRY_MANAGER", manager_address.as_str()),
            ("TELEMETRY_WORKER_ID", id),
            ("TELEMETRY_POOL", DIALLED),
        ];
        self.start_with(manager, &env)
    }

    /// The same as another user, who is told whose manager it is. Only root can start it.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn dial_as(&self, uid: u32, manager: &Path, manager_uid: u32, id: &str) -> Loose {
        let (manager_address, manager_uid) = (unix(manager), manager_uid.to_string());
        let env = [
            ("TELEMETRY_MANAGER", manager_address.as_str()),
            ("TELEMETRY_MANAGER_UID", manager_uid.as_str()),
            ("TELEMETRY_WORKER_ID", id),
            ("TELEMETRY_POOL", DIALLED),
        ];
        let uid = uid.to_string();
        // It becomes the worker, and stays the process that it is.
        let changed = [
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
        ];
        let changed = changed.map(str::to_owned).into_iter();
        let command = changed.chain(self.command()).collect();
        self.run(command, manager, &env)
    }

    /// Starts one that dials in at `manager`, emits so many events and ends without a word right after
    /// the last.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn abrupt_script(&self, manager: &Path, events: u64) -> Loose {
        let (manager_address, events) = (unix(manager), events.to_string());
        let env = [
            ("TELEMETRY_MANAGER", manager_address.as_str()),
            ("TELEMETRY_POOL", DIALLED),
            ("TRUTH_SCRIPT", events.as_str()),
            ("TRUTH_ABRUPT", "1"),
        ];
        self.start_with(manager, &env)
    }

    /// Starts one that dials in at `manager`, emits so many events and ends right after the last.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn script(&self, manager: &Path, events: u64) -> Loose {
        let (manager_address, events) = (unix(manager), events.to_string());
        let env = [
            ("TELEMETRY_MANAGER", manager_address.as_str()),
            ("TELEMETRY_POOL", DIALLED),
            ("TRUTH_SCRIPT", events.as_str()),
        ];
        self.start_with(manager, &env)
    }

    fn start_with(&self, socket: &Path, env: &[(&str, &str)]) -> Loose {
        self.run(self.command(), socket, env)
    }

    fn run(&self, command: Vec<String>, socket: &Path, env: &[(&str, &str)]) -> Loose {
        let child = Command::new(&command[0])
            .args(&command[1..])
            .envs(self.env())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = child.id().expect("it was not waited for yet");
        Loose {
            child,
            pid,
            socket: socket.to_owned(),
            pages: self.pages.clone(),
        }
    }
}

/// A worker that no pool started. Dropping it kills it.
#[derive(Debug)]
pub struct Loose {
    child: Child,
    /// Its process id.
    pub pid: u32,
    /// Where it serves, or where its manager does.
    pub socket: PathBuf,
    pages: Pages,
}

impl Loose {
    /// Gives an order and waits for the answer.
    pub async fn order(&self, order: &str) -> Json {
        self::order(&self.pages, self.pid, order).await
    }

    /// Waits until it has emitted so many in its life.
    pub async fn emitted(&self, count: u64) {
        eventually("emits of a loose worker", || {
            (self.pages.returned(self.pid) >= count).then_some(())
        })
        .await;
    }

    /// Waits for its end; how it ended.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn ended(&mut self) -> String {
        let ended = crate::within("the end of a loose worker", self.child.wait()).await;
        ended.expect("a child of ours").to_string()
    }

    /// Has it end in order and waits for that.
    pub async fn finish(&mut self) -> String {
        order_only(&self.pages, self.pid, "finish");
        self.ended().await
    }

    /// Sends it a signal and waits for its end.
    pub async fn end_by(&mut self, by: Signal) -> String {
        signal(self.pid, by);
        self.ended().await
    }
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Gives an order to any truthful worker and waits for the answer.
pub async fn order(pages: &Pages, pid: u32, order: &str) -> Json {
    let answer = pages.dir().join(format!("answer-{pid}"));
    order_only(pages, pid, order);
    let answered = eventually(&format!("the answer of {pid} to {order:?}"), || {
        fs::read(&answer).ok()
    })
    .await;
    fs::remove_file(&answer).expect("an answer that was read");
    let answer: Json = serde_json::from_slice(&answered).expect("an answer is JSON");
    assert!(answer.get("error").is_none(), "{order}: {answer}");
    answer
}

/// Gives an order that ends the worker, so that there is no answer to wait for.
///
/// # Panics
///
/// When the order cannot be written.
pub fn order_only(pages: &Pages, pid: u32, order: &str) {
    let path = pages.dir().join(format!("order-{pid}"));
    let new = path.with_extension("new");
    fs::write(&new, order).expect("an order");
    fs::rename(&new, &path).expect("an order");
}

/// Sends a signal to a process that was started for a story.
///
/// # Panics
///
/// When it is not there.
pub fn signal(pid: u32, signal: Signal) {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = process.map(|process| kill_process(process, signal));
    assert_eq!(sent, Some(Ok(())), "{signal:?} to process {pid}");
}

/// The letter of a process's state, `None` when it is not there.
#[must_use]
pub fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.trim_start().chars().next()
}

/// Whether a process runs no more: its page is final. Nobody may have waited for it yet.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    matches!(process_state(pid), None | Some('Z' | 'X'))
}

/// Waits until a process runs no more.
pub async fn gone(pid: u32) {
    eventually(&format!("the end of process {pid}"), || {
        is_gone(pid).then_some(())
    })
    .await;
}
