//! Ids that tie events together: correlation ids and the W3C trace context.
//!
//! This room makes, reads and writes such ids and owns the small random generator behind them. Ids
//! need to be unique, not secret. It does not know where an id comes from or travels to.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// Sampled by whoever started the trace.
pub const FLAG_SAMPLED: u8 = 0x01;

/// The flags version 00 defines: sampled, and that the trace id is random.
const KNOWN_FLAGS: u8 = 0x03;

/// Bytes of a version 00 `traceparent`.
const TRACEPARENT_BYTES: usize = 55;

/// A random id of 128 bits, never all zero; written as 32 lowercase hexadecimal digits, so that it
/// can serve as a W3C trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId([u8; 16]);

/// Why a text is no [`CorrelationId`]. Events may carry any text as correlation id; only this type
/// is strict.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CorrelationIdError {
    /// Wrong length.
    #[error("a correlation id has 32 hexadecimal digits, this text has {bytes} bytes")]
    Length {
        /// How many bytes the text has.
        bytes: usize,
    },
    /// Something else than `0-9 a-f`.
    #[error("byte {position} of the correlation id is no digit of 0-9 a-f")]
    Digit {
        /// Where, in bytes from 0.
        position: usize,
    },
    /// All digits are zero.
    #[error("a correlation id of all zeros means that there is none")]
    Zero,
}

/// The W3C trace context of a request: what the header `traceparent` carries.
///
/// ```
/// use telemetry_core::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(header)?;
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), header);
/// assert_eq!(context.child().trace_id, context.trace_id);
/// # Ok::<(), telemetry_core::TraceContextError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole trace; not all zero.
    pub trace_id: [u8; 16],
    /// The caller's span; not all zero.
    pub span_id: [u8; 8],
    /// [`FLAG_SAMPLED`] and others.
    pub flags: u8,
}

/// Why a text is no `traceparent`. Positions are bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceContextError {
    /// Too short for the four fields.
    #[error("traceparent has {bytes} bytes; `version-traceid-spanid-flags` needs 55")]
    Short {
        /// How many bytes the text has.
        bytes: usize,
    },
    /// Version 00 has exactly four fields, and a later version continues with a dash.
    #[error("traceparent of version {version:02x} goes on after its flags at byte 55")]
    Trailing {
        /// The version it claims.
        version: u8,
    },
    /// Version ff is forbidden.
    #[error("traceparent has version ff, which the standard forbids")]
    Version,
    /// A dash is missing between two fields.
    #[error("traceparent has no `-` at byte {position}")]
    Separator {
        /// Where it should be.
        position: usize,
    },
    /// Something else than `0-9 a-f`; uppercase is not allowed.
    #[error("traceparent has something else than 0-9 a-f at byte {position}, in its {field}")]
    Digit {
        /// The field: version, trace id, span id or flags.
        field: &'static str,
        /// Where.
        position: usize,
    },
    /// The trace id is all zero.
    #[error("traceparent has a trace id of all zeros")]
    ZeroTraceId,
    /// The span id is all zero.
    #[error("traceparent has a span id of all zeros")]
    ZeroSpanId,
}

impl CorrelationId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(random_id())
    }

    /// The id with these bytes; `None` if they are all zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes, in the order they are written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Reads 32 lowercase hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`CorrelationIdError`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, CorrelationIdError> {
        let digits: &[u8; 32] = text
            .as_bytes()
            .try_into()
            .map_err(|_| CorrelationIdError::Length { bytes: text.len() })?;
        let mut bytes = [0; 16];
        read_hex(digits, &mut bytes).map_err(|position| CorrelationIdError::Digit { position })?;
        Self::from_bytes(bytes).ok_or(CorrelationIdError::Zero)
    }

    /// Writes the 32 digits into `buffer` and returns them; allocates nothing.
    pub fn write_hex<'a>(&self, buffer: &'a mut [u8; 32]) -> &'a str {
        write_hex(&self.0, buffer)
    }
}

impl TraceContext {
    /// The start of a new trace, with random ids.
    #[must_use]
    pub fn root(sampled: bool) -> Self {
        let flags = if sampled { FLAG_SAMPLED } else { 0 };
        Self {
            trace_id: random_id(),
            span_id: random_id(),
            flags,
        }
    }

    /// The same trace and flags with a new random span id: what to hand to a callee.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: random_id(),
            ..*self
        }
    }

    /// Whether the start of the trace decided to record it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// The trace id as correlation id; `None` if the fields were set to all zero.
    #[must_use]
    pub fn correlation_id(&self) -> Option<CorrelationId> {
        CorrelationId::from_bytes(self.trace_id)
    }

    /// Reads a `traceparent` of version 00 strictly, or the same four fields of a later version,
    /// which may be followed by `-` and anything.
    ///
    /// Flags that version 00 does not define are cleared, and of a later version all but
    /// [`FLAG_SAMPLED`], so that the context may be sent on as it is.
    ///
    /// # Errors
    ///
    /// [`TraceContextError`] says what is wrong and where.
    pub fn parse(traceparent: &str) -> Result<Self, TraceContextError> {
        let bytes = traceparent.as_bytes();
        let Some((fields, rest)) = bytes.split_first_chunk::<TRACEPARENT_BYTES>() else {
            return Err(TraceContextError::Short { bytes: bytes.len() });
        };
        let [version] = read_field(fields, 0, "version")?;
        if version == 0xff {
            return Err(TraceContextError::Version);
        }
        if let Some(position) = [2, 35, 52].into_iter().find(|&at| fields[at] != b'-') {
            return Err(TraceContextError::Separator { position });
        }
        let trace_id = read_field(fields, 3, "trace id")?;
        let span_id = read_field(fields, 36, "span id")?;
        let [flags] = read_field(fields, 53, "flags")?;
        if !rest.is_empty() && (version == 0 || rest[0] != b'-') {
            return Err(TraceContextError::Trailing { version });
        }
        if trace_id == [0; 16] {
            return Err(TraceContextError::ZeroTraceId);
        }
        if span_id == [0; 8] {
            return Err(TraceContextError::ZeroSpanId);
        }
        let known = if version == 0 {
            KNOWN_FLAGS
        } else {
            FLAG_SAMPLED
        };
        Ok(Self {
            trace_id,
            span_id,
            flags: flags & known,
        })
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.write_hex(&mut [0; 32]))
    }
}

impl std::str::FromStr for CorrelationId {
    type Err = CorrelationIdError;

    fn from_str(text: &str) -> Result<Self, CorrelationIdError> {
        Self::parse(text)
    }
}

/// Writes a `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut trace, mut span) = ([0; 32], [0; 16]);
        let trace = write_hex(&self.trace_id, &mut trace);
        let span = write_hex(&self.span_id, &mut span);
        write!(formatter, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

impl std::str::FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        Self::parse(text)
    }
}

fn read_field<const N: usize>(
    text: &[u8; TRACEPARENT_BYTES],
    start: usize,
    field: &'static str,
) -> Result<[u8; N], TraceContextError> {
    let mut bytes = [0; N];
    read_hex(&text[start..start + 2 * N], &mut bytes).map_err(|offset| {
        TraceContextError::Digit {
            field,
            position: start + offset,
        }
    })?;
    Ok(bytes)
}

/// Reads two lowercase digits per byte; the error is the place of the first that is none.
fn read_hex(digits: &[u8], bytes: &mut [u8]) -> Result<(), usize> {
    for (index, (byte, pair)) in bytes.iter_mut().zip(digits.chunks_exact(2)).enumerate() {
        let high = digit(pair[0]).ok_or(2 * index)?;
        let low = digit(pair[1]).ok_or(2 * index + 1)?;
        *byte = high << 4 | low;
    }
    Ok(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

fn write_hex<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(buffer.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0x0f)];
    }
    // Only digits were written; the empty text cannot happen.
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// Random bytes that are not all zero.
fn random_id<const N: usize>() -> [u8; N] {
    let mut id = [0; N];
    while id == [0; N] {
        for chunk in id.chunks_mut(8) {
            chunk.copy_from_slice(&random_u64().to_le_bytes()[..chunk.len()]);
        }
    }
    id
}

/// Grows with every [`reseed`]; a thread whose generator is of an older generation seeds it anew.
static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static GENERATOR: Cell<Generator> = const { Cell::new(Generator { state: [0; 4], generation: 0 }) };
}

/// The generator xoshiro256++ of Blackman and Vigna (public domain). Its 256 bits of state keep
/// the sequences of many threads and processes apart, which a 64-bit state would not.
#[derive(Clone, Copy)]
struct Generator {
    /// Never all zero once seeded.
    state: [u64; 4],
    /// The generation it was seeded in; 0 is unseeded.
    generation: u64,
}

/// 64 random bits from this thread's generator, which is seeded by the operating system at its
/// first use. Fast, not fit for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    GENERATOR.with(|cell| {
        let mut generator = cell.get();
        let generation = seed_generation();
        if generator.generation != generation {
            generator = Generator {
                state: fresh_seed(),
                generation,
            };
        }
        let random = generator.next();
        cell.set(generator);
        random
    })
}

/// Makes every thread seed its generator anew before its next use.
///
/// To be called in the child after a fork, which would otherwise repeat the ids of its parent. It
/// only bumps an atomic counter, so a fork handler may call it.
pub fn reseed() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The generation that random state of a thread must belong to.
pub(crate) fn seed_generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

impl Generator {
    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

fn fresh_seed() -> [u64; 4] {
    let mut bytes = [0; 32];
    let mut seed = [0; 4];
    if getrandom::fill(&mut bytes).is_ok() {
        for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
    }
    if seed == [0; 4] {
        seed_without_system()
    } else {
        seed
    }
}

/// A system without randomness must not take its user's program down. What differs between
/// processes, threads and moments makes the ids unique then.
fn seed_without_system() -> [u64; 4] {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    std::process::id().hash(&mut hasher);
    std::thread::current().id().hash(&mut hasher);
    std::time::SystemTime::now().hash(&mut hasher);
    std::time::Instant::now().hash(&mut hasher);
    std::array::from_fn(|index| {
        index.hash(&mut hasher);
        hasher.finish() | 1
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn random_ids_differ_and_round_trip() {
        let ids: HashSet<_> = (0..10_000).map(|_| CorrelationId::random()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids.into_iter().take(100) {
            let text = id.to_string();
            assert_eq!(text.len(), 32);
            assert_eq!(CorrelationId::parse(&text), Ok(id));
            assert_eq!(id.write_hex(&mut [0; 32]), text);
        }
    }

    #[test]
    fn malformed_correlation_ids_are_refused() {
        let parse = CorrelationId::parse;
        assert_eq!(parse("abc"), Err(CorrelationIdError::Length { bytes: 3 }));
        assert_eq!(parse(&"0".repeat(32)), Err(CorrelationIdError::Zero));
        assert_eq!(
            parse(&TRACE.to_uppercase()),
            Err(CorrelationIdError::Digit { position: 1 })
        );
    }

    #[test]
    fn generator_is_xoshiro256_plus_plus() {
        // First outputs of the authors' reference code for the state 1, 2, 3, 4.
        let mut generator = Generator {
            state: [1, 2, 3, 4],
            generation: 0,
        };
        let outputs: [u64; 4] = std::array::from_fn(|_| generator.next());
        assert_eq!(
            outputs,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn reseed_starts_another_sequence() {
        let same = Generator {
            state: [1, 2, 3, 4],
            generation: seed_generation(),
        };
        GENERATOR.with(|cell| cell.set(same));
        reseed();
        assert_ne!(random_u64(), 41_943_041);
    }

    #[test]
    fn threads_do_not_share_a_sequence() {
        let draw = || std::array::from_fn::<u64, 8, _>(|_| random_u64());
        let other = std::thread::spawn(draw).join().unwrap();
        assert_ne!(draw(), other);
    }

    #[test]
    fn seeds_without_the_system_differ() {
        let mut seed = Generator {
            state: seed_without_system(),
            generation: 0,
        };
        let mut other = std::thread::spawn(|| Generator {
            state: seed_without_system(),
            generation: 0,
        })
        .join()
        .unwrap();
        assert_ne!(seed.next(), other.next());
    }

    #[test]
    fn traceparent_round_trips() {
        let context = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(
            context.span_id,
            [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
        );
        assert_eq!(context.correlation_id().unwrap().to_string(), TRACE);
        let child = context.child();
        assert_ne!(child.span_id, context.span_id);
        assert_eq!(TraceContext::parse(&child.to_string()), Ok(child));
        let root = TraceContext::root(false);
        assert!(!root.is_sampled());
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn undefined_flags_are_cleared() {
        let flags = |header: String| TraceContext::parse(&header).unwrap().flags;
        assert_eq!(flags(format!("00-{TRACE}-{SPAN}-ff")), 0x03);
        assert_eq!(flags(format!("cc-{TRACE}-{SPAN}-ff")), 0x01);
    }

    #[test]
    fn later_versions_may_go_on() {
        for rest in ["", "-", "-what-the-future-brings"] {
            assert!(
                TraceContext::parse(&format!("cc-{TRACE}-{SPAN}-01{rest}")).is_ok(),
                "{rest}"
            );
        }
        assert_eq!(
            TraceContext::parse(&format!("cc-{TRACE}-{SPAN}-01.x")),
            Err(TraceContextError::Trailing { version: 0xcc })
        );
    }

    #[test]
    fn malformed_traceparents_are_refused_precisely() {
        let zeros = "0".repeat(32);
        for (header, expected) in [
            (String::new(), TraceContextError::Short { bytes: 0 }),
            (
                format!("00-{TRACE}-{SPAN}-0"),
                TraceContextError::Short { bytes: 54 },
            ),
            (
                format!("00-{TRACE}-{SPAN}-01-x"),
                TraceContextError::Trailing { version: 0 },
            ),
            (format!("ff-{TRACE}-{SPAN}-01"), TraceContextError::Version),
            (
                format!("0x-{TRACE}-{SPAN}-01"),
                TraceContextError::Digit {
                    field: "version",
                    position: 1,
                },
            ),
            (
                format!("00-{TRACE}_{SPAN}-01"),
                TraceContextError::Separator { position: 35 },
            ),
            (
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                TraceContextError::Digit {
                    field: "trace id",
                    position: 4,
                },
            ),
            (
                format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
                TraceContextError::Digit {
                    field: "span id",
                    position: 38,
                },
            ),
            (
                format!("00-{TRACE}-{SPAN}-0G"),
                TraceContextError::Digit {
                    field: "flags",
                    position: 54,
                },
            ),
            (
                format!("00-{zeros}-{SPAN}-01"),
                TraceContextError::ZeroTraceId,
            ),
            (
                format!("00-{TRACE}-{}-01", &zeros[..16]),
                TraceContextError::ZeroSpanId,
            ),
        ] {
            assert_eq!(TraceContext::parse(&header), Err(expected), "{header}");
        }
    }
}
