"""What `reproduce` would do and how far it is: the forecast against the runs that happen, and what records say."""

import dataclasses
import os
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import lpgnet, made_table
from filelock import FileLock
from test_report import NAMES, filled

from lpgnet import places
from lpgnet.beyond import status
from lpgnet.beyond.forecast import features, whole
from lpgnet.beyond.forecast.training import Measure, Sizes, Timed, frames_of
from lpgnet.experiments import experiment
from lpgnet.labels import folds, manifest
from lpgnet.machine.files import at_work
from lpgnet.runs.plan import describe, foreseen

SIZES = {"text": Sizes(11, 7), "audio": Sizes(13, 5)}


@pytest.fixture
def place(tmp_path):
    return dataclasses.replace(places.place(), output=tmp_path)


def test_a_run_is_told_by_its_steps_and_turns(place):
    """By hand: steps of a fixed and a part per turn, and a look at what isn't trained on."""
    table = made_table()
    (fold,) = folds(manifest(table, place.labels), "session5")
    turns = manifest(table, place.labels)["dialogue"].value_counts()
    train, looked = (int(turns[list(names)].sum()) for names in (fold.train, (*fold.validation, *fold.test)))
    run = experiment("full", "quick", {"batch": 5, "epochs": 3})
    steps = -(-len(fold.train) // 5)
    with Measure(place, table, SIZES, "cpu") as measure:
        measure._time = lambda *_: (Timed(2, 1.0 + 2 * 0.25, 9.0), Timed(10, 1.0 + 10 * 0.25, 10 * 0.125))
        told = measure.seconds(run, place.labels)
    assert told == pytest.approx(3 * (steps * 1.0 + 0.25 * train + 0.125 * looked))


@pytest.mark.parametrize("name", ["full", "sdt", "bigru", "linear", "frame"])
def test_every_kind_of_model_is_timed_on_random_features(place, name):
    before, threads = torch.get_num_threads(), torch.initial_seed()
    with Measure(place, made_table(), SIZES, "cpu") as measure:
        assert measure.seconds(experiment(name, "quick"), place.labels) > 0
        once = dict(measure.timed)
        measure.seconds(experiment(name, "quick", {"task": 0.5}), place.labels)  # another loss is no other size
        assert measure.timed == once
    assert (torch.get_num_threads(), torch.initial_seed()) == (before, threads)
    assert not list(place.output.iterdir())


def test_frames_are_counted_by_words_and_seconds():
    table = made_table().assign(text="well, I am", start=1.0, end=2.5)
    counts = frames_of(table)
    assert set(counts["text"]) == {2 + 4} and set(counts["audio"]) == {75}


def test_what_is_not_at_hand_is_said_and_not_fetched(place, monkeypatch):
    monkeypatch.setattr(features, "_at_hand", lambda name: False)
    far = dataclasses.replace(place, text="bert-base-uncased", audio="emotion2vec/emotion2vec_base", finetuned=True)
    sizes = {m: features.sizes_of(far, m) for m in ("text", "audio")}
    found = list(features.works(far, made_table(), [], sizes, "cpu"))
    assert [work.seconds for work in found] == [None] * 3 and all(work.bytes > 0 for work in found)
    monkeypatch.setattr(whole, "clips", lambda root: [])
    said = whole.lines(asked(far, whole.Corpus(describe_of(far), made_table(), far.output, False)))
    assert any("not known, since it isn't on this machine" in line for line in said)


def test_recognition_is_foreseen_until_every_clip_was_heard(place, tmp_path, monkeypatch):
    """By the seconds of sound: 40 utterances of 1.5 s, tried on one clip of 0.5 s in a second of its own."""
    clock = iter(range(0, 100, 1))
    monkeypatch.setattr(features, "core_seconds", lambda call: call() and next(clock))
    monkeypatch.setattr(features, "read_clip", lambda path: np.zeros(8000))
    monkeypatch.setattr(features.recognised, "words", lambda wave: "well")
    table = made_table().assign(wav="a.wav", start=1.0, end=2.5).iloc[:40]
    assert features.recognition(place, table, [tmp_path]).seconds == 0 + 40 * 1.5 / 0.5  # the load took no time
    heard = place.output / "data" / f"{place.corpus}-recognised" / "0123abcd"
    heard.mkdir(parents=True)
    for name in ("0000.json", "0001.json"):  # of 32 utterances each
        assert features.recognition(place, table, []).seconds is None
        (heard / name).write_text("[]")
    assert features.recognition(place, table, [tmp_path]).seconds == 0

    def absent(wave):
        raise ValueError("pip install")

    monkeypatch.setattr(features.recognised, "words", absent)
    assert features.recognition(place, pd.concat([table, table]), [tmp_path]).seconds is None


def describe_of(place) -> dict:
    return foreseen(place, made_table())


def asked(place, corpus, runs=None) -> whole.Asked:
    return whole.Asked(place, corpus, runs or {"linear": 2}, {"linear": 3.0}, 1, 2, "cpu")


def test_disk_is_the_features_and_the_weights_that_are_kept(place, monkeypatch):
    corpus = whole.Corpus(describe_of(place), made_table(), None, True)
    corpus.data["features"] = {"text": {"size": 11, "frame_size": 7}, "audio": {"size": 13, "frame_size": 5}}
    plain, kept = (whole._disk(asked(place, corpus, {name: 40}), SIZES, []) for name in ("sdt", "full"))
    megabytes = lambda line: int(re.search(r"checkpoints (\d+)", line)[1])  # noqa: E731
    weights = whole.parameters(experiment("full", "quick"), {"text": 11, "audio": 13}, 4)
    assert megabytes(plain) == 0 and megabytes(kept) == round(40 * 4 * weights / 1e6) > 5


def test_the_runs_that_are_told_are_those_that_happen(small_tree, tmp_path):
    where = ("reproduce", "--root", str(small_tree), "--seeds", "1", "--only", "01,05", "--jobs", "1")
    told = lpgnet(tmp_path, *where, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert not list(tmp_path.rglob("*.json")), "a forecast writes nothing"
    named = {name: int(runs) for name, runs in re.findall(r"^  (\w+) +(\d+) runs", told.stdout, re.M)}
    assert named == {"full_6": 1, "sdt_6": 1} and "\n2 runs, " in told.stdout
    done = lpgnet(tmp_path, *where)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "results" / "simulated" / "runs"
    assert {path.name: len(list(path.glob("*.json"))) for path in runs.iterdir() if path.is_dir()} == named
    after = lpgnet(tmp_path, *where, "--dry-run").stdout
    assert "\n0 runs, " in after and "In all about 0:00" in after
    said = lpgnet(tmp_path, "status", "--seeds", "1", "--only", "05").stdout
    assert said.startswith("simulated: 2 of 2 runs recorded; nobody is at work there")


def test_status_counts_what_is_recorded_and_left(place):
    filled(place, seeds=2)
    found = status.look(place, list(NAMES), 3)
    assert set(found.counts.values()) == {(2, 3)} and found.missing == len(NAMES)
    assert found.left == 3.0 * len(NAMES)  # each made-up record says 3 s
    assert found.working is False and not found.finished
    assert status.look(place, list(NAMES), 2).finished
    assert set(status.look(place, list(NAMES), 1).counts.values()) == {(1, 1)}  # not the seeds nobody asked for
    with FileLock(place.results / ".lock"):
        assert at_work(place.results) and not status.look(place, list(NAMES), 2).finished


def test_the_end_is_told_from_the_pace_of_this_sitting(place):
    """Two workers: 3 s runs, one recorded each 1.5 s; the sitting of an hour ago doesn't count."""
    old = [(float(t), 3.0) for t in (0, 1, 2)]
    assert status.pace(old + [(3600 + 1.5 * i, 3.0) for i in range(9)]) == pytest.approx(2.0)
    assert status.pace(old[:1]) is None and status.pace([]) is None
    now = time.time()
    found = status.Status({"full": (1, 5)}, True, 12.0, 2.0, now - 61)
    said = "\n".join(found.lines("x", now))
    assert "x: 1 of 5 runs recorded; a command is at work" in said and "full                1 of 5 done, 4 left" in said
    assert "1:01 ago" in said and f"about 0:06 at the present pace, so done at {status._at(now + 6)}" in said


def test_status_watches_until_all_is_done_and_needs_no_torch(place, monkeypatch):
    looks = []
    monkeypatch.setattr(status.time, "sleep", lambda seconds: looks.append(seconds) or filled(place, seeds=1))
    said = list(status.repeated(place, lambda data: list(NAMES), 1, True))
    assert looks == [status.EVERY] and "no runs yet, 0 files of features" in said[0]
    assert f"{len(NAMES)} of {len(NAMES)} runs recorded" in said[1]
    block = "import sys; sys.modules['torch'] = None; from lpgnet.cli import app; app(['status', '--seeds', '1'])"
    done = subprocess.run(
        [sys.executable, "-c", block],
        env=os.environ | {"LPGNET_OUTPUT": str(place.output)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "runs recorded; nobody is at work there" in done.stdout, done.stderr
    assert describe(place)["place"] in done.stdout
