"""What a worker sends, read by Google's protobuf with the descriptor that we ship."""

from __future__ import annotations

import time
from types import MappingProxyType

import telemetry_py as telemetry
from manager import Manager
from random_events import EVENTS, MESSAGES, Drawn, Source, seed

BATCH = 200
"""Events that wait at once; the queue has room for more."""


def emit(event: Drawn, *, quick: bool) -> None:
    """Either by the quick way, for mappings that are dicts, or by the general one."""
    wrapped = dict if quick else MappingProxyType
    telemetry.emit(event.name, wrapped(event.measurements), wrapped(event.metadata), event.correlation_id)


def raw_events(manager: Manager, count: int) -> list[bytes]:
    return [manager.next() for _ in range(count)]


def expected(event: Drawn, read: object) -> object:
    """The message that `event` is to be; its time is that of the emit, so it is taken from what was read."""
    return event.message(timestamp_ns=read.timestamp_ns, sequence=read.sequence)


def test_random_events_are_the_messages_that_were_meant(roomy_server, ledger):
    """Byte for byte what protobuf itself writes, if the keys come in its order; else the same message."""
    source = Source(seed())
    sequence = 0
    with Manager(roomy_server.address, read=bytes) as manager:
        for start in range(0, EVENTS, BATCH):
            drawn = [source.draw() for _ in range(BATCH)]
            before = time.time_ns()
            for place, event in enumerate(drawn):
                emit(event.sorted() if place % 2 else event, quick=place % 4 < 2)
            after = time.time_ns()
            for place, (event, raw) in enumerate(zip(drawn, raw_events(manager, BATCH), strict=True)):
                sequence += 1
                read = MESSAGES["TelemetryEvent"].FromString(raw)
                assert read.sequence == sequence
                assert before - 10**9 <= read.timestamp_ns <= after + 10**9
                meant = expected(event, read).SerializeToString(deterministic=True)
                assert read.SerializeToString(deterministic=True) == meant, event
                assert len(raw) == len(meant), event
                if place % 2:
                    assert raw == meant, event
    stats = ledger()
    assert (stats["emitted"], stats["dropped"], stats["notes"]) == (EVENTS, {}, {})


def test_with_a_sampling_rate_the_sequence_comes_last(roomy_server):
    """The one field that is out of the order of numbers: it is known only when the event is sent."""
    source = Source(seed())
    half = MESSAGES["TelemetryControl"]()
    half.sampling.sampling_rate = 0.5
    with Manager(roomy_server.address, read=bytes) as manager:
        manager.control(half)
        sampled = 0
        while sampled < 500:
            drawn = [source.draw().sorted() for _ in range(BATCH)]
            before = telemetry.stats()["accepted"]
            for event in drawn:
                emit(event, quick=True)
            for raw in raw_events(manager, telemetry.stats()["accepted"] - before):
                read = MESSAGES["TelemetryEvent"].FromString(raw)
                if not read.HasField("sampling_rate"):
                    # The control has not come yet.
                    assert not sampled
                    continue
                assert read.sampling_rate == 0.5
                sampled += 1
                last = MESSAGES["TelemetryEvent"](sequence=read.sequence)
                read.ClearField("sequence")
                assert raw == read.SerializeToString(deterministic=True) + last.SerializeToString()


def test_integers_too_large_and_truth_values_become_what_the_wire_has(roomy_server):
    with Manager(roomy_server.address, read=bytes) as manager:
        given = {"above": 2**63, "below": -(2**63) - 1, "true": True, "false": False, "far": 10**300}
        telemetry.emit("a.b", given)
        read = MESSAGES["TelemetryEvent"].FromString(manager.next())
    assert {key: read.measurements[key].float_value for key in ("above", "below", "far")} == {
        "above": 2.0**63,
        "below": -(2.0**63),
        "far": 1e300,
    }
    assert {key: read.measurements[key].int_value for key in ("true", "false")} == {"true": 1, "false": 0}
    kinds = {key: value.WhichOneof("value") for key, value in read.measurements.items()}
    assert set(kinds.values()) == {"int_value", "float_value"}
