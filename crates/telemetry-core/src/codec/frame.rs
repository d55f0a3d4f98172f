//! gRPC framing: a compression flag, a big-endian length, a message.
//!
//! The splitter takes byte chunks as they come off the network and hands out whole messages,
//! borrowed from the chunk where the chunk holds them whole.

/// Bytes before every message.
pub const FRAME_HEADER_BYTES: usize = 5;

/// Room for a cut message beyond this is given back once the message was handed out.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// The header of an uncompressed message of `len` bytes.
///
/// # Panics
///
/// If `len` does not fit 32 bits, which no limit of ours allows.
#[must_use]
pub fn frame_header(len: usize) -> [u8; FRAME_HEADER_BYTES] {
    let len = u32::try_from(len).expect("messages are far smaller than 4 GiB");
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

/// Why a stream of frames cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer compresses, which was never offered.
    #[error("the message is compressed (flag {0}); only uncompressed messages are accepted")]
    Compressed(u8),
    /// The message is larger than allowed; found before anything is allocated for it.
    #[error("a message of {len} bytes is larger than the {max} bytes allowed")]
    TooLarge {
        /// Announced length.
        len: usize,
        /// Longest message allowed.
        max: usize,
    },
}

/// Splits chunks into messages.
#[derive(Debug)]
pub struct FrameSplitter {
    /// The start of a message whose end has not arrived, with its header.
    partial: Vec<u8>,
    /// Longest message allowed.
    max_message: usize,
}

impl FrameSplitter {
    /// A splitter at the start of a stream.
    #[must_use]
    pub fn new(max_message: usize) -> Self {
        Self {
            partial: Vec::new(),
            max_message,
        }
    }

    /// Hands every message that `chunk` completes to `sink`, in order.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the stream cannot be read any further; messages before it were handed
    /// out.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), FrameError> {
        let mut rest = chunk;
        if !self.partial.is_empty() {
            rest = self.complete_partial(rest, &mut sink)?;
        }
        while let Some(len) = self.message_len(rest)? {
            let end = FRAME_HEADER_BYTES + len;
            if rest.len() < end {
                break;
            }
            sink(&rest[FRAME_HEADER_BYTES..end]);
            rest = &rest[end..];
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Whether the stream stands between two messages.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.partial.is_empty()
    }

    /// Takes what the stored start still lacks and returns the rest of the chunk.
    fn complete_partial<'a>(
        &mut self,
        mut rest: &'a [u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<&'a [u8], FrameError> {
        rest = self.fill_partial(rest, FRAME_HEADER_BYTES);
        let Some(len) = self.message_len(&self.partial)? else {
            return Ok(rest);
        };
        let end = FRAME_HEADER_BYTES + len;
        rest = self.fill_partial(rest, end);
        if self.partial.len() == end {
            sink(&self.partial[FRAME_HEADER_BYTES..]);
            self.partial.clear();
            self.partial.shrink_to(MAX_KEPT_BYTES);
        }
        Ok(rest)
    }

    /// Moves bytes of `rest` into the stored start until it has `want`.
    fn fill_partial<'a>(&mut self, rest: &'a [u8], want: usize) -> &'a [u8] {
        let take = want.saturating_sub(self.partial.len()).min(rest.len());
        self.partial.extend_from_slice(&rest[..take]);
        &rest[take..]
    }

    /// The message length in a header, if the header is whole.
    fn message_len(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some([flag, a, b, c, d]) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        if *flag != 0 {
            return Err(FrameError::Compressed(*flag));
        }
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if len > self.max_message {
            return Err(FrameError::TooLarge {
                len,
                max: self.max_message,
            });
        }
        Ok(Some(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|m| [&frame_header(m.len())[..], m].concat())
            .collect()
    }

    #[test]
    fn any_cut_of_the_stream_gives_the_same_messages() {
        let messages: [&[u8]; 4] = [b"first", b"", b"x", b"the last one"];
        let stream = framed(&messages);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut splitter = FrameSplitter::new(100);
                let mut seen: Vec<Vec<u8>> = Vec::new();
                for chunk in [&stream[..first], &stream[first..second], &stream[second..]] {
                    splitter
                        .feed(chunk, |m| seen.push(m.to_vec()))
                        .expect("valid frames");
                }
                assert_eq!(seen, messages, "cut at {first} and {second}");
                assert!(splitter.is_at_boundary());
            }
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_allocated() {
        let mut splitter = FrameSplitter::new(64);
        let error = splitter
            .feed(&[0, 0xff, 0xff, 0xff, 0xff], |_| ())
            .expect_err("too large");
        assert_eq!(
            error,
            FrameError::TooLarge {
                len: 0xffff_ffff,
                max: 64
            }
        );
        assert_eq!(splitter.partial.capacity(), 0);
    }

    #[test]
    fn a_large_message_is_not_paid_for_ever() {
        let mut splitter = FrameSplitter::new(1 << 20);
        let stream = framed(&[&vec![7; 1 << 20]]);
        let mut seen = 0;
        for chunk in stream.chunks(1_000) {
            splitter.feed(chunk, |m| seen += m.len()).expect("valid");
        }
        assert_eq!(seen, 1 << 20);
        assert!(splitter.partial.capacity() <= MAX_KEPT_BYTES);
    }

    #[test]
    fn a_compressed_message_is_refused_after_the_ones_before_it() {
        let mut stream = framed(&[b"ok"]);
        stream.extend_from_slice(&[1, 0, 0, 0, 1, b'z']);
        let mut seen = 0;
        let error = FrameSplitter::new(64)
            .feed(&stream, |_| seen += 1)
            .expect_err("compressed");
        assert_eq!((error, seen), (FrameError::Compressed(1), 1));
    }
}
