//! Watches the first bytes of a connection: has the HTTP/2 handshake arrived?
//!
//! A peer that never gets that far is closed at a deadline. The bytes themselves pass untouched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::watched::Watch;

/// Bytes of the fixed preface.
const PREFACE_BYTES: usize = 24;
/// Bytes of the header of the SETTINGS frame that follows it.
const FRAME_HEADER_BYTES: usize = 9;
/// Bytes to be seen before the length of the whole handshake is known.
const HEAD_BYTES: usize = PREFACE_BYTES + FRAME_HEADER_BYTES;

/// What a handshake of TLS begins with.
const TLS: u8 = 22;

/// Whether a connection's handshake is complete.
#[derive(Debug, Clone, Default)]
pub(super) struct HandshakeFlag(Arc<Flags>);

/// What is known of it.
#[derive(Debug, Default)]
struct Flags {
    complete: AtomicBool,
    tls: AtomicBool,
}

impl HandshakeFlag {
    /// Whether the preface and the first SETTINGS frame arrived whole.
    pub(super) fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Relaxed)
    }

    /// Whether it is one of TLS instead.
    pub(super) fn is_tls(&self) -> bool {
        self.0.tls.load(Ordering::Relaxed)
    }
}

/// How much of the handshake has come.
#[derive(Debug)]
pub(super) struct Handshake {
    /// Set when the handshake is complete.
    flag: HandshakeFlag,
    /// Bytes read so far, counted until the handshake is complete.
    seen: usize,
    /// Length of the first frame, read from its header digit by digit.
    frame_bytes: usize,
}

impl Handshake {
    /// That of a fresh connection.
    pub(super) fn new(flag: HandshakeFlag) -> Self {
        Self {
            flag,
            seen: 0,
            frame_bytes: 0,
        }
    }

    /// Takes note of bytes that arrived.
    fn note(&mut self, bytes: &[u8]) {
        if self.seen == 0 && bytes.first() == Some(&TLS) {
            self.flag.0.tls.store(true, Ordering::Relaxed);
        }
        for byte in bytes {
            // The first three bytes of a frame are its length, most significant first.
            if (PREFACE_BYTES..PREFACE_BYTES + 3).contains(&self.seen) {
                self.frame_bytes = self.frame_bytes << 8 | usize::from(*byte);
            }
            self.seen += 1;
            if self.seen >= HEAD_BYTES + self.frame_bytes {
                self.flag.0.complete.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Watch for Handshake {
    fn arrived(&mut self, bytes: &mut [u8]) {
        if !self.flag.is_complete() {
            self.note(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_complete_with_the_last_byte_of_its_first_frame() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
        for cut in 0..bytes.len() {
            let flag = HandshakeFlag::default();
            let mut io = Handshake::new(flag.clone());
            io.note(&bytes[..cut]);
            assert!(!flag.is_complete(), "after {cut} bytes");
            io.note(&bytes[cut..]);
            assert!(flag.is_complete() && !flag.is_tls());
        }
        let flag = HandshakeFlag::default();
        Handshake::new(flag.clone()).note(&[22, 3, 1]);
        assert!(flag.is_tls());
    }
}
