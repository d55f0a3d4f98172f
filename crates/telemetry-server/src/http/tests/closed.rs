//! Facts about who gets in: over a port, with a token and without, and over the unix socket.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixStream;

use super::*;
use crate::bound::Bound;
use crate::http::TokenFile;
use crate::http::access::Access;
use crate::http::arrival::{Door, SocketDoor};

/// Sends a head over the unix socket and reads until the server closes.
async fn over_socket(path: &Path, head: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn closed(dir: &Path) -> HttpConfig {
    HttpConfig {
        listen: Some(loopback()),
        socket: Some(dir.join("http.sock")),
        token: Some(TokenFile::Own(dir.join("token"))),
        ..HttpConfig::default()
    }
}

#[tokio::test]
async fn over_a_port_the_api_is_closed_without_the_token_that_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig_with(closed(dir.path())).await;
    let file = dir.path().join("token");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    for path in ["/api/workers", "/api/tap", "/nowhere"] {
        let answer = rig.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
        let told: Value = serde_json::from_str(body(&answer)).unwrap();
        let told = told["error"].as_str().unwrap();
        assert!(told.contains(file.to_str().unwrap()), "{told}");
        assert!(!answer.contains(token.trim()), "{answer}");
    }
    assert_eq!(rig.refused("no_token"), 3);
    let ask = |shown: String| {
        let head =
            format!("GET /api/workers HTTP/1.1\r\nHost: localhost\r\nAuthorization: {shown}");
        let rig = &rig;
        async move { rig.ask(&head).await }
    };
    let wrong = ask(format!("Bearer {}", "0".repeat(64))).await;
    assert!(wrong.starts_with("HTTP/1.1 401 "), "{wrong}");
    assert_eq!(rig.refused("wrong_token"), 1);
    let right = ask(format!("Bearer {}", token.trim())).await;
    assert!(right.starts_with("HTTP/1.1 200 "), "{right}");
    for path in ["/metrics", "/healthz"] {
        let answer = rig.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    assert_eq!(rig.handlers(), ["prometheus"], "no live view began");
}

#[tokio::test]
async fn what_is_not_listed_as_public_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = closed(dir.path());
    config.public = Vec::new();
    let rig = rig_with(config).await;
    for path in ["/metrics", "/healthz"] {
        let answer = rig.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn without_a_token_a_port_shows_what_is_public_and_says_why_no_more() {
    let rig = rig_with(HttpConfig {
        listen: Some(loopback()),
        ..HttpConfig::default()
    })
    .await;
    let answer = rig.get("/api/workers").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("token_file"), "{answer}");
    assert_eq!(rig.refused("closed"), 1);
    assert_eq!(body(&rig.get("/healthz").await), "ok\n");
}

#[tokio::test]
async fn the_socket_is_for_its_user_and_asks_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = closed(dir.path());
    config.listen = None;
    let rig = rig_with(config).await;
    let socket = rig.server.socket().expect("it has one").to_owned();
    assert_eq!(rig.server.local_addr(), None);
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o7777, 0o600);
    for head in [
        "GET /api/workers HTTP/1.1\r\nHost: anything",
        "GET /api/workers HTTP/1.1\r\nAccept: */*",
        "GET /metrics HTTP/1.0\r\nAccept: */*",
    ] {
        let answer = over_socket(&socket, head).await;
        assert!(answer.contains(" 200 OK"), "{head}: {answer}");
    }
    let post = over_socket(&socket, "POST /api/workers HTTP/1.1\r\nHost: x").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    rig.server.shutdown(PATIENCE).await;
    assert!(!socket.exists(), "it is cleaned up");
}

#[tokio::test]
async fn a_client_without_a_host_gets_health_alone() {
    let rig = rig().await;
    for version in ["1.0", "1.1"] {
        let ask = |path: &str| {
            let head = format!("GET {path} HTTP/{version}\r\nAccept: */*");
            let rig = &rig;
            async move { rig.ask(&head).await }
        };
        let health = ask("/healthz").await;
        assert!(health.contains(" 200 OK"), "{health}");
        let metrics = ask("/metrics").await;
        assert!(metrics.contains(" 403 Forbidden"), "{metrics}");
    }
    assert_eq!(rig.refused("host"), 2);
}

#[tokio::test]
async fn a_server_that_can_be_reached_nowhere_or_by_too_many_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let state = || {
        let rig = Catalog::builtin();
        let clock = Arc::new(SystemClock::new());
        let dispatcher = Dispatcher::new(Arc::clone(rig), Source::of_node("here"), clock);
        let prometheus = PrometheusExporter::new(Arc::clone(rig), PrometheusConfig::default());
        HttpState::new(dispatcher, prometheus, ())
    };
    let nowhere = HttpServer::start(state(), HttpConfig::default()).await;
    assert!(matches!(nowhere, Err(HttpError::Nowhere)), "{nowhere:?}");

    let token = dir.path().join("token");
    fs::write(&token, "0".repeat(64)).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = HttpServer::start(state(), closed(dir.path()))
        .await
        .unwrap_err();
    assert!(open.to_string().contains("lets others in"), "{open}");
    fs::remove_file(&token).unwrap();

    let first = HttpServer::start(state(), closed(dir.path()))
        .await
        .unwrap();
    let second = HttpServer::start(state(), closed(dir.path()))
        .await
        .unwrap_err();
    assert!(matches!(second, HttpError::Socket(_)), "{second}");
    drop(first);
}

#[tokio::test]
async fn a_directory_that_was_removed_gets_its_socket_and_its_token_again() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let (path, file) = (run_dir.join("http.sock"), run_dir.join("token"));
    let bound = Bound::at(&path).unwrap();
    let access = Access::new(Vec::new(), Some(&TokenFile::Own(file.clone()))).unwrap();
    let token = fs::read_to_string(&file).unwrap();
    let mut door = SocketDoor::new(bound, Vec::new(), Arc::new(access));
    // One that is removed alone is not to be used any more.
    fs::remove_file(&file).unwrap();
    door.look_after().await;
    assert!(!file.exists());

    fs::remove_dir_all(&run_dir).unwrap();
    door.look_after().await;
    assert_eq!(fs::metadata(&run_dir).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
    let _client = UnixStream::connect(&path).await.unwrap();
    let stream = door.accept().await.unwrap();
    assert!(door.look_at(&stream).is_ok());
}
