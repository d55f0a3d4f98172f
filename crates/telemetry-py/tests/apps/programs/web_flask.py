"""A Flask application whose requests are spans, each with an event in it."""

import telemetry_py as telemetry
from flask import Flask, Response
from telemetry_py.wsgi import TelemetryMiddleware
from witness import work

telemetry.start()
app = Flask(__name__)
app.wsgi_app = TelemetryMiddleware(app.wsgi_app, exclude=["/healthz"])


@app.get("/")
def root():
    return str(work())


@app.get("/healthz")
def health():
    return "0"


@app.get("/items/<int:number>")
def item(number):
    return str(work())


@app.get("/parts/<int:number>")
def parts(number):
    def body():
        yield str(work())
        yield " "

    return Response(body())


@app.get("/endless")
def endless():
    def body():
        work()
        while True:
            yield "x" * 1000

    return Response(body())


@app.get("/broken")
def broken():
    work()
    raise ValueError("on purpose")
