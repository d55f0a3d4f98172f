"""Calls everything public with whatever there is: ``python fuzz.py CALLS [SEED]``, which prints what it did.

No call may raise but what is documented of it, or what the program itself raised and nobody may swallow; nothing
panics; and the ledger has each event that was emitted, by a count of its own. A batch that fails is made again by
its seed: ``python fuzz.py 1 SEED``.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import os
import random
import sys
import threading
from typing import Any

import fuzz_requests
import fuzz_surface
import hostile_objects as hostile
import telemetry_py as telemetry
from fuzz_surface import PUBLIC
from hostile_objects import OWN, Broken, Endless, Tally, build, counted

BATCH = 40
"""Calls between two looks at the ledger."""

SURE = ("a.b", "tool.execution", "x", "op")
"""Names that are some, so that a span of that name has two events."""


BACKENDS = {f"{kind}.emit" for kind in ("MemoryBackend", "CompositeBackend", "StderrBackend", "StatsdBackend", "OtelBackend", "Capture")}
"""Called by a host of its own, with mappings that are dicts."""


class Count:
    """What was done."""

    calls = 0
    perhaps = 0
    """Events that may be in the ledger of this batch, or not."""
    by_name: collections.Counter[str] = collections.Counter()


class Beside:
    """Another thread that emits all the time, so that whoever switches threads meets one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.is_over.wait(0.0005):
            with self.lock:
                counted()
                try:
                    telemetry.emit("beside.event", {"count": 1}, {"key": "value"})
                except OWN:
                    pass  # A backend's.


beside = Beside()

_A_CONTEXT = contextlib.contextmanager(lambda: iter(()))()
"""What ``contextlib`` makes."""


def call(path: str, function: Any, given: Any, allowed: tuple[type[BaseException], ...]) -> Any:
    """One call; what it may not raise goes on."""
    Count.calls += 1
    Count.by_name[path] += 1
    arguments, named = [build(each) for each in given[0]], {key: build(each) for key, each in given[1].items()}
    Tally.steps = 0
    try:
        return function(*arguments, **named)
    except OWN:
        return None
    except Endless:
        # What may hand on what the program raises, may wait for what it does.
        assert Broken in allowed or path in BACKENDS, path
        return None
    except allowed:
        return None


def one(choose: random.Random, path: str) -> None:
    """Calls one name, and uses what it returns."""
    function = PUBLIC[path]
    short = path.rpartition(".")[2]
    given = fuzz_surface.arguments(choose, path, function)
    if short == "flush_on_signal" and threading.current_thread() is not threading.main_thread():
        return
    if short in ("emit", "counter"):
        counted()
    made = call(path, function, given, fuzz_surface.allowed(path))
    if short == "set_backend":
        used_backend(choose)
    elif made is not None and fuzz_surface.is_ours(made):
        use(choose, short, made)
    elif type(made) is type(_A_CONTEXT):
        within(choose, short, made)
    if short in ("serve", "connect") and isinstance(made, telemetry.Server):
        made.close(0)
    elif short == "configure":
        telemetry.configure(**dict.fromkeys(function.__kwdefaults__))


def used_backend(choose: random.Random) -> None:
    """A hostile backend gets events, and then all is as before."""
    if telemetry.is_enabled():
        for _ in range(2):
            counted()
            call("emit", telemetry.emit, (("a.b", {"a": 1}), {}), ())
        call("flush", telemetry.flush, ((0,), {}), ())
    telemetry.set_backend(telemetry.ServerBackend())


def use(choose: random.Random, short: str, made: Any) -> None:
    """Calls some methods of an object of ours."""
    if isinstance(made, telemetry.Span):
        return in_span(choose, made, None)
    if isinstance(made, telemetry.suppress):
        return suppressed(choose, made)
    if type(made).__name__ == "Instrumentation":
        return None if made.close() else within_instrumented(choose)
    kind = type(made).__name__
    names = fuzz_surface.methods(made)
    for name in (choose.choice(names) for _ in range(min(len(names), choose.randint(0, 3)))):
        if kind == "TelemetryStream" and name.startswith("stream"):
            continue  # They wait for events; fuzz_requests sees to them.
        if name == "emit" and isinstance(made, telemetry.ServerBackend):
            counted()
        elif name == "emit" and isinstance(made, (telemetry.CompositeBackend, fuzz_surface.PUBLIC["TelemetryHandler"])):
            Count.perhaps += 3
        path = f"{kind}.{name}"
        method = getattr(made, name)
        call(path, method, fuzz_surface.arguments(choose, path, method), fuzz_surface.allowed(path))
    within(choose, short, made)


def within_instrumented(choose: random.Random) -> None:
    counted()
    call("emit", telemetry.emit, (("a.b",), {}), ())


def within(choose: random.Random, short: str, made: Any) -> None:
    """Enters and leaves, with any exception at all, and also more often than it was entered."""
    if not hasattr(type(made), "__exit__"):
        if callable(made) and short in ("wrap_context", "carried", "Carried", "instrument"):
            call(f"{short}()", made, ((), {}), (Exception,))
        return
    allowed = fuzz_surface.allowed(short)
    if short == "timed":
        Count.perhaps += 3
    elif short == "otel_span" or short == "span":
        Count.perhaps += 2
    try:
        call(f"{short}.__enter__", made.__enter__, ((), {}), allowed)
        for _ in range(choose.randint(1, 2) if type(made).__module__ != "contextlib" else 1):
            error = build(choose.choice((None, recipe_of_error(choose))))
            kind = None if error is None else type(error)
            # What a context manager of contextlib is left with, it raises.
            is_own = type(made).__module__ == "contextlib"
            call(f"{short}.__exit__", lambda: made.__exit__(kind, error, None), ((), {}), (BaseException,) if is_own else allowed)
    finally:
        telemetry.set_backend(telemetry.ServerBackend()) if short == "capture" else None


def recipe_of_error(choose: random.Random) -> Any:
    made = hostile.recipe(choose)
    return made._replace(base=choose.choice(("Exception", "SystemExit", "KeyboardInterrupt", "GeneratorExit")))


def suppressed(choose: random.Random, made: Any) -> None:
    """Nothing within is counted, nor looked at."""
    made.__enter__()
    event = build({"a": hostile.recipe(choose)})
    harmed = Tally.harmed
    telemetry.emit("a.b", event)
    assert Tally.harmed == harmed
    made.__exit__(None, None, None)


def span(choose: random.Random) -> None:
    """A span that is made, entered, used, and left with anything at all."""
    given = fuzz_surface.arguments(choose, "span", telemetry.span)
    made = call("span", telemetry.span, given, fuzz_surface.allowed("span"))
    if isinstance(made, telemetry.Span):
        in_span(choose, made, given[0][0] if given[0] else given[1].get("operation"))


def in_span(choose: random.Random, made: Any, operation: Any) -> None:
    Count.perhaps += 2
    begins = choose.choice(("__enter__", "__aenter__"))
    call(f"Span.{begins}", getattr(made, begins), ((), {}), ())
    for name in (choose.choice(fuzz_surface.methods(made)) for _ in range(choose.randint(0, 4))):
        Count.perhaps += name == "event"
        path = f"Span.{name}"
        call(path, getattr(made, name), fuzz_surface.arguments(choose, path, getattr(made, name)), ())
    for read in (repr, str):
        call(f"Span.{read.__name__}", read, ((made,), {}), ())
    try:
        assert made.elapsed_ns >= 0 and isinstance(made.correlation_id, str)
        assert len(made.trace_id) in (0, 32) and len(made.span_id) in (0, 16)
        assert isinstance(made.operation, str)
    except OWN:
        pass
    if choose.random() < 0.1:
        return  # Never left.
    error: Any = choose.choice((ValueError, SystemExit, GeneratorExit, KeyError, None))
    if choose.random() < 0.5:
        error = build(hostile.value(choose) if choose.random() < 0.5 else recipe_of_error(choose))
    kind = choose.choice((type(error), error))
    ends = choose.choice(("__exit__", "__aexit__"))
    call(f"Span.{ends}", lambda: getattr(made, ends)(kind, error, None), ((), {}), ())


def check(before: dict[str, Any]) -> None:
    """Compares the ledger with our own count."""
    stats = telemetry.stats()
    emitted = stats["emitted"] - before["emitted"]
    least = len(Tally.emitted)
    assert least <= emitted <= least + Count.perhaps, (least, emitted, Count.perhaps, stats)
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values()), stats
    assert stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"], stats
    assert not stats["dropped"].get("internal_error"), stats


def batch(choose: random.Random) -> None:
    """Some calls, one after the other, and then the ledger."""
    telemetry.set_backend(telemetry.ServerBackend())
    Tally.containers.clear()
    with beside.lock:
        Tally.emitted.clear()
        Count.perhaps = 0
        before = telemetry.stats()
    for _ in range(BATCH):
        del Tally.containers[:-8]
        roll = choose.random()
        if roll < 0.3:
            one(choose, "emit")
        elif roll < 0.5:
            span(choose)
        elif roll < 0.65:
            Count.perhaps += fuzz_requests.MOST_EVENTS
            Count.calls += 1
            fuzz_requests.one(choose, Count.by_name)
        else:
            one(choose, choose.choice(fuzz_surface.NAMES))
    with beside.lock:
        check(before)


def run(calls: int, seed: int) -> None:
    """Batches until there were so many calls."""
    before = Count.calls
    while Count.calls - before < calls:
        try:
            contextvars.copy_context().run(batch, random.Random(seed))
        except BaseException:
            print(f"the batch of seed {seed} failed", file=sys.__stderr__, flush=True)
            raise
        seed += 1


def main(calls: int, seed: int) -> None:
    telemetry.set_backend(telemetry.ServerBackend())
    fuzz_requests.begin()
    beside.thread.start()
    run(calls, seed)
    if calls >= 20_000:
        missed = [name for name in fuzz_surface.NAMES if not Count.by_name[name]]
        assert not missed, missed
        # Some of each hundred calls met harm.
        assert Tally.harmed > Count.calls / 5, Tally.harmed
    # The end: every timeout will do, and what comes later is counted as well.
    for recipe in (hostile.Recipe("object", ((hook, act),)) for hook in ("__float__", "__index__") for act in ("raise", "type", "nan")):
        call("shutdown", telemetry.shutdown, ((recipe,), {}), ())
    run(min(calls, 1_000), -seed - 1)
    beside.is_over.set()
    print(f"{Count.calls} calls of {len(Count.by_name)} names, {Tally.harmed} times harmed, from seed {seed}", file=sys.__stdout__)


if __name__ == "__main__":
    # Whoever recurses does so a thousand times, not less because of what is below.
    sys.setrecursionlimit(1_500)
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.flush()
    # Hostile objects that are left must not have a say in the exit of the interpreter.
    os._exit(0)
