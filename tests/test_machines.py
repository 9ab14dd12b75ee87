"""Another machine: other instruction sets sum in other orders, and that may move no more than rounding."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from conftest import environment, made_table, write_store

from lpgnet import places

MARGIN = 1e-3  # of a logit, as the README says

ELSEWHERE = """
import dataclasses, json, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from conftest import ENCODER
from lpgnet import places
from lpgnet.runs import training
from lpgnet.experiments import experiment
from test_training import dataset
here = dataclasses.replace(places.place(), output=Path(sys.argv[1]))
made = {}
for name in ("full", "sdt", "bigru", "linear"):
    fitted = training.fit(experiment(name, "quick"), dataset(here), [0])[0]
    made[name] = [logits.tolist() for logits in fitted.test_logits]
print(json.dumps(made))
"""
MACHINES = {  # environment and threads: other instruction sets sum in other orders
    "this": ({}, 1),
    "old": ({"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}, 1),
    "threads": ({"OMP_NUM_THREADS": "2"}, 2),
}


def test_another_instruction_set_moves_a_logit_by_rounding_alone(tmp_path):
    """The README's bound: after twenty epochs every logit is within `MARGIN`, and no decision has moved."""
    here = places.place(output=tmp_path)
    write_store(here.features, made_table())
    found = {}
    for name, (settings, threads) in MACHINES.items():
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path), str(threads)]
        there = environment(tmp_path) | settings | {"PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, env=there, capture_output=True, text=True, check=True, timeout=600)
        found[name] = {k: np.array(v) for k, v in json.loads(done.stdout).items()}
    for name in ("old", "threads"):
        for experiment, logits in found["this"].items():
            np.testing.assert_allclose(found[name][experiment], logits, rtol=0, atol=MARGIN)
            assert (found[name][experiment].argmax(-1) == logits.argmax(-1)).all()
    assert not (found["old"]["full"] == found["this"]["full"]).all()  # the machines do differ


ORPHANS = """
import os, sys, time
from pathlib import Path
import joblib
from lpgnet.machine.workers import run_parallel
def piece(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)
run_parallel("waiting", [joblib.delayed(piece)(i) for i in range(2)], 2)
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """It is killed without a word; none of them may write on."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], env=environment(tmp_path))
    until = time.monotonic() + 60
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    parent.kill(), parent.wait()
    until = time.monotonic() + 10
    while (alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(workers) == 2 and not alive
