"""`make gpu`: what one CUDA card makes of the paper's size, one table, in under 8 minutes.

python tests/gpu.py [--device cuda|cpu] [--small] [--minutes 8] [PART ...]; parts: speed, equality, features, paper.

The features are made on the spot: 4,290 and 1,241 utterances with a planted signal in 120 and 31 dialogues,
768-d, frames of speech and of tokens too; encoders have random weights.  Nothing of a corpus is in them, so
accuracies mean nothing here.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread per worker process

import argparse
import heapq
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from bench import base_checkpoint, dialogues, padded_fit
from torch.utils.flop_counter import FlopCounterMode

from lpgnet import places
from lpgnet.config import FINETUNE, RunConfig
from lpgnet.corpora.sound import RATE
from lpgnet.experiments import TABLED, experiment
from lpgnet.features import finetune, store, whisper
from lpgnet.features.emotion2vec import Emotion2vec
from lpgnet.features.loading import TOGETHER
from lpgnet.features.text import TextEncoder
from lpgnet.runs import training
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.plan import describe, planned
from lpgnet.runs.seeds import Alone, Stacked, stackable

EPOCHS = 150
CARDS = (1, 4, 16, 64)
CODES = np.array(["ang", "exc", "fru", "hap", "neu", "sad"])
SHARES = np.array([1103, 1041, 0, 595, 1708, 1084]) / 5531  # IEMOCAP's four classes; fru stands beside them
SIZES = {"paper": (120, 4290, 110, 31, 1241, 83, 768), "small": (12, 150, 20, 5, 50, 14, 16)}
EPOCHS_TIMED = {"full": (4, 24), "sdt": (4, 24), "bigru": (2, 6), "frame": (1, 2), "linear": (4, 24)}


class Check:
    """One run of this script: its device, its size, when it began, and what it has said."""

    def __init__(self, device: str, small: bool, minutes: float, output: Path):
        self.device, self.small, self.output = torch.device(device), small, output
        self.start, self.end = time.perf_counter(), time.perf_counter() + 60 * minutes
        self.sizes, self.seeds = SIZES["small" if small else "paper"], [*range(2 if small else 10)]
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        print(f"[{time.perf_counter() - self.start:5.0f} s] {line}", flush=True)
        self.lines.append(line)

    def seconds(self, work: Callable) -> float:
        """Of a call, until the card has done it all."""
        wait = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start

    def per_epoch(self, fit: Callable, few: int, many: int) -> tuple[float, float]:
        """Seconds of an epoch and of the start, from runs of few and of many epochs, after one to warm up.

        Where noise hides the difference, an epoch is given the start's seconds too.
        """
        fit(few)
        one, two = self.seconds(lambda: fit(few)), self.seconds(lambda: fit(many))
        each = (two - one) / (many - few) if two > one else two / many
        return each, max(one - few * each, 0.0)

    def run(self, name: str, epochs: int, **train) -> RunConfig:
        run = experiment(name, "quick" if self.small else "paper")
        return replace(run, train=replace(run.train, epochs=epochs, **train))


# A corpus of the paper's size


def table_of(sizes: tuple[int, ...], six: bool, rng: np.random.Generator) -> pd.DataFrame:
    """An utterance table of four sessions and a fifth to test; six: with turns of `fru` in between."""
    train, test = dialogues(*sizes[:3], 0), dialogues(*sizes[3:6], 2)
    spread = [*zip(itertools.cycle((1, 2, 3, 4)), train, strict=False), *((5, n) for n in test)]
    rows = []
    for number, (session, count) in enumerate(spread):
        labels = rng.choice(CODES, count, p=SHARES).tolist() + ["fru"] * (six * round(count / 3))
        name = f"Ses0{session}F_impro{number:03d}"
        for turn, label in enumerate(rng.permutation(labels)):
            letter = "FM"[turn % 2]
            given = {"id": f"{name}_{letter}{turn:03d}", "dialogue": name, "order": turn, "party": letter}
            given |= {"speaker": f"Ses0{session}{letter}", "session": session, "label": label, "line": turn}
            given |= {"start": 5.0 * turn, "end": 5.0 * turn + 4.5, "scripted": False, "text": "well"}
            rows.append(given | {"wav": "", "votes": "{}", "part": ""})
    return pd.DataFrame(rows)


def corpus(check: Check, name: str, framed: bool) -> places.Place:
    """A feature store as an import leaves it; each class has a direction in either modality."""
    rng, size = np.random.default_rng(0), check.sizes[-1]
    table, sets = table_of(check.sizes, not framed, rng), {}
    number = torch.from_numpy(np.searchsorted(CODES, table["label"])).to(check.device)
    for i, (modality, seconds) in enumerate((("text", 0.3), ("audio", 4.5))):  # 50 frames a second
        normal = partial(torch.randn, generator=torch.Generator(check.device).manual_seed(i), device=check.device)
        signal = normal(6, size)[number] / 8
        vectors = (signal + normal(*signal.shape)).cpu().numpy()
        lengths = np.clip(50 * seconds * rng.lognormal(-0.15, 0.55, len(table)), 3, 512).astype(int)
        frames = [(s + normal(n, size)).half().cpu().numpy() for s, n in zip(signal, lengths, strict=True)]
        sets[modality] = store.Modality("made-up", vectors, frames if framed else None)
    about = {"sha256": f"{name:0<64}", "labels": "majority-4", "protocols": ["majority-4", "majority-6"]}
    about |= {"split": "session5", "corpus": "simulated", "file": name, "format": "made", "files": {}}
    about |= {"ignored": [], "notes": ["made on the spot"], "unsure": [], "made_ids": [], "erc6_filed": []}
    store.write(places.features_of(name, check.output), table, sets, about)
    return places.place(name, "quick" if check.small else None, output=check.output)


def data_of(check: Check, place: places.Place, name: str) -> Dataset:
    return training.dataset(place, planned(place, describe(place), [name], 1)[0], check.device.type)


# Parts


def rates(check: Check) -> float:
    """Operations a second of the card's own large products in bfloat16."""
    size, made = 256 if check.small else 8192, {}
    for name, kind in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a = torch.randn(size, size, device=check.device, dtype=kind)
        fastest = min(check.seconds(lambda a=a: [a @ a for _ in range(5)]) / 5 for _ in range(3))
        made[name] = 2 * size**3 / fastest
    x = torch.randn(1 << (20 if check.small else 28), device=check.device)
    moved = 8 * x.numel() / min(check.seconds(x.clone) for _ in range(3))
    named = torch.cuda.get_device_name() if check.device.type == "cuda" else "a CPU"
    check.say(
        f"{named}, torch {torch.__version__}, Python {sys.version.split()[0]}; a product of {size}: "
        f"{made['bfloat16'] / 1e12:.1f} TFLOP/s in bfloat16, {made['float32'] / 1e12:.1f} in float32; "
        f"copies at {moved / 1e12:.2f} TB/s"
    )
    return made["bfloat16"]


def several(check: Check, name: str, data: Dataset, seeds: list[int]) -> Alone | Stacked:
    run = check.run(name, 1)
    kind = Stacked if stackable(run, data.longest) else Alone
    some = seeds if kind is Stacked else seeds[:1]
    return kind([training._initial(run, data, seed) for seed in some], run, data, some)


def operations(model: Alone | Stacked) -> int:
    """Of the matrix products of an epoch, looks at validation and test with it."""
    with FlopCounterMode(display=False) as counter:
        model.epoch(), model.outputs("test"), model.outputs("validation")
    return counter.get_total_flops()


def launches(check: Check, model: Alone | Stacked) -> str:
    """What the CPU launches per training step, and how long the card is busy with it."""
    if check.device.type != "cuda":
        return ""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        model.epoch()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        check.seconds(model.epoch)
    steps = -(-len(model.data.units["train"]) // model.run.train.batch)
    names = [event.name for event in seen.events()]
    kernels, graphs = (sum(what in name for name in names) / steps for what in ("LaunchKernel", "GraphLaunch"))
    on_card = [e for e in seen.key_averages() if e.device_type == DeviceType.CUDA]
    busy = sum(e.self_device_time_total for e in on_card) / 1e3 / steps
    return f"{kernels:.0f} + {graphs:.0f} graph, {busy:.1f} ms"


def speed(check: Check, rate: float) -> None:
    """Seconds of 150 epochs of all seeds in one process, by model; what all experiments would take."""
    rows = {}
    stores = {framed: corpus(check, f"simulated-gpu{'-frames' * framed}", framed) for framed in (False, True)}
    check.say("features made")
    for name, (few, many) in EPOCHS_TIMED.items():
        data = data_of(check, stores[name == "frame"], name)
        some = check.seeds if stackable(check.run(name, 1), data.longest) else check.seeds[:1]
        if check.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        fit = lambda epochs, n=name, d=data, s=some: training.fit(check.run(n, epochs), d, s)  # noqa: E731
        each, start = check.per_epoch(fit, *((1, 2) if check.small else (few, many)))
        whole = (each * EPOCHS + start) * len(check.seeds) / len(some)
        row = {"s": round(whole, 1), "s an epoch": round(each, 4), "seeds beside": len(some)}
        if name in ("full", "sdt"):
            plain = lambda epochs, n=name, d=data: padded_fit(check.run(n, epochs), d, [0])  # noqa: E731
            alone = check.per_epoch(plain, 1, 3)[0] * EPOCHS * len(check.seeds)
            row |= {"padded loop, s": round(alone, 1), "x": round(alone / whole, 1)}
        if check.device.type == "cuda":
            row["GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        model = several(check, name, data, check.seeds)
        if len(some) > 1 or check.device.type == "cpu":
            work = operations(several(check, name, data, check.seeds)) / each
            row |= {"TFLOP/s": round(work / 1e12, 2), "of the card": f"{100 * work / rate:.1f} %"}
        row["launches a step, busy"] = launches(check, model)
        rows[name] = row
        check.say(f"{name}: " + ", ".join(f"{k} {v}" for k, v in row.items()))
    check.say(f"{EPOCHS} epochs, {len(check.seeds)} seeds\n" + pd.DataFrame(rows).T.to_string())
    kinds = {"LPGNetConfig": "full", "SDTConfig": "sdt", "BiGRUConfig": "bigru", "LinearConfig": "linear"}
    like = [name if name in rows else kinds[type(run.model).__name__] for name, run in TABLED.items()]
    parts = {name: len(check.seeds) // row["seeds beside"] for name, row in rows.items()}  # seeds apart, or one
    pieces = [rows[name]["s"] / parts[name] for name in like for _ in range(parts[name])]
    check.say(f"all {len(like)} experiments, one after the other: {sum(pieces):.0f} s (forecast)")
    cards = ", ".join(f"{n} cards {makespan(pieces, n):.0f} s" for n in CARDS)
    check.say(f"simulated, a piece (an experiment's seeds that train beside each other) on one card: {cards}")


def makespan(pieces: list[float], cards: int) -> float:
    """Seconds until all pieces are done, the longest first, each on the card that is free first."""
    free = [0.0] * cards
    for piece in sorted(pieces, reverse=True):
        heapq.heapreplace(free, free[0] + piece)
    return max(free)


def equality(check: Check, _) -> None:
    """Losses and logits of two seeds after an epoch: the card's against the CPU's, in either precision."""
    place = corpus(check, "simulated-gpu-equality", False)
    for name in ("full", "sdt"):
        run = check.run(name, 1, precision="full")
        run = replace(run, model=replace(run.model, dropout=0.0))  # a GPU draws other masks
        half = replace(run, train=replace(run.train, precision="mixed"))
        data = data_of(check, place, name)
        made = {"float32": training.fit(run, data, [0, 1]), "bfloat16": training.fit(half, data, [0, 1])}
        data.to(torch.device("cpu"))
        want = [training.fit(run, data, [seed])[0] for seed in (0, 1)]
        data.to(check.device)
        for what, some in made.items():
            pairs = [*zip(some, want, strict=True)]
            loss = max(abs(a.curves["loss"][0] / b.curves["loss"][0] - 1) for a, b in pairs)
            largest = max(np.abs(b.test_logits[0]).max() for _, b in pairs)
            logits = max(np.abs(a.test_logits[0] - b.test_logits[0]).max() for a, b in pairs) / largest
            check.say(f"{name} in {what}: losses {loss:.1e} from the CPU's, logits {logits:.1e} of the largest")


def speech(folder: Path, check: Check) -> Iterator[tuple[str, Callable]]:
    """Name and maker of the audio encoders that are timed, with random weights."""

    def emotion2vec() -> Emotion2vec:
        base_checkpoint(folder, check.small)
        return Emotion2vec(folder, "random", check.device.type)

    def tiny_whisper() -> whisper.Whisper:
        rng = np.random.default_rng(0)
        weights = {n: 0.02 * rng.standard_normal(shape, np.float32) for n, shape in whisper.shapes().items()}
        whisper.folder, whisper.encoder_weights = lambda: folder, lambda path: weights
        return whisper.Whisper(device=check.device.type)

    yield "emotion2vec" if check.small else "emotion2vec-base", emotion2vec
    yield "Whisper tiny.en", tiny_whisper


def bert(folder: Path, check: Check) -> list[str]:
    """A BERT-base with random weights, written to folder; texts of its words, as many and as long as IEMOCAP's."""
    import transformers

    rng, words = np.random.default_rng(0), [f"w{i}" for i in range(50 if check.small else 30_000)]
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(special + words))
    config = transformers.BertConfig(vocab_size=len(special + words), **(tiny if check.small else {}))
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    lengths = np.clip(12 * rng.lognormal(-0.3, 0.8, check.sizes[1]), 1, 100).astype(int)
    return [" ".join(rng.choice(words, n)) for n in lengths]


def features(check: Check, _) -> None:
    """Encoders with random weights: hours of speech a minute, waves together and alone; texts; a fold's fit."""
    with tempfile.TemporaryDirectory(dir=check.output) as folder:
        for name, maker in speech(Path(folder), check):
            try:
                hearing(check, name, maker())
            except (ImportError, ValueError) as error:  # funasr need not be there
                check.say(f"{name}: not measured ({error})")
    with tempfile.TemporaryDirectory(dir=check.output) as folder:
        reading(check, Path(folder))


def hearing(check: Check, name: str, made: Emotion2vec | whisper.Whisper) -> None:
    rng = np.random.default_rng(0)
    lengths = RATE * np.clip(4.5 * rng.lognormal(-0.15, 0.55, 10 if check.small else 384), 0.6, 30)
    waves = [rng.standard_normal(int(n), np.float32) / 10 for n in lengths]
    hours, vectors = {}, {}
    for made.together in (1, TOGETHER):
        vectors[made.together] = np.stack([vector for vector, _ in made(waves[:10])])  # the first loads it
        hours[made.together] = lengths.sum() / RATE / 60 / check.seconds(lambda: [*made(waves)])
    far = np.abs(vectors[TOGETHER] - vectors[1]).max() / np.abs(vectors[1]).max()
    check.say(
        f"{name}: {hours[1]:.2f} hours of speech a minute one by one, {hours[TOGETHER]:.2f} by {TOGETHER}; "
        f"vectors {far:.1e} of the largest apart"
    )


def reading(check: Check, folder: Path) -> None:
    texts = bert(folder, check)
    made = TextEncoder(folder, "random", check.device.type)
    list(made(texts[:8]))
    check.say(f"BERT: {len(texts) / check.seconds(lambda: [*made(texts)]):.0f} texts a second")
    some, settings = texts[:1024], FINETUNE["paper"]
    training = pd.DataFrame({"id": some, "text": some, "label": np.resize(CODES, len(some))})
    for precision in ("float32", "bfloat16"):
        places = (folder / f"{precision}-{n}" for n in itertools.count())
        fit = lambda n, at=places: finetune.fit(  # noqa: E731
            folder, training, replace(settings, epochs=n), next(at), check.device.type
        )
        with mock.patch.object(finetune, "has_bfloat16", lambda device, p=precision: p == "bfloat16"):
            each, start = check.per_epoch(fit, 1, 3)
        fold = start + each * settings.epochs * len(texts) / len(some)
        check.say(
            f"BERT fitted in {precision}: {len(some) / each:.0f} texts a second, {fold:.0f} s for all {len(texts)}"
        )


def paper(check: Check, _) -> None:
    """All experiments of Tables 2-7 that vectors allow, through papermill, as far as time allows."""
    place = corpus(check, "simulated-gpu-paper", False)
    command = [
        sys.executable,
        "-m",
        "lpgnet",
        "reproduce",
        "--corpus",
        place.corpus,
        "--profile",
        place.profile,
    ]
    command += ["--device", check.device.type, "--seeds", str(len(check.seeds))]
    environment = os.environ | {"LPGNET_OUTPUT": str(check.output)}
    start = time.perf_counter()
    try:
        code = subprocess.run(command, env=environment, timeout=max(check.end - start - 5, 20)).returncode
    except subprocess.TimeoutExpired:
        code = None
    ended = {0: "whole", None: "stopped when the time was over"}.get(code, f"FAILED, exit code {code}")
    runs = len([*place.runs.glob("*/[!.]*.json")])
    check.say(f"reproduce through papermill: {ended}; {runs} runs in {time.perf_counter() - start:.0f} s")


PARTS = {"speed": speed, "equality": equality, "features": features, "paper": paper}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    asked.add_argument("--small", action="store_true", help="a tenth of everything: tries the script itself")
    asked.add_argument("--minutes", type=float, default=8)
    asked.add_argument("parts", nargs="*", default=[*PARTS], metavar="PART")
    given = asked.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here; `--device cpu --small` tries the script itself")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        check = Check(given.device, given.small, given.minutes, Path(folder))
        rate = rates(check)
        for name in given.parts:
            PARTS[name](check, rate)
    print("\n".join(["", *check.lines]))


if __name__ == "__main__":
    main()
