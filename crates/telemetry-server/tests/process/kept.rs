//! The service manager keeps the memory of workers between two lives of a manager. Its part is played by
//! the test, which speaks systemd's protocol; the manager is the real one, and so is the worker's memory.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use telemetry_core::{
    Outcome, SystemClock, ValueRef,
    emit::{Fields, Identity, Recorder, RecorderConfig, Region},
};

use crate::rig::{IDLE, Manager, PATIENCE, command, configured, wait};

/// Events that the worker leaves.
const EVENTS: i64 = 5;
/// A worker that does nothing but introduce itself with its memory.
const WORKER: &str = r#"
import fcntl, os, signal, socket, sys
path, body, ready = sys.argv[1], sys.argv[2].encode(), sys.argv[3]
memory = os.memfd_create("telemetry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
os.write(memory, sys.stdin.buffer.read())
fcntl.fcntl(memory, fcntl.F_ADD_SEALS, int(sys.argv[4]))
manager = socket.socket(socket.AF_UNIX)
manager.connect(path)
frame = b"TELEMETRY/1" + len(body).to_bytes(4, "big") + body
socket.send_fds(manager, [frame], [memory])
assert b"welcome" in manager.recv(4096).lower()
open(ready, "w").close()
os.read(manager.fileno(), 1 << 20)
while True:
    signal.pause()
"#;

/// What a worker with this incarnation left that emitted some events and sent none.
fn memory(incarnation: u128) -> Vec<u8> {
    let config = RecorderConfig::default();
    let layout = config.layout();
    let words: Vec<AtomicU64> = (0..layout.words()).map(|_| AtomicU64::new(0)).collect();
    let words: &'static [AtomicU64] = words.leak();
    let region = Region::of(words, layout).expect("as many words");
    let region = region.signed(Identity {
        pid: 1,
        incarnation,
    });
    let recorder = Recorder::in_region(config, Arc::new(SystemClock::new()), region);
    let recorder = recorder.expect("the default policy");
    let site = recorder.callsite("tool.result_size").expect("a name");
    for bytes in 0..EVENTS {
        let fields = Fields {
            measurements: &[("bytes", ValueRef::Int(bytes))],
            ..Fields::default()
        };
        assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
    }
    let words = words.iter();
    words
        .flat_map(|word| word.load(Ordering::SeqCst).to_ne_bytes())
        .collect()
}

/// The seals that a manager asks for: `SEAL`, `SHRINK`, `GROW`, `FUTURE_WRITE`.
const SEALS: u32 = 1 | 2 | 4 | 16;

/// A worker that dies with the test.
struct Worker(Child);

impl Worker {
    fn start(dir: &Path, incarnation: u128) -> Self {
        Self::with(dir, incarnation, &memory(incarnation), SEALS)
    }

    /// With memory that need not be its own.
    fn with(dir: &Path, incarnation: u128, memory: &[u8], seals: u32) -> Self {
        let body = format!(
            r#"{{"worker":"w.1","pool":"p","incarnation":"{incarnation:032x}","pid":1,"language":"sh"}}"#
        );
        let ready = dir.join("welcomed");
        let mut child = Command::new("python3")
            .args(["-c", WORKER])
            .arg(dir.join("door.sock"))
            .arg(body)
            .arg(&ready)
            .arg(seals.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(memory).expect("it reads");
        drop(stdin);
        let worker = Self(child);
        wait("the welcome", || ready.exists().then_some(()));
        worker
    }

    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("a child");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _ended_before = self.0.wait();
    }
}

/// The service manager's socket.
struct Service(UnixDatagram);

impl Service {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a free path");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(socket)
    }

    /// The next message of this kind, and the descriptor that came with it.
    fn hear(&self, kind: &str) -> (String, Option<OwnedFd>) {
        loop {
            let mut bytes = [0; 4096];
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut room);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC);
            let got = got.unwrap_or_else(|error| panic!("nothing of {kind}: {error}"));
            let mut handed = None;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(mut all) = message {
                    handed = all.next();
                }
            }
            let text = String::from_utf8(bytes[..got.bytes].to_vec()).expect("text");
            if text.lines().any(|line| line == kind) {
                return (text, handed);
            }
        }
    }
}

fn name_in(message: &str) -> &str {
    let name = message
        .lines()
        .find_map(|line| line.strip_prefix("FDNAME="));
    name.expect("a name")
}

/// A configuration with a door for workers, and no pool: whoever is killed leaves nobody behind.
fn with_a_door() -> (tempfile::TempDir, u16) {
    let (directory, port) = configured("", 0, IDLE);
    let path = directory.path();
    let text = format!(
        "[manager]\nrun_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [accept]\nlisten = \"unix:{}\"\n",
        path.join("run"),
        path.join("door.sock").display()
    );
    fs::write(path.join("telemetry.toml"), text).expect("a file");
    (directory, port)
}

/// The next life of the manager, which is given what was kept.
fn successor(place: (tempfile::TempDir, u16), notify: &Path, kept: OwnedFd, name: &str) -> Manager {
    let plain = command(place.0.path());
    // The number 3 and the process id are what the protocol asks for.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("NOTIFY_SOCKET", notify)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", name)
        .stdin(File::from(kept))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Manager::run(&mut command, place)
}

/// Whether the metrics say that nothing of the pool is unknown and so much was recovered, or that
/// one worker is unknown.
fn says(manager: &Manager, recovered: i64, unknown: u32) -> bool {
    let metrics = manager.get("/metrics");
    let says = |what: &str| metrics.lines().any(|line| line == what);
    let note = "telemetry_notes_total{pool=\"p\",stage=\"manager\",note=\"recovered\"}";
    let count = "telemetry_unaccounted_incarnations_total{pool=\"p\"}";
    let is_recovered = match recovered {
        0 => !metrics.contains(note),
        recovered => says(&format!("{note} {recovered}")),
    };
    is_recovered && says(&format!("{count} {unknown}"))
}

fn recovered(manager: &Manager) -> bool {
    says(manager, EVENTS, 0)
}

#[test]
fn what_a_worker_left_while_no_manager_ran_is_read_by_the_next_one() {
    let place = with_a_door();
    let notify = place.0.path().join("notify.sock");
    let service = Service::at(&notify);
    let mut manager = Manager::start(place, |command| {
        command.env("NOTIFY_SOCKET", &notify);
    });
    service.hear("READY=1");
    let worker = Worker::start(manager.directory.path(), 7);
    let (message, kept) = service.hear("FDSTORE=1");
    let kept = kept.expect("a descriptor");
    let name = name_in(&message).to_owned();
    assert!(
        name.starts_with("telemetry.") && name.contains("w%2e1"),
        "{name}"
    );

    manager.signal(Signal::KILL);
    manager.child.wait().expect("a child");
    worker.kill();
    let directory = std::mem::replace(
        &mut manager.directory,
        tempfile::tempdir().expect("a directory"),
    );
    let port = manager.port();
    drop(manager);
    let manager = successor((directory, port), &notify, kept, &name);
    wait("what the worker left", || recovered(&manager).then_some(()));
    let (message, _) = service.hear("FDSTOREREMOVE=1");
    assert_eq!(name_in(&message), name);
}

#[test]
fn a_worker_that_dies_while_its_manager_runs_is_read_and_let_go() {
    let place = with_a_door();
    let notify = place.0.path().join("notify.sock");
    let service = Service::at(&notify);
    let manager = Manager::start(place, |command| {
        command.env("NOTIFY_SOCKET", &notify);
    });
    let worker = Worker::start(manager.directory.path(), 8);
    let (message, _kept) = service.hear("FDSTORE=1");
    worker.kill();
    wait("what the worker left", || recovered(&manager).then_some(()));
    let (gone, _) = service.hear("FDSTOREREMOVE=1");
    assert_eq!(name_in(&gone), name_in(&message));
}

#[test]
fn memory_that_is_not_what_it_should_be_makes_its_worker_unknown() {
    let whole = memory(9);
    let mut rubbish = whole.clone();
    rubbish[..8].fill(0xff);
    let mut contradicting = whole.clone();
    // The cursors, and what says where they are.
    contradicting[16 * 8..58 * 8].fill(0x55);
    let others = memory(10);
    let cases: [(&str, &[u8], u32); 5] = [
        ("no region", &rubbish, SEALS),
        ("cursors that cannot be", &contradicting, SEALS),
        ("another one's", &others, SEALS),
        ("nothing", &[], SEALS),
        ("one that can still change", &whole, 0),
    ];
    for (what, bytes, seals) in cases {
        let manager = Manager::start(with_a_door(), |_| {});
        let worker = Worker::with(manager.directory.path(), 9, bytes, seals);
        worker.kill();
        wait(what, || says(&manager, 0, 1).then_some(()));
    }
}
