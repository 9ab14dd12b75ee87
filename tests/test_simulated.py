"""The simulated corpus: its plan without speech, and tiny spoken trees."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from lpgnet.corpora import iemocap
from lpgnet.corpora.check import check
from lpgnet.corpora.load import load
from lpgnet.corpora.simulated import corpus, layout, oracle, speech
from lpgnet.corpora.simulated.lines import KINDS, STATES, TEMPLATES, choices, likelihoods
from lpgnet.corpora.simulated.plan import KNOBS, MIX, Dialogue, Knobs, plan
from lpgnet.machine import code

TINY = Knobs(seed=3, dialogues=(3,), turns=5)


@pytest.fixture(scope="module")
def default_plan():
    return plan(Knobs())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("sim") / "corpus"
    corpus.generate(root, TINY, jobs=2)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_same_bytes_for_any_number_of_workers(tree, tmp_path):
    corpus.generate(tmp_path / "one", TINY, jobs=1)
    assert contents(tmp_path / "one") == contents(tree)


def test_another_seed_differs(tree, tmp_path):
    corpus.generate(tmp_path / "other", Knobs(seed=4, dialogues=(1,), turns=4))
    ours, theirs = contents(tree), contents(tmp_path / "other")
    assert all(ours[name] != theirs[name] for name in ours.keys() & theirs.keys() if ".wav" in name[-4:]
               and "/._" not in name)  # fmt: skip


def test_the_reader_finds_what_the_manifest_expects(tree):
    report, ok = check(tree)
    assert ok, report
    assert report.splitlines()[-1] == "Verdict: complete and clean."


def test_the_reader_finds_the_plan(tree):
    table, problems, _ = iemocap.read(tree)
    assert problems == []
    turns = [t for d in sorted(plan(TINY), key=lambda d: d.name) for t in d.turns]
    assert table["id"].tolist() == [t.id for t in turns]  # so the time order is the order of speech
    assert table["text"].tolist() == [t.text for t in turns]
    assert table["label"].tolist() == [t.label for t in turns]
    assert set(table["speaker"]) == {"Ses01F", "Ses01M"}


def test_a_tree_that_is_there_stays(tree):
    before = (tree / "manifest.json").stat().st_mtime_ns
    corpus.generate(tree, TINY, jobs=1)
    assert (tree / "manifest.json").stat().st_mtime_ns == before


def small(**changes) -> Knobs:
    return Knobs(**({"seed": 5, "dialogues": (1,), "turns": 4} | changes))


def test_other_knobs_or_versions_make_it_anew(tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    corpus.generate(root, small())
    corpus.generate(root, small(seed=6))
    assert json.loads((root / "manifest.json").read_text())["knobs"]["seed"] == 6
    monkeypatch.setattr(corpus, "deciding", lambda entries: {"x": {"y": "z"}})
    corpus.generate(root, small(seed=6))
    assert (
        json.loads((root / "manifest.json").read_text())["versions"]["code"]
        == code.summary({"x": {"y": "z"}})["digest"]
    )


def test_a_killed_call_leaves_no_tree_and_the_next_cleans_up(tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_manifest", lambda *_: os._exit(9))  # as kill -9 just before the end
        child = os.fork()
        if not child:
            corpus.generate(root, small())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not root.exists()
    assert list(tmp_path.glob(".corpus.*.part"))
    corpus.generate(root, small())
    assert check(root)[1]
    assert not list(tmp_path.glob(".corpus.*.part"))


def test_a_foreign_folder_is_never_touched(tmp_path):
    (tmp_path / "Session1").mkdir()
    refused(corpus.generate, tmp_path, small(), says="no simulated corpus")
    assert [p.name for p in tmp_path.iterdir()] == ["Session1"]


def test_without_the_synthesiser_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    refused(corpus.generate, tmp_path / "corpus", small(), says=r"pip install lpgnet\[sim\]")


def test_a_failing_speech_process_is_reported(tmp_path):
    [dialogue] = plan(small())
    paths = corpus._wavs(dialogue)
    with pytest.raises(RuntimeError, match=dialogue.turns[0].id):  # its folder does not exist
        speech.speak([corpus._utterances(dialogue, paths, small(), 0)], tmp_path, 1)


def test_the_default_plan(default_plan):
    """IEMOCAP's 151 dialogues, about 1,300 turns, ten speakers, every code, both wearers, both kinds."""
    turns = [t for d in default_plan for t in d.turns]
    assert 1200 < len(turns) < 1400
    assert list(Counter(d.session for d in default_plan).values()) == [28, 30, 32, 30, 31]
    assert len({d.name for d in default_plan}) == 151
    assert len({t.id for t in turns}) == len(turns)
    assert {t.label for t in turns} == set(corpus.expected(default_plan)["codes"]["1"]) | {
        "neu", "hap", "sad", "ang", "exc", "fru", "sur", "fea", "dis", "oth", "xxx",
    }  # fmt: skip
    assert {t.id[:5] + t.id[-4] for t in turns} == {s.name for d in default_plan for s in d.speakers}
    assert sum(d.name[5] == "F" for d in default_plan) in (75, 76)
    names = {d.name for d in default_plan}
    assert {"Ses03M_impro05a", "Ses03M_impro05b", "Ses05M_script01_1b"} <= names
    assert 0.06 < np.mean([t.label not in STATES for t in turns]) < 0.12


def test_every_class_is_in_every_session(default_plan):
    for name in corpus.LABELS:
        for row in corpus.expected(default_plan)[name].values():
            assert min(row.values()) > 0, row


def test_a_dialogue_depends_on_its_own_place_only(default_plan):
    """Labels aside, which are replaced over the whole corpus."""
    alone = plan(Knobs(dialogues=(2,)))
    for one, two in zip(alone, default_plan, strict=False):
        assert [t.text for t in one.turns] == [t.text for t in two.turns]
        assert all((a.z == b.z).all() for a, b in zip(one.turns, two.turns, strict=True))


def test_lines_are_enough_and_all_fit():
    for state in STATES:
        assert [len(choices(kind, state)) for kind in KINDS] == [12, 28, 6, 60]
    shares = sum(likelihoods({"explicit": 0.5, "ambiguous": 0.3, "pair": 0.15, "misleading": 0.05}).values())
    np.testing.assert_allclose(shares, 1.0)
    assert len(TEMPLATES) == 72 + 28 + 18


def test_transcript_order_differs_from_speech_in_places(default_plan):
    rng = np.random.default_rng(0)
    moved = 0
    for dialogue in default_plan:
        spans = layout.times(dialogue, [2.0] * len(dialogue.turns))
        assert spans == sorted(spans)
        lines = layout._transcript(dialogue, spans, rng)
        ids = [line.split(" ")[0] for line in lines if "XX" not in line and line[0] == "S"]
        moved += sum(a != b.id for a, b in zip(ids, dialogue.turns, strict=True))
    assert moved > 10


def accuracy(tables: dict[str, list[list[int]]]) -> float:
    total = sum(np.array(table) for table in tables.values())
    return np.trace(total) / total.sum()


@pytest.mark.parametrize("protocol", corpus.LABELS)
def test_the_oracle_beats_the_one_without_neighbours_beats_chance(default_plan, protocol):
    best = accuracy(oracle.confusions(default_plan, Knobs(), protocol))
    alone = accuracy(oracle.confusions(default_plan, Knobs(), protocol, neighbours=False))
    assert best > alone + 0.04
    assert alone > 0.6
    assert best < 1


def test_in_the_null_corpus_neither_voice_nor_neighbours_say_anything():
    """The oracle's posterior is that of the words alone, whoever speaks and whatever stands around them."""
    knobs = KNOBS["simulated-null"]
    for dialogue in plan(knobs)[:20]:
        words = np.array([likelihoods(knobs.kinds)[turn.template] for turn in dialogue.turns]) * MIX
        words /= words.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(oracle.posterior(dialogue, knobs), words, atol=0.01)
        assert all(turn.flat for turn in dialogue.turns)


def test_the_oracle_is_exact():
    """Against the sum over all 6^4 sequences of states."""
    knobs = Knobs(seed=1, dialogues=(1,), turns=4, noise=3.0)
    [whole] = plan(knobs)
    dialogue = Dialogue(whole.name, 1, whole.mix, whole.speakers, whole.turns[:4])
    seen = oracle._evidence(dialogue, knobs)
    weights = np.zeros((6,) * 4)
    for states in np.ndindex(weights.shape):
        weights[states] = _chance(states, dialogue, knobs) * np.prod(seen[range(4), states])
    weights /= weights.sum()
    marginals = [weights.sum(axis=tuple({0, 1, 2, 3} - {at})) for at in range(4)]
    np.testing.assert_allclose(oracle.posterior(dialogue, knobs), marginals, atol=1e-10)


def _chance(states: tuple[int, ...], dialogue: Dialogue, knobs: Knobs) -> float:
    """P(states) as the generator draws them, turn by turn."""
    last, chance = [None, None], 1.0
    for state, turn in zip(states, dialogue.turns, strict=True):
        own, partner = last[turn.speaker], last[1 - turn.speaker]
        stay = knobs.stay if own is not None else 0.0
        catch = knobs.contagion if partner is not None else 0.0
        drawn = catch * (state == partner) + (1 - catch) * dialogue.mix[state]
        chance *= stay * (state == own) + (1 - stay) * drawn
        last[turn.speaker] = state
    return chance


@pytest.mark.parametrize(
    "wrong",
    [{"dialogues": (8,) * 6}, {"dialogues": (33,)}, {"dialogues": ()}, {"turns": 1}, {"p_ambiguous": 0.95}],
)
def test_knobs_refuse_what_they_cannot_do(wrong):
    refused(Knobs, **wrong, says=r"want|must be")


def test_simulated_and_real_trees_are_never_taken_for_each_other(tmp_path):
    """No number made on one corpus can land in another's table."""
    (tmp_path / "Session1").mkdir()
    refused(load, "simulated", str(tmp_path), jobs=1, says="is iemocap, the corpus asked for is 'simulated'")
    (tmp_path / "manifest.json").write_text("{}")
    refused(load, "iemocap", str(tmp_path), jobs=1, says="is simulated, the corpus asked for is 'iemocap'")
    refused(load, "iemocap", None, jobs=1, says="'iemocap' needs the folder of its release")
