//! Copies the bytes of a record into the words that were claimed for it.

use super::WORD;
use crate::sync::{AtomicU64, Ordering};

/// Words that are copied in one go.
const BLOCK: usize = 4;

/// Writes a record into the words that it fills up.
///
/// Records of a program differ by a few bytes, so nothing here branches on the last digits of a
/// length, which no processor foresees: the last word and the last block are written anyhow, over
/// what they overlap.
#[inline]
pub(super) fn write(to: &[AtomicU64], record: &[u8]) {
    let (Some((last, to)), Some(end)) = (to.split_last(), record.last_chunk()) else {
        return write_in_two(to, &[], record);
    };
    let (words, part) = record.as_chunks::<WORD>();
    // The bytes of the last word are the last ones of the end.
    let before = 8 * ((WORD - part.len()) % WORD);
    last.store(u64::from_le_bytes(*end) >> before, Ordering::Relaxed);
    let words = &words[..to.len()];
    let (Some(last_to), Some(last_words)) = (to.last_chunk(), words.last_chunk()) else {
        return copy(to, words);
    };
    for (to, words) in to.as_chunks().0.iter().zip(words.as_chunks().0) {
        copy_block(to, words);
    }
    copy_block(last_to, last_words);
}

/// Writes a record of a few bytes, or one that goes on at the start of the ring.
#[cold]
pub(super) fn write_in_two(to: &[AtomicU64], then: &[AtomicU64], record: &[u8]) {
    for (word, bytes) in to.iter().chain(then).zip(record.chunks(WORD)) {
        let mut whole = [0; WORD];
        whole[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
    }
}

#[inline]
fn copy_block(to: &[AtomicU64; BLOCK], words: &[[u8; WORD]; BLOCK]) {
    copy(to, words);
}

#[inline]
fn copy(to: &[AtomicU64], words: &[[u8; WORD]]) {
    for (word, bytes) in to.iter().zip(words) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
}
