"""The walk through one dialogue: its steps are the model's, over every alternative; and what a change may change."""

import dataclasses
import re
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import SIZES as STORED
from conftest import made_table, write_store
from test_model import ALTERNATIVES, CLOSE, SIZES, D, model_of
from torch.testing import assert_close

from lpgnet import losses, places
from lpgnet.beyond.conversation import hearing
from lpgnet.beyond.conversation.sources import TURNS, Conversation
from lpgnet.beyond.walk import controls, dialogue, figures, spaces, steps
from lpgnet.beyond.walk.dialogue import Dialogue, Walk
from lpgnet.config import LossConfig
from lpgnet.corpora.sound import RATE

U, CLASSES = 5, ("happy", "sad", "neutral", "angry")
LABELS = torch.tensor([2, 0, -1, 3, 1])


def walk_of(**changes) -> Walk:
    """A dialogue of noise, its third turn unscored, before a model of some configuration."""
    g = torch.Generator().manual_seed(0)
    rows = {m: torch.randn(1, U, size, generator=g) for m, size in SIZES.items()}
    label = [CLASSES[i] if i >= 0 else "" for i in LABELS]
    turns = pd.DataFrame({"turn": range(1, U + 1), "id": [f"u{i}" for i in range(U)], "label": label})
    turns = turns.assign(speaker="A", text=[f"some words {i}" for i in range(U)], wav="")
    speaker, heard = torch.randint(2, (1, U), generator=g), torch.ones(U, dtype=torch.bool)
    talk = Dialogue("one", turns, CLASSES, rows, speaker, heard, LABELS)
    return Walk(model_of(**changes).requires_grad_(False), talk, LossConfig(), "made up.")


def logits(walk):
    return walk.output().logits[0]


@pytest.mark.parametrize("changes", ALTERNATIVES, ids=str)
def test_the_steps_are_the_model(changes):
    """Each equation holds on the steps before it, and they end where `model(batch)` does; a muted turn too."""
    for walk in (walk_of(**changes), dialogue.muted(walk_of(**changes), 2)):
        found, talk = steps.every_step(walk), walk.dialogue
        output = walk.model(talk.rows, talk.valid, talk.speaker)
        assert_close(found["E (15)"], output.logits, rtol=0, atol=0)
        assert {name[4:] for name in found if name.startswith("A ")} == {
            f"{p} (5)"[2:] for p in walk.model.config.paths
        }
        table = steps.agreement(walk, found)
        assert table["largest difference"].max() < 1e-4 and len(table) >= 3 * len(walk.model.config.paths) + 3
        numbers = [steps.number(name) for name in found]
        assert numbers == sorted(numbers) and steps.shapes(found)["shape"].map(lambda s: s[0] == 1).all()


@pytest.mark.parametrize(
    "step", ["scores at (3)", "A tt (5)", "Mean ta (6)", "X_final aa (8)", "Z tt (9)", "F_final (14)"]
)
def test_a_step_that_is_wrong_stops_the_walk(step):
    walk = walk_of()
    found = steps.every_step(walk)
    with pytest.raises(AssertionError):
        steps.agreement(walk, found | {step: found[step] + torch.rand_like(found[step])})


@pytest.mark.parametrize("changes", [c for c in ALTERNATIVES if c != {"kernel": 3}], ids=str)
def test_swapping_two_turns_changes_nothing_but_their_order(changes):
    walk = walk_of(**changes)
    other = dialogue.swapped(walk, 2, 5)
    assert_close(logits(other), logits(walk)[[0, 4, 2, 3, 1]], **CLOSE)
    assert other.dialogue.turns["id"].tolist() == ["u0", "u4", "u2", "u3", "u1"]
    assert other.dialogue.turns["turn"].tolist() == [1, 2, 3, 4, 5]
    assert_close(steps.loss_terms(other)["adds"].tolist(), steps.loss_terms(walk)["adds"].tolist(), **CLOSE)
    what = steps.moved(walk, other)
    assert what["moved"] < 1e-4 and what["other class"] == 0


def test_with_kernel_3_a_swap_is_seen():
    walk = walk_of(kernel=3)
    assert steps.moved(walk, dialogue.swapped(walk, 2, 5))["moved"] > 1e-3


@pytest.mark.parametrize("changes", [{}, {"kernel": 3}, {"context": "position"}], ids=str)
def test_a_muted_last_turn_is_as_if_it_had_not_been_said(changes):
    walk, keep = walk_of(**changes), [0, 1, 2, 3]
    talk = walk.dialogue
    rows = {m: x[:, keep] for m, x in talk.rows.items()}
    short = dataclasses.replace(
        talk, rows=rows, speaker=talk.speaker[:, keep], heard=talk.heard[keep], labels=talk.labels[keep]
    )
    without, muted = dataclasses.replace(walk, dialogue=short), dialogue.muted(walk, 5)
    assert_close(logits(muted)[keep], logits(without), **CLOSE)
    assert_close(steps.loss_terms(muted)["adds"].tolist(), steps.loss_terms(without)["adds"].tolist(), **CLOSE)
    assert steps.every_step(muted)["A ta (5)"][0, :, 4].abs().max() == 0
    assert walk.dialogue.heard.all() and walk.dialogue.labels.equal(LABELS)  # what was given stays


def test_every_turn_muted_is_refused():
    walk = walk_of()
    for turn in range(1, U):
        walk = dialogue.muted(walk, turn)
    with pytest.raises(ValueError, match="at least one must be heard"):
        dialogue.muted(walk, U)


@pytest.mark.parametrize("path", ["tt", "aa", "at", "ta"])
def test_a_dropped_path_is_missing_from_its_branch_alone(path):
    """By hand: Eq. (12) of the other path, with the bias."""
    walk = walk_of()
    found, less = steps.every_step(walk), steps.every_step(dialogue.without_path(walk, path))
    modality = "text" if path[1] == "t" else "audio"  # Reading R7
    paths, merge = walk.model.branches[modality], walk.model.merge[modality]
    (kept,) = (p for p in paths if p != path)
    columns = slice(paths.index(kept) * D, (paths.index(kept) + 1) * D)
    hidden = found[f"Z {kept} (9)"] * found[f"X_final {kept} (8)"]
    assert_close(less[steps.FUSED[modality]], hidden @ merge.weight[:, columns].T + merge.bias, **CLOSE)
    other = steps.FUSED["audio" if modality == "text" else "text"]
    assert less[other].equal(found[other])
    with pytest.raises(ValueError, match="no path 'xx'; this model has tt, aa, at, ta"):
        dialogue.without_path(walk, "xx")


@pytest.mark.parametrize("changes", [{}, {"paths": ("tt",)}, {"fusion": "averaged"}], ids=str)
def test_the_terms_of_the_loss_add_up(changes):
    walk = walk_of(**changes)
    terms, output = steps.loss_terms(walk), walk.output()
    students = {m: x[0] for m, x in output.students.items()}
    assert terms["adds"].iloc[:-1].sum() == pytest.approx(terms["adds"].iloc[-1], rel=1e-5)
    want = losses.total(output.logits[0], students, LABELS, walk.loss)
    assert terms["adds"].iloc[-1] == pytest.approx(want.item(), rel=1e-5)
    scored = LABELS >= 0
    log_p = output.logits[0].log_softmax(-1)[scored, LABELS[scored]]
    assert terms["value"].iloc[0] == pytest.approx(-log_p.mean().item(), rel=1e-5)  # by hand, Eq. (17)


def test_tau_moves_the_terms_of_eq_21_alone():
    walk = walk_of()
    one, two = steps.loss_terms(walk, 1.0), steps.loss_terms(walk, 3.0)
    moved = (one["value"] - two["value"]).abs() > 1e-6
    assert moved.tolist() == [False, False, False, True, True, False]
    assert one["adds"].iloc[-1] != two["adds"].iloc[-1] and steps.loss_terms(walk).equals(one)


def test_what_changes_stands_in_a_table_for_copies():
    table = steps.changes(walk_of()).set_index("change")
    assert table.loc["nothing is changed", "moved"] == 0 and table.loc["turns 1 and 5 swapped", "moved"] < 1e-4
    assert (table.loc[[f"without path {p}" for p in ("tt", "aa", "at", "ta")], "moved"] > 1e-3).all()
    assert table.loc["tau 1", "loss"] == pytest.approx(table.loc["nothing is changed", "loss"])


def test_what_is_said_of_each_turn():
    walk = walk_of()
    table, output = steps.per_turn(walk), walk.output()
    p = output.logits[0].softmax(-1)
    assert table["model"].tolist() == [CLASSES[i] for i in p.argmax(-1)]
    np.testing.assert_allclose(table["p model"], p.max(-1).values)
    np.testing.assert_allclose(table["alpha text"] + table["alpha audio"], 1, rtol=1e-5)


def test_the_controls_change_what_is_shown():
    walk = walk_of()
    first, second, words, attention, answers = controls.live(walk).children
    shown, dropped, tau = first.children
    muted, one, two = second.children
    whole, said = bytes(attention.value), words.value
    one.value, two.value = 2, 5
    assert "0 of 5 turns get another class" in words.value and bytes(attention.value) != whole  # names moved
    one.value = two.value = 1
    assert words.value == said and bytes(attention.value) == whole
    tau.value = 4.0
    assert words.value != said and "Loss at tau 4" in words.value
    shown.value, muted.value, dropped.value = "ta", 3, "at"
    assert bytes(answers.value[:4]) == b"\x89PNG" and "of 4 turns" in words.value


def test_without_ipywidgets_the_controls_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert "pip install ipywidgets" in controls.live(walk_of()).data


@pytest.mark.parametrize("changes", [{}, {"ffn": 0}, {"fusion": "averaged"}, {"paths": ("tt",)}], ids=str)
def test_the_figures_show_what_there_is(changes):
    walk = walk_of(**changes)
    found = steps.every_step(walk)
    drawn = figures.maps(walk, found, figures.of_equations(found, 6, 7, 8), "Title", 2)
    assert sum(bool(axis.get_title(loc="left")) for axis in drawn.axes) == len(figures.of_equations(found, 6, 7, 8))
    names = [
        label.get_text() for label in figures.attention(dialogue.muted(walk, 2), found, "tt").axes[0].get_yticklabels()
    ]
    assert names == ["1 some words 0", "(2 some words 1)", "3 some words 2", "4 some words 3", "5 some words 4"]
    figures.answers(walk, found), figures.loss_steps(walk, steps.loss_terms(walk))
    if "alpha text (13)" in found:
        figures.fusion_weights(walk, found)


# From a store


def test_a_walk_of_a_store_shows_the_words_of_the_simulated_corpus_alone(here):
    walk = dialogue.open_walk(here)
    assert set(walk.dialogue.rows) == set(STORED) and "initial weights" in walk.origin
    assert walk.dialogue.words[0].endswith(" well") and "Simulated corpus" in walk.origin
    steps.agreement(walk, steps.every_step(walk))
    licensed = dataclasses.replace(places.place("iemocap", "quick", audio="prosody"), output=here.output)
    write_store(licensed.features, made_table())
    walk = dialogue.open_walk(licensed)
    assert (walk.dialogue.turns[["text", "wav"]] == "").all(axis=None)
    assert re.fullmatch(r"1 Ses05\w (\w+|-)", walk.dialogue.words[0]) and "Simulated" not in walk.origin
    assert "stay out of copies" in hearing.players(walk.dialogue.turns, here.features).data
    assert "stay out of copies" in hearing.player(np.ones(9, np.float32), "iemocap").data


def test_a_conversation_without_sound_needs_no_sound_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert hearing.sound(None) is None
    with pytest.raises(ImportError):
        hearing.sound(np.zeros(9))


def test_a_walk_that_is_changed_or_named(here):
    walk = dialogue.open_walk(here, "Ses05M_impro03", paths=("tt", "aa"))
    assert walk.dialogue.name == "Ses05M_impro03" and walk.model.config.paths == ("tt", "aa")
    with pytest.raises(LookupError, match="no dialogue 'none' in the test part; it has Ses05F_impro00"):
        dialogue.open_walk(here, "none")


def test_both_feature_spaces(here):
    drawn = spaces.feature_spaces(here)
    assert [axis.get_title().partition(":")[0] for axis in drawn.axes] == ["text", "audio"]
    rows, label = spaces.vectors(here)
    for axis, x in zip(drawn.axes, rows.values(), strict=True):
        assert sum(len(points.get_offsets()) for points in axis.collections) == len(label) == len(x)


def test_two_directions_of_a_flat_cloud_hold_all_of_its_spread():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(31, 2)) @ rng.normal(size=(2, 7))
    points, share = spaces.flattened(flat)
    assert points.shape == (31, 2) and share == pytest.approx(1)


# Hearing


def talk_of(folder, times) -> Conversation:
    """Two clips of one and of half a second, and a turn without sound between."""
    for name, seconds in (("a.wav", 1.0), ("b.wav", 0.5)):
        soundfile.write(folder / name, np.full(int(seconds * RATE), 0.25, np.float32), RATE)
    turns = pd.DataFrame({"id": list("xyz"), "speaker": ["A", "B", "A"], "text": ["<b>", "", "c"]})
    turns = turns.assign(wav=["a.wav", "", "b.wav"], start=[t[0] for t in times], end=[t[1] for t in times], label="")
    return Conversation("one", turns[TURNS], folder, "simulated")


def test_each_clip_sounds_where_its_turn_stands(tmp_path):
    samples = hearing.joined(hearing.placed(talk_of(tmp_path, [(10.0, 11.0), (11.0, 12.0), (12.0, 12.5)])))
    assert len(samples) == int(2.5 * RATE) and np.allclose(samples[:RATE], 0.25, atol=1e-3)
    assert not samples[RATE : 2 * RATE].any() and np.allclose(samples[2 * RATE :], 0.25, atol=1e-3)


def test_turns_without_times_follow_each_other(tmp_path):
    where = hearing.placed(talk_of(tmp_path, [(np.nan, np.nan)] * 3))
    gap = hearing.GAP
    np.testing.assert_allclose(where["begin"], [0, 1 + gap, 2 + 2 * gap], atol=1e-9)
    np.testing.assert_allclose(where["stop"], [1, 2 + gap, 2.5 + 2 * gap])


def test_a_player_a_clip_and_text_is_escaped(tmp_path):
    turns = talk_of(tmp_path, [(0, 1)] * 3).turns.assign(turn=[1, 2, 3])
    page = hearing.players(turns, tmp_path).data
    assert page.count("<audio") == 2 and page.count("<tr>") == 4 and "&lt;b&gt;" in page and "<b>" not in page
