"""Serving to a manager: a real process, a real socket and a client that shares no code with it."""

from __future__ import annotations

import os
import stat
import threading
import time

import pytest
import telemetry_py as telemetry
from manager import PATIENCE, Manager, name_of


@pytest.fixture
def server(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with telemetry.serve(f"unix:{directory}/worker.sock") as server:
        yield server


def test_events_reach_the_manager(server):
    telemetry.emit("tool.result_size", {"bytes": 5, "ratio": 0.5, "text": "t"}, {"tool": "x"}, "id-1")
    with telemetry.span("tool.execution", {"tool": "x"}):
        pass
    with Manager(server.address) as manager:
        size, start, stop = manager.until("tool.execution.stop")
    assert name_of(size) == "tool.result_size"
    assert size.measurements["bytes"].int_value == 5
    assert size.measurements["ratio"].float_value == 0.5
    assert size.measurements["text"].string_value == "t"
    assert dict(size.metadata) == {"tool": "x"}
    assert size.correlation_id == "id-1"
    assert [event.sequence for event in (size, start, stop)] == [1, 2, 3]
    assert start.timestamp_ns == start.measurements["system_time"].int_value
    assert stop.measurements["duration"].int_value > 0
    assert stop.timestamp_ns >= start.timestamp_ns


def test_whatever_is_emitted_is_valid_on_the_wire(server, ledger):
    class Broken:
        def __str__(self):
            raise RuntimeError

    telemetry.emit("a.b", {2**63: 2**63, "\ud800": "\udfff", None: Broken()}, {1: Broken()}, "\ud800")
    telemetry.emit("a.b", {"nan": float("nan")})
    telemetry.emit("end.event")
    with Manager(server.address) as manager:
        event, end = manager.until("end.event")
    assert event.measurements[str(2**63)].float_value == float(2**63)
    assert event.measurements["\ufffd"].string_value == "\ufffd"
    assert event.measurements["None"].string_value == "<unprintable Broken>"
    assert dict(event.metadata) == {"1": "<unprintable Broken>"}
    assert ledger()["dropped"] == {"invalid_value": 1}


def test_a_full_queue_drops_and_counts(monkeypatch, ledger):
    monkeypatch.setenv("TELEMETRY_MAX_BUFFER", "10")
    with telemetry.serve():
        for _ in range(25):
            telemetry.emit("a.b")
        stats = ledger()
    assert stats["queued"] == 10
    assert stats["dropped"]["queue_full"] == 15
    assert stats["emitted"] == 25


def test_toggled_off_nothing_is_emitted(server):
    with Manager(server.address) as manager:
        telemetry.emit("first.event")
        manager.until("first.event")
        manager.toggle(False)
        # Off is in force once an emit is no longer counted.
        deadline = time.monotonic() + PATIENCE
        while True:
            before = telemetry.stats()["emitted"]
            telemetry.emit("probe.event")
            if telemetry.stats()["emitted"] == before:
                break
            assert time.monotonic() < deadline, "the toggle never came into force"
            time.sleep(0.001)
        with telemetry.span("op"):
            telemetry.emit("a.b")
        assert telemetry.stats()["emitted"] == before


def test_flush_waits_for_the_manager(server):
    assert telemetry.flush(timeout=0)
    for _ in range(100):
        telemetry.emit("a.b")
    assert not telemetry.flush(timeout=30), "nobody to flush to: no wait"
    with Manager(server.address) as manager:
        manager.next()
        telemetry.emit("end.event")
        assert telemetry.flush(timeout=PATIENCE)
        assert telemetry.stats()["queued"] == 0
        assert server.clients == 1
        assert len(manager.until("end.event")) == 100


def test_close_sends_the_rest_and_ends_the_stream_with_ok(server):
    with Manager(server.address) as manager:
        telemetry.emit("first.event")
        manager.until("first.event")
        telemetry.emit("last.event")
        assert server.close(timeout=PATIENCE)
        assert [name_of(event) for event in manager.rest() if event.event_parts] == ["last.event"]
        assert manager.code.name == "OK"
    assert server.close()
    before = telemetry.stats()["dropped"].get("not_running", 0)
    telemetry.emit("too.late")
    assert telemetry.stats()["dropped"]["not_running"] == before + 1


def test_serving_again_starts_anew_but_for_the_ledger(ledger):
    with telemetry.serve() as first:
        telemetry.emit("a.b")
    with telemetry.serve() as second:
        telemetry.emit("c.d")
        with Manager(second.address) as manager:
            assert name_of(manager.next()) == "c.d"
        stats = ledger()
    assert first.address
    assert (stats["emitted"], stats["sent"], stats["dropped"]) == (2, 1, {"shutdown_deadline": 1})


def test_the_ledger_counts_a_span_that_outlives_what_ran():
    before = telemetry.stats()["emitted"]
    with telemetry.serve():
        span = telemetry.span("op")
        span.__enter__()
    for _ in range(3):
        with telemetry.serve():
            telemetry.emit("a.b")
    assert telemetry.stats()["emitted"] == before + 4
    span.__exit__(None, None, None)
    stats = telemetry.stats()
    assert stats["emitted"] == before + 5
    del span
    with telemetry.serve():
        assert telemetry.stats()["emitted"] == before + 5
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())
    assert stats["accepted"] == stats["sent"] + stats["delivered"] + stats["queued"]


def test_a_second_call_returns_the_same_server(server):
    assert telemetry.serve().address == server.address
    assert telemetry.serve(server.address).address == server.address
    with pytest.raises(ValueError, match="already"):
        telemetry.serve("127.0.0.1:1")


def test_the_socket_is_private_and_goes_away(server):
    path = server.address.removeprefix("unix:")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    server.close()
    assert not os.path.exists(path)


def test_the_ready_file_holds_the_address(tmp_path):
    ready = tmp_path / "ready"
    with telemetry.serve(ready_file=ready) as server:
        assert ready.read_text().strip() == server.address


def test_the_server_thread_leaves_signals_alone(server):
    telemetry.emit("first.event")
    with Manager(server.address) as manager:
        manager.until("first.event")
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as status:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        if fields["Name"] == "telemetry":
            assert int(fields["SigBlk"], 16) & (1 << 1), "SIGINT is not masked"
            return
    pytest.fail("there is no thread named telemetry")


def test_many_threads_lose_nothing(server, ledger):
    def work():
        for i in range(200):
            telemetry.emit("a.b", {"count": i})

    with Manager(server.address) as manager:
        telemetry.emit("first.event")
        manager.until("first.event")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert telemetry.flush(PATIENCE)
        telemetry.emit("end.event")
        events = manager.until("end.event")
    stats = ledger()
    assert len(events) == 801 - sum(stats["dropped"].values())
    assert [event.sequence for event in events] == list(range(2, len(events) + 2))


def test_get_backend_names_the_server(server):
    assert isinstance(telemetry.get_backend(), telemetry.ServerBackend)
    assert telemetry.is_enabled()
    telemetry.get_backend().emit("a.b", {"count": 1}, {"k": "v"}, "id")
    assert telemetry.stats()["queued"] == 1


def test_resources_are_sampled_from_serve_on(monkeypatch):
    monkeypatch.setenv("TELEMETRY_RESOURCE_INTERVAL_MS", "20")
    with telemetry.serve() as server, Manager(server.address) as manager:
        memory, *_, cpu = manager.until("python.cpu.sampled")
    assert name_of(memory) == "python.memory.sampled"
    assert memory.measurements["rss_bytes"].int_value > 2**20
    assert memory.metadata["python_pid"] == str(os.getpid())
    assert cpu.measurements["cpu_percent"].float_value >= 0


def test_threads_that_serve_at_once_get_one_server(python):
    result = python(
        """
        import sys, threading, telemetry_py as telemetry
        sys.setswitchinterval(1e-6)
        for _ in range(20):
            barrier = threading.Barrier(4)
            addresses = []
            def work():
                barrier.wait()
                addresses.append(telemetry.serve().address)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(addresses) == 4 and len(set(addresses)) == 1, addresses
            assert telemetry.shutdown()
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("origin", ["argument", "environment"])
def test_a_socket_that_is_taken_gets_a_sibling_which_is_said(python, server, tmp_path, origin):
    argument = repr(server.address) if origin == "argument" else ""
    ready = tmp_path / "ready"
    result = python(
        f"""
        import os, time, telemetry_py as telemetry
        with telemetry.serve({argument}) as own:
            path = own.address.removeprefix("unix:")
            assert path == {str(tmp_path)!r} + f"/run/worker.{{os.getpid()}}.sock" and os.path.exists(path), path
            with open(os.environ["TELEMETRY_READY_FILE"]) as ready:
                assert ready.read().strip() == own.address
            assert telemetry.serve({argument}).address == own.address
            telemetry.start()
        assert not os.path.exists(path)
        """,
        TELEMETRY_ADDRESS=server.address,
        TELEMETRY_READY_FILE=str(ready),
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == 1 and "in use by another process" in result.stderr, result.stderr
    assert os.path.exists(server.address.removeprefix("unix:"))


def test_a_port_that_is_taken_gets_another_which_is_said(python):
    with telemetry.serve("127.0.0.1:0", insecure=True) as server:
        result = python(
            f"""
            import telemetry_py as telemetry
            own = telemetry.serve({server.address!r}, insecure=True)
            assert own.address.startswith("127.0.0.1:") and own.address != {server.address!r}
            """
        )
        assert result.returncode == 0, result.stderr
        said, warned = result.stderr.splitlines()
        assert server.address in said and "without a token" in warned, result.stderr


def test_an_address_that_gets_free_in_time_is_taken(python, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    first = telemetry.serve(f"unix:{directory}/worker.sock")
    closing = threading.Timer(0.2, first.close)
    closing.start()
    result = python(
        f"""
        import telemetry_py as telemetry
        assert telemetry.serve({first.address!r}, timeout=60).address == {first.address!r}
        """
    )
    closing.join()
    assert result.returncode == 0 and not result.stderr, result.stderr


@pytest.mark.parametrize("way", ["argument", "environment", "manager"])
def test_a_mistyped_path_makes_no_directory(python, tmp_path, way):
    tmp_path.chmod(0o700)
    address = f"unix:{tmp_path}/mistyped/deep/worker.sock"
    program = {
        "argument": f"""
            import telemetry_py as telemetry
            try:
                telemetry.serve({address!r}, ready_file={str(tmp_path / "no" / "ready")!r})
            except OSError as error:
                print("OSError", error)
        """,
        "environment": "import telemetry_py as telemetry; telemetry.start(); telemetry.emit('a.b')",
        "manager": "import telemetry_py as telemetry; telemetry.start(); telemetry.emit('a.b'); telemetry.flush(0.2)",
    }[way]
    variables = {"argument": {}, "environment": {"TELEMETRY_ADDRESS": address}, "manager": {"TELEMETRY_MANAGER": address}}[way]
    result = python(program, **variables)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
    if way != "manager":
        told = result.stdout if way == "argument" else result.stderr
        assert "mistyped/deep does not exist" in told, told
