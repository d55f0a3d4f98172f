//! Another user of this machine, who asks the manager over HTTP in every way there is, and clients that hold
//! their places.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{IDLE, Log, Manager, configured, line_with, wait};

/// Tries everything that is in its arguments (port, socket, a text like a token) and prints what it was
/// answered, a line each: what it tried, the first line, and whether a row of a worker came with it.
const STRANGER: &str = r#"
import os, socket, sys
port, path, text = int(sys.argv[1]), sys.argv[2], sys.argv[3]
uid = int(sys.argv[4])
try:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
except PermissionError:
    sys.exit(77)
def ask(what, family, address, target, *headers):
    try:
        with socket.socket(family) as stream:
            stream.settimeout(10)
            stream.connect(address)
            head = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
            try:
                stream.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
            except BrokenPipeError:
                pass
            answer = b""
            try:
                while piece := stream.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
    except OSError as error:
        print(what, type(error).__name__)
        return
    print(what, answer.split(b"\r\n")[0].decode(), '"worker_id"' in answer.decode())
tcp = (socket.AF_INET, ("127.0.0.1", port))
ask("bare", *tcp, "/api/tap")
ask("workers", *tcp, "/api/workers")
ask("wrong", *tcp, "/api/tap", "Authorization: Bearer " + "0" * 64)
ask("text", *tcp, "/api/workers", "Authorization: Bearer " + text)
ask("query", *tcp, "/api/workers?token=" + text)
ask("metrics", *tcp, "/metrics")
ask("health", *tcp, "/healthz")
ask("socket", socket.AF_UNIX, path, "/api/workers")
"#;

/// How it ends where it may not become another user.
const NOT_ALLOWED: i32 = 77;

/// What a worker has to show, in a file of the same kind.
const OF_A_WORKER: &str = "b2f1c0ffee5eed00b2f1c0ffee5eed00b2f1c0ffee5eed00b2f1c0ffee5eed00";

/// Runs the stranger as another user; none where we may not become one.
fn stranger(uid: u32, manager: &Manager) -> Option<Vec<String>> {
    let uid = uid.to_string();
    let socket = manager.directory.path().join("run/http.sock");
    let output = Command::new("python3")
        .args(["-c", STRANGER])
        .arg(manager.port().to_string())
        .arg(socket)
        .args([OF_A_WORKER, &uid])
        .stdin(Stdio::null())
        .output();
    let output = output.ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NOT_ALLOWED) {
        return None;
    }
    assert!(output.status.success(), "{said}");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    Some(told.lines().map(str::to_owned).collect())
}

fn refused(manager: &Manager, why: &str) -> u64 {
    let name = format!("telemetry_http_refused_total{{why=\"{why}\"}}");
    let count = manager.metric(&name).expect("it is there");
    format!("{count:.0}").parse().expect("a number")
}

#[test]
fn another_user_reads_nothing_and_every_try_is_seen() {
    let log = Log::new();
    let manager = Manager::start(configured("", 1, IDLE), |command| {
        command.stderr(log.end());
    });
    let lines = log.lines();
    manager.all_workers(1);
    let directory = manager.directory.path().to_owned();
    fs::write(directory.join("run/worker.token"), OF_A_WORKER).expect("a file");
    let Some(told) = stranger(12_345, &manager) else {
        let skipped = "skipped: this user may not become another one";
        writeln!(io::stderr(), "{skipped}").expect("stderr of a test");
        return;
    };
    let expected = [
        "bare HTTP/1.1 401 Unauthorized False",
        "workers HTTP/1.1 401 Unauthorized False",
        "wrong HTTP/1.1 401 Unauthorized False",
        "text HTTP/1.1 401 Unauthorized False",
        "query HTTP/1.1 401 Unauthorized False",
        "metrics HTTP/1.1 200 OK False",
        "health HTTP/1.1 200 OK False",
        "socket PermissionError",
    ];
    assert_eq!(told, expected);
    assert_eq!(refused(&manager, "no_token"), 3);
    assert_eq!(refused(&manager, "wrong_token"), 2);
    assert_eq!(refused(&manager, "user"), 0, "its directory is closed");

    // Whatever becomes of the modes of files: the user is looked at as well.
    let open = |path: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(directory.join(path), mode).expect("ours");
    };
    open("", 0o755);
    open("run", 0o755);
    open("run/http.sock", 0o666);
    for uid in [12_345, 65_534] {
        let told = stranger(uid, &manager).expect("it could before");
        assert_eq!(told[7], "socket HTTP/1.1 403 Forbidden False", "{uid}");
    }
    assert_eq!(refused(&manager, "user"), 2);
    let mut said = String::new();
    for why in ["no_token", "wrong_token", "user"] {
        let line = line_with(&lines, "an HTTP client was refused");
        assert!(line.contains(why), "{line}");
        said.push_str(&line);
    }
    assert!(!said.contains(OF_A_WORKER), "{said}");
}

/// A client that asks for far more than it takes, and reads none of it.
fn never_reads(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    let soon = Some(Duration::from_millis(20));
    stream.set_write_timeout(soon).expect("a socket");
    let asks = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    // As much as it takes.
    let _cut = stream.write_all(asks.as_bytes());
    stream
}

#[test]
fn clients_that_never_read_or_never_ask_keep_nobody_out() {
    let manager = Manager::start(configured("", 1, IDLE), |_| {});
    manager.all_workers(1);
    let healthy = || {
        let began = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", manager.port())).expect("it listens");
        let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let answered = stream.write_all(ask.as_bytes());
        let answered = answered.and_then(|()| stream.read_to_string(&mut answer));
        answered.expect("an answer");
        assert!(answer.ends_with("ok\n"), "{answer}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
    };
    let deaf: Vec<_> = (0..128).map(|_| never_reads(manager.port())).collect();
    (0..3).for_each(|_| healthy());
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(("127.0.0.1", manager.port())).expect("it listens"))
        .collect();
    (0..3).for_each(|_| healthy());
    assert!(refused(&manager, "crowded") > 0);
    drop((deaf, silent));
    wait("their places", || {
        (manager.metric("telemetry_open_fds")? < 128.0).then_some(())
    });
}
