"""`make bench`: speed and memory as ratios, each pair measured in one run on this machine.

python tests/bench.py [training] [together] [extraction] [store] [frames]: all of them unless some are named.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread per worker process

import copy
import itertools
import multiprocessing
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from lpgnet import baselines, losses, training
from lpgnet.corpora.wav import RATE, read_wav
from lpgnet.experiments import experiment
from lpgnet.features import extract, store
from lpgnet.features.dataset import Dataset
from lpgnet.model import BLOCK, MODALITY, Attention, Layout, LPGNet

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


def base_checkpoint(folder: Path) -> None:
    """emotion2vec at its full size with random weights (facts: 768-d, 4 + 8 blocks, 12 heads)."""
    import omegaconf
    from test_speech import CONF, write_config

    from lpgnet.features.loading import undisturbed

    with undisturbed():
        from funasr.models.emotion2vec.model import Emotion2vec
    conf = copy.deepcopy(CONF)
    conf |= {"depth": 8, "embed_dim": 768, "num_heads": 12, "mlp_ratio": 4.0}
    spec = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    size = {"prenet_depth": 4, "num_alibi_heads": 12, "model_depth": 8, "conv_pos_groups": 16}
    conf["modalities"]["audio"] |= size | {"feature_encoder_spec": spec}
    write_config(folder, conf)
    torch.save(Emotion2vec(model_conf=omegaconf.OmegaConf.create(conf)).state_dict(), folder / "model.pt")


def utterances(root: Path, count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(count)]
    for i, name in enumerate(names):
        samples = rng.normal(size=int(SECONDS[i % len(SECONDS)] * RATE)) / 10
        soundfile.write(root / name, samples, RATE)
    return pd.DataFrame({"id": names, "wav": names})


def extraction() -> None:
    """Times real time: all cores with our extraction, against funasr one by one as its README calls it."""
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

        options = {"disable_update": True, "disable_pbar": True, "log_level": "ERROR", "device": "cpu"}
        model = AutoModel(model=str(root), ncpu=threads, **options)
        call = {"extract_embedding": True, "disable_pbar": True}
        waves = [read_wav(root / wav) for wav in table["wav"]]
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
        split, whole = (child(attention_memory, length, block, frugal=True) for block in (BLOCK, 10**6))
        print(f"  {length:>8} {split / MIB:8.0f} MiB {whole / MIB:8.0f} MiB {whole / split:6.1f} x")


def attention_memory(length: int, block: int) -> int:
    attend(2, 1)  # imports
    return most_memory(attend, length, block)


def attend(length: int, block: int) -> None:
    from lpgnet import model

    model.BLOCK = block
    layout = Layout(torch.tensor([length] * 4))
    rows = torch.randn(4, length, 64, requires_grad=True)
    Attention(64, False, "dialogue")(rows, rows, layout, layout).sum().backward()


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


def per_epoch(name: str, padded: bool, epochs: int = 2) -> float:
    """Seconds of a seed-epoch: training part, then validation and test."""
    torch.set_num_threads(1)
    run, data = experiment(name), Made()
    work = padded_fit if padded else training.fit
    short, long = (replace(run, train=replace(run.train, epochs=n)) for n in (1, 1 + epochs))
    return (timed(lambda: work(long, data, [0])) - timed(lambda: work(short, data, [0]))) / epochs


def padded_fit(run, data: Made, seeds: list[int]) -> None:
    """A plain loop as the field's public ones: batches padded anew each epoch, one seed, unfused Adam."""
    torch.manual_seed(seeds[0])
    model = training.build(run, data)
    forward = PADDED[type(model)]
    optimizer = torch.optim.Adam(model.parameters(), lr=run.train.lr, weight_decay=run.train.l2)
    order = torch.Generator().manual_seed(seeds[0])
    weight = data.class_weight() if run.loss.class_weights else None
    for _ in range(run.train.epochs):
        model.train()
        for units in training.shuffled(data.units["train"], run.train.batch, order):
            batch = data.batch(units)
            logits, students = forward(model, batch)
            loss = losses.total(logits, students, batch.labels, run.loss, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        for part in ("validation", "test"):
            for units in training.shuffled(data.units[part], run.train.batch, order):
                with torch.no_grad():
                    forward(model, data.batch(units))


def padded_lpgnet(model, batch):
    """LPGNet's equations on (B, U, d) throughout, padding and all; the same weights."""
    layout = batch.layouts["text"]
    valid, lengths = layout.valid, layout.lengths[:, None]
    x = {m: encode.project(layout.pad(batch.rows[m])) for m, encode in model.encode.items()}
    outputs = {}
    for path in model.config.paths:
        query, key = x[MODALITY[path[0]]], x[MODALITY[path[1]]]
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        attended = scores.masked_fill(~valid[:, None, :], -1e9).softmax(-1) @ key
        mean = (attended * valid[:, :, None]).sum(1) / lengths
        context = model.compress[path](mean)
        context = context + model.ffn[path](context)
        outputs[path] = query + context[:, None]
    gated = {p: model.unimodal_gate[p](h).sigmoid() * h for p, h in outputs.items()}
    fused = {m: model.merge[m](torch.cat([gated[p] for p in ps], -1)) for m, ps in model.branches.items()}
    final = _softmax_mix(model, fused)
    students = {m: head(fused[m].relu())[valid] for m, head in model.student.items()}
    return model.classify(final)[valid], students


def padded_sdt(model, batch):
    """SDT* on (B, U, d) throughout; the same weights."""
    layout = batch.layouts["text"]
    valid, mask = layout.valid, layout.valid[:, None, None, :]
    places = baselines.sinusoids(torch.arange(valid.shape[1]), model.classify.in_features)
    speaker = layout.pad(model.speaker(batch.speaker))
    x = {m: encode(layout.pad(batch.rows[m])) + places + speaker for m, encode in model.encode.items()}
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
    final = _softmax_mix(model, fused)
    return model.classify(final)[valid], {m: head(fused[m])[valid] for m, head in model.student.items()}


def _softmax_mix(model, fused):
    """Eqs. (13) and (14) as they stand."""
    stacked = torch.stack(list(fused.values()))
    return (model.multimodal_gate(stacked).softmax(0) * stacked).sum(0)


PADDED = {LPGNet: padded_lpgnet, baselines.SDT: padded_sdt}


def difference(name: str) -> float:
    """The largest difference between the packed and the padded logits, relative to the largest logit."""
    data, run = Made(), experiment(name)
    torch.manual_seed(0)
    model = training.build(run, data).eval()
    batch = data.batch(data.units["test"])
    with torch.no_grad():
        ours, theirs = model(batch).logits, PADDED[type(model)](model, batch)[0]
    return float((ours - theirs).abs().max() / theirs.abs().max())


def operations(name: str) -> int:
    """Floating-point operations of the matrix products of one seed-epoch, counted while it runs."""
    run, data = experiment(name), Made()
    once = replace(run, train=replace(run.train, epochs=1))
    with FlopCounterMode(display=False) as counter:
        training.fit(once, data, [0])
    return counter.get_total_flops()


def matrix_rate() -> float:
    """Operations a second of one large matrix product on one thread, best of ten."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 768), torch.randn(768, 768)
    a @ b
    return 2 * 1024 * 768**2 / min(timed(lambda: a @ b) for _ in range(10))


def training_speed() -> None:
    """Seconds per seed-epoch at the paper's size, one thread; then all cores, a seed each."""
    cores = joblib.cpu_count()
    print(
        f"training at the paper's size: 4,290 + 1,241 utterances, text {TEXT}-d, audio {AUDIO}-d, one thread"
    )
    seconds = {}
    for name in ("full", "sdt"):
        for padded in (False, True):
            seconds[name, padded] = child(per_epoch, name, padded)
            kind = "padded loop" if padded else "ours, packed"
            print(f"  {name:5} {kind:13} {seconds[name, padded]:7.2f} s per seed-epoch")
        print(f"  {name:5} logits of the two differ by {difference(name):.1e} of the largest")
    full, sdt = seconds["full", False], seconds["sdt", False]
    print(f"  LPGNet: {seconds['full', True] / full:.2f} x its padded loop; ", end="")
    print(f"{seconds['sdt', True] / full:.2f} x SDT* in a padded loop at its published settings")
    share = operations("full") / full / child(matrix_rate)
    print(f"  LPGNet reaches {100 * share:.0f} % of this machine's rate of one large matrix product")
    print(f"  SDT*:   {seconds['sdt', True] / sdt:.2f} x its padded loop")
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        together = pool.starmap(per_epoch, [("full", False)] * cores)
    print(f"  all {cores} cores, a seed each: {np.mean(together) / cores:.2f} s per seed-epoch of LPGNet")
    print(
        f"  peak memory of one run: {child(most_memory, per_epoch, 'full', False, frugal=True) / MIB:.0f} MiB"
    )


def together(count: int = 2) -> None:
    """Seeds side by side on stacked weights, against one after the other; bfloat16 products, against full."""
    device = training.device_named("auto").type
    torch.set_num_threads(1)
    data = Made(device)
    for name in ("full", "sdt"):
        run = experiment(name)
        run = replace(run, train=replace(run.train, epochs=2, precision="full"))
        mixed = replace(run, train=replace(run.train, precision="mixed"))
        fits, seconds = {}, {}
        ways = {"beside": (run, [[*range(count)]]), "alone": (run, [[s] for s in range(count)])}
        ways["mixed"] = (mixed, [[*range(count)]])
        for way, (asked, groups) in ways.items():
            start = time.perf_counter()
            fits[way] = [fitted for group in groups for fitted in training.fit(asked, data, group)]
            seconds[way] = time.perf_counter() - start
        print(f"{name} on {device}, {count} seeds, 2 epochs at the paper's size")
        for way, other, told in (
            ("beside", "alone", "side by side, against one after the other"),
            ("mixed", "beside", "bfloat16 products, against single precision"),
        ):
            pairs = zip(fits[way], fits[other], strict=True)
            far = max(np.abs(a.test_logits[-1] - b.test_logits[-1]).max() for a, b in pairs)
            ratio = seconds[other] / seconds[way]
            print(f"  {told}: {ratio:.2f} x as fast, logits differ by {far:.1e} at most")


PARTS = {
    "training": training_speed,
    "together": together,
    "extraction": extraction,
    "store": reading,
    "frames": frames,
}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
        print()


if __name__ == "__main__":
    main()
