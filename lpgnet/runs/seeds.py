"""Models of one shape and different seeds, side by side: on weights stacked by torch.func, or one alone.

S: the number of seeds; other letters as in `lpgnet.model`.  A stacked tensor has S first.  Each seed has its
own batch and its own dropout masks, so what it gives doesn't depend on who is beside it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import pad

from lpgnet import losses
from lpgnet.config import BiGRUConfig, LossConfig, LPGNetConfig, RunConfig
from lpgnet.model import Output
from lpgnet.runs.packed import BLOCK, Batch, Dropout, Layout

LAYOUT = ("lengths", "valid", "sequence", "place")


def stackable(run: RunConfig, longest: int) -> bool:
    """Whether seeds of a run can share one forward pass; longest: turns of the longest dialogue.

    Not torch's GRU (no batching rule), frame sequences (one seed fills a GPU), a batch norm over
    utterances (seeds differ in their number), one FFN for all paths, and what `by_block` would cut.
    """
    model = run.model
    if run.data.window or run.data.sees != "dialogue":  # as many sequences as a seed's batch has utterances
        return False
    if not isinstance(model, LPGNetConfig):
        return not isinstance(model, BiGRUConfig)
    return (model.pool, model.context, model.shared) == ("none", "dialogue", False) and longest <= BLOCK


class Seeds:
    """S models behind the same calls, whether stacked or one.

    mixed: matrix products in bfloat16.
    """

    def __init__(self, models: list[nn.Module], mixed: bool = False):
        self.model, self.count, self.mixed = models[0], len(models), mixed
        if self.count > 1:
            self.parameters, self.buffers = stack_module_state(models)
        else:
            self.parameters = dict(models[0].named_parameters())
            self.buffers = dict(models[0].named_buffers())

    @property
    def size(self) -> int:
        """Parameters of one model."""
        return sum(p.numel() for p in self.parameters.values()) // self.count

    def loss(
        self,
        batches: list[Batch],
        generators: list[torch.Generator],
        config: LossConfig,
        class_weight: Tensor | None,
    ) -> Tensor:
        """(S,): each seed's loss of Eq. (22) on its own batch, its masks from its own generator."""
        masks = self._masks(batches, generators) if generators else {}

        def one(state: dict[str, Tensor], tensors: dict) -> Tensor:
            batch, output = self._output(state, tensors)
            return losses.total(output.logits, output.students, batch.labels, config, class_weight)

        self.model.train()
        state = self.parameters | self.buffers | masks
        if self.count > 1:
            return vmap(one)(state, stack_batches(batches))
        return one(state, batches[0])[None]

    @torch.no_grad()
    def outputs(self, batches: list[Batch]) -> list[Output]:
        """Each seed's outputs on the same batches, in order, dropout off."""
        self.model.eval()
        state = self.parameters | self.buffers

        def one(state: dict[str, Tensor], data: Batch | dict) -> Output:
            batch, output = self._output(state, data)
            return output if batch.asked is None else _each(lambda x: x[batch.asked], output)

        if self.count > 1:
            pieces = [vmap(one, in_dims=(0, None))(state, _tensors(batch)) for batch in batches]
            return [
                concatenated([_each(lambda x, s=s: x[s], piece) for piece in pieces])
                for s in range(self.count)
            ]
        return [concatenated([one(state, batch) for batch in batches])]

    def weights(self, seed: int) -> dict[str, Tensor]:
        """A copy of one seed's state dict, on the CPU.  seed: its place among the S."""
        state = self.parameters | self.buffers
        one = {name: tensor[seed] if self.count > 1 else tensor for name, tensor in state.items()}
        return {name: tensor.detach().cpu().clone() for name, tensor in one.items() if tensor is not None}

    def _output(self, state: dict[str, Tensor], data: Batch | dict) -> tuple[Batch, Output]:
        batch = data if isinstance(data, Batch) else _batch(data)
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=self.mixed):
            output = functional_call(self.model, state, (batch,))
        return batch, _each(Tensor.float, output) if self.mixed else output

    def _masks(self, batches: list[Batch], generators: list[torch.Generator]) -> dict[str, Tensor]:
        drops = {f"{n}.mask": m for n, m in self.model.named_modules() if isinstance(m, Dropout) and m.p}
        drawn = [
            {name: drop.draw(batch.layouts["text"], generator) for name, drop in drops.items()}
            for batch, generator in zip(batches, generators, strict=True)
        ]
        return {n: _filled([d[n] for d in drawn]) if self.count > 1 else drawn[0][n] for n in drops}


def concatenated(outputs: list[Output]) -> Output:
    """The outputs of several batches as one."""
    return Output(
        torch.cat([o.logits for o in outputs]),
        {m: torch.cat([o.students[m] for o in outputs]) for m in outputs[0].students},
        {m: torch.cat([o.modality_weight[m] for o in outputs]) for m in outputs[0].modality_weight},
    )


def stack_batches(batches: list[Batch]) -> dict:
    """The batches of S seeds, filled up to the longest with rows that stand nowhere and don't count."""
    parts = [_tensors(batch) for batch in batches]
    nowhere = len(batches[0].layouts["text"].lengths) * max(p["layout"]["valid"].shape[1] for p in parts)
    for part in parts:  # places count in the common width
        layout, width = part["layout"], nowhere // len(part["layout"]["lengths"])
        own = layout["valid"].shape[1]
        layout["place"] = layout["place"] // own * width + layout["place"] % own
    fill = {"labels": losses.UNSCORED, "place": nowhere}

    def deep(name: str, values: list):
        if isinstance(values[0], dict):
            return {key: deep(key, [value[key] for value in values]) for key in values[0]}
        return _filled(values, fill.get(name, 0))

    return deep("", parts)


def _filled(tensors: list[Tensor], value: float = 0) -> Tensor:
    """Tensors of S seeds, each filled up to the largest size in every dimension, stacked."""
    sizes = torch.tensor([t.shape for t in tensors]).amax(dim=0)
    lacks = [(sizes - torch.tensor(t.shape)).tolist()[::-1] for t in tensors]  # pad starts at the last
    pairs = [[n for lack in some for n in (0, lack)] for some in lacks]
    return torch.stack([pad(t, amounts, value=value) for t, amounts in zip(tensors, pairs, strict=True)])


def _tensors(batch: Batch) -> dict:
    """A batch at utterance level as plain dictionaries of tensors."""
    layout = {name: getattr(batch.layouts["text"], name) for name in LAYOUT}
    return {"rows": batch.rows, "speaker": batch.speaker, "labels": batch.labels, "layout": layout}


def _batch(tensors: dict) -> Batch:
    layout = Layout.__new__(Layout)
    layout.__dict__.update(tensors["layout"], pieces=[layout], alone=False)
    rows = tensors["rows"]
    return Batch(rows, dict.fromkeys(rows, layout), tensors["speaker"], tensors["labels"])


def _each(change: Callable[[Tensor], Tensor], output: Output) -> Output:
    """Every tensor of an output, changed."""
    parts = ({m: change(x) for m, x in part.items()} for part in output[1:])
    return Output(change(output.logits), *parts)
