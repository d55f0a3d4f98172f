//! Facts about the HTTP server, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use telemetry_core::{EventParts, EventRef, Source, SystemClock, ValueRef, catalog::Catalog};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{
    ApiResource, HttpConfig, HttpError, HttpRoute, HttpServer, HttpState, MAX_TAPS, TAP_QUEUE,
};
use crate::dispatch::{Dispatcher, MemoryHandler};
use crate::export::prometheus::{PrometheusConfig, PrometheusExporter};

mod closed;
#[cfg(feature = "openapi")]
mod openapi;
mod places;
mod policy;
#[cfg(feature = "tls")]
mod tls;
mod v1;
mod views;

const PATIENCE: Duration = Duration::from_secs(60);
const CRASH: &str = "snakepit.worker.crash";

struct Rig {
    server: HttpServer,
    dispatcher: Dispatcher,
    prometheus: PrometheusExporter,
}

/// A server that is open to everybody here.
async fn rig() -> Rig {
    rig_at(loopback()).await
}

async fn rig_at(address: SocketAddr) -> Rig {
    rig_with(HttpConfig {
        listen: Some(address),
        public: vec![HttpRoute::Metrics, HttpRoute::Healthz, HttpRoute::Api],
        ..HttpConfig::default()
    })
    .await
}

async fn rig_with(config: HttpConfig) -> Rig {
    let catalog = Catalog::builtin();
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(Arc::clone(catalog), Source::of_node("here"), clock);
    let prometheus = PrometheusExporter::new(Arc::clone(catalog), PrometheusConfig::default());
    dispatcher
        .attach("prometheus", "*", prometheus.clone())
        .unwrap();
    let source = |resource: ApiResource| match resource {
        ApiResource::Workers => json!([{ "worker_id": "w1\u{1b}[31m", "n": 1 }]),
        ApiResource::Pools => json!([{ "pool": "p" }]),
        ApiResource::Discovery => json!([{ "list": "l" }]),
        ApiResource::Catalog => json!({ "events": [] }),
        ApiResource::Quarantine => json!([{ "na\u{202e}me": "x" }]),
    };
    let state = HttpState::new(dispatcher.clone(), prometheus.clone(), source);
    let server = HttpServer::start(state, config).await.unwrap();
    Rig {
        server,
        dispatcher,
        prometheus,
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Rig {
    fn crash(&self, reason: &str) {
        self.dispatcher
            .emit_own(CRASH, &[("count", ValueRef::Int(1))], &[("reason", reason)])
            .unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr().expect("it has a port")
    }

    /// How many were refused for that reason, as the metrics say.
    fn refused(&self, why: &str) -> u64 {
        let text = self.prometheus.render();
        let line = format!("telemetry_http_refused_total{{why=\"{why}\"}} ");
        let count = text.lines().find_map(|it| it.strip_prefix(&line));
        count.expect("it is there").parse().expect("a number")
    }

    /// Sends a head, which needs no `Connection`, and reads until the server closes.
    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer));
        read.await.expect("an answer").unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost"))
            .await
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body(&answer)).unwrap()
    }

    /// Opens a live view and reads its head.
    async fn tap(&self, query: &str) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let request = format!("GET /api/tap{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    }

    fn handlers(&self) -> Vec<String> {
        self.dispatcher
            .list_handlers("")
            .into_iter()
            .map(|info| info.id)
            .collect()
    }

    /// Waits until the live views are as many as said.
    async fn taps_become(&self, count: usize) {
        let settled = async {
            while self.handlers().len() != count + 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, settled)
            .await
            .expect("the views end");
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// The next line that is JSON; what chunked encoding puts between them is skipped.
async fn next_json(stream: &mut BufReader<TcpStream>) -> Value {
    let next = async {
        loop {
            let mut line = String::new();
            assert!(
                stream.read_line(&mut line).await.unwrap() > 0,
                "the view ended"
            );
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a line")
}

#[tokio::test]
async fn metrics_come_in_the_format_asked_for() {
    let rig = rig().await;
    rig.crash("oom");
    let answer = rig.get("/metrics").await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(
        answer.contains("snakepit_worker_crash_events_total{reason=\"oom\"} 1"),
        "{answer}"
    );
    assert!(
        answer.contains("# TYPE snakepit_worker_crash_events_total counter"),
        "{answer}"
    );
    let head = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/openmetrics-text";
    let answer = rig.ask(head).await;
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_api_shows_what_there_is_with_its_text_escaped() {
    let rig = rig().await;
    assert_eq!(
        rig.json("/api/workers").await[0]["worker_id"],
        "w1\\u{001B}[31m"
    );
    assert_eq!(rig.json("/api/pools").await[0]["pool"], "p");
    assert_eq!(rig.json("/api/discover").await[0]["list"], "l");
    assert_eq!(rig.json("/api/catalog").await["events"], json!([]));
    assert_eq!(rig.json("/api/quarantine").await[0]["na\\u{202E}me"], "x");
    rig.crash("x");
    let handlers = rig.json("/api/handlers").await;
    assert_eq!(handlers[0]["id"], "prometheus");
    assert_eq!(handlers[0]["ledger"]["delivered"], 1);
    assert_eq!(body(&rig.get("/healthz").await), "ok\n");
    let missing = rig.get("/nowhere").await;
    assert!(
        missing.starts_with("HTTP/1.1 404 ") && missing.contains("/api/workers"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_path_before_routing() {
    let rig = rig().await;
    for path in [
        "/",
        "/metrics",
        "/healthz",
        "/api/workers",
        "/api/handlers",
        "/api/tap",
        "/nowhere",
    ] {
        let answer = rig
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: evil.example"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
    }
    assert_eq!(
        rig.handlers(),
        ["prometheus"],
        "the live view did not begin"
    );
    let page = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example";
    assert!(rig.ask(page).await.starts_with("HTTP/1.1 403 "));
    let nameless = rig.ask("GET /metrics HTTP/1.1\r\nAccept: */*").await;
    assert!(nameless.starts_with("HTTP/1.1 403 "), "{nameless}");
}

#[tokio::test]
async fn only_reading_is_served_and_answers_are_not_to_be_embedded() {
    let rig = rig().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = rig
            .ask(&format!("{method} /metrics HTTP/1.1\r\nHost: localhost"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
    for path in ["/metrics", "/api/workers", "/nowhere"] {
        let answer = rig.get(path).await;
        assert!(
            answer.contains("x-content-type-options: nosniff"),
            "{answer}"
        );
        assert!(answer.contains("frame-ancestors 'none'"), "{answer}");
    }
}

#[tokio::test]
async fn many_scrapes_at_once_all_get_the_whole_text() {
    let rig = Arc::new(rig().await);
    rig.crash("x");
    let scrapes: Vec<_> = (0..100)
        .map(|_| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.get("/metrics").await })
        })
        .collect();
    for scrape in scrapes {
        let answer = scrape.await.unwrap();
        assert!(answer.contains("telemetry_prometheus_series 1"), "{answer}");
    }
}

#[tokio::test]
async fn an_open_address_is_refused_unless_asked_for() {
    let rig = rig().await;
    let state = || {
        let prometheus =
            PrometheusExporter::new(Arc::clone(Catalog::builtin()), PrometheusConfig::default());
        HttpState::new(rig.dispatcher.clone(), prometheus, ())
    };
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = HttpServer::bind(open, state()).await.unwrap_err();
    assert!(matches!(error, HttpError::NotLoopback { .. }));
    assert!(error.to_string().contains("allow_remote"), "{error}");
    assert!(error.to_string().contains("[http.tls]"), "{error}");
    let config = HttpConfig {
        allow_remote: true,
        ..HttpConfig::default()
    };
    let server = HttpServer::bind_with(open, state(), config).await.unwrap();
    server.shutdown(PATIENCE).await;

    let taken = rig.address();
    let error = HttpServer::bind(taken, state()).await.unwrap_err();
    assert!(matches!(error, HttpError::InUse { address } if address == taken));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[tokio::test]
async fn shutdown_ends_live_views_and_does_not_wait_for_them() {
    // An address of its own: the port of the usual one may be somebody else's a moment later.
    let [.., high, low] = std::process::id().to_be_bytes();
    let rig = rig_at(SocketAddr::from(([127, 83, high, low], 0))).await;
    let mut view = rig.tap("").await;
    let address = rig.address();
    rig.server.shutdown(PATIENCE).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, view.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is closed");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let left = rig.dispatcher.list_handlers("").len();
    assert_eq!(left, 1);
}
