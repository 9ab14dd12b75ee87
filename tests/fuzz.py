"""Readers of other people's files, fed damaged ones: a result or one clear line, within memory and time.

python tests/fuzz.py [--examples 25] [READER ...]; `make fuzz` tries more.  A reader fails by another error
than users see in one line, by more than `SECONDS` or `MEMORY`, or by a file where it may not write.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import contextlib
import io
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from conftest import TINY, made_table, write_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_imported import IDS, SDT, emotion2vec, fields, iemocap, merbench
from test_meld import write as write_meld

from lpgnet import places
from lpgnet.beyond.archive import verify
from lpgnet.beyond.conversation import recording, sources, timing, transcripts
from lpgnet.beyond.conversation.recording import Recording
from lpgnet.beyond.exchange import commands
from lpgnet.corpora import load, sound
from lpgnet.corpora.table import utterances
from lpgnet.features import store, whisper
from lpgnet.runs import checkpoint, records, training

SECONDS, MEMORY, TOO_SLOW = 20, 2 << 30, "too slow"
ONE_LINE = (ValueError, LookupError, OSError, RuntimeError)
ODD = [b"\r", b"\r\n", b"\n", b"\0", b'"', b"'", b",", b"../", b"[[[[[[", b"{", b"}", b"-1", b"1e999", b"NaN"]
ODD += [b"9" * 400, b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"true", b"null", b"$\\frac{$", b"<script>"]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["put", "instead", "cut", "again", "end"]),
        st.one_of(st.sampled_from(ODD), st.binary(min_size=1, max_size=6)),
        st.integers(1, 80),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, edits: list[tuple]) -> bytes:
    """content with pieces put in, overwritten, cut out, doubled, or its end cut off."""
    for where, kind, piece, size in edits:
        at = int(where * len(content))
        before, after = content[:at], content[at:]
        content = {
            "put": before + piece + after,
            "instead": before + piece + after[len(piece) :],
            "cut": before + after[size:],
            "again": before + after[:size] + after,
            "end": before,
        }[kind]
    return content


# Sound files, and what reads them.  Each maker fills a folder, and names the file to damage and the call.


def _import(folder: Path) -> Callable:
    def call(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            commands.import_file(path, "fuzzed")

    return call


def of_pickle(folder: Path):
    path = folder / "features.pkl"
    path.write_bytes(pickle.dumps(fields(iemocap(), SDT), 2))
    return path, _import(folder)


def of_neutral(folder: Path, damage: str = "jsonl"):
    place = places.place(output=folder)
    write_store(place.features, made_table())
    paths = commands.export_place(place, "neutral", folder / "made")
    shutil.rmtree(folder / "results")
    first = next(p for p in paths if p.suffix == ".jsonl")
    return next(p for p in paths if p.suffix == f".{damage}"), lambda _: _import(folder)(first)


def of_merbench(folder: Path):
    labels = dict(zip(IDS, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1], strict=True))
    return merbench(folder / "label_4way.npz", labels), _import(folder)


def of_emotion2vec(folder: Path):
    emotion2vec(folder)
    return folder / "train.emo", _import(folder)


def of_lengths(folder: Path):
    emotion2vec(folder)
    return folder / "train.lengths", lambda path: _import(folder)(path.with_name("train.emo"))


def of_vectors(folder: Path):
    emotion2vec(folder)
    return folder / "train.npy", _import(folder)


def of_conversation(folder: Path, name: str = "transcript.csv"):
    rows = {
        "transcript.csv": "wav,text,speaker\na.wav,well,A\n,so am I,B\n",
        "transcript.json": '[{"wav": "a.wav", "text": "well"}, {"text": "so", "start": 1.5, "end": 2}]',
    }
    of_wav(folder)
    (folder / name).write_text(rows[name])
    return folder / name, lambda path: sources.from_folder(path.parent)


TIMED = {
    "csv": 'start,end,text,speaker\n0.5,1.5,well,Ann\n-0:00:01.5,2.5,"so, am I",Bob\n',
    "json": '{"segments": [{"start": 0.5, "end": 1.5, "text": " well", "words": [{"word": " well", "start": 0.5, '
    '"end": 1.0, "speaker": "A"}]}, {"start": 1, "end": 2, "text": "so", "speaker": "B"}]}',
    "srt": "1\n00:00:00,500 --> 00:00:01,500\n<i>well</i>\n\n2\n00:00:01,500 --> 00:00:02,500\nso\nam I\n",
    "vtt": "WEBVTT\n\nNOTE x\n\nintro\n00:00.500 --> 00:01.500 align:start\n<v Ann>well &amp; so</v>\n",
    "TextGrid": 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\n'
    'item []:\n item [1]:\n class = "IntervalTier"\n name = "Ann"\n xmin = 0\n xmax = 2\n intervals: size = 2\n'
    ' intervals [1]:\n xmin = 0\n xmax = 1\n text = "well"\n intervals [2]:\n xmin = 1\n xmax = 2\n text = ""\n',
    "eaf": '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" '
    'TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/></TIME_ORDER><TIER TIER_ID="Ann"><ANNOTATION>'
    '<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>well'
    "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>\n",
    "rttm": "SPEAKER talk 1 0.5 1.0 <NA> <NA> Ann <NA> <NA>\nSPEAKER talk 1 1.5 0.5 <NA> <NA> Bob <NA> <NA>\n",
}


def of_transcript(folder: Path, form: str):
    """Read, and held against a recording of two seconds."""
    talk = Recording(folder / "talk.wav", np.sin(np.arange(32_000, dtype=np.float32)))
    (folder / f"talk.{form}").write_text(TIMED[form])
    return folder / f"talk.{form}", lambda path: timing.timed(transcripts.read(path, "talk")[0], talk)


def of_recording(folder: Path):
    path, _ = of_wav(folder)
    return path, recording.open_recording


def of_weights(folder: Path):
    from test_whisper import written

    data = np.zeros((2, 3), "<f2").tobytes()
    return written(folder / "model.bin", [("a", (2, 3), 4, data), ("b", (), 0, b"abcd")]), whisper.read_ctranslate2


def of_wav(folder: Path):
    import soundfile

    soundfile.write(folder / "a.wav", np.sin(np.arange(8000) / 20) / 4, 16_000)
    return folder / "a.wav", sound.hear


def of_meld(folder: Path):
    write_meld(folder)
    return folder / "train_sent_emo.csv", lambda path: load.scan(path.parent, "meld")


def of_iemocap(folder: Path, kind: str = "transcriptions"):
    from lpgnet.corpora.simulated.corpus import Knobs, generate

    root = folder / "release"
    generate(root, Knobs(dialogues=(3,) * 5, turns=4), jobs=1)
    path = next(p for p in sorted(root.rglob(f"{kind}/*.txt")) if p.parent.name == kind)
    return path, lambda _: load.scan(root, "iemocap")


def _ran(folder: Path) -> places.Place:
    place = places.place(output=folder)
    write_store(place.features, made_table())
    training.run_missing(place, ["linear"], 1, 1, "cpu", {"epochs": TINY["epochs"]})
    return place


def of_record(folder: Path):
    place = _ran(folder)
    return next(place.runs.glob("linear/*.json")), records.read


def of_table(folder: Path):
    place = places.place(output=folder)
    write_store(place.features, made_table())
    return place.features / "utterances.csv", lambda path: utterances(path.parent)


def of_shard(folder: Path):
    table = made_table()
    vectors = np.zeros((len(table), 2), np.float32)
    about = store.write(folder / "x", table, {"text": store.Modality("x", vectors)}, {"sha256": "0" * 64})
    (entry,) = about["sets"].values()
    return store.shard(folder / "x" / entry["folder"], 0), lambda _: store.Features(folder / "x", entry)


def of_bundle(folder: Path):
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr(verify.MANIFEST, f"{'0' * 64}  a.txt\n")

    def call(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            verify.main(path)

    return path, call


def of_checkpoint(folder: Path, name: str = "config.json"):
    from lpgnet.experiments import experiment

    model = replace(experiment("full", "quick").model, hidden=4)
    run = replace(experiment("full", "quick"), model=model).as_dict()
    known = {"experiment": "full", "seed": 0, "fold": "session5", "key": "0", "labels": "majority-4"}
    known |= {"place": "simulated", "corpus": "simulated", "profile": "quick", "split": "session5"}
    known |= {"config": run, "dialogues": {"train": [], "validation": []}, "version": "0"}
    encoders = {m: {"encoder": "x", "version": "1", "recipe": ""} for m in ("text", "audio")}
    reader = checkpoint.Reader(
        model=run["model"], sizes={"text": 3, "audio": 2}, classes=["happy", "sad"], standardise=True,
        encoders=encoders, trained=known, temperature=1.0,
        validation={"happy": [0.5], "sad": []},
    )  # fmt: skip
    reader.save_pretrained(folder / "c")
    return folder / "c" / name, lambda path: checkpoint.load(path.parent)


READERS = {
    "pickle": of_pickle,
    "neutral lines": of_neutral,
    "neutral numbers": lambda folder: of_neutral(folder, "npz"),
    "merbench": of_merbench,
    "emotion2vec labels": of_emotion2vec,
    "emotion2vec lengths": of_lengths,
    "npy": of_vectors,
    "conversation csv": of_conversation,
    "conversation json": lambda folder: of_conversation(folder, "transcript.json"),
    "wav": of_wav,
    "recording": of_recording,
    **{f"transcript {form}": partial(of_transcript, form=form) for form in TIMED},
    "weights of Whisper": of_weights,
    "meld": of_meld,
    "iemocap transcript": of_iemocap,
    "iemocap labels": lambda folder: of_iemocap(folder, "EmoEvaluation"),
    "record": of_record,
    "utterance table": of_table,
    "shard": of_shard,
    "bundle": of_bundle,
    "checkpoint config": of_checkpoint,
    "checkpoint weights": lambda folder: of_checkpoint(folder, "model.safetensors"),
}


@contextlib.contextmanager
def limits():
    """Memory above what is taken now, and time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))

    def stop(*_) -> None:
        raise TimeoutError(TOO_SLOW)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(call: Callable, path: Path) -> None:
    """An AssertionError where a call ends in neither a result nor an error of one line from our own code."""
    try:
        with limits():
            call(path)
    except Exception as error:
        raiser = traceback.extract_tb(error.__traceback__)[-1].filename
        ours = isinstance(error, ONE_LINE) and ("lpgnet" in raiser or getattr(error, "errno", None))
        if not ours or str(error) == TOO_SLOW or "\n" in str(error):
            raise AssertionError(f"{type(error).__name__}: {traceback.format_exc()}") from error


def fuzz(name: str, examples: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "in"
        folder.mkdir()
        places.OUTPUT = Path(made) / "out"
        path, call = READERS[name](folder)
        sound_bytes = path.read_bytes()
        tried(call, path)  # undamaged

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(EDITS)
        def damage(edits: list[tuple]) -> None:
            shutil.rmtree(places.OUTPUT, ignore_errors=True)
            path.write_bytes(damaged(sound_bytes, edits))
            tried(call, path)
            assert {p.name for p in Path(made).iterdir()} <= {"in", "out"}, "written elsewhere"

        damage()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--examples", type=int, default=25)
    asked.add_argument("readers", nargs="*", default=[*READERS], metavar="READER")
    given = asked.parse_args()
    warnings.simplefilter("ignore")
    failed = []
    for name in given.readers:
        try:
            fuzz(name, given.examples)
            print(f"{name}: {given.examples} damaged files, each a result or one line", flush=True)
        except Exception:
            failed.append(name)
            print(f"{name}: FAILED\n{traceback.format_exc()}", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
