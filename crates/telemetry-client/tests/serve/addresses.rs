//! Where a worker refuses to listen and why, and what peers cannot take from it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use telemetry_client::serve::{ServeConfig, Server};
use telemetry_core::Address;

use crate::manager::Manager;
use crate::{PATIENCE, Worker, private_directory, recorder};

fn start(address: &Address) -> Result<Server, String> {
    let mut config = ServeConfig::default();
    config.insecure = true;
    Server::start(address, recorder(), config).map_err(|error| error.to_string())
}

fn refusal(path: &Path) -> String {
    start(&Address::Unix(path.to_owned())).expect_err("a refusal")
}

#[test]
fn a_missing_directory_is_refused_and_not_made() {
    let directory = private_directory();
    let uid = rustix::process::geteuid().as_raw();
    for mistyped in [
        "missing".to_owned(),
        "missing/deeper".to_owned(),
        format!("missing/telemetry-{uid}"),
        format!("telemetry-{uid}x"),
    ] {
        let error = refusal(&directory.path().join(mistyped).join("worker.sock"));
        assert!(error.contains("does not exist"), "{error}");
    }
    let left = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn the_directory_that_is_advised_is_made_private_and_the_socket_too() {
    let directory = private_directory();
    let uid = rustix::process::geteuid().as_raw();
    let path = directory
        .path()
        .join(format!("telemetry-{uid}/worker.sock"));
    let _server = start(&Address::Unix(path.clone())).expect("a server");
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a parent")), 0o700);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_with_a_way_out() {
    let directory = private_directory();
    for mode in [0o777, 0o770, 0o1777] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path(), open).expect("our directory");
        let error = refusal(&directory.path().join("worker.sock"));
        assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
        let uid = rustix::process::geteuid().as_raw();
        assert!(
            error.contains(&format!("telemetry-{uid}/worker.sock")),
            "{error}"
        );
    }
}

#[test]
fn a_linked_directory_is_refused() {
    let directory = private_directory();
    let link = directory.path().join("link");
    std::fs::create_dir(directory.path().join("real")).expect("a directory");
    symlink(directory.path().join("real"), &link).expect("a link");
    let error = refusal(&link.join("worker.sock"));
    assert!(error.contains("symbolic link"), "{error}");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    // Only root can make one; elsewhere the root directory is somebody else's.
    let directory = private_directory();
    let path = if rustix::process::geteuid().is_root() {
        let owner = Some(rustix::fs::Uid::from_raw(12_345));
        rustix::fs::chown(directory.path(), owner, None).expect("root may");
        directory.path().join("worker.sock")
    } else {
        Path::new("/worker.sock").to_owned()
    };
    let error = refusal(&path);
    assert!(error.contains("belongs to uid"), "{error}");
}

#[test]
fn a_long_path_is_refused_with_its_length() {
    let path = Path::new("/tmp").join("x".repeat(200));
    let error = refusal(&path);
    assert!(error.contains("205 bytes; at most 107"), "{error}");
    assert!(error.contains("use a shorter directory"), "{error}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = private_directory();
    let path = directory.path().join("worker.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "it is stale");
    let _server = start(&Address::Unix(path.clone())).expect("a server in its place");
    let error = refusal(&path);
    assert!(
        error.contains("already served by another process; stop it"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = private_directory();
    let path = directory.path().join("worker.sock");
    std::fs::write(&path, "precious").expect("a file");
    let error = refusal(&path);
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "precious");
}

#[test]
fn only_loopback_ports_are_served() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:4317"] {
        let error = start(&address.parse().expect("an address")).expect_err("a refusal");
        assert!(
            error.contains(address) && error.contains("127.0.0.1"),
            "{error}"
        );
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let error = start(&Address::Tcp(address)).expect_err("a refusal");
    assert!(
        error.contains(&address.to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn a_free_port_is_chosen_and_told() {
    let server = start(&"127.0.0.1:0".parse().expect("an address")).expect("a server");
    let Address::Tcp(address) = *server.address() else {
        panic!("a port")
    };
    assert_ne!(address.port(), 0);
    let manager = Manager::dial_tcp(address).await;
    let _stream = manager.stream().await;
    assert_eq!(server.clients(), 1);
}

#[test]
fn a_peer_of_another_user_is_turned_away() {
    let foreign = rustix::process::geteuid().as_raw() + 1;
    let mut serve = ServeConfig::default();
    serve.limits.allowed_uid = foreign;

    let worker = Worker::with(serve);
    assert!(is_closed(&mut connect(&worker), PATIENCE));
}

#[test]
fn a_peer_that_drips_bytes_is_closed_at_the_handshake_deadline() {
    let timeout = Duration::from_millis(200);
    let mut serve = ServeConfig::default();
    serve.limits.handshake_timeout = timeout;

    let worker = Worker::with(serve);
    let begun = Instant::now();
    let mut peer = connect(&worker);
    // A part of the preface. Fails if the deadline is over by now.
    let _closed_already = peer.write_all(b"PRI * HTTP/2.0\r\n");
    assert!(is_closed(&mut peer, PATIENCE));
    assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
}

#[test]
fn for_a_connection_beyond_the_limit_the_oldest_without_a_stream_goes() {
    let mut serve = ServeConfig::default();
    serve.limits.max_connections = 2;

    let worker = Worker::with(serve);
    let mut peers: Vec<_> = (0..3).map(|_| connect(&worker)).collect();
    assert!(is_closed(&mut peers[0], PATIENCE));
    assert!(!is_closed(&mut peers[1], Duration::from_millis(50)));
    assert!(!is_closed(&mut peers[2], Duration::from_millis(50)));
}

fn connect(worker: &Worker) -> UnixStream {
    UnixStream::connect(worker.socket()).expect("a listening socket")
}

/// Whether the worker closes the connection within `patience`; its own first frames are skipped.
fn is_closed(peer: &mut UnixStream, patience: Duration) -> bool {
    peer.set_read_timeout(Some(patience)).expect("a timeout");
    let mut bytes = [0; 256];
    loop {
        match peer.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            // A process that was stopped for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_socket_whose_owner_accepts_nothing_is_somebodys() {
    let directory = private_directory();
    let path = directory.path().join("worker.sock");
    let frozen = UnixListener::bind(&path).expect("a free socket");
    // A second `listen` sets the length of the queue: room for one that waits.
    rustix::net::listen(&frozen, 0).expect("a listener");
    let _waiting = UnixStream::connect(&path).expect("the only place");
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(refusal(&path)));
    let error = answer.recv_timeout(PATIENCE).expect("an answer in time");
    assert!(error.contains("already served"), "{error}");
}
