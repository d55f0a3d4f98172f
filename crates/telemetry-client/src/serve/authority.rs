//! Takes requests whatever their `:authority` is.
//!
//! A client on a unix socket has no host to name. C-core, which is grpcio, writes the path of the socket,
//! percent-encoded: `tmp%2Fworker.sock`. To HTTP that is no authority, and the HTTP/2 library below resets
//! the stream with PROTOCOL_ERROR before anybody is asked; it has no setting for it. A worker serves one
//! service at one place and never looks at the authority, so here the bytes of it that a host name cannot
//! have become `-` on their way in.
//!
//! That is sound without knowing what else was said on the connection: a byte is replaced by a byte, so no
//! length changes, neither of a frame nor of what the peer counts in its table of headers; and what comes
//! back from that table later was replaced when it was put there. Only texts that are sent as they are can
//! be replaced like that. One in Huffman code passes as it is and may be refused as ever.
//!
//! Frames that begin no request are skipped by their length; controls and acknowledgements cost one look
//! at nine bytes.

mod block;

use super::watched::Watch;

use block::Block;

/// Bytes of the preface of a client.
const PREFACE_BYTES: usize = 24;
/// Bytes of the header of a frame.
const FRAME_HEADER_BYTES: usize = 9;
/// Bytes of the priority in a frame that has one.
const PRIORITY_BYTES: usize = 5;
/// Type of the frame that begins a block of headers.
const HEADERS: u8 = 1;
/// Type of the frames that go on with it.
const CONTINUATION: u8 = 9;
/// The frame is the last one of its block.
const END_HEADERS: u8 = 0x4;
/// The frame ends with padding, the length of which is its first byte.
const PADDED: u8 = 0x8;
/// The block comes after a priority.
const PRIORITY: u8 = 0x20;

/// Where in the frames of a peer it is. What is no HTTP/2 is refused above, not here, and then it does not
/// matter what was made of it.
#[derive(Debug)]
pub(super) struct Frames {
    /// What it is in.
    part: Part,
    /// How many bytes of that are to come.
    left: usize,
    /// The header of the frame.
    header: [u8; FRAME_HEADER_BYTES],
    /// Bytes of its priority.
    priority: usize,
    /// Bytes of its part of a block of headers.
    fragment: usize,
    /// Bytes behind that.
    padding: usize,
    /// The block of headers, which may go on in the next frame.
    block: Block,
}

/// A part of a frame; they come in this order, some of them empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its header.
    Header,
    /// How much padding there is; one byte.
    PaddingLength,
    /// Its priority.
    Priority,
    /// Its part of a block of headers.
    Fragment,
    /// The rest, or all of a frame that is none of headers. The preface counts as such.
    Rest,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            part: Part::Rest,
            left: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            priority: 0,
            fragment: 0,
            padding: 0,
            block: Block::default(),
        }
    }
}

impl Watch for Frames {
    fn arrived(&mut self, bytes: &mut [u8]) {
        self.pass(bytes);
    }
}

impl Frames {
    /// Goes over what came and makes authorities readable.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at_mut(bytes.len().min(self.left));
            match self.part {
                Part::Header => {
                    let at = FRAME_HEADER_BYTES - self.left;
                    self.header[at..][..now.len()].copy_from_slice(now);
                }
                Part::PaddingLength => {
                    self.padding = now.iter().map(|byte| usize::from(*byte)).sum();
                }
                Part::Fragment => self.block.pass(now),
                Part::Priority | Part::Rest => {}
            }
            self.left -= now.len();
            bytes = rest;
            while self.left == 0 {
                (self.part, self.left) = self.next();
            }
        }
    }

    /// The part after one that is over, and its length.
    fn next(&mut self) -> (Part, usize) {
        match self.part {
            Part::Header => self.begin(),
            Part::PaddingLength => {
                self.padding = self.padding.min(self.fragment);
                self.fragment -= self.padding;
                (Part::Priority, self.priority)
            }
            Part::Priority => (Part::Fragment, self.fragment),
            Part::Fragment => {
                if self.header[4] & END_HEADERS != 0 {
                    self.block = Block::default();
                }
                (Part::Rest, self.padding)
            }
            Part::Rest => (Part::Header, FRAME_HEADER_BYTES),
        }
    }

    /// What comes after the header that is whole now.
    fn begin(&mut self) -> (Part, usize) {
        let [high, middle, low, kind, flags, ..] = self.header;
        let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let (padded, priority) = match kind {
            HEADERS => (flags & PADDED != 0, flags & PRIORITY != 0),
            CONTINUATION => (false, false),
            _ => return (Part::Rest, len),
        };
        self.padding = 0;
        self.priority = if priority { PRIORITY_BYTES } else { 0 };
        match len.checked_sub(usize::from(padded) + self.priority) {
            Some(fragment) => self.fragment = fragment,
            // No room for what it says it has.
            None => return (Part::Rest, len),
        }
        if padded {
            (Part::PaddingLength, 1)
        } else {
            (Part::Priority, self.priority)
        }
    }
}

#[cfg(test)]
mod tests;
