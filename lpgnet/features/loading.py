"""What loading other people's models needs: no trace in the process, and weights that all fit."""

import io
import json
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

SHOWN = 5  # names of weights in an error


@contextmanager
def without_side_effects() -> Iterator[None]:
    """Random states, thread count, logging, warnings and environment are after it as before; it is silent.

    funasr reseeds everything to 0, asks for four threads, sets the root logger to INFO and prints;
    transformers draws from torch's generator for weights that it then overwrites.
    """
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global one
    threads, seed = torch.get_num_threads(), torch.initial_seed()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    root, environment, said = logging.getLogger(), dict(os.environ), io.StringIO()
    level, handlers, disabled = root.level, root.handlers[:], root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state_all(on_gpu)
        elif torch.cuda.is_available():  # not yet in use: seeding is put off until it is
            torch.cuda.manual_seed_all(seed)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)
        _let_go(said)
        os.environ.clear()
        os.environ.update(environment)


def _let_go(said: io.StringIO) -> None:
    """A logger made meanwhile has taken our ear for its stderr: give it the real one."""
    known = [log for log in logging.root.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    for handler in (h for log in known for h in log.handlers):
        if getattr(handler, "stream", None) is said:
            handler.setStream(sys.stderr)


def read_json(path: Path) -> dict:
    """A JSON object of a model's folder; a ValueError that names the file where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}: want a JSON object")
    return found


def holding(folder: Path) -> str:
    """The names of a folder's first files, for an error."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def check_device(device: str) -> None:
    """A ValueError where torch can't use the device; funasr would take the CPU without a word."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"no device {device!r} here ({first_line(error)}): use cpu, or a GPU host") from None


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def refuse_misfit(path: Path, missing: Iterable, misshapen: dict, unexpected: Iterable) -> None:
    """A ValueError that names the weights which don't fit the model; nothing where all fit.

    misshapen: name -> (shape found, shape wanted).
    Both libraries leave a weight that doesn't fit as they drew it at random, and the features look fine.
    """
    shapes = [f"{k} {tuple(f)} (want {tuple(w)})" for k, (f, w) in sorted(misshapen.items())]
    faults = {"lacks": sorted(missing), "has with another shape": shapes, "has too many": sorted(unexpected)}
    said = [f"{verb} {_some(names)}" for verb, names in faults.items() if names]
    if said:
        raise ValueError(
            f"the weights {path} don't fit the model that their config describes: the file "
            f"{'; it '.join(said)}.  Take config and weights from the same release"
        )


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
