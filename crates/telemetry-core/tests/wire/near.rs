//! Where short cuts might go wrong: entries that are nearly in their usual form, and keys that are
//! nearly known.

use proptest::collection::vec;
use proptest::prelude::*;
use telemetry_core::{
    ValueRef,
    catalog::Catalog,
    wire::{Content, DecodeLimits, DecodedEvent, decode_event, encode_event_parts},
};

use super::{cases, delimited, same_verdict, varint};

/// A decoder that knows the catalog's keys finds the same event, and is right about what is odd.
pub(super) fn known_keys_change_nothing(bytes: &[u8]) -> Result<(), TestCaseError> {
    let catalog = Catalog::builtin();
    let limits = DecodeLimits::default();
    let mut event = DecodedEvent::empty();
    let content = match (
        decode_event(bytes, &limits),
        event.read(bytes, &limits, &**catalog),
    ) {
        (Err(one), Err(other)) => {
            prop_assert_eq!(one, other);
            return Ok(());
        }
        (Ok(one), Ok(content)) => {
            let measured =
                |event: &DecodedEvent<'_>| format!("{:?}", event.values().collect::<Vec<_>>());
            prop_assert_eq!(measured(&one), measured(&event));
            prop_assert_eq!(&one.metadata, &event.metadata);
            prop_assert_eq!(one.parts.dotted(), event.parts.dotted());
            let scalars = |event: &DecodedEvent<'_>| {
                let rate = event.sampling_rate.map(f64::to_bits);
                (event.timestamp_ns, event.sequence, rate)
            };
            prop_assert_eq!(scalars(&one), scalars(&event));
            prop_assert_eq!(one.correlation_id, event.correlation_id);
            prop_assert_eq!((one.hello, one.report), (event.hello, event.report));
            content
        }
        (one, other) => {
            return Err(TestCaseError::fail(format!("{one:?}, but {other:?}")));
        }
    };
    let expected = match (event.hello, event.report) {
        (Some(hello), _) => Content::Hello(hello),
        (None, Some(report)) => Content::Report(report),
        (None, None) => Content::Event,
    };
    prop_assert_eq!(content, expected);
    let mut is_plain = true;
    for (place, (key, value)) in event.values().enumerate() {
        let known = catalog.measurement_key(key).is_some();
        prop_assert_eq!(event.is_known_measurement(place), known, "{}", key);
        let usable = match value {
            Some(ValueRef::Float(number)) => number.is_finite(),
            value => value.is_some(),
        };
        is_plain &= known && usable;
    }
    for (place, (key, _)) in event.metadata.iter().enumerate() {
        let known = catalog.metadata_key(key).is_some();
        prop_assert_eq!(event.is_known_metadata(place), known, "{}", key);
        is_plain &= known;
    }
    prop_assert_eq!(event.is_plain(), is_plain);
    Ok(())
}

/// A length in one byte, or in more than it needs.
fn length(len: usize, padding: usize) -> Vec<u8> {
    let mut bytes = varint(len as u64);
    for _ in 0..padding {
        *bytes.last_mut().expect("at least one") |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// Keys of the catalog, and such as are nearly that.
const NEAR_KEYS: [&[u8]; 18] = [
    b"duration",
    b"duration_ms",
    b"duratio",
    b"durationx",
    b"count",
    b"counu",
    b"bytes",
    b"tool",
    b"tooL",
    b"toolx",
    b"operation",
    b"operatiom",
    b"commands_with_affinity",
    b"commands_xith_affinity",
    b"commands_with_affinit\xff",
    b"",
    b"\xc3\xa9",
    b"\xc3",
];

/// A map entry that is nearly in its usual form: lengths may be padded, fields out of order,
/// repeated, missing or unknown.
fn near_entry() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        4 => any::<u64>().prop_map(|int| [vec![0x08], varint(int)].concat()),
        1 => (0_usize..300, 1_usize..4)
            .prop_map(|(int, padding)| [vec![0x08], length(int, padding)].concat()),
        2 => any::<f64>().prop_map(|float| [vec![0x11], float.to_le_bytes().to_vec()].concat()),
        1 => Just([vec![0x11], f64::NAN.to_le_bytes().to_vec()].concat()),
        2 => ".{0,3}".prop_map(|text| delimited(3, text.as_bytes())),
        1 => vec(any::<u8>(), 0..4),
        1 => Just(Vec::new()),
        1 => vec(any::<u8>(), 100..300).prop_map(|bytes| {
            bytes.iter().map(|byte| b'a' + byte % 26).collect()
        }),
    ];
    let padding = prop_oneof![6 => Just(0_usize), 1 => 1_usize..3];
    (
        prop::sample::select(&NEAR_KEYS[..]),
        value,
        [padding.clone(), padding.clone(), padding],
        0_usize..12,
        2_u8..4,
    )
        .prop_map(|(key, value, [outer, of_key, of_value], shape, map)| {
            let field = |tag: u8, bytes: &[u8], padding| {
                [vec![tag], length(bytes.len(), padding), bytes.to_vec()].concat()
            };
            let key = field(0x0a, key, of_key);
            let value = field(0x12, &value, of_value);
            let entry = match shape {
                0 => [value, key].concat(),
                1 => [key, value.clone(), value].concat(),
                2 => [key.clone(), value, key].concat(),
                3 => key,
                4 => value,
                5 => [key, value, vec![0x18, 7]].concat(),
                6 => [key, value, vec![0x12]].concat(),
                _ => [key, value].concat(),
            };
            field(map << 3 | 2, &entry, outer)
        })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn entries_near_their_usual_form_get_the_verdict_of_prost(
        entries in vec(near_entry(), 0..6),
        scalars in vec((any::<u64>(), 0_usize..3), 0..3),
    ) {
        let mut bytes = encode_event_parts("tool.execution.stop");
        for entry in entries {
            bytes.extend(entry);
        }
        for (value, field) in scalars {
            bytes.extend([&[0x20][..], &[0xc8, 0x3e], &[0xa0, 0x00]][field]);
            bytes.extend(varint(value));
        }
        same_verdict(&bytes)?;
    }
}

#[test]
fn an_entry_that_comes_again_takes_its_oddity_with_it() {
    let entry =
        |value: &[u8]| delimited(2, &[delimited(1, b"count"), delimited(2, value)].concat());
    let nan = [&[0x11][..], &f64::NAN.to_le_bytes()].concat();
    for odd in [&nan[..], b""] {
        for (first, second, is_plain) in [(odd, &[0x08, 1][..], true), (&[0x08, 1], odd, false)] {
            let bytes = [entry(first), entry(second)].concat();
            let mut event = DecodedEvent::empty();
            event
                .read(&bytes, &DecodeLimits::default(), &**Catalog::builtin())
                .expect("valid");
            assert_eq!((event.measurements.len(), event.is_plain()), (1, is_plain));
        }
    }
}
