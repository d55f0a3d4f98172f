//! What a producer leaves that dies between claiming and publishing, for tests.

use super::header::Header;
use super::{Cursor, OPEN, Queue, claim, used, words_of};
use crate::sync::Ordering;

/// A word that would be the header of a whole record at a place where tests do not come.
pub(crate) fn almost_header(bytes: usize) -> u64 {
    Header::publish(Header::claimed(Cursor::unpack(100_000), bytes), 3)
}

impl Queue {
    /// Claims a record as [`try_push`](Self::try_push) does, if there is room, and does no more than to
    /// write its length if that is wished, and so many words of it. Says whether there was room.
    pub(crate) fn claim_and_die(&self, bytes: usize, with_header: bool, written: usize) -> bool {
        let tail = self.tail().load(Ordering::Relaxed);
        let words = words_of(bytes);
        let used = used(tail, self.free().load(Ordering::Relaxed));
        let has_room = used.records < self.max_records && used.words + words <= self.max_words;
        if tail & OPEN == 0 || !has_room {
            return false;
        }
        self.tail().store(claim(tail, words), Ordering::Relaxed);
        let at = Cursor::unpack(tail);
        if with_header {
            self.words[self.index(at)].store(Header::claimed(at, bytes), Ordering::Relaxed);
            for behind in 1..words.min(written + 1) {
                let word = (self.index(at) + behind) % self.words.len();
                self.words[word].store(almost_header(behind), Ordering::Relaxed);
            }
        }
        true
    }
}
