"""MELD as published, in miniature: three CSVs, folders of clips, and every fault planted."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import refused
from scipy.signal import resample_poly

from lpgnet.corpora import meld
from lpgnet.corpora.check import check
from lpgnet.corpora.load import load, read, scan
from lpgnet.corpora.sound import hear, read_clip
from lpgnet.corpora.table import COLUMNS

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
TRAIN = [
    '1,"Oh my God, he\u2019s lost it…",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"',
    '2,What?, Monica ,surprise,negative,0,1,4,7,"0:21:01,927","0:21:03.261"',
    '4,"“Yes” — no",Estelle,Neutral,neutral,0,3,4,7,"01:00:00,5","01:00:01"',
    '5,Hi,All,joy,positive,0,4,4,7,"00:00:01,000","00:00:02,000"',
    '6,Hi,Estelle,joy,positive,0,5,4,7,"00:00:01,000","00:00:02,000"',
    '7,Hi,Guy,joy,positive,0,6,4,7,"00:00:01,000","00:00:02,000"',
    '8,Hi,Woman,joy,positive,0,7,4,7,"00:00:01,000","00:00:02,000"',
    '9,Hey,Guy,joy,positive,2,0,4,7,"00:00:01,000","00:00:02,000"',
]
DEV = ['1,Hey.,Ross,anger,negative,0,0,1,1,"00:00:01,000","00:00:02,000"']
TEST = ['1,No?,Joey,fear,negative,0,0,1,1,"00:00:01,000","00:00:02,000"', ""]
TIMES = '"00:00:01,000","00:00:02,000"'
UTF8 = [f"{split}_sent_emo.csv is UTF-8" for split in ("train", "dev", "test")]


def write(folder, codec="utf-8", **splits):
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in ({"train": TRAIN, "dev": DEV, "test": TEST} | splits).items():
        if rows is not None:
            (folder / f"{split}_sent_emo.csv").write_bytes("\r\n".join([HEADER, *rows]).encode(codec))
    return folder


def sound(path, seconds=1.0, channels=1, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(rate * seconds)) / rate
    soundfile.write(path, np.stack([np.sin(2 * np.pi * 440 * time) / 4] * channels, axis=1), rate)


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "meld")


def test_a_row_becomes_a_turn(root):
    table, problems, notes = meld.read(root)
    assert list(table.columns) == COLUMNS and problems == []
    assert notes == [*UTF8, f"no folder of clips under {root}: text only"]
    first, second, third = table.iloc[0], table.iloc[1], table.iloc[2]
    assert first["id"] == "train_dia0_utt0" and first["dialogue"] == "train_dia0" and first["line"] == 0
    assert first["text"] == "Oh my God, he\u2019s lost it…" and third["text"] == "“Yes” — no"
    assert (first["start"], first["end"]) == (1257.256, 1260.049)
    assert (second["start"], second["end"]) == (1261.927, 1263.261)
    assert (third["start"], third["end"]) == (3600.5, 3601.0)
    assert second["speaker"] == second["party"] == "Monica"
    assert third["label"] == "neutral" and json.loads(third["votes"]) == {"sentiment": "neutral"}
    assert set(table["session"]) == {0} and not table["scripted"].any() and set(table["wav"]) == {""}


def test_splits_order_and_ids(root):
    table, _, _ = meld.read(root)
    assert table["id"].is_unique and len(table) == 10
    assert table["id"].tolist()[2:4] == ["train_dia0_utt3", "train_dia0_utt4"]  # a gap is normal
    assert table["id"].tolist()[7:] == ["train_dia2_utt0", "dev_dia0_utt0", "test_dia0_utt0"]
    assert table["part"].tolist()[6:] == ["train", "train", "validation", "test"]
    assert table["order"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 0, 0]
    assert table["line"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]


def test_six_are_parties_by_name_and_the_rest_by_their_first_turn(root):
    table, _, _ = meld.read(root)
    parties = table["party"].tolist()
    assert parties[:7] == ["Phoebe", "Monica", "other 1", "other 2", "other 1", "other 3", "other 3"]
    assert parties[7] == "other 1"  # Guy, in another dialogue
    assert table["speaker"].tolist()[2:4] == ["Estelle", "All"]


def test_rows_stay_in_order_however_numbered(tmp_path):
    rows = [DEV[0].replace("0,0,1,1", f"0,{number},1,1") for number in (5, 2, 9)]
    table, _, _ = meld.read(write(tmp_path / "m", dev=rows))
    dev = table[table["part"] == "validation"]
    assert dev["id"].tolist() == ["dev_dia0_utt5", "dev_dia0_utt2", "dev_dia0_utt9"]
    assert dev["order"].tolist() == [0, 1, 2]


def test_windows_1252_reads_as_its_utf8_twin(root, tmp_path):
    old = write(tmp_path / "old", codec="cp1252")
    assert b"\x92" in (old / "train_sent_emo.csv").read_bytes()
    table, problems, notes = meld.read(old)
    assert problems == [] and notes[0] == "train_sent_emo.csv is Windows-1252"
    assert table.equals(meld.read(root)[0])
    mixed = write(tmp_path / "bom", codec="utf-8-sig")
    assert meld.read(mixed)[0].equals(table) and meld.read(mixed)[2][0] == "train_sent_emo.csv is UTF-8"


def test_windows_1252_that_was_saved_as_latin_1_reads_as_its_twin(root, tmp_path):
    """U+0092 for a quote and U+0085 for an ellipsis, at the end of a text too."""
    turned = [row.encode("cp1252").decode("latin-1") for row in TRAIN]
    table, problems, notes = meld.read(write(tmp_path / "c1", train=turned))
    assert problems == [] and table.equals(meld.read(root)[0])
    assert notes[1].startswith("train_sent_emo.csv: 2 rows have control characters: Windows-1252 saved as")


def test_times_that_a_spreadsheet_changed_are_told(tmp_path):
    rows = [f"{n},Hi,Joey,joy,positive,0,{n},1,1,16:16.1,16:17.4" for n in range(23)]
    _, problems, _ = meld.read(write(tmp_path / "m", dev=rows))
    assert problems[0].endswith(
        "'16:16.1' is no time like 00:16:16,059: a spreadsheet dropped the hours; take the published file"
    )
    assert problems[20:] == ["dev_sent_emo.csv: 3 more lines can't be read, likewise"]


def test_commands_that_take_a_root_take_any_corpus(root, tmp_path):
    report, clean = check(root)
    assert report.startswith(f"meld at {root}") and not clean and "1/4710*" in report
    assert scan(root).corpus == "meld"
    (tmp_path / "other" / "music").mkdir(parents=True)
    refused(check, tmp_path / "other", says=r"no release: want Session1 .* or train_sent_emo.csv .* music")
    refused(load, "iemocap", str(root), jobs=1, says="is meld, the corpus asked for is 'iemocap'")


@pytest.mark.parametrize("place", ["MELD.Raw", "data/MELD"])
def test_tables_are_found_in_a_folder_below(tmp_path, place):
    write(tmp_path / place)
    sound(tmp_path / place / "train_splits" / "dia0_utt0.wav")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "train_sent_emo.csv").write_text("junk")
    (tmp_path / place / "._dev_sent_emo.csv").write_text("junk")
    table, problems, _ = meld.read(tmp_path)
    assert problems == [] and len(table) == 10
    assert table["wav"].tolist()[:2] == [f"{place}/train_splits/dia0_utt0.wav", ""]


# --- faults


@pytest.mark.parametrize(
    ("rows", "said", "kept"),
    [
        ([DEV[0].replace("anger", "happy")], "dev_dia0_utt0 has the unknown emotion 'happy'; there are", 1),
        ([*DEV, *DEV], "dev_sent_emo.csv line 3 repeats dev_dia0_utt0; the first is kept", 1),
        ([DEV[0].replace("0,0,1,1", "0,x,1,1")], "dev_sent_emo.csv line 2 can't be read: invalid literal", 0),
        ([DEV[0].replace("00:00:02,000", "soon")], "line 2 can't be read: 'soon' is no time like", 0),
        ([DEV[0].replace("00:00:02,000", "00:99:02,000")], "'00:99:02,000' is no time like", 0),
        ([DEV[0].replace("00:00:02,000", "")], "'' is no time like", 0),
        ([DEV[0] + ",more", *DEV], "dev_sent_emo.csv line 2 has 12 values, the header 11", 1),
        ([*DEV, '2,"unclosed'], "dev_sent_emo.csv line 3 is no CSV, nothing below is read", 1),
        (None, "dev_sent_emo.csv is missing", 0),
    ],
)  # fmt: skip
def test_faults_of_a_table_are_problems(tmp_path, rows, said, kept):
    table, problems, _ = meld.read(write(tmp_path / "m", dev=rows))
    assert len(problems) == 1 and said in problems[0]
    assert (table["part"] == "validation").sum() == kept and (table["part"] == "train").sum() == 8


def test_a_table_of_other_columns_or_bytes_is_a_problem(root):
    path = root / "dev_sent_emo.csv"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Emotion", b"Feeling").replace(b"EndTime", b"End"))
    assert meld.read(root)[1][0].startswith("dev_sent_emo.csv lacks the columns Emotion, EndTime; it has ['Sr")
    path.write_bytes(whole.replace(b"Hey", b"\x81\x8d"))
    assert meld.read(root)[1] == ["dev_sent_emo.csv is neither UTF-8 nor Windows-1252 text"]
    path.write_bytes(b"")
    assert "lacks the columns Utterance, " in meld.read(root)[1][0]


def test_two_copies_of_a_table_must_be_equal(root):
    write(root / "copy")
    assert meld.read(root)[1] == []
    (root / "copy" / "dev_sent_emo.csv").write_text(HEADER)
    table, problems, _ = meld.read(root)
    assert problems == ["dev_sent_emo.csv and copy/dev_sent_emo.csv differ; keep the one to use"]
    assert len(table) == 10


def test_odd_rows_are_notes(tmp_path):
    rows = ['1,,Ross,anger,negative,0,0,1,1,"00:00:03,000","00:00:02,000"', DEV[0].replace("0,0,1", "1,0,1")]
    table, problems, notes = meld.read(write(tmp_path / "m", dev=rows))
    assert problems == [] and len(table) == 11
    assert "dev_dia0_utt0 has no text" in notes
    assert "dev_dia0_utt0 ends before it starts (00:00:03,000 to 00:00:02,000)" in notes


def test_sentiment_is_not_needed(root):
    path = root / "dev_sent_emo.csv"
    path.write_text(path.read_text().replace("Sentiment", "Other"))
    table, problems, _ = meld.read(root)
    assert problems == [] and table["votes"].tolist()[-2:] == ["{}", '{"sentiment": "negative"}']


# --- clips


def test_clips_are_found_named_and_not_counted(root):
    train, dev = root / "train" / "train_splits", root / "dev_splits_complete"
    for number in (0, 1, 4, 5, 6):
        sound(train / f"dia0_utt{number}.wav", seconds={0: 2.793, 1: 1.334}.get(number, 1.0))
    (train / "dia0_utt3.wav").write_bytes(b"broken")
    for name in ("dia0_utt9.wav", "dia9_utt0.wav", "final_videos_testdia0_utt0.wav", "._dia0_utt0.mp4"):
        (train / name).write_bytes(b"")
    (train / "dia0_utt0.mp4").write_bytes(b"a wav is there")
    sound(dev / "dia0_utt0.wav")
    found = read(root)
    assert found.problems == [] and found.notes == [
        *UTF8,
        "train: 4 files are no clip of a row and not read: ._dia0_utt0.mp4, dia0_utt9.wav, dia9_utt0.wav, "
        "final_videos_testdia0_utt0.wav",
        "train: 1 clips are another copy of one that is read: train/train_splits/dia0_utt0.mp4",
        "test: no folder of clips says test in its name, text only",
    ]
    wavs = dict(zip(found.table["id"], found.table["wav"], strict=True))
    assert wavs["train_dia0_utt0"] == "train/train_splits/dia0_utt0.wav"
    assert wavs["dev_dia0_utt0"] == "dev_splits_complete/dia0_utt0.wav"
    assert wavs["train_dia0_utt3"] == wavs["train_dia0_utt7"] == wavs["test_dia0_utt0"] == ""
    assert len(found.clips) == 2 and len(found.table) == 10
    assert found.clips[1] == "train: 2 of 8 clips are missing: train_dia0_utt7, train_dia2_utt0"
    assert found.clips[0].startswith("train/train_splits/dia0_utt3.wav can't be read: it is no readable wav")


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [
        ("test_splits_wav", "wav"),
        ("data/Test", "flac"),
        ("MELDTest/audio", "FLAC"),
        ("a/b/test_16k", "mp3"),
        ("train_and_test/test", "ogg"),
    ],
)
def test_clips_of_any_folder_and_audio_format_are_read(root, folder, suffix):
    sound(root / folder / f"dia0_utt0.{suffix}")
    found = read(root)
    assert found.clips == [] and found.table["wav"].tolist()[-1] == f"{folder}/dia0_utt0.{suffix}"
    assert np.std(read_clip(root / found.table["wav"].iloc[-1])) == pytest.approx(0.25 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("folder", ["latest", "wavs", "train_and_test", "constrain"])
def test_clips_whose_split_is_not_known_are_named(root, folder):
    sound(root / folder / "dia0_utt0.wav")
    table, _, notes = meld.read(root)
    assert set(table["wav"]) == {""}
    assert f"1 clips in {folder} are not read: no folder's name says train, dev or test" in notes


def test_folders_without_a_clip_are_named(root):
    (root / "train_npy").mkdir()
    (root / "train_npy" / "dia0_utt0.npy").touch()
    assert "text only; it holds train_npy, where no dia0_utt0.wav (.mp4, .flac, ...) lies" in meld.read(root)[2][-1]


def test_extra_files_beyond_twenty_are_counted_only(root):
    sound(root / "train" / "dia0_utt0.wav")
    for number in range(25):
        (root / "train" / f"x{number:02d}").touch()
    note = next(note for note in meld.read(root)[2] if "no clip of a row" in note)
    assert note.startswith("train: 25 files") and note.endswith("x18, x19 and 5 more")


def test_clips_that_are_hardly_what_was_said_are_named_and_kept(root, capsys):
    folder = root / "train"
    for number, seconds in ((3, 0.5), (4, 1.26), (5, 1.24), (6, 0.6)):
        sound(folder / f"dia0_utt{number}.wav", seconds)
    soundfile.write(folder / "dia0_utt7.wav", np.zeros(16_000), 16_000)
    tone = np.sin(np.arange(16_000) / 9) / 4
    soundfile.write(folder / "dia2_utt0.wav", np.stack([tone, -tone], axis=1), 16_000)
    found = read(root)
    assert (found.table["wav"] != "").sum() == 6 and found.clips == [
        "train: 2 of 8 clips are missing: train_dia0_utt0, train_dia0_utt1",
        "train/dia0_utt4.wav is 1.26 s long, its turn 1.00 s",
        "train/dia0_utt6.wav is 0.60 s long, its turn 1.00 s",
        "train/dia0_utt7.wav is silent",
        "train/dia2_utt0.wav has channels in antiphase, which cancel out when they are averaged",
    ]
    report, clean = check(root)
    assert not clean and report.splitlines()[-1] == "Verdict: 5 problems."
    load("meld", str(root), jobs=1)
    assert set(found.clips) <= set(capsys.readouterr().out.splitlines())  # notebook 01 shows them


def test_an_empty_wav_is_named(root):
    sound(root / "test" / "dia0_utt0.wav", seconds=0)
    assert "test/dia0_utt0.wav is empty" in read(root).clips


def write_mp4(path, seconds=0.5, rate=44_100, audio=True, video=True, layout="stereo", level=1.0):
    """A tone of 440 Hz, on the left only where there are two channels, under a few black pictures."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        streams = []
        if video:
            streams.append(out.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p"))
        if audio:
            streams.append(out.add_stream("aac", rate=rate, layout=layout))
        for stream in streams:
            if stream.type == "video":
                frames = [av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8)) for _ in range(5)]
            else:
                time = np.arange(int(rate * seconds)) / rate
                wave = np.zeros((len(stream.layout.channels), len(time)), np.float32)
                wave[0] = level * np.sin(2 * np.pi * 440 * time) / 2
                frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
                frame.rate = rate
                frames = [frame]
            for number, frame in enumerate(frames):
                frame.pts = number if stream.type == "video" else None
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("layout", "amplitude"), [("mono", 0.5), ("stereo", 0.25)])
def test_the_sound_of_a_video_is_read(tmp_path, layout, amplitude):
    samples = read_clip(write_mp4(tmp_path / "dia0_utt0.mp4", layout=layout))
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    assert abs(len(samples) - 8000) < 1100  # the codec adds up to a frame at either end
    middle = samples[2000:6000]
    assert np.std(middle) * 2**0.5 == pytest.approx(amplitude, rel=0.03)  # the mean of the channels
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440 * len(middle) / 16_000


def test_a_wav_is_read_as_ever(tmp_path):
    path = tmp_path / "a.WAV"
    sound(path, channels=2, rate=8000)
    data, _ = soundfile.read(path, dtype="float32")
    samples = read_clip(str(path))
    np.testing.assert_array_equal(samples, resample_poly(data.mean(axis=1), 2, 1))  # not PyAV's
    assert samples.dtype == np.float32 and samples.shape == (16_000,)
    sound(path, seconds=30 / 16_000)
    assert read_clip(path).shape == (400,)


@pytest.mark.parametrize(("parts", "said"), [([], "without sound"), ([np.full((2, 9), np.nan)], "holds NaN or")])
def test_sound_that_is_none_is_refused(tmp_path, monkeypatch, parts, said):
    path = write_mp4(tmp_path / "a.mp4")
    monkeypatch.setattr("lpgnet.corpora.sound._parts", lambda *args: parts)
    refused(read_clip, path, says=f"a.mp4 .*{said}")


def test_clips_that_cannot_be_read_are_named(tmp_path, capfd):
    whole = write_mp4(tmp_path / "whole.mp4")
    silent = write_mp4(tmp_path / "mute.mp4", audio=False)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "empty.mp4").write_bytes(b"")
    words = {"cut.mp4": "is no readable clip", "empty.mp4": "is no readable clip", "no.mp4": "is no readable"}
    for name, said in words.items():
        refused(read_clip, tmp_path / name, says=rf"{name} {said}")
        assert hear(tmp_path / name).fault.startswith("can't be read: it is no readable clip")
    refused(read_clip, silent, says=r"mute.mp4 has no audio stream")
    assert hear(silent).fault == "can't be read: it has no audio stream" and not hear(whole).fault
    assert capfd.readouterr() == ("", "")


def test_video_clips_stand_in_the_table(root):
    write_mp4(root / "test" / "dia0_utt0.mp4")
    write_mp4(root / "dev" / "dia0_utt0.mp4", audio=False)
    found = read(root)
    assert found.problems == [] and found.table["wav"].tolist()[-2:] == ["", "test/dia0_utt0.mp4"]
    assert "dev/dia0_utt0.mp4 can't be read: it has no audio stream" in found.clips


def test_without_pyav_a_video_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = root / "test" / "dia0_utt0.mp4"
    path.parent.mkdir()
    path.write_bytes(b"whatever")
    refused(read_clip, path, says=r"dia0_utt0.mp4 needs PyAV .*pip install 'lpgnet\[meld\]'")
    assert read(root).table["wav"].tolist()[-1] == "test/dia0_utt0.mp4"


def test_reading_tables_needs_no_torch():
    code = "import sys, lpgnet.corpora.meld; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
