//! Manager, pool and board together, and the passing of time while they are watched.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_core::EventRef;
use telemetry_server::{
    Address, Manager, ManagerConfig, Target, WorkerId,
    accept::{AcceptConfig, Acceptor},
    export::{PrometheusConfig, PrometheusExporter},
    http::{HttpConfig, HttpError, HttpServer, HttpState},
    pool::{Pool, PoolConfig},
    stream::StreamInfo,
};

use crate::Options;
use crate::board::Board;
use crate::figures::Figures;
use crate::view;

/// The name of the pool.
pub(crate) const POOL: &str = "demo";
/// Time between two drawings in place.
const REFRESH: Duration = Duration::from_millis(250);
/// Time between two lines where nothing can be drawn in place.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the workers may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The window over which events per second are averaged.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// How often workers sample their memory and CPU.
const RESOURCE_INTERVAL: Duration = Duration::from_millis(500);

/// Where metrics are served, if nobody else has the port.
const METRICS_PORT: u16 = 9_464;

/// What can end the demo early.
pub(crate) type Fault = Box<dyn std::error::Error>;

/// Everything that runs.
pub(crate) struct Stage {
    /// Collects and controls.
    pub(crate) manager: Manager,
    /// Spawned the workers.
    pub(crate) pool: Pool,
    /// What the events said.
    pub(crate) figures: Figures,
    /// Where workers dial in.
    door: Acceptor,
    /// Serves `/metrics` and the API.
    http: HttpServer,
    /// The terminal.
    board: Board,
    /// Readings of the number of events, to tell how many come per second.
    readings: VecDeque<(Instant, u64)>,
    /// When all workers were streaming.
    started: Instant,
    /// When something was last drawn.
    drawn: Option<Instant>,
    /// Where the sockets are; removed at the end.
    _run_dir: tempfile::TempDir,
}

impl Stage {
    /// Starts the manager and the pool, and waits until every worker streams.
    pub(crate) async fn set(options: &Options) -> Result<Self, Fault> {
        let manager = Manager::start(ManagerConfig::new("demo-node"))?;
        let figures = Figures::default();
        let collected = figures.clone();
        manager.dispatcher().attach(
            "demo-figures",
            "snakepit.python.*",
            move |event: &EventRef<'_>| {
                collected.record(event);
            },
        )?;
        let exporter =
            PrometheusExporter::new(Arc::clone(manager.catalog()), PrometheusConfig::default());
        manager
            .dispatcher()
            .attach("prometheus", "*", exporter.clone())?;
        exporter.add_source(manager.clone());
        let run_dir = tempfile::Builder::new()
            .prefix("telemetry-demo-")
            .tempdir()?;
        let state = HttpState::new(
            manager.dispatcher().clone(),
            exporter.clone(),
            manager.clone(),
        );
        let http = serve(state, run_dir.path()).await?;
        // Workers that dial in hand over the memory their events are in: what is in it survives them.
        let at = Address::Unix(run_dir.path().join("manager.sock"));
        let door = Acceptor::start(&manager, AcceptConfig::at(at.clone()))?;
        let command = [&options.python, &options.script].map(|path| path.display().to_string());
        let mut config = PoolConfig::new(POOL, command, run_dir.path());
        config.size = options.workers.into();
        config.manager = Some(at);
        config.telemetry.resource_interval = Some(RESOURCE_INTERVAL);
        let mut board = Board::new();
        board.say(&format!("starting {} Python workers ...", options.workers));
        let pool = Pool::start(&manager, config).await?;
        let size = u64::from(options.workers);
        let streaming = pool.until(|status| status.available_workers >= size);
        if tokio::time::timeout(START_TIMEOUT, streaming)
            .await
            .is_err()
        {
            return Err(view::not_started(&pool.status()).into());
        }
        Ok(Self {
            manager,
            pool,
            figures,
            door,
            http,
            board,
            readings: VecDeque::new(),
            started: Instant::now(),
            drawn: None,
            _run_dir: run_dir,
        })
    }

    /// Lets time pass, and shows what happens.
    pub(crate) async fn watch(&mut self, time: Duration) -> Result<(), Fault> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep(REFRESH.min(end.saturating_duration_since(Instant::now()))).await;
            self.draw();
        }
        Ok(())
    }

    /// Lets the rest of the demo's time pass.
    pub(crate) async fn watch_to_the_end(&mut self, time: Duration) -> Result<(), Fault> {
        self.watch(time.saturating_sub(self.started.elapsed()))
            .await
    }

    /// Shows what happens until `wanted` holds for a worker; an error if it does not in `time`.
    pub(crate) async fn watch_until(
        &mut self,
        worker: &WorkerId,
        time: Duration,
        wanted: impl Fn(&StreamInfo) -> bool,
    ) -> Result<StreamInfo, Fault> {
        let end = Instant::now() + time;
        loop {
            match self.manager.wait_for(worker, &wanted, REFRESH).await {
                Ok(info) => return Ok(info),
                Err(last) if Instant::now() > end => {
                    return Err(format!("{worker} did not get there in {time:?}: {last:?}").into());
                }
                Err(_) => self.draw(),
            }
        }
    }

    /// Says something that stays on the screen.
    pub(crate) fn say(&mut self, text: &str) {
        self.board.say(text);
    }

    /// Seconds since all workers were streaming.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Events per second over the last moments.
    fn rate(&mut self) -> f64 {
        let now = Instant::now();
        self.readings.push_back((now, self.figures.read().events));
        while self.readings.len() > 2 && now.duration_since(self.readings[1].0) > RATE_WINDOW {
            self.readings.pop_front();
        }
        match (self.readings.front(), self.readings.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                (after - before) as f64 / to.duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Draws the board, or a line if enough time has passed.
    fn draw(&mut self) {
        let rate = self.rate();
        if self.board.in_place() {
            let lines = view::board(self, rate);
            self.board.draw(&lines);
        } else if self
            .drawn
            .is_none_or(|drawn| drawn.elapsed() >= LINE_INTERVAL)
        {
            let line = view::line(self, rate);
            self.board.draw(&[line]);
            self.drawn = Some(Instant::now());
        }
    }

    /// Goes on until interrupted, with the metrics of the manager to be scraped.
    pub(crate) async fn keep(&mut self) -> Result<(), Fault> {
        self.manager.toggle(Target::All, true)?;
        let port = self.http.local_addr().map(|address| address.to_string());
        let socket = self.http.socket().unwrap_or(Path::new("")).display();
        self.say(&format!(
            "\nstill running; try these in another terminal, and stop with Ctrl-C:\n  \
             curl http://{}/metrics\n  \
             cargo run -p telemetry-server --features cli -- workers --url unix:{socket}\n  \
             cargo run -p telemetry-server --features cli -- tap --match '*.exception' \
             --url unix:{socket}\n",
            port.unwrap_or_default()
        ));
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        while tokio::time::timeout(REFRESH, &mut interrupted)
            .await
            .is_err()
        {
            self.draw();
        }
        Ok(())
    }

    /// Ends the pool and the manager in order.
    pub(crate) async fn strike(mut self) {
        self.say("stopping the workers ...");
        self.pool.shutdown(END_TIMEOUT).await;
        self.door.stop().await;
        self.manager.shutdown(END_TIMEOUT).await;
        self.http.shutdown(END_TIMEOUT).await;
    }
}

/// Serves on the usual port, or on any if that is taken; all of it at a socket in `run_dir`.
async fn serve(state: HttpState, run_dir: &Path) -> Result<HttpServer, HttpError> {
    let at = |port| {
        let mut config = HttpConfig::default();
        config.listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        config.socket = Some(run_dir.join("http.sock"));
        config
    };
    match HttpServer::start(state.clone(), at(METRICS_PORT)).await {
        Ok(server) => Ok(server),
        Err(_taken) => HttpServer::start(state, at(0)).await,
    }
}
