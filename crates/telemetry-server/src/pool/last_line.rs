//! The last line of a text that comes in pieces, for those who ask how a process ended.

/// Most bytes of a line that are kept.
pub const MAX_LAST_LINE_BYTES: usize = 200;

/// Keeps the last line that is not blank.
#[derive(Debug, Default)]
pub(super) struct LastLine {
    whole: Vec<u8>,
    /// The beginning of a line that has not ended yet.
    begun: Vec<u8>,
}

impl LastLine {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
            extend(&mut self.begun, bytes);
            return;
        };
        let (lines, rest) = bytes.split_at(end);
        let mut earlier = lines.rsplit(|&byte| byte == b'\n');
        // The first line of the piece is the rest of one that had begun.
        let whole = earlier.by_ref().find(|line| !is_blank(line));
        let is_first = whole.is_none_or(|line| line.as_ptr() == lines.as_ptr());
        if is_first {
            extend(&mut self.begun, whole.unwrap_or_default());
            if !is_blank(&self.begun) {
                self.whole.clone_from(&self.begun);
            }
        } else if let Some(line) = whole {
            self.whole.clear();
            extend(&mut self.whole, line);
        }
        self.begun.clear();
        extend(&mut self.begun, &rest[1..]);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The line, if there was one.
    pub(super) fn line(&self) -> Option<String> {
        let line = match is_blank(&self.begun) {
            true => &self.whole,
            false => &self.begun,
        };
        let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

fn extend(line: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_LAST_LINE_BYTES.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_the_same_wherever_the_text_is_cut() {
        let check = |text: &str, expected: Option<&str>| {
            for size in 1..=text.len().max(1) {
                let mut last = LastLine::default();
                for piece in text.as_bytes().chunks(size) {
                    last.feed(piece);
                }
                assert_eq!(last.line().as_deref(), expected, "{text:?} in {size}");
            }
        };
        check("", None);
        check("\n \n", None);
        check("a", Some("a"));
        check("one\ntwo\n", Some("two"));
        check("one\ntwo\n\n  \n", Some("two"));
        check("one\ntwo\nthree", Some("three"));
        check(&"x".repeat(300), Some(&"x".repeat(200)));
    }
}
