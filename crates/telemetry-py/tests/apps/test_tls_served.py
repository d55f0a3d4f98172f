"""Workers that listen with TLS: the real manager dials them as its configuration says."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from patience import PATIENCE, until
from place import Place
from program import Program
from real_manager import Manager
from test_tls import certificates

TLS = """
[tls]
ca = "{certificates}/ca.pem"
cert = "{certificates}/worker.pem"
key = "{certificates}/worker.key"
"""
ENDPOINT = """
[[endpoint]]
worker_id = "gpu-1"
address = "{address}"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def served(place: Place, into: Path, port: int, seconds: float, **more: str) -> Program:
    """A worker at all addresses of this machine, with the certificate that is for localhost."""
    variables = {
        "TELEMETRY_ADDRESS": f"0.0.0.0:{port}",
        "TELEMETRY_TLS_CA": str(into / "ca.pem"),
        "TELEMETRY_TLS_CERT": str(into / "manager.pem"),
        "TELEMETRY_TLS_KEY": str(into / "manager.key"),
    }
    return place.program(None, "python", "served.py", str(seconds), **{**variables, **more})


def configuration(into: Path, address: str, more: str) -> str:
    return TLS.format(certificates=into) + ENDPOINT.format(address=address) + more


@pytest.mark.parametrize(
    "more",
    ["tls = true", '[endpoint.tls]\nserver_name = "localhost"', 'tls = true\ntoken_file = "{token}"'],
)
def test_every_event_of_a_worker_that_listens_comes_over_tls(place: Place, more: str) -> None:
    into, port = certificates(place, "worker"), free_port()
    token = place.directory / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    shown = {"TELEMETRY_TOKEN_FILE": str(token)} if "token" in more else {}
    with Manager(place.directory, configuration(into, f"127.0.0.1:{port}", more.format(token=token))) as manager:
        with served(place, into, port, PATIENCE, **shown) as worker:
            assert worker.wait() == 0, f"{worker.said()}\n{manager.log()}"
        place.check_all_arrived(manager)
        assert manager.unknown() == 0, place.tell(manager)
        assert manager.workers == {"gpu-1"}, manager.workers


@pytest.mark.parametrize(
    ("more", "worker_says", "manager_says"),
    [
        ("", "does not speak TLS", "this port speaks TLS"),
        ('[endpoint.tls]\nserver_name = "elsewhere.example"', "it is not for the name", "elsewhere.example"),
    ],
)
def test_both_ends_say_why_nothing_is_read(place: Place, more: str, worker_says: str, manager_says: str) -> None:
    into, port = certificates(place, "worker"), free_port()
    with Manager(place.directory, configuration(into, f"127.0.0.1:{port}", more)) as manager:
        with served(place, into, port, 5) as worker:
            until(lambda: manager_says in json.dumps(manager.get("/api/workers")), lambda: place.tell(manager))
            assert worker.wait() == 1
            assert worker_says in worker.said(), worker.said()
        assert not manager.arrived, manager.arrived
