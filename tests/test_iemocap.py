"""The IEMOCAP reader and check, on small trees in the release's exact format, one trap at a time."""

import json
import re

import numpy as np
import pytest
import soundfile
from conftest import refused

from lpgnet.corpora import counts, iemocap, sound
from lpgnet.corpora.check import check

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
RATERS = "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n"


def tone(samples=800, rate=16_000, peak=0.1):
    return peak * np.sin(np.arange(samples) * 440 * 2 * np.pi / rate)


def block(turn, start, end, code="neu", raters=RATERS):
    return f"[{start:.4f} - {end:.4f}]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n{raters}\n"


def line(turn, start, end, text="Excuse me."):
    return f"{turn} [{start:08.4f}-{end:08.4f}]: {text}\n"


def add(root, dialogue, turns, evaluation=None, transcript=None, wavs=None, newline="\n"):
    """A dialogue of (turn, start, end, code); any of its parts may be given instead."""
    session = root / f"Session{int(dialogue[3:5])}"
    if evaluation is None:
        evaluation = HEADER + "".join(block(*turn) for turn in turns)
    if transcript is None:
        transcript = "".join(line(*turn[:3]) for turn in turns)
    for folder, text in (("EmoEvaluation", evaluation), ("transcriptions", transcript)):
        path = session / "dialog" / folder / f"{dialogue}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("\n", newline).encode("latin-1"))
    folder = session / "sentences" / "wav" / dialogue
    folder.mkdir(parents=True, exist_ok=True)
    for turn in [t[0] for t in turns] if wavs is None else wavs:
        seconds = next((end - start for name, start, end, *_ in turns if name == turn), 0.05)
        soundfile.write(folder / f"{turn}.wav", tone(int(seconds * 16_000)), 16_000, subtype="PCM_16")
    return folder


D = "Ses01F_impro01"
TURNS = [(f"{D}_F000", 6.2901, 8.2357, "neu"), (f"{D}_M000", 7.5, 9.0, "xxx")]


def rows(root):
    table, problems, _ = iemocap.read(root)
    assert problems == []
    return table.set_index("id")


def test_a_row_holds_the_turn(tmp_path):
    add(tmp_path, D, TURNS)
    table, problems, _ = iemocap.read(tmp_path)
    assert problems == []
    assert list(table.columns) == iemocap.COLUMNS
    assert table.iloc[0].to_dict() == {
        "id": f"{D}_F000",
        "dialogue": D,
        "order": 0,
        "speaker": "Ses01F",
        "party": "F",
        "session": 1,
        "scripted": False,
        "text": "Excuse me.",
        "wav": f"Session1/sentences/wav/{D}/{D}_F000.wav",
        "start": 6.2901,
        "end": 8.2357,
        "label": "neu",
        "votes": '{"C-E2": ["Neutral"]}',
        "line": 0,
        "part": "",
    }
    assert list(table["label"]) == ["neu", "xxx"]  # turns without a majority stay


def test_the_speaker_is_the_turns_letter_not_the_dialogues(tmp_path):
    add(tmp_path, D, TURNS)
    other = "Ses01M_script01_1"
    add(tmp_path, other, [(f"{other}_F000", 1, 2), (f"{other}_M000", 2, 3)])
    table = rows(tmp_path)
    assert table.loc[f"{D}_M000", ["speaker", "party"]].tolist() == ["Ses01M", "M"]
    assert table.loc[f"{other}_F000", ["speaker", "party"]].tolist() == ["Ses01F", "F"]
    assert table.loc[f"{other}_F000", "scripted"]


def test_order_comes_from_the_times(tmp_path):
    """Blocks stand as all F then all M; start, end, transcript line decide (Reading R27)."""
    turns = [(f"{D}_F000", 5, 9), (f"{D}_F001", 1, 4), (f"{D}_M000", 1, 3), (f"{D}_M001", 5, 9)]
    transcript = "".join(line(*turns[i]) for i in (3, 0, 1, 2))
    add(tmp_path, D, turns, transcript=transcript)
    table = rows(tmp_path)
    assert [i[-4:] for i in table.index] == ["M000", "F001", "M001", "F000"]
    assert table["order"].tolist() == [0, 1, 2, 3]
    assert table["line"].tolist() == [3, 2, 0, 1]


def test_sessions_then_dialogues_then_order(tmp_path):
    names = ["Ses02F_impro01", "Ses01M_impro01", "Ses01F_impro02"]
    for name in names:
        add(tmp_path, name, [(f"{name}_F000", 5, 6), (f"{name}_M000", 1, 2)])
    table = rows(tmp_path).reset_index()
    assert table["dialogue"].drop_duplicates().tolist() == [names[2], names[1], names[0]]
    assert table["order"].tolist() == [0, 1] * 3


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_that_are_no_turns_are_skipped_not_lost(tmp_path, newline):
    extra = (
        f"{D}_FXX0 [010.0000-011.0000]: Mmhmm.\n{D}_FXX0 [010.0000-011.0000]: Again.\n"
        f"{D}_MXX2 [120.9121-120.4741]:\nM: Yeah.\nF:[LAUGHTER]\nF :Here you go.\n\n"
    )
    transcript = line(*TURNS[0][:3]) + extra + line(*TURNS[1][:3])
    add(tmp_path, D, TURNS, transcript=transcript, newline=newline)
    table = rows(tmp_path)
    assert table["line"].tolist() == [0, 1]
    assert table["text"].tolist() == ["Excuse me."] * 2
    assert "6 transcript lines are no turns" in check(tmp_path)[0]


def test_mac_files_and_sub_folders_are_not_swept_in(tmp_path):
    folder = add(tmp_path, D, TURNS)
    dialog = tmp_path / "Session1" / "dialog"
    for path in (dialog / "EmoEvaluation", dialog / "transcriptions"):
        (path / f"._{D}.txt").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
        (path / ".DS_Store").write_bytes(b"\x00\x00\xff")
    (folder / f"._{D}_F000.wav").write_bytes(b"\x00\x05")
    for name in ("Categorical", "Attribute", "Self-evaluation"):
        (dialog / "EmoEvaluation" / name).mkdir()
        decoy = f"{D}_F009 :Neutral state; ()\n" + block(f"{D}_F009", 1, 2)
        (dialog / "EmoEvaluation" / name / f"{D}_e2.txt").write_text(decoy)
    (tmp_path / "._Session1").write_bytes(b"\x00")
    assert len(rows(tmp_path)) == 2
    assert "problem" not in check(tmp_path)[0].splitlines()[-1]


@pytest.mark.parametrize("name", ["Ses03M_impro05a", "Ses05M_script01_1b", "Ses01F_script01_1"])
def test_irregular_dialogue_names(tmp_path, name):
    add(tmp_path, name, [(f"{name}_M012", 1, 2)])
    row = rows(tmp_path).iloc[0]
    assert (row["dialogue"], row["speaker"]) == (name, name[:5] + "M")
    assert row["scripted"] == ("script" in name)


def test_votes(tmp_path):
    raters = (
        "C-E2:\tNeutral;\t()\nC-E4:\tOther;\t(disbelief)\nC-F1:\tFrustration; Anger;\t()\n"
        "C-F2:\t;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 0; act 2; dom  ;\t()\n"
    )
    evaluation = HEADER + block(*TURNS[0], raters=raters) + block(*TURNS[1])
    add(tmp_path, D, TURNS, evaluation=evaluation)
    table = rows(tmp_path)
    assert json.loads(table.loc[f"{D}_F000", "votes"]) == {
        "C-E2": ["Neutral"],
        "C-E4": ["Other (disbelief)"],
        "C-F1": ["Frustration", "Anger"],
        "C-F2": [],
    }
    assert json.loads(table.loc[f"{D}_M000", "votes"]) == {"C-E2": ["Neutral"]}


def test_white_space_and_old_bytes_in_texts(tmp_path):
    turns = [TURNS[0], TURNS[1]]
    transcript = line(*TURNS[0][:3], "I\tsee,  it ") + line(*TURNS[1][:3], "caf\xe9")
    add(tmp_path, D, turns, transcript=transcript)
    assert rows(tmp_path)["text"].tolist() == ["I see, it", "caf\xe9"]


def test_labels_in_any_case_and_affect_outside_the_scale(tmp_path):
    text = block(f"{D}_F000", 1, 2, "HAP").replace("2.5000, 2.5000", "0.5000, 5.5000")
    add(tmp_path, D, [(f"{D}_F000", 1, 2)], evaluation=HEADER + text)
    assert rows(tmp_path)["label"].tolist() == ["hap"]


TRANSCRIPT = "".join(line(*turn[:3]) for turn in TURNS)
EVALUATION = HEADER + block(*TURNS[0])
BROKEN = block(*TURNS[1]).replace("\txxx", "").replace("C-E2:\tNeutral", "C-E9:\tAnger")


@pytest.mark.parametrize(
    ("parts", "said", "columns"),
    [
        ({"wavs": [f"{D}_F000"]}, [f"Session1: 1 turn has no wav under sentences/wav: {D}_M000$"],
         {"wav": [f"Session1/sentences/wav/{D}/{D}_F000.wav", ""]}),
        ({"transcript": line(*TURNS[0][:3], "")},
         [f"{D}_F000 has no text in its transcript line$", f"{D}_M000 has a label but no line in a transcript$"],
         {"line": [0, -1]}),
        ({"transcript": f"{TRANSCRIPT}what is this\n"}, [f"{D}.txt line 3 .*what is this"], {}),
        # a turn without a label takes the transcript's times
        ({"evaluation": EVALUATION}, [f"{D}_M000 has no label: no EmoEvaluation block names it$"],
         {"label": ["neu", ""], "votes": ['{"C-E2": ["Neutral"]}', "{}"], "end": [8.2357, 9.0]}),
        # the raters of an unreadable block are not given to the turn before
        ({"evaluation": EVALUATION + BROKEN}, [f"{D}.txt line 7 can't be read", f"{D}_M000 has no label"],
         {"votes": ['{"C-E2": ["Neutral"]}', "{}"]}),
        ({"transcript": TRANSCRIPT + line(*TURNS[0][:3], "Twice.")}, [f"{D}_F000 occurs twice in the transcript"],
         {"text": ["Excuse me."] * 2}),
        ({"evaluation": EVALUATION + block(*TURNS[1]) + block(*TURNS[1][:3], "sad")}, [f"{D}_M000 has two labels"],
         {"label": ["neu", "xxx"]}),
        ({"evaluation": EVALUATION + block(*TURNS[1][:3], "joy")}, [f"{D}_M000 has the unknown label 'joy'"], {}),
        ({"wavs": [f"{D}_F000", f"{D}_M000", f"{D}_F077"]},
         [f"{D}_F077 has a wav but no transcript line and no label$"], {}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_release_is_named_and_rows_stay(tmp_path, parts, said, columns):
    add(tmp_path, D, TURNS, **parts)
    table, problems, _ = iemocap.read(tmp_path)
    assert len(problems) == len(said) and all(map(re.match, said, problems)), problems
    assert {name: table[name].tolist() for name in columns} == columns


def test_a_wrong_root_says_what_was_wanted(tmp_path):
    refused(check, tmp_path / "nowhere", says="no folder")
    (tmp_path / "manifest.json").touch()
    refused(check, tmp_path, says=r"want Session1.*it holds manifest.json")
    (tmp_path / "Session1" / "dialog" / "transcriptions").mkdir(parents=True)
    refused(iemocap.read, tmp_path, says="lacks dialog/EmoEvaluation")


def test_the_releases_parent_will_do(tmp_path):
    add(tmp_path / "IEMOCAP_full_release", D, TURNS)
    table = rows(tmp_path)
    assert (tmp_path / table["wav"].iloc[0]).is_file()


def write_manifest(root, found):
    codes = {"1": found}
    four = {"1": {"happy": found.get("hap", 0), "sad": 0, "neutral": found.get("neu", 0), "angry": 0}}
    tables = {"codes": codes, "dialogues": {"1": {"dialogues": 1}}, "majority-4": four}
    tables["majority-6"] = {"1": {**four["1"], "excited": 0, "frustrated": 0}}
    manifest = {"corpus": "simulated", "expected": tables}
    (root / "manifest.json").write_text(json.dumps(manifest))


def test_check_passes_what_is_whole(tmp_path):
    add(tmp_path, D, TURNS)
    write_manifest(tmp_path, {"neu": 1, "xxx": 1})
    report, ok = check(tmp_path)
    assert ok
    assert report.splitlines()[-1] == "Verdict: complete and clean."
    assert "*" not in report.split("differ.")[1]


def test_check_marks_counts_that_differ(tmp_path):
    add(tmp_path, D, TURNS)
    write_manifest(tmp_path, {"neu": 2, "xxx": 1})
    report, ok = check(tmp_path)
    assert not ok
    assert "clean, but the counts differ from the simulated corpus's manifest" in report
    assert "1/2*" in report


def test_check_holds_other_trees_against_the_official_counts(tmp_path):
    add(tmp_path, D, TURNS)
    report, ok = check(tmp_path)
    assert not ok
    assert "counts differ from the official IEMOCAP counts" in report.splitlines()[-1]
    assert "2/10039" not in report
    assert "1/1708*" in report


def test_the_official_counts_add_up_to_the_published_ones():
    """5,531 and 7,380 utterances, session 5 with 442/245/384/170, 10,039 turns in 151 dialogues."""
    four = {"neu", "hap", "exc", "sad", "ang"}
    per_session = [sum(counts.OFFICIAL[c][s] for c in four) for s in range(5)]
    assert per_session == [1085, 1023, 1151, 1031, 1241]
    six = [sum(row[s] for row in counts.OFFICIAL.values()) for s in range(5)]
    assert six == [1365, 1348, 1533, 1512, 1622]
    assert [sum(counts.OFFICIAL[c]) for c in ("hap", "exc", "fru")] == [595, 1041, 1849]
    assert sum(six) + sum(counts.OFFICIAL_RARE.values()) == 10_039
    assert sum(counts.OFFICIAL_DIALOGUES) == 151


SPOILT = {
    "unreadable": (lambda p: p.write_bytes(b"no wav at all"), "can't be read"),
    "empty": (lambda p: soundfile.write(p, np.zeros(0), 16_000), "is empty"),
    "silent": (lambda p: soundfile.write(p, tone(peak=0.5e-4), 16_000, subtype="FLOAT"), "is silent"),
    "nan": (lambda p: soundfile.write(p, np.full(800, np.nan), 16_000, subtype="FLOAT"), "holds NaN"),
    "short": (lambda p: soundfile.write(p, tone(399), 16_000), "want at least 400 samples"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_check_names_a_wav_with_a_fault(tmp_path, kind):
    folder = add(tmp_path, D, TURNS)
    write_manifest(tmp_path, {"neu": 1, "xxx": 1})
    spoil, words = SPOILT[kind]
    spoil(folder / f"{D}_M000.wav")
    report, ok = check(tmp_path)
    assert not ok
    assert report.splitlines()[-1] == "Verdict: 1 problem."
    assert any(f"{D}_M000.wav" in row and words in row for row in report.splitlines())
    if kind not in ("silent", "short"):
        refused(sound.read_clip, folder / f"{D}_M000.wav", says=r"_M000\.wav")


def test_check_notes_what_will_be_changed(tmp_path):
    folder = add(tmp_path, D, TURNS)
    write_manifest(tmp_path, {"neu": 1, "xxx": 1})
    soundfile.write(folder / f"{D}_M000.wav", np.stack([tone(12_000), tone(12_000)], 1), 8_000)
    report, ok = check(tmp_path)
    assert ok
    assert f"{D}_M000.wav has 8000 Hz, will be resampled; has 2 channels" in report


def cut(path, keep, size=None):
    """A wav with the first `keep` of its bytes of sound, and the size of them that its header says."""
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 8
    if size is not None:
        data[at - 4 : at] = size.to_bytes(4, "little")
    path.write_bytes(data[: at + int(keep * (len(data) - at))])


def test_check_names_a_wav_that_is_cut(tmp_path):
    """By its header where that is honest, else by the time of its turn."""
    folder = add(tmp_path, D, TURNS)
    cut(folder / f"{D}_F000.wav", 0.1)
    cut(folder / f"{D}_M000.wav", 0.1, 0xFFFFFFFF)
    report, ok = check(tmp_path)
    assert not ok and report.splitlines()[-1] == "Verdict: 2 problems."
    assert f"{D}_F000.wav is cut: 0.19 s of the 1.95 s that its header says" in report
    assert f"{D}_M000.wav is 0.15 s long, its turn 1.50 s" in report


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_that_was_streamed_is_read_whole(tmp_path, size):
    """Its header was written before the length was known."""
    folder = add(tmp_path, D, TURNS)
    path = folder / f"{D}_M000.wav"
    whole = sound.read_clip(path)
    cut(path, 1, size)
    np.testing.assert_array_equal(sound.read_clip(path), whole)
    assert sound.hear(path, 1.5) == sound.Heard()


def test_an_empty_wav_with_another_chunk_behind_stays_empty(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 16_000, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    assert sound.hear(path).fault == "is empty"


def test_missing_wavs_are_one_line_per_session(tmp_path):
    turns = [(f"{D}_F{n:03d}", n, n + 1) for n in range(30)]
    add(tmp_path, D, turns, wavs=[])
    add(tmp_path, "Ses02F_impro01", [("Ses02F_impro01_M000", 1, 2)], wavs=[])
    first, second = iemocap.read(tmp_path)[1]
    assert first.startswith(f"Session1: 30 turns have no wav under sentences/wav: {D}_F000, ")
    assert first.endswith("F019 and 10 more") and second.startswith("Session2: 1 turn has no wav")


def test_quotes_of_windows_in_a_transcript_are_read_as_what_they_were(tmp_path):
    transcript = line(*TURNS[0][:3], "I\x92m sure\x85") + line(*TURNS[1][:3], "fine")
    add(tmp_path, D, TURNS, transcript=transcript)
    table, _, notes = iemocap.read(tmp_path)
    assert table["text"].tolist() == ["I\u2019m sure\u2026", "fine"]
    assert notes[0].startswith("1 texts have control characters")
