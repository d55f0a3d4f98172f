//! Reads one process's stderr: telemetry lines go to the capture, everything else goes on to where
//! stderr should go.
//!
//! It reads until it is told that the process has ended, not until nobody can write any more: who the
//! process left behind may hold its stderr for ever. A target that blocks blocks no telemetry for longer
//! than [`TARGET_PATIENCE`]; what it cannot take then is counted and said.

use std::io::{self, Write};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_core::ledger::StreamSnapshot;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::config::StderrTarget;
use super::last_line::LastLine;
use super::tail::Tail;
use crate::capture::StderrCapture;
use crate::pipeline::Pipeline;

/// Bytes read at once from a pipe.
const CHUNK_BYTES: usize = 16 * 1024;
/// Most bytes that are read from a pipe once its process has ended: as many as the system lets wait in
/// it. What comes later is of somebody else.
const MAX_LEFT_BYTES: usize = 1 << 20;
/// How long the target may take for a piece before the next one is dropped.
const TARGET_PATIENCE: Duration = Duration::from_secs(1);
/// How long the rest may take to be read once the process has ended.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Where stderr is read.
#[derive(Debug)]
pub(super) enum Source {
    /// From the other end of a pipe.
    Pipe(pipe::Receiver),
    /// From a file that grows, and who tells of that.
    File(Box<Tail>, Arc<Notify>),
}

impl Source {
    /// The pipe of a child. Needs a runtime with I/O.
    pub(super) fn pipe(stderr: ChildStderr) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(stderr.into()).map(Self::Pipe)
    }
}

/// What is kept of a worker's stderr over all its processes.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Events by their fate.
    pub(super) counts: StreamSnapshot,
    /// Of the present process.
    pub(super) last_line: LastLine,
}

/// The task that reads. Dropping this has it end as [`finish`](Self::finish) does.
#[derive(Debug)]
pub(super) struct Reader {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Starts to read.
    pub(super) fn start(
        source: Source,
        worker: &str,
        pipeline: Pipeline,
        captured: Arc<Mutex<Captured>>,
        target: StderrTarget,
    ) -> Self {
        let (finish, finished) = oneshot::channel();
        let sink = Sink::new(pipeline, captured);
        let passing = Passing::new(worker, target);
        let task = match source {
            Source::Pipe(pipe) => tokio::spawn(read_pipe(pipe, sink, passing, finished)),
            Source::File(tail, grown) => {
                tokio::spawn(read_file(tail, grown, sink, passing, finished))
            }
        };
        Self { finish, task }
    }

    /// The process has ended: reads what is there and no more.
    pub(super) async fn finish(mut self) {
        // It may have come to an end by itself.
        let _over = self.finish.send(()).is_err();
        if timeout(END_PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn read_pipe(
    mut pipe: pipe::Receiver,
    mut sink: Sink,
    mut passing: Passing,
    mut finished: oneshot::Receiver<()>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = tokio::select! {
            read = pipe.read(&mut chunk) => read.unwrap_or(0),
            _ = &mut finished => break,
        };
        if length == 0 {
            passing.pass_on(sink.finish()).await;
            return;
        }
        passing.pass_on(sink.feed(&chunk[..length])).await;
    }
    let mut left = MAX_LEFT_BYTES;
    while left > 0 {
        let Ok(length @ 1..) = pipe.try_read(&mut chunk) else {
            break;
        };
        left = left.saturating_sub(length);
        passing.pass_on(sink.feed(&chunk[..length])).await;
    }
    passing.pass_on(sink.finish()).await;
    passing.end().await;
}

async fn read_file(
    mut tail: Box<Tail>,
    grown: Arc<Notify>,
    mut sink: Sink,
    mut passing: Passing,
    mut finished: oneshot::Receiver<()>,
) {
    let mut is_over = false;
    // What is written after the end is somebody else's, and the next process's reader reads it.
    let mut left = u64::MAX;
    loop {
        let mut rest = Vec::new();
        let worked = spawn_blocking(move || {
            let mut length = 0;
            let reading = tail.read(|bytes| {
                length = bytes.len() as u64;
                rest = sink.feed(bytes);
            });
            (tail, sink, rest, reading, length)
        });
        // It can only fail together with the runtime, or by a defect that the log shows.
        let Ok((lent, taken, rest, reading, length)) = worked.await else {
            return;
        };
        (tail, sink) = (lent, taken);
        passing.pass_on(rest).await;
        left = left.saturating_sub(length);
        let (is_something, is_behind) = match reading {
            Ok(reading) => {
                passing.skipped(reading.skipped);
                (reading.is_something, reading.is_behind)
            }
            Err(error) => {
                tracing::warn!(worker = passing.worker, %error, "a worker's stderr cannot be read");
                (false, false)
            }
        };
        if is_over && (!is_something || left == 0) {
            break;
        }
        if is_over || is_behind {
            continue;
        }
        loop {
            tokio::select! {
                () = grown.notified() => {}
                _ = &mut finished => {
                    is_over = true;
                    left = tail.backlog();
                }
            }
            // That we give space back is told as well.
            if is_over || !tail.is_at_end() {
                break;
            }
        }
    }
    passing.pass_on(sink.finish()).await;
    passing.end().await;
    let emptied = spawn_blocking(move || tail.reset()).await;
    if let Ok(Err(error)) = emptied {
        tracing::warn!(worker = passing.worker, %error, "a file for stderr cannot be emptied");
    }
}

/// Where the bytes go: events to the capture, and the last line to whoever asks.
struct Sink {
    capture: StderrCapture,
    captured: Arc<Mutex<Captured>>,
    /// What earlier processes of the worker sent.
    before: StreamSnapshot,
}

impl Sink {
    fn new(pipeline: Pipeline, captured: Arc<Mutex<Captured>>) -> Self {
        let before = {
            let mut captured = captured.lock().unwrap_or_else(PoisonError::into_inner);
            captured.last_line.clear();
            captured.counts.clone()
        };
        Self {
            capture: StderrCapture::new(pipeline),
            captured,
            before,
        }
    }

    /// Takes bytes; returns those that are not telemetry.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = Vec::new();
        self.capture.feed(bytes, &mut rest);
        self.publish(&rest);
        rest
    }

    /// Nothing more comes; returns what was held back and is not telemetry.
    fn finish(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.capture.finish(&mut rest);
        self.publish(&rest);
        rest
    }

    fn publish(&self, rest: &[u8]) {
        let mut counts = self.before.clone();
        counts.merge(&self.capture.snapshot());
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured.counts = counts;
        captured.last_line.feed(rest);
    }
}

/// Passes on what is not telemetry, one piece after the other.
struct Passing {
    worker: String,
    target: StderrTarget,
    /// A piece that the target is being given.
    writing: Option<JoinHandle<()>>,
    /// It has taken too long already.
    is_stuck: bool,
    /// Bytes dropped since the last word about it.
    dropped: u64,
}

impl Passing {
    fn new(worker: &str, target: StderrTarget) -> Self {
        Self {
            worker: worker.to_owned(),
            target,
            writing: None,
            is_stuck: false,
            dropped: 0,
        }
    }

    async fn pass_on(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if !self.is_free().await {
            self.dropped += bytes.len() as u64;
            return;
        }
        self.skipped(0);
        let target = self.target.clone();
        self.writing = Some(spawn_blocking(move || write(&target, &bytes)));
    }

    /// Bytes of the file that were never read.
    fn skipped(&mut self, bytes: u64) {
        self.dropped += bytes;
        if self.dropped > 0 && !self.is_stuck {
            let bytes = std::mem::take(&mut self.dropped);
            tracing::warn!(
                worker = self.worker,
                bytes,
                "a worker's stderr came too fast, or its target took nothing: some was not passed on"
            );
        }
    }

    /// Waits until the target has taken the last piece, if it does so in time.
    async fn is_free(&mut self) -> bool {
        let Some(writing) = &mut self.writing else {
            return true;
        };
        if self.is_stuck && !writing.is_finished() {
            return false;
        }
        self.is_stuck = timeout(TARGET_PATIENCE, writing).await.is_err();
        if !self.is_stuck {
            self.writing = None;
        }
        !self.is_stuck
    }

    /// Lets the target take the last piece.
    async fn end(&mut self) {
        let _taken = self.is_free().await;
        self.skipped(0);
    }
}

fn write(target: &StderrTarget, bytes: &[u8]) {
    let written = match target {
        StderrTarget::Inherit => io::stderr().lock().write_all(bytes),
        StderrTarget::Writer(writer) => writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(bytes),
    };
    if let Err(error) = written {
        // Our own stderr may be closed; a worker must not suffer from it.
        tracing::debug!(%error, "a worker's stderr could not be passed on");
    }
}
