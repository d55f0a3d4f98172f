//! Many workers in one process: each with its own recorder, service, socket and connection.
//!
//! They share a runtime, as services that a program mounts do; a thread for each would measure the
//! scheduler. It is driven by orders and answers with what it emitted.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::{
    DEFAULT_KEEP_ALIVE_INTERVAL, DEFAULT_KEEP_ALIVE_TIMEOUT, StreamConfig, TelemetryService,
};
use telemetry_core::{
    SystemClock,
    emit::{QueueLimits, Recorder, RecorderConfig},
};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use crate::stream::{Load, Played, cpu, obey, resident};

/// Events that wait in one worker; a second of its load.
const QUEUE_EVENTS: usize = 1_024;
/// Their bytes.
const QUEUE_BYTES: usize = 256 * 1_024;
/// Time between two rounds of events.
const TICK: Duration = Duration::from_millis(1);
/// Longest wait for the queues to be empty.
const PATIENCE: Duration = Duration::from_secs(30);

/// One worker.
struct Worker {
    telemetry: Telemetry,
    recorder: Arc<Recorder>,
    load: Load,
}

/// One event per millisecond on each of some streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// How many streams, the first ones.
    pub(super) streams: usize,
    /// Events of each.
    pub(super) millis: usize,
    /// Milliseconds over which the beginnings of the streams are spread; 1: all begin at once.
    pub(super) phases: usize,
}

/// What became of an [`Order`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Emitted {
    /// Events.
    pub(super) emitted: u64,
    /// Sum of their `count`.
    pub(super) sum: u64,
    /// Time from the first to the last.
    pub(super) elapsed: Duration,
}

impl Order {
    /// Has the workers do it and waits for that.
    pub(super) fn give(self, workers: &mut Played) -> Emitted {
        let Self {
            streams,
            millis,
            phases,
        } = self;
        let answer = workers.ask(&format!("emit {streams} {millis} {phases}"));
        let figures = answer.split(' ').map(|text| text.parse::<u64>());
        let figures: Vec<_> = figures.map(|figure| figure.expect("a number")).collect();
        let [emitted, sum, micros] = *figures else {
            panic!("three figures instead of {answer:?}");
        };
        Emitted {
            emitted,
            sum,
            elapsed: Duration::from_micros(micros),
        }
    }
}

/// The role: `DIR STREAMS`. Orders: `emit STREAMS MILLISECONDS PHASES`, an [`Order`], is answered with
/// `EMITTED SUM ELAPSED_US`; `usage` with `RESIDENT_BYTES CPU_NS`.
pub(super) fn play(arguments: &[String]) {
    let [dir, streams] = arguments else { return };
    let streams: usize = streams.parse().expect("a number");
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut workers: Vec<_> = (0..streams)
        .map(|number| Worker::start(&runtime, &super::socket(Path::new(dir), number)))
        .collect();
    println!("ready");
    obey(|order| match *order.split(' ').collect::<Vec<_>>() {
        ["emit", streams, millis, phases] => {
            let number = |text: &str| text.parse().expect("a number");
            emit(
                &mut workers[..number(streams)],
                number(millis),
                number(phases),
            )
        }
        _ => format!("{} {}", resident(), cpu().as_nanos()),
    });
}

impl Worker {
    fn start(runtime: &Runtime, path: &Path) -> Self {
        let mut config = RecorderConfig::default();
        config.queue = QueueLimits::new(QUEUE_EVENTS, QUEUE_BYTES);
        let recorder = Recorder::new(config, Arc::new(SystemClock::new())).expect("a policy");
        let recorder = Arc::new(recorder);
        let (backend, service) =
            StreamBackend::mounted(Arc::clone(&recorder), StreamConfig::default());
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(path).expect("a free path")
        };
        runtime.spawn(serve(listener, service));
        let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
        Self {
            load: Load::new(&telemetry),
            telemetry,
            recorder,
        }
    }
}

/// Serves every connection of one worker.
async fn serve(listener: UnixListener, service: TelemetryService) {
    while let Ok((connection, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(DEFAULT_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(DEFAULT_KEEP_ALIVE_TIMEOUT);
        tokio::spawn(builder.serve_connection(TokioIo::new(connection), service));
    }
}

/// Emits `millis` events on each stream, one each per tick; late ticks are made up for. The streams begin
/// in turn over `phases` ticks.
fn emit(workers: &mut [Worker], millis: usize, phases: usize) -> String {
    let totals = |workers: &[Worker]| {
        let sum = |of: fn(&Worker) -> u64| workers.iter().map(of).sum::<u64>();
        (sum(|it| it.load.emitted), sum(|it| it.load.sum))
    };
    let before = totals(workers);
    let start = Instant::now();
    for tick in 0..millis + phases - 1 {
        for (number, worker) in workers.iter_mut().enumerate() {
            let begins = number % phases;
            if !(begins..begins + millis).contains(&tick) {
                continue;
            }
            // None may be lost, so a worker whose queue is nearly full is waited for.
            while worker.recorder.queued() > QUEUE_EVENTS / 2 {
                sleep(TICK);
            }
            worker.load.emit();
        }
        let next = TICK * u32::try_from(tick + 1).unwrap_or(u32::MAX);
        sleep(next.saturating_sub(start.elapsed()));
    }
    let elapsed = start.elapsed();
    for worker in &*workers {
        assert!(worker.telemetry.flush(PATIENCE), "a queue did not drain");
    }
    let after = totals(workers);
    let (emitted, sum) = (after.0 - before.0, after.1 - before.1);
    format!("{emitted} {sum} {}", elapsed.as_micros())
}
