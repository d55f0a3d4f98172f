//! Variable-length integers of protobuf.

/// Longest encoding of a 64-bit integer.
pub(super) const MAX_VARINT_BYTES: usize = 10;

/// Bytes that `value` takes.
#[inline]
pub(super) const fn varint_len(value: u64) -> usize {
    // One byte for each started group of seven significant bits, and one for zero.
    let bits = (64 - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// Bytes that [`write_varint`] may touch: more than it says, so that most integers are one store.
pub(super) const VARINT_ROOM: usize = 10;

/// Writes `value` at the start of `out` and returns how many bytes that took. Bytes behind it, up to
/// [`VARINT_ROOM`], may change as well.
#[inline(always)]
pub(super) fn write_varint(out: &mut [u8; VARINT_ROOM], value: u64) -> usize {
    if value < 0x80 {
        out[0] = low_byte(value);
        return 1;
    }
    if value < 1 << 28 {
        // Counted out instead of from the position of the highest bit, for which processors without
        // a newer instruction take long.
        let more = usize::from(value >= 1 << 14) + usize::from(value >= 1 << 21);
        let pairs = (value & 0x3fff) | (value & 0x0fff_c000) << 2;
        let spread = (pairs & 0x007f_007f) | (pairs & 0x3f80_3f80) << 1;
        let goes_on = 0x0080_8080 >> (8 * (2 - more));
        out[..8].copy_from_slice(&(spread | goes_on).to_le_bytes());
        return 2 + more;
    }
    if value < 1 << 56 {
        let len = varint_len(value);
        let goes_on = 0x8080_8080_8080_8080 & ((1 << (8 * (len - 1))) - 1);
        out[..8].copy_from_slice(&(spread(value) | goes_on).to_le_bytes());
        return len;
    }
    out[..8].copy_from_slice(&(spread(value) | 0x8080_8080_8080_8080).to_le_bytes());
    let high = value >> 56;
    out[8] = low_byte(high);
    if high < 0x80 {
        return 9;
    }
    out[9] = low_byte(high >> 7);
    10
}

/// The lowest 56 bits in groups of seven, each in a byte of its own.
#[inline]
const fn spread(value: u64) -> u64 {
    let value = (value & 0x0000_0000_0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let value = (value & 0x0000_3fff_0000_3fff) | (value & 0x0fff_c000_0fff_c000) << 2;
    (value & 0x007f_007f_007f_007f) | (value & 0x3f80_3f80_3f80_3f80) << 1
}

/// The lowest byte.
#[inline]
const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Appends `value`.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; VARINT_ROOM];
    let len = write_varint(&mut bytes, value);
    out.extend_from_slice(&bytes[..len]);
}

/// Reads one integer at the start of `bytes` and returns it with the rest, or `None` if the bytes
/// end too early or the integer does not fit 64 bits.
#[inline]
pub(super) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [first @ 0..0x80, after @ ..] => Some((u64::from(*first), after)),
        [first, second @ 0..0x80, after @ ..] => {
            Some((u64::from(*first & 0x7f) | u64::from(*second) << 7, after))
        }
        [first, second, third @ 0..0x80, after @ ..] => {
            let low = u64::from(*first & 0x7f) | u64::from(*second & 0x7f) << 7;
            Some((low | u64::from(*third) << 14, after))
        }
        _ => take_long(bytes),
    }
}

/// Reads an integer of four or more bytes.
fn take_long(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes.split_first_chunk::<8>() {
        Some((word, after)) => take_word(u64::from_le_bytes(*word), bytes, after),
        None => take_bytewise(bytes),
    }
}

/// Reads an integer of which `word` holds the first eight bytes, all at once: its length is where
/// the first byte without a continuation bit is. `after` follows the word.
#[inline]
fn take_word<'b>(word: u64, bytes: &'b [u8], after: &'b [u8]) -> Option<(u64, &'b [u8])> {
    let ends = !word & 0x8080_8080_8080_8080;
    if ends != 0 {
        let bits = ends.trailing_zeros() + 1;
        let own = word & (u64::MAX >> (64 - bits));
        return Some((join_sevens(own), bytes.get(bits as usize / 8..)?));
    }
    let low = join_sevens(word);
    match after {
        [ninth @ 0..0x80, rest @ ..] => Some((low | u64::from(*ninth) << 56, rest)),
        // The tenth byte has room for one bit only.
        [ninth, tenth @ 0..=1, rest @ ..] => {
            let high = u64::from(*ninth & 0x7f) << 56 | u64::from(*tenth) << 63;
            Some((low | high, rest))
        }
        _ => None,
    }
}

/// Puts the low seven bits of each byte side by side: in pairs, in fours, all eight.
#[inline]
const fn join_sevens(word: u64) -> u64 {
    let ones = word & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = ones & 0x007f_007f_007f_007f | (ones & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4
}

/// Reads an integer near the end of the bytes, fewer than eight of which are left.
fn take_bytewise(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(7).enumerate() {
        value |= u64::from(*byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_with_their_predicted_length() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value), "{value}");
                assert_eq!(take_varint(&bytes), Some((value, &[][..])));
                assert_eq!(take_varint(&bytes[..bytes.len() - 1]), None);
                let followed = [&bytes[..], &[0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat();
                assert_eq!(
                    take_varint(&followed),
                    Some((value, &followed[bytes.len()..]))
                );
            }
        }
    }

    #[test]
    fn an_integer_may_be_longer_than_it_needs_to_be() {
        for zeros in 0..10 {
            let bytes = [&[0x85][..], &vec![0x80; zeros], &[0], b"rest"].concat();
            let expected = (zeros < 9).then_some((5, &b"rest"[..]));
            assert_eq!(take_varint(&bytes), expected, "{zeros}");
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_refused() {
        assert_eq!(take_varint(&[0xff; 10]), None);
        assert_eq!(take_varint(&[0x80; 11]), None);
        let tenth_is_two = [&[0x80; 9][..], &[2, 0, 0]].concat();
        assert_eq!(take_varint(&tenth_is_two), None);
    }
}
