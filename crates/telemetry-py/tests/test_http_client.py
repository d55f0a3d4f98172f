"""Requests that go out carry the ids, and are spans if they are to be."""

from __future__ import annotations

import asyncio
import contextvars
import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import pytest
import requests
import telemetry_py as telemetry
from telemetry_py.http_client import (
    aiohttp_trace_config,
    instrument_http,
    instrument_httpx,
    instrument_requests,
    uninstrument_http,
)


class Web:
    """A server that answers with the headers that it got; `/broken` is an error.

    `/moved` sends to `/`, `/elsewhere` to `/` of the host 127.0.0.1, `/back` there and from there to localhost.
    """

    def __init__(self):
        self.seen = seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen.append((self.path, headers))
                body = json.dumps(headers).encode()
                port = self.server.server_port
                moved = {
                    "/moved": "/",
                    "/elsewhere": f"http://127.0.0.1:{port}/",
                    "/back": f"http://127.0.0.1:{port}/return",
                    "/return": f"http://localhost:{port}/",
                }.get(self.path)
                self.send_response(302 if moved else 500 if self.path == "/broken" else 200)
                if moved:
                    self.send_header("Location", moved)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def web():
    made = Web()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def _undone():
    yield
    uninstrument_http()


def by_httpx(url, **options):
    with httpx.Client() as client:
        if options.pop("own", False):
            instrument_httpx(client, **options)
        return client.get(url, follow_redirects=True).status_code


def by_httpx_async(url, **options):
    async def get():
        async with httpx.AsyncClient() as client:
            if options.pop("own", False):
                instrument_httpx(client, **options)
            return (await client.get(url, follow_redirects=True)).status_code

    return asyncio.run(get())


def by_requests(url, **options):
    with requests.Session() as session:
        if options.pop("own", False):
            instrument_requests(session, **options)
        return session.get(url).status_code


def by_aiohttp(url, **options):
    async def get():
        configs = [aiohttp_trace_config(**options)] if options.pop("own", False) else []
        async with aiohttp.ClientSession(trace_configs=configs) as session, session.get(url) as answer:
            return answer.status

    return asyncio.run(get())


CLIENTS = pytest.mark.parametrize("get", [by_httpx, by_httpx_async, by_requests, by_aiohttp])
HEADER = telemetry.CORRELATION_HEADER


def ends(memory):
    return [(e.event, e.metadata) for e in memory.events if e.event in ("http.client.stop", "http.client.exception")]


@CLIENTS
def test_a_client_that_is_asked_to_carries_the_ids(web, memory, get):
    with telemetry.correlation("abc"):
        assert get(web.url, own=True) == 200
        assert get(web.url) == 200
    assert [headers.get(HEADER) for _, headers in web.seen] == ["abc", None]
    assert memory.events == []


@CLIENTS
def test_all_clients_carry_them_until_it_is_undone(web, memory, get):
    instrument_http()
    with telemetry.correlation("abc"):
        get(web.url)
        instrument_http()
        get(web.url)
        uninstrument_http()
        get(web.url)
    assert [headers.get(HEADER) for _, headers in web.seen] == ["abc", "abc", None]


@CLIENTS
def test_a_request_is_a_span_with_its_redirects(web, memory, get):
    instrument_http(spans=True)
    with telemetry.correlation("abc"):
        assert get(f"{web.url}/moved") == 200
        assert get(f"{web.url}/broken") == 500
    assert [headers[HEADER] for _, headers in web.seen] == ["abc"] * 3
    assert memory.names() == ["http.client.start", "http.client.stop"] * 2
    told = {"method": "GET", "host": "127.0.0.1"}
    assert memory.events[0].metadata == told
    assert [metadata for _, metadata in ends(memory)] == [{**told, "status_code": "200"}, {**told, "status_code": "500"}]


@CLIENTS
def test_a_request_names_the_span_that_it_is_made_in(web, memory, get):
    instrument_http()
    with telemetry.span("work") as work:
        get(web.url)
    instrument_http(spans=True)
    with telemetry.span("work") as outer:
        get(web.url)
    plain, own = (headers["traceparent"].split("-") for _, headers in web.seen)
    assert plain[1:3] == [work.trace_id, work.span_id]
    assert own[1] == outer.trace_id and own[2] != outer.span_id


@CLIENTS
def test_a_request_that_fails_ends_its_span_with_what_it_raised(web, memory, get):
    web.server.shutdown()
    web.server.server_close()
    instrument_http(spans=True)
    with pytest.raises(Exception) as raised:
        get(web.url)
    ((end, metadata),) = ends(memory)
    assert (end, metadata["error_type"]) == ("http.client.exception", raised.type.__name__)


@CLIENTS
def test_hosts_that_are_not_named_are_told_nothing(web, memory, get):
    with telemetry.correlation("abc"):
        for hosts in (["127.0.0.1"], [".0.1"], ["example.com"], ["27.0.0.1"], []):
            instrument_http(hosts=hosts)
            get(web.url)
    assert [headers.get(HEADER) for _, headers in web.seen] == ["abc", "abc", None, None, None]


@CLIENTS
def test_telemetry_that_is_off_adds_nothing(web, get):
    instrument_http(spans=True)
    telemetry.set_backend(None)
    with telemetry.correlation("abc"):
        get(web.url)
    assert HEADER not in web.seen[0][1]


def test_a_header_that_a_request_has_stays(web, memory):
    instrument_http()
    with telemetry.correlation("abc"):
        httpx.get(web.url, headers={HEADER: "own"})
        requests.get(web.url, headers={HEADER: "own"})
    assert [headers[HEADER] for _, headers in web.seen] == ["own", "own"]


def test_a_client_that_is_asked_twice_makes_one_span(web, memory):
    with httpx.Client() as client:
        instrument_httpx(client, spans=True)
        instrument_httpx(client, spans=True)
        instrument_http(spans=True)
        client.get(web.url)
    assert len(ends(memory)) == 1


def test_a_stream_can_be_read_after_its_span(web, memory):
    instrument_http(spans=True)
    with httpx.stream("GET", web.url) as answer:
        assert memory.names() == ["http.client.start", "http.client.stop"]
        assert b"".join(answer.iter_bytes())


def test_what_somebody_else_put_around_ours_goes_on_working(web, memory):
    instrument_http(spans=True, libraries=["requests"])
    ours = requests.Session.send

    def theirs(self, *args, **kwargs):
        return ours(self, *args, **kwargs)

    requests.Session.send = theirs
    try:
        uninstrument_http()
        assert requests.get(web.url).status_code == 200
        assert memory.events == []
    finally:
        requests.Session.send = ours.__wrapped__


def test_requests_at_once_keep_their_ids_apart(web, memory):
    instrument_http(spans=True)

    async def one(client, number):
        with telemetry.correlation(f"r{number}"):
            return (await client.get(web.url)).json()[HEADER]

    async def main():
        async with httpx.AsyncClient() as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    assert asyncio.run(main()) == [f"r{number}" for number in range(20)]


ELSEWHERE = pytest.mark.parametrize(("named", "told"), [(["localhost"], ["abc", None]), (["127.0.0.1"], [None, "abc"]), (None, ["abc", "abc"])])


@CLIENTS
@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("own", [False, True])
@ELSEWHERE
def test_a_redirect_tells_only_hosts_that_are_named(web, memory, get, spans, own, named, told):
    if not own:
        instrument_http(spans=spans, hosts=named)
    options = {"own": True, "spans": spans, "hosts": named} if own else {}
    with telemetry.correlation("abc"):
        assert get(f"{web.url}/elsewhere".replace("127.0.0.1", "localhost"), **options) == 200
    assert [path for path, _ in web.seen] == ["/elsewhere", "/"]
    assert [headers.get(HEADER) for _, headers in web.seen] == told
    if spans:
        assert ["traceparent" in headers for _, headers in web.seen] == [bool(header) for header in told]


@CLIENTS
def test_a_redirect_there_and_back_tells_the_host_that_is_named(web, memory, get):
    instrument_http(hosts=["localhost"])
    with telemetry.correlation("abc"):
        assert get(f"{web.url}/back".replace("127.0.0.1", "localhost")) == 200
    assert [path for path, _ in web.seen] == ["/back", "/return", "/"]
    assert [headers.get(HEADER) for _, headers in web.seen] == ["abc", None, "abc"]


def test_what_the_program_wrote_itself_goes_along_with_a_redirect(web, memory):
    instrument_http(hosts=["localhost"])
    url = f"{web.url}/elsewhere".replace("127.0.0.1", "localhost")
    with telemetry.span("work"):
        requests.get(url, headers={HEADER: "own"})
        httpx.get(url, headers={HEADER: "own"}, follow_redirects=True)
    assert [headers[HEADER] for _, headers in web.seen] == ["own"] * 4
    assert ["traceparent" in headers for _, headers in web.seen] == [True, False] * 2


def twice_by_requests(url, headers):
    session = requests.Session()
    request = session.prepare_request(requests.Request("GET", url, headers=headers))
    return lambda: session.send(request)


def twice_by_httpx(url, headers):
    client = httpx.Client()
    request = client.build_request("GET", url, headers=headers)
    return lambda: client.send(request)


def twice_by_httpx_async(url, headers):
    async def send():
        async with httpx.AsyncClient() as client:
            await client.send(request)

    request = httpx.Request("GET", url, headers=headers)
    return lambda: asyncio.run(send())


PREPARED = pytest.mark.parametrize("prepare", [twice_by_requests, twice_by_httpx, twice_by_httpx_async])


@PREPARED
@pytest.mark.parametrize("spans", [False, True])
def test_a_request_that_is_sent_again_carries_the_ids_of_now(web, memory, prepare, spans):
    instrument_http(spans=spans)
    send = prepare(web.url, {})
    works = []
    for id in ("first", "second"):
        with telemetry.correlation(id), telemetry.span("work") as work:
            works.append(work.trace_id)
            send()
    send()
    *sent, alone = (headers for _, headers in web.seen)
    assert [headers["traceparent"].split("-")[1] for headers in sent] == works
    assert [headers[HEADER] for headers in sent] == ["first", "second"]
    assert HEADER not in alone or alone[HEADER] not in ("first", "second")
    assert "traceparent" not in alone or alone["traceparent"].split("-")[1] not in works


@PREPARED
def test_a_request_that_is_sent_again_keeps_what_the_program_wrote(web, memory, prepare):
    instrument_http()
    send = prepare(web.url, {HEADER: "own"})
    for id in ("own", "other"):
        with telemetry.correlation(id):
            send()
    assert [headers[HEADER] for _, headers in web.seen] == ["own", "own"]


@pytest.mark.parametrize("get", ["requests", "httpx"])
def test_a_redirect_that_the_program_follows_carries_the_ids_of_then(web, memory, get):
    instrument_http(hosts=["127.0.0.1"])
    with requests.Session() as session, httpx.Client() as client:
        with telemetry.correlation("first"):
            if get == "requests":
                following = session.get(f"{web.url}/moved", allow_redirects=False).next
            else:
                following = client.get(f"{web.url}/moved").next_request
        with telemetry.correlation("second"):
            answer = (session if get == "requests" else client).send(following)
        with telemetry.correlation("third"):
            (session if get == "requests" else client).send(answer.request)
    assert [headers[HEADER] for _, headers in web.seen] == ["first", "second", "third"]


def test_a_request_that_is_given_up_in_another_context_says_nothing_of_it(memory):
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _):
            await asyncio.Event().wait()

    async def main():
        async with httpx.AsyncClient(transport=Silent()) as client:
            entered = contextvars.copy_context()
            for _ in range(2):
                waiting = client.get("http://shop.internal/")
                entered.run(waiting.send, None)
                waiting.close()

    instrument_http(spans=True)
    asyncio.run(main())
    # The second one too: what was given up is not what the client is sending.
    assert memory.names() == ["http.client.start", "http.client.stop"] * 2


@pytest.mark.parametrize("library", ["requests", "httpx"])
def test_what_ends_a_request_in_another_context_goes_through(memory, library):
    def sent_in_parts(*_args, **_options):
        here.switch()
        raise KeyError("the program's own")

    instrument_http(spans=True)
    greenlet = pytest.importorskip("greenlet")
    here = greenlet.getcurrent()
    if library == "requests":
        client = requests.Session()
        adapter = requests.adapters.BaseAdapter()
        adapter.send = sent_in_parts
        client.mount("http://", adapter)
    else:
        client = httpx.Client(transport=httpx.MockTransport(sent_in_parts))
    sending = greenlet.greenlet(client.get)
    sending.gr_context = contextvars.copy_context()
    sending.switch("http://shop.internal/")
    sending.gr_context = contextvars.copy_context()
    with pytest.raises(KeyError, match="the program's own"):
        sending.switch()


@CLIENTS
def test_a_client_s_own_hosts_go_before_those_of_all_clients(web, memory, get):
    instrument_http(spans=True)
    with telemetry.correlation("abc"):
        get(web.url, own=True, hosts=["example.com"])
    assert len(ends(memory)) == 1
    if get is not by_aiohttp:
        assert HEADER not in web.seen[0][1]


def test_a_client_s_own_event_hooks_are_all_called_once(web, memory):
    called = []
    with httpx.Client(event_hooks={"request": [lambda request: called.append(request.url.path)]}) as client:
        instrument_httpx(client, hosts=["127.0.0.1"])
        for _ in range(2):
            client.get(f"{web.url}/moved", follow_redirects=True)
        assert len(client.event_hooks["request"]) == 2
    assert called == ["/moved", "/"] * 2


def test_a_request_without_headers_is_sent_as_it_is(web, memory):
    instrument_http(spans=True)
    request = requests.PreparedRequest()
    request.method, request.url = "GET", web.url
    with requests.Session() as session, telemetry.correlation("abc"):
        assert session.send(request).status_code == 200
    assert HEADER not in web.seen[0][1]
    assert [end for end, _ in ends(memory)] == ["http.client.stop"]


def test_a_request_that_is_sent_over_and_over_remembers_its_last_headers_alone(web, memory):
    instrument_http(hosts=["127.0.0.1"])
    with httpx.Client() as client:
        request = client.build_request("GET", web.url)
        sizes = []
        for number in range(4):
            with telemetry.correlation(f"r{number}"), telemetry.span("work"):
                client.send(request)
            sizes.append(len(pickle.dumps(request)))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: instrument_http(libraries=["urllib"]), ValueError),
        (lambda: instrument_http(libraries="httpx"), TypeError),
        (lambda: instrument_http(hosts="example.com"), TypeError),
        (lambda: instrument_httpx(object()), TypeError),
        (lambda: instrument_requests(object()), TypeError),
    ],
)
def test_a_wrong_argument_is_told_at_once(call, error):
    with pytest.raises(error):
        call()
