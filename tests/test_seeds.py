"""Seeds side by side give what each gives alone, whoever is beside them; dialogues that lose a modality."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_training import dataset, dataset_of, fit, tiny
from torch.testing import assert_close

from lpgnet.experiments import EXPERIMENTS
from lpgnet.runs import packed, records, training
from lpgnet.runs.dataset import Sequences, dropped_turns
from lpgnet.runs.packed import BLOCK, Batch, Dropout, Grid, Layout
from lpgnet.runs.plan import describe, planned
from lpgnet.runs.seeds import Alone, Stacked, mixed, stackable

TOGETHER = {"rtol": 2e-4, "atol": 2e-5}  # rounding, after a few steps of Adam


def dropped(name, p=0.5, **more):
    """An experiment whose dropout, if it has one, is strong."""
    run = tiny(name)
    strong = {"dropout": p} if hasattr(run.model, "dropout") else {}
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **strong, **more))


def assert_same(one, two):
    np.testing.assert_allclose(one.curves["loss"], two.curves["loss"], **TOGETHER)
    for a, b in zip(one.test_logits, two.test_logits, strict=True):
        np.testing.assert_allclose(a, b, **TOGETHER)
    assert one.best["epoch"] == two.best["epoch"]
    for name, tensor in one.best["weights"].items():
        # Adam divides by the gradient's size: one that is mere rounding still moves its weight.
        assert_close(tensor, two.best["weights"][name], rtol=2e-4, atol=2e-4)
    assert one.parameters == two.parameters
    assert one.temperature == pytest.approx(two.temperature, rel=1e-3)


SIDE = sorted(n for n, run in EXPERIMENTS.items() if stackable(run, 7))


def stacked(run, data, seeds):
    """Trained on stacked weights, as on a GPU, where `fit` would take one alone for itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Alone", Stacked)
        return training.fit(run, data, seeds)


@pytest.mark.parametrize("name", SIDE)
def test_a_seed_gives_the_same_whoever_is_beside_it(here, name):
    run = dropped(name)
    data = dataset_of(here, run)
    alone, beside = stacked(run, data, [1])[0], training.fit(run, data, [0, 1, 2])
    assert_same(alone, beside[1])
    assert_same(alone, training.fit(run, data, [1, 7])[0])
    assert beside[0].curves["loss"] != beside[1].curves["loss"]


@pytest.mark.parametrize("name", SIDE)
def test_stacked_weights_give_what_one_model_gives(here, name):
    """LPGNet with its masks; SDT* without, since those of its rows have other shapes."""
    run = dropped(name, p=0.0 if hasattr(EXPERIMENTS[name].model, "heads") else 0.5)
    data = dataset_of(here, run)
    assert_same(fit(run, data, 1), training.fit(run, data, [0, 1])[1])


def test_unscored_turns_and_neighbours_stay_the_same_beside_others(here):
    """R19's unlabelled turns, R1's kernel of 3, R2's projections."""
    run = dropped("full", kernel=3, projections=True)
    data = dataset(here, unlabelled="kept")
    assert_same(fit(run, data, 2), training.fit(run, data, [4, 2])[1])


@pytest.mark.parametrize(("name", "more"), [("bigru", {}), ("full", {"context": "position"})])
def test_what_cannot_share_a_pass_trains_one_by_one(here, name, more):
    run, data = dropped(name, **more), dataset(here)
    assert not stackable(run, data.longest)
    both = training.fit(run, data, [0, 1])
    assert both[1].curves == fit(run, data, 1).curves
    assert not stackable(tiny("full"), BLOCK["cpu"] + 1)
    assert not stackable(tiny("past_full"), 1) and stackable(tiny("full"), BLOCK["cpu"])


def test_masks_are_drawn_by_the_seed_s_own_generator():
    layout = Layout(torch.tensor([3, 1]))
    rows, dialogues = Dropout(0.5, 7, "utterance"), Dropout(0.5, 7, "dialogue")
    assert (rows.shape(layout), dialogues.shape(layout)) == ((4, 7), (2, 7))
    one = rows.mask_of(torch.tensor([0.0, 0.49, 0.5, 0.99]).repeat(7, 1).mT)
    assert one[:, 0].tolist() == [0, 0, 2, 2]
    rows.mask = one
    assert_close(rows(torch.ones(4, 7)), one)
    assert_close(rows.eval()(torch.ones(4, 7)), torch.ones(4, 7))


def batch_of(lengths):
    layout = Layout(torch.tensor(lengths))
    rows = {m: torch.randn(sum(lengths), 2) for m in ("text", "audio")}
    labels = torch.zeros(sum(lengths), dtype=int)
    return Batch(rows, dict.fromkeys(rows, layout), labels, labels)


def test_a_grid_by_hand():
    """Lengths (1, 3) of U = 3: padded rows keep their place, and count in no mean."""
    grid, rows = Grid(torch.tensor([1, 3]), [(2, 3)]), torch.arange(6.0)[:, None]
    assert grid.valid.tolist() == [[True, False, False], [True, True, True]]
    assert grid.pad(rows)[..., 0].tolist() == [[0, 0, 0], [3, 4, 5]]
    assert torch.equal(grid.unpad(grid.cut(rows)[0]), rows)
    assert grid.mean(rows)[:, 0].tolist() == [0, 4]
    assert grid.spread(torch.tensor([[7.0], [8.0]]))[:, 0].tolist() == [7, 7, 7, 8, 8, 8]
    cut = Grid(torch.tensor([1, 3]), [(1, 2), (1, 3)])  # the same in two pieces, five rows
    assert cut.mean(rows[:5])[:, 0].tolist() == [0, 3]
    assert cut.spread(torch.tensor([[7.0], [8.0]]))[:, 0].tolist() == [7, 7, 8, 8, 8]
    assert [x.shape for x in cut.cut(rows[:5])] == [(1, 2, 1), (1, 3, 1)]
    assert (cut.sequence.tolist(), cut.position.tolist()) == ([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])


@pytest.mark.parametrize("frames", [False, True])
def test_sequences_are_the_batches_of_the_data(here, monkeypatch, frames):
    monkeypatch.setitem(packed.PIECE, "cuda", 2)
    data = dataset(here, frames=frames)
    units, part = data.units["train"], Sequences(data, data.units["train"])
    some = sorted([5, 0, 3, 7, 2], key=lambda i: len(units[i]))
    made, want = part.batch(torch.tensor(some)), data.batch([units[i] for i in some])
    for m, sizes in part.sizes(5).items():
        sequence, position = Grid.rows_of(sizes)
        real = position < made["lengths"][m][sequence]
        assert torch.equal(made["rows"][m][real], want.rows[m])
    assert torch.equal(made["labels"] if frames else made["labels"][real], want.labels)
    assert (made["labels"] >= 0).sum() == (want.labels >= 0).sum()
    whole = part.batch(torch.tensor(part.order))
    if not frames:
        assert [count for count, _ in sizes] == [2, 2, 1] and sizes[0][1] < sizes[-1][1]
        assert torch.equal(whole["labels"][part.real], data.batch(units).labels)


@pytest.mark.parametrize("name", ["full", "sdt"])
def test_cutting_a_batch_into_pieces_changes_no_loss_and_no_gradient(monkeypatch, name):
    """Eleven dialogues by themselves, padded two at a time, or all at once, with the same dropout masks."""
    made = []
    for size in (1, 2, 100):
        monkeypatch.setitem(packed.PIECE, "cpu", size)
        torch.manual_seed(0)
        batch = batch_of(list(range(1, 12)))
        run = dropped(name)
        model = training.MODELS[type(run.model)](run.model, {"text": 2, "audio": 2}, 4, 1)
        data = SimpleNamespace(labels=batch.labels, longest=11, class_weight=lambda: torch.ones(4))
        loss = Alone([model.train()], run, data, [0]).loss(batch)
        loss.backward()
        made.append([loss.detach(), *(p.grad for p in model.parameters())])
    for one, two, three in zip(*made, strict=True):
        assert_close(one, two, rtol=1e-4, atol=1e-6)
        assert_close(one, three, rtol=1e-4, atol=1e-6)


def test_a_piece_is_padded_to_its_own_longest(monkeypatch):
    monkeypatch.setitem(packed.PIECE, "cpu", 8)
    layout = Layout(torch.tensor([1, 2, 1, 3, 2, 2, 1, 1, 9, 4]))
    assert [tuple(piece.valid.shape) for piece in layout.pieces] == [(8, 3), (2, 9)]
    rows = torch.arange(26.0)[:, None]
    padded = layout.cut(rows)
    assert torch.equal(torch.cat([p.unpad(x) for p, x in zip(layout.pieces, padded, strict=True)]), rows)


def test_a_group_leaves_the_records_of_its_seeds(here, tmp_path):
    """As on a GPU: one call makes all seeds; each record is that of the seed alone, to rounding."""
    other = dataclasses.replace(here, output=here.output)
    data = describe(here)
    jobs = planned(here, data, ["full"], 3, {"epochs": 2, "hidden": 8})
    training.work(here, jobs, data, "cpu")
    together = [records.read(job.path) for job in jobs]
    for job in jobs:
        training.work(other, [job], data, "cpu")
    for job, record in zip(jobs, together, strict=True):
        alone = records.read(job.path)
        np.testing.assert_allclose(alone.curves["loss"], record.curves["loss"], **TOGETHER)
        assert alone.confusion == record.confusion and alone.seed == record.seed
        assert (record.made["beside"], alone.made["beside"]) == (3, 1)


def test_a_gpu_gets_all_seeds_of_an_experiment_and_fold_at_once(here):
    loso = dataclasses.replace(here, split="loso")
    jobs = planned(loso, describe(loso), ["full", "linear"], 2)
    groups = training._groups(jobs, "cuda")
    assert sorted(job.key for group in groups for job in group) == sorted(job.key for job in jobs)
    assert {len({(j.experiment, j.fold) for j in group}) for group in groups} == {1}
    assert [len(group) for group in groups] == [2] * 10
    assert [len(group) for group in training._groups(jobs, "cpu")] == [1] * 20


def test_mixed_precision_stays_near(here):
    """bfloat16 has eight bits: the same run within a few hundredths, its outputs in single precision."""
    data, run = dataset(here), tiny("full")
    half = dataclasses.replace(run, train=dataclasses.replace(run.train, precision="mixed"))
    one, two = fit(run, data), fit(half, data)
    assert one.curves["loss"] != two.curves["loss"]
    np.testing.assert_allclose(one.curves["loss"], two.curves["loss"], rtol=0.05)
    assert two.test_logits[0].dtype == np.float32
    beside = training.fit(half, data, [0, 1])[0]
    np.testing.assert_allclose(beside.curves["loss"], two.curves["loss"], rtol=0.02)
    assert not mixed(run.train, torch.device("cpu"))


# Dialogues that lose turns of a modality


def lost(batch, share, seed=0):
    return dropped_turns(batch.layouts["text"].counts, share, torch.Generator().manual_seed(seed))


def test_modality_dropout_takes_turns_of_one_modality_of_a_dialogue(here):
    data = dataset(here)
    batch = data.batch(data.units["train"] * 40)
    sequence = batch.layouts["text"].sequence
    assert not any(g.any() for g in lost(batch, 0.0))
    text, audio = lost(batch, 1.0)
    touched = [{int(s) for s in sequence[gone]} for gone in (text, audio)]
    assert not touched[0] & touched[1]
    count = len(batch.layouts["text"].lengths)
    assert 0.4 < len(touched[0]) / sum(map(len, touched)) < 0.6
    assert sum(map(len, touched)) > 0.7 * count
    share = (text | audio).float().mean()  # the mean of a uniform rate
    assert 0.45 < share < 0.55
    some = [gone.float().mean() for gone in lost(batch, 0.5)]
    assert 0.2 < sum(some) < 0.3


def test_full_moddrop_trains_on_such_dialogues(here):
    """The same seed on the same data: only the lost turns are new."""
    data = dataset(here)
    assert fit(tiny("full_moddrop"), data).curves["loss"] != fit(tiny("full"), data).curves["loss"]
    none = tiny("full_moddrop", moddrop=0.0)
    assert fit(none, data).curves == fit(tiny("full"), data).curves


def test_a_lost_turn_is_an_absent_one(here):
    """What training puts in place of a lost turn is what an absent utterance has: zero, or the mean."""
    data, raw = dataset(here), dataset(here, standardise=False)
    for m, row in data.absent.items():
        assert_close(row, torch.zeros(data.sizes[m]))
        assert_close(raw.absent[m], data.scalers[m].mean)


def test_only_the_lost_rows_change(here):
    data, run = dataset(here), tiny("full_moddrop", moddrop=1.0)
    batch = data.batch(data.units["train"])
    made = Alone([training.build(run, data)], run, data, [0])._without(batch)
    gone = dropped_turns(batch.layouts["text"].counts, 1.0, torch.Generator().manual_seed(0))
    for (m, rows), lost in zip(made.rows.items(), gone, strict=True):
        assert lost.any() and not lost.all()
        assert torch.equal(rows[~lost], batch.rows[m][~lost])
        assert torch.equal(rows[lost], data.absent[m].expand(int(lost.sum()), -1))


def test_one_model_alone_is_not_stacked(here):
    data, run = dataset(here), tiny("full")
    one, two = (training.build(run, data) for _ in range(2))
    assert Alone([one], run, data, [0]).model.classify.weight.ndim == 2
    assert Stacked([one, two], run, data, [0, 1]).parameters["classify.weight"].ndim == 3
