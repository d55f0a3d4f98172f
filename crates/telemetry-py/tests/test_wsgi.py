"""The WSGI middleware: one span per request, from its caller's ids to the close of its response."""

from __future__ import annotations

import gc
import io
import sys
import threading
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults

import flask
import pytest
import telemetry_py as telemetry
from telemetry_py.wsgi import TelemetryMiddleware

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Answer:
    """What a server was given for a request."""

    def __init__(self, app, path: str = "/", **more) -> None:
        self.environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", **more}
        setup_testing_defaults(self.environ)
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body = app(self.environ, self._start)

    def _start(self, status, headers, exc_info=None):
        self.status, self.headers = status, dict(headers)
        return self.written.append

    written: list[bytes] = []

    def read(self) -> bytes:
        """All of it, as a server that closes what it was given."""
        try:
            return b"".join(self.body)
        finally:
            close = getattr(self.body, "close", None)
            if close:
                close()


def hello(environ, start_response):
    telemetry.emit("inside.call")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def ends(memory: telemetry.MemoryBackend) -> list[tuple[str, dict[str, str]]]:
    """How requests ended: stop or exception, and with what."""
    found = [event for event in memory.events if event.event in ("http.server.stop", "http.server.exception")]
    assert memory.names().count("http.server.start") == len(found), memory.names()
    return [(event.event.removeprefix("http.server."), event.metadata) for event in found]


def test_a_request_is_a_span_until_its_body_is_closed(memory):
    answer = Answer(TelemetryMiddleware(hello))
    assert b"".join(answer.body) == b"hello"
    assert memory.names() == ["http.server.start", "inside.call"]
    answer.body.close()
    assert memory.events[2].metadata == {"method": "GET", "route": "unknown", "status_code": "200"}
    assert len({event.correlation_id for event in memory.events}) == 1


def test_the_ids_of_the_caller_are_those_of_the_request_and_its_response(memory):
    answer = Answer(TelemetryMiddleware(hello), HTTP_TRACEPARENT=PARENT, HTTP_X_SNAKEPIT_CORRELATION_ID="abc")
    answer.read()
    assert {event.correlation_id for event in memory.events} == {"abc"}
    assert answer.headers[telemetry.CORRELATION_HEADER] == "abc"
    assert answer.headers["traceparent"].split("-")[1] == PARENT.split("-")[1]


def test_the_response_names_the_span_of_the_request(memory):
    """Which is a child of the caller's, and the parent of what is done in it, in each part of the body."""
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        seen.append(telemetry.current_span())
        for part in (b"one", b"two"):
            with telemetry.span("inside") as inside:
                seen.append(inside)
            yield part

    answer = Answer(TelemetryMiddleware(app), HTTP_TRACEPARENT=PARENT)
    answer.read()
    request, *inside = seen
    assert answer.headers["traceparent"].split("-")[1:3] == [PARENT.split("-")[1], request.span_id]
    assert request.parent_span_id == PARENT.split("-")[2]
    assert [span.parent_span_id for span in inside] == [request.span_id] * 2
    assert telemetry.current_span() is None


def test_a_caller_that_is_not_trusted_brings_no_ids(memory):
    Answer(TelemetryMiddleware(hello, trust_caller=False), HTTP_X_SNAKEPIT_CORRELATION_ID="abc").read()
    assert memory.events[0].correlation_id not in ("", "abc")


def test_nothing_of_a_request_is_left_in_the_thread(memory):
    """Not even by a server that never closes what it was given."""
    answer = Answer(TelemetryMiddleware(hello), HTTP_X_SNAKEPIT_CORRELATION_ID="abc")
    assert telemetry.get_correlation_id() is None
    next(iter(answer.body))
    assert telemetry.get_correlation_id() is None
    answer.body = None
    gc.collect()
    assert len(ends(memory)) == 1


def test_a_generator_works_under_the_ids_of_its_request(memory):
    def parts(environ, start_response):
        start_response("200 OK", [])
        for number in range(3):
            telemetry.emit(f"inside.part{number}")
            yield b"x"

    answer = Answer(TelemetryMiddleware(parts), HTTP_X_SNAKEPIT_CORRELATION_ID="abc")
    assert answer.read() == b"xxx"
    assert memory.names() == ["http.server.start", *(f"inside.part{n}" for n in range(3)), "http.server.stop"]
    assert {event.correlation_id for event in memory.events} == {"abc"}
    assert ends(memory)[0][1]["status_code"] == "200"


def test_a_client_that_leaves_early_stops_the_span(memory):
    closed = []

    def parts(environ, start_response):
        start_response("200 OK", [])
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(telemetry.get_correlation_id())

    answer = Answer(TelemetryMiddleware(parts), HTTP_X_SNAKEPIT_CORRELATION_ID="abc")
    assert next(iter(answer.body)) == b"one"
    answer.body.close()
    assert closed == ["abc"]
    ((end, metadata),) = ends(memory)
    assert (end, metadata["reason"]) == ("stop", "disconnected")


@pytest.mark.parametrize("where", ["call", "part", "close"])
def test_an_exception_goes_on_and_ends_the_span(memory, where):
    class Body:
        def __iter__(self):
            yield b"one"
            if where == "part":
                raise ValueError("no")

        def close(self):
            if where == "close":
                raise ValueError("no")

    def app(environ, start_response):
        if where == "call":
            raise ValueError("no")
        start_response("200 OK", [])
        return Body()

    with pytest.raises(ValueError, match="^no$"):
        Answer(TelemetryMiddleware(app)).read()
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"]) == ("exception", "ValueError")
    assert metadata["status_code"] == ("500" if where == "call" else "200")


def test_an_exception_that_the_application_makes_a_response_of_is_told(memory):
    def app(environ, start_response):
        try:
            raise KeyError("lost")
        except KeyError:
            start_response("500 Oh", [], sys.exc_info())
        return [b"sorry"]

    Answer(TelemetryMiddleware(app)).read()
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"], metadata["status_code"]) == ("exception", "KeyError", "500")


def test_a_server_learns_the_length_of_a_body_that_has_one(memory):
    assert len(Answer(TelemetryMiddleware(hello)).body) == 1
    answer = Answer(TelemetryMiddleware(lambda environ, start: (start("200 OK", []), iter([b"x"]))[1]))
    assert not hasattr(answer.body, "__len__")


def test_a_server_that_sends_files_gets_its_own_object(memory):
    file = io.BytesIO(b"content")

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    answer = Answer(TelemetryMiddleware(app), **{"wsgi.file_wrapper": FileWrapper})
    assert type(answer.body) is FileWrapper
    assert memory.names() == ["http.server.start"]
    assert answer.read() == b"content"
    assert file.closed
    assert ends(memory)[0][1]["status_code"] == "200"


def test_a_server_whose_file_wrapper_is_a_function_gets_what_that_returned(memory):
    """It knows it again by its identity. What has no attributes is taken for sent."""

    class Sent:
        __slots__ = ("file",)

        def __init__(self, file):
            self.file = file

        def __iter__(self):
            return iter(self.file)

    made = []

    def wrap(file, size=8192):
        made.append(Sent(file))
        return made[-1]

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"), 1024)

    answer = Answer(TelemetryMiddleware(app), **{"wsgi.file_wrapper": wrap})
    assert answer.body is made[0]
    assert ends(memory)[0][0] == "stop"


def test_what_is_written_reaches_the_server(memory):
    def app(environ, start_response):
        start_response("200 OK", [])(b"written")
        return []

    answer = Answer(TelemetryMiddleware(app))
    answer.read()
    assert answer.written == [b"written"]
    answer.written.clear()


def test_a_response_of_a_server_that_counts_bytes_is_whole(memory):
    """wsgiref's own server code, which is strict about what an application does."""
    output = io.BytesIO()
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    SimpleHandler(io.BytesIO(), output, io.StringIO(), environ, False, False).run(TelemetryMiddleware(hello))
    head, _, body = output.getvalue().partition(b"\r\n\r\n")
    assert body == b"hello" and b"Content-Length: 5" in head and b"x-snakepit-correlation-id: " in head
    assert ends(memory) == [("stop", {"method": "GET", "route": "unknown", "status_code": "200"})]


def test_a_body_that_is_closed_by_another_thread_ends_once(memory):
    inside, leave = threading.Event(), threading.Event()

    def parts():
        inside.set()
        assert leave.wait(60)
        yield b"one"

    def app(environ, start_response):
        start_response("200 OK", [])

        class Body:
            def __iter__(self):
                return parts()

        return Body()

    answer = Answer(TelemetryMiddleware(app))
    read = []
    thread = threading.Thread(target=lambda: read.append(next(iter(answer.body))))
    thread.start()
    assert inside.wait(60)
    answer.body.close()
    leave.set()
    thread.join(60)
    assert read == [b"one"]
    assert len(ends(memory)) == 1


def test_paths_that_are_left_out_and_inner_middlewares_make_no_span(memory):
    exclude = ["/healthz"]
    app = TelemetryMiddleware(TelemetryMiddleware(hello, exclude=exclude), exclude=exclude)
    Answer(app, "/healthz/live").read()
    assert memory.names() == ["inside.call"]
    Answer(app, "/healthz-not").read()
    assert len(ends(memory)) == 1


def test_telemetry_that_is_off_is_not_in_the_way():
    telemetry.set_backend(None)
    assert type(Answer(TelemetryMiddleware(hello)).body) is list


class TestFlask:
    @pytest.fixture
    def web(self):
        app = flask.Flask("web")

        @app.get("/items/<int:number>")
        def item(number):
            telemetry.emit("inside.item")
            return "item"

        @app.get("/broken")
        def broken():
            raise ValueError("no such item")

        @app.get("/parts")
        def parts():
            def body():
                yield flask.request.path
                telemetry.emit("inside.part")

            return flask.Response(flask.stream_with_context(body()))

        @app.get("/file")
        def file():
            return flask.send_file(io.BytesIO(b"content"), mimetype="text/plain")

        app.wsgi_app = TelemetryMiddleware(app.wsgi_app)
        return app.test_client()

    def test_the_route_is_its_rule(self, web, memory):
        for path, status in (("/items/7", 200), ("/nowhere/7", 404)):
            with web.get(path) as answer:
                assert answer.status_code == status
        assert [metadata["route"] for _, metadata in ends(memory)] == ["/items/<int:number>", "unknown"]

    def test_an_exception_that_became_a_response_ends_the_span_with_it(self, web, memory):
        with web.get("/broken") as answer:
            assert answer.status_code == 500
        ((end, metadata),) = ends(memory)
        assert (end, metadata["error_type"], metadata["status_code"]) == ("exception", "ValueError", "500")
        assert metadata["route"] == "/broken"

    def test_streams_and_files_end_it_too(self, web, memory):
        with web.get("/parts") as answer:
            assert answer.text == "/parts"
        with web.get("/file") as answer:
            assert answer.data == b"content"
        assert [metadata["route"] for _, metadata in ends(memory)] == ["/parts", "/file"]
        assert {event.correlation_id for event in memory.events if event.event == "inside.part"} == {memory.events[0].correlation_id}
