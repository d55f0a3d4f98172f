//! From bytes to an index: the tables behind the look-ups that run for every event.
//!
//! Made once and never changed, so that finding costs a multiplication and, nearly always, one
//! comparison of three words. Text of up to sixteen bytes is found without looking at it again.

/// Places per entry; the emptier the table, the rarer a second look.
const ROOM: usize = 4;

/// Finds the index of a known run of bytes.
#[derive(Debug)]
pub(super) struct Lookup {
    /// The number of places is a power of two, and some are empty.
    places: Box<[Place]>,
    /// How far a hash is shifted to get a place.
    shift: u32,
}

/// One known run of bytes.
#[derive(Clone, Debug)]
struct Place {
    outline: Outline,
    /// All bytes, if the outline does not hold them, or else none.
    long: Box<[u8]>,
    index: u16,
}

impl Place {
    /// No run of bytes has this length.
    const EMPTY_LEN: usize = usize::MAX;

    fn empty() -> Self {
        Self {
            outline: Outline {
                len: Self::EMPTY_LEN,
                head: 0,
                tail: 0,
            },
            long: Box::default(),
            index: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.outline.len == Self::EMPTY_LEN
    }
}

/// What tells runs of bytes apart: their length, beginning and end. Up to sixteen bytes, this is
/// all there is of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Outline {
    len: usize,
    head: u64,
    tail: u64,
}

impl Outline {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let (head, tail) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
                (Some(head), Some(tail)) => {
                    let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
                    (u64::from(head), u64::from(tail))
                }
                _ => match *bytes {
                    [one] => (u64::from(one), 0),
                    [one, two] => (u64::from(one), u64::from(two)),
                    [one, two, three] => (u64::from(one), u64::from(two) << 8 | u64::from(three)),
                    _ => (0, 0),
                },
            },
        };
        Self {
            len: bytes.len(),
            head,
            tail,
        }
    }

    #[inline]
    fn hash(self) -> u32 {
        let mixed = self.head ^ self.tail.rotate_left(29) ^ self.len as u64;
        let [.., a, b, c, d] = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Whether it holds every byte.
    fn is_all(self) -> bool {
        self.len <= 16
    }
}

/// Whether two runs of more than sixteen bytes with the same outline are equal. A call of `memcmp`
/// costs more than the few words there are to compare.
#[inline]
fn same_middle(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (one.chunks(8).skip(1), other.chunks(8).skip(1));
    let word = |chunk: &[u8]| {
        chunk
            .first_chunk::<8>()
            .map(|word| u64::from_le_bytes(*word))
    };
    // The last, shorter chunk is within the outline's tail.
    one.zip(other).all(|(one, other)| word(one) == word(other))
}

impl Lookup {
    /// A table of `entries`; of two with the same bytes the first is found.
    pub(super) fn new<'b>(entries: impl ExactSizeIterator<Item = (&'b [u8], u16)>) -> Self {
        let bits = (entries.len() * ROOM)
            .next_power_of_two()
            .max(2)
            .trailing_zeros();
        let mut lookup = Self {
            places: vec![Place::empty(); 1 << bits].into(),
            shift: u32::BITS - bits,
        };
        for (bytes, index) in entries {
            let outline = Outline::of(bytes);
            let mut at = lookup.start(outline);
            while !lookup.places[at].is_empty() {
                at = (at + 1) % lookup.places.len();
            }
            let long = if outline.is_all() { &[] } else { bytes };
            lookup.places[at] = Place {
                outline,
                long: long.into(),
                index,
            };
        }
        lookup
    }

    /// The index that came with `bytes`.
    #[inline]
    pub(super) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let outline = Outline::of(bytes);
        let mut at = self.start(outline);
        loop {
            let place = self.places.get(at)?;
            if place.outline == outline && (outline.is_all() || same_middle(&place.long, bytes)) {
                return Some(usize::from(place.index));
            }
            if place.is_empty() {
                return None;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    /// Where the search begins.
    #[inline]
    fn start(&self, outline: Outline) -> usize {
        (outline.hash() >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_nothing_else() {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for len in 0..40_u8 {
            texts.push(vec![b'a'; usize::from(len)]);
            texts.push((0..len).collect());
            if len > 16 {
                // Told apart in the middle only.
                let mut middle = vec![b'a'; usize::from(len)];
                middle[8] = b'b';
                texts.push(middle);
            }
        }
        texts.sort();
        texts.dedup();
        let (known, unknown): (Vec<_>, Vec<_>) = (0..)
            .zip(&texts)
            .partition(|(index, _): &(u16, _)| index % 2 == 0);
        let entries: Vec<_> = known
            .iter()
            .map(|(index, text)| (text.as_slice(), *index))
            .collect();
        let lookup = Lookup::new(entries.into_iter());
        for (index, text) in known {
            assert_eq!(lookup.find(text), Some(usize::from(index)), "{text:?}");
        }
        for (_, text) in unknown {
            assert_eq!(lookup.find(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let lookup = Lookup::new([].into_iter());
        assert_eq!((lookup.find(b""), lookup.find(b"x")), (None, None));
    }
}
