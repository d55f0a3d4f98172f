"""The plugin of telemetry_py for pytest, which finds it by itself: the fixture ``telemetry_capture``.

    def test_a_search_is_told(telemetry_capture):
        search("needle")
        assert telemetry_capture.one("tool.result_size").metadata == {"tool": "search"}

It stands beside the package because importing anything below ``telemetry_py`` loads its native module, and
pytest imports plugins in every run of every project. The fixture is the first to import it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from telemetry_py.testing import Capture


@pytest.fixture
def telemetry_capture() -> Iterator[Capture]:
    """Everything that the test emits, by ``telemetry_py.testing.capture``."""
    from telemetry_py.testing import capture

    with capture() as captured:
        yield captured
