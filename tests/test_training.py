"""Runs: the same seed gives the same record, nothing of the test part is fitted or chosen on."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CODES, SIZES, TINY, environment, made_table, write_store
from test_tables import WITHOUT_TORCH
from torch.testing import assert_close

from lpgnet.config import ROOT, DataConfig
from lpgnet.corpora.table import utterances
from lpgnet.experiments import EXPERIMENTS, experiment
from lpgnet.features.store import SHARD, read_index
from lpgnet.labels import folds, manifest
from lpgnet.machine.workers import device_named
from lpgnet.runs import metrics, plan, records, training
from lpgnet.runs.dataset import Dataset, Scaler, context_windows, shuffled
from lpgnet.runs.plan import current_records, describe, done, planned
from lpgnet.runs.seeds import evaluated


def sets(here):
    index = read_index(here.features)["sets"]
    return {key.partition("/")[0]: about for key, about in index.items()}


def dataset(here, frames=False, split="session5", number=0, labels="majority-4", most=512, **data):
    data["frames"] = most
    table = utterances(here.features)
    fold = folds(manifest(table, labels), split)[number]
    return Dataset(here.features, sets(here), DataConfig(**data), labels, fold, frames)


def dataset_of(here, run):
    """What a run reads; the made-up labels know no erc-6."""
    names = ("standardise", "unlabelled", "order", "turns", "sees", "window")
    own = {name: getattr(run.data, name) for name in names}
    labels = "majority-6" if run.data.labels else "majority-4"
    return dataset(here, getattr(run.model, "pool", "none") != "none", labels=labels, **own)


def tiny(name, **more):
    run = experiment(name, "quick")
    narrow = {"hidden": 8} if hasattr(run.model, "hidden") else {}
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, **narrow),
        train=dataclasses.replace(run.train, epochs=2, **more),
    )


def fit(run, data, seed=0):
    return training.fit(run, data, [seed])[0]


# What a run reads


def test_rows_are_the_table_s_in_order_of_speech(here):
    data = dataset(here)
    table = made_table()
    assert data.table["id"].tolist() == table[table["label"].isin(("hap", "sad", "neu", "ang", "exc"))]["id"].tolist()
    assert [data.classes[i] for i in data.labels] == data.table["label"].tolist()
    assert data.sizes == SIZES
    for part in data.units.values():
        for unit in part:
            assert data.table.iloc[unit.numpy()]["dialogue"].nunique() == 1
            assert data.table.iloc[unit.numpy()]["order"].is_monotonic_increasing


def test_readings_r19_and_r27_change_the_sequence(here):
    everyone = dataset(here, unlabelled="kept")
    assert len(everyone.table) == len(made_table()) and (everyone.labels == -1).any()
    upside_down = dataset(here, order="transcript")
    unit = upside_down.units["train"][0].numpy()
    assert upside_down.table.iloc[unit]["order"].is_monotonic_decreasing


def test_parts_share_no_dialogue_and_miss_none(here):
    data = dataset(here)
    parts = {p: {data.table["dialogue"][int(u[0])] for u in us} for p, us in data.units.items()}
    assert set.union(*parts.values()) == set(data.table["dialogue"])
    assert sum(len(p) for p in parts.values()) == data.table["dialogue"].nunique()
    assert all(d.startswith("Ses05") for d in parts["test"])


def test_scaling_is_fitted_on_the_training_part_alone(here):
    """Reading R24: changing validation and test features changes no statistic."""
    for frames in (False, True):
        before = dataset(here, frames)
        picked = before.batch(before.units["train"]).rows
        for m in SIZES:
            assert_close(picked[m].mean(0), torch.zeros(SIZES[m]), atol=1e-5, rtol=0)
            assert_close(picked[m].std(0, correction=0), torch.ones(SIZES[m]))
    from safetensors.numpy import load_file, save_file

    seen = set(before.table["place"].to_numpy()[torch.cat(dataset(here).units["train"]).numpy()])
    for path in here.features.glob("*/*.safetensors"):
        tensors = load_file(path)
        start = int(path.stem) * SHARD
        unseen = [i for i in range(len(tensors["lengths"])) if start + i not in seen]
        tensors["vectors"][unseen] = 1e6
        save_file(tensors, path)
    after = dataset(here)
    for m, scaler in dataset(here).scalers.items():
        assert scaler.mean.abs().max() < 100
        assert_close(scaler.mean, after.scalers[m].mean)


def test_scaler_by_hand_and_a_constant_column_is_zero():
    rows = torch.tensor([[1.0, 1e8], [3.0, 1e8], [5.0, 1e8]])
    scaled = Scaler.fit(lambda: [rows])(rows)
    assert_close(scaled[:, 1], torch.zeros(3))
    assert_close(scaled[:, 0], torch.tensor([-1.0, 0.0, 1.0]) * 1.5**0.5)


def test_scaler_reads_piece_by_piece_and_an_absent_row_is_the_mean():
    rows = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    absent = torch.full((1, 3), torch.nan)
    whole, pieces = Scaler.fit(lambda: [rows]), Scaler.fit(lambda: [rows[:7], absent, rows[7:]])
    assert_close(pieces(rows), whole(rows))
    assert_close(pieces(absent), torch.zeros(1, 3))
    assert_close(pieces.filled(absent), rows.mean(0, keepdim=True))
    with pytest.raises(ValueError, match="no training utterance has this modality"):
        Scaler.fit(lambda: [absent])


def test_frames_are_cut_at_the_limit(here):
    data = dataset(here, True)
    short = dataset(here, True, most=2)
    longest = [int(d.batch(d.units["train"]).layouts["text"].lengths.max()) for d in (data, short)]
    assert longest == [4, 2]


def test_class_weight_is_one_over_the_share_in_the_training_part(here):
    data = dataset(here)
    labels = data.labels[torch.cat(data.units["train"])].numpy()
    assert_close(data.class_weight()[1].item(), len(labels) / (labels == 1).sum())


# Training


def test_batches_hold_every_unit_once_and_none_is_alone():
    units = [torch.tensor([i]) for i in range(9)]
    got = list(shuffled(units, 4, torch.Generator().manual_seed(0)))
    assert [len(b) for b in got] == [4, 5]
    assert sorted(int(u) for b in got for u in b) == list(range(9))
    assert [len(b) for b in shuffled(units, 3, torch.Generator())] == [3, 3, 3]
    again = list(shuffled(units, 4, torch.Generator().manual_seed(0)))
    assert again == got
    assert list(shuffled(units, 4, torch.Generator().manual_seed(1))) != got


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_trains_and_repeats_itself(here, name):
    run = tiny(name)
    data = dataset_of(here, run)
    one, two = fit(run, data, seed=3), fit(run, data, seed=3)
    assert one.curves == two.curves
    assert all(np.array_equal(a, b) for a, b in zip(one.test_logits, two.test_logits, strict=True))
    assert fit(run, data, seed=4).curves["loss"] != one.curves["loss"]
    assert np.isfinite(one.test_logits).all()
    assert one.test_logits[0].shape == (sum(len(u) for u in data.units["test"]), len(data.classes))


def test_training_learns_what_is_there(here):
    """Both modalities carry the label, so `full` must beat the largest class clearly."""
    run = dataclasses.replace(tiny("full", lr=1e-2), model=experiment("full", "quick").model)
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, epochs=15))
    fitted = fit(run, dataset(here), seed=0)
    majority = np.bincount(fitted.labels).max() / len(fitted.labels)
    assert (fitted.test_logits[-1].argmax(-1) == fitted.labels).mean() > majority + 0.2
    assert fitted.curves["loss"][-1] < fitted.curves["loss"][0]


def test_zeroed_or_mispaired_modality_costs(here):
    run = dataclasses.replace(tiny("full", lr=1e-2), model=experiment("full", "quick").model)
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, epochs=15))

    def accuracy(data):
        fits = [fit(run, data, seed) for seed in range(2)]
        return np.mean([(f.test_logits[-1].argmax(-1) == f.labels).mean() for f in fits])

    clean, silent, paired = dataset(here), dataset(here), dataset(here)
    silent.rows["text"] = torch.zeros_like(silent.rows["text"])
    paired.rows["text"] = paired.rows["text"].roll(1, 0)
    assert accuracy(clean) > accuracy(silent) + 0.05
    assert accuracy(clean) > accuracy(paired) + 0.05


def test_dealing_turns_into_random_dialogues_takes_the_gain_of_context(here):
    """Each dialogue has a mood and its turns are blurred; the mood is lost when the turns are dealt."""
    rng = np.random.default_rng(0)
    table = made_table()
    mood = {d: rng.integers(4) for d in table["dialogue"].unique()}
    table["label"] = [CODES[mood[d]] for d in table["dialogue"]]
    write_store(here.features, table, blur=6.0)
    true, dealt = dataset(here), dataset(here)
    for part, units in dealt.units.items():
        rows = torch.cat(units)
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
        dealt.units[part] = list(order.split([len(u) for u in units]))
    run = dataclasses.replace(tiny("full", lr=1e-2), model=experiment("full", "quick").model)
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, batch=8, epochs=15))

    def accuracy(data):
        fits = [fit(run, data, seed) for seed in range(3)]
        return np.mean([(f.test_logits[-1].argmax(-1) == f.labels).mean() for f in fits])

    assert accuracy(true) > accuracy(dealt) + 0.1


def test_the_epoch_is_chosen_on_validation_alone(here):
    """Garbled test labels change neither the chosen epoch nor its weights."""
    run = dataclasses.replace(tiny("full"), train=dataclasses.replace(tiny("full").train, epochs=6))
    clean, garbled = dataset(here), dataset(here)
    index = torch.cat(garbled.units["test"])
    garbled.labels[index] = (garbled.labels[index] + 1) % 4
    garbled.rows["text"][index] = 7.0
    one, two = fit(run, clean, 0), fit(run, garbled, 0)
    assert one.best["epoch"] == two.best["epoch"] == 1 + int(np.argmax(one.curves["validation_f1"]))
    assert one.curves["validation_f1"] == two.curves["validation_f1"]
    for name, tensor in one.best["weights"].items():
        assert torch.equal(tensor, two.best["weights"][name])
    assert training.epochs(one)["best_test"] == 1 + int(np.argmax(one.curves["test_f1"]))
    assert training.epochs(one)["last"] == 6


def test_the_chosen_weights_are_those_of_the_chosen_epoch(here):
    data, run = dataset(here), tiny("full")
    fitted = fit(run, data, 0)
    model = training.build(run, data)
    model.load_state_dict(fitted.best["weights"])
    logits = evaluated(model, [data.batch(data.units["test"])]).logits.numpy()
    np.testing.assert_allclose(logits, fitted.test_logits[fitted.best["epoch"] - 1], rtol=1e-5, atol=1e-6)


def test_without_validation_the_last_epoch_counts(here):
    run = tiny("full")
    table = utterances(here.features)
    fold = folds(manifest(table, "majority-4"), "session5", "none")[0]
    data = Dataset(here.features, sets(here), DataConfig(validation="none"), "majority-4", fold, False)
    assert training.epochs(fit(run, data, 0))["best_validation"] == 2


# Records


def settings_of(names):
    return {"epochs": 2, "lr": 1e-3}


def test_runs_are_recorded_once_whole_and_the_same_for_any_number_of_workers(here, tmp_path):
    names = ["full", "linear"]
    runs = training.run_missing(here, names, seeds=2, jobs=2, settings=settings_of(names))
    assert runs.groupby("experiment")["seed"].apply(list).to_dict() == {"full": [0, 1], "linear": [0, 1]}
    paths = sorted(here.runs.glob("*/*.json"))
    before = {p: (p.read_bytes(), p.with_suffix(".parquet").read_bytes(), p.stat().st_mtime_ns) for p in paths}
    training.run_missing(here, names, seeds=2, jobs=2, settings=settings_of(names))
    assert {p: p.stat().st_mtime_ns for p in paths} == {p: b[2] for p, b in before.items()}
    other = dataclasses.replace(here, output=tmp_path / "other")
    write_store(other.features, made_table())
    training.run_missing(other, names, seeds=2, jobs=1, settings=settings_of(names))
    for path, (record, predictions, _) in before.items():
        twin = other.runs / path.relative_to(here.runs)
        assert twin.with_suffix(".parquet").read_bytes() == predictions
        one, two = json.loads(record), json.loads(twin.read_text())
        one.pop("made"), two.pop("made")
        assert one == two
    assert not list(here.results.rglob(".part-*"))


def test_a_record_holds_what_its_predictions_say(here):
    runs = training.run_missing(here, ["full"], seeds=1, jobs=1, settings=settings_of([]))
    row = runs.iloc[0]
    said = pd.read_parquet(row["path"].replace(".json", ".parquet"))
    classes = list(row["classes"])
    number = {c: i for i, c in enumerate(classes)}
    matrix = metrics.confusion(said["label"].map(number), said["predicted"].map(number), 4)
    assert matrix.tolist() == row["confusion"]["best_validation"]
    assert np.allclose(said[[f"p_{c}" for c in classes]].sum(axis=1), 1)
    assert np.allclose(said["weight_text"] + said["weight_audio"], 1)
    assert set(row["students"]) == {"text", "audio"}
    assert all(np.sum(m) == len(said) for m in row["confusion"].values())
    weights = list(here.checkpoints.glob("full/*/model.safetensors"))
    assert [w.parent.name for w in weights] == [p.stem for p in here.runs.glob("full/*.json")]


def test_changed_features_settings_or_labels_make_old_records_stale(here):
    training.run_missing(here, ["linear"], seeds=1, jobs=1)
    data = describe(here)
    assert len(current_records(here, data)) == 1
    assert len(current_records(here, data, {"lr": 1e-2})) == 0
    write_store(here.features, made_table(), seed=1)
    data = describe(here)
    left = current_records(here, data)
    assert len(left) == 0 and len(left.attrs["stale"]) == 1
    assert not done(planned(here, data, ["linear"], 1)[0])
    table = made_table()
    table.loc[0, "label"] = "sad" if table.loc[0, "label"] != "sad" else "ang"
    write_store(here.features, table)
    assert len(current_records(here, describe(here))) == 0


def test_edited_code_makes_old_records_stale_by_name_and_keep_code_says_so(here, monkeypatch, capsys):
    """As if `model.py` had been edited after the first run; then with the records kept on purpose."""
    run_full = {"names": ["full", "linear"], "seeds": 1, "jobs": 1, "settings": settings_of(["full"])}
    training.run_missing(here, **run_full)
    own, settings = plan.run_code, run_full["settings"]

    def edited(kind):
        code = own(kind)
        changed = {"digest": "0" * 64, "modules": code["modules"] | {"model": "edited"}}
        return changed if kind == "LPGNet" else code

    monkeypatch.setattr(plan, "run_code", edited)
    left = plan.current_records(here, settings=settings)
    assert left["experiment"].tolist() == ["linear"]
    assert list(left.attrs["stale"].values()) == ["model.py changed"]
    keeping = dataclasses.replace(here, keep_code=True)
    kept = plan.current_records(keeping, settings=settings)
    assert kept[["experiment", "kept"]].to_numpy().tolist() == [["full", "model.py changed"], ["linear", ""]]
    capsys.readouterr()
    training.run_missing(keeping, **run_full)
    assert "2 recorded already" in capsys.readouterr().out
    training.run_missing(here, **run_full)
    assert "1 recorded already" in capsys.readouterr().out
    both = plan.current_records(keeping, settings=settings)  # today's record is preferred
    assert both["kept"].tolist() == ["", ""]
    assert list(both.attrs["stale"].values()) == ["another record of the same run is used"]


def test_records_of_one_library_version_are_read_and_two_are_never_mixed(here, monkeypatch):
    """Made on a host with another torch: read here, with another torch or with none; a newer run wins."""
    names = {"names": ["linear"], "seeds": 1, "jobs": 1, "settings": settings_of(["linear"])}
    monkeypatch.setattr(plan, "versions", lambda names: {"torch": "2.11.0", "numpy": "2"})
    training.run_missing(here, **names)
    for installed in ({"torch": "2.13.0", "numpy": "2"}, {}):
        monkeypatch.setattr(plan, "versions", lambda names, installed=installed: installed)
        assert len(plan.current_records(here, settings=names["settings"])) == 1
    monkeypatch.setattr(plan, "versions", lambda names: {"torch": "2.13.0", "numpy": "2"})
    frame = training.run_missing(here, **names)
    assert [record["torch"] for record in frame["libraries"]] == ["2.13.0"]
    assert list(plan.current_records(here, settings=names["settings"]).attrs["stale"].values()) == [
        "made with numpy 2, torch 2.11.0, others with torch 2.13.0, numpy 2"
    ]


def test_a_record_that_was_changed_by_hand_is_no_record(here, capsys):
    training.run_missing(here, ["linear"], seeds=1, jobs=1, settings=settings_of(["linear"]))
    (path,) = here.runs.glob("linear/*.json")
    values = json.loads(path.read_text())
    values["confusion"]["best_validation"][0][0] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="is not as it was written; delete it and run again"):
        records.read(path)


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_damaged_record_is_named_and_made_again(here, capsys, suffix):
    training.run_missing(here, ["linear"], seeds=1, jobs=1)
    path = next(here.runs.glob("linear/*.json")).with_suffix(suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"linear/0-.* is damaged.*; delete it"):
        current_records(here)
    training.run_missing(here, ["linear"], seeds=1, jobs=1)
    assert "damaged" in capsys.readouterr().out
    assert len(current_records(here)) == 1


def test_a_record_of_another_form_is_stale_and_not_damaged(here):
    training.run_missing(here, ["linear"], seeds=1, jobs=1)
    path = next(here.runs.glob("linear/*.json"))
    older = json.loads(path.read_text())
    older.pop("temperature")
    path.write_text(json.dumps(older))
    left = current_records(here)
    assert len(left) == 0 and list(left.attrs["stale"]) == [str(path)]
    assert not done(planned(here, describe(here), ["linear"], 1)[0])


def test_loso_runs_a_fold_per_session(here):
    loso = dataclasses.replace(here, split="loso")
    runs = training.run_missing(loso, ["linear"], seeds=1, jobs=1)
    assert sorted(runs["fold"]) == [f"session{s}" for s in range(1, 6)]
    assert loso.runs != here.runs


def test_an_asked_gpu_that_is_not_there_stops():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match="sees no GPU"):
        device_named("cuda")
    assert device_named("auto") == "cpu"


def test_settings_are_checked():
    for wrong, says in (
        ({"lr": "3e-4"}, "lr='3e-4'"),
        ({"learning_rate": 1e-3}, "no setting 'learning_rate'"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"paths": ["tx"]}, "paths="),
    ):
        with pytest.raises(ValueError, match=says):
            experiment("full", settings=wrong)
    assert experiment("full", settings=TINY).train.epochs == 2


# What a turn may read of its dialogue


def rows_of(units):
    return [unit.tolist() for unit in units]


def test_shuffled_turns_stay_in_their_dialogue_and_dealt_ones_in_their_part(here):
    spoken, shuffled, dealt = (dataset(here, turns=t) for t in ("spoken", "shuffled", "dealt"))
    for part in ("train", "validation", "test"):
        every = [torch.cat(d.units[part]).sort()[0].tolist() for d in (spoken, dealt)]
        as_spoken, other, mixed = (rows_of(d.units[part]) for d in (spoken, shuffled, dealt))
        assert [sorted(unit) for unit in other] == [sorted(unit) for unit in as_spoken]
        assert [len(unit) for unit in mixed] == [len(unit) for unit in as_spoken]
        assert every[0] == every[1]
        assert other != as_spoken and mixed != as_spoken
    assert rows_of(dataset(here, turns="dealt").units["train"]) == rows_of(dealt.units["train"])


@pytest.mark.parametrize(
    ("config", "sequences", "asked"),
    [
        ({"sees": "past"}, [[4], [4, 5], [4, 5, 6], [7], [7, 8]], [0, 2, 5, 6, 8]),
        ({"window": 1}, [[4, 5], [4, 5, 6], [5, 6], [7, 8], [7, 8]], [0, 3, 6, 7, 10]),
        ({"sees": "past", "window": 1}, [[4], [4, 5], [5, 6], [7], [7, 8]], [0, 2, 4, 5, 7]),
    ],
)
def test_what_a_turn_reads_by_hand(config, sequences, asked):
    made, rows = context_windows(DataConfig(**config))([torch.tensor([4, 5, 6]), torch.tensor([7, 8])])
    assert (rows_of(made), rows.tolist()) == (sequences, asked)


@pytest.mark.parametrize("name", ["full", "bigru", "sdt"])
def test_with_past_turns_only_a_turn_gets_what_its_beginning_alone_gives(here, name):
    whole, past = dataset(here), dataset(here, sees="past")
    model = training.build(tiny(name), whole)
    units = whole.units["test"][:2]
    got = evaluated(model, [past.batch(units)])
    for row, index in zip(got.logits, torch.cat(units), strict=True):
        (unit,) = (u for u in units if index in u)
        alone = evaluated(model, [whole.batch([unit[unit <= index]])])
        assert_close(row, alone.logits[-1])


def test_only_the_turn_that_is_asked_for_is_scored(here):
    past = dataset(here, sees="past")
    batch = past.batch(past.units["train"])
    want = past.labels[torch.cat(past.units["train"])]
    assert batch.labels[batch.asked].tolist() == want.tolist()
    assert (batch.labels >= 0).sum() == len(want) < len(batch.labels)
    fitted = fit(tiny("full"), past)
    assert len(fitted.test_logits[0]) == len(fitted.labels)


def test_a_network_that_knows_no_order_does_not_mind_shuffled_turns(here):
    """LPGNet as printed is permutation-equivariant; SDT* has positions."""

    def logits(name, turns):
        data = dataset(here, turns=turns)
        torch.manual_seed(0)
        model = training.build(tiny(name), data)
        output = evaluated(model, [data.batch(data.units["test"])])
        return output.logits[torch.cat(data.units["test"]).argsort()]

    assert_close(logits("full", "spoken"), logits("full", "shuffled"))
    assert not torch.allclose(logits("sdt", "spoken"), logits("sdt", "shuffled"))


LACKING = ("funasr", "librosa", "soundfile", "av", "transformers", "modelscope", "omegaconf")
LACKING += ("ipywidgets", "IPython", "ipykernel", "jupyter_client", "papermill", "nbconvert", "nbformat")
TRAIN = """
import pkgutil
from importlib import import_module
import lpgnet
for module in pkgutil.walk_packages(lpgnet.__path__, "lpgnet."):
    if not module.name.endswith(("__main__", "widgets", "hearing", "controls")):  # which are of IPython
        import_module(module.name)
from lpgnet import places
from lpgnet.beyond.report import page
from lpgnet.runs import training
print(len(training.run_missing(places.place(), ["text_only"], seeds=1, jobs=1)))
page.write(places.place())
"""


def test_training_and_the_report_need_neither_encoders_nor_sound_nor_jupyter(here):
    block = WITHOUT_TORCH.replace('== "torch"', f"in {LACKING}") + TRAIN
    made = subprocess.run(
        [sys.executable, "-c", block],
        env=environment(here.output),
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert made.stdout.splitlines()[-1] == "1"
    assert (here.results / "report" / "index.html").is_file()
