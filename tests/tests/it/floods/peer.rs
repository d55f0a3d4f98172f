//! Who floods: bytes of HTTP/2 made by hand, and a socket they are written into as fast as it takes them.
//!
//! Every flood has an end of its own, after which whoever takes it all has failed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// What every client begins with: the preface and its settings.
pub(super) const CLIENT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What every server begins with.
pub(super) const SERVER: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// Frames after which it is a failure that they are still taken: a hundred times what is allowed at once.
const MOST_FRAMES: u32 = 400_000;
/// The same of calls that are answered.
const MOST_CALLS: u32 = 40_000;
/// Frames that are written at once.
pub(super) const BLOCK: u32 = 500;
/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The type of the frames of headers.
const HEADERS: u8 = 1;

/// A frame with this payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call of `Ping`; the flags say whether anything follows.
pub(super) fn call(flags: u8, stream: u32) -> Vec<u8> {
    let path = telemetry_proto::PING_PATH;
    // POST, http, and literals that stay in no table: the path, the kind of content.
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).expect("short")];
    block.extend(path.as_bytes());
    block.extend(b"\x01\x01w\x0f\x10\x10application/grpc");
    frame(HEADERS, flags, stream, &block)
}

/// The headers of the answer to the first call.
pub(super) fn answer() -> Vec<u8> {
    frame(HEADERS, 4, 1, b"\x88\x0f\x10\x10application/grpc")
}

/// Frames that a peer may flood with: a name, and each frame by its number.
pub(super) type Kind = (&'static str, fn(u32) -> Vec<u8>);

/// Those that every peer may send.
pub(super) const KINDS: [Kind; 6] = [
    ("WINDOW_UPDATE", |_| frame(8, 0, 0, &[0, 0, 0, 1])),
    ("PRIORITY", |_| frame(2, 0, 5, &[0, 0, 0, 1, 0])),
    ("PING", |_| frame(6, 0, 0, b"ping-ing")),
    ("SETTINGS", |_| frame(4, 0, 0, &[])),
    ("empty DATA", |_| frame(0, 0, 1, &[])),
    ("DATA of one byte", |_| frame(0, 0, 1, &[0])),
];

/// Calls, each of them whole.
pub(super) const CALLS: Kind = ("HEADERS", |number| call(5, 3 + 2 * number));

/// Answers before the answer.
pub(super) const HINTS: Kind = ("HEADERS", |_| frame(HEADERS, 4, 1, b"\x08\x03103"));

/// A socket of either kind.
pub(super) trait Socket: Read + Write + Send + Sized + 'static {
    fn again(&self) -> Self;
    fn patience(&self, longest: Duration);
    fn hang_up(&self);
}

impl Socket for TcpStream {
    fn again(&self) -> Self {
        self.try_clone().expect("a descriptor")
    }

    fn patience(&self, longest: Duration) {
        self.set_read_timeout(Some(longest)).expect("a timeout");
        self.set_write_timeout(Some(longest)).expect("a timeout");
    }

    fn hang_up(&self) {
        let _closed = self.shutdown(Shutdown::Both);
    }
}

impl Socket for UnixStream {
    fn again(&self) -> Self {
        self.try_clone().expect("a descriptor")
    }

    fn patience(&self, longest: Duration) {
        self.set_read_timeout(Some(longest)).expect("a timeout");
        self.set_write_timeout(Some(longest)).expect("a timeout");
    }

    fn hang_up(&self) {
        let _closed = self.shutdown(Shutdown::Both);
    }
}

/// Reads until the other end closes the connection, and says when it has; panics if it does not.
pub(super) fn ends(mut socket: impl Socket) -> Instant {
    socket.patience(PATIENCE);
    let mut bytes = [0; 16 * 1024];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return Instant::now(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Instant::now(),
            Err(error) => panic!("it is still open: {error}"),
        }
    }
}

/// Floods until the connection is closed. Its answers are read, so that nothing else holds it up. How many frames
/// were taken from us.
pub(super) fn flood(mut socket: impl Socket, begins: &[u8], (name, make): Kind) -> u32 {
    socket.patience(PATIENCE);
    let answers = socket.again();
    let reads = thread::spawn(move || ends(answers));
    let mut taken = 0;
    let mut begun = socket.write_all(begins);
    while begun.is_ok() {
        assert!(taken < MOST_FRAMES, "{taken} frames of {name} were taken");
        let block: Vec<u8> = (taken..taken + BLOCK).flat_map(make).collect();
        begun = socket.write_all(&block);
        taken += if begun.is_ok() { BLOCK } else { 0 };
    }
    // What is still under way would have it wait for us.
    socket.hang_up();
    reads.join().expect("the end of the connection");
    taken
}

/// Makes one call after the other, each answered, as fast as that goes, until the connection is closed. How many.
pub(super) fn calls(mut socket: impl Socket) -> u32 {
    socket.patience(PATIENCE);
    let mut begun = socket.write_all(CLIENT);
    let mut made = 0;
    while begun.is_ok() {
        assert!(made < MOST_CALLS, "{made} calls were taken");
        let asked = socket.write_all(&call(5, 1 + 2 * made));
        begun = asked.and_then(|()| answered(&mut socket));
        made += 1;
    }
    made
}

/// Reads frames until a stream is over.
fn answered(socket: &mut impl Socket) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        socket.read_exact(&mut vec![0; length])?;
        if head[3] == HEADERS && head[4] & 1 != 0 {
            return Ok(());
        }
    }
}

/// Writes a byte each second, whatever that is the beginning of, until the connection is closed. How long that took.
pub(super) fn drips(mut socket: impl Socket, begins: &[u8], slowly: &[u8]) -> Duration {
    let begun = Instant::now();
    let watched = socket.again();
    let ended = thread::spawn(move || ends(watched));
    let mut next = socket.write_all(begins);
    let mut bytes = slowly.iter().cycle();
    while next.is_ok() && !ended.is_finished() {
        next = socket.write_all(&[*bytes.next().expect("there is no end")]);
        thread::park_timeout(Duration::from_secs(1));
    }
    ended.join().expect("the end of the connection") - begun
}

/// Reads a client's frames until it has made its first call.
pub(super) fn first_call(socket: &mut impl Socket) {
    socket.patience(PATIENCE);
    socket.read_exact(&mut [0; 24]).expect("a preface");
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).expect("a frame");
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        socket.read_exact(&mut vec![0; length]).expect("all of it");
        if head[3] == HEADERS {
            return;
        }
    }
}
