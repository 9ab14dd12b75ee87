"""Checkpoints that load only whole, conversations with turns missing, and what a missing turn costs."""

import dataclasses
import json
import pickle
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import SIZES, lpgnet, made_table, write_store
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from lpgnet import labels, places
from lpgnet.beyond.conversation import missing_turns, predict, sources, spread, timeline, widgets
from lpgnet.corpora.sound import RATE
from lpgnet.experiments import experiment
from lpgnet.features.encoders import encoder
from lpgnet.machine.code import swhids
from lpgnet.runs import calibration, checkpoint, metrics, records, training
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.plan import current_records, planned

SEEN, TEST = "Ses01F_impro00", "Ses05F_impro00"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The made-up store with two seeds of both experiments; no test changes it."""
    made = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("trained"))
    write_store(made.features, made_table())
    training.run_missing(made, list(missing_turns.EXPERIMENTS), seeds=2, jobs=2, device="cpu")
    return made


@pytest.fixture(scope="module")
def job(place):
    return planned(place, records.read_data(place.runs), ["full"], 1)[0]


@pytest.fixture(scope="module")
def folder(place, job):
    return place.checkpoints / "full" / job.path.stem


@pytest.fixture(scope="module")
def reader(folder):
    return checkpoint.load(folder)


@pytest.fixture(scope="module")
def data(place, job):
    (fold,) = labels.folds(labels.manifest(made_table(), "majority-4"), "session5")
    return Dataset(place.features, job.features, job.run.data, "majority-4", fold, False)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def vectors(data: Dataset, units: list) -> dict:
    index = torch.cat(units)
    at = data.table["place"].iloc[index.numpy()].tolist()
    return {m: f.vectors()[at] for m, f in data.features.items()}


def lengths(units: list) -> list[int]:
    return [len(unit) for unit in units]


# Checkpoints


def test_a_checkpoint_is_the_one_of_the_record(reader, job, data):
    """Reference: what the run itself wrote of its test part."""
    record, written = records.read(job.path), pd.read_parquet(job.path.with_suffix(".parquet"))
    units = data.units["test"]
    probability, weight = reader(vectors(data, units), lengths(units))
    raw = written[[f"p_{name}" for name in reader.classes]].to_numpy()
    assert reader.validation == record.validation and any(record.validation.values())
    assert list(reader.sizes) == ["text", "audio"] and reader.temperature != 1
    assert reader.temperature == record.temperature and reader.trained["key"] == record.key
    assert_allclose(probability.numpy(), calibration.scaled(raw, record.temperature), atol=1e-5)
    assert_allclose(weight["audio"].numpy(), written["weight_audio"], rtol=1e-5)


def test_saving_and_loading_again_changes_nothing(reader, tmp_path):
    reader.save_pretrained(tmp_path / "again")
    again = checkpoint.Reader.from_pretrained(tmp_path / "again")
    rows = {m: torch.randn(5, size) for m, size in SIZES.items()}
    assert_close(again(rows)[0], reader(rows)[0], atol=0, rtol=0)
    assert (again.trained, again.encoders, again.classes) == (reader.trained, reader.encoders, reader.classes)


def test_a_checkpoint_holds_no_pickle_and_a_card_that_says_what_it_is(folder):
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    card = (folder / "README.md").read_text()
    for words in (
        "says nothing about emotion",
        "majority-4: happy, sad, neutral, angry",
        "made-up, version 1",
        f"by SWHID | {swhids()[0]}",
    ):
        assert words in card
    assert "`full_moddrop` is the model whose turns did" in card


def test_an_import_of_the_simulated_corpus_says_so_too(hearer):
    told = [checkpoint.origin(hearer.trained | {"corpus": name}) for name in ("simulated-mine", "iemocap")]
    assert "says nothing about emotion" in told[0] and told[1] == "Trained on iemocap, labels majority-4."


def test_an_absent_turn_is_the_training_mean(reader, data):
    rows = vectors(data, data.units["test"][:1])
    absent = {m: x.clone() for m, x in rows.items()}
    absent["text"][2] = torch.nan
    rows["text"][2] = data.scalers["text"].mean
    assert_close(reader(absent)[0], reader(rows)[0])


def test_a_conversation_does_not_see_its_neighbour(reader, data):
    units = data.units["test"][:2]
    both, _ = reader(vectors(data, units), lengths(units))
    alone = [reader(vectors(data, [unit]))[0] for unit in units]
    assert_close(both, torch.cat(alone))


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"text": torch.zeros(2, 5)},
        {"text": torch.zeros(2, 5), "audio": torch.zeros(3, 3)},
        {"text": torch.zeros(0, 5), "audio": torch.zeros(0, 3)},
    ],
)
def test_rows_of_another_shape_are_refused(reader, rows):
    with pytest.raises(ValueError, match=r"want \(N, F\) with F"):
        reader(rows)


def content(name, change):
    """Damage: a file's bytes as `change` makes them."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def weights(change):
    """Damage: the tensors that `change` makes of them, saved as they should be."""
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def config(change):
    """Damage: the configuration after `change` was at it."""

    def damage(folder):
        values = json.loads((folder / "config.json").read_text())
        change(values)
        (folder / "config.json").write_text(json.dumps(values))

    return damage


def of_an_earlier_version(folder):
    """As 0.1.0 named Eq. (2)'s weights."""
    weights(lambda kept: {n.replace("encode.text.", "encode.text.project."): t for n, t in kept.items()})(folder)
    config(lambda c: c["trained"].update(version="0.0.1"))(folder)


WEIGHTS = "model.safetensors"
PICKLE = pickle.dumps({"model.classify.bias": [0.0]})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (weights(lambda kept: {n: t for n, t in kept.items() if n != "model.classify.bias"}), "lacks model.classify"),
        (weights(lambda kept: kept | {"mean_text": torch.zeros(6)}), r"another shape mean_text \(6,\) \(want \(5,\)\)"),
        (content(WEIGHTS, lambda data: PICKLE), "is no safetensors file, or a damaged one"),
        (content(WEIGHTS, lambda data: data[:-40]), "is no safetensors file, or a damaged one"),
        (content(WEIGHTS, lambda data: data[:-9] + bytes([data[-9] ^ 64]) + data[-8:]), "has other weights than were"),
        (content("config.json", lambda data: b'{"model_type": "bert"}'), "is not of an LPGNet checkpoint: it lacks"),
        (content("config.json", lambda data: b"{"), "can't be read as JSON"),
        (config(lambda c: c["model"].update(kind="SDT")), "kind SDT: want LPGNet"),
        (of_an_earlier_version, "was saved by lpgnet 0.0.1.* make it anew with `python -m lpgnet"),
        (config(lambda c: c.pop("validation")), "was saved before checkpoints had validation.* run notebook 08"),
        (config(lambda c: c["validation"].update(happy=[1.5])), r"validation\.happy\.0.*less than or equal to 1"),
        (config(lambda c: c["validation"].update(happy=[float("nan")])), r"validation\.happy\.0"),
        (config(lambda c: c["validation"].update(happy="0.5")), r"validation\.happy.*list"),
        (config(lambda c: c["validation"].update(bored=[0.5])), r"validation is of \['angry', 'bored'.*the classes"),
        (lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"), "lacks model.safetensors, it holds"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_clear_error(copy, damage, says):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        checkpoint.load(copy)


def test_the_checkpoint_is_chosen_by_what_is_missing_and_what_it_has_seen(place, folder):
    assert checkpoint.choose_checkpoint(place, TEST) == folder
    assert folder.name.startswith("0-")
    assert checkpoint.choose_checkpoint(place, TEST, lacking=True).parent.name == "full_moddrop"


def test_a_fold_that_has_not_seen_the_dialogue_comes_first_and_a_stale_one_never(place, folder, monkeypatch):
    second = checkpoint.current_checkpoints(place, "full")[1]
    assert [p.name[0] for p in checkpoint.current_checkpoints(place, "full")] == ["0", "1"]
    shutil.copytree(folder, stale := folder.with_name("0-00000000"))
    assert stale not in checkpoint.current_checkpoints(place, "full")
    shutil.rmtree(stale)
    about = {
        folder / "config.json": {"dialogues": {"train": [TEST]}, "fold": "session5", "seed": 0},
        second / "config.json": {"dialogues": {"train": [SEEN]}, "fold": "session1", "seed": 1},
    }
    monkeypatch.setattr(checkpoint, "read_json", lambda path: {"trained": about[path]})
    assert checkpoint.choose_checkpoint(place, TEST) == second
    assert checkpoint.choose_checkpoint(place, SEEN) == folder


def test_no_checkpoint_says_what_to_run(here):
    with pytest.raises(FileNotFoundError, match="run notebook 08, or give --checkpoint"):
        checkpoint.choose_checkpoint(here)


# Prediction from a store


def test_a_dialogue_of_the_store_is_predicted_turn_by_turn(place, reader):
    got, talk = predict.open_conversation(place, dialogue=TEST)
    rows = predict.vectors(got, talk)
    turns = predict.turn_predictions(got, talk, rows)
    p = reader(rows)[0].double().numpy()
    assert turns["turn"].tolist() == list(range(1, 8)) and turns["has_text"].all() and turns["has_audio"].all()
    assert_allclose(turns[[f"p_{c}" for c in reader.classes]], p)
    assert turns["predicted"].tolist() == [reader.classes[i] for i in p.argmax(1)]
    assert turns["abstain"].tolist() == (p.max(1) < 0.5).tolist()
    assert set(turns["label"]) <= {*reader.classes, ""}
    assert_allclose(turns["weight_text"] + turns["weight_audio"], 1, rtol=1e-6)


def test_a_set_holds_the_classes_above_the_threshold_the_most_probable_first(asked, hearer):
    talk, rows, _ = asked
    few, some = (predict.turn_predictions(hearer, talk, rows, coverage=c) for c in (0.1, 0.8))
    least = calibration.threshold(hearer.validation, 0.8)
    for line in some.to_dict("records")[:3]:
        p = {name: line[f"p_{name}"] for name in hearer.classes}
        kept = [name for name in sorted(p, key=p.get, reverse=True) if p[name] >= least]
        assert line["set"] == tuple(kept or [line["predicted"]])
    assert few["set"].map(len).tolist() == [1, 1, 1, 4]  # of the last nothing is known
    assert few["set"].str[0].tolist() == few["predicted"].tolist()
    said = " ".join(predict.notes(hearer, talk, some, coverage=0.8))
    assert "Sets hold the true class in 80 % of turns like the 36 of validation;" in said
    assert "Sets hold every class: 36 turns" in " ".join(predict.notes(hearer, talk, some, coverage=0.99))
    with pytest.raises(ValueError, match="coverage is 1: want a number between 0 and 1"):
        predict.turn_predictions(hearer, talk, rows, coverage=1)


def test_entropy_by_hand():
    p = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert_allclose(predict.entropy(p), [0.0, 1.0, 0.5])


def test_growing_is_the_prediction_of_each_prefix(place, reader):
    rows = predict.vectors(reader, predict.open_conversation(place, dialogue=TEST)[1])
    rows["text"][1] = torch.nan
    grown = predict.by_turns_known(reader, rows)
    assert grown.shape == (7, 7, 4)
    for i in range(7):
        prefix, _ = reader({m: x[: i + 1] for m, x in rows.items()})
        assert_allclose(grown[i, : i + 1], prefix.numpy(), atol=1e-6)
        assert np.isnan(grown[i, i + 1 :]).all()


def test_a_dialogue_that_the_model_has_seen_is_said(place, reader):
    for dialogue, said in ((SEEN, True), (TEST, False)):
        talk = sources.read(place, reader.encoders, dialogue=dialogue)
        turns = predict.turn_predictions(reader, talk, predict.vectors(reader, talk))
        notes = " ".join(predict.notes(reader, talk, turns))
        assert ("The model has seen this dialogue" in notes) == said
        assert "says nothing about emotion" in notes
    assert sources.tested_dialogue(place) == TEST


def test_features_of_another_recipe_are_refused(place, reader):
    other = {m: about | {"recipe": "another"} for m, about in reader.encoders.items()}
    with pytest.raises(LookupError, match="lacks the text features that the checkpoint was trained on"):
        sources.read(place, other, dialogue=TEST)


# A folder of one's own


def tone(path, seconds=0.5, rate=RATE, channels=1, pitch=150):
    time = np.arange(int(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * pitch * time)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)


CSV = "wav,text,speaker\na.wav,I am so happy,Ann\n,The house is old,Ben\nc.wav,,Ann\n,,Ben\n"


@pytest.fixture
def own(tmp_path):
    """Four turns: both, text alone, audio alone in stereo at 44.1 kHz, nothing."""
    folder = tmp_path / "talk"
    folder.mkdir()
    tone(folder / "a.wav")
    tone(folder / "c.wav", rate=44_100, channels=2)
    (folder / "transcript.csv").write_text(CSV)
    (folder / "._a.wav").write_bytes(b"what a Mac leaves")
    return folder


@pytest.fixture(scope="module")
def hearer():
    """An untrained reader of the encoders that ship with us."""
    text, audio = encoder("text", places.OFFLINE[0]), encoder("audio", "prosody")
    run = experiment("full_moddrop", "quick").as_dict()
    known = {"experiment": "full_moddrop", "seed": 0, "fold": "session5", "key": "0", "labels": "majority-4"}
    torch.manual_seed(0)
    return checkpoint.Reader(
        model=run["model"],
        sizes={"text": text.size, "audio": audio.size},
        classes=["happy", "sad", "neutral", "angry"],
        standardise=True,
        encoders={
            m: {"encoder": e.name, "version": e.version, "recipe": ""} for m, e in (("text", text), ("audio", audio))
        },
        temperature=1.5,
        validation={name: [0.1 * i for i in range(1, 10)] for name in ("happy", "sad", "neutral", "angry")},
        trained=known
        | {"corpus": "simulated", "place": "simulated", "profile": "quick", "split": "session5"}
        | {"config": run, "dialogues": {"train": [], "validation": []}, "version": "0"},
    )


@pytest.fixture
def asked(own, hearer):
    """The four turns, their vectors, and what is predicted of them."""
    talk = sources.from_folder(own)
    rows = predict.vectors(hearer, talk)
    return talk, rows, predict.turn_predictions(hearer, talk, rows)


def test_csv_and_json_say_the_same(own):
    first = sources.from_folder(own)
    (own / "transcript.csv").unlink()
    lines = [dict(zip(("wav", "text", "speaker"), line.split(","), strict=True)) for line in CSV.split("\n")[1:-1]]
    lines[1]["wav"] = None  # as empty as ""
    (own / "transcript.json").write_text(json.dumps(lines))
    second = sources.from_folder(own)
    pd.testing.assert_frame_equal(first.turns, second.turns)
    assert first.has("text").tolist() == [True, True, False, False]
    assert first.has("audio").tolist() == [True, False, True, False]


def test_turns_stand_in_order_of_start_where_all_have_one(own):
    (own / "transcript.csv").write_text("\ufeffwav,text,start,end\na.wav,b,2,3\nc.wav,a,1,1.5\n", encoding="utf-8")
    assert sources.from_folder(own).turns["text"].tolist() == ["a", "b"]
    (own / "transcript.csv").write_text("wav,text,start,end\na.wav,b,2,3\nc.wav,a,,\n")
    assert sources.from_folder(own).turns["text"].tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("transcript", "says"),
    [
        ("wav,words\na.wav,hello\n", r"unknown \['words'\]: there are wav, text, speaker, start, end"),
        ("wav;text\na.wav;hello\n", r"unknown \['wav;text'\]"),
        ("speaker\nAnn\n", r"only \['speaker'\]"),
        ("wav,text,text\na.wav,b,c\n", r"\['text'\] twice"),
        ("", "has columns only"),
        ("wav,text\n", "has no turn with text or wav"),
        ("wav,text\n,\n , \n", "has no turn with text or wav"),
        ("wav,text\na.wav,well, yes\nc.wav,no\n", "turn 1 has 3 cells, the head 2: quote"),
        ("wav,text\na.wav,x\n", "has 1 wavs that no line of transcript.csv names: c.wav"),
        ("wav,text\na.wav,x\na.wav,y\nc.wav,z\n", "names a.wav for two turns"),
        ("wav,text\nb.wav,x\n", "turn 1: no file 'b.wav' in"),
        ("wav,text\n../a.wav,x\n", "lies outside"),
        ("wav,text,start\na.wav,x,soon\n", "turn 1: start is 'soon': want seconds"),
        ("wav,text,start\na.wav,x,-1\n", "start is '-1': want seconds"),
        ("wav,text,start,end\na.wav,x,2,1\n", "turn 1 ends at 1.0 s, before its start"),
        (b"wav,text\na.wav,caf\xe9\n", "want CSV in UTF-8"),
        ("{", "can't be read as JSON"),
        ('{"turns": []}', "is no list of objects"),
        ('[{"text": 3}]', "turn 1: text is 3, want a string"),
        ('[{"text": "a", "start": true}]', "start is True: want seconds"),
        ("[]", "has columns only"),
    ],
)
def test_each_bad_transcript_is_one_clear_error(own, transcript, says):
    """JSON where it begins as such."""
    data = transcript if isinstance(transcript, bytes) else transcript.encode()
    (own / "transcript.csv").unlink()
    (own / f"transcript.{'json' if data[:1] in b'[{' and data else 'csv'}").write_bytes(data)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        sources.from_folder(own)


def test_which_folder_is_none(own):
    with pytest.raises(FileNotFoundError, match="no folder"):
        sources.from_folder(own / "nowhere")
    (own / "transcript.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match="it has both"):
        sources.from_folder(own)


def test_turns_without_text_or_audio_are_predicted(asked, hearer):
    talk, rows, turns = asked
    assert turns["has_text"].tolist() == [True, True, False, False]
    assert turns["has_audio"].tolist() == [True, False, True, False]
    assert turns["abstain"].tolist()[3]  # nothing is known of it
    bold = predict.turn_predictions(hearer, talk, rows, sure=0.0)
    assert bold["abstain"].tolist() == [False, False, False, True]
    assert np.isfinite(turns.filter(like="p_").to_numpy()).all()
    assert "text of 2 of 4 turns, audio of 2 of 4 turns" in " ".join(predict.notes(hearer, talk, turns))


def test_a_clip_of_another_rate_and_stereo_is_the_same_sound(own, asked, hearer):
    first = asked[1]["audio"][2]
    tone(own / "c.wav")
    second = predict.vectors(hearer, sources.from_folder(own))["audio"][2]
    assert (first - second).abs().median() < 0.05 * second.abs().median()


def test_a_silent_clip_and_a_very_short_one_are_read_and_a_broken_one_is_named(own, hearer):
    soundfile.write(own / "a.wav", np.zeros(RATE), RATE)
    soundfile.write(own / "c.wav", np.ones(1), RATE)
    talk = sources.from_folder(own)
    assert np.isfinite(predict.vectors(hearer, talk)["audio"][[0, 2]].numpy()).all()
    (own / "c.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"c\.wav"):
        predict.vectors(hearer, talk)


@pytest.mark.parametrize("kept", ["wav", "text"])
def test_a_whole_modality_may_be_missing(own, hearer, kept):
    lines = {"wav": "wav\na.wav\nc.wav\n", "text": "text\nI am so happy\nno\n"}
    if kept == "text":
        (own / "a.wav").unlink(), (own / "c.wav").unlink()
    (own / "transcript.csv").write_text(lines[kept])
    talk = sources.from_folder(own)
    rows = predict.vectors(hearer, talk)
    turns = predict.turn_predictions(hearer, talk, rows)
    assert turns["has_audio"].all() == (kept == "wav") and turns["has_text"].any() == (kept == "text")
    gone = {"wav": ["audio"], "text": ["text"]}[kept]
    with pytest.raises(ValueError, match="neither text nor audio left in any turn"):
        predict.turn_predictions(hearer, talk, predict.masked(rows, gone))


def altered(reader, **changes):
    """The same reader, of which something else is said."""
    return checkpoint.Reader(**reader._hub_mixin_config | changes)


def test_an_encoder_of_another_version_or_none_is_refused(own, hearer):
    other = hearer.encoders | {"audio": hearer.encoders["audio"] | {"version": "0, librosa 0.1"}}
    with pytest.raises(ValueError, match=r"trained on prosody, version 0, librosa 0\.1; here is prosody, version 1"):
        predict.vectors(altered(hearer, encoders=other), sources.from_folder(own))
    imported = altered(hearer, trained=hearer.trained | {"corpus": "theirs"})
    with pytest.raises(ValueError, match="--corpus theirs --dialogue NAME"):
        predict.vectors(imported, sources.from_folder(own))


def test_a_text_encoder_fitted_to_a_fold_is_found_by_its_weights(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "encoders" / "text-0000000a")
    version = predict.TextEncoder(tiny_bert, "").version
    shutil.copytree(tiny_bert, other := tmp_path / "encoders" / "text-00000000")
    weights = load_file(other / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, other / "model.safetensors")
    fitted = sorted((tmp_path / "encoders").iterdir())
    made = predict._finetuned({"encoder": "tiny, fine-tuned", "version": version}, fitted)
    assert made.folder.name == "text-0000000a"
    with pytest.raises(FileNotFoundError, match=r"version 0, in .*: run notebook 01"):
        predict._finetuned({"encoder": "tiny, fine-tuned", "version": "0"}, fitted)


def test_a_turn_that_is_longer_than_the_encoder_reads_is_named(own, hearer):
    path = own / "transcript.csv"
    path.write_text(path.read_text().replace("The house is old", "The house is old " * 130))
    talk = sources.from_folder(own)
    rows = predict.vectors(hearer, talk)
    number = talk.turns["text"].str.len().argmax() + 1
    said = predict.notes(hearer, talk, predict.turn_predictions(hearer, talk, rows))
    assert said[-1] == f"Cut: the text encoder reads 512 tokens of turn {number}."


def test_the_player_has_a_sound_where_there_is_a_clip(asked):
    talk, _, turns = asked
    page = widgets.clips(talk, turns).data
    assert "<th>set</th>" in page and "neutral, " in page
    assert page.count("<audio") == 2 and page.count("<tr>") == 5 and "The house is old" in page


def test_the_switches_and_sliders_change_what_is_shown(asked, hearer):
    top, fault, picture, heard, sound = widgets.live(hearer, *asked[:2]).children
    known, text, audio = top.children
    whole = bytes(picture.value)
    known.value = 2
    assert bytes(picture.value[:4]) == b"\x89PNG" and bytes(picture.value) != whole
    text.value = audio.value = False
    assert picture.value == b"" and fault.value.startswith("Nothing is chosen: tick text or audio")
    known.value, audio.value = 2, True
    assert picture.value and not fault.value
    known.value, text.value, audio.value = 2, True, False
    known.value = 1
    assert sound.value.startswith("I am so happy") and "<audio" in sound.value
    heard.value = 2
    assert sound.value == "The house is old (no clip)"


def test_no_axis_moves_as_turns_come(asked, hearer, monkeypatch):
    (talk, rows, _), drawn, seen, made = asked, [], [], timeline.timeline
    monkeypatch.setattr(timeline, "timeline", lambda *asked: drawn.append(made(*asked)) or drawn[-1])
    for known in (1, 3, 4):
        widgets._picture(hearer, talk, rows, known)
        axes = drawn[-1].axes
        seen.append([(axis.get_position().bounds, axis.get_xlim(), axis.get_ylim()) for axis in axes])
        bars = [bar.get_height() for bar in axes[0].patches[:4]]
        assert np.isfinite(bars).tolist() == [i < known for i in range(4)]
    assert seen[0] == seen[1] == seen[2]


def test_a_word_corrected_moves_its_turn_and_the_others(own, asked, hearer):
    """Reference: a folder whose transcript has the other words from the start."""
    talk, rows, _ = asked
    path = own / "transcript.csv"
    path.write_text(path.read_text().replace("The house is old", "I am <angry>"))
    other = predict.vectors(hearer, sources.from_folder(own))
    found = predict.corrected(hearer, rows, 2, "I am <angry>")
    assert_close(found["text"], other["text"], equal_nan=True, atol=1e-5, rtol=0)
    assert found["audio"] is rows["audio"] and not rows["text"][1].isnan().any()
    assert predict.corrected(hearer, rows, 2, " ")["text"][1].isnan().all()
    page = widgets.corrected(hearer, talk, rows, 2, "I am <angry>").data
    first = page.split("<tr>")[2]
    assert page.count("<tr>") == 5 and first.startswith("<td>2</td><td>The house is old → I am &lt;angry&gt;</td>")
    p, q = hearer(rows)[0], hearer(other)[0]
    moved = (p - q).abs().sum(1) / 2
    assert first.endswith(f"<td>{moved[1]:.2f}</td></tr>") and f"{p[1].max():.2f}</td>" in first
    same = widgets.corrected(hearer, talk, rows, 2, "The house is old").data
    assert same.count("<td>0.00</td></tr>") == 4
    assert "reads no text" in widgets.corrected(hearer, talk, {"audio": rows["audio"]}, 1, "hm").data


def test_the_turn_on_whose_words_most_hangs_is_found(asked, hearer):
    _, rows, _ = asked
    said = [i + 1 for i, row in enumerate(rows["text"]) if not row.isnan().any()]
    without = {i: hearer(predict.corrected(hearer, rows, i, ""))[0] for i in said}
    moved = {i: float((p - hearer(rows)[0]).abs().sum()) for i, p in without.items()}
    assert predict.weightiest(hearer, rows) == max(moved, key=moved.get)


def test_words_are_edited_turn_by_turn(asked, hearer):
    chosen, words, table = widgets.correct(hearer, *asked[:2], 2).children
    assert words.value == "The house is old" and table.value.count("<td>0.00</td></tr>") == 4
    words.value = "I am angry"
    assert "The house is old → I am angry" in table.value
    chosen.value = 1
    assert words.value.startswith("I am so happy") and "angry" not in table.value.split("<tr>")[2]


def test_the_gate_is_said_of_what_a_turn_has_alone(asked):
    """Four turns: both, text alone, audio alone, nothing."""
    _, _, turns = asked
    has = turns[["has_text", "has_audio"]].to_numpy()
    said = np.array([predict.gate_weight(turns, m) for m in ("text", "audio")]).T
    assert ((said != "") == has).all() and has.sum() == 4
    assert float(said[0, 0]) + float(said[0, 1]) == pytest.approx(1, abs=0.011)
    table = predict.as_text(turns)
    assert "gate_text" in table and "trusts" not in table
    assert (predict.gate_weight(turns.drop(columns=["weight_text"]), "text") == "").all()


def test_all_seeds_stand_beside_the_answer_of_one(place, reader):
    talk = sources.from_store(place, TEST, reader.encoders)
    rows = predict.vectors(reader, talk)
    alone = predict.turn_predictions(reader, talk, rows)
    turns = spread.add_seeds(place, reader, rows, alone)
    both = [checkpoint.load(folder)(rows)[0] for folder in checkpoint.current_checkpoints(place, "full")]
    assert len(both) == 2 and set(turns["seeds"]) == {2}
    for i, line in enumerate(turns.to_dict("records")):
        own = [float(p[i, reader.classes.index(line["predicted"])]) for p in both]
        assert line["seeds_mean"] == pytest.approx(np.mean(own))
        assert [line["seeds_low"], line["seeds_high"]] == pytest.approx([min(own), max(own)])
        assert line["seeds_agree"] == sum(reader.classes[p[i].argmax()] == line["predicted"] for p in both)
    assert "what all 2 seeds give" in " ".join(predict.notes(reader, talk, turns))
    said = predict.as_text(turns)
    assert f"{turns['seeds_mean'][0]:.2f} ({turns['seeds_low'][0]:.2f} to {turns['seeds_high'][0]:.2f})" in said


def test_a_checkpoint_from_elsewhere_has_no_seeds_beside_it(place, reader):
    talk = sources.from_store(place, TEST, reader.encoders)
    rows = predict.vectors(reader, talk)
    turns = predict.turn_predictions(reader, talk, rows)
    for changes in ({"experiment": "../../full"}, {"key": "0"}, {"fold": "other"}):
        known = altered(reader, trained=reader.trained | changes)
        assert "seeds" not in spread.add_seeds(place, known, rows, turns)


def test_without_ipywidgets_the_controls_are_one_line(own, hearer, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert "pip install ipywidgets" in widgets.live(hearer, sources.from_folder(own), {}).data
    assert "pip install ipywidgets" in widgets.correct(hearer, sources.from_folder(own), {}).data


# The command


def test_the_command_writes_all_and_says_what_it_was_trained_on(place, tmp_path):
    done = lpgnet(place.output, "predict", "--dialogue", TEST, "--without", "text", "--out", str(tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "o").iterdir()} == {f"{TEST}.{e}" for e in ("csv", "json", "png")}
    table = pd.read_csv(tmp_path / "o" / f"{TEST}.csv")
    told = json.loads((tmp_path / "o" / f"{TEST}.json").read_text())
    assert [turn["set"] for turn in told["turns"]] == table["set"].str.split(", ").tolist()
    assert set(table["trained_on"]) == {"simulated"} and not table["has_text"].any()
    assert "simulated" in told["notes"][0] and "full_moddrop" in told["notes"][1] and "full_moddrop" in done.stdout
    assert [turn["predicted"] for turn in told["turns"]] == table["predicted"].tolist()
    assert "simulated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give a recording or a folder of your own, or a dialogue"),
        (("--dialogue", "Ses09"), "no dialogue 'Ses09' in"),
        (("nowhere",), "no folder"),
        (("nowhere", "--checkpoint", "missing"), "no checkpoint missing"),
        (("--dialogue", TEST, "--coverage", "1"), "coverage is 1.0: want a number between 0 and 1"),
        (("--dialogue", TEST, "--online"), "no checkpoint of past_full in"),
    ],
)
def test_a_wrong_call_is_one_clear_error_and_leaves_nothing(place, tmp_path, arguments, says):
    done = lpgnet(place.output, "predict", *arguments, "--out", str(tmp_path / "o"))
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()


# What a missing turn costs


def test_all_lost_is_the_other_modality_alone(reader, data):
    units = data.units["test"]
    rows = predict.masked(vectors(data, units), ["audio"])
    got = reader(rows, lengths(units))[0].argmax(-1).numpy()
    gold = data.labels[torch.cat(units)].numpy()
    found = missing_turns.confusion(reader, data, "audio", 1.0)
    assert found.tolist() == metrics.confusion(gold[gold >= 0], got[gold >= 0], 4).tolist()


def test_lost_turns_are_nested_and_depend_on_the_dialogue_alone():
    before = np.zeros(40, bool)
    for rate in missing_turns.RATES:
        now = missing_turns.lost_turns(TEST, 40, rate)
        assert now.sum() == round(rate * 40) and (now | ~before).all()
        before = now
    first, again, other = (missing_turns.lost_turns(name, 40, 0.5).tolist() for name in (TEST, TEST, SEEN))
    assert first == again != other


def test_the_table_has_every_rate_and_its_first_line_is_the_tables_score(place, tmp_path):
    data = records.read_data(place.runs)
    frame = missing_turns.table(place, data, 2)
    assert len(frame) == 2 * 2 * len(missing_turns.RATES) and set(frame["n_seeds"]) == {2}
    assert frame["modality"].drop_duplicates().tolist() == ["text", "audio"]
    runs, none = current_records(place, data), frame[frame["rate"] == 0]
    for line in none.to_dict("records"):  # by experiment and modality, of which nothing is lost
        mine = runs.loc[runs["experiment"] == line["experiment"], "confusion"]
        right = [metrics.scores(counts["best_validation"]) for counts in mine]
        for name in missing_turns.SCORES:
            each = [score[name] for score in right]
            assert (line[f"{name}_mean"], line[f"{name}_std"]) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
    assert len(none) == 4
    assert set(frame["corpus"]) == {"simulated"}
    paths = missing_turns.write(frame, dataclasses.replace(place, output=tmp_path))
    assert [p.name for p in paths] == ["missing.csv", "missing.md", "missing.png"]
    assert "Simulated corpus" in paths[1].read_text()


def test_what_missing_turns_cost_is_measured_once(place, tmp_path, monkeypatch, capsys):
    data, other = records.read_data(place.runs), dataclasses.replace(place, output=tmp_path)
    shutil.copytree(place.results, other.results)
    first = missing_turns.costs(other, data, 1)
    assert "checkpoints of full tried: 1 of 1" in capsys.readouterr().out
    monkeypatch.setattr(missing_turns, "table", lambda *_: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(missing_turns.costs(other, data, 1), first)
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        missing_turns.costs(other, data, 2)  # of more seeds


def test_a_run_without_a_checkpoint_is_named(place, tmp_path):
    bare = dataclasses.replace(place, output=tmp_path)
    shutil.copytree(place.results, bare.results)
    shutil.rmtree(bare.checkpoints)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*: delete .*json, if it is there, and run"):
        missing_turns.table(bare, records.read_data(bare.runs), 1)


# Pictures


def test_the_timeline_marks_what_is_missing_and_what_is_not_sure(asked, hearer):
    turns = predict.turn_predictions(hearer, *asked[:2], sure=1.0)
    figure = timeline.timeline(turns, "talk", "Trained on the simulated corpus")
    marks = {line.get_label(): line.get_xdata() for axis in figure.axes for line in axis.lines}
    assert list(marks["abstains"]) == [1, 2, 3, 4] and "missing here" in marks
    assert figure.get_supxlabel() == "Trained on the simulated corpus"
    first = figure.axes[0].patches
    assert len(first) == 16
    assert first[3].get_height() == pytest.approx(turns["p_happy"].iloc[3])


def test_the_timeline_has_words_and_times_below_its_bars(asked):
    turns = asked[2].assign(start=[0.0, 65.4, np.nan, 70.0], text=["it was $5 and $6", "早 yes", "", "a " * 60])
    labels = timeline.timeline(turns, "talk", "").axes[2].get_xticklabels()
    said = [label.get_text() for label in labels]
    assert not any(label.get_parse_math() for label in labels)
    assert said[:3] == ["1 0:00  it was $5 and $6", "2 1:05  · yes", "3"]
    assert said[3].startswith("4 1:10  a a ") and said[3].endswith(" …") and len(said[3]) < timeline.WORDS + 9
    timeline.timeline(turns, "talk", "")._repr_png_()  # no warning of a glyph, no formula


def test_the_growing_picture_is_white_where_a_turn_was_not_yet_said():
    probabilities = np.full((3, 3, 4), np.nan)
    probabilities[np.tril_indices(3)] = [0.0, 1.0, 0.0, 0.0]
    picture = timeline.growing(probabilities, ("a", "b", "c", "d"), "talk", "caption").axes[0].images[0]
    shown = np.asarray(picture.get_array())  # turn down, turns known across
    assert (shown[2, 0] == 1).all() and (shown[0, 2] == shown[0, 0]).all() and not (shown[0, 2] == 1).all()
