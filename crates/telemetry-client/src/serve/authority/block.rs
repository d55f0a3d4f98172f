//! Goes over a block of headers (HPACK, RFC 7541) and makes the value of `:authority` a host name.
//!
//! It knows how long things are and nothing else: no table, no Huffman code.

/// The name that is looked for, where it is written out, as C-core does.
const NAME: &[u8] = b":authority";
/// Its number in the table that every peer knows.
const INDEX: u8 = 1;
/// What the bytes become that a host name cannot have.
const FILLER: u8 = b'-';

/// A block, as far as it has come; in the beginning, one of which nothing has.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// What comes next.
    next: Next,
    /// What comes after a number.
    then: Next,
    /// The text that comes next or has begun.
    text: Text,
    /// Bytes of that text that are to come, or its length as far as it is known.
    left: usize,
    /// Bits of the length that are known.
    bits: u32,
    /// Whether the text is in Huffman code.
    is_coded: bool,
    /// Whether the entry is an authority, as far as its name is known.
    is_authority: bool,
}

/// What comes next in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// The first byte of an entry.
    #[default]
    Entry,
    /// More bytes of a number, which is too large to be one that is looked for.
    Number,
    /// The first byte of a text's length.
    Length,
    /// More bytes of it.
    MoreLength,
    /// The text.
    Text,
    /// Nobody knows: a text longer than memory. The HTTP/2 library refuses it.
    Unknown,
}

/// The texts of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Text {
    /// Its name, if that is written out.
    #[default]
    Name,
    /// Its value.
    Value,
}

impl Block {
    /// Goes over what came of it.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first() {
            let first = *first;
            let count = match self.next {
                Next::Text => self.left.min(bytes.len()),
                _ => 1,
            };
            let (now, rest) = bytes.split_at_mut(count);
            match self.next {
                Next::Entry => self.begin(first),
                // The last byte of a number has no high bit.
                Next::Number if first & 0x80 == 0 => self.next = self.then,
                Next::Length => self.measure(first),
                Next::MoreLength => self.measure_on(first),
                Next::Text => self.read(now),
                Next::Number | Next::Unknown => {}
            }
            bytes = rest;
        }
    }

    /// Reads the first byte of an entry: its kind, and a number or the beginning of one.
    fn begin(&mut self, byte: u8) {
        let (mask, has_texts) = match byte.leading_zeros() {
            // A header from the table.
            0 => (0x7f, false),
            // One that will be in the table.
            1 => (0x3f, true),
            // A size for the table.
            2 => (0x1f, false),
            // One that will not be in the table.
            _ => (0x0f, true),
        };
        let number = byte & mask;
        self.is_authority = has_texts && number == INDEX;
        self.text = if number == 0 { Text::Name } else { Text::Value };
        self.then = if has_texts { Next::Length } else { Next::Entry };
        self.next = if number == mask {
            Next::Number
        } else {
            self.then
        };
    }

    /// Reads the first byte of a text's length.
    fn measure(&mut self, byte: u8) {
        self.is_coded = byte & 0x80 != 0;
        self.left = usize::from(byte & 0x7f);
        if self.left == 0x7f {
            self.bits = 0;
            self.next = Next::MoreLength;
        } else {
            self.begin_text();
        }
    }

    /// Reads a further byte of a text's length: seven bits, the least ones first.
    fn measure_on(&mut self, byte: u8) {
        let more = usize::from(byte & 0x7f);
        let added = more
            .checked_shl(self.bits)
            .filter(|shifted| shifted >> self.bits == more)
            .and_then(|shifted| self.left.checked_add(shifted));
        match added {
            Some(left) => self.left = left,
            None => return self.next = Next::Unknown,
        }
        self.bits += 7;
        if byte & 0x80 == 0 {
            self.begin_text();
        }
    }

    /// A text of known length comes.
    fn begin_text(&mut self) {
        if self.text == Text::Name {
            self.is_authority = !self.is_coded && self.left == NAME.len();
        }
        self.next = Next::Text;
        if self.left == 0 {
            self.end_text();
        }
    }

    /// Reads a part of a text.
    fn read(&mut self, part: &mut [u8]) {
        if self.is_authority {
            match self.text {
                Text::Name => {
                    let at = NAME.len() - self.left;
                    self.is_authority = NAME[at..].starts_with(part);
                }
                Text::Value if self.is_coded => {}
                Text::Value => {
                    for byte in part.iter_mut().filter(|byte| !is_of_a_name(**byte)) {
                        *byte = FILLER;
                    }
                }
            }
        }
        self.left -= part.len();
        if self.left == 0 {
            self.end_text();
        }
    }

    /// A text is over.
    fn end_text(&mut self) {
        self.next = match self.text {
            Text::Name => Next::Length,
            Text::Value => Next::Entry,
        };
        self.text = Text::Value;
    }
}

/// Whether a host name can have it, wherever it stands.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
