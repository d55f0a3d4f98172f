//! What the frames of a peer may cost before any of them is understood.
//!
//! HTTP/2 has limits of its own for streams, resets and headers. For frames that cost their sender nothing, as PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE and empty DATA, it has none, nor for calls that are refused at once. Both roles
//! hold whoever is at the other end to the same: here is what is counted, they move the bytes.
//!
//! Knows the headers of frames and nothing in them. Asks no clock: it is told the time.

use std::time::{Duration, Instant};

use thiserror::Error;

/// Frames without content that a peer may send each second, beside those that answer what it was sent.
const FRAMES_PER_SECOND: u64 = 1_000;
/// How many of them at once.
const FRAMES_AT_ONCE: u64 = 4_096;
/// Bytes sent to a peer that allow it one frame more, as the window that it opens again.
const BYTES_PER_FRAME: u64 = 64;
/// Frames of headers that a peer may send each second: those of calls that it makes, or of answers.
const HEADERS_PER_SECOND: u64 = 100;
/// How many of them at once.
const HEADERS_AT_ONCE: u64 = 2_048;
/// Bytes of DATA that are content. No event is shorter, with the five bytes before it; of controls, the shortest are.
const CONTENT_BYTES: usize = 16;
/// Bytes of the preface of a client.
const PREFACE_BYTES: usize = 24;
/// Bytes of the header of a frame.
const HEADER_BYTES: usize = 9;
/// The type of frames of a body.
const DATA: u8 = 0;
/// The type of those that begin a call, answer it, or end it.
const HEADERS: u8 = 1;
/// The flag of a frame some of whose bytes say nothing.
const PADDED: u8 = 8;

/// A peer sent more than anybody has reason to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TooMany {
    /// Frames without content.
    #[error(
        "too many frames that carry nothing: {FRAMES_AT_ONCE} at once are allowed, and {FRAMES_PER_SECOND} a second"
    )]
    Frames,
    /// Frames of headers.
    #[error(
        "too many calls or answers: {HEADERS_AT_ONCE} frames of headers at once are allowed, and \
         {HEADERS_PER_SECOND} a second"
    )]
    Headers,
}

/// Counts the frames of the peer of one HTTP/2 connection by what they cost.
#[derive(Debug)]
pub struct Pace {
    /// Bytes of the frame under way that are to come, or of the preface.
    left: usize,
    /// The header of the next one.
    header: [u8; HEADER_BYTES],
    /// How much of it is there.
    filled: usize,
    /// For frames without content; one of them is worth as much as the bytes that earn it.
    frames: Purse,
    /// For headers, which nothing earns but time.
    headers: Purse,
}

impl Pace {
    /// Of a client, which begins with the preface. `now` is when the connection was there.
    #[must_use]
    pub fn of_client(now: Instant) -> Self {
        Self {
            left: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            filled: 0,
            frames: Purse::new(FRAMES_AT_ONCE, FRAMES_PER_SECOND, BYTES_PER_FRAME, now),
            headers: Purse::new(HEADERS_AT_ONCE, HEADERS_PER_SECOND, 1, now),
        }
    }

    /// Of a server, which begins with a frame.
    #[must_use]
    pub fn of_server(now: Instant) -> Self {
        Self {
            left: 0,
            ..Self::of_client(now)
        }
    }

    /// Goes over the bytes that came next.
    ///
    /// # Errors
    ///
    /// [`TooMany`] with the first frame that is one too many; the connection is to be closed then.
    pub fn arrived(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), TooMany> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = bytes.len().min(self.left);
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.filled));
            self.header[self.filled..][..part.len()].copy_from_slice(part);
            self.filled += part.len();
            bytes = rest;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                self.count(now)?;
            }
        }
        Ok(())
    }

    /// So many bytes were sent to it, which it may answer.
    pub fn sent(&mut self, bytes: usize) {
        self.frames.earn(bytes);
    }

    /// Counts the frame whose header is whole now.
    fn count(&mut self, now: Instant) -> Result<(), TooMany> {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let is_paid = match kind {
            DATA if self.left >= CONTENT_BYTES && flags & PADDED == 0 => true,
            HEADERS if !self.headers.spend(1, now) => return Err(TooMany::Headers),
            HEADERS => true,
            _ => self.frames.spend(BYTES_PER_FRAME, now),
        };
        is_paid.then_some(()).ok_or(TooMany::Frames)
    }
}

/// What may be spent: so much at once, and more with time.
#[derive(Debug)]
struct Purse {
    /// What is in it.
    left: u64,
    /// What is in it at most.
    full: u64,
    /// What comes into it each second.
    per_second: u64,
    /// When that was last put into it.
    at: Instant,
}

impl Purse {
    /// A full one, in coins of which one frame costs `price`.
    fn new(at_once: u64, per_second: u64, price: u64, now: Instant) -> Self {
        let full = at_once * price;
        Self {
            left: full,
            full,
            per_second: per_second * price,
            at: now,
        }
    }

    /// Takes so much out of it; false if there is less.
    fn spend(&mut self, cost: u64, now: Instant) -> bool {
        self.fill(now);
        let is_enough = self.left >= cost;
        self.left -= cost * u64::from(is_enough);
        is_enough
    }

    /// Puts into it what came with time.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_micros();
        // After a day it is full as well.
        let passed = u64::try_from(passed)
            .unwrap_or(u64::MAX)
            .min(86_400_000_000);
        let more = passed * self.per_second / 1_000_000;
        self.left = (self.left + more).min(self.full);
        // A part of a coin counts the next time, unless there is no room for it.
        self.at = match self.left == self.full {
            true => now,
            false => self.at + Duration::from_micros(more * 1_000_000 / self.per_second),
        };
    }

    /// Puts so much into it.
    fn earn(&mut self, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(more).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const CALL: &[u8] = &[0, 0, 1, HEADERS, 4, 0, 0, 0, 1, 0x82];

    #[test]
    fn what_a_peer_did_not_use_for_long_is_worth_no_more_than_at_the_beginning() {
        for (frame, limit) in [(PING, FRAMES_AT_ONCE), (CALL, HEADERS_AT_ONCE)] {
            let now = Instant::now();
            let mut pace = Pace::of_server(now);
            let later = now + Duration::from_secs(3_600);
            assert_eq!(passed(&mut pace, frame, later).0, limit);
        }
    }

    /// How many of these frames pass at once.
    fn passed(pace: &mut Pace, frame: &[u8], now: Instant) -> (u64, TooMany) {
        for count in 0..100_000 {
            if let Err(error) = pace.arrived(frame, now) {
                return (count, error);
            }
        }
        panic!("there is no end");
    }

    /// DATA of so many bytes.
    fn data(bytes: u8, flags: u8) -> Vec<u8> {
        let header = [0, 0, bytes, DATA, flags, 0, 0, 0, 1];
        [&header[..], &vec![7; usize::from(bytes)]].concat()
    }

    #[test]
    fn frames_that_carry_nothing_have_an_end_and_time_brings_more() {
        let begun = Instant::now();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
        let continued = [0, 0, 1, 9, 0, 0, 0, 0, 1, 0x82];
        let (empty, end, byte, padded) = (data(0, 0), data(0, 1), data(1, 0), data(90, PADDED));
        for frame in [
            PING, &settings, &priority, &window, &reset, &continued, &empty, &end, &byte, &padded,
        ] {
            let mut pace = Pace::of_server(begun);
            let all = (FRAMES_AT_ONCE, TooMany::Frames);
            assert_eq!(passed(&mut pace, frame, begun), all, "{frame:?}");
            let mut pace = Pace::of_server(begun);
            assert_eq!(passed(&mut pace, frame, begun), all);
            pace.left = 0;
            let later = begun + Duration::from_millis(500);
            assert_eq!(passed(&mut pace, frame, later).0, FRAMES_PER_SECOND / 2);
        }
    }

    #[test]
    fn calls_have_an_end_that_no_answer_moves() {
        let begun = Instant::now();
        let mut pace = Pace::of_server(begun);
        pace.sent(1 << 30);
        let all = (HEADERS_AT_ONCE, TooMany::Headers);
        assert_eq!(passed(&mut pace, CALL, begun), all);
        pace.left = 0;
        pace.sent(1 << 30);
        let later = begun + Duration::from_secs(2);
        assert_eq!(passed(&mut pace, CALL, later).0, 2 * HEADERS_PER_SECOND);
    }

    #[test]
    fn what_was_sent_may_be_answered_and_content_is_free() {
        let begun = Instant::now();
        let mut pace = Pace::of_client(begun);
        pace.arrived(&[b'-'; PREFACE_BYTES], begun)
            .expect("no frame");
        let event = data(16, 0);
        for _ in 0..100_000 {
            pace.arrived(&event, begun).expect("an event");
        }
        for _ in 0..100_000 {
            pace.arrived(PING, begun).expect("one that is allowed");
            pace.sent(64);
        }
        assert_eq!(passed(&mut pace, PING, begun).0, FRAMES_AT_ONCE);
    }

    #[test]
    fn it_does_not_matter_in_which_pieces_they_come() {
        let begun = Instant::now();
        let mut pace = Pace::of_client(begun);
        let mut bytes = vec![b'-'; PREFACE_BYTES];
        bytes.extend(PING.repeat(4_096));
        for piece in bytes.chunks(7) {
            pace.arrived(piece, begun).expect("as many as are allowed");
        }
        assert_eq!(pace.arrived(PING, begun), Err(TooMany::Frames));
    }
}
