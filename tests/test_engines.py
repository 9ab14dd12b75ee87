"""Wider than one machine: a dask cluster, started as a user would, makes the same records."""

import dataclasses
import json
import subprocess
import sys
import threading
import time

import pytest
from conftest import TINY, made_table, write_store

from lpgnet import places
from lpgnet.runs import training

NAMES = ["full", "bigru"]


def dask(*arguments: str) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "dask", *arguments, "--no-dashboard"], **quiet)


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and its two worker processes."""
    file = tmp_path / "scheduler.json"
    run = [dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))]
    while not file.exists():
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    where = ("--local-directory", str(tmp_path), "--nthreads", "1", "--no-nanny")
    run += [dask("worker", address, *where) for _ in range(2)]
    yield address, run[1:]
    for process in run:
        process.kill()
        process.wait()


def records(place) -> dict:
    found = {}
    for path in sorted(place.runs.glob("*/[!.]*.json")):
        record = json.loads(path.read_text())
        record.pop("made")
        found[path.name] = record
    return found


def made_place(folder):
    place = dataclasses.replace(places.place(), output=folder)
    write_store(place.features, made_table())
    return place


def test_a_cluster_makes_the_same_records_and_a_killed_worker_costs_its_run_only(cluster, tmp_path):
    address, workers = cluster
    here, there = made_place(tmp_path / "here"), made_place(tmp_path / "there")
    wanted = TINY | {"epochs": 30}
    training.run_missing(here, NAMES, 4, 2, "cpu", wanted)

    def kill() -> None:
        while not list(there.runs.glob("*/*.json")):
            time.sleep(0.01)
        workers[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    training.run_missing(there, NAMES, 4, 2, "cpu", wanted, address)
    killer.join()
    assert workers[0].wait() != 0 and workers[1].poll() is None
    assert len(records(there)) == 8 and records(there) == records(here)


def test_an_address_without_a_scheduler_is_one_clear_error(here, monkeypatch):
    from lpgnet.machine import workers

    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(ValueError, match="no dask scheduler at"):
        training.run_missing(here, ["bigru"], 1, 1, "cpu", TINY, "tcp://127.0.0.1:9")


def test_workers_with_several_threads_are_refused(tmp_path):
    """Two runs in one process would share torch's generator."""
    from distributed import LocalCluster

    place = made_place(tmp_path)
    options = {"dashboard_address": None, "local_directory": str(tmp_path)}
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **options) as cluster,
        pytest.raises(ValueError, match="start them with --nthreads 1"),
    ):
        training.run_missing(place, ["bigru"], 1, 1, "cpu", TINY, cluster.scheduler_address)
