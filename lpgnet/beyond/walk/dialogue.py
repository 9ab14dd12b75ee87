"""A dialogue of the test part as the plain model reads it, and what can be changed about the two.

Letters as in `lpgnet.model`; B is 1.  Turns count from 1, as they do on the figures.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from lpgnet.config import LossConfig
from lpgnet.labels import is_simulated
from lpgnet.losses import UNSCORED
from lpgnet.model import LPGNet, Output
from lpgnet.places import Place
from lpgnet.runs import checkpoint, plan, training
from lpgnet.runs.dataset import Dataset
from lpgnet.tables.typeset import warning

WORDS = 24  # letters of a turn that an axis has room for
CANDIDATES = ("full", "text_only", "audio_only")  # the first that a corpus allows is walked through


@dataclass(frozen=True)
class Dialogue:
    """U turns.

    turns: columns turn, id, speaker, text, wav, label ("" where none is scored); text and wav are "" where the
    corpus may not be shown.  rows: X of Eq. (1) per modality, (1, U, F).  speaker: (1, U).
    heard: (U,) bool, the turns that aren't muted.  labels: (U,) class numbers, `UNSCORED` where there is none.
    """

    name: str
    turns: pd.DataFrame
    classes: tuple[str, ...]
    rows: dict[str, Tensor]
    speaker: Tensor
    heard: Tensor
    labels: Tensor

    @property
    def valid(self) -> dict[str, Tensor]:
        """(1, U) per modality: a muted turn is masked as padding is, by Eq. (4)."""
        return dict.fromkeys(self.rows, self.heard[None])

    @property
    def words(self) -> list[str]:
        """What a turn is called on an axis: its number, and its first words, or who speaks and the label."""
        lines = self.turns[["turn", "text", "speaker", "label"]].itertuples(index=False)
        said = [(n, text or f"{who} {label or '-'}".strip()) for n, text, who, label in lines]
        return [f"{n} {text[:WORDS]}{'…' * (len(text) > WORDS)}" for n, text in said]


@dataclass(frozen=True)
class Walk:
    """A model and the dialogue that it reads.  model: evaluated.  loss: of its run.  origin: for captions."""

    model: LPGNet
    dialogue: Dialogue
    loss: LossConfig
    origin: str

    @torch.no_grad()
    def output(self) -> Output:
        """Logits and students are (1, U, C), modality weights (1, U)."""
        return self.model(self.dialogue.rows, self.dialogue.valid, self.dialogue.speaker)


def open_walk(place: Place, name: str | None = None, **changes) -> Walk:
    """LPGNet on a dialogue of the test part: the one with this name, or the first of those with most classes.

    Its weights are those of seed 0 as trained, where there is a checkpoint.  changes: fields of
    `LPGNetConfig`; a model that is changed has initial weights.
    """
    data = plan.describe(place)
    allowed, why = plan.possible(data, list(CANDIDATES))
    if not allowed:
        raise ValueError(f"no LPGNet can read this corpus: {next(iter(why.values()))}")
    job = plan.planned(place, data, allowed[:1], 1)[0]
    dataset = training.dataset(place, job)
    shape = replace(job.run.model, **changes)
    folder = place.checkpoints / job.experiment / job.path.stem
    trained = not changes and (folder / checkpoint.CONFIG).exists()
    torch.manual_seed(0)
    model = LPGNet(shape, dataset.sizes, len(dataset.classes), len(dataset.speaker_names))
    if trained:
        model = checkpoint.load(folder).model
    dialogue = _dialogue(place, dataset, name)
    weights = f"{job.experiment}, seed 0, {'as trained' if trained else 'initial weights'}"
    origin = f"{place.name}, {job.fold}, dialogue {dialogue.name}: {weights}.{warning(place.corpus)}"
    return Walk(model.eval().requires_grad_(False), dialogue, job.run.loss, origin)


def _dialogue(place: Place, dataset: Dataset, name: str | None) -> Dialogue:
    table = dataset.table
    units = {table["dialogue"].iat[int(unit[0])]: unit for unit in dataset.units["test"]}
    name = name or max(units, key=lambda one: table["label"].iloc[units[one].numpy()].nunique())
    if name not in units:
        raise LookupError(f"no dialogue {name!r} in the test part; it has {', '.join(units)}")
    unit = units[name]
    turns = table.iloc[unit.numpy()][["id", "speaker", "text", "wav", "label"]].reset_index(drop=True)
    turns["label"] = turns["label"].fillna("")
    if not is_simulated(place.corpus):  # words and voices of a licensed corpus don't belong in a copy
        turns[["text", "wav"]] = ""
    turns.insert(0, "turn", range(1, len(turns) + 1))
    rows = {m: x[unit][None] for m, x in dataset.rows.items()}
    heard = torch.ones(len(unit), dtype=torch.bool)
    return Dialogue(name, turns, dataset.classes, rows, dataset.speaker[unit][None], heard, dataset.labels[unit])


def without_path(walk: Walk, path: str) -> Walk:
    """The same weights, but Eq. (12) hears nothing of a path: its columns of the branch's map are zero.

    That asks what the trained model owes to a path; `no_inter` and `no_intra` are trained without theirs.
    """
    if path not in walk.model.config.paths:
        raise ValueError(f"no path {path!r}; this model has {', '.join(walk.model.config.paths)}")
    model, d = deepcopy(walk.model), walk.model.config.hidden
    for modality, paths in model.branches.items():
        if path in paths:
            start = paths.index(path) * d
            model.merge[modality].weight.data[:, start : start + d] = 0
    return replace(walk, model=model)


def muted(walk: Walk, turn: int) -> Walk:
    """Nobody hears a turn: no attention goes to it, no mean counts it, no loss scores it."""
    place = _place(walk, turn)
    heard, labels = walk.dialogue.heard.clone(), walk.dialogue.labels.clone()
    heard[place], labels[place] = False, UNSCORED
    if not heard.any():
        raise ValueError("every turn would be muted: at least one must be heard")
    rows = {m: x * heard[None, :, None] for m, x in walk.dialogue.rows.items()}  # zero, as padding is
    return replace(walk, dialogue=replace(walk.dialogue, rows=rows, heard=heard, labels=labels))


def swapped(walk: Walk, first: int, second: int) -> Walk:
    """Two turns change places, with all that belongs to them but the number of the place."""
    order = torch.arange(len(walk.dialogue.turns))
    order[[_place(walk, first), _place(walk, second)]] = order[[_place(walk, second), _place(walk, first)]]
    old = walk.dialogue
    turns = old.turns.iloc[order.numpy()].reset_index(drop=True).assign(turn=old.turns["turn"])
    moved = {"rows": {m: x[:, order] for m, x in old.rows.items()}, "speaker": old.speaker[:, order]}
    moved |= {"heard": old.heard[order], "labels": old.labels[order]}
    return replace(walk, dialogue=replace(old, turns=turns, **moved))


def _place(walk: Walk, turn: int) -> int:
    """Turn 1 -> 0; a ValueError where the dialogue has no such turn."""
    count = len(walk.dialogue.turns)
    if not 1 <= turn <= count:
        raise ValueError(f"no turn {turn}; this dialogue has turns 1 to {count}")
    return turn - 1
