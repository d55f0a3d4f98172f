//! What a worker hands to its manager with the introduction: the memory that its events and counters lie in. Real
//! workers are killed in a burst, and what the descriptor still holds is what they themselves counted outside of
//! telemetry.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{OFlags, SealFlags, fcntl_get_seals, fcntl_getfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use telemetry_core::{
    emit::{ReadAt, recover},
    wire::{INTRODUCTION_HEAD_BYTES, Introduction, capability, introduction_body_bytes},
};
use telemetry_tests::truth::{Kind, Loose, Pages, Program, order_only};
use telemetry_tests::{eventually, python_or_skip};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");

/// How often a worker is killed.
const KILLS: u64 = 10;

/// A region as whoever was handed it sees it.
struct Handed(File);

impl ReadAt for Handed {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.size())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, bytes, offset)
    }
}

/// Takes an introduction, and what came with its first byte.
fn take(connection: &mut UnixStream) -> (Introduction, Vec<OwnedFd>) {
    let mut head = [0; INTRODUCTION_HEAD_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (first, rest) = head.split_at_mut(1);
    let mut pieces = [IoSliceMut::new(first)];
    recvmsg(
        &*connection,
        &mut pieces,
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("a byte");
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = rights.flatten().collect();
    connection.read_exact(rest).expect("the rest of the head");
    let bytes = introduction_body_bytes(&head).expect("an introduction");
    let mut body = vec![0; bytes.expect("a whole head")];
    connection.read_exact(&mut body).expect("the body");
    let introduction = Introduction::from_body(&body).expect("an introduction");
    (introduction, fds)
}

/// A worker that has handed out its region to somebody who does nothing with its connection.
struct Met {
    worker: Loose,
    introduction: Introduction,
    region: Handed,
    _connection: UnixStream,
}

fn meet(kind: Kind, pages: &Pages, socket: &Path) -> Met {
    let listener = UnixListener::bind(socket).expect("a socket");
    let program = Program {
        kind,
        pages: pages.clone(),
        rate: 1_000,
    };
    let worker = program.dial(socket, "handed");
    let (mut connection, _) = listener.accept().expect("a worker");
    let (introduction, mut fds) = take(&mut connection);
    assert_eq!(fds.len(), 1, "one descriptor, with the first byte");
    Met {
        worker,
        introduction,
        region: Handed(fds.remove(0).into()),
        _connection: connection,
    }
}

async fn killed_in_a_burst(kind: Kind) {
    for round in 0..KILLS {
        let directory = tempfile::tempdir().expect("a directory");
        let pages = Pages::new(directory.path());
        let mut met = meet(kind.clone(), &pages, &directory.path().join("m.sock"));
        let pid = met.worker.pid;
        let is_said = |word: &String| word == capability::REGION;
        assert!(met.introduction.capabilities.iter().any(is_said));
        let seals = fcntl_get_seals(&met.region.0).expect("a memory file");
        let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        assert!(seals.contains(all), "{seals:?}");
        let flags = fcntl_getfl(&met.region.0).expect("open");
        assert_eq!(flags & OFlags::RWMODE, OFlags::RDONLY);
        eventually("its page", || pages.of(pid)).await;
        order_only(&pages, pid, "burst 1000000");
        // Before the ring is full, and behind that.
        met.worker.emitted(500 + round * 2_000).await;
        met.worker.end_by(Signal::KILL).await;
        let left = recover(&met.region).expect("a region");
        assert_eq!(left.identity.pid, pid);
        let incarnation = format!("{:032x}", left.identity.incarnation);
        assert_eq!(incarnation, met.introduction.incarnation);
        let there = left.events(left.counters.sent).count() as u64;
        let told = there + left.counters.sent + left.holes + left.counters.dropped.total();
        let counted = pages.of(pid).expect("its page");
        assert_eq!(counted.distance(told), 0, "{told} of {counted:?}: {left:?}");
        assert!(left.holes <= 1, "one thread emits");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_what_it_counted() {
    killed_in_a_burst(Kind::Rust(CHAOS.into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_python_worker_leaves_what_it_counted() {
    let Some(python) = python_or_skip() else {
        return;
    };
    killed_in_a_burst(Kind::Python(python)).await;
}
