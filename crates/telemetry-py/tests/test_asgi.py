"""The ASGI middleware: one span per request, from its caller's ids to the last byte of its response."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import pytest
import telemetry_py as telemetry
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from telemetry_py.asgi import TelemetryMiddleware

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def item(request):
    telemetry.emit("inside.item")
    return PlainTextResponse("item")


async def broken(request):
    raise ValueError("no such item")


async def missing(request):
    return PlainTextResponse("gone", status_code=404)


async def later(request):
    async def task():
        telemetry.emit("inside.background")

    return PlainTextResponse("later", background=BackgroundTask(task))


async def parts(request):
    async def body():
        yield b"one"
        telemetry.emit("inside.part")
        yield b"two"

    return StreamingResponse(body())


async def broken_parts(request):
    async def body():
        yield b"one"
        raise ValueError("half of it")

    return StreamingResponse(body())


async def echo(websocket):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    telemetry.emit("inside.echo")
    await websocket.close()


async def broken_socket(websocket):
    await websocket.accept()
    raise ValueError("torn")


async def listening(websocket):
    await websocket.accept()
    while True:
        await websocket.receive_text()


ROUTES = [
    Route("/items/{id:int}", item),
    Route("/broken", broken),
    Route("/missing", missing),
    Route("/later", later),
    Route("/parts", parts),
    Route("/broken-parts", broken_parts),
    Route("/healthz", item),
    WebSocketRoute("/echo/{room}", echo),
    WebSocketRoute("/broken-socket", broken_socket),
    WebSocketRoute("/listening", listening),
    Mount("/v1", routes=[Route("/items/{id:int}", item)]),
    Mount("/{tenant}/own", routes=[Route("/items/{id:int}", item)]),
]


def client(**options) -> TestClient:
    app = Starlette(routes=ROUTES, middleware=[Middleware(TelemetryMiddleware, **options)])
    return TestClient(app, raise_server_exceptions=False)


def ends(memory: telemetry.MemoryBackend) -> list[tuple[str, dict[str, str]]]:
    """How requests ended: stop or exception, and with what."""
    found = [event for event in memory.events if event.event in ("http.server.stop", "http.server.exception")]
    assert memory.names().count("http.server.start") == len(found), memory.names()
    return [(event.event.removeprefix("http.server."), event.metadata) for event in found]


def test_a_request_is_a_span_with_the_template_of_its_route(memory):
    assert client().get("/items/7").status_code == 200
    assert memory.names() == ["http.server.start", "inside.item", "http.server.stop"]
    start, inside, stop = memory.events
    assert start.metadata == {"method": "GET"}
    assert stop.metadata == {"method": "GET", "route": "/items/{id:int}", "status_code": "200"}
    assert start.correlation_id == inside.correlation_id == stop.correlation_id != ""


@pytest.mark.parametrize(
    ("path", "route"),
    [("/v1/items/3", "/v1/items/{id:int}"), ("/acme/own/items/3", "/items/{id:int}"), ("/nowhere/7", "unknown")],
)
def test_no_part_of_the_path_is_in_the_route(memory, path, route):
    client().get(path)
    assert ends(memory)[0][1]["route"] == route


def test_the_ids_of_the_caller_are_those_of_the_request_and_its_response(memory):
    answer = client().get("/items/7", headers={"traceparent": PARENT, telemetry.CORRELATION_HEADER: "abc"})
    assert {event.correlation_id for event in memory.events} == {"abc"}
    assert answer.headers[telemetry.CORRELATION_HEADER] == "abc"
    assert answer.headers["traceparent"].split("-")[1] == TRACE
    assert telemetry.get_correlation_id() is None


def test_the_response_names_the_span_of_the_request(memory):
    """Which is a child of the caller's, and the parent of what is done in it."""
    seen = []

    async def app(scope, receive, send):
        seen.append(telemetry.current_span())
        with telemetry.span("inside") as inside:
            seen.append(inside)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    answer = TestClient(TelemetryMiddleware(app)).get("/", headers={"traceparent": PARENT})
    request, inside = seen
    assert answer.headers["traceparent"].split("-")[1:3] == [TRACE, request.span_id]
    assert request.parent_span_id == PARENT.split("-")[2]
    assert (inside.trace_id, inside.parent_span_id) == (TRACE, request.span_id)
    assert telemetry.current_span() is None


def test_a_caller_that_is_not_trusted_brings_no_ids(memory):
    answer = client(trust_caller=False).get("/items/7", headers={telemetry.CORRELATION_HEADER: "abc"})
    assert memory.events[0].correlation_id not in ("", "abc")
    assert answer.headers[telemetry.CORRELATION_HEADER] == memory.events[0].correlation_id


def test_a_response_tells_nothing_if_it_is_not_to(memory):
    answer = client(response_headers=False).get("/items/7")
    assert telemetry.CORRELATION_HEADER not in answer.headers and "traceparent" not in answer.headers


def test_a_header_of_the_application_is_left_alone(memory):
    async def app(scope, receive, send):
        headers = [(telemetry.CORRELATION_HEADER.encode(), b"own")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    answer = TestClient(TelemetryMiddleware(app)).get("/")
    assert answer.headers.get_list(telemetry.CORRELATION_HEADER) == ["own"]


def test_an_exception_before_the_response_ends_the_span_with_it(memory):
    assert client().get("/broken").status_code == 500
    ((end, metadata),) = ends(memory)
    assert end == "exception"
    assert metadata["error_type"] == "ValueError" and metadata["error_message"] == "no such item"
    assert metadata["status_code"] == "500" and metadata["route"] == "/broken"


def test_an_exception_whose_response_was_sent_by_what_is_inside_is_not_lost(memory):
    """Around all of Starlette, which answers first and raises then."""
    app = TelemetryMiddleware(Starlette(routes=ROUTES))
    assert TestClient(app, raise_server_exceptions=False).get("/broken").status_code == 500
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"], metadata["status_code"]) == ("exception", "ValueError", "500")


def test_an_exception_within_the_response_ends_the_span_with_it(memory):
    with pytest.raises(ValueError, match="half of it"):
        TestClient(Starlette(routes=ROUTES, middleware=[Middleware(TelemetryMiddleware)])).get("/broken-parts")
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"], metadata["status_code"]) == ("exception", "ValueError", "200")


def test_an_error_of_the_client_is_no_exception(memory):
    client().get("/missing")
    assert ends(memory) == [("stop", {"method": "GET", "route": "/missing", "status_code": "404"})]


def test_what_runs_after_the_response_is_not_in_the_span(memory):
    client().get("/later")
    assert memory.names() == ["http.server.start", "http.server.stop", "inside.background"]
    assert len({event.correlation_id for event in memory.events}) == 1


def test_a_stream_ends_the_span_with_its_last_part(memory):
    assert client().get("/parts").text == "onetwo"
    assert memory.names() == ["http.server.start", "inside.part", "http.server.stop"]


def test_a_middleware_that_sends_from_another_task_changes_nothing(memory):
    async def through(request, call_next):
        return await call_next(request)

    middleware = [Middleware(TelemetryMiddleware), Middleware(BaseHTTPMiddleware, dispatch=through)]
    TestClient(Starlette(routes=ROUTES, middleware=middleware)).get("/parts")
    assert memory.names() == ["http.server.start", "inside.part", "http.server.stop"]
    assert len({event.correlation_id for event in memory.events}) == 1


def test_a_path_that_is_left_out_makes_no_span(memory):
    some = client(exclude=["/healthz", "/v1/"])
    assert some.get("/healthz").status_code == some.get("/v1/items/1").status_code == 200
    assert memory.names() == ["inside.item", "inside.item"]
    some.get("/healthz-not")
    assert ends(memory)[0][1]["status_code"] == "404"


def test_a_middleware_within_another_makes_no_second_span(memory):
    inner = Starlette(routes=ROUTES, middleware=[Middleware(TelemetryMiddleware)])
    TestClient(TelemetryMiddleware(inner)).get("/items/7")
    assert len(ends(memory)) == 1


def test_any_text_may_come_as_a_method(memory):
    client().request("BREW", "/items/7")
    assert ends(memory)[0][1]["method"] == "OTHER"


def test_a_route_that_is_told_wins_and_one_that_fails_hurts_nobody(memory):
    client(route=lambda scope: "/told").get("/items/7")
    assert client(route=lambda scope: scope["nothing"]).get("/items/8").status_code == 200
    assert [metadata["route"] for _, metadata in ends(memory)] == ["/told", "/items/{id:int}"]


def test_a_websocket_is_one_span(memory):
    with client().websocket_connect("/echo/42") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    assert memory.names() == ["http.server.start", "inside.echo", "http.server.stop"]
    assert memory.events[2].metadata == {"method": "WEBSOCKET", "route": "/echo/{room}", "status_code": "101"}


def test_a_websocket_whose_client_leaves_stops(memory):
    """Although Starlette raises then."""
    with pytest.raises(WebSocketDisconnect), client().websocket_connect("/listening") as socket:
        socket.send_text("hello")
    assert ends(memory) == [("stop", {"method": "WEBSOCKET", "route": "/listening", "status_code": "101"})]


def test_a_websocket_whose_code_raises_ends_with_it(memory):
    with pytest.raises(ValueError), client().websocket_connect("/broken-socket") as socket:
        socket.receive_text()
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"]) == ("exception", "ValueError")


async def exchange(app, *, disconnected: bool = False):
    """Calls an application as a server does; returns the messages that it sent."""
    sent = []

    async def receive():
        return {"type": "http.disconnect" if disconnected else "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await app(scope, receive, send)
    return sent


async def test_a_task_that_is_cancelled_ends_its_span(memory):
    begun = asyncio.Event()

    async def app(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(exchange(TelemetryMiddleware(app)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ((_, metadata),) = ends(memory)
    assert metadata["error_type"] == "CancelledError" and "status_code" not in metadata


@pytest.mark.parametrize(("disconnected", "reason"), [(True, "disconnected"), (False, "incomplete")])
async def test_a_response_that_is_not_whole_says_why(memory, disconnected, reason):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await receive()

    await exchange(TelemetryMiddleware(app), disconnected=disconnected)
    assert ends(memory) == [("stop", {"method": "GET", "route": "unknown", "status_code": "200", "reason": reason})]


async def test_trailers_are_part_of_the_response(memory):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"one"})
        telemetry.emit("inside.trailers")
        await send({"type": "http.response.trailers", "headers": []})

    await exchange(TelemetryMiddleware(app))
    assert memory.names() == ["http.server.start", "inside.trailers", "http.server.stop"]


async def test_requests_at_once_keep_their_ids_apart(memory):
    app = Starlette(routes=ROUTES, middleware=[Middleware(TelemetryMiddleware)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as some:
        await asyncio.gather(*(some.get("/parts", headers={telemetry.CORRELATION_HEADER: f"r{n}"}) for n in range(50)))
    assert Counter(event.correlation_id for event in memory.events) == {f"r{n}": 3 for n in range(50)}


def test_telemetry_that_is_off_is_not_in_the_way():
    seen = []

    async def app(scope, receive, send):
        seen.append(send)

    telemetry.set_backend(None)
    send = object()
    asyncio.run(TelemetryMiddleware(app)({"type": "http", "path": "/", "headers": []}, None, send))
    assert seen == [send]


@pytest.mark.parametrize(("at_shutdown", "called"), [("flush", ["flush"]), ("shutdown", ["shutdown"]), ("nothing", [])])
def test_the_end_of_the_lifespan_is_when_all_is_sent(memory, monkeypatch, at_shutdown, called):
    calls = []
    for name in ("flush", "shutdown"):
        monkeypatch.setattr(telemetry, name, lambda name=name: calls.append((name, memory.names())))

    async def lifespan(app):
        yield
        telemetry.emit("inside.end")

    app = Starlette(lifespan=asynccontextmanager(lifespan))
    with TestClient(TelemetryMiddleware(app, at_shutdown=at_shutdown)):
        assert calls == []
    assert calls == [(name, ["inside.end"]) for name in called]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"exclude": "/healthz"}, TypeError),
        ({"exclude": ["healthz"]}, ValueError),
        ({"at_shutdown": "never"}, ValueError),
        ({"route": "/x"}, TypeError),
    ],
)
def test_a_wrong_argument_is_told_at_once(options, error):
    with pytest.raises(error, match=next(iter(options))):
        TelemetryMiddleware(None, **options)
