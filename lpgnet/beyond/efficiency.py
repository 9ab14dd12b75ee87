"""What a model costs to use: parameters, multiply-adds, latency, memory; and its accuracy beside it.

Of the networks alone, without the encoders that make their features.  Counted on the meta device, where
nothing is computed: multiply-adds of matrix products (not of elementwise work) and the bytes of weights,
features and intermediate results that live at once.  Latency is measured: one dialogue, one thread or a GPU.
"""

import statistics
import time
import weakref
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lpgnet.config import BiGRUConfig, RunConfig
from lpgnet.experiments import experiment
from lpgnet.machine.files import write_csv
from lpgnet.places import Place
from lpgnet.runs.packed import Batch, Layout
from lpgnet.runs.training import MODELS
from lpgnet.tables.scores import identity, pooled, seed_scores

TURNS = (1, 10, 50, 110)  # lengths of a dialogue; IEMOCAP's longest has 110
COUNTED = 50  # turns of the dialogue whose multiply-adds are shown
REPEATS = 15
NETWORKS = (  # those of the tables that differ in shape, at utterance level
    *("full", "full_by_query", "full_speaker", "no_inter", "no_intra", "no_ffn", "no_gates"),
    *("text_only", "audio_only", "sdt", "sdt_no_speaker", "bigru", "linear", "linear_text", "linear_audio"),
)
MIB = 1 << 20


def efficiency(place: Place, runs: pd.DataFrame, data: dict, device: str = "cpu") -> pd.DataFrame:
    """One line per network that has been run: its cost, and its accuracy over seeds in percent."""
    sizes = {m: about["size"] for m, about in data["features"].items() if m != "fits"}
    scores = seed_scores(pooled(runs, data)).groupby("experiment")["accuracy"]
    accuracy = 100 * scores.agg(["mean", "std"]).assign(n=scores.count() / 100)
    lines = []
    for name in (n for n in NETWORKS if n in accuracy.index):
        run = experiment(name, place.profile)
        shape = (sizes, len(data["protocols"][data["labels"]]["classes"]), len(data["parties"]))
        counted, memory = count(run, *shape, COUNTED), peak(run, *shape, TURNS[-1])
        lines.append(
            identity(data, data["labels"])
            | {"experiment": name, "parameters": parameters(run, *shape), "multiply_adds": counted}
            | {f"latency_ms_{n}": round(latency(run, *shape, n, device), 3) for n in TURNS}
            | {"latency_on": torch.cuda.get_device_name() if device == "cuda" else "cpu, one thread"}
            | {"peak_mb": round(memory / MIB, 2), "accuracy_mean": round(accuracy.loc[name, "mean"], 2)}
            | {"accuracy_std": round(accuracy.loc[name, "std"], 2), "n_seeds": int(accuracy.loc[name, "n"])}
        )
    return pd.DataFrame(lines)


def write(frame: pd.DataFrame, place: Place) -> Path:
    """results/<place>/efficiency.csv; times in it are of this machine."""
    return write_csv(place.results / "efficiency.csv", frame)


def network(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int) -> nn.Module:
    """The model of a run, without dropout."""
    return MODELS[type(run.model)](run.model, sizes, classes, speakers).eval()


def parameters(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int = 2) -> int:
    """Counted without making them."""
    with torch.device("meta"):
        model = network(run, sizes, classes, speakers)
    return sum(p.numel() for p in model.parameters())


def counting_device(run: RunConfig) -> str:
    """The meta device; the CPU for torch's packed GRU, which can't be there."""
    return "cpu" if isinstance(run.model, BiGRUConfig) else "meta"


def dialogue(sizes: dict[str, int], turns: int, device: str) -> Batch:
    """One dialogue of noise."""
    layout = Layout(torch.tensor([turns]))
    moved = {name: x.to(device) for name, x in vars(layout).items() if isinstance(x, torch.Tensor)}
    layout.__dict__.update(moved)
    rows = {m: torch.randn(turns, size, device=device) for m, size in sizes.items()}
    whole = torch.zeros(turns, dtype=torch.long, device=device)
    return Batch(rows, dict.fromkeys(sizes, layout), whole, whole)


@torch.no_grad()
def count(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, turns: int) -> int:
    """Multiply-adds of the matrix products for one dialogue."""
    device = counting_device(run)
    with torch.device(device):
        model = network(run, sizes, classes, speakers)
    with FlopCounterMode(display=False) as counter:
        model(dialogue(sizes, turns, device))
    return counter.get_total_flops() // 2


class _Alive(TorchDispatchMode):
    """Bytes of the storages that operations make, while they live."""

    def __init__(self):
        super().__init__()
        self.now, self.most, self.seen = 0, 0, weakref.WeakSet()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._meet(tensor.untyped_storage())
        return made

    def _meet(self, storage) -> None:
        if storage in self.seen:
            return
        self.seen.add(storage)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._part, storage.nbytes())

    def _part(self, size: int) -> None:
        self.now -= size


@torch.no_grad()
def peak(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, turns: int) -> int:
    """Bytes of weights, features and intermediate results that one dialogue needs at once."""
    device = counting_device(run)
    with _Alive() as alive:
        with torch.device(device):
            model = network(run, sizes, classes, speakers)
        alive.most = alive.now  # not what making the weights took
        model(dialogue(sizes, turns, device))
    return alive.most


@torch.no_grad()
def latency(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, turns: int, device: str) -> float:
    """Milliseconds from a dialogue's features to its logits, the median of some calls."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, batch = network(run, sizes, classes, speakers).to(device), dialogue(sizes, turns, device)
    spent = []
    for _ in range(REPEATS + 2):  # the first two warm up
        start = time.perf_counter()
        model(batch).logits.cpu()
        spent.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 1000 * statistics.median(spent[2:])
