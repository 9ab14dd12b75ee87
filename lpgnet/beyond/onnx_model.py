"""A checkpoint as one ONNX file: features as extracted -> calibrated probabilities, for any number of turns.

Inputs: per modality (B, U, F) as its encoder gives them, NaN where a turn lacks it; valid (B, U), True where a turn is
real.  Outputs: probabilities (B, U, C), and per modality how much Eq. (14) takes of it, (B, U).
"""

import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lpgnet import __version__
from lpgnet.machine.files import whole
from lpgnet.model import GlobalCompression
from lpgnet.runs import checkpoint
from lpgnet.runs.model_card import TERMS

NEEDED = "writing ONNX needs onnx, onnxscript and onnxruntime: pip install 'lpgnet[onnx]'"
LENGTHS = (1, 2, 3, 10, 50, 110, 200)  # turns at which the file is held to torch
CLOSE = 1e-5  # of a probability
TIMED, REPEATS = 50, 15


@dataclass(frozen=True)
class Exported:
    """What was written.  farthest: of a probability from torch's; ms: median of one conversation of 50 turns."""

    path: Path
    farthest: float
    torch_ms: float
    onnx_ms: float

    def says(self) -> str:
        size = self.path.stat().st_size / 2**20
        return (
            f"{self.path}: {size:.1f} MiB; within {self.farthest:.1e} of torch at {LENGTHS[0]} to {LENGTHS[-1]} turns; "
            f"{TIMED} turns take {self.onnx_ms:.2f} ms, in torch {self.torch_ms:.2f} ms (one thread)"
        )


class _Rows(GlobalCompression):
    """The same where batch norm is fixed: every row is worked out, and those that aren't real become zero."""

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        return nn.Sequential.forward(self, x.flatten(0, 1)).view_as(x) * real[..., None]


class Graph(nn.Module):
    """A checkpoint's `Reader` with tensors in and tensors out."""

    def __init__(self, reader: checkpoint.Reader):
        super().__init__()
        self.reader = copy.deepcopy(reader).requires_grad_(False)
        for part in self.reader.modules():
            if isinstance(part, GlobalCompression):
                part.__class__ = _Rows

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *rows, valid = inputs
        seen = {m: self.reader._prepared(m, x) for m, x in zip(self.reader.sizes, rows, strict=True)}
        output = self.reader.model(seen, dict.fromkeys(seen, valid))
        return ((output.logits / self.reader.temperature).softmax(-1), *output.modality_weight.values())


def export(folder: Path, out: Path) -> Exported:
    """Write the checkpoint in a folder; a file that isn't within `CLOSE` of torch is not left behind."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch wants it
    except ImportError:
        raise ValueError(NEEDED) from None
    if out.suffix != ".onnx":
        raise ValueError(f"--out {out}: want a name that ends in .onnx")
    reader = checkpoint.load(folder)
    graph, names = Graph(reader).eval(), [*reader.sizes, "valid"]
    program = _program(graph, reader, names)
    program.model.metadata_props.update(_about(reader))
    with whole(out) as part:
        program.save(part, external_data=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(part.read_bytes(), options, providers=["CPUExecutionProvider"])

        def run(*talk: Tensor) -> np.ndarray:
            return session.run(["probabilities"], {n: x.numpy() for n, x in zip(names, talk, strict=True)})[0]

        farthest = max(_apart(reader, graph, run, turns) for turns in LENGTHS)
        if farthest > CLOSE:
            raise RuntimeError(
                f"the ONNX model is {farthest:.1e} from torch, want at most {CLOSE}: nothing was written"
            )
    talk = _talk(reader, TIMED, 1)
    return Exported(out, farthest, _milliseconds(lambda: graph(*talk)), _milliseconds(lambda: run(*talk)))


def _program(graph: Graph, reader: checkpoint.Reader, names: list[str]) -> torch.onnx.ONNXProgram:
    """Any number of conversations of any number of turns."""
    dims = {0: torch.export.Dim("conversations", max=2**16), 1: torch.export.Dim("turns", max=2**16)}
    weights = [f"weight_{m}" for m in (reader.model.branches if reader.model.multimodal_gate else ())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecations, and that the three inputs share their axes
        return torch.onnx.export(
            graph,
            _talk(reader, 5, 2),
            dynamo=True,
            verbose=False,
            dynamic_shapes=((dims,) * len(names),),
            input_names=names,
            output_names=["probabilities", *weights],
        )


def _about(reader: checkpoint.Reader) -> dict[str, str]:
    """What stands in the file beside the weights: all that is needed to use it, and what it may say."""
    trained = reader.trained
    values = {"classes": reader.classes, "encoders": reader.encoders, "temperature": reader.temperature}
    values |= {"standardised": "in the graph" if reader.standardise else "no", "lpgnet": __version__}
    values |= {name: trained[name] for name in ("corpus", "labels", "experiment", "fold", "seed")}
    values |= {"says": reader.origin, "terms": TERMS.get(trained["corpus"], "That of whoever made the features.")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _talk(reader: checkpoint.Reader, turns: int, conversations: int) -> tuple[Tensor, ...]:
    """Noise: a turn lacks a modality, and of several turns the last is padding."""
    made = torch.Generator().manual_seed(turns)
    rows = [torch.randn(conversations, turns, size, generator=made) for size in reader.sizes.values()]
    rows[0][0, 0] = torch.nan
    valid = torch.ones(conversations, turns, dtype=torch.bool)
    valid[0, -1] = turns == 1 or conversations == 1
    return (*rows, valid)


def _apart(reader: checkpoint.Reader, graph: Graph, run: Callable, turns: int) -> float:
    """The largest difference from torch's probabilities of real turns, of one conversation and of two."""
    found = []
    for conversations in (1, 2):
        talk = _talk(reader, turns, conversations)
        found.append(float(np.abs(graph(*talk)[0].numpy() - run(*talk))[talk[-1].numpy()].max()))
    return max(found)


def _milliseconds(call: Callable) -> float:
    threads, spent = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return statistics.median(spent)
