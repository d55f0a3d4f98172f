//! One record as those see it who take it out.

use super::super::WORD;
use super::super::header::Header;
use crate::sync::{AtomicU64, Ordering};

/// One record as it lies in the queue.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its words up to the end of the ring; the last one is filled up with zeros.
    pub(super) front: &'a [AtomicU64],
    /// Its words from the start of the ring on.
    pub(super) back: &'a [AtomicU64],
    /// Length and tag.
    pub(super) header: Header,
    /// Its number.
    pub(super) number: u64,
    /// Whether it was handed out before.
    pub(super) repeated: bool,
}

impl Record<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tag it was pushed with.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.header.tag()
    }

    /// The number under which it is sent, from 1; of one that is handed out for the first time the one
    /// that it gets if it is not gone.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it was handed out and kept before.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Appends its bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + (self.front.len() + self.back.len()) * WORD, 0);
        let (chunks, _none) = out[start..].as_chunks_mut::<WORD>();
        for (chunk, word) in chunks.iter_mut().zip(self.front.iter().chain(self.back)) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        out.truncate(start + self.header.len());
    }
}
