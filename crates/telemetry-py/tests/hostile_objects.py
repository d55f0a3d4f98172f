"""Objects that do harm when they are looked at, made from recipes that can be printed and made again.

Choices are made by whatever has the methods of ``random.Random``: one with a seed, or one of hypothesis.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any, NamedTuple

import telemetry_py as telemetry


class Broken(Exception):
    """What a hostile object raises."""


class Interrupt(BaseException):
    """The same, but nobody may swallow it."""


OWN = (Interrupt, KeyboardInterrupt, SystemExit)
"""What passes through every call if the program's own code raises it."""


class Endless(BaseException):
    """Somebody goes on with an iterator that has no end."""


MOST_STEPS = 50_000
"""Steps with iterators in one call; whoever bounds them stops before."""


class Tally:
    """How many events there must be, counted where they are emitted, and how often an object did harm."""

    emitted: list[None] = []
    harmed = 0
    steps = 0
    thread = threading.local()
    containers: list[Any] = []
    """What the call under way was given, for objects that change it."""


def counted() -> None:
    """One more event must be in the ledger."""
    Tally.emitted.append(None)


class Recipe(NamedTuple):
    """How to make a hostile object."""

    base: str
    acts: tuple[tuple[str, str], ...]
    meta: tuple[tuple[str, str], ...] = ()
    """What its class does."""


HOOKS = (
    *("__str__", "__repr__", "__index__", "__int__", "__float__", "__bool__", "__iter__", "__next__", "__len__"),
    *("__contains__", "__getitem__", "__setitem__", "__getattr__", "__getattribute__", "__setattr__", "__hash__"),
    *("__eq__", "__lt__", "__class__", "__format__", "__del__", "__call__", "__fspath__", "__enter__", "__exit__"),
    *("__traceback__", "__wrapped__", "__dict__", "__bytes__", "__reduce__", "__get__", "__await__"),
    *("__aiter__", "__anext__", "keys", "items", "get", "append", "emit", "flush", "close", "code", "value", "encode"),
    *("isoformat", "lower", "decode", "startswith", "name", "method", "args", "tzinfo", "total_seconds", "dtype", "item"),
)
"""What others call of an object without being told to."""

OFTEN = ("__str__", "__index__", "__float__", "items", "__bool__", "__getattr__", "__iter__", "__len__")
"""What is asked for first."""

OF_CLASSES = ("__name__", "__module__", "__repr__", "__getattribute__", "__instancecheck__", "__hash__", "__eq__")

PROPERTIES = ("__class__", "__traceback__", "__wrapped__", "__name__", "__module__", "__dict__", "code", "value", "name", "method", "args", "tzinfo", "dtype")

BASES: dict[str, type] = {
    kind.__name__: kind
    for kind in (object, str, int, float, dict, list, tuple, bytes, set, Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
}


def _recurse(self: Any) -> Any:
    return _recurse(self)


def _mutate(self: Any) -> Any:
    for container in (self, *Tally.containers[-3:]):
        if issubclass(type(container), dict):
            dict.clear(container)
            dict.update(container, {f"key{i}": i for i in range(40)})
        elif issubclass(type(container), list):
            list.append(container, container)
    return "mutated"


def _nested(_self: Any) -> Any:
    nested: Any = []
    for _ in range(2_000):
        nested = [nested]
    return nested


def _again(_self: Any) -> Any:
    if not getattr(Tally.thread, "is_again", False):
        # Each time twice would never end.
        Tally.thread.is_again = True
        try:
            _all_again()
        finally:
            Tally.thread.is_again = False
    return "again"


def _all_again() -> None:
    counted()
    telemetry.emit("again.event", {"count": 1}, {"key": "value"})
    telemetry.stats()
    telemetry.get_correlation_id()
    counted()
    with telemetry.span("again"):
        counted()


def _switch(_self: Any) -> Any:
    time.sleep(0)
    return "switched"


def _raise(error: type[BaseException]) -> Any:
    def act(_self: Any) -> Any:
        raise error("password=hunter2 \ud800")

    return act


ACTS: dict[str, Any] = {
    "raise": _raise(Broken),
    "no attribute": _raise(AttributeError),
    "no memory": _raise(MemoryError),
    "stop": _raise(StopIteration),
    "interrupt": _raise(Interrupt),
    "keyboard": _raise(KeyboardInterrupt),
    "exit": _raise(SystemExit),
    "recurse": _recurse,
    "mutate": _mutate,
    "nest": _nested,
    "again": _again,
    "switch": _switch,
    "none": lambda self: None,
    "self": lambda self: self,
    "huge": lambda self: 10**5_000,
    "negative": lambda self: -1,
    "nan": lambda self: math.nan,
    "surrogate": lambda self: "\ud800",
    "long": lambda self: "x" * 100_000,
    "bytes": lambda self: b"\xff",
    "type": lambda self: int,
    "pairs": lambda self: iter([("a", 1), ("b",), 3, None]),
    "true": lambda self: True,
}

PASSING = ("interrupt", "keyboard", "exit")
"""Acts that end in one of ``OWN``."""


def build(value: Any) -> Any:
    """The value that a description stands for."""
    kind = type(value)
    if kind is Recipe:
        return _hostile(value)
    if kind is dict:
        made: dict[Any, Any] = {}
        Tally.containers.append(made)
        for key, item in value.items():
            key, item = build(key), build(item)
            try:
                made[key] = item
            except BaseException:
                # It cannot be a key.
                made[str(len(made))] = item
        return made
    if kind in (list, tuple):
        items = [build(item) for item in value]
        Tally.containers.append(items)
        return items if kind is list else tuple(items)
    return value


def _hostile(recipe: Recipe) -> Any:
    meta: Any = type
    if recipe.meta:
        meta = type("HostileClass", (type,), _names(recipe.meta))
    base = BASES[recipe.base]
    made: Any = type.__new__(meta, "Hostile", (base,), _names(recipe.acts))
    # Without the constructors, which hooks could get in the way of.
    arguments: Any = {"str": ("text",), "int": (7,), "float": (0.5,), "bytes": (b"raw",)}.get(recipe.base, ())
    result = base.__new__(made, *arguments)
    if recipe.base == "dict":
        dict.update(result, {"a": 1, "b": "c"})
    return result


def _names(acts: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, act in acts:
        if name == "__del__" and act not in ("mutate", "switch", "none"):
            # What it raises Python itself would tell of on stderr.
            act = "again"
        hook = _hook(ACTS[act], name in ("__next__", "__getitem__"))
        if name == "__dict__" or name not in PROPERTIES:
            names[name] = hook
        else:
            names[name] = property(hook)
    return names


def _hook(act: Any, is_step: bool = False) -> Any:
    def harm(self: Any = None, *_args: Any, **_named: Any) -> Any:
        if is_step:
            Tally.steps += 1
            if Tally.steps > MOST_STEPS:
                raise Endless
        else:
            Tally.harmed += 1
        return act(self)

    return harm


def recipe(random: Any) -> Recipe:
    base = random.choice(("object",) * 8 + tuple(BASES))
    names = {random.choice(OFTEN if random.random() < 0.5 else HOOKS) for _ in range(random.randint(1, 6))}
    acts = tuple((name, random.choice(tuple(ACTS))) for name in sorted(names))
    meta: tuple[tuple[str, str], ...] = ()
    if random.random() < 0.1:
        meta = ((random.choice(OF_CLASSES), random.choice(tuple(ACTS))),)
    return Recipe(base, acts, meta)


PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**63, -(2**63) - 1, 10**400, 0.5, math.nan, math.inf, -0.0, 1e308, 3 + 4j),
    *("\ud800", "a\udfffb", "", "a.b", "x", "tool.execution", "x" * 70_000, "unix:", "\x00", "\n", "é", "%", "0.5"),
    *(b"", b"\xff", b"raw", object, int, Ellipsis, len, NotImplemented, frozenset({1}), range(3), slice(1)),
)


def plain(random: Any) -> Any:
    """Something odd that does nothing."""
    if random.random() < 0.1:
        return bytearray(b"\xff" * 3)
    return random.choice(PLAIN)


def value(random: Any, depth: int = 0) -> Any:
    """Anything at all."""
    roll = random.random()
    if roll < 0.45:
        return recipe(random)
    if roll < 0.8 or depth > 3:
        return plain(random)
    if roll < 0.87:
        return [value(random, depth + 1) for _ in range(random.randint(0, 4))]
    if roll < 0.93:
        return tuple(value(random, depth + 1) for _ in range(random.randint(0, 3)))
    return mapping_of(random, depth + 1)


def mapping_of(random: Any, depth: int = 1) -> dict[Any, Any]:
    """A dict of anything."""
    made: dict[Any, Any] = {}
    for _ in range(random.randint(0, 5)):
        key = random.choice("abcdef") if random.random() < 0.5 else recipe(random) if random.random() < 0.5 else random.choice((1, None, "\ud800", "duration", (), b"x", 2.5))
        made[key] = value(random, depth)
    return made


def mapping(random: Any) -> Any:
    """What stands where a mapping should."""
    roll = random.random()
    if roll < 0.6:
        return mapping_of(random)
    if roll < 0.65:
        return {f"key{i}": i for i in range(random.randint(0, 80))}
    return value(random)


def name(random: Any) -> Any:
    """What stands where the name of an event or an operation should."""
    return random.choice(("a.b", "tool.execution", "x", "op")) if random.random() < 0.6 else value(random)
