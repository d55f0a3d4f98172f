"""`@telemetry.span` without parentheses: the function stays what it was, under its own name."""

from __future__ import annotations

import abc
import asyncio
import functools
import inspect
import pickle
import sys
import traceback
import types

import pytest
import telemetry_py as telemetry


@telemetry.span
def at_module_level(first: int, second: str = "x") -> tuple[int, str]:
    """Says what it got."""
    return first, second


class Service:
    @telemetry.span
    def method(self):
        return "method", self

    @telemetry.span
    @staticmethod
    def above_static(value):
        return value

    @staticmethod
    @telemetry.span
    def below_static(value):
        return value

    @telemetry.span
    @classmethod
    def above_class(cls):
        return cls

    @classmethod
    @telemetry.span
    def below_class(cls):
        return cls

    @property
    @telemetry.span
    def below_property(self):
        return 1


def test_a_function_keeps_its_name_signature_and_pickle(memory):
    assert at_module_level(1, second="y") == (1, "y")
    assert memory.names() == ["at_module_level.start", "at_module_level.stop"]
    assert at_module_level.__name__ == at_module_level.__qualname__ == "at_module_level"
    assert at_module_level.__doc__ == "Says what it got."
    assert list(inspect.signature(at_module_level).parameters) == ["first", "second"]
    assert at_module_level.__wrapped__(1) == (1, "x")
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


def test_methods_of_each_kind_work(memory):
    service = Service()
    assert service.method() == ("method", service)
    assert (service.above_static(1), Service.above_static(2), service.below_static(3)) == (1, 2, 3)
    assert (Service.above_class(), service.below_class(), service.below_property) == (Service, Service, 1)
    assert memory.names()[::2] == [
        f"Service.{name}.start"
        for name in ("method", "above_static", "above_static", "below_static", "above_class", "below_class", "below_property")
    ]


def test_coroutines_and_generators_are_still_seen_as_such(memory):
    @telemetry.span
    async def coroutine():
        await asyncio.sleep(0)
        return 1

    @telemetry.span
    def generator():
        return (yield 1)

    @telemetry.span
    async def async_generator():
        yield 1

    @telemetry.span
    @types.coroutine
    def old_coroutine():
        yield
        return 2

    assert inspect.iscoroutinefunction(coroutine) and asyncio.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)

    async def all_of_it():
        assert await coroutine() == 1
        assert await old_coroutine() == 2
        assert list(generator()) == [1]
        assert [value async for value in async_generator()] == [1]

    asyncio.run(all_of_it())
    here = "test_coroutines_and_generators_are_still_seen_as_such"
    names = ("coroutine", "old_coroutine", "generator", "async_generator")
    assert memory.names()[::2] == [f"{here}.{name}.start" for name in names]


def test_partials_builtins_and_bound_methods_have_the_names_of_what_they_call(memory):
    assert telemetry.span(functools.partial(at_module_level.__wrapped__, 5))() == (5, "x")
    assert telemetry.span(len)([1, 2]) == 2
    assert telemetry.span([3, 1].index)(1) == 1
    assert telemetry.span(str.upper)("a") == "A"
    assert telemetry.span(lambda: 7)() == 7
    here = "test_partials_builtins_and_bound_methods_have_the_names_of_what_they_call"
    # A segment has at most 64 characters.
    assert memory.names()[::2] == ["at_module_level.start", "len.start", "list.index.start", "str.upper.start", f"{here[:64]}.lambda.start"]


def test_a_partial_of_a_coroutine_function_is_one(memory):
    async def work(value):
        await asyncio.sleep(0)
        raise ValueError(value)

    decorated = telemetry.span(functools.partial(work, "late"))
    assert inspect.iscoroutinefunction(decorated)
    assert decorated.__name__ == "work"
    with pytest.raises(ValueError, match="late"):
        asyncio.run(decorated())
    assert [name.rsplit(".", 1)[1] for name in memory.names()] == ["start", "exception"]


def test_a_function_that_keeps_results_is_called_through_what_keeps_them(memory):
    @telemetry.span
    @functools.lru_cache
    def work(value):
        return object()

    assert work(1) is work(1)
    assert work.__wrapped__.cache_info().hits == 1


def test_any_name_becomes_a_name_of_the_wire(memory):
    def deep():
        class A:
            class B:
                class C:
                    class D:
                        class E:
                            class F:
                                class G:
                                    @telemetry.span
                                    def größe(self):
                                        return 1

        return A.B.C.D.E.F.G()

    assert deep().größe() == 1
    renamed = telemetry.span(types.FunctionType((lambda: 2).__code__, {}, "  "))
    assert renamed() == 2
    assert memory.names()[0] == "B.C.D.E.F.G.gr__e.start"
    assert memory.names()[3].endswith(".stop") and len(memory.names()) == 4
    assert telemetry.stats()["dropped"].get("invalid_name", 0) == 0


def test_an_abstract_method_stays_abstract():
    class Base(abc.ABC):
        @telemetry.span
        @abc.abstractmethod
        def work(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Base()


class Callable:
    def __call__(self):
        return 1


@pytest.mark.parametrize("decorator", [telemetry.span, telemetry.span("op"), telemetry.span("op", {"a": "b"}), telemetry.Span("op")])
@pytest.mark.parametrize("what", ["class", "dataclass", "property", "cached_property", "partialmethod"])
def test_what_is_no_function_is_refused_at_the_line_of_the_program(decorator, what):
    target = {
        "class": Callable,
        "dataclass": types.SimpleNamespace,
        "property": property(lambda self: 1),
        "cached_property": functools.cached_property(lambda self: 1),
        "partialmethod": functools.partialmethod(lambda self: 1),
    }[what]
    with pytest.raises(TypeError, match=r"telemetry\.span.*function") as caught:
        line = sys._getframe().f_lineno + 1
        decorator(target)
    innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (innermost.filename, innermost.lineno) == (__file__, line)


def test_a_class_under_bare_span_is_told_at_its_decorator():
    with pytest.raises(TypeError, match="Decorated") as caught:

        @telemetry.span
        class Decorated:
            pass

    innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert innermost.line in ("@telemetry.span", "class Decorated:")


@pytest.mark.parametrize("target", [5, None, "text"])
def test_other_objects_are_no_functions(target):
    with pytest.raises(TypeError, match="function"):
        telemetry.span("op")(target)


def test_a_nameless_callable_needs_a_name(memory):
    with pytest.raises(TypeError, match="name"):
        telemetry.span(Callable())
    telemetry.span("op")(Callable())()
    assert memory.names() == ["op.start", "op.stop"]


def test_the_class_says_how_it_is_used():
    for target in (Callable, len, lambda: 1):
        with pytest.raises(TypeError, match=r"telemetry\.span"):
            telemetry.Span(target)


def test_the_stand_in_does_the_same():
    from telemetry_py import _fallback

    def work():
        return 1

    assert _fallback.span(work) is work
    assert _fallback.span("op")(work) is work
    assert _fallback.span(staticmethod(work)).__func__ is work
    for decorator in (_fallback.span, _fallback.span("op")):
        with pytest.raises(TypeError, match="function"):
            decorator(Callable)
