"""Random events within the limits of the wire, and the messages of our own descriptor.

A seed makes the same events everywhere. To repeat a failure, pass its seed in `EVENTS_SEED`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

EVENTS = 10_000
MAX_SEGMENTS, MAX_SEGMENT_BYTES = 8, 64
MAX_FIELDS, MAX_KEY_BYTES, MAX_VALUE_BYTES, MAX_CORRELATION_ID_BYTES = 32, 64, 1024, 128

_DESCRIPTOR = Path(__file__).resolve().parents[2] / "telemetry-proto/src/generated/descriptor.bin"
_SEGMENT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_NO_SECRET = str.maketrans("eowEOW", "aaaAAA")
"""Leaves no word that makes a key secret."""
_PLANES = [(0x00, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
"""Characters by how many bytes they have, without surrogates, which no text on the wire has."""


def _messages() -> dict[str, Any]:
    files = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTOR.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    names = ("TelemetryEvent", "TelemetryControl")
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"snakepit.bridge.{name}"))
        for name in names
    }


MESSAGES = _messages()
"""Classes that protobuf makes of the descriptor that we ship."""


class Drawn(NamedTuple):
    """An event as a program means it."""

    name: str
    measurements: dict[str, int | float | str]
    metadata: dict[str, str]
    correlation_id: str

    def sorted(self) -> Drawn:
        """The same with its keys in the order that protobuf's deterministic serializer has them in."""
        return self._replace(measurements=_by_key(self.measurements), metadata=_by_key(self.metadata))

    def message(self, **more: Any) -> Any:
        """The message that says it, with `more` of its fields."""
        event = MESSAGES["TelemetryEvent"](
            event_parts=self.name.split("."), metadata=self.metadata, correlation_id=self.correlation_id, **more
        )
        for key, value in self.measurements.items():
            if isinstance(value, int) and -(2**63) <= value < 2**63:
                event.measurements[key].int_value = value
            elif isinstance(value, str):
                event.measurements[key].string_value = value
            else:
                event.measurements[key].float_value = float(value)
        return event


def _by_key(entries: dict[str, Any]) -> dict[str, Any]:
    # By their bytes, and what begins like a longer one after that; no text has the byte 0xff.
    return dict(sorted(entries.items(), key=lambda entry: entry[0].encode() + b"\xff"))


def seed() -> int:
    """A new seed or the one that is asked for; said where a failing test shows it."""
    seed = int(os.environ.get("EVENTS_SEED") or int.from_bytes(os.urandom(4), "big"))
    print(f"EVENTS_SEED={seed}")
    return seed


class Source:
    """Events from a seed."""

    def __init__(self, seed: int, keys: Sequence[str] = (), names: int = 500) -> None:
        """Events of so many names; measurements have one of `keys`, or any key if there are none."""
        self._random = Random(seed)
        self._keys = list(keys)
        self.names = sorted({self._name() for _ in range(names)})

    def draw(self) -> Drawn:
        """The next event."""
        random = self._random
        return Drawn(
            random.choice(self.names),
            self._fields(self._measurement_key, self._value),
            self._fields(self._key, lambda: self._text(MAX_VALUE_BYTES)),
            self._text(MAX_CORRELATION_ID_BYTES) if random.random() < 0.7 else "",
        )

    def serialized(self, event: Any) -> bytes:
        """Its bytes as some protobuf library may write them: in order, or with its fields in any order, of
        which only the segments of the name must keep theirs."""
        if self._random.random() < 0.5:
            return event.SerializeToString()
        pieces = []
        for field, value in event.ListFields():
            for key in value if field.name in ("measurements", "metadata") else [None]:
                piece = type(event)()
                if field.name == "measurements":
                    piece.measurements[key].CopyFrom(value[key])
                elif field.name == "metadata":
                    piece.metadata[key] = value[key]
                elif field.name == "event_parts":
                    piece.event_parts.extend(value)
                else:
                    setattr(piece, field.name, value)
                pieces.append(piece.SerializeToString())
        self._random.shuffle(pieces)
        return b"".join(pieces)

    def int64(self) -> int:
        """One of any length, often at an end of it."""
        random = self._random
        bits = random.randrange(64)
        number = random.choice([0, 1, (1 << bits) - 1, 1 << bits, random.getrandbits(bits or 1)])
        return max(-(2**63), min(2**63 - 1, random.choice([1, -1]) * number))

    def _name(self) -> str:
        random = self._random
        count = random.choice([1, 2, 3, 3, 4, MAX_SEGMENTS])
        lengths = (random.choice([1, 5, 9, 20, MAX_SEGMENT_BYTES]) for _ in range(count))
        return ".".join("".join(random.choices(_SEGMENT, k=length)) for length in lengths)

    def _fields(self, key: Callable[[], str], value: Callable[[], Any]) -> dict[str, Any]:
        random = self._random
        count = random.choices([0, 1, 3, 6, MAX_FIELDS], [10, 30, 40, 16, 4])[0]
        fields: dict[str, Any] = {}
        while len(fields) < count:
            fields[key()] = value()
        return fields

    def _measurement_key(self) -> str:
        return self._random.choice(self._keys) if self._keys else self._key()

    def _key(self) -> str:
        """One that names no secret, as `jwt` does: values of those are replaced, which other tests see."""
        return self._text(MAX_KEY_BYTES).translate(_NO_SECRET)

    def _value(self) -> int | float | str:
        random = self._random
        match random.randrange(8):
            case 0 | 1 | 2:
                return self.int64()
            case 3:
                return self._text(MAX_VALUE_BYTES)
            case 4:
                # Floats that are easily mistaken for something else.
                return random.choice([0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 2.0**63, 1.7976931348623157e308])
            case 5:
                # A denormal one.
                return struct.unpack("<d", struct.pack("<Q", random.getrandbits(52) | random.getrandbits(1) << 63))[0]
            case 6:
                return random.uniform(-1e6, 1e6)
            case _:
                return self._any_float()

    def _any_float(self) -> float:
        while True:
            bits = self._random.getrandbits(64)
            # Infinities and what is no number are refused, which other tests see.
            if bits >> 52 & 0x7FF != 0x7FF:
                return struct.unpack("<d", struct.pack("<Q", bits))[0]

    def _text(self, max_bytes: int) -> str:
        """At most so many bytes, and sometimes exactly so many."""
        random = self._random
        match random.randrange(20):
            case 0:
                return ""
            case 1:
                length = max_bytes
            case 2:
                length = random.randrange(max_bytes)
            case _:
                length = random.randrange(20)
        if random.random() < 0.5:
            return "".join(random.choices(_SEGMENT, k=length))
        text = "".join(chr(random.randint(*random.choice(_PLANES))) for _ in range(length))
        cut = text.encode()[:max_bytes].decode(errors="ignore")
        # Where a character did not fit, something else does.
        return cut + "." * (max_bytes - len(cut.encode())) if length == max_bytes else cut
