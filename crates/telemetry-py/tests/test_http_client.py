"""Requests that go out carry the ids, and are spans if they are to be."""

from __future__ import annotations

import asyncio
import json
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
    """A server that answers with the headers that it got; `/moved` sends to `/`, `/broken` is an error."""

    def __init__(self):
        self.seen = seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen.append((self.path, headers))
                body = json.dumps(headers).encode()
                self.send_response({"/moved": 302, "/broken": 500}.get(self.path, 200))
                if self.path == "/moved":
                    self.send_header("Location", "/")
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
