"""The models of one experiment and fold behind the same calls: one alone, or all seeds side by side.

S: the number of seeds; other letters as in `lpgnet.model`.  A stacked tensor has S first.  Each seed has its
own batches and its own dropout masks, so what it gives doesn't depend on who is beside it.
"""

import gc
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from lpgnet import losses
from lpgnet.config import BiGRUConfig, LPGNetConfig, RunConfig, TrainConfig
from lpgnet.machine.workers import has_bfloat16
from lpgnet.model import Output
from lpgnet.runs.dataset import Dataset, Sequences, dropped_turns, shuffled
from lpgnet.runs.packed import BLOCK, Batch, Dropout, Grid

MASKS = 1_000_000  # added to a seed for its dropout masks, so that they don't repeat its order
EAGER = 2  # calls before a CUDA graph is recorded, as `torch.cuda.graph` asks for


def stackable(run: RunConfig, longest: int = 0) -> bool:
    """Whether seeds of a run can share one forward pass; longest: turns of the longest dialogue.

    Not torch's GRU (no batching rule), a batch norm over utterances (seeds differ in their number), one FFN
    for all paths, and what `by_block` would cut.
    """
    model = run.model
    if run.data.window or run.data.sees != "dialogue":  # as many sequences as a seed's batch has utterances
        return False
    if not isinstance(model, LPGNetConfig):
        return not isinstance(model, BiGRUConfig)
    if model.context != "dialogue" or model.shared or model.pool == "position":
        return False
    return longest <= BLOCK["cpu"] and (model.pool == "none" or run.data.frames <= BLOCK["cuda"])


def optimiser(parameters: Iterable[Tensor], config: TrainConfig) -> torch.optim.Optimizer:
    """Reading R23: Adam with L2 on every parameter, at a constant rate."""
    kind, parameters = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer], [*parameters]
    graphs = parameters[0].is_cuda  # the count of steps stays on the card
    return kind(parameters, lr=config.lr, weight_decay=config.l2, fused=True, capturable=graphs)


def mixed(config: TrainConfig, device: torch.device) -> bool:
    """Whether matrix products are in bfloat16: where asked, and by itself on a GPU that has them."""
    if config.precision == "auto":
        return has_bfloat16(device.type)
    return config.precision == "mixed"


def evaluated(model: nn.Module, batches: Iterable[Batch], mixed: bool = False) -> Output:
    """A model's output on some batches, in order, dropout off, on the CPU."""
    model.eval()
    with torch.no_grad():
        outputs = [_asked(_output(model, {}, batch, mixed), batch) for batch in batches]
    return each(Tensor.cpu, concatenated(outputs))


class Alone:
    """One model, batch by batch, each batch of its own shape."""

    def __init__(self, models: list[nn.Module], run: RunConfig, data: Dataset, seeds: list[int]):
        (self.model,), device = models, data.labels.device
        self.run, self.data, self.mixed = run, data, mixed(run.train, device)
        self.order = torch.Generator().manual_seed(seeds[0])
        self.noise = torch.Generator(device).manual_seed(MASKS + seeds[0])
        self.weight = data.class_weight().to(device) if run.loss.class_weights else None
        self.optimizer = optimiser(self.model.parameters(), run.train)
        # A model that could be stacked has masks of its own generator here too, others torch's dropout.
        self.drops = drops(self.model) if stackable(run, data.longest) else {}
        self.size = sum(p.numel() for p in self.model.parameters())

    def epoch(self) -> list[float]:
        """One pass over the training part; the mean loss of its batches."""
        total = [self.step(units) for units in shuffled(self.data.units["train"], self.run.train.batch, self.order)]
        return [torch.stack(total).mean().item()]

    def step(self, units: list[Tensor]) -> Tensor:
        batch = self.data.batch(sorted(units, key=len))  # alike in a piece of attention
        if self.run.train.moddrop:
            batch = self._without(batch)
        self.model.train()
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """Eq. (22) of one batch, its masks drawn from the seed's generator."""
        made, device = {}, batch.labels.device
        for name, drop in self.drops.items():
            draws = torch.rand(drop.shape(batch.layouts["text"]), device=device, generator=self.noise)
            made[f"{name}.mask"] = drop.mask_of(draws)
        output = _output(self.model, made, batch, self.mixed)
        return losses.total(output.logits, output.students, batch.labels, self.run.loss, self.weight)

    def _without(self, batch: Batch) -> Batch:
        gone = dropped_turns(batch.layouts["text"].counts, self.run.train.moddrop, self.order)
        pairs = zip(batch.rows.items(), gone.to(batch.labels.device), strict=True)
        rows = {m: torch.where(lost[:, None], self.data.absent[m], x) for (m, x), lost in pairs}
        return replace(batch, rows=rows)

    def outputs(self, part: str) -> list[Output | None]:
        """On "validation" or "test", in order; None where the part is empty."""
        units = self.data.units[part]
        whole = not self.data.at_frames and self.data.reach is None  # else piece by piece
        size = len(units) if whole else self.run.train.batch
        batches = (self.data.batch(units[i : i + size]) for i in range(0, len(units), size or 1))
        return [evaluated(self.model, batches, self.mixed) if units else None]

    def keep(self, seeds: list[int]) -> None:
        """Take the weights as they are as the best of these seeds, numbered from 0."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def weights(self, seed: int) -> dict[str, Tensor]:
        """The kept state dict of a seed, on the CPU."""
        return {name: tensor.cpu() for name, tensor in self.best.items()}


class Stacked:
    """S models on stacked weights.  Steps have one shape, so that a GPU replays each as a graph.

    A step is told which sequences it reads, nothing more: features, lengths and labels lie on the device.
    """

    def __init__(self, models: list[nn.Module], run: RunConfig, data: Dataset, seeds: list[int]):
        self.model, self.run, self.data, self.device = models[0], run, data, data.labels.device
        self.mixed, self.count = mixed(run.train, self.device), len(models)
        self.parameters, self.buffers = stack_module_state(models)
        self.size = sum(p.numel() for p in self.model.parameters())
        self.orders = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.noises = [torch.Generator(self.device).manual_seed(MASKS + seed) for seed in seeds]
        self.weight = data.class_weight().to(self.device) if run.loss.class_weights else None
        self.optimizer = optimiser(self.parameters.values(), run.train)
        self.drops, self.draws = drops(self.model), {}
        self.parts = {part: Sequences(data, units) for part, units in data.units.items() if units}
        self.called = {part: (Replayed() if self.device.type == "cuda" else _called) for part in self.parts}
        self.best = {n: t.detach().clone() for n, t in self._state().items()}

    def _state(self) -> dict[str, Tensor]:
        return {n: t for n, t in (self.parameters | self.buffers).items() if t is not None}

    def epoch(self) -> list[float]:
        """One pass over the training part; per seed the mean loss of its batches."""
        turns, total = self.parts["train"].turns, []
        plans = [shuffled([*range(len(turns))], self.run.train.batch, order) for order in self.orders]
        for step in zip(*plans, strict=True):
            units = [sorted(some, key=turns.__getitem__) for some in step]
            self.draw(len(units[0]))
            gone = [self._gone(units)] if self.run.train.moddrop else []
            inputs = (x.to(self.device) for x in (torch.tensor(units), *gone))
            total.append(self.called["train"](self._step, *inputs).clone())
        return torch.stack(total).mean(dim=0).tolist()

    def outputs(self, part: str) -> list[Output | None]:
        """Each seed's on "validation" or "test", in order, on the CPU; None where the part is empty."""
        if part not in self.parts:
            return [None] * self.count
        units = torch.tensor(self.parts[part].order, device=self.device)
        pieces = units.split(self.run.train.batch) if self.data.at_frames else [units]
        look = partial(self._look, part)
        seen = [each(Tensor.clone, self.called[part](look, some)) for some in pieces]
        whole = each(Tensor.cpu, concatenated(seen, dim=1))
        return [each(lambda x, s=s: x[s], whole) for s in range(self.count)]

    def keep(self, seeds: list[int]) -> None:
        which = torch.tensor(seeds, device=self.device)
        for name, tensor in self._state().items():
            self.best[name].index_copy_(0, which, tensor.detach().index_select(0, which))

    def weights(self, seed: int) -> dict[str, Tensor]:
        return {name: tensor[seed].cpu().clone() for name, tensor in self.best.items()}

    def _step(self, units: Tensor, gone: Tensor | None = None) -> Tensor:
        """All weights take one step; `loss` before it."""
        total = self.loss(units, gone)
        parameters = [*self.parameters.values()]
        gradients = torch.autograd.grad(total.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if gradient is None else gradient.contiguous()  # as fused Adam reads it
        self.optimizer.step()
        return total.detach()

    def loss(self, units: Tensor, gone: Tensor | None = None) -> Tensor:
        """(S,): each seed's loss of Eq. (22) on its own sequences, (S, B) by number; gone: as `_gone`."""
        self.model.train()
        batches = self.parts["train"].batch(units)
        if gone is not None:
            pairs = zip(batches["rows"].items(), gone.unbind(1), strict=True)
            batches["rows"] = {m: torch.where(g[..., None], self.data.absent[m], x) for (m, x), g in pairs}

        def one(state: dict[str, Tensor], tensors: dict) -> Tensor:
            batch = self._batch("train", tensors)
            output = _output(self.model, state, batch, self.mixed)
            return losses.total(output.logits, output.students, batch.labels, self.run.loss, self.weight)

        return vmap(one)(self.parameters | self.buffers | self._masks(units.shape[1]), batches)

    @torch.no_grad()
    def _look(self, part: str, units: Tensor) -> Output:
        """(S, N, ...): outputs of the real positions of some sequences, the same for all seeds."""
        self.model.eval()
        batch = self._batch(part, self.parts[part].batch(units))
        look = vmap(lambda state: _output(self.model, state, batch, self.mixed))
        output, real = look(self.parameters | self.buffers), self.parts[part].real
        return output if real is None else each(lambda x: x.index_select(1, real), output)

    def _batch(self, part: str, tensors: dict) -> Batch:
        lengths = tensors["lengths"]
        sizes = self.parts[part].sizes(lengths["text"].shape[-1])
        grids = {m: Grid(lengths[m], sizes[m]) for m in lengths}
        return Batch(tensors["rows"], grids, tensors["speaker"], tensors["labels"])

    def _shapes(self, sequences: int) -> dict[str, tuple[int, ...]]:
        """Of the masks of one seed's batch."""
        sizes = self.parts["train"].sizes(sequences)["text"]
        grid = Grid(torch.zeros(sequences, dtype=int), sizes)
        return {f"{name}.mask": drop.shape(grid) for name, drop in self.drops.items()}

    def draw(self, sequences: int) -> None:
        """Uniform numbers for the masks of one step, each seed's from its own generator."""
        if sequences not in self.draws:
            size = sum(math.prod(shape) for shape in self._shapes(sequences).values())
            self.draws[sequences] = torch.empty(self.count, size, device=self.device)
        for draws, noise in zip(self.draws[sequences], self.noises, strict=True):
            torch.rand(draws.shape, generator=noise, out=draws)

    def _masks(self, sequences: int) -> dict[str, Tensor]:
        shapes = self._shapes(sequences)
        parts = self.draws[sequences].split([math.prod(shape) for shape in shapes.values()], dim=1)
        cut = zip(shapes.items(), self.drops.values(), parts, strict=True)
        return {name: drop.mask_of(part.unflatten(1, shape)) for (name, shape), drop, part in cut}

    def _gone(self, units: list[list[int]]) -> Tensor:
        """(S, 2, B x U): which turns of a step lose their text, and which their audio."""
        part, made = self.parts["train"], []
        sequence, position = Grid.rows_of(part.sizes(len(units[0]))["text"])
        for some, order in zip(units, self.orders, strict=True):
            counts = [part.turns[unit] for unit in some]
            real = position < torch.tensor(counts)[sequence]
            gone = torch.zeros(2, len(real), dtype=bool)
            gone[:, real] = dropped_turns(counts, self.run.train.moddrop, order)
            made.append(gone)
        return torch.stack(made)


class Replayed:
    """Calls of a function of tensors on a GPU: for each set of shapes a CUDA graph, after `EAGER` calls.

    What it returns is overwritten by the next call.  The function is given anew each time: kept here, it
    would tie its owner and the graphs in a circle, and a graph must not be collected while one is recorded.
    """

    def __init__(self):
        self.calls: dict[tuple, int] = {}
        self.graphs: dict[tuple, tuple] = {}

    def __call__(self, function: Callable, *inputs: Tensor):
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self.graphs:
            self.calls[shapes] = self.calls.get(shapes, 0) + 1
            if self.calls[shapes] <= EAGER:
                return _on_a_stream(function, inputs)
            self.graphs[shapes] = _recorded(function, inputs)
        graph, kept, outputs = self.graphs[shapes]
        for own, new in zip(kept, inputs, strict=True):
            own.copy_(new)
        graph.replay()
        return outputs


def _on_a_stream(function: Callable, inputs: tuple[Tensor, ...]):
    """A call as any other, on a stream of its own, as recording wants the ones before it."""
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        outputs = function(*inputs)
    main.wait_stream(side)
    return outputs


def _recorded(function: Callable, inputs: tuple[Tensor, ...]) -> tuple:
    """A graph of a call, the tensors it reads, and those it writes."""
    graph, kept = torch.cuda.CUDAGraph(), [x.clone() for x in inputs]
    gc.disable()  # what is collected now may free memory, which can't be recorded
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = function(*kept)
    finally:
        gc.enable()
    return graph, kept, outputs


def _called(function: Callable, *inputs: Tensor):
    """On a CPU there is nothing to record."""
    return function(*inputs)


def drops(model: nn.Module) -> dict[str, Dropout]:
    """The dropouts of a model whose masks are drawn beforehand, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, Dropout) and m.p}


def concatenated(outputs: list[Output], dim: int = 0) -> Output:
    """The outputs of several batches as one."""
    return Output(
        torch.cat([o.logits for o in outputs], dim),
        {m: torch.cat([o.students[m] for o in outputs], dim) for m in outputs[0].students},
        {m: torch.cat([o.modality_weight[m] for o in outputs], dim) for m in outputs[0].modality_weight},
    )


def each(change: Callable[[Tensor], Tensor], output: Output) -> Output:
    """Every tensor of an output, changed."""
    parts = ({m: change(x) for m, x in part.items()} for part in output[1:])
    return Output(change(output.logits), *parts)


def _output(model: nn.Module, state: dict[str, Tensor], batch: Batch, mixed: bool) -> Output:
    with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=mixed, cache_enabled=False):
        output = functional_call(model, state, (batch,))
    return each(Tensor.float, output) if mixed else output


def _asked(output: Output, batch: Batch) -> Output:
    return output if batch.asked is None else each(lambda x: x[batch.asked], output)
