"""A celery application whose tasks are an event each; messages are files."""

import os

import telemetry_py as telemetry
from celery import Celery
from witness import work

telemetry.start()

messages = os.environ["APPS_MESSAGES"]
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": messages,
    "data_folder_out": messages,
    "control_folder": messages,
    "polling_interval": 0.05,
}


@app.task
def job():
    work()
