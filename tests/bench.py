"""`make bench`: speed and memory as ratios, each pair measured in one run on this machine.

python tests/bench.py [training] [seeds] [extraction] [store] [frames] [online]: all of them unless some are named.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread per worker process

import copy
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import joblib
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lpgnet import losses, places
from lpgnet.config import LPGNetConfig
from lpgnet.experiments import experiment
from lpgnet.features import store
from lpgnet.features.encoders import encoder
from lpgnet.machine.workers import device_named, keep_freed_memory
from lpgnet.model import MODALITY, LPGNet
from lpgnet.runs import baselines, checkpoint, packed, seeds, training
from lpgnet.runs.dataset import Dataset, shuffled
from lpgnet.runs.packed import BLOCK, PIECE, Layout, Packed

SECONDS = (1.6, 9.5, 3.1, 4.4, 2.2, 7.0, 3.4, 4.5)  # of utterances; mean 4.46 as in IEMOCAP
GIB, MIB = 1 << 30, 1 << 20


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def child(work, *arguments, frugal: bool = False):
    """What `work` returns, in a fresh process.

    frugal: what is freed goes back at once, so that memory can be measured; nothing is timed there.
    """
    settings = {"MALLOC_MMAP_THRESHOLD_": "65536"} if frugal else {}
    os.environ |= settings
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(work, arguments)
    finally:
        for name in settings:
            del os.environ[name]


def most_memory(work, *arguments) -> int:
    """Bytes by which the largest resident memory of this process grew during `work`."""

    def largest() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

    before = largest()
    work(*arguments)
    return largest() - before


# Extraction


def base_checkpoint(folder: Path, small: bool = False) -> None:
    """emotion2vec with random weights, at its full size (768-d, 4 + 8 blocks, 12 heads) or small."""
    import omegaconf
    from test_speech import CONF, write_config

    from lpgnet.features.loading import without_side_effects

    with without_side_effects():
        from funasr.models.emotion2vec.model import Emotion2vec
    conf = copy.deepcopy(CONF)
    full = {"depth": 8, "embed_dim": 768, "num_heads": 12, "mlp_ratio": 4.0}
    spec = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    size = {"prenet_depth": 4, "num_alibi_heads": 12, "model_depth": 8, "conv_pos_groups": 16}
    if not small:
        conf |= full
        conf["modalities"]["audio"] |= size | {"feature_encoder_spec": spec}
    write_config(folder, conf)
    torch.save(Emotion2vec(model_conf=omegaconf.OmegaConf.create(conf)).state_dict(), folder / "model.pt")


def utterances(root: Path, count: int) -> pd.DataFrame:
    import soundfile

    from lpgnet.corpora.sound import RATE

    rng = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(count)]
    for i, name in enumerate(names):
        samples = rng.normal(size=int(SECONDS[i % len(SECONDS)] * RATE)) / 10
        soundfile.write(root / name, samples, RATE)
    return pd.DataFrame({"id": names, "wav": names})


def extraction() -> None:
    """Times real time: all cores with our extraction, against funasr one by one as its README calls it."""
    import soundfile

    from lpgnet.features import extract

    cores = joblib.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base_checkpoint(root)
        table = utterances(root, 16)
        seconds = sum(soundfile.info(root / w).duration for w in table["wav"])
        store.SHARD = len(table) // (2 * cores)
        work = extract._Work(table, root, root / "features", cores, "cpu")
        print(f"emotion2vec-base, random weights, {seconds:.0f} s of speech, {cores} cores")
        first = timed(lambda: work.frozen("audio", str(root)))
        again = extract._Work(table, root, root / "again", cores, "cpu")  # the workers hold the model now
        ours = timed(lambda: again.frozen("audio", str(root)))
        print(f"  ours, first call (imports, loading)  {seconds / first:6.2f} x real time")
        print(f"  ours, from then on                   {seconds / ours:6.2f} x real time")
        for threads in (1, 4):
            theirs = child(funasr_one_by_one, root, table, threads)
            print(
                f"  funasr one by one, {threads} thread{'s' * (threads > 1):1}         "
                f"{seconds / theirs:6.2f} x real time   ours is {theirs / ours:.2f} x as fast"
            )


def funasr_one_by_one(root: Path, table: pd.DataFrame, threads: int) -> float:
    """Seconds of generate() for utterance vectors and again for frames, loading left out."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from funasr import AutoModel

        from lpgnet.corpora.sound import read_clip

        options = {"disable_update": True, "disable_pbar": True, "log_level": "ERROR", "device": "cpu"}
        model = AutoModel(model=str(root), ncpu=threads, **options)
        call = {"extract_embedding": True, "disable_pbar": True}
        waves = [read_clip(root / wav) for wav in table["wav"]]
        model.generate(waves[0], granularity="frame", **call)
        return timed(lambda: [model.generate(wave, granularity="frame", **call) for wave in waves])


# The store


def reading() -> None:
    """Frames out of the store, not in the page cache, against the bytes of the same files."""
    count, frames, size = 1600, 223, 768
    about = {"size": 1, "frame_size": size, "precision": "float16", "folder": "x", "utterances": count}
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(frames, size)).astype(np.float16)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        root = Path(folder)
        for start in range(0, count, store.SHARD):
            ids = [f"u{i}" for i in range(start, start + store.SHARD)]
            items = ((np.zeros(1, np.float32), frames) for _ in ids)
            store.write_shard(store.shard(root / "x", start), ids, items, about, set())
        paths = sorted((root / "x").iterdir())
        total = sum(p.stat().st_size for p in paths)
        raw, ours = [], []
        for _ in range(3):
            forget(paths)
            raw.append(timed(lambda: [p.read_bytes() for p in paths]))
            forget(paths)
            ours.append(timed(lambda: read_all(root, about)))
        print(f"store: {total / GIB:.2f} GiB of frames in half precision, page cache dropped, best of 3")
        print(f"  the files' bytes                     {total / GIB / min(raw):6.2f} GiB/s")
        print(f"  frames, one utterance at a time      {total / GIB / min(ours):6.2f} GiB/s   ", end="")
        print(f"{min(raw) / min(ours):.2f} of the disk's speed")


def read_all(root: Path, about: dict) -> None:
    features = store.Features(root, about)
    for i in range(about["utterances"]):
        features.frames(i, 512).clone()


def forget(paths: list[Path]) -> None:
    """Ask the kernel to drop these files from its cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# Attention at frame level


def frames() -> None:
    """Peak memory of one path, forward and backward, by sequence length: by blocks and all at once."""
    print("one attention path, batch 4, d 64, forward and backward: memory that it needs at its peak")
    print(f"  {'length':>8} {'by blocks':>12} {'at once':>12} {'ratio':>7}")
    for length in (512, 1024, 2048, 4096):
        split, whole = (child(attention_memory, length, block, frugal=True) for block in (BLOCK["cpu"], 10**6))
        print(f"  {length:>8} {split / MIB:8.0f} MiB {whole / MIB:8.0f} MiB {whole / split:6.1f} x")


def attention_memory(length: int, block: int) -> int:
    attend(2, 1)  # imports
    return most_memory(attend, length, block)


def attend(length: int, block: int) -> None:
    packed.BLOCK["cpu"] = block
    layout = Layout(torch.tensor([length] * 4))
    rows = torch.randn(4, length, 64, requires_grad=True)
    model = Packed(LPGNetConfig(hidden=64), {"text": 1, "audio": 1}, 4)
    model.attended("tt", rows, rows, layout, layout).sum().backward()


# Training

TEXT, AUDIO = 384, 768  # features


def dialogues(count: int, utterances: int, longest: int, seed: int) -> list[int]:
    """Lengths as IEMOCAP's four-class dialogues have them: the given sum, 5 to `longest`."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(0, 0.45, count), 0.2, None)
    lengths = np.clip(np.round(lengths / lengths.sum() * utterances), 5, longest).astype(int)
    lengths[0] = longest
    while lengths.sum() != utterances:
        i = rng.integers(1, count)
        lengths[i] = np.clip(lengths[i] + np.sign(utterances - lengths.sum()), 5, longest)
    return lengths.tolist()


class Made:
    """What `training.fit` reads of a Dataset: 4,290 training and 1,241 test utterances of noise."""

    def __init__(self, device: str = "cpu"):
        parts = {"train": dialogues(108, 3860, 110, 0), "validation": dialogues(12, 430, 83, 1)}
        parts["test"] = dialogues(31, 1241, 83, 2)
        total = sum(map(sum, parts.values()))
        generator = torch.Generator().manual_seed(0)
        self.sizes, self.classes, self.speaker_names = {"text": TEXT, "audio": AUDIO}, "abcd", "FM"
        self.rows = {m: torch.randn(total, size, generator=generator) for m, size in self.sizes.items()}
        self.labels = torch.randint(4, (total,), generator=generator)
        self.speaker = torch.randint(2, (total,), generator=generator)
        ends = np.cumsum([0, *(n for lengths in parts.values() for n in lengths)])
        units = [torch.arange(a, b) for a, b in itertools.pairwise(ends)]
        counts = np.cumsum([0, *map(len, parts.values())])
        self.units = {p: units[a:b] for p, a, b in zip(parts, counts[:-1], counts[1:], strict=True)}
        self.rows = {m: rows.to(device) for m, rows in self.rows.items()}
        self.labels, self.speaker = self.labels.to(device), self.speaker.to(device)
        self.at_frames, self.reach, self.longest = False, None, 110

    batch, class_weight = Dataset.batch, Dataset.class_weight


def epochs(name: str, padded: bool, threads: int = 1, count: int = 2) -> list[float]:
    """Seconds of some epochs (training part, then validation and test), after one that warms up."""
    torch.set_num_threads(threads)
    if not padded:
        keep_freed_memory()  # as a worker does
    run, data, starts, plain = experiment(name), Made(), [], shuffled
    run = replace(run, train=replace(run.train, epochs=1 + count))

    def noted(units, size, order):
        if units is data.units["train"]:
            starts.append(time.perf_counter())
        return plain(units, size, order)

    with mock.patch.object(seeds, "shuffled", noted), mock.patch.dict(globals(), shuffled=noted):
        (padded_fit if padded else training.fit)(run, data, [0])
    return np.diff([*starts, time.perf_counter()])[1:].tolist()


def padded_fit(run, data: Made, seeds: list[int]) -> None:
    """A plain loop as the field's public ones: batches padded anew each epoch, one seed, unfused Adam."""
    torch.manual_seed(seeds[0])
    model, forward = padded(run, data)
    model = model.to(data.labels.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=run.train.lr, weight_decay=run.train.l2)
    order = torch.Generator().manual_seed(seeds[0])
    weight = data.class_weight().to(data.labels.device) if run.loss.class_weights else None
    for _ in range(run.train.epochs):
        model.train()
        for units in shuffled(data.units["train"], run.train.batch, order):
            batch = data.batch(units)
            logits, students = forward(model, batch)
            loss = losses.total(logits, students, batch.labels, run.loss, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        for part in ("validation", "test"):
            for units in shuffled(data.units[part], run.train.batch, order):
                with torch.no_grad():
                    forward(model, data.batch(units))


def padded_lpgnet(model: LPGNet, batch):
    """The plain model, padding and all."""
    layout = batch.layouts["text"]
    rows = {m: layout.pad(x) for m, x in batch.rows.items()}
    logits, students, _ = model(rows, dict.fromkeys(rows, layout.valid))
    return logits[layout.valid], {m: x[layout.valid] for m, x in students.items()}


def padded_sdt(model, batch):
    """SDT* on (B, U, d) throughout; the same weights."""
    layout = batch.layouts["text"]
    valid, mask = layout.valid, layout.valid[:, None, None, :]
    places = baselines.sinusoids(torch.arange(valid.shape[1], device=valid.device), model.classify.in_features)
    speaker = layout.pad(model.speaker(batch.speaker))
    x = {m: e(layout.pad(batch.rows[m])) + places + speaker for m, e in model.encode.items()}
    gated = {}
    for path, block in model.paths.items():
        query, key = (model.drop[path + letter](x[MODALITY[letter]]) for letter in path)
        key = query if path[0] == path[1] else key
        q, k, v = (
            part(rows).unflatten(-1, (block.heads, -1)).transpose(1, 2)
            for part, rows in ((block.query, query), (block.key, key), (block.value, key))
        )
        scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(~mask, -1e9)
        context = (block.drop_weights(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)
        rows = block.drop_out(block.out(context)) + query
        hidden = block.ffn(rows) + rows
        gated[path] = model.unimodal_gate[path](hidden).sigmoid() * hidden
    fused = {MODALITY[q]: model.merge[MODALITY[q]](torch.cat([gated[q + k] for k in "ta"], -1)) for q in "ta"}
    stacked = torch.stack(list(fused.values()))
    final = (model.multimodal_gate(stacked).softmax(0) * stacked).sum(0)
    return model.classify(final)[valid], {m: head(fused[m])[valid] for m, head in model.student.items()}


def padded(run, data) -> tuple[nn.Module, Callable]:
    """The model of a padded loop, with the initial weights of ours, and its forward pass."""
    if run.model.__class__ is LPGNetConfig:
        return LPGNet(run.model, data.sizes, len(data.classes), len(data.speaker_names)), padded_lpgnet
    return training.build(run, data), padded_sdt


def difference(name: str) -> float:
    """The largest difference between the packed and the padded logits, relative to the largest logit."""
    data, run = Made(), experiment(name)
    model, batch = training.build(run, data).eval(), data.batch(data.units["test"])
    plain, forward = padded(run, data)
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        ours, theirs = model(batch).logits, forward(plain.eval(), batch)[0]
    return float((ours - theirs).abs().max() / theirs.abs().max())


def operations(name: str) -> int:
    """Floating-point operations of the matrix products of one seed-epoch, counted while it runs."""
    run, data = experiment(name), Made()
    once = replace(run, train=replace(run.train, epochs=1))
    with FlopCounterMode(display=False) as counter:
        training.fit(once, data, [0])
    return counter.get_total_flops()


def matrix_rate() -> float:
    """Operations a second of one large matrix product on one thread, the median of fifty."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 768), torch.randn(768, 768)
    a @ b
    return 2 * 1024 * 768**2 / np.median([timed(lambda: a @ b) for _ in range(50)])


def race(names: tuple[str, ...], rounds: int) -> tuple[dict, list[float]]:
    """Epochs of ours and of the padded loop by turns, each in a process of its own with one thread.

    And the matrix rate between them.
    """
    seconds, rates = {}, []
    for _, name, padded in itertools.product(range(rounds), names, (False, True)):
        seconds.setdefault((name, padded), []).extend(child(epochs, name, padded))
        rates.append(matrix_rate())
    return seconds, rates


def all_cores(names: tuple[str, ...], rounds: int, cores: int) -> tuple[dict, list[float]]:
    """The same of all cores: ours gives each a seed and one thread, the padded loop has a thread on each."""
    seconds, rates = {}, []
    for _, name in itertools.product(range(rounds), names):
        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            made = pool.starmap(epochs, [(name, False)] * cores, chunksize=1)
            seconds.setdefault((name, False), []).extend(s / cores for some in made for s in some)
            rates.append(sum(pool.starmap(matrix_rate, [()] * cores, chunksize=1)))
        seconds.setdefault((name, True), []).extend(child(epochs, name, True, cores))
    return seconds, rates


def training_speed() -> None:
    """Seconds per seed-epoch at the paper's size; one thread, then all cores.  Medians."""
    cores, names = joblib.cpu_count(), ("full", "sdt")
    print(f"training at the paper's size: 4,290 + 1,241 utterances, text {TEXT}-d, audio {AUDIO}-d")
    every = f"all {cores} cores: ours gives each a seed, the padded loop's one seed has {cores} threads"
    measured = {"one thread": race(names, 2), every: all_cores(names, 2, cores)}
    work = operations("full")
    for where, (seconds, rates) in measured.items():
        print(where)
        middle = {key: float(np.median(some)) for key, some in seconds.items()}
        for name in names:
            ours, padded = middle[name, False], middle[name, True]
            spread = " to ".join(f"{s:.2f}" for s in (min(seconds[name, False]), max(seconds[name, False])))
            print(f"  {name:5} ours {ours:6.2f} s per seed-epoch ({spread}), ", end="")
            print(f"padded loop {padded:6.2f}: {padded / ours:.2f} x as fast")
        ours = middle["full", False]
        print(f"  LPGNet {middle['sdt', True] / ours:.1f} x as fast as SDT* in a padded loop")
        rate = float(np.median(rates))
        print(f"  LPGNet's matrix products: {work / ours / 1e9:.0f} of {rate / 1e9:.0f} GFLOP/s, ", end="")
        print(f"{100 * work / ours / rate:.0f} % of the rate of one large product")
    for name in names:
        print(f"  {name:5} logits of ours and the padded loop differ by {difference(name):.1e} of the largest")
    memory = child(most_memory, epochs, "full", False, frugal=True)
    print(f"  peak memory of one run of LPGNet: {memory / MIB:.0f} MiB")


# Online


def causal_reader(profile: str, sizes: dict[str, int]) -> checkpoint.Reader:
    """LPGNet at a profile's size, untrained, whose turns read those before them."""
    run, classes = experiment("past_full", profile).as_dict(), ["happy", "sad", "neutral", "angry"]
    known = dict.fromkeys(("corpus", "place", "experiment", "fold", "labels"), "") | {"seed": 0, "config": run}
    encoders, kept = {m: {} for m in sizes}, {name: [0.5] for name in classes}
    return checkpoint.Reader(run["model"], sizes, classes, True, encoders, 1.0, kept, known)


def milliseconds(work, repeats: int = 25) -> float:
    work()
    return 1000 * statistics.median(timed(work) for _ in range(repeats))


def delay() -> None:
    """What a turn waits for with `predict --online`: its encoders, then being read with the turns before it."""
    torch.set_num_threads(1)
    wave = np.random.default_rng(0).normal(0, 0.1, int(4.46 * 16_000)).astype(np.float32)
    given = {"text": ["Well, I did not think that he would say so, to be honest with you."], "audio": [wave]}
    print("online: milliseconds on one core, medians; a turn of 15 words and 4.46 s")
    for modality, name in (("text", places.OFFLINE[0]), ("audio", "prosody"), ("audio", "whisper-tiny-en")):
        made = encoder(modality, name)
        print(f"  {name}: {milliseconds(lambda m=made, x=given[modality]: list(m(x))):.1f}")
    for profile, size in (("quick", {"text": 384, "audio": 384}), ("paper", {"text": 768, "audio": 768})):
        reader = causal_reader(profile, size)
        found = []
        for turns in (1, 10, 50, 110):
            rows = {m: torch.randn(turns, n) for m, n in size.items()}
            found.append(f"{milliseconds(lambda r=reader, x=rows: r.latest(x)):.1f} with {turns}")
        print(f"  LPGNet, profile {profile}, turns so far: {', '.join(found)}")


def stacking(count: int = 2) -> None:
    """What is fixed in code, each against its other: stacked seeds, attention by dialogue, bfloat16."""
    device = device_named("auto")
    torch.set_num_threads(1)
    data, seeds = Made(device), [*range(count)]
    for name in ("full", "sdt"):
        run = experiment(name)
        run = replace(run, train=replace(run.train, epochs=1, precision="full"))
        mixed = replace(run, train=replace(run.train, precision="mixed"))
        alone = [[seed] for seed in seeds]
        ways = {  # run, seeds per call, dialogues padded together
            "beside": (run, [seeds], 1),
            "alone": (run, alone, 1),
            "padded": (run, alone, 8),
            "mixed": (mixed, [seeds], 1),
        }
        fits, seconds = {}, {}
        for way, (asked, groups, piece) in ways.items():
            with mock.patch.dict(PIECE, {device: piece}):
                training.fit(asked, data, groups[0])  # warm
                start = time.perf_counter()
                fits[way] = [fitted for group in groups for fitted in training.fit(asked, data, group)]
                seconds[way] = time.perf_counter() - start
        print(f"{name} on {device}, {count} seeds, an epoch at the paper's size")
        for way, other, told in (
            ("beside", "alone", "seeds side by side, against one after the other"),
            ("alone", "padded", "attention by dialogue, against eight dialogues padded together"),
            ("mixed", "beside", "bfloat16 products, against single precision"),
        ):
            pairs = zip(fits[way], fits[other], strict=True)
            far = max(np.abs(a.test_logits[-1] - b.test_logits[-1]).max() for a, b in pairs)
            ratio = seconds[other] / seconds[way]
            print(f"  {told}: {ratio:.2f} x as fast, logits differ by {far:.1e} at most")


PARTS = {
    "training": training_speed,
    "seeds": stacking,
    "extraction": extraction,
    "store": reading,
    "frames": frames,
    "online": delay,
}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
        print()


if __name__ == "__main__":
    main()
