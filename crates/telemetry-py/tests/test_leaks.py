"""Nothing is left behind: no memory after many events, no descriptor in another program."""

from __future__ import annotations


def test_many_events_leave_no_memory_behind(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.serve()
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096
        class Odd:
            def __str__(self):
                return "odd"
        def work(rounds):
            for i in range(rounds):
                telemetry.emit("a.b", {"count": i, "odd": Odd()}, {"key": f"value{i}", 1: None})
                with telemetry.span("op", {"i": str(i)}, f"id-{i}") as span:
                    span.set(more=i)
        work(5_000)
        before = resident()
        work(60_000)
        grown = resident() - before
        assert grown < 4 * 2**20, grown
        stats = telemetry.stats()
        assert stats["emitted"] == 3 * 65_000
        assert stats["queued"] + sum(stats["dropped"].values()) == stats["emitted"]
        """
    )
    assert result.returncode == 0, result.stderr


def test_an_unbounded_number_of_names_does_not_grow_memory(python):
    result = python(
        """
        import telemetry_py as telemetry
        telemetry.serve()
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096
        def work(start, end):
            for i in range(start, end):
                telemetry.emit(f"name.n{i}")
                with telemetry.span(f"op.n{i}"):
                    pass
        work(0, 8_000)
        before = resident()
        work(8_000, 30_000)
        assert resident() - before < 4 * 2**20, resident() - before
        """
    )
    assert result.returncode == 0, result.stderr


def test_another_program_inherits_no_descriptor(python):
    result = python(
        """
        import subprocess, sys, telemetry_py as telemetry
        program = "import os; print(len(os.listdir('/proc/self/fd')))"
        def descriptors():
            return subprocess.check_output([sys.executable, "-c", program], close_fds=False)
        before = descriptors()
        telemetry.serve()
        assert descriptors() == before
        """
    )
    assert result.returncode == 0, result.stderr
