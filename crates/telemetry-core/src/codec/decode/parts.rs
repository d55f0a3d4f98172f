//! The name of a decoded event, still in its encoded form.

use super::DecodeError;
use super::field::Field;

/// Most segments of a name.
const MAX_PARTS: usize = 8;

/// The name of a decoded event, still in its encoded form.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The whole message; segments are found in it when the name is not in one run.
    message: &'a [u8],
    /// Where the first run of name fields is in it.
    run: (usize, usize),
    /// Whether `run` holds every segment.
    contiguous: bool,
    /// Number of segments.
    count: usize,
}

impl<'a> Parts<'a> {
    /// No segment yet of the name in `message`.
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self {
            message,
            run: (0, 0),
            contiguous: true,
            count: 0,
        }
    }

    /// The encoded name as one slice, to be looked up as it is; `None` in the odd case that its
    /// fields are not side by side.
    #[must_use]
    #[inline]
    pub fn encoded(&self) -> Option<&'a [u8]> {
        self.contiguous.then_some(self.run())
    }

    /// Whether there is no segment, as in a hello or report frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The dotted name.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Utf8`] if a segment is not UTF-8.
    pub fn dotted(&self) -> Result<String, DecodeError> {
        let mut name = String::with_capacity(self.run().len());
        let mut rest = if self.contiguous {
            self.run()
        } else {
            self.message
        };
        let mut first = true;
        while !rest.is_empty() {
            let field = Field::take(&mut rest, "event_parts")?;
            if field.number != 1 {
                continue;
            }
            if !first {
                name.push('.');
            }
            first = false;
            name.push_str(field.text("event_parts")?);
        }
        Ok(name)
    }

    /// Takes in `segments` more, encoded side by side between the starts of `before` and `after`.
    #[inline]
    pub(super) fn add(
        &mut self,
        before: &'a [u8],
        after: &'a [u8],
        segments: usize,
    ) -> Result<(), DecodeError> {
        if segments > MAX_PARTS - self.count {
            return Err(DecodeError::TooMany {
                field: "event_parts",
                max: MAX_PARTS,
            });
        }
        let start = self.message.len() - before.len();
        let end = self.message.len() - after.len();
        if self.count == 0 {
            self.run = (start, end);
        } else if self.contiguous && self.run.1 == start {
            self.run.1 = end;
        } else {
            self.contiguous = false;
        }
        self.count += segments;
        Ok(())
    }

    /// The first run of name fields.
    #[inline]
    fn run(&self) -> &'a [u8] {
        self.message.get(self.run.0..self.run.1).unwrap_or_default()
    }
}
