//! A worker of ours that dials in: the real service behind a connection that it opened itself.
//!
//! The introduction is written and read by hand, so that a test may say anything; what comes behind it is
//! the client crate's own work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{Identity, StreamConfig, TelemetryService};
use telemetry_core::{
    Outcome, SystemClock,
    emit::{Recorder, RecorderConfig},
    wire::{INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, introduction_body_bytes},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::patience::{PATIENCE, within};

/// Time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(20);

/// A worker that dials in when it is told to.
#[derive(Debug)]
pub struct Caller {
    introduction: Introduction,
    telemetry: Telemetry,
    service: TelemetryService,
}

impl Caller {
    /// One of this id, and of a pool if it is not empty.
    ///
    /// # Panics
    ///
    /// When the system gives no recorder.
    #[must_use]
    pub fn new(id: &str, pool: &str) -> Self {
        let recorder = Recorder::new(RecorderConfig::default(), Arc::new(SystemClock::new()));
        let recorder = Arc::new(recorder.expect("a valid policy"));
        let mut identity = Identity::default();
        identity.worker_id = id.to_owned();
        let mut introduction = Introduction::default();
        introduction.worker = id.to_owned();
        introduction.pool = pool.to_owned();
        introduction.incarnation = identity.incarnation_id.clone();
        introduction.pid = std::process::id();
        let mut config = StreamConfig::default();
        config.identity = identity;
        config.report_interval = REPORT_INTERVAL;
        config.first_control_wait = PATIENCE;
        let (backend, service) = StreamBackend::mounted(recorder, config);
        let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
        Self {
            introduction,
            telemetry,
            service,
        }
    }

    /// What it says of itself.
    pub fn introduction(&mut self) -> &mut Introduction {
        &mut self.introduction
    }

    /// What a program would hold.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Emits so many events, with room for all of them in the queue.
    ///
    /// # Panics
    ///
    /// When one is not taken.
    pub fn emit(&self, count: u64) {
        for _ in 0..count {
            let outcome =
                self.telemetry
                    .emit("tool.execution.start", &[("count", 1_i64.into())], &[], "");
            assert_eq!(outcome, Outcome::Accepted);
        }
    }

    /// Connects and introduces itself. What it is answered, and the connection.
    pub async fn call(&self, socket: &Path) -> (IntroductionAnswer, UnixStream) {
        let stream = UnixStream::connect(socket).await;
        let mut stream = stream.expect("a manager that accepts");
        let answer = ask(&mut stream, &self.introduction.to_frame()).await;
        (answer.expect("an answer"), stream)
    }

    /// Dials in and serves until the task is aborted, which cuts the connection.
    ///
    /// # Panics
    ///
    /// When it is not welcome.
    pub async fn dial_in(&self, socket: &Path) -> JoinHandle<()> {
        let (answer, stream) = self.call(socket).await;
        assert_eq!(answer, IntroductionAnswer::Welcome);
        self.serve(stream)
    }

    /// Serves a connection until the task is aborted, which cuts it.
    #[must_use]
    pub fn serve(&self, stream: UnixStream) -> JoinHandle<()> {
        let service = TowerToHyperService::new(self.service.clone());
        tokio::spawn(async move {
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(served);
        })
    }

    /// Ends it in order: what is queued, its last report, the end of the stream.
    pub fn end(&self) {
        self.telemetry.shutdown(PATIENCE);
    }
}

/// Sends any bytes and reads the answer; `None` if the peer left without one.
pub async fn ask(stream: &mut UnixStream, frame: &[u8]) -> Option<IntroductionAnswer> {
    // A peer that has answered early may be gone already; its answer is still there.
    let _gone = stream.write_all(frame).await;
    answer(stream).await
}

/// Reads an answer; `None` if the peer left without one.
pub async fn answer(stream: &mut UnixStream) -> Option<IntroductionAnswer> {
    let read = async {
        let mut head = [0; INTRODUCTION_HEAD_BYTES];
        stream.read_exact(&mut head).await.ok()?;
        let length = introduction_body_bytes(&head).ok()??;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        IntroductionAnswer::from_body(&body).ok()
    };
    within("the answer to an introduction", read).await
}
