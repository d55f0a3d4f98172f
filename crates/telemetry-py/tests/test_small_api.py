"""`counter`, `timed`, `suppress`, `instrument`, the correlation filter, and what `flush` may promise."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import io
import logging
import threading

import pytest
import telemetry_py as telemetry
from acceptor import Acceptor


def test_counter_is_an_event_with_a_count(memory):
    telemetry.counter("cache.miss")
    telemetry.counter("cache.miss", 3, table="users")
    telemetry.counter("cache.miss", value=2.5, event_kind="x")
    assert [event[:3] for event in memory.events] == [
        ("cache.miss", {"count": 1}, {}),
        ("cache.miss", {"count": 3}, {"table": "users"}),
        ("cache.miss", {"count": 2.5}, {"event_kind": "x"}),
    ]


def test_a_counter_has_metadata_of_any_name_but_value(memory):
    telemetry.counter("x.y", event="boot", metadata="m", self="s")
    telemetry.counter("x.y", event="boot", value=2)
    assert [event[:3] for event in memory.events] == [
        ("x.y", {"count": 1}, {"event": "boot", "metadata": "m", "self": "s"}),
        ("x.y", {"count": 2}, {"event": "boot"}),
    ]


def test_timed_is_one_event_with_its_duration(memory):
    with telemetry.timed("cache.load", {"table": "users"}):
        pass
    (event,) = memory.events
    assert event.event == "cache.load" and event.metadata == {"table": "users"}
    assert set(event.measurements) == {"duration"} and event.measurements["duration"] >= 0


async def test_timed_measures_whatever_it_is_put_on(memory):
    @telemetry.timed("of.function")
    def function(a, *, b):
        return a + b

    @telemetry.timed("of.coroutine")
    async def coroutine():
        return 2

    @telemetry.timed("of.generator")
    def generator():
        yield 3

    @telemetry.timed("of.asyncgen")
    async def asyncgen():
        yield 4

    assert function(1, b=1) == 2 and await coroutine() == 2
    assert list(generator()) == [3] and [item async for item in asyncgen()] == [4]
    async with telemetry.timed("of.block"):
        pass
    assert memory.names() == ["of.function", "of.coroutine", "of.generator", "of.asyncgen", "of.block"]
    assert inspect.iscoroutinefunction(coroutine) and function.__name__ == "function"


def test_timed_measures_a_block_that_fails_and_one_within_itself(memory):
    timed = telemetry.timed("cache.load", {"k": "v"})
    with pytest.raises(KeyError), timed, timed:
        raise KeyError("x")
    assert [event.metadata for event in memory.events] == [{"k": "v", "error_type": "KeyError"}] * 2
    inner, outer = (event.measurements["duration"] for event in memory.events)
    assert inner <= outer
    timed.__exit__()
    assert len(memory.events) == 2


def test_timed_refuses_a_class():
    with pytest.raises(TypeError, match="decorate its methods"):
        telemetry.timed("a.b")(int)


def test_nothing_is_emitted_or_counted_within_suppress(memory):
    before = telemetry.stats()["emitted"]
    with telemetry.suppress():
        telemetry.emit("a.b")
        telemetry.counter("a.b", 1)
        with telemetry.span("op") as span:
            span.event("in.span")
        with telemetry.suppress():
            telemetry.emit("a.b")
        telemetry.emit("a.b")
    telemetry.emit("after.block")
    assert memory.names() == ["after.block"]
    assert telemetry.stats()["emitted"] - before == 1


def test_a_span_that_began_before_suppress_ends(memory):
    with telemetry.span("op") as span:
        with telemetry.suppress():
            span.event("in.span")
    with telemetry.suppress():
        late = telemetry.span("late")
        late.__enter__()
    late.__exit__(None, None, None)
    assert memory.names() == ["op.start", "op.stop"]


def test_suppress_into_the_queue_and_by_server_backends(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.set_backend(telemetry.ServerBackend())
        queue = telemetry.ServerBackend()
        with telemetry.suppress():
            telemetry.emit("a.b", {"n": 1}, {"k": "v"}, "id")
            queue.emit("a.b", {}, {}, "")
        assert telemetry.stats()["emitted"] == 0
        telemetry.emit("a.b")
        queue.emit("a.b", {}, {}, "")
        assert telemetry.stats()["queued"] == 2
        """
    )
    assert result.returncode == 0, result.stderr


async def test_suppress_holds_for_its_task_alone(memory):
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def quiet():
        async with telemetry.suppress():
            child = asyncio.ensure_future(outlives())
            inside.set()
            await may_end.wait()
            telemetry.emit("of.quiet")
        return child

    async def outlives():
        await inside.wait()
        telemetry.emit("of.child.within")
        while not ended.is_set():
            await asyncio.sleep(0)
        telemetry.emit("of.child.after")

    ended = asyncio.Event()
    task = asyncio.ensure_future(quiet())
    await inside.wait()
    telemetry.emit("of.other")
    thread = threading.Thread(target=telemetry.emit, args=("of.thread",))
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    may_end.set()
    child = await task
    ended.set()
    await child
    # A task that outlives the block is not silenced for ever.
    assert memory.names() == ["of.other", "of.thread", "of.child.after"]


def test_a_block_that_is_never_left_silences_nobody_else(memory):
    def generator():
        with telemetry.suppress():
            yield

    context = contextvars.copy_context()
    running = generator()
    context.run(next, running)
    telemetry.emit("outside.context")
    context.run(telemetry.emit, "inside.context")
    # Closed in another context than it began in.
    running.close()
    del context, running
    gc.collect()
    telemetry.emit("after.all")
    assert memory.names() == ["outside.context", "after.all"]


def test_instrument_names_a_span_after_the_function(memory):
    @telemetry.instrument
    def work(n):
        return n + 1

    assert work(1) == 2 and work.__name__ == "work"
    name = f"{__name__}.test_instrument_names_a_span_after_the_function.work"
    assert memory.names() == [f"{name}.start", f"{name}.stop"]


async def test_instrument_takes_whatever_can_be_called(memory):
    class Cart:
        @telemetry.instrument(name="cart.add", metadata={"k": "v"})
        def add(self, n):
            return n

        @telemetry.instrument(name="cart.all")
        @classmethod
        def all(cls):
            return cls

        @telemetry.instrument(name="cart.make")
        @staticmethod
        def make():
            return 7

        @telemetry.instrument(name="cart.read")
        async def read(self):
            return 8

        @telemetry.instrument(name="cart.walk")
        def walk(self):
            got = yield 1
            yield got

        @telemetry.instrument(name="cart.awalk")
        async def awalk(self):
            yield 1

    cart = Cart()
    assert cart.add(3) == 3 and Cart.all() is Cart and Cart.make() == 7 and await cart.read() == 8
    walk = cart.walk()
    assert next(walk) == 1 and walk.send(5) == 5
    walk.close()
    assert [item async for item in cart.awalk()] == [1]
    starts = [event.event for event in memory.events if event.event.endswith(".start")]
    assert starts == [f"cart.{name}.start" for name in ("add", "all", "make", "read", "walk", "awalk")]
    assert memory.events[0].metadata == {"k": "v"}
    assert all(event.event.endswith((".start", ".stop")) for event in memory.events)


class Price:
    """A rule of a shop, as an object that can be called."""

    def __init__(self):
        self.rate = 2

    def __call__(self, n):
        return n * self.rate


class Stock:
    async def __call__(self, n):
        await asyncio.sleep(0)
        telemetry.emit("stock.asked")
        return n


class Shelf:
    def __call__(self, n):
        yield from range(n)


DECORATORS = {
    "instrument": lambda target: telemetry.instrument(target, name="shop.rule"),
    "span": lambda target: telemetry.span("shop.rule")(target),
    "timed": lambda target: telemetry.timed("shop.rule")(target),
}


@pytest.mark.parametrize("way", DECORATORS)
async def test_an_object_that_can_be_called_is_decorated_as_what_its_call_is(memory, way):
    decorate = DECORATORS[way]
    once = ["shop.rule"] if way == "timed" else ["shop.rule.stop"]
    before = [] if way == "timed" else ["shop.rule.start"]
    price = Price()
    assert decorate(price)(3) == 6 and decorate(functools.partial(price, 4))() == 8
    assert memory.names() == (before + once) * 2
    memory.clear()
    assert inspect.iscoroutinefunction(decorate(Stock())) and await decorate(Stock())(5) == 5
    assert memory.names() == [*before, "stock.asked", *once]
    memory.clear()
    assert list(decorate(Shelf())(2)) == [0, 1]
    assert memory.names() == before + once
    decorated = decorate(price)
    assert decorated.__name__ == "Price" and decorated.__doc__ == Price.__doc__ and list(inspect.signature(decorated).parameters) == ["n"]


def test_an_instrumented_object_is_named_after_its_class(memory):
    assert telemetry.instrument(Price())(1) == 2
    assert memory.names() == [f"{__name__}.Price.start", f"{__name__}.Price.stop"]


def test_what_cannot_be_decorated_is_said_by_who_was_asked(memory):
    for way, decorate in DECORATORS.items():
        for wrong in (int, 5, property(len)):
            with pytest.raises(TypeError) as refused:
                decorate(wrong)
            assert ("telemetry.span" in str(refused.value)) is (way == "span") and way in str(refused.value)
    # Without a name there is nothing that the span could be called after.
    with pytest.raises(TypeError, match=r"telemetry\.span .* has no name"):
        telemetry.span(Price())


def test_an_instrumented_function_fails_as_it_would(memory):
    @telemetry.instrument(name="a.work")
    def work():
        raise LookupError("x")

    with pytest.raises(LookupError):
        work()
    assert memory.names() == ["a.work.start", "a.work.exception"]


@pytest.mark.parametrize("wrong", [int, type("Cart", (), {}), 5, "text"])
def test_instrument_refuses_what_is_no_function(wrong):
    with pytest.raises(TypeError, match="instrument: "):
        telemetry.instrument(wrong)


def test_names_of_functions_become_valid_names(memory):
    from telemetry_py._instrument import name_of

    def named(module, qualname):
        def function():
            pass

        function.__module__, function.__qualname__ = module, qualname
        return function

    assert name_of(named("shop.cart", "Cart.add")) == "shop.cart.Cart.add"
    assert name_of(named("shop", "f.<locals>.<lambda>")) == "shop.f.lambda"
    assert name_of(named("läden", "ärger")) == "l_den._rger"
    assert name_of(named("a.b.c.d.e.f.g.h", "C.m")) == "d.e.f.g.h.C.m"
    long = name_of(named("m" * 100, "q" * 100))
    assert long == f"{'m' * 64}.{'q' * 64}"
    telemetry.instrument(named("läden", "f.<locals>.<lambda>"))()
    assert telemetry.instrument(len)([1]) == 1
    assert [name for name in memory.names() if name.endswith(".start")] == ["l_den.f.lambda.start", "builtins.len.start"]


class Hostile:
    def __repr__(self):
        raise AssertionError("no code of the program runs")

    __str__ = __len__ = __eq__ = __hash__ = __repr__


def test_captured_arguments_are_bounded_and_hide_secrets(memory):
    @telemetry.instrument(name="a.work", capture_args=True)
    def work(self_like, text, password, items, thing, *rest, flag=None, **more):
        return rest, more

    assert work(1, "x" * 5000, "hush", [{"password": "hush"}] * 9, Hostile(), 6, 7, flag=True, token="hush2") == ((6, 7), {"token": "hush2"})
    metadata = memory.events[0].metadata
    assert metadata["arg_self_like"] == "1" and metadata["arg_flag"] == "True"
    assert len(metadata["arg_text"]) <= 110
    assert metadata["arg_items"] == "list[9]" and metadata["arg_thing"] == "Hostile"
    assert metadata["arg_rest"] == "tuple[2]" and metadata["arg_more"] == "dict[1]"
    assert "hush" not in str(memory.events)


def test_captured_arguments_are_those_of_each_call(memory):
    class Cart:
        @telemetry.instrument(name="cart.add", capture_args=True)
        def add(self, n, unit="kg"):
            return n

    cart = Cart()
    cart.add(1)
    cart.add(n=2, unit="g")
    with pytest.raises(TypeError):
        cart.add(1, 2, 3, 4)
    starts = [event.metadata for event in memory.events if event.event == "cart.add.start"]
    assert starts == [{"arg_n": "1"}, {"arg_n": "2", "arg_unit": "g"}, {}]


def test_the_filter_gives_records_the_correlation_id():
    for given in (telemetry.correlation_filter, telemetry.correlation_filter()):
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        handler.addFilter(given)
        handler.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
        log = logging.Logger("x")
        log.addHandler(handler)
        log.warning("outside")
        with telemetry.correlation("order-1"):
            log.warning("inside")
        assert out.getvalue() == "- outside\norder-1 inside\n"


def test_flush_claims_no_acknowledgement(python, tmp_path):
    with Acceptor(tmp_path / "m") as manager:
        result = python(
            f"""
            import telemetry_py as telemetry
            assert telemetry.flush(1.0, acknowledged=True) is True
            telemetry.connect({manager.address!r})
            telemetry.emit("a.b")
            assert telemetry.flush(30) is True
            assert telemetry.stats()["sent"] == 1
            assert telemetry.flush(30, acknowledged=True) is False
            """
        )
        assert result.returncode == 0, result.stderr
