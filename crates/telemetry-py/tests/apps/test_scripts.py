"""Scripts that live for no time or a little: each event arrives, whenever the process ends."""

from __future__ import annotations

import pytest
from place import Place
from real_manager import Manager

EVENTS = 20


@pytest.mark.parametrize(
    ("milliseconds", "times"),
    [(0, 10), (50, 10), *(pytest.param(ms, 100, marks=pytest.mark.long) for ms in (0, 50, 200, 500))],
)
def test_each_event_of_a_short_script_arrives(place: Place, milliseconds: int, times: int) -> None:
    with Manager(place.directory) as manager:
        for _ in range(times):
            with place.program(manager, "python", "script.py", str(milliseconds)) as script:
                assert script.wait() == 0, script.said()
                assert script.said() == ""
        assert place.truth().total() == times * EVENTS
        place.check_all_arrived(manager)
        place.check_last_words(manager)
        place.check_nothing_left(manager)


def test_a_script_that_emits_nothing_leaves_nothing_unknown(place: Place) -> None:
    """It ends while it is introduced to the manager."""
    script = "import telemetry_py as telemetry; telemetry.start()"
    with Manager(place.directory) as manager:
        for _ in range(20):
            with place.program(manager, "python", "-c", script) as program:
                assert program.wait() == 0, program.said()
        place.check_last_words(manager)
