"""Forks: the child starts empty, the parent loses nothing, nobody hangs."""

from __future__ import annotations

import pytest

FORK_WHILE_STREAMING = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
import telemetry_py as telemetry
# The manager is a process of its own: gRPC's threads would not survive the forks.
import subprocess
server = telemetry.serve()
manager = subprocess.Popen([sys.executable, "-c", '''
import sys
sys.path.insert(0, {tests!r})
from manager import Manager
manager = Manager(sys.argv[1])
events = manager.until("end.event")
sequences = [event.sequence for event in events if event.event_parts]
assert sequences == list(range(1, len(sequences) + 1)), "events are missing"
print(len(sequences))
''', server.address], stdout=subprocess.PIPE, text=True)
while server.clients == 0:
    telemetry.emit("waiting.event")
    time.sleep(0.001)

stop = threading.Event()
def emitter():
    while not stop.is_set():
        telemetry.emit("a.b", {{"count": 1}}, {{"key": "value"}})
        telemetry.flush(1) if telemetry.stats()["queued"] > 800 else None
        # No faster than the manager, which is Python too and has to read all of it.
        time.sleep(0.0005)
thread = threading.Thread(target=emitter)
thread.start()
for i in range(200):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            stats = telemetry.stats()
            assert stats["emitted"] == stats["queued"] == 0, stats
            telemetry.emit("child.event")
            with telemetry.span("child.op"):
                pass
            stats = telemetry.stats()
            assert stats["emitted"] == stats["queued"] == 3, stats
            assert server.clients == 0
            assert telemetry.flush(0.1) is False
            assert server.close() and telemetry.shutdown(0.1) is False
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, i
stop.set()
thread.join()
assert telemetry.flush(60)
telemetry.emit("end.event")
assert telemetry.flush(60)
count = int(manager.communicate(timeout=180)[0])
stats = telemetry.stats()
assert manager.returncode == 0
assert stats["sent"] == stats["accepted"] == count, (stats, count)
"""


def test_200_forks_while_streaming(python, request):
    result = python(FORK_WHILE_STREAMING.format(tests=str(request.path.parent)), timeout=400)
    assert result.returncode == 0, result.stderr


def test_the_child_holds_no_socket_of_the_parent(python):
    result = python(
        """
        import os, socket, telemetry_py as telemetry
        server = telemetry.serve("127.0.0.1:0", insecure=True)
        host, port = server.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        connection.settimeout(60)
        # A whole handshake: the server closes a connection that takes too long with it.
        connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + b"\\0\\0\\0\\4\\0\\0\\0\\0\\0")
        connection.recv(1)
        def sockets():
            "Inodes of our descriptors that are bound to the server's port."
            local = f"{int(port):04X}"
            with open("/proc/self/net/tcp") as table:
                rows = [line.split() for line in table]
            bound = {row[9] for row in rows[1:] if row[1].endswith(":" + local)}
            held = set()
            for fd in os.listdir("/proc/self/fd"):
                try:
                    target = os.readlink(f"/proc/self/fd/{fd}")
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    held.add(target[8:-1])
            return bound & held
        assert len(sockets()) == 2, "a listener and a connection"
        pid = os.fork()
        if pid == 0:
            os._exit(len(sockets()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(sockets()) == 2
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("mode", "enabled"), [("reset", True), ("disable", False)]
)
def test_the_mode_decides_what_the_child_does(python, mode, enabled):
    result = python(
        f"""
        import os, telemetry_py as telemetry
        telemetry.serve()
        pid = os.fork()
        if pid == 0:
            telemetry.emit("a.b")
            ok = telemetry.is_enabled() is {enabled} and telemetry.stats()["queued"] == {int(enabled)}
            os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        TELEMETRY_ON_FORK=mode,
    )
    assert result.returncode == 0, result.stderr


def test_a_child_can_serve_for_itself(python, request):
    result = python(
        f"""
        import os, subprocess, sys, telemetry_py as telemetry
        parent = telemetry.serve()
        telemetry.emit("parent.event")
        pid = os.fork()
        if pid == 0:
            telemetry.emit("child.event")
            child = telemetry.serve()
            assert child.address != parent.address
            program = '''
        import sys
        sys.path.insert(0, {str(request.path.parent)!r})
        from manager import Manager, name_of
        assert name_of(Manager(sys.argv[1]).next()) == "child.event"
        '''
            code = subprocess.call([sys.executable, "-c", program.replace("        ", ""), child.address])
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert telemetry.stats()["queued"] == 1
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("mode", ["reset", "disable"])
def test_a_child_that_is_off_starts_empty_when_it_turns_on(python, mode):
    result = python(
        """
        import os, telemetry_py as telemetry
        server = telemetry.serve()
        telemetry.emit("parent.event")
        telemetry.set_backend(None)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert not telemetry.is_enabled() and telemetry.stats()["emitted"] == 0
                with telemetry.serve() as own:
                    assert own.address != server.address
                    telemetry.emit("child.event")
                    assert telemetry.stats()["queued"] == 1
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert telemetry.stats()["queued"] == 1
        """,
        TELEMETRY_ON_FORK=mode,
    )
    assert result.returncode == 0, result.stderr


def test_in_mode_restart_the_child_serves_at_an_address_of_its_own(python, tmp_path):
    tmp_path.chmod(0o700)
    result = python(
        """
        import os, sys, telemetry_py as telemetry
        parent = telemetry.serve()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                telemetry.emit("child.event")
                child = telemetry.serve(parent.address.replace(".sock", f".{os.getpid()}.sock"))
                path = child.address.removeprefix("unix:")
                assert os.path.exists(path)
                child.close()
                assert not os.path.exists(path)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.path.exists(parent.address.removeprefix("unix:"))
        """,
        TELEMETRY_ON_FORK="restart",
        TELEMETRY_ADDRESS=f"unix:{tmp_path}/worker.sock",
    )
    assert result.returncode == 0, result.stderr


def test_ids_differ_between_parent_and_child(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        telemetry.serve()
        telemetry.new_correlation_id()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            telemetry.emit("a.b")
            os.write(write, telemetry.new_correlation_id().encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 64).decode() != telemetry.new_correlation_id()
        """
    )
    assert result.returncode == 0, result.stderr


def test_ids_differ_in_a_child_that_did_not_touch_telemetry_before(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        telemetry.serve()
        telemetry.new_correlation_id()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, telemetry.new_correlation_id().encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 64).decode() != telemetry.new_correlation_id()
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_span_over_a_fork_ends_in_the_parent_only(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        telemetry.serve()
        with telemetry.span("op"):
            pid = os.fork()
        if pid == 0:
            os._exit(telemetry.stats()["emitted"])
        assert os.waitpid(pid, 0)[1] == 0
        assert telemetry.stats()["emitted"] == 2
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_fork_while_an_event_is_read_leaves_one_event(python):
    result = python(
        """
        import os, telemetry_py as telemetry
        telemetry.serve()
        class Forking:
            def __str__(self):
                self.pid = os.fork()
                return "x"
        forking = Forking()
        telemetry.emit("a.b", None, {"key": forking})
        if forking.pid == 0:
            os._exit(telemetry.stats()["emitted"])
        assert os.waitpid(forking.pid, 0)[1] == 0
        assert telemetry.stats()["queued"] == 1
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_child_that_does_nothing_starts_nothing_at_its_end(python, tmp_path):
    tmp_path.chmod(0o700)
    result = python(
        """
        import os, sys, telemetry_py as telemetry
        from telemetry_py import _lifecycle
        telemetry.serve()
        shut = []
        class Native:
            def flush_at_exit(self):
                shut.append(os.getpid())
        _lifecycle.native = Native()
        import atexit
        if os.fork() == 0:
            atexit._run_exitfuncs()
            os._exit(len(shut))
        assert os.wait()[1] == 0
        atexit._run_exitfuncs()
        assert shut == [os.getpid()]
        """,
        TELEMETRY_ON_FORK="restart",
        TELEMETRY_ADDRESS=f"unix:{tmp_path}/worker.sock",
    )
    assert result.returncode == 0, result.stderr
