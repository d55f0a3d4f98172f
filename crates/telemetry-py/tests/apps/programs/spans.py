"""A celery application whose tasks are spans, each with an event in it; messages are files."""

import os
import signal
import time

import telemetry_py as telemetry
from celery import Celery
from telemetry_py.celery import instrument_celery
from witness import work

telemetry.start()

messages = os.environ["APPS_MESSAGES"]
app = Celery("spans", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": messages,
    "data_folder_out": messages,
    "control_folder": messages,
    "polling_interval": 0.05,
}
app.conf.task_default_queue = "work"
instrument_celery(app)


@app.task
def job():
    work()


@app.task
def broken():
    work()
    raise ValueError("on purpose")


@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    work()


@app.task
def killed():
    work()
    # What is older than a moment has been sent.
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def sends():
    """A task that sends another: under its own ids."""
    job.delay()
