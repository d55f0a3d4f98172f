//! What is seen of a name at a glance: its first and last bytes.

use super::SPECIAL;

/// The first and last bytes of a name, or what of them a pattern asks for; tells most names that a
/// pattern does not match at the cost of two comparisons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The first eight bytes, and which of them are given.
    pub(crate) head: [u64; 2],
    /// The last eight bytes, and which of them are given.
    pub(crate) tail: [u64; 2],
}

impl Ends {
    /// Those of a name.
    pub(crate) fn of(name: &str) -> Self {
        let (mut head, mut tail) = ([0; 8], [0; 8]);
        for (place, byte) in head.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        for (place, byte) in tail.iter_mut().zip(name.bytes().rev()) {
            *place = byte;
        }
        Self {
            head: [u64::from_le_bytes(head), u64::MAX],
            tail: [u64::from_le_bytes(tail), u64::MAX],
        }
    }

    /// What a pattern says literally before its first special character and behind its last one.
    pub(super) fn asked_by(pattern: &str) -> Self {
        let first = pattern.find(SPECIAL).unwrap_or(pattern.len());
        // A comma or a closing bracket may be special as well.
        let last = pattern.rfind([SPECIAL.as_slice(), &[']', ',']].concat().as_slice());
        let behind = last.map_or(0, |last| last + 1);
        let given = |end: u64, bytes: usize| match bytes {
            0 => [0, 0],
            bytes => [end, u64::MAX >> (64 - 8 * bytes.min(8))],
        };
        Self {
            head: given(Self::of(&pattern[..first]).head[0], first),
            tail: given(Self::of(&pattern[behind..]).tail[0], pattern.len() - behind),
        }
    }

    /// Whether a name that ends like this may match the pattern that asks for these.
    #[inline]
    pub(crate) fn may_be_of(self, name: Self) -> bool {
        let differs = |asked: [u64; 2], is: [u64; 2]| (is[0] ^ asked[0]) & asked[1];
        differs(self.head, name.head) | differs(self.tail, name.tail) == 0
    }
}
