//! Hashes of correlation ids that are the same in every process, version and language.

/// The golden ratio in units of 2^-64: where the hash of a draw starts.
const DRAW_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// First factor of the 64-bit finalizer of MurmurHash3.
const MIX_A: u64 = 0xff51_afd7_ed55_8ccd;

/// Second factor of that finalizer; also where the second half of a trace id starts.
const MIX_B: u64 = 0xc4ce_b9fe_1a85_ec53;

/// The draw of a correlation id: a stable 64-bit hash, the same in every process, version and
/// language. An event is kept if it is below `rate * 2^64`.
///
/// All arithmetic is on unsigned 64-bit words, modulo 2^64:
///
/// 1. `hash = 0x9e3779b97f4a7c15 XOR length of the UTF-8 bytes`.
/// 2. Cut the bytes into chunks of 8, the last one filled up with zero bytes (no bytes, no chunk).
///    For each, read as a little-endian word `w`:
///    `hash = (hash XOR w) * 0xff51afd7ed558ccd`, then `hash = hash XOR (hash >> 32)`.
/// 3. `hash = hash * 0xc4ceb9fe1a85ec53`, then `hash = hash XOR (hash >> 33)`.
/// 4. `hash = hash * 0xff51afd7ed558ccd`, then `hash = hash XOR (hash >> 33)`. That is the draw.
///
/// It spreads ids evenly; it does not resist somebody who chooses ids to be kept.
///
/// ```
/// assert_eq!(telemetry_core::emit::correlation_draw("request-1"), 0xb3c2_eebc_8a33_dbe9);
/// ```
#[must_use]
pub fn correlation_draw(correlation_id: &str) -> u64 {
    hash_from(DRAW_START, correlation_id)
}

/// The bits of the trace of a correlation id, never all zero.
pub(super) fn trace_bits(correlation_id: &str) -> u128 {
    let first = u128::from(correlation_draw(correlation_id));
    let last = u128::from(hash_from(MIX_B, correlation_id));
    let bits = first << 64 | last;
    if bits == 0 { 1 } else { bits }
}

fn hash_from(start: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = start ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = absorb(hash, word);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = absorb(hash, word);
    }
    hash = hash.wrapping_mul(MIX_B);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(MIX_A);
    hash ^ hash >> 33
}

fn absorb(hash: u64, word: [u8; 8]) -> u64 {
    let hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MIX_A);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_draw_is_stable() {
        for (id, draw) in [
            ("", 0xfd53_7b06_e63f_9f03),
            ("a", 0x33fa_941c_10c9_5c89),
            ("1234567", 0x6ac3_8271_3380_8fe7),
            ("12345678", 0xcf78_e632_3759_635d),
            ("123456789", 0x95e6_b094_0d8f_8041),
            ("request-1", 0xb3c2_eebc_8a33_dbe9),
            ("héllo", 0x5ebf_519d_5257_0fe2),
            ("4bf92f3577b34da6a3ce929d0e0e4736", 0x2b13_7c94_c824_2f40),
        ] {
            assert_eq!(correlation_draw(id), draw, "{id:?}");
        }
    }
}
