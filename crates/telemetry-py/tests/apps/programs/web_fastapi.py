"""A FastAPI application whose requests are spans, each with an event in it."""

import asyncio

import telemetry_py as telemetry
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from telemetry_py.asgi import TelemetryMiddleware
from witness import work

telemetry.start()
app = FastAPI()
app.add_middleware(TelemetryMiddleware, exclude=["/healthz"], at_shutdown="shutdown")


@app.get("/")
async def root() -> int:
    return work()


@app.get("/healthz")
async def health() -> int:
    return 0


@app.get("/items/{number}")
def item(number: int, after: BackgroundTasks) -> int:
    after.add_task(lambda: None)
    return work()


@app.get("/parts/{number}")
async def parts(number: int) -> StreamingResponse:
    async def body():
        yield str(work())
        await asyncio.sleep(0)
        yield " "

    return StreamingResponse(body())


@app.get("/endless")
async def endless() -> StreamingResponse:
    async def body():
        work()
        while True:
            yield "x" * 1000
            await asyncio.sleep(0.001)

    return StreamingResponse(body())


@app.get("/broken")
async def broken() -> int:
    work()
    raise ValueError("on purpose")
