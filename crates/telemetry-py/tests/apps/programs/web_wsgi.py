"""A WSGI application whose requests are an event each."""

import telemetry_py as telemetry
from witness import work

telemetry.start()


def app(environ, start_response):
    body = str(work()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
