"""The store: what goes in comes out, killed work goes on, and nothing of a test fold reaches a fit."""

import dataclasses
import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import TURNS, WORDS, made_table
from safetensors.numpy import load_file
from test_features import tone

from lpgnet import experiments, places
from lpgnet.beyond.readings import crossfit
from lpgnet.config import FineTuneConfig
from lpgnet.corpora.sound import RATE, read_clip
from lpgnet.corpora.table import utterances
from lpgnet.features import extract, finetune, store
from lpgnet.features.audio import Prosody
from lpgnet.features.text import TextEncoder, shipped
from lpgnet.labels import Fold, folds, manifest
from lpgnet.machine.files import write_json
from lpgnet.runs.plan import _features, describe, possible, unfitted

ABOUT = {"size": 3, "frame_size": 2, "precision": "float16", "folder": "x", "utterances": 5, "absent": ["u1"]}


@pytest.fixture
def corpus(tmp_path):
    """Five utterances of one dialogue with a wav each, and a place for their features."""
    rows = made_table()[:5].assign(wav=[f"{i}.wav" for i in range(5)], text=[f"number {i}" for i in range(5)])
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", tone(100 + 20 * i, 0.2 + 0.1 * i), RATE)
    return rows, tmp_path, dataclasses.replace(places.place(), output=tmp_path)


def test_store_gives_back_what_the_encoders_made(corpus, monkeypatch):
    table, root, here = corpus
    index = extract.extract(here, table, root, jobs=1, oracle={"p": 1})
    assert index["oracle"] == {"p": 1} and store.read_index(here.features) == index
    pd.testing.assert_frame_equal(utterances(here.features), table)
    kept = store.Features(here.features, index["sets"]["audio/prosody"])
    for i, (vector, frames) in enumerate(Prosody()(read_clip(root / w) for w in table["wav"])):
        np.testing.assert_array_equal(kept.vectors()[i], vector)
        np.testing.assert_array_equal(kept.frames(i, 1000), frames)
        np.testing.assert_array_equal(kept.frames(i, 3), frames[:3])
    text = store.Features(here.features, index["sets"][f"text/{places.OFFLINE[0]}"])
    for i, (_, tokens) in enumerate(shipped()(table["text"])):
        np.testing.assert_allclose(text.frames(i, 512), tokens, atol=1e-5)


def test_a_second_call_makes_only_what_is_missing(corpus, monkeypatch):
    monkeypatch.setattr(store, "SHARD", 2)
    table, root, here = corpus
    made = []
    pieces = lambda what, work, jobs: [made.append(what) or f(*a, **k) for f, a, k in work]  # noqa: E731
    monkeypatch.setattr(extract, "run_parallel", pieces)
    index = extract.extract(here, table, root, jobs=1)
    assert len(made) == 6
    first = {p: p.read_bytes() for p in here.features.glob("*/*.safetensors")}
    sorted(first)[1].unlink()
    assert extract.extract(here, table, root, jobs=1) == index and len(made) == 7
    assert {p: p.read_bytes() for p in here.features.glob("*/*.safetensors")} == first


def test_recipe_knows_what_its_encoder_reads(corpus):
    table, root, _ = corpus
    text, audio = shipped(), Prosody()

    def recipes(table):
        return [extract.recipe(m, made, table, root) for m, made in (("text", text), ("audio", audio))]

    before = recipes(table)
    assert recipes(table.copy()) == before
    assert recipes(table.assign(text="other"))[0] != before[0]
    assert recipes(table.assign(text="other"))[1] == before[1]
    assert not {*recipes(table[::-1])} & {*before}
    soundfile.write(root / "0.wav", tone(101, 0.2), RATE)  # as long as before
    assert recipes(table)[0] == before[0] and recipes(table)[1] != before[1]


def shard_of(tmp_path, items, about=ABOUT, ids=("u0", "u1", "u2")):
    path = tmp_path / "x" / "0000.safetensors"
    store.write_shard(path, list(ids), items, about, set(about["absent"]))
    return load_file(path)


def item(length=2, value=1.0):
    return np.full(3, value, np.float32), np.full((length, 2), value, np.float32)


def test_frames_are_ragged_in_half_precision_and_an_absent_utterance_is_nan(tmp_path):
    got = shard_of(tmp_path, [item(2, 0.1), item(5, 0.2)])
    assert got["frames"].dtype == np.float16 and got["vectors"].dtype == np.float32
    assert got["lengths"].tolist() == [2, 1, 5]
    assert np.isnan(got["vectors"]).all(axis=1).tolist() == [False, True, False]
    np.testing.assert_array_equal(got["frames"][3:], np.full((5, 2), 0.2, np.float16))
    assert np.isnan(got["frames"][2]).all()


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ((np.array([1, np.nan, 1]), np.ones((2, 2))), "u2 got features that are not finite"),
        ((np.ones(3), np.full((2, 2), np.inf)), "u2 got features that are not finite"),
        ((np.ones(3), np.ones((0, 2))), r"u2 got frames \(0, 2\): want \(T, 2\), T > 0"),
        ((np.ones(3), np.ones((2, 7))), r"u2 got frames \(2, 7\)"),
        ((np.ones(3), np.full((2, 2), 7e4)), "u2 has frames beyond 65504"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path, bad, problem):
    with pytest.raises(ValueError, match=problem):
        shard_of(tmp_path, [item(), bad])
    assert not list((tmp_path / "x").glob("*"))


def test_a_missing_or_broken_shard_is_one_clear_error(here, monkeypatch):
    about = store.read_index(here.features)["sets"][f"text/{places.OFFLINE[0]}"]
    shards = sorted(here.features.glob("text-*/*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    with pytest.raises(ValueError, match=r"0000.safetensors can't be read .*delete it, run notebook 01"):
        store.Features(here.features, about)
    shards[0].unlink()
    with pytest.raises(FileNotFoundError, match="has 4 shards, want 5: run notebook 01"):
        store.Features(here.features, about)
    with pytest.raises(FileNotFoundError, match="no feature store at"):
        store.read_index(here.features / "nowhere")


@pytest.mark.parametrize("name", ["vectors", "frames"])
def test_a_flipped_bit_in_a_shard_is_found_before_it_is_read(tmp_path, name):
    shard_of(tmp_path, [item(), item()])
    (path,) = (tmp_path / "x").glob("*")
    Features = partial(store.Features, tmp_path, ABOUT | {"utterances": 3}, True)
    Features()
    whole, value = path.read_bytes(), load_file(path)[name].tobytes()
    place = whole.rindex(value)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=f"{name} are not as they were written; delete it, run notebook 01"):
        Features()


def test_rows_of_another_order_than_the_table_s_are_refused(tmp_path):
    """As many rows as vectors, and two of them changed places in utterances.csv."""
    table = made_table()
    vectors = np.random.default_rng(0).normal(size=(len(table), 2)).astype(np.float32)
    store.write(tmp_path, table, {"text": store.Modality("x", vectors)}, {"sha256": "0" * 64})
    (about,) = store.read_index(tmp_path)["sets"].values()
    assert np.array_equal(store.Features(tmp_path, about).vectors().numpy(), vectors)
    store.write_table(tmp_path, table.iloc[[*range(40), 41, 40, *range(42, len(table))]])
    with pytest.raises(ValueError, match=r"0001.safetensors is of other utterances, or another order"):
        store.Features(tmp_path, about)


# Fine-tuning (Reading R18)

FIT = extract.FoldFit("quick", "majority-4", "session5", "tenth")
QUICKLY = FineTuneConfig(lr=1e-2, epochs=2, batch=7)


def worded(table):
    """Every label has its word."""
    words = dict(zip(("hap", "sad", "neu", "ang", "exc"), ("happy", "sad", "well", "angry", "very"), strict=True))
    return table.assign(text="i am " + table["label"].map(words).fillna("number"))


def weights_of(base, table, folder):
    finetune.fit(base, extract.training_part(table, "session5", FIT), QUICKLY, folder, "cpu")
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_nothing_of_the_test_or_validation_part_reaches_a_fit(tiny_bert, tmp_path):
    """Other texts and labels there, and the same bytes come out; one training text, and they don't."""
    table = worded(made_table())
    training = extract.training_part(table, "session5", FIT)
    held = ~table["id"].isin(training["id"])
    assert held.sum() > 50 and {*table["session"][~held]} == {1, 2, 3, 4}
    other = table.assign(text=table["text"].where(~held, "the house"))
    relabelled = other["label"].isin(("hap", "sad", "neu", "ang")) & held
    other["label"] = other["label"].mask(relabelled, "hap")
    first = weights_of(tiny_bert, table, tmp_path / "one")
    assert weights_of(tiny_bert, other, tmp_path / "two") == first
    files = [folder / "tokenizer.json" for folder in (tiny_bert, tmp_path / "one")]
    before, after = (json.loads(file.read_text())["model"]["vocab"] for file in files)
    assert before == after and len(before) == len(WORDS)  # no vocabulary is chosen here
    leak = table.assign(text=table["text"].mask(table["id"] == training["id"].iloc[0], "the house"))
    assert weights_of(tiny_bert, leak, tmp_path / "three") != first


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
def test_a_fit_learns_its_training_part_and_keeps_fixed_layers(tiny_bert, tmp_path, monkeypatch, mixed):
    monkeypatch.setattr(finetune, "has_bfloat16", lambda device: mixed)
    table = worded(made_table())
    training = extract.training_part(table, "session5", FIT)
    finetune.fit(tiny_bert, training, FineTuneConfig(lr=3e-2, epochs=20), tmp_path / "fit", "cpu")
    cls = {}
    for name, folder in (("before", tiny_bert), ("after", tmp_path / "fit")):
        rows = np.stack([v for v, _ in TextEncoder(folder, name)(training["text"])])
        centres = np.stack([rows[training["label"] == c].mean(0) for c in sorted(set(training["label"]))])
        within = np.concatenate(
            [rows[training["label"] == c] - m for c, m in zip(sorted(set(training["label"])), centres, strict=True)]
        )
        cls[name] = centres.var(0).sum() / within.var(0).sum()
    assert cls["after"] > 3 * cls["before"]
    finetune.fit(tiny_bert, training, FineTuneConfig(lr=3e-2, epochs=1, fixed=2), tmp_path / "fixed", "cpu")
    old, new = (load_file(f / "model.safetensors") for f in (tiny_bert, tmp_path / "fixed"))
    assert {weight.dtype for weight in new.values()} == {np.dtype("float32")}
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed and all(".layer.2." in name for name in changed)


def test_a_fit_is_known_by_encoder_settings_labels_and_what_it_read(tiny_bert):
    training = extract.training_part(worded(made_table()), "session5", FIT)
    base = TextEncoder(tiny_bert, "tiny")
    first = finetune.identity(base, training, QUICKLY, "manifest", "code")
    assert finetune.identity(base, training.copy(), QUICKLY, "manifest", "code") == first
    others = [
        finetune.identity(base, training[1:], QUICKLY, "manifest", "code"),
        finetune.identity(base, training.assign(text="well"), QUICKLY, "manifest", "code"),
        finetune.identity(base, training.assign(label="sad"), QUICKLY, "manifest", "code"),
        finetune.identity(base, training, FineTuneConfig(), "manifest", "code"),
        finetune.identity(base, training, QUICKLY, "another", "code"),
        finetune.identity(TextEncoder(tiny_bert, "other"), training, QUICKLY, "manifest", "code"),
    ]
    assert len({first, *others}) == 7


def test_a_fit_leaves_the_global_generator_alone(tiny_bert, tmp_path):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    training = extract.training_part(worded(made_table()), "session5", FIT)
    finetune.fit(tiny_bert, training, QUICKLY, tmp_path / "fit", "cpu")
    assert torch.equal(torch.rand(3), want)


# Cross-fitting (Reading R18's third way)

CROSSED = f"{FIT.key}/crossfitted"


def cross_fitted(output, tiny_bert, table):
    """A place whose store has the fold's own fit and the cross-fitted set."""
    place = dataclasses.replace(places.place(), output=output, text=str(tiny_bert), finetuned=True)
    extract.extract(place, table.assign(wav=""), output, jobs=2)
    crossfit.extract_crossfitted(place, [FIT], jobs=2)
    return place


@pytest.fixture
def crossed(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setitem(extract.FINETUNE, "quick", QUICKLY)
    return cross_fitted(tmp_path / "first", tiny_bert, worded(made_table()))


def read_set(place, key: str):
    held = store.Features(place.features, store.read_index(place.features)["sets"][f"text/tiny-bert/{key}"])
    return held.vectors().numpy(), [held.frames(i, 99).numpy() for i in range(len(held.vectors()))]


def test_what_is_not_trained_on_has_the_bytes_of_the_fold_s_own_fit(crossed):
    table = utterances(crossed.features)
    (fold,) = folds(manifest(table, "majority-4"), "session5")
    trained = table["dialogue"].isin(fold.train).to_numpy()
    assert trained.sum() == 12 * TURNS and (~trained).sum() == 8 * TURNS
    (own, own_frames), (vectors, frames) = read_set(crossed, FIT.key), read_set(crossed, CROSSED)
    same = [v.tobytes() == w.tobytes() for v, w in zip(own, vectors, strict=True)]
    assert same == [not there for there in trained]
    for mine, theirs, there in zip(own_frames, frames, trained, strict=True):
        assert mine.shape == theirs.shape and np.array_equal(mine, theirs) != there


def test_no_training_utterance_is_read_by_an_encoder_that_saw_its_group(crossed, tiny_bert, tmp_path):
    """Other labels in Session 2: its own features stay, since they come from Sessions 1, 3 and 4."""
    table = worded(made_table())
    group = (table["session"] == 2).to_numpy()
    labels = table["label"].where(~group, table["label"].map({"hap": "sad", "sad": "ang", "ang": "hap"}))
    other = table.assign(label=labels.fillna(table["label"]))
    (before, _), (after, _) = (
        read_set(place, CROSSED) for place in (crossed, cross_fitted(tmp_path / "second", tiny_bert, other))
    )
    same = (before == after).all(axis=1)
    validated = table["dialogue"].isin(folds(manifest(table, "majority-4"), "session5")[0].validation)
    assert same[group & ~validated].all()
    assert not same[~group].any()  # they do depend on Session 2: the test would notice


def test_a_group_s_encoder_is_told_nothing_of_it():
    table = worded(made_table())
    readers, parts = (f(table, "session5", FIT) for f in (crossfit.readers_of, crossfit.parts_of))
    assert sorted(parts) == [f"session {s}" for s in range(1, 5)]
    training = extract.training_part(table, "session5", FIT)
    for name, part in parts.items():
        own = set(table["id"][readers == name])
        assert own and not own & set(part["id"])
        assert set(part["id"]) | own >= set(training["id"])
    assert (readers[table["session"] == 5] == crossfit.OWN).all()


def test_dialogues_of_one_session_are_dealt_into_five_groups():
    table = made_table().assign(session=0)
    names = tuple(sorted(table["dialogue"].unique()))
    dealt = crossfit.groups_of(table, Fold("official", names, (), ()))
    counts = pd.Series(dealt).value_counts()
    assert counts.tolist() == [4] * 5 and set(dealt) == set(names)
    with pytest.raises(ValueError, match="trains on 1 dialogue: cross-fitting wants two"):
        crossfit.groups_of(table, Fold("official", names[:1], (), ()))


def test_cross_fitting_goes_on_where_it_was(crossed):
    index = store.read_index(crossed.features)
    about = index["sets"][f"text/tiny-bert/{CROSSED}"]
    shards = sorted((crossed.features / about["folder"]).glob("*.safetensors"))
    weights = sorted(crossed.features.parent.glob("encoders/*/model.safetensors"))
    kept = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in [*shards, *weights]}
    last = max(weights, key=lambda p: p.stat().st_mtime_ns)  # of a group, not the fold's own
    shards[1].unlink()
    shutil.rmtree(last.parent)
    crossfit.extract_crossfitted(crossed, [FIT], jobs=1)
    assert store.read_index(crossed.features) == index
    assert {p: p.read_bytes() for p in kept} == {p: content for p, (content, _) in kept.items()}
    touched = {p for p, (_, when) in kept.items() if p.stat().st_mtime_ns != when}
    assert touched == {shards[1], last}


def test_a_cross_fitted_run_reads_its_own_set_and_is_refused_where_nothing_is_fitted(crossed, here):
    data = describe(crossed)
    sets = data["features"]["fits"]
    assert sets[CROSSED]["recipe"] != sets[FIT.key]["recipe"]
    run = experiments.experiment("r18b_full", "quick", {"labels": "majority-4"})
    assert _features(data, run, "session5")["text"] == sets[CROSSED] and not unfitted(data, run)
    del sets[CROSSED]
    assert unfitted(data, run) == [CROSSED]
    with pytest.raises(LookupError, match=r"session5/tenth/crossfitted \(there are .*: run notebook 01; .* 07"):
        _features(data, run, "session5")
    crossfit.prepare(here, ["r18b_full"], 1)  # nothing to make
    assert "--finetune" in possible(describe(here), ["r18b_full"])[1]["r18b_full"]


def test_cross_fitting_wants_the_fold_s_own_fit(crossed):
    index = store.read_index(crossed.features)
    del index["sets"][f"text/tiny-bert/{FIT.key}"]
    write_json(crossed.features / "index.json", index)
    with pytest.raises(LookupError, match=r"no features text/.*: run notebook 01"):
        crossfit.extract_crossfitted(crossed, [FIT], jobs=1)


def test_readings_that_train_on_other_parts_get_fits_of_their_own(crossed):
    table, names = (
        utterances(crossed.features),
        ["full", "r13a_full", "r13b_full", "full_6", "r18b_full"],
    )
    wanted = extract.fits(crossed, table, [experiments.EXPERIMENTS[name] for name in names])
    assert [fit.key for fit in wanted] == [
        f"quick/{rest}"
        for rest in (
            "majority-4/session5/tenth",
            "majority-4/session5/session4",
            "majority-4/session5/none",
            "majority-6/session5/tenth",
        )
    ]
