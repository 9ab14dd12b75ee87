"""What loading other people's models needs: no trace in the process, and weights that all fit."""

import io
import logging
import os
import random
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from lpgnet.machine.files import parsed_json, plain_name, shown

SHOWN = 5  # names of weights in an error
PICKLES = (".bin", ".pt", ".pth")
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "bpe.codes")
SETTINGS = (
    "config.json", "*processor_config.json", "adapter_config.json", "tokenizer_config.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", *VOCABULARIES,
)  # fmt: skip
CONFIGS = ("", "tokenizer_", "preprocessor_", "processor_", "adapter_")  # that may name code
TOGETHER = 8  # waves in one forward pass on a GPU


def by_length(encode: Callable, waves: Iterable[np.ndarray], together: int) -> Iterator[np.ndarray]:
    """encode(some waves) -> the frames of each, for waves of like length, so that little is padding.

    Yields in the order of the waves.  together: how many at a time; with 1 nothing waits for the next.
    """
    if together == 1:
        for wave in waves:
            yield from encode([wave])
        return
    waves, frames = list(waves), {}
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    for start in range(0, len(order), together):
        chosen = order[start : start + together]
        frames.update(zip(chosen, encode([waves[i] for i in chosen]), strict=True))
    yield from (frames[i] for i in range(len(waves)))


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
        found = parsed_json(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}: want a JSON object")
    return found


def config_of(folder: Path) -> Any:
    """What transformers makes of a model's config.json: with the same names for all."""
    from transformers import AutoConfig

    try:
        with without_side_effects():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"{folder / 'config.json'} can't be read: {first_line(error)}") from None


def settings(folder: Path) -> list[Path]:
    """The files besides the weights that decide what a model gives."""
    return sorted({path for pattern in SETTINGS for path in folder.glob(pattern) if path.is_file()})


def shards(index: Path) -> list[str]:
    """The names of the files that an index of weights names; a ValueError where it is none."""
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict):
        raise ValueError(f"{index} has the weight_map {shown(repr(found))}: want weight -> file")
    return sorted({plain_name(name, f"{index}: a file of weights") for name in found.values()})


def refuse_code(folder: Path) -> None:
    """A ValueError where a model's folder brings code of its own; nobody is asked whether to run it."""
    for path in (folder / f"{part}config.json" for part in CONFIGS):
        if path.is_file() and "auto_map" in read_json(path):
            raise ValueError(
                f"{path} has auto_map: Python code that comes with the model, and is not run here; "
                "take an encoder that transformers itself knows"
            )


def plain_weights(path: Path) -> Any:
    """What a pickle of weights holds; one that asks for more than tensors is refused before it runs."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, ...
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks for {asked[1]}" if asked else f"{type(error).__name__} while reading it"
        raise ValueError(
            f"{path} is no plain file of weights, so it was not run ({why}): fetch it again from its "
            "publisher, as safetensors where there are"
        ) from None


def load_transformers(folder: Path, files: Iterable[Path], before: str) -> tuple[Any, Any, dict]:
    """What prepares the input (transformers' class `before`), the model, and which weights didn't fit.

    files: of weights.  Nothing is fetched and no code of the folder is run.
    """
    import torch
    import transformers

    refuse_code(folder)
    for path in files:
        if path.suffix in PICKLES:
            plain_weights(path)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with without_side_effects():
            made = getattr(transformers, before).from_pretrained(folder, **local)
            model, found = transformers.AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,  # transformers 5 would keep the file's, be it half
                ignore_mismatched_sizes=True,  # so that we can name them
                output_loading_info=True,
                **local,
            )
    except Exception as error:  # a cut-off file, a tokenizer that is none, ...
        raise ValueError(
            f"{folder} can't be loaded by transformers ({type(error).__name__}: {first_line(error)})"
        ) from None
    return made, model, found


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
