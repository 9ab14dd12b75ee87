"""One seed's answer beside those of all seeds: how far other draws of the same training agree with it."""

import pandas as pd
import torch
from torch import Tensor

from lpgnet.experiments import EXPERIMENTS
from lpgnet.places import Place
from lpgnet.runs.checkpoint import Reader, current_checkpoints, load


def readers(place: Place, reader: Reader) -> list[Reader]:
    """The checkpoints of all seeds of a reader's experiment and fold that read the same features; its own is one."""
    named = reader.trained["experiment"]
    loaded = map(load, current_checkpoints(place, named) if named in EXPERIMENTS else [])
    alike = ("fold", "labels", "config")
    return [
        one
        for one in loaded
        if one.encoders == reader.encoders and all(one.trained[what] == reader.trained[what] for what in alike)
    ]


def add_seeds(place: Place, reader: Reader, rows: dict[str, Tensor], turns: pd.DataFrame) -> pd.DataFrame:
    """`turns` with what all seeds say of the class that is predicted; as it was where there is one seed's checkpoint.

    seeds: how many; seeds_agree: of them with the same prediction; seeds_mean, seeds_low, seeds_high: the mean and
    the range of their calibrated probabilities of it.  rows: as `predict.vectors` gives them.
    """
    every = readers(place, reader)
    if len(every) < 2 or not {reader.trained["key"]} <= {one.trained["key"] for one in every}:
        return turns
    p = torch.stack([one(rows)[0] for one in every])  # (S, T, C)
    chosen = torch.tensor([reader.classes.index(name) for name in turns["predicted"]])
    own = p[:, torch.arange(len(chosen)), chosen].double()  # (S, T)
    return turns.assign(
        seeds=len(every),
        seeds_agree=(p.argmax(-1) == chosen).sum(0).numpy(),
        seeds_mean=own.mean(0).numpy(),
        seeds_low=own.amin(0).numpy(),
        seeds_high=own.amax(0).numpy(),
    )
