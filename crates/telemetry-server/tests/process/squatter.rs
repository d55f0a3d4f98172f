//! Another user who took the manager's port while it was away, and waits for its token.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Listens as another user, says where, and then prints all that the first client says.
const SQUATTER: &str = r#"
import os, socket, sys
uid = int(sys.argv[1])
try:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
except PermissionError:
    sys.exit(77)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
stream, _ = listener.accept()
said = b""
stream.settimeout(20)
while not said.endswith(b"\r\n\r\n"):
    piece = stream.recv(65536)
    if not piece:
        break
    said += piece
stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
print(said.decode(), flush=True)
"#;

/// What the command says, and what the squatter heard; none where we may not become another user.
fn meet(uid: u32, more: &[&str]) -> Option<(String, String)> {
    let mut squatter = Command::new("python3")
        .args(["-c", SQUATTER, &uid.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut heard = BufReader::new(squatter.stdout.take().expect("piped"));
    let mut port = String::new();
    heard.read_line(&mut port).expect("a pipe");
    if port.is_empty() {
        squatter.wait().expect("a child");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (config, token) = (dir.path().join("t.toml"), dir.path().join("token"));
    fs::write(&token, TOKEN).expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("ours");
    let port = port.trim();
    let text = format!(
        "[http]\nsocket = \"off\"\nlisten = \"127.0.0.1:{port}\"\ntoken_file = {token:?}\n"
    );
    fs::write(&config, text).expect("a file");
    let more = more.iter().map(|word| match *word {
        "TOKEN" => token.as_os_str().to_owned(),
        word => word.into(),
    });
    let output = Command::new(env!("CARGO_BIN_EXE_telemetry"))
        .args(["workers", "--json", "--config"])
        .arg(&config)
        .args(more)
        .output()
        .expect("it runs");
    let mut said = String::new();
    heard.read_to_string(&mut said).expect("a pipe");
    squatter.wait().expect("a child");
    Some((String::from_utf8_lossy(&output.stderr).into_owned(), said))
}

#[test]
fn whoever_took_the_port_is_shown_no_token_unless_it_was_named() {
    let Some((told, heard)) = meet(65_533, &[]) else {
        return;
    };
    assert!(!heard.contains(TOKEN), "{heard}");
    assert!(told.contains("user 65533 listens there"), "{told}");
    // It does wait for one.
    let (_, heard) = meet(65_533, &["--token-file", "TOKEN"]).expect("as before");
    assert!(heard.contains(TOKEN), "{heard}");
    let own = rustix::process::geteuid().as_raw();
    let (told, heard) = meet(own, &[]).expect("as before");
    assert!(heard.contains(TOKEN), "our own: {told}");
}
