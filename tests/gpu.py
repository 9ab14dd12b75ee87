"""`make gpu`: what one CUDA card makes of the paper's size, one table, in under 8 minutes.

python tests/gpu.py [--device cuda|cpu] [--small] [--minutes 8] [--jobs N] [PART ...]

The features are made on the spot: 4,290 and 1,241 utterances with a planted signal in 120 and 31 dialogues,
768-d, frames of speech and of tokens too.  Nothing of a corpus is in them, so accuracies mean nothing here.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread per worker process

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
import torch
from bench import dialogues, padded, padded_fit
from torch.utils.flop_counter import FlopCounterMode

from lpgnet import places
from lpgnet.experiments import GROUPS, experiment
from lpgnet.features import store
from lpgnet.runs import training
from lpgnet.runs.packed import PIECE
from lpgnet.runs.plan import describe, planned
from lpgnet.runs.seeds import Alone, mixed

EPOCHS, SEEDS = 150, 10
CODES = np.array(["hap", "exc", "sad", "neu", "ang", "fru"])
SHARES = np.array([595, 1041, 1084, 1708, 1103]) / 5531  # of IEMOCAP's four classes; fru beside them
SIZES = {"paper": (120, 4290, 110, 31, 1241, 83, 768), "small": (12, 150, 20, 5, 50, 14, 16)}
TABLED = ("full", "sdt", "bigru", "frame", "linear")


class Check:
    """One run of this script: its device, its size, when it began, and what it found."""

    def __init__(self, device: str, small: bool, minutes: float, jobs: int | None):
        self.device, self.small, self.jobs = torch.device(device), small, jobs
        self.start, self.seconds = time.perf_counter(), 60 * minutes
        self.sizes = SIZES["small" if small else "paper"]
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        print(f"[{time.perf_counter() - self.start:5.0f} s] {line}", flush=True)
        self.lines.append(line)

    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.start)

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, work) -> float:
        self.sync()
        start = time.perf_counter()
        work()
        self.sync()
        return time.perf_counter() - start

    def run(self, name: str, epochs: int, **train):
        run = experiment(name, "quick" if self.small else "paper")
        return replace(run, train=replace(run.train, epochs=epochs, **train))


# A corpus of the paper's size


def table_of(sizes: tuple[int, ...], six: bool, rng: np.random.Generator) -> pd.DataFrame:
    """An utterance table; six: turns of the fifth class (`fru`) stand among those of the four."""
    train, test = dialogues(*sizes[:3], 0), dialogues(*sizes[3:6], 2)
    places_of = [(session, n) for session, n in zip(itertools.cycle((1, 2, 3, 4)), train, strict=False)]
    rows = []
    for number, (session, count) in enumerate([*places_of, *((5, n) for n in test)]):
        labels = rng.choice(CODES[:5], count, p=SHARES).tolist() + ["fru"] * (six * round(count / 3))
        name = f"Ses0{session}F_impro{number:03d}"
        for turn, label in enumerate(rng.permutation(labels)):
            letter = "FM"[turn % 2]
            given = {"id": f"{name}_{letter}{turn:03d}", "dialogue": name, "order": turn, "party": letter}
            given |= {"speaker": f"Ses0{session}{letter}", "session": session, "label": label}
            given |= {"start": 5.0 * turn, "end": 5.0 * turn + 4.5, "line": turn, "scripted": False}
            rows.append(given | {"text": "well", "wav": "", "votes": "{}", "part": ""})
    return pd.DataFrame(rows)


def corpus(check: Check, output: Path, name: str, six: bool, framed: bool) -> places.Place:
    """A feature store as an import leaves it; each class has a direction in either modality."""
    rng, size = np.random.default_rng(0), check.sizes[-1]
    table = table_of(check.sizes, six, rng)
    number = np.searchsorted(np.sort(CODES), table["label"])
    sets = {}
    for i, (modality, seconds) in enumerate((("text", 0.3), ("audio", 4.5))):  # 50 frames a second
        generator = torch.Generator(check.device).manual_seed(i)
        centres = torch.randn(6, size, generator=generator, device=check.device) / 8
        signal = centres[torch.from_numpy(number).to(check.device)]
        noise = torch.randn(signal.shape, generator=generator, device=check.device)
        lengths = np.clip(50 * seconds * rng.lognormal(-0.15, 0.55, len(table)), 3, 512).astype(int)
        frames = None
        if framed:
            kept = [
                (s + torch.randn(n, size, generator=generator, device=check.device)).half()
                for s, n in zip(signal, lengths, strict=True)
            ]
            frames = [x.numpy() for x in torch.cat(kept).cpu().split(lengths.tolist())]
        sets[modality] = store.Modality("made-up", (signal + noise).cpu().numpy(), frames)
    about = {"sha256": f"{name:0<64}", "labels": "majority-4", "protocols": ["majority-4", "majority-6"]}
    about |= {"split": "session5", "corpus": "simulated", "file": name, "format": "made", "files": {}}
    about |= {
        "ignored": [],
        "notes": ["made on the spot"],
        "unsure": [],
        "made_ids": [],
        "erc6_filed": [],
        "meta": {},
    }
    store.write(places.features_of(name, output), table, sets, about)
    return places.place(name, "quick" if check.small else None, output=output)


def data_of(check: Check, place: places.Place, name: str):
    job = planned(place, describe(place), [name], 1)[0]
    return training._dataset.__wrapped__(place, job.run.data, job.fold, *_sets(job), check.device.type)


def _sets(job) -> tuple[str, bool]:
    import json

    return json.dumps(job.features), getattr(job.run.model, "pool", "none") != "none"


# Parts


def card(check: Check, *_) -> float:
    """Operations a second of the card's own large products."""
    size, rates = 256 if check.small else 8192, {}
    for name, kind in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a = torch.randn(size, size, device=check.device, dtype=kind)
        a @ a
        seconds = min(check.timed(lambda a=a: [a @ a for _ in range(5)]) / 5 for _ in range(2))
        rates[name] = 2 * size**3 / seconds
    x = torch.randn(1 << (20 if check.small else 28), device=check.device)
    moved = 8 * x.numel() / min(check.timed(lambda: x.clone()) for _ in range(3))
    named = torch.cuda.get_device_name() if check.device.type == "cuda" else "a CPU"
    check.say(
        f"{named}, torch {torch.__version__}, Python {sys.version.split()[0]}: products of {size}: "
        f"{rates['bfloat16'] / 1e12:.1f} TFLOP/s bfloat16, {rates['float32'] / 1e12:.1f} float32; "
        f"copies {moved / 1e12:.2f} TB/s"
    )
    return rates["bfloat16"]


def per_epoch(check: Check, fit, few: int, many: int, warm: bool = True) -> tuple[float, float]:
    """Seconds of an epoch, and those of the start, from runs of few and of many epochs."""
    if warm:
        fit(few)
    one, two = check.timed(lambda: fit(few)), check.timed(lambda: fit(many))
    each = (two - one) / (many - few)
    return each, max(one - few * each, 0.0)


def operations(check: Check, data, name: str) -> int:
    """Of the matrix products of one seed-epoch."""
    run = check.run(name, 1)
    with FlopCounterMode(display=False) as counter:
        several = Alone([training._initial(run, data, 0)], run, data, [0])
        several.epoch(), several.outputs("test"), several.outputs("validation")
    return counter.get_total_flops()


def launches(check: Check, run, data, seeds: list[int]) -> str:
    """Kernels and graphs that the CPU launches per training step, and what of a step the card is busy."""
    if check.device.type != "cuda":
        return "-"
    from torch.profiler import ProfilerActivity, profile

    stacked = training.stackable(run, data.longest)
    some = seeds if stacked else seeds[:1]
    several = (training.Stacked if stacked else Alone)(
        [training._initial(run, data, s) for s in some], run, data, some
    )
    for _ in range(3):
        several.epoch()
    check.sync()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        several.epoch()
        check.sync()
    steps = -(-len(data.units["train"]) // run.train.batch)
    names = [e.name for e in seen.events()]
    kernels = sum("LaunchKernel" in n for n in names) / steps
    graphs = sum("GraphLaunch" in n for n in names) / steps
    from torch.autograd import DeviceType

    on_card = [e for e in seen.key_averages() if e.device_type == DeviceType.CUDA]
    busy = sum(e.self_device_time_total for e in on_card) / 1e3 / steps
    for e in sorted(on_card, key=lambda e: -e.self_device_time_total)[:14]:
        print(f"    {e.self_device_time_total / 1e3 / steps:7.3f} ms {e.count / steps:6.1f} x {e.key[:150]}")
    return f"{kernels:.0f} kernels, {graphs:.0f} graph a step, card busy {busy:.2f} ms"


def speed(check: Check, places_of: dict, rate: float) -> None:
    """Seconds of 150 epochs of ten seeds in one process, model by model."""
    seeds = list(range(2 if check.small else SEEDS))
    rows = []
    for name in TABLED:
        data = data_of(check, places_of["frames" if name == "frame" else "vectors"], name)
        few, many = (1, 2) if check.small else {"frame": (1, 2), "bigru": (2, 6)}.get(name, (4, 24))
        some = seeds[:1] if name == "bigru" else seeds
        if check.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        fit = lambda epochs: training.fit(check.run(name, epochs), data, some)  # noqa: E731, B023
        each, begin = per_epoch(check, fit, few, many)
        whole = (each * EPOCHS + begin) * len(seeds) / len(some)
        memory = torch.cuda.max_memory_allocated() / 2**30 if check.device.type == "cuda" else float("nan")
        work = operations(check, data, name) * len(seeds) * EPOCHS / whole
        padded_s = float("nan")
        if name in ("full", "sdt"):
            run = check.run(name, 1)
            plain, _ = per_epoch(check, lambda n: padded_fit(check.run(name, n), data, [0]), 1, 3)  # noqa: B023
            padded_s = plain * EPOCHS * len(seeds)
        told = launches(check, check.run(name, 1), data, seeds)
        row = {
            "model": name,
            "s, 10 seeds x 150": round(whole, 1),
            "s an epoch": round(each, 4),
            "start s": round(begin, 1),
            "padded loop s": round(padded_s, 1),
            "x": round(padded_s / whole, 1),
            "TFLOP/s": round(work / 1e12, 2),
            "of the card": f"{100 * work / rate:.2f} %",
            "GiB": round(memory, 1),
            "launches": told,
        }
        check.say("  ".join(f"{k} {v}" for k, v in row.items()))
        rows.append(row)
    check.say("\n" + pd.DataFrame(rows).to_string(index=False))


def pieces(check: Check, places_of: dict, _) -> None:
    """An epoch at frame level by the number of sequences padded together."""
    data = data_of(check, places_of["frames"], "frame")
    for size in (8, 16, 32):
        PIECE[check.device.type] = size
        fit = lambda epochs: training.fit(check.run("frame", epochs), data, [0])  # noqa: E731
        check.say(f"frame, {size} sequences padded together: {per_epoch(check, fit, 1, 2)[0]:.2f} s an epoch")


def equality(check: Check, places_of: dict, _) -> None:
    """Losses and logits of two seeds after an epoch: the card's against the CPU's, and bfloat16 against both."""
    for name in ("full", "sdt"):
        run = check.run(name, 1, precision="full")
        run = replace(run, model=replace(run.model, dropout=0.0))  # a GPU draws other masks
        half = replace(run, train=replace(run.train, precision="mixed"))
        data = data_of(check, places_of["vectors"], name)
        ours, rough = training.fit(run, data, [0, 1]), training.fit(half, data, [0, 1])
        data.to(torch.device("cpu"))
        torch.set_num_threads(os.cpu_count() or 1)
        want = [training.fit(run, data, [seed])[0] for seed in (0, 1)]
        torch.set_num_threads(1)

        def far(some):
            logits = [(a.test_logits[0], b.test_logits[0]) for a, b in zip(some, want, strict=True)]  # noqa: B023
            losses = [(a.curves["loss"][0], b.curves["loss"][0]) for a, b in zip(some, want, strict=True)]  # noqa: B023
            return (
                max(np.abs(a - b).max() / np.abs(b).max() for a, b in logits),
                max(abs(a - b) / b for a, b in losses),
            )

        for what, some in (("float32", ours), ("bfloat16", rough)):
            logits, loss = far(some)
            check.say(
                f"{name}, {what} against the CPU: logits {logits:.1e} of the largest, losses {loss:.1e}"
            )


def beside(check: Check, places_of: dict, _) -> None:
    """Experiments side by side on one card, by the number of processes."""
    names = list(GROUPS["ablations"]) if not check.small else ["full", "linear"]
    names = [n for n in names if "frozen" not in n]
    epochs = 2 if check.small else 20
    for i, jobs in enumerate((1,) if check.small else (1, 4, 8)):
        work = lambda: training.run_missing(  # noqa: E731
            places_of["vectors"],
            names,
            2 if check.small else SEEDS,
            jobs,
            check.device.type,
            {"epochs": epochs + i},  # noqa: B023
        )
        check.say(
            f"{len(names)} experiments x {SEEDS} seeds x {epochs + i} epochs, {jobs} processes: {check.timed(work):.1f} s"
        )
    for name in ("bigru", "frame"):
        place = places_of["frames" if name == "frame" else "vectors"]
        few, many = (1, 2) if check.small or name == "frame" else (5, 20)
        for jobs in (1,) if check.small else (10,):
            work = lambda n: training.run_missing(
                place, [name], 2 if check.small else SEEDS, jobs, check.device.type, {"epochs": n}
            )  # noqa: E731, B023
            each, begin = per_epoch(check, work, few, many, warm=False)
            check.say(
                f"{name}, ten seeds in {jobs} processes: {each:.2f} s an epoch of all, start {begin:.1f} s, so {each * EPOCHS + begin:.0f} s for 150"
            )


def paper(check: Check, places_of: dict, _) -> None:
    """All experiments of Tables 2-7 that the made-up vectors allow, end to end through papermill."""
    place = places_of["vectors"]
    command = [
        sys.executable,
        "-m",
        "lpgnet",
        "reproduce",
        "--corpus",
        place.corpus,
        "--device",
        check.device.type,
    ]
    command += ["--seeds", str(2 if check.small else SEEDS), *(["--profile", "quick"] if check.small else [])]
    command += ["--jobs", str(check.jobs)] if check.jobs else []
    environment = os.environ | {"LPGNET_OUTPUT": str(place.output)}
    start, limit = time.perf_counter(), max(check.left() - 10, 30)
    try:
        done = subprocess.run(command, env=environment, timeout=limit, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        done = False
    spent = time.perf_counter() - start
    runs = len([*place.runs.glob("*/[!.]*.json")])
    check.say(
        f"reproduce, through papermill: {'whole' if done else 'NOT whole'}, {runs} runs in {spent:.0f} s"
    )


PARTS = {"speed": speed, "pieces": pieces, "equality": equality, "beside": beside, "paper": paper}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    asked.add_argument("--small", action="store_true")
    asked.add_argument("--minutes", type=float, default=8)
    asked.add_argument("--jobs", type=int)
    asked.add_argument("parts", nargs="*", default=list(PARTS))
    given = asked.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here; `--device cpu --small` tries the script itself")
    torch.set_num_threads(1)
    check = Check(given.device, given.small, given.minutes, given.jobs)
    with tempfile.TemporaryDirectory() as folder:
        rate = card(check)
        places_of = {
            "vectors": corpus(check, Path(folder), "simulated-gpu", six=True, framed=False),
            "frames": corpus(check, Path(folder), "simulated-gpu-frames", six=False, framed=True),
        }
        check.say("features made")
        for name in given.parts:
            try:
                PARTS[name](check, places_of, rate)
            except Exception as error:  # the other parts are worth their time
                import traceback

                traceback.print_exc()
                check.say(f"{name} FAILED: {type(error).__name__}: {error}")
    print("\nSummary\n" + "\n".join(check.lines))


if __name__ == "__main__":
    main()
