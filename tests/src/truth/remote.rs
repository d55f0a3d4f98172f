//! The test's hold on a manager's process.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::account::by_process;
use super::program::{process_state, signal};
use super::role::{Answer, Order, Role};
use crate::patience::{PATIENCE, eventually, within};

/// Between two attempts to reach a process that is starting.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);
/// How long a manager may take to notice the end of a process.
const TO_NOTICE: Duration = Duration::from_secs(2);

/// A manager's process. Dropping it kills it.
#[derive(Debug)]
pub struct Remote {
    child: Child,
    line: Line,
    pid: u32,
}

/// Where a manager's process answers. Clones lead to the same one, and to its successor.
#[derive(Debug, Clone)]
pub struct Line {
    socket: PathBuf,
}

impl Remote {
    /// Starts `program`, whose first argument `manager` makes it carry out the role of the second,
    /// and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it cannot be started or does not answer.
    pub async fn start(program: &Path, role: &Role) -> Self {
        // What a predecessor that was killed left there; there may be nothing.
        let _absent = std::fs::remove_file(&role.socket);
        let role_as_text = serde_json::to_string(role).expect("a role is JSON");
        let child = Command::new(program)
            .args(["manager", &role_as_text])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let pid = child.id().expect("it was not waited for yet");
        let line = Line {
            socket: role.socket.clone(),
        };
        let reached = async {
            while line.ask(&Order::Account).await.is_err() {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        };
        within("an answer of a manager's process", reached).await;
        Self { child, line, pid }
    }

    /// Where it answers.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it as SIGSTOP does; returns when it stands still.
    pub async fn halt(&self) {
        signal(self.pid, Signal::STOP);
        eventually("a manager that stands still", || {
            (process_state(self.pid) == Some('T')).then_some(())
        })
        .await;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        signal(self.pid, Signal::CONT);
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub async fn kill(mut self) {
        signal(self.pid, Signal::KILL);
        let ended = within("the end of a manager", self.child.wait()).await;
        ended.expect("a child of ours");
    }

    /// Ends it in order; its last account.
    ///
    /// # Panics
    ///
    /// When it does not end in order.
    pub async fn end(mut self) -> Answer {
        let last = self.line.order(&Order::End).await;
        drop(self.child.stdin.take());
        let ended = within("the end of a manager", self.child.wait()).await;
        let ended = ended.expect("a child of ours");
        assert!(ended.success(), "the manager ended with {ended}");
        last
    }
}

impl Line {
    /// Asks once.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn ask(&self, order: &Order) -> io::Result<Answer> {
        let stream = UnixStream::connect(&self.socket).await?;
        let mut stream = BufReader::new(stream);
        let line = format!("{}\n", serde_json::to_string(order)?);
        stream.get_mut().write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Asks once, and not for long.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn ask_within(&self, order: &Order, patience: Duration) -> io::Result<Answer> {
        let answer = timeout(patience, self.ask(order)).await;
        answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Gives an order that has to be carried out.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn order(&self, order: &Order) -> Answer {
        let answer = self.ask_within(order, 2 * PATIENCE).await;
        let answer = answer.unwrap_or_else(|error| panic!("{order:?}: {error}"));
        assert_eq!(answer.error, None, "{order:?}");
        answer
    }

    /// Asks until the account satisfies `look`.
    ///
    /// # Panics
    ///
    /// When it takes too long; shows the last one.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Answer) -> Option<T>) -> T {
        let mut last = Answer::default();
        let looking = async {
            loop {
                if let Ok(answer) = self.ask(&Order::Account).await {
                    if let Some(found) = look(&answer) {
                        return found;
                    }
                    last = answer;
                }
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        };
        match timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; last seen: {last:#?}"),
        }
    }

    /// The account once it says that a process ended; what it says after a while, if it never does.
    pub async fn ended(&self, pid: u32) -> Answer {
        let deadline = Instant::now() + TO_NOTICE;
        loop {
            let answer = self.order(&Order::Account).await;
            let rows = by_process(&answer.incarnations);
            let is_ended = rows.get(&pid).is_some_and(|row| row.ended || row.complete);
            if is_ended || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// Waits until this worker streams as this process.
    pub async fn streaming(&self, id: &str, pid: u32) {
        let is_streaming = |answer: &Answer| {
            let stream = answer.streams.iter().find(|stream| stream.id == id)?;
            (stream.streaming && stream.pid == Some(pid)).then_some(())
        };
        self.until(&format!("the stream of {id}, process {pid}"), is_streaming)
            .await;
    }
}
