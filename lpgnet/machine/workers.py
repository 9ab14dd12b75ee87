"""Work spread over processes, and one progress line: in a terminal, in JupyterLab and in a batch log."""

import ctypes
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import joblib

PATIENCE = 20  # seconds until a dask scheduler must have answered
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def as_clock(seconds: float) -> str:
    """75 -> '1:15', 3750 -> '1:02:30'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts finished pieces of work and prints done, total, time spent and time left.

    The line ends in a carriage return, so the next one overwrites it, at most every `every` seconds; who
    forwards it to a log turns that into a line feed (see `lpgnet.reproduce`).
    """

    def __init__(self, what: str, total: int, every: float = 5.0):
        self.what, self.total, self.every = what, total, every
        self.done, self.start, self.printed = 0, time.monotonic(), 0.0

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.printed < self.every and self.done < self.total:
            return
        self.printed, spent = now, now - self.start
        left = spent / self.done * (self.total - self.done)
        line = f"{self.what}: {self.done} of {self.total}, {as_clock(spent)} spent, {as_clock(left)} left"
        print(line.ljust(79), end="\n" if self.done == self.total else "\r", flush=True)


def run_parallel(what: str, pieces: list, jobs: int, scheduler: str | None = None) -> None:
    """Do `joblib.delayed` pieces of work, each in a worker process with one thread, and show progress.

    scheduler: the address of a dask cluster that does them instead.
    """
    progress = Progress(what, len(pieces))
    if not pieces:
        return
    with _cluster(scheduler) if scheduler else _processes(jobs):
        for _ in joblib.Parallel(return_as="generator_unordered", batch_size=1)(pieces):
            progress.step()


def _processes(jobs: int):
    # loky replaces a worker that has grown by 300 MB since its first piece, and warns of a leak; ours have
    # loaded an encoder, or two datasets and a network, and grow no further.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
    ends = {"initializer": _end_with, "initargs": (os.getpid(),)}
    return joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, **ends)


def _end_with(parent: int) -> None:
    """A worker ends within a second of the process that started it, however that died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _cluster(scheduler: str) -> Iterator[None]:
    """A dask cluster's workers; a ValueError where there is none, or one with several threads a worker."""
    from distributed import Client

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"no dask scheduler at {scheduler!r} ({error}); start one: dask scheduler") from None
    with client:
        threads = client.nthreads()
        if not threads:
            raise ValueError(f"{scheduler} has no workers: dask worker {scheduler} --nworkers N --nthreads 1")
        if max(threads.values()) > 1:
            raise ValueError(f"workers of {scheduler} have several threads each: start them with --nthreads 1")
        with joblib.parallel_config("dask", n_jobs=-1):
            yield


def keep_freed_memory() -> None:
    """What this process frees stays with it, where the C library is glibc.

    A training step asks for the same megabytes as the one before; given back in between, their pages cost
    more than a gradient's product.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(TRIM_THRESHOLD, -1)  # never
        libc.mallopt(MMAP_MAX, 0)  # however large


def has_bfloat16(device: str) -> bool:
    """Whether it is a GPU whose matrix products can be in bfloat16."""
    import torch

    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def device_named(name: str) -> str:
    """ "cpu" or "cuda"; "auto" is a GPU where there is one."""
    import torch

    gpu = torch.cuda.is_available()
    if name == "cuda" and not gpu:
        raise ValueError("device 'cuda' was asked for, and torch sees no GPU here; use auto or cpu")
    return ("cuda" if gpu else "cpu") if name == "auto" else name
