//! Facts about `/api/v1`, over real sockets and with a real manager.

use std::time::Instant;

use tempfile::TempDir;

use super::super::routes::{ROOT, ROUTES, What};
use super::*;
use crate::identity::WorkerContext;
use crate::manager::{Manager, ManagerConfig};

/// A server of a manager with so many workers, of which none is there.
pub(super) async fn rig_of(workers: usize, config: HttpConfig) -> (Rig, TempDir) {
    let catalog = Catalog::builtin();
    let clock = Arc::new(SystemClock::new());
    let dispatcher = Dispatcher::new(Arc::clone(catalog), Source::of_node("here"), clock);
    let prometheus = PrometheusExporter::new(Arc::clone(catalog), PrometheusConfig::default());
    dispatcher
        .attach("prometheus", "*", prometheus.clone())
        .unwrap();
    let settings = ManagerConfig::with_dispatcher("here", dispatcher.clone());
    let manager = Manager::start(settings).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for number in 1..=workers {
        let id = format!("w-{number}");
        let socket = directory.path().join(&id);
        let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
        let pool = if number % 2 == 0 { "even" } else { "odd" };
        let context = WorkerContext::new(id).in_pool(pool);
        manager.register_worker(endpoint, context).unwrap();
    }
    let state = HttpState::new(dispatcher.clone(), prometheus.clone(), manager);
    let server = HttpServer::start(state, config).await.unwrap();
    let rig = Rig {
        server,
        dispatcher,
        prometheus,
    };
    (rig, directory)
}

/// A port where everybody may read.
fn open() -> HttpConfig {
    HttpConfig {
        listen: Some(loopback()),
        public: vec![HttpRoute::Api],
        ..HttpConfig::default()
    }
}

/// The paths of the table, as somebody asks for them.
fn paths() -> impl Iterator<Item = String> {
    let gets = ROUTES.iter().filter(|route| route.method == "GET");
    gets.map(|route| format!("{ROOT}{}", route.path.replace("{id}", "w-1")))
}

#[tokio::test]
async fn every_route_answers_and_refuses_what_it_does_not_understand() {
    let (rig, _workers) = rig_of(1, open()).await;
    rig.crash("x");
    for path in paths() {
        let refused = rig.get(&format!("{path}?nonsense=1")).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{path}: {refused}");
        assert!(
            refused.contains("unknown query parameter"),
            "{path}: {refused}"
        );
        if path.ends_with("/tap") {
            continue;
        }
        let answer = rig.get(&path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(
            answer.contains("content-type: application/json"),
            "{path}: {answer}"
        );
        assert!(answer.contains("default-src 'none'"), "{path}: {answer}");
        let _json: Value = serde_json::from_str(body(&answer)).unwrap();
    }
    let missing = rig.get("/api/v1/wrokers").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    assert!(
        missing.contains("/api/v1/workers/{id}, /api/v1/pools"),
        "{missing}"
    );
    let missing = rig.get("/api/v1/workers/w-2").await;
    assert!(
        missing.contains("there is no worker \\\"w-2\\\""),
        "{missing}"
    );
}

#[tokio::test]
async fn workers_come_in_pages_by_pattern_and_pool() {
    let (rig, _workers) = rig_of(12, open()).await;
    let ids = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("a list").iter();
        items
            .map(|it| it["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = rig.json("/api/v1/workers?limit=3").await;
    assert_eq!(ids(&first), ["w-1", "w-2", "w-3"]);
    assert_eq!(
        (&first["total"], &first["next"]),
        (&json!(12), &json!("w-3"))
    );
    let last = rig.json("/api/v1/workers?limit=3&after=w-9").await;
    assert_eq!(ids(&last), ["w-10", "w-11", "w-12"]);
    assert_eq!(last.get("next"), None);
    let some = rig
        .json("/api/v1/workers?match=w-1*&pool=even&sort=-id")
        .await;
    assert_eq!(ids(&some), ["w-12", "w-10"]);
    assert_eq!(some["total"], 2);
    let sorted = rig.json("/api/v1/workers?sort=-received&limit=1").await;
    assert_eq!(sorted["total"], 12);
    let one = rig.json("/api/v1/workers/w-7").await;
    assert_eq!(
        (&one["pool"], &one["detail"]["incarnations"]),
        (&json!("odd"), &json!([]))
    );
    let fleet = rig.json("/api/v1/fleet").await;
    assert_eq!(
        (&fleet["workers"], &fleet["node"]),
        (&json!(12), &json!("here"))
    );
    let pools = rig.json("/api/v1/pools").await;
    assert_eq!(pools["items"][0]["name"], "even");
    let refused = rig.get("/api/v1/workers?limit=1001").await;
    assert!(
        refused.contains("limit: 1001 is not allowed; 1 to 1000 are"),
        "{refused}"
    );
    let refused = rig.get("/api/v1/workers?sort=size").await;
    assert!(refused.contains("use id, received, rejected"), "{refused}");
}

#[tokio::test]
async fn events_and_handlers_are_counted_by_name() {
    let (rig, _workers) = rig_of(0, open()).await;
    (0..3).for_each(|_| rig.crash("x"));
    let events = rig.json("/api/v1/events?match=worker.*").await;
    assert_eq!(events["items"], json!([{ "name": CRASH, "count": 3 }]));
    let catalog = rig.json("/api/v1/catalog?match=tool.execution.stop").await;
    let entry = &catalog["items"][0];
    assert_eq!(entry["wire_name"], "tool.execution.stop");
    assert_eq!(entry["measurements"][0]["kind"], "histogram");
    let handlers = rig.json("/api/v1/handlers").await;
    assert_eq!(handlers["items"][0]["delivered"], 3);
    let ledger = rig.json("/api/v1/ledger").await;
    assert_eq!(
        (&ledger["balances"], &ledger["laws"][4]["of"]),
        (&json!(true), &json!("prometheus"))
    );
}

#[tokio::test]
async fn ten_thousand_workers_are_shown_by_the_page_in_time() {
    let (rig, _workers) = rig_of(10_000, open()).await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let asked = Instant::now();
        let answer = rig.get("/api/v1/workers?limit=200").await;
        quickest = quickest.min(asked.elapsed());
        let page: Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(
            (&page["total"], &page["next"]),
            (&json!(10_000), &json!("w-200"))
        );
        let bytes = body(&answer).len();
        assert!(bytes <= 300_000, "{bytes} bytes");
    }
    // Code that is not optimised takes several times as long.
    let most = if cfg!(debug_assertions) { 300 } else { 50 };
    assert!(quickest <= Duration::from_millis(most), "{quickest:?}");
}

#[tokio::test]
async fn a_server_without_a_manager_says_so() {
    let rig = rig().await;
    let answer = rig.get("/api/v1/fleet").await;
    assert!(answer.contains("this server knows no manager"), "{answer}");
}

/// Opens a live view of version 1 and skips its head.
async fn view(rig: &Rig, query: &str, more: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let request = format!("GET /api/v1/tap{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream
}

#[tokio::test]
async fn a_view_shows_what_is_where_it_asks() {
    let (rig, _workers) = rig_of(0, open()).await;
    let mut seen = view(&rig, "?match=worker.*&where=reason=oom&where=count=1", "").await;
    rig.crash("other");
    rig.crash("oom");
    assert_eq!(next_json(&mut seen).await["metadata"]["reason"], "oom");
    let mut none = view(&rig, "?worker=gpu-*", "").await;
    rig.crash("of no worker");
    (0..=TAP_QUEUE).for_each(|_| rig.crash("oom"));
    for _ in 0..TAP_QUEUE {
        assert_eq!(next_json(&mut seen).await["name"], CRASH);
    }
    assert_eq!(next_json(&mut seen).await, json!({ "lagged": 1 }));
    drop(seen);
    let source = Source {
        worker_id: Some("gpu-7".into()),
        ..Source::of_node("here")
    };
    let spec = Catalog::builtin()
        .by_name("snakepit.python.call.stop")
        .unwrap();
    rig.dispatcher.execute(&EventRef::new(EventParts {
        spec,
        measurements: &[],
        metadata: &[],
        timestamp_ns: 1,
        correlation_id: "",
        sampling_rate: 1.0,
        span: None,
        source: &source,
    }));
    assert_eq!(next_json(&mut none).await["metadata"]["worker_id"], "gpu-7");
    let refused = rig.get("/api/v1/tap?where=tool").await;
    assert!(refused.contains("use key=value"), "{refused}");
}

#[tokio::test]
async fn a_view_that_can_show_nothing_known_says_so_first() {
    let (rig, _workers) = rig_of(0, open()).await;
    let mut seen = view(&rig, "?match=tol.*", "").await;
    assert_eq!(
        next_json(&mut seen).await["warning"],
        "no event of the catalog matches \"tol.*\"; did you mean \"tool\"?"
    );
    // Its exact wire name is known.
    let mut seen = view(&rig, "?match=call.stop", "").await;
    drop(rig.tap("?match=*").await);
    rig.dispatcher.emit_own(CRASH, &[], &[]).unwrap();
    rig.server.shutdown(PATIENCE).await;
    let mut rest = String::new();
    seen.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains('{'), "{rest}");
}

#[tokio::test]
async fn a_view_speaks_server_sent_events_to_who_accepts_them() {
    let (rig, _workers) = rig_of(0, open()).await;
    let mut seen = view(&rig, "?match=wrker.*", "Accept: text/event-stream\r\n").await;
    rig.server.shutdown(PATIENCE).await;
    let mut all = String::new();
    seen.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("event: warning\ndata: \"no event"), "{all}");
}

#[test]
fn no_route_is_there_twice() {
    for (place, route) in ROUTES.iter().enumerate() {
        let same = |other: &&super::super::routes::Route| {
            (other.path, &other.method) == (route.path, &route.method)
        };
        assert_eq!(ROUTES.iter().position(|other| same(&other)), Some(place));
    }
    assert!(ROUTES.iter().any(|route| route.what == What::Openapi));
}
