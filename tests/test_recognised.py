"""Recognised text: words of clips, their sets in the store, and what recognition errors cost."""

import dataclasses
import importlib.util

import numpy as np
import pandas as pd
import pytest
from conftest import made_table
from test_claims import rows
from test_readings import record
from test_store import FIT, QUICKLY, read_set, worded
from test_tables import DATA

from lpgnet import places
from lpgnet.beyond.asr import costs, recognised
from lpgnet.beyond.readings import crossfit
from lpgnet.config import RECOGNISED
from lpgnet.corpora.table import utterances
from lpgnet.experiments import GROUPS, RECOGNITION, experiment
from lpgnet.features import extract, store
from lpgnet.features.text import TextEncoder
from lpgnet.runs.plan import _features, describe, planned, possible, unfitted

HEARD = {"well": "the house", "i": "so very"}  # what a word becomes


def inline(what, work, jobs):
    for call, arguments, named in work:
        call(*arguments, **named)


@pytest.fixture
def clips(monkeypatch, here):
    """The made-up corpus; the clip of a row says its number, and nothing in each tenth."""
    table = utterances(here.features).assign(wav=[f"{i}.wav" for i in range(140)])
    table.loc[5, "wav"] = ""
    store.write_table(here.features, table)
    made = []
    monkeypatch.setattr(
        recognised, "run_parallel", lambda what, work, jobs: (made.append(len(work)), inline(what, work, jobs))
    )
    monkeypatch.setattr(recognised, "_clips", lambda place, root: (utterances(place.features), here.output))
    monkeypatch.setattr(recognised, "read_clip", lambda path: int(path.stem))
    monkeypatch.setattr(recognised, "words", lambda number: f"clip {number}" if number % 10 else "")
    for i in range(140):
        (here.output / f"{i}.wav").write_bytes(b"%d" % i)
    return here, made


def test_each_clip_is_recognised_once_and_goes_on_where_it_was(clips, capsys):
    here, made = clips
    assert recognised.recognised(here, ["full"], None, 1) is None and not made  # nobody asked
    heard = recognised.recognised(here, GROUPS["asr"], None, 1)
    assert heard.index.tolist() == utterances(here.features)["id"].tolist() and made == [5]
    assert heard.iloc[[0, 5, 6, 139]].tolist() == ["", "", "clip 6", "clip 139"]
    assert "Nothing is recognised in 14 of 140 clips (" in capsys.readouterr().out  # not of the one without a clip
    files = sorted(here.output.glob("data/simulated-recognised/*/*.json"))
    assert len(files) == 5 and not list(here.output.glob("results/**/*heard*"))
    first = [path.read_bytes() for path in files]
    files[3].unlink()
    pd.testing.assert_series_equal(recognised.recognised(here, GROUPS["asr"], None, 1), heard)
    assert made == [5, 1] and [path.read_bytes() for path in files] == first
    (here.output / "7.wav").write_bytes(b"another clip")
    recognised.recognised(here, GROUPS["asr"], None, 1)
    assert made == [5, 1, 5]  # in a folder of their own


def test_words_of_other_utterances_are_refused(clips):
    here, _ = clips
    recognised.recognised(here, GROUPS["asr"], None, 1)
    first, second = sorted(here.output.glob("data/*/*/*.json"))[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(
        ValueError, match=r"0001.json is of other utterances than the table: delete it, run notebook 07"
    ):
        recognised.recognised(here, GROUPS["asr"], None, 1)


def test_what_is_lacking_is_one_line(here, small_tree, monkeypatch, capsys):
    def said(root=None, place=here):
        assert recognised.recognised(place, GROUPS["asr"], root, 1) is None
        return capsys.readouterr().out

    monkeypatch.setattr(recognised, "made_here", lambda corpus: here.output / "nowhere")
    assert "nowhere: give the corpus's folder (ROOT, --root)" in said()
    assert "holds other utterances than" in said(str(small_tree))
    assert "is an import, which has no recordings" in said(place=dataclasses.replace(here, corpus="mine"))
    monkeypatch.setattr(recognised, "_clips", lambda place, root: (made_table(), here.output))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert said().endswith("which is not installed: pip install 'lpgnet[asr]'\n")
    assert recognised.prepare(here, GROUPS["asr"], None, 1) == [
        "full",
        "text_only",
        "linear",
    ]  # these need none


def misheard(table: pd.DataFrame) -> pd.Series:
    """Every text in other words, one empty."""
    heard = table["text"].replace({"i am happy": "i am sad", "i am well": "the house"}) + " you"
    return heard.where(heard.index != 3, "").set_axis(table["id"])


def with_sets(output, text, finetuned, monkeypatch, split="session5"):
    for module in (extract, crossfit):
        monkeypatch.setattr(module, "run_parallel", inline)
    monkeypatch.setitem(extract.FINETUNE, "quick", QUICKLY)
    place = dataclasses.replace(places.place(split=split), output=output, text=str(text), finetuned=finetuned)
    table = worded(made_table())
    table.loc[table["dialogue"] == "Ses05F_impro00", "label"] = "fru"  # no class of four
    extract.extract(place, table.assign(wav=""), output, jobs=1)
    index = recognised.extract_recognised(place, misheard(table), 1)
    return place, table, index["sets"]


def test_recognised_sets_read_what_is_heard_and_copy_the_rest(tiny_bert, tmp_path, monkeypatch):
    place, table, sets = with_sets(tmp_path, tiny_bert, False, monkeypatch, "loso")
    names = [f"+whisper-tiny-en/session{s}" for s in range(1, 6)]
    base = "text/tiny-bert"
    assert sorted(sets) == [base, *(base + name for name in ("+whisper-tiny-en", *names))]

    def vectors(key):
        return store.Features(place.features, sets[base + key]).vectors().numpy()

    made = recognised.encoder("text", str(tiny_bert))
    want = np.stack([vector for vector, _ in made(misheard(table))])
    np.testing.assert_allclose(vectors("+whisper-tiny-en"), want, atol=1e-6)
    for session in range(1, 6):
        tested, found = (table["session"] == session).to_numpy(), vectors(f"+whisper-tiny-en/session{session}")
        np.testing.assert_allclose(found[tested], want[tested], atol=1e-6)
        assert found[~tested].tobytes() == vectors("")[~tested].tobytes()
    before = {key: about["recipe"] for key, about in sets.items()}
    six = dataclasses.replace(place, labels="majority-6")  # whose labels reach dialogues that have no other
    assert recognised.extract_recognised(six, misheard(table), 1)["sets"] == sets
    other = misheard(table).mask((table["session"] == 2).to_numpy(), "well")
    after = recognised.extract_recognised(place, other, 1)["sets"]
    changed = {key for key, about in after.items() if about["recipe"] != before[key]}
    assert changed == {base + name for name in ("+whisper-tiny-en", "+whisper-tiny-en/session2")}


def test_runs_find_their_recognised_set(tiny_bert, tmp_path, monkeypatch, here):
    place, _, sets = with_sets(tmp_path / "made", tiny_bert, False, monkeypatch)
    data = describe(place)
    data["features"]["audio"] = data["features"]["text"]  # the store has none
    assert set(data["features"]["fits"]) == {"+whisper-tiny-en", "+whisper-tiny-en/session5"}
    for text, key in zip(RECOGNISED, ("+whisper-tiny-en", "+whisper-tiny-en/session5"), strict=True):
        run = experiment(f"{text}_full", "quick")
        assert _features(data, run, "session5")["text"] == sets[f"text/tiny-bert{key}"] and not unfitted(data, run)
        assert _features(data, experiment("full", "quick"), "session5")["text"] == sets["text/tiny-bert"]
    assert unfitted(describe(here), run) == ["+whisper-tiny-en/session5"]
    assert "crossfitted" not in "".join(possible(data, list(GROUPS["asr"]))[1].values())
    silent = data | {"features": {"text": data["features"]["text"]}}
    refused = possible(silent, [a.experiment for a in RECOGNITION])[1]
    assert refused["recognised_text_only"] == "simulated has no recordings whose words could be recognised"
    assert len(refused) == len(RECOGNITION)
    assert {job.key for job in planned(place, data, ["recognised_full"], 1)}.isdisjoint(
        job.key for job in planned(place, data, ["full", "recognised_test_full"], 1)
    )


def test_a_fitted_encoder_is_fitted_to_what_it_will_read(tiny_bert, tmp_path, monkeypatch):
    """To recognised text where training has it, to the transcript where the test part alone has."""
    place, table, sets = with_sets(tmp_path, tiny_bert, True, monkeypatch)
    tested = (table["session"] == 5).to_numpy()
    start = f"text/tiny-bert+whisper-tiny-en/{FIT.key}"
    assert {f"{start}", f"{start}/test"} <= sets.keys()
    own, _ = read_set(place, FIT.key)
    both, alone = (store.Features(place.features, sets[key]).vectors().numpy() for key in (start, f"{start}/test"))
    assert alone[~tested].tobytes() == own[~tested].tobytes()
    same = (misheard(table).to_numpy() == table["text"].to_numpy()) & tested
    assert not same.any() and not (alone[tested] == both[tested]).all(axis=1).any()
    folder = next(f for f in place.features.parent.glob("encoders/*") if _reads(f, table, own))
    again = np.stack([v for v, _ in TextEncoder(folder, "x")(misheard(table)[tested])])
    np.testing.assert_allclose(alone[tested], again, atol=1e-5)
    assert set(describe(place)["features"]["fits"]) >= {FIT.key, f"+whisper-tiny-en/{FIT.key}"}


def _reads(folder, table, own) -> bool:
    """Whether an encoder is the fold's own."""
    made = TextEncoder(folder, "x")(table["text"][:1])
    return np.allclose(next(iter(made))[0], own[0], atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [("the cat sat", "the cat sat on", 1), ("a b c d", "a x d", 2), ("", "a b", 2), ("a b", "", 2), ("a b", "b a", 2)],
)
def test_edits_by_hand(a, b, want):
    assert costs.edits(a.split(), b.split()) == costs.edits(b.split(), a.split()) == want


def test_the_word_error_rate_is_over_all_words(monkeypatch):
    """Four of eight: one replaced, one left out, one added, one not heard at all; case and stops count nothing."""
    said = ["The cat sat.", "No, no!", "a b", "Hi", ""]
    assert costs.word_error_rate(said, ["the CAT sit", "no", "a b c", "", "hm"]) == 4 / 8
    assert costs.word_error_rate(said, said) == 0 and np.isnan(costs.word_error_rate([""], ["a"]))


def test_costs_stand_beside_the_transcript_and_what_no_text_costs(here, tmp_path):
    frame, names = rows(dialogues=29), ["full", "recognised_full", "linear", "recognised_test_linear"]
    lines = [record(tmp_path, name, seed, frame) for name in names for seed in range(3)]
    lines.append(record(tmp_path, "full", 3, frame))  # a seed that its alternative lacks
    table = utterances(here.features)
    heard = pd.Series(["well", "", *["well"] * 138], index=table["id"])
    losses = {"experiment": ["full"] * 3 + ["full_moddrop"], "modality": "text", "rate": [0, 0.5, 1, 1]}
    losses |= {"accuracy_mean": [0.9, 0.8, 0.6, 0.1], "accuracy_std": 0.01, "n_seeds": 10, "labels": "majority-4"}
    here.results.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(losses | {"runs": "0"}).to_csv(here.results / "missing.csv", index=False)
    found = costs.table(pd.DataFrame(lines), DATA, here, heard)
    assert list(found) == costs.COLUMNS
    kinds = [costs.TRANSCRIPT, *dict.fromkeys(a.says for a in RECOGNITION)]
    assert found["text"][:5].tolist() == [*kinds, "none in 50% of the test turns", "none in 100% of the test turns"]
    assert found["model"].tolist() == ["full"] * 5 + ["text_only"] * 3 + ["linear"] * 3
    full, test_alone, both = found.iloc[0], found.iloc[1], found.iloc[2]
    assert full["n_seeds"] == both["n_seeds"] == 3 and test_alone["note"].startswith("not run")
    assert both["difference"] == pytest.approx(both["accuracy_mean"] - full["accuracy_mean"], abs=0.011)
    assert both["wer"] == pytest.approx(100 / 140, abs=0.01) and both["nothing_recognised"] == 1
    assert np.isnan(full["wer"]) and np.isnan(test_alone["wer"])
    assert found["difference"][3:5].tolist() == [-10, -30] and found["accuracy_mean"][4] == 60
    bare = costs.table(pd.DataFrame(lines).iloc[:0], DATA, here, None)
    assert bare["difference"].iloc[:3].isna().all() and bare["note"].ne("").all() and bare["wer"].isna().all()
