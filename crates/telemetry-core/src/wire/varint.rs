//! Variable-length integers of protobuf.

/// Longest encoding of a 64-bit integer.
pub(super) const MAX_VARINT_BYTES: usize = 10;

/// Bytes that `value` takes.
pub(super) const fn varint_len(value: u64) -> usize {
    // One byte for each started group of seven significant bits, and one for zero.
    let bits = (64 - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// Appends `value`.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven_bits(value));
}

/// The last seven bits, which always fit.
const fn low_seven_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Reads one integer at the start of `bytes` and returns it with the rest, or `None` if the bytes
/// end too early or the integer does not fit 64 bits.
pub(super) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        // The tenth byte has room for one bit only.
        if index == MAX_VARINT_BYTES - 1 && *byte > 1 {
            return None;
        }
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
            }
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_refused() {
        assert_eq!(take_varint(&[0xff; 10]), None);
        assert_eq!(take_varint(&[0x80; 11]), None);
    }
}
