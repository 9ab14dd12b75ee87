"""Hostile and broken files: one line each, nothing run, written elsewhere or blown up."""

import json
import pickle
import random
import resource
import shutil
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import refused
from test_imported import IDS, NINE, fields, iemocap, read_fields, rewritten, write
from test_predict import hearer, own  # noqa: F401 - fixtures

from lpgnet import places
from lpgnet.beyond.conversation import predict, sources
from lpgnet.beyond.exchange import commands, unpickle
from lpgnet.beyond.exchange.assemble import framed
from lpgnet.beyond.exchange.export import export
from lpgnet.beyond.exchange.imported import read
from lpgnet.corpora import sound
from lpgnet.corpora.table import COLUMNS, utterances
from lpgnet.features import store
from lpgnet.labels import labelled
from lpgnet.machine.files import below, plain_name, plain_string, plain_text
from lpgnet.runs import checkpoint

# Names that become parts of paths


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "a\\b", "/etc", "a\0b", "a\rb", "\ud800", "x" * 201, 3, None]
)
def test_what_is_no_name(name):
    refused(plain_name, name, "the place", says="^the place is ")


@pytest.mark.parametrize("name", ["Ses01F_impro01", "train_0", "simulated--quick", "dialogue é 1"])
def test_what_is_a_name(name):
    assert plain_name(name, "the place") == name


def test_a_path_stays_below_its_root(tmp_path):
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    (root / "out.wav").symlink_to(tmp_path / "b.wav")
    (root / "loop.wav").symlink_to(root / "loop.wav")
    assert below(root, "in/a.wav", "wav") == root / "in" / "a.wav"
    assert not below(root, "loop.wav", "wav").is_file()
    for name in ("../b.wav", "in/../../b.wav", str(tmp_path / "b.wav"), "out.wav", "..", "in/../in/a.wav"):
        refused(below, root, name, "wav", says="wav is .* which lies outside")
    refused(below, root, "a\0.wav", "wav", says=r"may have no '\\x00'")


@pytest.mark.parametrize("name", ["Simulated", "IEMOCAP", "labels", "Results", "..", "a/b", "x" * 101, "a\n"])
def test_what_an_import_may_not_be_called(tmp_path, monkeypatch, name):
    monkeypatch.setattr("lpgnet.places.OUTPUT", tmp_path)
    refused(commands.import_file, tmp_path / "x.pkl", name, says="--name .*: want at most 100 letters")


def test_an_import_may_not_differ_from_another_by_case_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("lpgnet.places.OUTPUT", tmp_path)
    (tmp_path / "results" / "mine").mkdir(parents=True)
    refused(commands.import_file, tmp_path / "x.pkl", "Mine", says="mine exists, and many disks")


# Checkpoints


def _set(held, path, value):
    *way, last = path.split(".")
    for part in way:
        held = held[part]
    held[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("temperature", value) for value in ("1.5", 0, -1, float("nan"), float("inf"), True, None, [1])),
        *(("trained", value) for value in ([], "x", None, {})),
        ("trained.place", 3), ("trained.place", "a\0"), ("trained.labels", "no"), ("trained.dialogues", []),
        ("trained.config", []), ("trained.seed", "0"),
        ("sizes", [384, 3]), ("sizes.text", "384"), ("sizes.text", -1), ("sizes.text", 10**30),
        ("sizes.text", 10**12), ("model.hidden", 10**9), ("model.hidden", "wide"), ("model", []),
        ("classes", {}), ("classes", ["one"]), ("classes", ["a", "b", "c", "d\ud800"]),
        ("encoders", []), ("encoders.text", "x"), ("encoders.text.version", 1),
    ],
)  # fmt: skip
def test_a_checkpoint_s_config_is_checked(hearer, tmp_path, path, value):  # noqa: F811
    hearer.save_pretrained(tmp_path)
    checkpoint.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    _set(config, path, value)
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(
        checkpoint.load, tmp_path, says="don't fit" if value in (10**12, 10**9) else "describes no LPGNet"
    )  # no room taken


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"temperature": ' + "9" * 5000 + "}", "[]"])
def test_a_config_that_is_no_object_is_one_line(hearer, tmp_path, text):  # noqa: F811
    hearer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    refused(checkpoint.load, tmp_path, says=r"config\.json (can't be read as JSON|holds a list)")


def test_a_checkpoint_can_t_say_where_to_write(hearer, own, tmp_path, monkeypatch):  # noqa: F811
    hearer.trained["place"], kept = "../../elsewhere", hearer.trained["place"]
    monkeypatch.setattr(predict, "OUTPUT", tmp_path / "output")
    monkeypatch.setattr(predict, "open_conversation", lambda *_, **__: (hearer, sources.from_folder(own)))
    try:
        refused(
            list,
            predict.predict_and_write(places.place(), {}, [], {}, 0.5, 0.9, None),
            says="the place .* lies outside",
        )
    finally:
        hearer.trained["place"] = kept
    assert {p.name for p in tmp_path.iterdir()} == {"talk"}


def test_a_dialogue_can_t_say_where_to_write(tmp_path):
    refused(predict.write, pd.DataFrame(), "../x", [], tmp_path / "o", says="the dialogue is '../x'")
    assert not list(tmp_path.iterdir())


def test_probabilities_that_are_no_numbers_are_refused(hearer, own):  # noqa: F811
    talk = sources.from_folder(own)
    rows = predict.vectors(hearer, talk)
    hearer.get_buffer("scale_text").fill_(float("nan"))
    try:
        refused(predict.turn_predictions, hearer, talk, rows, says="probabilities that are no numbers")
    finally:
        hearer.get_buffer("scale_text").fill_(1.0)


# Conversations


@pytest.mark.parametrize(
    ("transcript", "says"),
    [
        ("[" * 100_000, "can't be read as JSON"),
        ('[{"text": "a", "start": ' + "9" * 5000 + "}]", "can't be read as JSON: Exceeds the limit"),
        ('[{"text": "a", "start": ' + "9" * 400 + "}]", r"start is 9{80} \.\.\.: want seconds"),
        ('[{"text": "a", "start": [[]]}]', "want seconds"),
        (r'[{"text": "a\ud800"}]', r"turn 1: text is .* may have no '\\ud800' there"),
        (r'[{"text": "a", "speaker": "\u0000"}]', r"turn 1: speaker .* no '\\x00'"),
        (r'[{"wav": "a\u0000.wav"}]', r"turn 1: wav .* no '\\x00'"),
        ('[{"wav": {"a": []}}]', "turn 1: wav is .*, want a string"),
        ('[{"wav": "../b.wav"}]', "turn 1: wav is '../b.wav', which lies outside"),
        ('[{"wav": "/etc/passwd"}]', "lies outside"),
        ('[{"wav": "out.wav"}]', "lies outside"),
        ('[{"wav": "loop.wav"}]', "no file 'loop.wav'"),
        ('[{"wav": "' + "x" * 5000 + '.wav"}]', "no file|lies outside"),
        ("[1]", "is no list of objects"),
        (b"\xff\xfe[", "isn't UTF-8 text"),
    ],
)
def test_a_hostile_transcript_is_one_line(own, transcript, says):  # noqa: F811
    (own / "transcript.csv").unlink()
    (own.parent / "b.wav").touch()
    (own / "out.wav").symlink_to(own.parent / "b.wav")
    (own / "loop.wav").symlink_to(own / "loop.wav")
    data = transcript if isinstance(transcript, bytes) else transcript.encode()
    (own / "transcript.json").write_bytes(data)
    refused(sources.from_folder, own, says=says)


def test_a_folder_that_can_t_name_its_predictions_is_refused(own):  # noqa: F811
    for name in (b"caf\xe9", b"a\nb", b".talk"):
        moved = own.rename(own.parent / name.decode("utf-8", "surrogateescape"))
        refused(sources.from_folder, moved, says="the folder's name")
        moved.rename(own)
    loop = own.parent / "loop"
    loop.symlink_to(loop)
    refused(sources.from_folder, loop, says="no folder")


def wav(path, rate, samples=None, form="FLOAT"):
    soundfile.write(path, np.zeros(1000) if samples is None else samples, 16_000, form)
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = struct.pack("<I", rate)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2_000_000_000])
def test_a_rate_that_nobody_records_at_is_refused_at_once(tmp_path, rate):
    path = wav(tmp_path / "a.wav", rate)
    refused(sound.read_clip, path, says=r"a\.wav has \d+ Hz and 1000 samples: want 1000 to 768000|no readable wav")
    assert "can't be read" in sound.hear(path).fault


@pytest.mark.parametrize("value", [1e38, -1e38, np.inf, np.nan, 1e10])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_no_encoder_can_square_are_refused(tmp_path, value, rate):
    path = wav(tmp_path / "a.wav", rate, np.full((1000, 2), value))
    refused(sound.read_clip, path, says=r"a\.wav holds NaN or infinite samples, or beyond")
    assert "huge" in sound.hear(path).fault


def test_a_recording_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "MOST", 1999)
    monkeypatch.setattr(soundfile, "read", lambda *_, **__: pytest.fail("read"))
    path = wav(tmp_path / "a.wav", 16_000, np.zeros((1000, 2)))
    refused(sound.read_clip, path, says="2000 samples: want .* at most 1999")


# Imports: strings, and what is written of them


@pytest.fixture
def pair(tmp_path):
    """A neutral pair, and a function that changes a value of its line `number` (0: the header)."""
    numbers, lines = exported(tmp_path)

    def change(number: int, path: str, value) -> None:
        held = [json.loads(line) for line in lines.read_text().splitlines()]
        _set(held[number], path, value)
        lines.write_text("".join(json.dumps(line) + "\n" for line in held))

    return lines, numbers, change


def exported(tmp_path):
    found = read_fields(tmp_path, iemocap(), NINE)
    return export(found, tmp_path / "mine", "neutral", labelled(found.table, "majority-4"))


@pytest.mark.parametrize("field", ["id", "dialogue", "speaker", "party", "label", "votes", "wav"])
@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\x85b", "a\u2028b", "\ud800"])
def test_a_string_that_breaks_our_files_is_refused_with_its_place(pair, field, value):
    lines, _, change = pair
    change(3, field, value)
    refused(read, lines, says=rf"mine\.jsonl: {field} of utterance .* may have no")


@pytest.mark.parametrize(
    ("number", "path", "value", "says"),
    [
        (0, "encoders", {"../../x": "e"}, "line 1 is no header of ours"),
        (0, "encoders", {"/tmp/x": "e"}, "line 1 is no header of ours"),
        (0, "encoders", ["text"], "line 1 is no header of ours"),
        (0, "encoders.text", "a\nb", "the text encoder's name is"),
        (0, "encoders.text", ["a"], "the text encoder's name is .*, want a string"),
        (0, "npz", [], "line 1 is no header of ours"),
        (0, "about.erc6_filed", "many", "erc6_filed is many: want a number"),
        (0, "about.file", ["x"], r"about\.file is .*, want a string"),
        (0, "about.format", "\ud800", r"about\.format is .* may have no"),
        (2, "dialogue", "../../x", "dialogue of utterance .* may have no '[./]' there"),
        (2, "dialogue", "/x", "dialogue of utterance .* may have no '/' there"),
        (2, "wav", "../x.wav", "wav of utterance .* lies outside"),
        (2, "wav", "/x.wav", "wav of utterance .* lies outside"),
        (2, "start", 10**400, "line 3: start can't be so"),
        (2, "end", float("nan"), "line 3: end can't be so"),
        (2, "order", 10**12, "line 3: order can't be so"),
        (2, "text", [], "line 3: text can't be so"),
    ],
)
def test_a_hostile_neutral_pair_is_one_line(pair, number, path, value, says):
    lines, _, change = pair
    change(number, path, value)
    refused(read, lines, says=says)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"format": "lpgnet-neutral-1"}', '["lpgnet-neutral-1"]'])
def test_a_neutral_header_that_is_none_is_one_line(pair, text):
    lines, _, _ = pair
    _, _, rest = lines.read_text().partition("\n")
    lines.write_text(f"{text}\n{rest}" if "neutral" in text else f'{text} "lpgnet-neutral-1"\n{rest}')
    refused(read, lines, says=r"line 1 (can't be read as JSON|is no header)")


def test_texts_are_cleaned_and_it_is_said(pair):
    lines, _, change = pair
    for number, text in enumerate(("I\x92m\r\nhere\0", "a\ud800b", "two\nlines\u2028"), 1):
        change(number, "text", text)
    found = read(lines)
    assert found.table["text"].tolist()[:3] == ["I\u2019m \nhere ", "a b", "two\nlines\u2028"]
    assert found.about["notes"][0].startswith("2 texts had control characters") and IDS[0] in found.about["notes"][0]


def test_what_is_imported_is_what_is_read_back(tmp_path):
    """A property, over random strings: `utterances.csv` gives back what was written."""
    rng = random.Random(0)
    odd = [*map(chr, range(256)), *"\u2028\u2029\ufeff\ud800\udfff\U0001f600,\"';", "NA", "nan", "1", "True", " "]

    def string(fits, pool) -> str:
        while True:
            made = "".join(rng.choices(pool, k=rng.randrange(1, 6)))
            try:
                return made if fits is plain_text else fits(made, "it")
            except ValueError:
                continue

    for pool in [odd] * 20 + [["0", "1"]]:
        rows = []
        for i in range(12):
            words = [string(plain_string, pool) for _ in range(4)]
            start = rng.choice([float("nan"), rng.uniform(0, 1e6), rng.random() * 1e-9])
            names = f"{i}{words[0]}", string(plain_name, pool), rng.randrange(9), *words[1:3]
            said = rng.randrange(6), i > 3, string(plain_text, pool), "", start, start + 1 / 3
            rows.append((*names, *said, words[3], string(plain_string, pool), -1, ""))
        table, _ = framed(rows, tmp_path / "x")
        store.write_table(tmp_path, table)
        pd.testing.assert_frame_equal(utterances(tmp_path)[COLUMNS], table[COLUMNS], check_exact=True)


def test_rows_and_vectors_that_differ_in_number_are_one_error(here):
    index = store.read_index(here.features)["sets"]
    table = here.features / "utterances.csv"
    about = next(iter(index.values()))
    store.Features(here.features, about)
    first, line, rest = table.read_text().split("\n", 2)
    for text in (f"{first}\n{line}\n{line}\n{rest}", f"{first}\n{rest}"):
        table.write_text(text)
        refused(store.Features, here.features, about, says=r"utterances\.csv has 1\d\d rows, audio-0+ 140 vectors")


# Small files that cost everything


def _laughs(levels=30, width=10):
    held = ["ha"]
    for _ in range(levels):
        held = [held] * width
    return held


def _shared(name, value):
    held = iemocap()
    held[name] = {k: [value] * len(v) for k, v in held["labels"].items()}
    return fields(held, NINE)


def _itself():
    held: list = []
    held.append(held)
    return held


BOMBS = {
    "laughs in text": (lambda: _shared("text", _laughs()), "nests lists more than 16 deep"),
    "laughs in speakers": (lambda: _shared("speakers", _laughs()), "nests lists more than 16 deep"),
    "shallow laughs": (lambda: _shared("speakers", _laughs(8)), "repeats the same data"),
    "in itself": (lambda: _shared("text", _itself()), "or in themselves"),
    "shared vectors": (lambda: (_shared("text", np.zeros(10**6)), [np.zeros(10**6)] * 1000), "repeats the same"),
    "shared sentences": (lambda: [["x" * 10**6] * 20_000], "repeats the same"),
    "a long number": (lambda: _shared("labels", 10**5000), "holds a number of 16610 bits"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_pickle_that_would_fill_the_memory_is_refused_soon(tmp_path, name):
    make, says = BOMBS[name]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(make(), 4))
    code = f"import sys; from lpgnet.beyond.exchange.imported import read\ntry: read({str(path)!r})\n"
    code += "except ValueError as error: print(error)"
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # noqa: E731 - libraries map 2
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, preexec_fn=limit)
    assert says in done.stdout and done.stdout.count("\n") == 1, done.stdout + done.stderr


def test_what_the_literature_shares_is_no_bomb(tmp_path):
    """SDT's files have four layers of text, which our own export fills with one."""
    found = read_fields(tmp_path, iemocap(), NINE)
    (path,) = export(found, tmp_path / "sdt", "sdt", labelled(found.table, "majority-4"))
    assert len(read(path).table) == labelled(found.table, "majority-4").notna().sum()


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, pair):
    lines, numbers, _ = pair
    rewritten(lines, numbers, text=np.zeros((10, 10**6), np.float32))
    with zipfile.ZipFile(numbers) as plain:
        held = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(numbers, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    refused(unpickle.array, numbers, "text", says=r"mine\.npz\[text\] would be 40000128 bytes, in a file of \d+")


def test_the_name_of_a_file_that_is_no_utf_8_is_refused(tmp_path):
    path = tmp_path / b"caf\xe9.pkl".decode("utf-8", "surrogateescape")
    shutil.copy(write(tmp_path / "x.pkl", 1), path)
    refused(read, path, says="the name of a file is .* may have no")
