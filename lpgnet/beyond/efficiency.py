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
from lpgnet.tables.statistics import summary

TURNS = (1, 10, 50, 110)  # lengths of a dialogue; IEMOCAP's longest has 110
COUNTED = 50  # turns of the dialogue whose multiply-adds are shown
REPEATS = 15
PAPER_SIZE = ("full", "sdt", "bigru", "linear")  # counted and timed at the paper's size too, whatever the place's
KEYS, TIMED = ["profile", "experiment"], ["latency_on", "parameters"]
NETWORKS = (  # those of the tables that differ in shape, at utterance level
    *("full", "full_by_query", "full_speaker", "no_inter", "no_intra", "no_ffn", "no_gates"),
    *("text_only", "audio_only", "sdt", "sdt_no_speaker", "bigru", "linear", "linear_text", "linear_audio"),
)
MIB = 1 << 20


def efficiency(place: Place, runs: pd.DataFrame, data: dict, device: str = "cpu") -> pd.DataFrame:
    """One line per network that has been run: its cost, and its accuracy over seeds in percent.

    The networks of `PAPER_SIZE` have a line at the paper's size as well, without an accuracy where the place has
    another size.  What efficiency.csv holds already of the same networks and device is not measured again.
    """
    sizes = {m: about["size"] for m, about in data["features"].items() if m != "fits"}
    shape = (sizes, len(data["protocols"][data["labels"]]["classes"]), len(data["parties"]))
    scores = 100 * seed_scores(pooled(runs, data)).set_index("experiment")["accuracy"].astype(float)
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu, one thread"
    wanted = [(place.profile, name) for name in NETWORKS if name in scores.index]
    wanted += [("paper", name) for name in PAPER_SIZE if name in scores.index and place.profile != "paper"]
    known, lines = _measured(place), []
    for profile, name in wanted:
        run = experiment(name, profile)
        kept = known.get((profile, name, where, parameters(run, *shape)))
        line = identity(data, data["labels"]) | {"profile": profile, "experiment": name}
        line |= kept or _cost(run, shape, where, device)
        found = summary(scores[[name]] if profile == place.profile else [])
        spread = {f"accuracy_{what}": round(getattr(found, what), 2) for what in ("mean", "std")}
        lines.append(line | spread | {"n_seeds": found.n})
    return pd.DataFrame(lines)


def _measured(place: Place) -> dict[tuple, dict]:
    """(profile, experiment, device, parameters) -> what efficiency.csv says of its cost."""
    path = place.results / "efficiency.csv"
    if not path.exists():
        return {}
    frame = pd.read_csv(path)
    columns = _columns()
    if not {*KEYS, *columns} <= set(frame.columns):
        return {}
    return {tuple(line[k] for k in (*KEYS, *TIMED)): {c: line[c] for c in columns} for line in frame.to_dict("records")}


def _columns() -> list[str]:
    """Those of `_cost`."""
    timed = [f"latency_ms_{n}{end}" for n in TURNS for end in ("", "_low", "_high")]
    return ["parameters", "multiply_adds", *timed, "latency_on", "peak_mb"]


def _cost(run: RunConfig, shape: tuple, where: str, device: str) -> dict:
    """Counts, and of each latency the median and the range of its repeats."""
    times = [t for n in TURNS for t in latency(run, *shape, n, device)]
    values = [parameters(run, *shape), count(run, *shape, COUNTED), *(round(t, 3) for t in times), where]
    return dict(zip(_columns(), [*values, round(peak(run, *shape, TURNS[-1]) / MIB, 2)], strict=True))


def write(frame: pd.DataFrame, place: Place) -> Path:
    """results/<place>/efficiency.csv; times in it are of this machine."""
    return write_csv(place.results / "efficiency.csv", frame)


def network(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, device: str = "cpu") -> nn.Module:
    """The model of a run, without dropout."""
    with torch.device(device):
        return MODELS[type(run.model)](run.model, sizes, classes, speakers).eval()


def parameters(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int = 2) -> int:
    """Counted without making them."""
    return sum(p.numel() for p in network(run, sizes, classes, speakers, "meta").parameters())


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
    model = network(run, sizes, classes, speakers, device)
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
        if storage not in self.seen:
            self.seen.add(storage)
            self._add(storage.nbytes())
            weakref.finalize(storage, self._add, -storage.nbytes())

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


@torch.no_grad()
def peak(run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, turns: int) -> int:
    """Bytes of weights, features and intermediate results that one dialogue needs at once."""
    device = counting_device(run)
    with _Alive() as alive:
        model = network(run, sizes, classes, speakers, device)
        alive.most = alive.now  # not what making the weights took
        model(dialogue(sizes, turns, device))
    return alive.most


@torch.no_grad()
def latency(
    run: RunConfig, sizes: dict[str, int], classes: int, speakers: int, turns: int, device: str
) -> tuple[float, float, float]:
    """Milliseconds from a dialogue's features to its logits: median, least and most of some calls."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, batch = network(run, sizes, classes, speakers, device), dialogue(sizes, turns, device)
    spent = []
    for _ in range(REPEATS + 2):  # the first two warm up
        start = time.perf_counter()
        model(batch).logits.cpu()
        spent.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    kept = [1000 * seconds for seconds in spent[2:]]
    return statistics.median(kept), min(kept), max(kept)
