//! Finds telemetry lines in a stream of bytes that is cut anywhere.
//!
//! Knows the prefix and the end of a line, and nothing of what is in between.

use std::mem;

use telemetry_core::wire::LINE_PREFIX;

/// What a telemetry line begins with.
pub(super) const PREFIX: &[u8] = LINE_PREFIX.as_bytes();

/// Longest telemetry line, prefix included and newline not. A longer one passes like any other
/// text.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Bytes that are not telemetry.
    Other(&'a [u8]),
    /// A whole telemetry line, with its newline if it had one, and what follows its prefix.
    Telemetry { line: &'a [u8], json: &'a [u8] },
    /// The beginning of a telemetry line that is too long; the rest of it follows as `Other`.
    TooLong(&'a [u8]),
}

/// Where in a line the input stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At its start, or within something that still may be the prefix: `held` has it.
    #[default]
    Prefix,
    /// After the prefix: `held` has the line so far.
    Telemetry,
    /// In a line that is no telemetry.
    Other,
}

/// Splits input into telemetry lines and the rest, each byte exactly once and in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    position: Position,
    /// Bytes of the current line that were not handed out yet.
    held: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Found<'_>)) {
        while !bytes.is_empty() {
            bytes = match self.position {
                Position::Prefix => self.in_prefix(bytes, &mut found),
                Position::Telemetry => self.in_telemetry(bytes, &mut found),
                Position::Other => self.in_other(bytes, &mut found),
            };
        }
    }

    /// Hands out what is held: an unfinished telemetry line counts as a line.
    pub(super) fn finish(&mut self, mut found: impl FnMut(Found<'_>)) {
        let line = mem::take(&mut self.held);
        match mem::take(&mut self.position) {
            Position::Telemetry => {
                found(Found::Telemetry {
                    line: &line,
                    json: &line[PREFIX.len()..],
                });
            }
            Position::Prefix if !line.is_empty() => found(Found::Other(&line)),
            Position::Prefix | Position::Other => {}
        }
    }

    fn in_prefix<'b>(&mut self, bytes: &'b [u8], found: &mut impl FnMut(Found<'_>)) -> &'b [u8] {
        let expected = &PREFIX[self.held.len()..];
        let common = bytes
            .iter()
            .zip(expected)
            .take_while(|(byte, wanted)| byte == wanted)
            .count();
        let (matched, rest) = bytes.split_at(common);
        self.held.extend_from_slice(matched);
        if self.held.len() == PREFIX.len() {
            self.position = Position::Telemetry;
        } else if !rest.is_empty() {
            self.position = Position::Other;
            if !self.held.is_empty() {
                found(Found::Other(&self.held));
                self.held.clear();
            }
        }
        rest
    }

    fn in_telemetry<'b>(&mut self, bytes: &'b [u8], found: &mut impl FnMut(Found<'_>)) -> &'b [u8] {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(bytes.len());
        let room = MAX_LINE_BYTES - self.held.len();
        if length > room {
            let (fitting, rest) = bytes.split_at(room);
            self.held.extend_from_slice(fitting);
            found(Found::TooLong(&self.held));
            self.next(Position::Other);
            return rest;
        }
        let Some(end) = end else {
            self.held.extend_from_slice(bytes);
            return &[];
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.held.extend_from_slice(line);
        let json = &self.held[PREFIX.len()..self.held.len() - 1];
        found(Found::Telemetry {
            line: &self.held,
            json,
        });
        self.next(Position::Prefix);
        rest
    }

    fn in_other<'b>(&mut self, bytes: &'b [u8], found: &mut impl FnMut(Found<'_>)) -> &'b [u8] {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            found(Found::Other(bytes));
            return &[];
        };
        let (line, rest) = bytes.split_at(end + 1);
        found(Found::Other(line));
        self.position = Position::Prefix;
        rest
    }

    fn next(&mut self, position: Position) {
        self.held.clear();
        // A long line must not leave its memory with every worker for ever.
        self.held.shrink_to(PREFIX.len());
        self.position = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines found, everything else, and the whole input put together again.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        json: Vec<Vec<u8>>,
        other: Vec<u8>,
        too_long: usize,
        all: Vec<u8>,
    }

    fn split(input: &[u8], chunk: usize) -> Seen {
        let mut seen = Seen::default();
        let mut lines = Lines::default();
        let mut note = |found: Found<'_>| match found {
            Found::Other(bytes) => {
                seen.other.extend_from_slice(bytes);
                seen.all.extend_from_slice(bytes);
            }
            Found::Telemetry { line, json } => {
                seen.json.push(json.to_vec());
                seen.all.extend_from_slice(line);
            }
            Found::TooLong(bytes) => {
                seen.too_long += 1;
                seen.other.extend_from_slice(bytes);
                seen.all.extend_from_slice(bytes);
            }
        };
        for piece in input.chunks(chunk) {
            lines.feed(piece, &mut note);
        }
        lines.finish(&mut note);
        seen
    }

    #[test]
    fn lines_are_found_wherever_the_input_is_cut() {
        let input = b"hello\nTELEMETRY:{1}\nTELEMETR\n\nxTELEMETRY:{no}\nTELEMETRY:\n\xff\xfe\nTEL";
        for chunk in 1..=input.len() {
            let seen = split(input, chunk);
            assert_eq!(
                seen.json,
                [b"{1}".to_vec(), Vec::new()],
                "chunks of {chunk}"
            );
            assert_eq!(
                seen.other, b"hello\nTELEMETR\n\nxTELEMETRY:{no}\n\xff\xfe\nTEL",
                "chunks of {chunk}"
            );
            assert_eq!(seen.all, input);
        }
    }

    #[test]
    fn unfinished_text_passes_at_once() {
        let mut lines = Lines::default();
        let mut passed = Vec::new();
        lines.feed(b"Continue? ", |found| {
            let Found::Other(bytes) = found else {
                panic!("{found:?}")
            };
            passed.extend_from_slice(bytes);
        });
        assert_eq!(passed, b"Continue? ");
    }

    #[test]
    fn unfinished_telemetry_line_counts_at_the_end() {
        assert_eq!(split(b"TELEMETRY:{\"a\"", 3).json, [b"{\"a\"".to_vec()]);
    }

    #[test]
    fn line_up_to_the_limit_is_found_and_a_longer_one_passes() {
        let line = |payload: usize| {
            let mut line = PREFIX.to_vec();
            line.resize(PREFIX.len() + payload, b'x');
            line.extend_from_slice(b"\nTELEMETRY:{2}\n");
            line
        };
        let most = MAX_LINE_BYTES - PREFIX.len();
        for chunk in [1_000, 4_096, 1 << 20] {
            let seen = split(&line(most), chunk);
            assert_eq!((seen.json.len(), seen.too_long), (2, 0));
            let seen = split(&line(most + 1), chunk);
            assert_eq!((seen.json.len(), seen.too_long), (1, 1));
            assert_eq!(seen.all, line(most + 1));
        }
    }
}
