"""StatsD: what a strict server reads from real datagrams."""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from typing import NamedTuple

import pytest
import telemetry_py as telemetry
from manager import PATIENCE

NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
VALUE = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")


class Metric(NamedTuple):
    name: str
    value: float
    kind: str
    rate: float
    tags: dict[str, str]


def parsed(line: str, dogstatsd: bool) -> Metric:
    """One metric, as strictly as the format is written down."""
    head, *rest = line.split("|")
    name, colon, value = head.rpartition(":")
    assert colon and NAME.match(name) and VALUE.match(value), line
    kind = rest.pop(0)
    assert kind in (("c", "ms", "g", "h") if dogstatsd else ("c", "ms", "g")), line
    rate, tags = 1.0, {}
    if rest and rest[0].startswith("@"):
        rate = float(rest.pop(0)[1:])
        assert kind != "g" and 0 < rate < 1, line
    if rest and rest[0].startswith("#"):
        assert dogstatsd
        for tag in rest.pop(0)[1:].split(","):
            key, colon, text = tag.partition(":")
            assert key and colon and tag.isprintable(), line
            tags[key] = text
    assert not rest, line
    return Metric(name, float(value), kind, rate, tags)


def decoded(name: str) -> str:
    """A name as it was before it was written down."""
    return re.sub(rb"-([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), name.encode()).decode()


class StatsdServer:
    def __init__(self, dogstatsd: bool = False) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE)
        self.port = self._socket.getsockname()[1]
        self.datagrams: list[bytes] = []
        self._dogstatsd = dogstatsd

    def metrics(self, count: int) -> list[Metric]:
        """The next so many metrics, and no more in their datagrams."""
        found: list[Metric] = []
        while len(found) < count:
            data = self._socket.recv(65536)
            assert len(data) <= 1432, len(data)
            self.datagrams.append(data)
            found += [parsed(line, self._dogstatsd) for line in data.decode("ascii" if not self._dogstatsd else "utf-8").split("\n")]
        assert len(found) == count, found
        return found

    def is_silent(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server():
    server = StatsdServer()
    yield server
    server.close()


@pytest.fixture
def dog():
    server = StatsdServer(dogstatsd=True)
    yield server
    server.close()


def by_name(metrics):
    return {metric.name: (metric.value, metric.kind) for metric in metrics}


def test_what_kind_of_metric_a_measurement_is(server):
    telemetry.set_backend(telemetry.StatsdBackend(port=server.port, prefix="shop"))
    telemetry.emit(
        "cart.add",
        {"duration": 1_500_000, "wait_ms": 7, "cpu_seconds": 0.25, "lag_us": 1500, "count": 3, "retry_count": 2, "bytes": 512, "text": "no", "nan": math.nan, "system_time": 5},
        {"user": "x"},
    )
    assert by_name(server.metrics(8)) == {
        "shop.cart.add": (1, "c"),
        "shop.cart.add.duration": (1.5, "ms"),
        "shop.cart.add.wait_ms": (7, "ms"),
        "shop.cart.add.cpu_seconds": (250, "ms"),
        "shop.cart.add.lag_us": (1.5, "ms"),
        "shop.cart.add.count": (3, "c"),
        "shop.cart.add.retry_count": (2, "c"),
        "shop.cart.add.bytes": (512, "ms"),
    }


def test_sampled_values_are_gauges_and_a_negative_one_is_no_change(server):
    backend = telemetry.StatsdBackend(port=server.port)
    backend.emit("python.memory.sampled", {"rss": -5}, {}, "")
    values = [(metric.name, metric.value, metric.kind) for metric in server.metrics(3)]
    assert values[1:] == [("python.memory.sampled.rss", 0, "g"), ("python.memory.sampled.rss", -5, "g")]


def test_a_span_is_a_timer(server):
    telemetry.set_backend(telemetry.StatsdBackend(port=server.port))
    with telemetry.span("tool.execution"):
        pass
    assert telemetry.flush()
    start, stop, duration = server.metrics(3)
    assert (start.name, stop.name, duration.name) == ("tool.execution.start", "tool.execution.stop", "tool.execution.stop.duration")
    assert duration.kind == "ms" and 0 <= duration.value < 60_000


def test_names_are_written_without_loss(server):
    backend = telemetry.StatsdBackend(port=server.port)
    keys = ["a.b", "a-b", "a_b", "a:b", "a|b", "a b", "é", "a/b", "-2E", "a@1", "", "😀"]
    expected = {"ev-2Dent.x": 1}
    for key in keys:
        backend.emit("ev-ent.x", {key: 1}, {}, "")
    backend.flush()
    names = [metric.name for metric in server.metrics(2 * len(keys))]
    told = [decoded(name.removeprefix("ev-2Dent.x.")) for name in names if name not in expected]
    assert told == keys
    assert len(set(names)) == len(keys) + 1


def test_dogstatsd_has_tags_and_distributions(dog):
    backend = telemetry.StatsdBackend(port=dog.port, dogstatsd=True)
    backend.emit("a.b", {"bytes": 5}, {"tool": "x,y|z", "error_message": "free text", "path:k": "/a:b", "line": "1\n2"}, "")
    count, size = dog.metrics(2)
    assert count.tags == size.tags == {"tool": "x%2Cy%7Cz", "path%3Ak": "/a:b", "line": "1%0A2"}
    assert (size.kind, size.value) == ("h", 5)


def test_a_burst_shares_datagrams_and_nothing_is_lost(server):
    telemetry.set_backend(telemetry.StatsdBackend(port=server.port))
    for i in range(1000):
        telemetry.emit("burst.event", {"count": i})
    assert telemetry.flush()
    metrics = server.metrics(2000)
    assert sum(metric.value for metric in metrics if metric.name == "burst.event.count") == sum(range(1000))
    assert len(server.datagrams) < 100


def test_threads_lose_nothing(server):
    backend = telemetry.StatsdBackend(port=server.port)
    threads = [threading.Thread(target=lambda: [backend.emit("a.b", {}, {}, "") for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.flush()
    assert sum(metric.value for metric in server.metrics(16_000)) == 16_000
    assert backend.dropped == 0


def test_a_pause_is_followed_at_once(server):
    backend = telemetry.StatsdBackend(port=server.port)
    backend.emit("first.event", {}, {}, "")
    assert [metric.name for metric in server.metrics(1)] == ["first.event"]
    backend.emit("held.event", {}, {}, "")
    assert server.is_silent()
    deadline = time.monotonic() + PATIENCE
    names = []
    while not names and time.monotonic() < deadline:
        backend.emit("later.event", {}, {}, "")
        if not server.is_silent():
            names.append("arrived")
    assert names


def test_the_rate_is_told_and_weights_up_to_the_truth(server):
    backend = telemetry.StatsdBackend(port=server.port, sample_rate=0.25)
    for _ in range(4000):
        backend.emit("a.b", {}, {}, "")
    backend.flush()
    kept = 4000 - backend.sampled_out
    metrics = server.metrics(kept)
    assert {metric.rate for metric in metrics} == {0.25}
    assert sum(metric.value / metric.rate for metric in metrics) == pytest.approx(4000, rel=0.15)


def test_what_cannot_be_sent_is_counted():
    backend = telemetry.StatsdBackend(port=9, prefix="x")
    telemetry.set_backend(backend)
    before = telemetry.stats()
    telemetry.emit("a.b", {}, {f"k{i}": "v" for i in range(5)})
    telemetry.emit("a.b", {f"key_{i:02}" + "x" * 50: 1.5 for i in range(32)})
    after = telemetry.stats()
    assert after["dropped"].get("backend_error", 0) - before["dropped"].get("backend_error", 0) == 1
    assert "1432" in after["last_error"]
    backend._socket.close()
    telemetry.emit("a.b")
    assert "closed" in telemetry.stats()["last_error"]


def test_an_unreachable_network_is_an_error_of_the_backend(monkeypatch):
    backend = telemetry.StatsdBackend()

    class NoWay:
        def fileno(self):
            return 5

        def sendto(self, *_):
            raise BlockingIOError

    monkeypatch.setattr(backend, "_socket", NoWay())
    assert isinstance(backend.emit("a.b", {}, {}, ""), OSError)
    assert backend.dropped == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"port": 0}, "port=0"), ({"port": "x"}, "port='x'"), ({"sample_rate": 0}, "sample_rate=0"), ({"host": "no such host"}, "host="), ({"prefix": 3}, "prefix=3")],
)
def test_wrong_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        telemetry.StatsdBackend(**arguments)


PROGRAM = """
import atexit, os, sys
import telemetry_py as telemetry
telemetry.set_backend(telemetry.StatsdBackend(port={port}))
{body}
"""


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("for i in range(3): telemetry.emit('a.b')", ["a.b"] * 3),
        ("atexit.register(telemetry.emit, 'at.exit'); telemetry.emit('a.b')", ["a.b", "at.exit"]),
        # What the parent holds back is sent once, by it.
        (
            "for i in range(3): telemetry.emit('parent.event')\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    telemetry.emit('child.event'); telemetry.emit('child.event'); sys.exit()\n"
            "os.waitpid(child, 0)",
            ["child.event"] * 2 + ["parent.event"] * 3,
        ),
        (
            "import multiprocessing\n"
            "def work():\n"
            "    for i in range(3): telemetry.emit('child.event')\n"
            "process = multiprocessing.get_context('fork').Process(target=work)\n"
            "process.start(); process.join()",
            ["child.event"] * 3,
        ),
    ],
)
def test_the_end_of_a_process_sends_what_is_held_back(python, server, body, names):
    result = python(PROGRAM.format(port=server.port, body=body))
    assert result.returncode == 0, result.stderr
    assert sorted(metric.name for metric in server.metrics(len(names))) == names
    assert server.is_silent()


def test_the_environment_can_name_it(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.start()
        assert type(telemetry.get_backend()) is telemetry.StatsdBackend
        """,
        TELEMETRY_BACKEND="statsd",
    )
    assert result.returncode == 0, result.stderr
