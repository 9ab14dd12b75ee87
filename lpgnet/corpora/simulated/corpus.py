"""The simulated corpus: a tree shaped like IEMOCAP_full_release, spoken by a synthesiser, from one seed.

`plan` says who says what, `speech` says it, `layout` writes the text files, `oracle` the best reachable
score.  Numbers made on it say that the machinery works; they are no evidence about emotion.
"""

import csv
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock

from lpgnet.corpora.simulated import layout, oracle, speech
from lpgnet.corpora.simulated.plan import Dialogue, Knobs, plan
from lpgnet.labels import PROTOCOLS
from lpgnet.machine.code import deciding, summary

CODE = (  # what decides the tree; speech runs in a process of its own, so all of it counts
    *(("corpora.simulated.corpus", "_write"), ("corpora.simulated.plan", "plan")),
    ("corpora.simulated.speech", ""),
)
LABELS = ("majority-4", "majority-6")
ENGINE = "espeak-ng"  # its version is known only once it has spoken

__all__ = ["Knobs", "generate", "plan"]


def generate(root: Path, knobs: Knobs = Knobs(), jobs: int = 2) -> None:  # noqa: B008  (frozen)
    """Write the corpus at root, the same bytes for any number of jobs; nothing to do if it is there.

    It is written beside root and renamed when whole, so a killed call leaves no half tree; what such
    a one left is removed.  A folder at root that is not a simulated corpus is never touched.
    """
    root = Path(root).absolute()
    speech.require()
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if _current(root, knobs):
            return
        for leftover in root.parent.glob(f".{root.name}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        part = root.with_name(f".{root.name}.{os.getpid()}.part")
        _write(part, plan(knobs), knobs, jobs)
        if root.exists():
            root.rename(root.with_name(f".{root.name}.old.part"))
        part.rename(root)
        shutil.rmtree(root.with_name(f".{root.name}.old.part"), ignore_errors=True)


def _current(root: Path, knobs: Knobs) -> bool:
    """Whether root holds this very corpus.  Something else than a simulated corpus stops us."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    path = root / "manifest.json"
    manifest = json.loads(path.read_text()) if path.is_file() else {}
    if manifest.get("corpus") != "simulated":
        raise FileExistsError(
            f"{root} holds something that is no simulated corpus; give a folder that does not exist yet"
        )
    versions = {k: v for k, v in manifest["versions"].items() if k != ENGINE}
    return manifest["knobs"] == json.loads(json.dumps(asdict(knobs))) and versions == _versions()


def _versions() -> dict[str, str | int]:
    packages = ("espeakng-loader", "numpy", "scipy")
    return {"code": summary(deciding(CODE))["digest"]} | {name: version(name) for name in packages}


def _write(part: Path, dialogues: list[Dialogue], knobs: Knobs, jobs: int) -> None:
    import soundfile

    wavs = [_wavs(dialogue) for dialogue in dialogues]
    for paths in wavs:
        (part / paths[0]).parent.mkdir(parents=True, exist_ok=True)
    spoken = [_utterances(d, paths, knobs, at) for at, (d, paths) in enumerate(zip(dialogues, wavs, strict=True))]
    engine = speech.speak(spoken, part, jobs)
    for at, (dialogue, paths) in enumerate(zip(dialogues, wavs, strict=True)):
        seconds = [soundfile.info(part / path).duration for path in paths]
        rng = np.random.default_rng([knobs.seed, at, 4])
        spans = layout.times(dialogue, seconds)
        layout.write(part / f"Session{dialogue.session}", dialogue, spans, rng)
    _truth(part / "truth.csv", dialogues)
    manifest = _manifest(dialogues, knobs, _versions() | {ENGINE: engine})
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _wavs(dialogue: Dialogue) -> list[str]:
    folder = f"Session{dialogue.session}/sentences/wav/{dialogue.name}"
    return [f"{folder}/{turn.id}.wav" for turn in dialogue.turns]


def _utterances(dialogue: Dialogue, paths: list[str], knobs: Knobs, at: int) -> list[dict]:
    """What `speech.speak` wants to know of each turn."""
    rng = np.random.default_rng([knobs.seed, at, 5])
    found = []
    for turn, path in zip(dialogue.turns, paths, strict=True):
        speaker = dialogue.speakers[turn.speaker]
        voice = speech.settings(turn.z, speaker.name[-1], speaker.pitch, speaker.formants)
        text = turn.text.replace("[LAUGHTER]", "").strip()
        silence = [round(s, 3) for s in rng.uniform(0.05, 0.25, 2).tolist()]
        seed = int(rng.integers(1, 2**31))
        found.append({"wav": path, "text": text, "seed": seed, "silence": silence, **voice})
    return found


def _manifest(dialogues: list[Dialogue], knobs: Knobs, versions: dict) -> dict:
    """What the tree should hold and the best score it allows (see `oracle`)."""
    guesses = {n: oracle.confusions(dialogues, knobs, n) for n in LABELS}
    alone = {n: oracle.confusions(dialogues, knobs, n, neighbours=False) for n in LABELS}
    return {
        "corpus": "simulated",
        "knobs": asdict(knobs),
        "versions": versions,
        "expected": expected(dialogues),
        "oracle": guesses,
        "oracle_without_neighbours": alone,
    }


def expected(dialogues: list[Dialogue]) -> dict[str, dict[str, dict[str, int]]]:
    """table -> session -> class (raw code, "dialogues") -> count, as a reader should find it."""
    codes: dict[str, Counter] = {}
    for dialogue in dialogues:
        codes.setdefault(str(dialogue.session), Counter()).update(t.label for t in dialogue.turns)
    found = {"codes": {session: dict(sorted(counts.items())) for session, counts in codes.items()}}
    sessions = Counter(str(dialogue.session) for dialogue in dialogues)
    found["dialogues"] = {session: {"dialogues": count} for session, count in sessions.items()}
    for name in LABELS:
        rule = PROTOCOLS[name]
        found[name] = {
            session: {
                kind: sum(n for code, n in counts.items() if rule.codes.get(code) == kind) for kind in rule.classes
            }
            for session, counts in codes.items()
        }
    return found


def _truth(path: Path, dialogues: list[Dialogue]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "state", "kind", "flat", "template"])
        for turn in (turn for dialogue in dialogues for turn in dialogue.turns):
            rows.writerow([turn.id, turn.state, turn.kind, int(turn.flat), turn.template])
