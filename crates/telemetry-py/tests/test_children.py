"""Children of a connected process, of every kind: each connects for itself, and each event arrives."""

from __future__ import annotations

import pytest
from acceptor import Acceptor
from manager import PATIENCE
from witness import Worker, same

LONG_EXIT = {"TELEMETRY_EXIT_TIMEOUT_MS": "60000"}


@pytest.fixture
def acceptor(tmp_path):
    with Acceptor(tmp_path / "run") as acceptor:
        yield acceptor


def run(tmp_path, acceptor, program, code=0, **environment):
    """Runs a program; all it emitted must have arrived. Returns who emitted what."""
    environment = {"TELEMETRY_MANAGER": acceptor.address, **LONG_EXIT, **environment}
    with Worker(tmp_path, program, **environment) as worker:
        assert worker.end() == code, worker.errors
        assert not worker.errors
        emitted = worker.emitted()
        arrived = [acceptor.next() for _ in emitted]
        assert same([name for _, name in arrived], emitted)
    assert acceptor.arrived.empty()
    return arrived


FORKS = """
telemetry.start()
emit("parent.before")
for i in range(20):
    pid = os.fork()
    if pid == 0:
        emit(f"child.event.of.n{i}")
        emit(f"{os.getpid()}.is.who")
        sys.exit(i)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == i
emit("parent.after")
"""


def test_each_fork_connects_with_its_first_event_as_itself(tmp_path, acceptor):
    arrived = run(tmp_path, acceptor, FORKS.replace('f"{os.getpid()}.is.who"', 'f"who.is.n{os.getpid()}"'))
    for said, name in arrived:
        if name.startswith("who.is.n"):
            assert int(name.removeprefix("who.is.n")) == said["pid"]
            assert said["worker"].endswith(f"-{said['pid']}")
    assert len({said["incarnation"] for said, _ in arrived}) == 21
    assert len({said["worker"] for said, _ in arrived}) == 21


def test_a_fork_keeps_the_id_that_was_given(tmp_path, acceptor):
    arrived = run(tmp_path, acceptor, FORKS.replace("range(20)", "range(2)").replace("{os.getpid()}.is.who", "a.b"), TELEMETRY_WORKER_ID="w")
    assert {said["worker"] for said, _ in arrived} == {"w"}
    assert len({said["incarnation"] for said, _ in arrived}) == 3


def test_a_fork_that_emits_nothing_starts_nothing_and_holds_nothing(tmp_path, acceptor):
    program = """
    telemetry.start()
    emit("parent.event")
    attached()
    def sockets():
        return [fd for fd in os.listdir("/proc/self/fd") if "socket:" in os.readlink(f"/proc/self/fd/{fd}")]
    def descriptors():
        found = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError:
                pass
        return [it for it in found if it.startswith("socket:")]
    assert descriptors()
    pid = os.fork()
    if pid == 0:
        telemetry.stats()
        telemetry.is_enabled()
        telemetry.new_correlation_id()
        os._exit(len(descriptors()) + 10 * (len(os.listdir("/proc/self/task")) - 1))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    assert telemetry.stats()["clients"] == 1
    """
    run(tmp_path, acceptor, program)
    acceptor.introductions.get(timeout=PATIENCE)
    while not acceptor.introductions.empty():
        # Only the parent, if it came twice.
        assert acceptor.introductions.get()["attempts"] > 0


def test_grandchildren_and_forks_amid_threads_lose_nothing(tmp_path, acceptor):
    program = """
    import threading
    telemetry.start()
    stop = threading.Event()
    emitted = []
    def work():
        while not stop.wait(0.001):
            emit("thread.event")
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(30):
        pid = os.fork()
        if pid == 0:
            if i % 3 == 0 and os.fork() == 0:
                emit(f"grandchild.n{i}")
                os._exit(0) if telemetry.shutdown(60) else os._exit(9)
            if i % 3 == 0:
                os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
            emit(f"child.n{i}")
            with telemetry.span("child.work"):
                pass
            os._exit(0) if telemetry.shutdown(60) else os._exit(9)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, (i, code)
    stop.set()
    for thread in threads:
        thread.join()
    """
    environment = {"TELEMETRY_MANAGER": acceptor.address, "TELEMETRY_MAX_BUFFER": "65536", **LONG_EXIT}
    with Worker(tmp_path, program, **environment) as worker:
        assert worker.end() == 0, worker.errors
        emitted = [*worker.emitted(), *["child.work.start", "child.work.stop"] * 20]
        assert same(acceptor.names(len(emitted)), emitted)


MULTIPROCESSING = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.util import Finalize

telemetry.start()

def job(i):
    emit(f"job.n{i}")
    return os.getpid()

def process(context):
    children = [context.Process(target=job, args=(i,)) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0

def pool(context):
    with context.Pool(2, maxtasksperchild=2) as workers:
        assert len(set(workers.map(job, range(8), chunksize=1))) >= 2
        workers.close()
        workers.join()

def executor(context):
    with ProcessPoolExecutor(2, mp_context=context) as workers:
        list(workers.map(job, range(8)))

def finalizer(context):
    child = context.Process(target=register)
    child.start()
    child.join()
    assert child.exitcode == 0

def register():
    Finalize(None, emit, args=("child.finalizer",), exitpriority=-10)
    emit("child.event")

if __name__ == "__main__":
    {kind}(multiprocessing.get_context({method!r}))
    emit("parent.event")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["process", "pool", "executor", "finalizer"])
def test_each_child_of_multiprocessing_sends_what_it_has(tmp_path, acceptor, kind, method):
    run(tmp_path, acceptor, MULTIPROCESSING.replace("{kind}", kind).replace("{method!r}", repr(method)))


def test_a_hook_of_forks_that_emits_loses_nothing(tmp_path, acceptor):
    program = """
    telemetry.start()
    os.register_at_fork(after_in_child=lambda: emit("hook.event"))
    import multiprocessing
    child = multiprocessing.get_context("fork").Process(target=emit, args=("child.event",))
    child.start()
    child.join()
    assert child.exitcode == 0
    """
    run(tmp_path, acceptor, program)


NOT_STARTED = """
import multiprocessing

def child(queue):
    emit("child.event")
    telemetry.emit("child.event")
    stats = telemetry.stats()
    assert (stats["queued"], stats["manager"]) == (2, None), stats
    assert not telemetry.shutdown(60)
    queue.put(telemetry.stats()["dropped"])

if __name__ == "__main__":
    telemetry.start()
    context = multiprocessing.get_context({method!r})
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get() == {{"not_started": 2}}
    process.join()
    assert process.exitcode == 0
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_whose_start_is_not_run_says_so_once_and_counts(tmp_path, acceptor, method):
    program = NOT_STARTED.format(method=method)
    with Worker(tmp_path, program, TELEMETRY_MANAGER=acceptor.address, **LONG_EXIT) as worker:
        assert worker.end() == 0, worker.errors
        assert worker.errors.count("telemetry: ") == 1 and "not called telemetry.start()" in worker.errors, worker.errors


SERVING = """
telemetry.serve("unix:{directory}/w.sock")
telemetry.emit("parent.event")
pid = os.fork()
if pid == 0:
    for _ in range(20):
        emit("child.event")
    {child}
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert telemetry.stats()["queued"] == 1
"""


def test_a_fork_of_a_process_that_serves_counts_what_nobody_takes(tmp_path):
    tmp_path.chmod(0o700)
    child = """
    assert telemetry.stats()["dropped"] == {"fork_inherited": 12}, telemetry.stats()
    telemetry.shutdown(60)
    stats = telemetry.stats()
    assert (stats["emitted"], stats["queued"], stats["dropped"]) == (20, 0, {"fork_inherited": 20}), stats
    """.strip()
    program = SERVING.replace("{directory}", str(tmp_path)).replace("{child}", child)
    with Worker(tmp_path, program, TELEMETRY_MAX_BUFFER="8") as worker:
        assert worker.end() == 0, worker.errors
        assert worker.errors.count("telemetry: ") == 1 and "fork_inherited" in worker.errors, worker.errors


def test_a_fork_of_a_process_that_serves_connects_where_a_manager_is_known(tmp_path, acceptor):
    tmp_path.chmod(0o700)
    child = 'assert telemetry.shutdown(60) and telemetry.stats()["sent"] == 20'
    program = SERVING.replace("{directory}", str(tmp_path)).replace("{child}", child)
    run(tmp_path, acceptor, program)


def test_a_fork_can_choose_for_itself(tmp_path, acceptor):
    # What it asks for by name comes before what it would inherit.
    tmp_path.chmod(0o700)
    program = f"""
    telemetry.start()
    for mode in ("address", "manager"):
        pid = os.fork()
        if pid == 0:
            if mode == "address":
                assert telemetry.serve("unix:{tmp_path}/own.sock").address == "unix:{tmp_path}/own.sock"
            else:
                telemetry.connect("unix:{tmp_path}/other.sock")
                assert telemetry.stats()["manager"] == "unix:{tmp_path}/other.sock"
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    emit("parent.event")
    """
    run(tmp_path, acceptor, program)


@pytest.mark.parametrize(("mode", "enabled"), [("reset", True), ("disable", False)])
def test_the_mode_can_keep_a_fork_from_connecting(tmp_path, acceptor, mode, enabled):
    program = f"""
    telemetry.start()
    pid = os.fork()
    if pid == 0:
        telemetry.emit("child.event")
        ok = telemetry.is_enabled() is {enabled} and len(os.listdir("/proc/self/task")) == 1
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    emit("parent.event")
    """
    run(tmp_path, acceptor, program, TELEMETRY_ON_FORK=mode)


def test_a_fork_of_a_process_that_was_shut_down_starts_nothing(tmp_path, acceptor):
    program = """
    telemetry.start()
    emit("parent.event")
    assert telemetry.shutdown(60)
    pid = os.fork()
    if pid == 0:
        telemetry.emit("child.event")
        os._exit(len(os.listdir("/proc/self/task")) - 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """
    run(tmp_path, acceptor, program)
