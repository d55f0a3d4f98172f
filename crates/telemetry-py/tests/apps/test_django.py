"""Django tells its routes and exceptions to the middleware around it."""

from __future__ import annotations

import pytest
from place import Place


DJANGO = """
import sys, django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
import telemetry_py as telemetry

def item(request, number):
    return HttpResponse("item")
def broken(request):
    raise ValueError("no such item")
async def slow(request, name):
    return HttpResponse("slow")
urlpatterns = [path("items/<int:number>/", item), path("broken/", broken), path("slow/<slug:name>/", slow)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=["telemetry_py.django.RouteMiddleware"])
django.setup()
memory = telemetry.MemoryBackend()
telemetry.set_backend(memory)
def check():
    ends = [event for event in memory.events if not event.event.endswith("start")]
    seen = [(e.event, e.metadata["route"], e.metadata["status_code"], e.metadata.get("error_type")) for e in ends]
    assert seen == [
        ("http.server.stop", "/items/<int:number>/", "200", None),
        ("http.server.exception", "/broken/", "500", "ValueError"),
        ("http.server.stop", "/slow/<slug:name>/", "200", None),
        ("http.server.stop", "unknown", "404", None),
    ], seen
PATHS = ["/items/7/", "/broken/", "/slow/me/", "/nowhere/7/"]
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_django_tells_its_routes_and_exceptions(place: Place, kind: str) -> None:
    serve = {
        "wsgi": """
from wsgiref.util import setup_testing_defaults
from django.core.wsgi import get_wsgi_application
from telemetry_py.wsgi import TelemetryMiddleware
app = TelemetryMiddleware(get_wsgi_application())
for where in PATHS:
    environ = {"PATH_INFO": where}
    setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: None)
    b"".join(body)
    body.close()
check()
""",
        "asgi": """
import asyncio
from django.core.asgi import get_asgi_application
from telemetry_py.asgi import TelemetryMiddleware
app = TelemetryMiddleware(get_asgi_application())
async def main():
    for where in PATHS:
        gone = asyncio.Event()
        given = iter([{"type": "http.request", "body": b"", "more_body": False}])
        async def receive():
            for message in given:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}
        async def send(message):
            pass
        scope = {"type": "http", "method": "GET", "path": where, "headers": [(b"host", b"here")], "query_string": b""}
        await app(scope, receive, send)
asyncio.run(main())
check()
""",
    }[kind]
    with place.program(None, "python", "-c", DJANGO + serve) as program:
        assert program.wait() == 0, program.said()
