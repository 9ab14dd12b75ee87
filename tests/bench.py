"""`make bench`: speed and memory as ratios, each pair measured in one run on this machine.

python tests/bench.py [extraction] [store] [frames]: all of them unless some are named.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread per worker process
os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # in child processes: what is freed goes back at once

import copy
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import soundfile
import torch

from lpgnet.corpora.wav import RATE, read_wav
from lpgnet.features import extract, store
from lpgnet.model import BLOCK, Attention, Layout

SECONDS = (1.6, 9.5, 3.1, 4.4, 2.2, 7.0, 3.4, 4.5)  # of utterances; mean 4.46 as in IEMOCAP
GIB, MIB = 1 << 30, 1 << 20


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def child(work, *arguments):
    """What `work` returns, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def most_memory(work, *arguments) -> int:
    """Bytes by which the largest resident memory of this process grew during `work`."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(*arguments)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


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
        split, whole = (child(attention_memory, length, block) for block in (BLOCK, 10**6))
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


PARTS = {"extraction": extraction, "store": reading, "frames": frames}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
        print()


if __name__ == "__main__":
    main()
