//! Where what lies in a region, in words: pure arithmetic.
//!
//! A reader may be of another version than the writer. Reasons and notes stand under their numbers on
//! the wire, which never change; whatever else moves gets another [`VERSION`].

use std::ops::Range;

/// Most bytes of a region that others can read.
pub const MAX_REGION_BYTES: usize = 64 << 20;
/// Most words of a ring: 64 MiB, which only a region on the heap has.
const MAX_RING_WORDS: usize = 1 << 23;
/// Most names of callsites.
pub(crate) const MAX_SITES: usize = 1 << 16;
/// Most open spans that are listed.
pub(crate) const MAX_SPANS: usize = 256;

/// First word of a region. On a machine of the other byte order it reads as another number.
const MAGIC: u64 = u64::from_be_bytes(*b"telemreg");
/// Version of the layout.
const VERSION: u64 = 1;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Parts begin at multiples of so many words.
const ALIGN: usize = 16;

/// Words of the control part.
pub(crate) const CONTROL_WORDS: usize = 64;
/// Words at its start that say what this is: magic, version, process, two words of incarnation, words
/// of the ring, names, open spans.
const HEAD_WORDS: usize = 8;
/// Wall clock at the zero of the clock of open spans, nanoseconds since the Unix epoch.
pub(crate) const CLOCK_ZERO: usize = 8;
/// Where the next record is claimed. What is written often by different threads stands 128 bytes apart.
pub(crate) const TAIL: usize = 16;
/// What the queue last told producers: records that were handed out, and the words that are free.
pub(crate) const FREE: usize = 32;
/// The position in words at which what waits is a batch.
pub(crate) const BATCH_AT: usize = 33;
/// Which of the base slots holds.
pub(crate) const BASE_INDEX: usize = 48;
/// The base slots.
pub(crate) const BASE_SLOTS: [usize; 2] = [49, 53];
/// Words of a base slot.
pub(crate) const BASE_WORDS: usize = 4;

/// Words of the counters.
pub(crate) const COUNTER_WORDS: usize = 128;
/// Numbers that reasons have, from 0 on; so many words are the first ones.
pub(crate) const REASON_NUMBERS: usize = 64;
/// Where the notes begin, by their numbers.
pub(crate) const NOTES: usize = REASON_NUMBERS;
/// Numbers that notes have.
pub(crate) const NOTE_NUMBERS: usize = 32;
/// Events that were accepted first and dropped from the queue later.
pub(crate) const DROPPED_LATE: usize = 96;
/// Events that a backend without a queue took.
pub(crate) const HANDED_OVER: usize = 97;
/// Events out of the queue that a backend took.
pub(crate) const TAKEN_OVER: usize = 98;
/// Events out of the queue that a backend has in its hands.
pub(crate) const IN_HANDS: usize = 99;
/// Events whose end is just being counted, in more places than one.
pub(crate) const UNDER_WAY: usize = 100;
/// Events handed to a stream; also the sequence of the last one.
pub(crate) const SENT: usize = 101;
/// Sequence of the last event that was acknowledged.
pub(crate) const ACKNOWLEDGED: usize = 102;
/// Events that were sent and let go of before they were acknowledged.
pub(crate) const FORGOTTEN: usize = 103;
/// How often events were sent again.
pub(crate) const REPEATED: usize = 104;

/// Words of an open span, and of the head before the first one.
pub(crate) const SPAN_WORDS: usize = 16;
/// Words of the counts of one name.
pub(crate) const SITE_WORDS: usize = 4;
/// Words of one name: how many bytes it has, then the bytes.
pub(crate) const NAME_WORDS: usize = 16;

const _: () = assert!(HEAD_WORDS <= CLOCK_ZERO && CLOCK_ZERO < TAIL);
const _: () = assert!(BASE_SLOTS[0] + BASE_WORDS == BASE_SLOTS[1]);
const _: () = assert!(BASE_SLOTS[1] + BASE_WORDS <= CONTROL_WORDS);
const _: () = assert!(NOTES + NOTE_NUMBERS <= DROPPED_LATE && REPEATED < COUNTER_WORDS);

/// Whose region it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// The incarnation.
    pub incarnation: u128,
}

/// Why words are no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// It is something else, of another byte order, or was never signed.
    #[error("these are not the words of a region")]
    NoRegion,
    /// Another version wrote it.
    #[error("the region has layout {found}, known is {VERSION}")]
    OtherVersion {
        /// Its layout.
        found: u64,
    },
    /// A size is not possible.
    #[error("the region says that it has {0}, which cannot be")]
    ImpossibleSize(&'static str),
    /// Its size is not that which its layout asks for.
    #[error("the region has {bytes} bytes instead of {expected}")]
    WrongSize {
        /// Bytes it has.
        bytes: u64,
        /// Bytes its layout has.
        expected: u64,
    },
    /// It has more than [`MAX_REGION_BYTES`].
    #[error("a region of {bytes} bytes is too large, allowed are {MAX_REGION_BYTES}")]
    TooLarge {
        /// Bytes it would have.
        bytes: u64,
    },
}

/// Where what lies in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Words of the ring, a power of two.
    ring: usize,
    /// Names that are kept.
    sites: usize,
    /// Open spans that are listed.
    spans: usize,
}

impl Layout {
    /// With a ring of at least so many bytes, up to 64 MiB, and room for so many names.
    #[must_use]
    pub fn new(ring_bytes: usize, callsites: usize) -> Self {
        let ring = (ring_bytes / WORD).clamp(2, MAX_RING_WORDS);
        Self {
            ring: ring.next_power_of_two(),
            sites: callsites.min(MAX_SITES),
            spans: MAX_SPANS,
        }
    }

    /// The same without open spans, which are most of a small region.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn without_spans(self) -> Self {
        Self { spans: 0, ..self }
    }

    /// What the first words of a region say.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if it is none, or none of `bytes`.
    pub(crate) fn read(
        control: &[u64; CONTROL_WORDS],
        bytes: u64,
    ) -> Result<(Self, Identity), RegionError> {
        let [magic, version, pid, high, low, ring, sites, spans, ..] = *control;
        if magic != MAGIC {
            return Err(RegionError::NoRegion);
        }
        if version != VERSION {
            return Err(RegionError::OtherVersion { found: version });
        }
        let within = |value: u64, max: usize, what| {
            let value = usize::try_from(value).ok().filter(|value| *value <= max);
            value.ok_or(RegionError::ImpossibleSize(what))
        };
        let ring = within(ring, MAX_RING_WORDS, "a ring of this size")?;
        if ring < 2 || !ring.is_power_of_two() {
            return Err(RegionError::ImpossibleSize("a ring of this size"));
        }
        let layout = Self {
            ring,
            sites: within(sites, MAX_SITES, "so many names")?,
            spans: within(spans, MAX_SPANS, "so many spans")?,
        };
        let expected = layout.bytes() as u64;
        if bytes != expected {
            return Err(RegionError::WrongSize { bytes, expected });
        }
        if layout.bytes() > MAX_REGION_BYTES {
            return Err(RegionError::TooLarge { bytes });
        }
        let identity = Identity {
            pid: u32::try_from(pid).map_err(|_| RegionError::ImpossibleSize("such a process"))?,
            incarnation: u128::from(high) << 64 | u128::from(low),
        };
        Ok((layout, identity))
    }

    /// What the first words of a region have to say.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an incarnation is two words"
    )]
    pub(super) fn head(&self, identity: Identity) -> [u64; HEAD_WORDS] {
        [
            MAGIC,
            VERSION,
            identity.pid.into(),
            (identity.incarnation >> 64) as u64,
            identity.incarnation as u64,
            self.ring as u64,
            self.sites as u64,
            self.spans as u64,
        ]
    }

    /// Words of all parts.
    #[must_use]
    pub fn words(&self) -> usize {
        self.ring().end
    }

    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words() * WORD
    }

    /// The bytes where records lie. They are used one after the other and from the start again, so that
    /// all of them are in memory sooner or later; of the other parts only what is needed.
    #[must_use]
    pub fn ring_bytes(&self) -> Range<usize> {
        let ring = self.ring();
        ring.start * WORD..ring.end * WORD
    }

    /// The words of the counters.
    pub(crate) fn counters(self) -> Range<usize> {
        CONTROL_WORDS..CONTROL_WORDS + COUNTER_WORDS
    }

    /// The words of open spans.
    pub(crate) fn spans(self) -> Range<usize> {
        let head = usize::from(self.spans > 0);
        behind(&self.counters(), SPAN_WORDS * (self.spans + head))
    }

    /// The words of the counts of names.
    pub(crate) fn sites(self) -> Range<usize> {
        let words = SITE_WORDS * (1 + self.sites);
        behind(&self.spans(), words.next_multiple_of(ALIGN))
    }

    /// The words of names.
    pub(crate) fn names(self) -> Range<usize> {
        behind(&self.sites(), NAME_WORDS * self.sites)
    }

    /// The words of records.
    pub(crate) fn ring(self) -> Range<usize> {
        behind(&self.names(), self.ring)
    }
}

/// So many words behind a part.
fn behind(part: &Range<usize>, words: usize) -> Range<usize> {
    part.end..part.end + words
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_one_behind_the_other_and_begin_at_cache_lines() {
        for (ring, sites) in [
            (0, 0),
            (1 << 20, 4_096),
            (5_000, 7),
            (usize::MAX, usize::MAX),
        ] {
            let layout = Layout::new(ring, sites);
            let mut end = CONTROL_WORDS;
            for part in [
                layout.counters(),
                layout.spans(),
                layout.sites(),
                layout.names(),
                layout.ring(),
            ] {
                assert_eq!((part.start, part.start % ALIGN), (end, 0));
                end = part.end;
            }
            assert_eq!(layout.words(), end);
        }
        assert!(Layout::new(1 << 20, 4_096).bytes() < 2 << 20);
        assert!(Layout::new(usize::MAX, usize::MAX).bytes() > MAX_REGION_BYTES);
    }

    #[test]
    fn a_head_says_what_it_was_given_and_refuses_what_cannot_be() {
        let layout = Layout::new(1 << 20, 100);
        let identity = Identity {
            pid: 42,
            incarnation: u128::MAX - 7,
        };
        let bytes = layout.bytes() as u64;
        let with = |word: usize, value: u64, bytes: u64| {
            let mut control = [0; CONTROL_WORDS];
            control[..HEAD_WORDS].copy_from_slice(&layout.head(identity));
            control[word] = value;
            Layout::read(&control, bytes)
        };
        assert_eq!(with(20, 0, bytes), Ok((layout, identity)));
        assert_eq!(
            with(0, MAGIC.swap_bytes(), bytes),
            Err(RegionError::NoRegion)
        );
        let other = RegionError::OtherVersion { found: 9 };
        assert_eq!(with(1, 9, bytes), Err(other));
        for ring in [0, 1, 3, 1 << 24, u64::MAX] {
            let found = with(5, ring, bytes);
            assert!(
                matches!(found, Err(RegionError::ImpossibleSize(_))),
                "{ring}"
            );
        }
        let size = RegionError::WrongSize {
            bytes: bytes + 8,
            expected: bytes,
        };
        assert_eq!(with(20, 0, bytes + 8), Err(size));
        let largest = Layout::new(64 << 20, 0);
        let found = with(5, 1 << 23, 0);
        assert!(matches!(found, Err(RegionError::WrongSize { .. })));
        assert!(largest.bytes() > MAX_REGION_BYTES);
    }
}
