//! A worker made of nothing but prepared bytes: HTTP/2 written by hand, so that the manager that
//! reads it is what is measured.
//!
//! It knows just enough of HTTP/2: it answers one request, honours flow control, and answers pings.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::load::{SAMPLES, Sample, framed, naive_event, samples};

/// What a client sends before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before every frame.
const HEADER: usize = 9;
/// Window before the peer's settings say otherwise.
const DEFAULT_WINDOW: i64 = 65_535;
/// The one stream.
const STREAM: u32 = 1;
/// Bytes of one write.
const WRITE: usize = 64 * 1_024;
/// `:status: 200` and `content-type: application/grpc`, indexed names and literal value.
const RESPONSE_HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Settings id of the initial window.
const INITIAL_WINDOW: u16 = 4;

/// A listening feeder that serves one stream.
#[derive(Debug)]
pub(super) struct Feeder {
    path: PathBuf,
    accepting: Option<JoinHandle<io::Result<Feed>>>,
    feed: Option<Feed>,
}

/// One open stream.
#[derive(Debug)]
struct Feed {
    socket: UnixStream,
    shared: Arc<Shared>,
    /// DATA frames, one after the other.
    frames: Vec<Frame>,
    next: usize,
}

/// A DATA frame with its header.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    events: u64,
    /// Sum of the `count` of its events.
    sum: u64,
}

/// What the reading thread tells the writing one.
#[derive(Debug, Default)]
struct Shared {
    windows: Mutex<Windows>,
    changed: Condvar,
}

/// How many bytes of DATA the peer takes.
#[derive(Debug)]
struct Windows {
    connection: i64,
    stream: i64,
    asked: bool,
    over: bool,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            connection: DEFAULT_WINDOW,
            stream: DEFAULT_WINDOW,
            asked: false,
            over: false,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Windows)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// What was fed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fed {
    pub(super) events: u64,
    pub(super) sum: u64,
}

impl Feeder {
    /// Listens in `dir`. Each DATA frame will have `per_frame` events.
    pub(super) fn start(dir: &Path, per_frame: usize) -> Self {
        let path = dir.join("feeder.sock");
        let listener = UnixListener::bind(&path).expect("a free path");
        let accepting = std::thread::spawn(move || {
            let (socket, _) = listener.accept()?;
            Feed::open(socket, frames(&samples(), per_frame))
        });
        Self {
            path,
            accepting: Some(accepting),
            feed: None,
        }
    }

    /// Where to dial.
    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Feeds at least this many events, up to the next whole frame.
    pub(super) fn feed(&mut self, events: u64) -> io::Result<Fed> {
        if let Some(accepting) = self.accepting.take() {
            let opened = accepting
                .join()
                .map_err(|_| io::Error::other("no stream"))?;
            self.feed = Some(opened?);
        }
        match &mut self.feed {
            Some(feed) => feed.write(events),
            None => Err(io::Error::other("no stream")),
        }
    }
}

impl Feed {
    /// Answers the request for the stream.
    fn open(mut socket: UnixStream, frames: Vec<Frame>) -> io::Result<Self> {
        let mut preface = [0; PREFACE.len()];
        socket.read_exact(&mut preface)?;
        if preface != PREFACE {
            return Err(io::Error::other("no HTTP/2"));
        }
        socket.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        let shared = Arc::new(Shared::default());
        let (reading, told) = (socket.try_clone()?, Arc::clone(&shared));
        std::thread::spawn(move || {
            // However the connection ends, nobody may wait for it.
            let _closed = read(reading, &told);
            told.change(|windows| windows.over = true);
        });
        drop(
            shared
                .changed
                .wait_while(shared.lock(), |windows| !windows.asked && !windows.over),
        );
        socket.write_all(&frame(HEADERS, END_HEADERS, STREAM, RESPONSE_HEADERS))?;
        Ok(Self {
            socket,
            shared,
            frames,
            next: 0,
        })
    }

    /// Writes whole frames, many at once, as far as the peer's windows allow.
    fn write(&mut self, events: u64) -> io::Result<Fed> {
        let mut fed = Fed::default();
        let mut out = Vec::with_capacity(2 * WRITE);
        while fed.events < events {
            out.clear();
            let mut data = 0;
            while out.len() < WRITE && fed.events < events {
                let frame = &self.frames[self.next];
                self.next = (self.next + 1) % self.frames.len();
                out.extend_from_slice(&frame.bytes);
                data += i64::try_from(frame.bytes.len() - HEADER).unwrap_or(i64::MAX);
                fed.events += frame.events;
                fed.sum += frame.sum;
            }
            let waiting = self
                .shared
                .changed
                .wait_while(self.shared.lock(), |windows| {
                    windows.connection.min(windows.stream) < data && !windows.over
                });
            let mut windows = waiting.unwrap_or_else(PoisonError::into_inner);
            if windows.over {
                return Err(io::Error::other("the manager left"));
            }
            windows.connection -= data;
            windows.stream -= data;
            drop(windows);
            self.socket.write_all(&out)?;
        }
        Ok(fed)
    }
}

/// Takes in what the manager says, until it hangs up.
fn read(socket: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut answers = socket.try_clone()?;
    let mut socket = io::BufReader::new(socket);
    loop {
        let mut header = [0; HEADER];
        socket.read_exact(&mut header)?;
        let [a, b, c, kind, flags, rest @ ..] = header;
        let stream = u32::from_be_bytes(rest);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload)?;
        match (kind, payload.as_slice()) {
            (SETTINGS, _) if flags & ACK != 0 => {}
            (SETTINGS, settings) => {
                for setting in settings.chunks_exact(6) {
                    if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW {
                        let value = [setting[2], setting[3], setting[4], setting[5]];
                        let grown = i64::from(u32::from_be_bytes(value)) - DEFAULT_WINDOW;
                        shared.change(|windows| windows.stream += grown);
                    }
                }
                answers.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
            }
            (PING, opaque) if flags & ACK == 0 => {
                answers.write_all(&frame(PING, ACK, 0, opaque))?;
            }
            (WINDOW_UPDATE, &[a, b, c, d]) => {
                let more = i64::from(u32::from_be_bytes([a, b, c, d]));
                shared.change(|windows| match stream {
                    0 => windows.connection += more,
                    _ => windows.stream += more,
                });
            }
            (HEADERS, _) => shared.change(|windows| windows.asked = true),
            _ => {}
        }
    }
}

/// All samples as DATA frames.
fn frames(samples: &[Sample], per_frame: usize) -> Vec<Frame> {
    const NOW: i64 = 1_700_000_000_000_000_000;
    // As many events as it takes for every frame to be full.
    let events: Vec<usize> = (0..SAMPLES * per_frame).collect();
    events
        .chunks(per_frame)
        .map(|chunk| {
            let of = |run: &usize| &samples[run % SAMPLES];
            let messages: Vec<u8> = chunk
                .iter()
                .flat_map(|run| framed(&naive_event(of(run), *run, NOW)))
                .collect();
            Frame {
                bytes: frame(DATA, 0, STREAM, &messages),
                events: chunk.len() as u64,
                sum: chunk.iter().map(|run| of(run).count.unsigned_abs()).sum(),
            }
        })
        .collect()
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let [_, a, b, c] = length.to_be_bytes();
    let stream = stream.to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream, payload].concat()
}
