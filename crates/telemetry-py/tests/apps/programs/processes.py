"""Children of every kind, each job an event: `processes.py KIND METHOD JOBS`.

Ends after that, unless `APPS_STAY` is set. `telemetry.start()` stands at the level of the module, so that children that import it run it too.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import telemetry_py as telemetry
from witness import work

telemetry.start()

JOBS_PER_CHILD = 5


def job(_number):
    return work()


def job_of_one_connected(_number):
    """A process that is killed before the manager has seen it leaves no sign of itself."""
    process = work()
    while not telemetry.stats()["clients"]:
        time.sleep(0.001)
    return process


def jobs_of_one_process(number):
    for _ in range(number):
        work()


def pool(context, jobs):
    workers = context.Pool(2, maxtasksperchild=JOBS_PER_CHILD)
    workers.map(job, range(jobs), chunksize=1)
    workers.close()
    workers.join()


def process(context, jobs):
    children = [context.Process(target=jobs_of_one_process, args=(jobs // 2,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode


def terminated(context, jobs):
    with context.Pool(2) as workers:
        workers.map(job_of_one_connected, range(jobs), chunksize=1)


def exiting(context, jobs):
    one_child(context, jobs, lambda: os._exit(0))


def killed(context, jobs):
    one_child(context, jobs, lambda: os.kill(os.getpid(), signal.SIGKILL))


def one_child(context, jobs, end):
    child = context.Process(target=lambda: (job_of_one_connected(0), jobs_of_one_process(jobs - 1), end()))
    child.start()
    child.join()


def executor(context, jobs):
    with ProcessPoolExecutor(2, mp_context=context) as workers:
        list(workers.map(job, range(jobs)))


if __name__ == "__main__":
    kind, method, jobs = sys.argv[1:]
    module, _, method = method.rpartition(".")
    source = importlib.import_module(module) if module else multiprocessing
    run = {run.__name__: run for run in (pool, process, executor, terminated, exiting, killed)}[kind]
    run(source.get_context(method), int(jobs))
    work()
    if os.environ.get("APPS_STAY"):
        signal.pause()
