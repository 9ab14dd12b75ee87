"""What a run reads: features, labels and speakers of one fold, standardised on its training part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpgnet.config import DataConfig
from lpgnet.corpora.table import utterances
from lpgnet.features.store import Features
from lpgnet.labels import Fold, labelled, rule
from lpgnet.losses import UNSCORED
from lpgnet.runs.packed import PIECE, Batch, Grid, Layout

FLAT = 1e-6  # a column whose deviation is below this part of its size carries nothing


@dataclass(frozen=True)
class Scaler:
    """Reading R24: zero mean and unit deviation per column, from the training part alone.

    An absent utterance (a row of NaN) does not count in the fit and gets the mean.
    """

    mean: Tensor
    scale: Tensor

    @staticmethod
    def fit(pieces: Callable[[], Iterable[Tensor]]) -> "Scaler":
        """pieces: called twice, gives (n, F) each, never all at once.  A constant column becomes zero."""
        count, total, largest = 0, 0.0, torch.tensor(0.0)
        for piece in map(_present, pieces()):
            if len(piece):
                count, total = count + len(piece), total + piece.sum(0)
                largest = torch.maximum(largest, piece.abs().amax(0))
        if not count:
            raise ValueError("no training utterance has this modality: nothing to standardise on")
        mean = total / count
        std = (sum(((_present(piece) - mean) ** 2).sum(0) for piece in pieces()) / count).sqrt()
        flat = std <= FLAT * (1 + largest)
        return Scaler(mean.float(), torch.where(flat, 0.0, 1 / std).float())

    def __call__(self, rows: Tensor) -> Tensor:
        return (self.filled(rows) - self.mean) * self.scale

    def filled(self, rows: Tensor) -> Tensor:
        """(n, F) float32, with the training mean where an utterance is absent."""
        return torch.where(rows.isnan(), self.mean, rows.float())

    def to(self, device: torch.device) -> "Scaler":
        return Scaler(self.mean.to(device), self.scale.to(device))


def reordered(units: list[Tensor], turns: str) -> list[Tensor]:
    """The dialogues of a part with their turns as spoken, shuffled within each, or dealt among all of them.

    The same for every run: what is asked is what order and company are worth, not one draw of them.
    """
    generator = torch.Generator().manual_seed(0)
    if turns == "shuffled":
        return [unit[torch.randperm(len(unit), generator=generator)] for unit in units]
    if turns == "dealt" and units:
        rows = torch.cat(units)
        return list(rows[torch.randperm(len(rows), generator=generator)].split([len(u) for u in units]))
    return units


def context_windows(config: DataConfig) -> Callable[[list[Tensor]], tuple[list[Tensor], Tensor]] | None:
    """Dialogues -> a sequence per turn, of the turns it may read, and the rows of the turns themselves.

    None where a turn reads its whole dialogue.
    """
    if config.sees == "dialogue" and not config.window:
        return None

    def sequences(units: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        made, asked, start = [], [], 0
        for unit in units:
            for turn in range(len(unit)):
                first = max(0, turn - config.window) if config.window else 0
                after = turn + config.window if config.window else len(unit)
                last = turn if config.sees == "past" else after
                made.append(unit[first : last + 1])
                asked.append(start + turn - first)
                start += len(made[-1])
        return made, torch.tensor(asked)

    return sequences


def shuffled(units: list[Tensor], size: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Batches of `size` units in random order.

    Reading R4: a last batch of one joins the one before, since batch norm has no variance of one row.
    """
    order = [units[i] for i in torch.randperm(len(units), generator=generator).tolist()]
    starts = list(range(0, len(order), size))
    if len(order) - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]


def dropped_turns(counts: list[int], share: float, generator: torch.Generator) -> Tensor:
    """Which turns of dialogues so long lose their text, and which their audio: (2, N).

    With probability `share` a dialogue loses turns; a coin says of which modality, and each of its turns goes
    with a probability drawn for that dialogue.
    """
    sequence = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    loses, coin, rate = torch.rand(3, len(counts), generator=generator)
    gone = torch.rand(len(sequence), generator=generator) < torch.where(loses < share, rate, 0.0)[sequence]
    second = (coin < 0.5)[sequence]
    return torch.stack([gone & ~second, gone & second])


def _present(piece: Tensor) -> Tensor:
    """The rows of (n, F) that are there, in double precision."""
    return piece[~piece.isnan().any(1)].double()


class Dataset:
    """One fold's utterances, in order of speech, and the batches made of them.

    sets: modality -> its entry in the store's index.
    units: per part ("train", "validation", "test"), what a sequence is made of: the row numbers of a
    dialogue, or of one utterance at frame level.
    Utterance vectors stay in memory, standardised; frames are read from the memory-mapped store by batch.
    """

    def __init__(
        self, folder: Path, sets: dict[str, dict], config: DataConfig, protocol: str, fold: Fold, frames: bool
    ):
        table = utterances(folder)
        self.classes = rule(table, protocol).classes
        table = table.assign(label=labelled(table, protocol))
        if config.unlabelled == "dropped":  # Reading R19
            table = table[table["label"].notna()]
        if config.order == "transcript":  # Reading R27: the table itself is in order of time
            table = table.sort_values(["session", "dialogue", "line"])
        self.table = table.reset_index(names="place")
        number = {name: i for i, name in enumerate(self.classes)}
        self.labels = torch.tensor([number.get(label, -1) for label in self.table["label"]])
        self.speaker_names = sorted(self.table["party"].unique())
        self.speaker = torch.tensor([self.speaker_names.index(p) for p in self.table["party"]])
        self.at_frames, self.most, self.standardise = frames, config.frames, config.standardise
        parts = {part: self._units(getattr(fold, part)) for part in ("train", "validation", "test")}
        self.units = {part: reordered(units, config.turns) for part, units in parts.items()}
        self.reach = context_windows(config)
        self.features = {m: Features(folder, about, frames) for m, about in sets.items()}
        self.sizes = {m: about["frame_size" if frames else "size"] for m, about in sets.items()}
        self.scalers = {m: Scaler.fit(self._training_rows(m)) for m in sets}
        self.rows = {m: self._prepared(m, self._vectors(m)) for m in sets} if not frames else {}
        nothing = torch.tensor([[torch.nan]])
        self.whole: dict[str, tuple[Tensor, Tensor]] = {}  # of `framed`
        self.absent = {m: self._prepared(m, nothing.expand(1, self.sizes[m]))[0] for m in sets}
        self.longest = max(len(u) for units in self.units.values() for u in units)

    def _units(self, dialogues: tuple[str, ...]) -> list[Tensor]:
        groups = self.table.groupby("dialogue").indices
        rows = [torch.from_numpy(groups[d]) for d in dialogues if d in groups]
        if not self.at_frames:
            return rows
        return [row for dialogue in rows for row in dialogue.split(1) if self.labels[row] >= 0]

    def _vectors(self, modality: str) -> Tensor:
        return self.features[modality].vectors()[self.table["place"].tolist()]

    def _frames(self, modality: str, row: int) -> Tensor:
        return self.features[modality].frames(self.table["place"].iat[row], self.most)

    def framed(self, modality: str) -> tuple[Tensor, Tensor]:
        """All frames, prepared, (sum T, F) on the device: 4 GB of IEMOCAP's speech; how many each row has."""
        if modality not in self.whole:
            frames = [self._frames(modality, i) for i in range(len(self.table))]
            pieces = torch.cat(frames).split(1 << 18)
            rows = torch.cat([self._prepared(modality, x.to(self.labels.device)) for x in pieces])
            self.whole[modality] = rows, torch.tensor([len(f) for f in frames])
        return self.whole[modality]

    def _training_rows(self, modality: str) -> Callable[[], Iterable[Tensor]]:
        index = torch.cat(self.units["train"]).tolist()
        if self.at_frames:
            return lambda: (self._frames(modality, i) for i in index)
        rows = self._vectors(modality)[index]
        return lambda: (rows,)

    def _prepared(self, modality: str, rows: Tensor) -> Tensor:
        scaler = self.scalers[modality]
        return scaler(rows) if self.standardise else scaler.filled(rows)

    def to(self, device: torch.device) -> "Dataset":
        """Keep everything that stays in memory on `device` from now on."""
        self.rows = {m: rows.to(device) for m, rows in self.rows.items()}
        self.absent = {m: row.to(device) for m, row in self.absent.items()}
        self.scalers = {m: scaler.to(device) for m, scaler in self.scalers.items()}
        self.labels, self.speaker = self.labels.to(device), self.speaker.to(device)
        return self

    def batch(self, units: list[Tensor]) -> Batch:
        """One batch of sequences, given their row numbers."""
        units, asked = (units, None) if self.reach is None else self.reach(units)
        index = torch.cat(units)
        device = self.labels.device
        if self.at_frames:
            rows, layouts = {}, {}
            for m in self.features:
                frames = [self._frames(m, i) for i in index.tolist()]
                layouts[m] = Layout(torch.tensor([len(f) for f in frames]), device)
                rows[m] = self._prepared(m, torch.cat(frames).to(device))
        else:
            layout = Layout(torch.tensor([len(u) for u in units]), device)
            layouts = dict.fromkeys(self.rows, layout)
            rows = {m: kept.index_select(0, index.to(device)) for m, kept in self.rows.items()}
        labels = self.labels[index]
        if asked is not None:
            asked = asked.to(device)
            labels = torch.full_like(labels, UNSCORED).index_copy(0, asked, labels[asked])
        return Batch(rows, layouts, self.speaker[index], labels, asked)

    def class_weight(self) -> Tensor:
        """One over each class's share of the training part, (C,), as SDT's code weighs (R11, R20)."""
        labels = self.labels[torch.cat(self.units["train"])]
        counts = torch.bincount(labels[labels >= 0], minlength=len(self.classes)).clamp(min=1)
        return counts.sum() / counts.float()


class Sequences:
    """The sequences of a part by number, on the data's device: batches without a word from the CPU.

    turns: utterances of each.  order: their numbers by length.  real: (N,), the row of each utterance of the
    part in the `Grid` of all of them in that order; None at frame level.
    """

    def __init__(self, data: Dataset, units: list[Tensor]):
        self.at_frames, self.turns, device = data.at_frames, [len(unit) for unit in units], data.labels.device
        self.order = sorted(range(len(units)), key=self.turns.__getitem__)
        own = torch.cat(units).to(device)  # the utterances of all units, one after the other
        self.labels, self.speaker, lengths = data.labels[own], data.speaker[own], torch.tensor(self.turns)
        if data.at_frames:
            framed = {m: data.framed(m) for m in data.features}
            self.rows = {m: rows for m, (rows, _) in framed.items()}
            starts = {m: (n.cumsum(0) - n)[torch.cat(units)] for m, (_, n) in framed.items()}
            lengths, self.real = {m: n[torch.cat(units)] for m, (_, n) in framed.items()}, None
        else:
            self.rows, start = {m: rows[own] for m, rows in data.rows.items()}, lengths.cumsum(0) - lengths
            sequence, position = Grid.rows_of(self.sizes(len(units))["text"])
            number = torch.tensor(self.order)[sequence]
            at, there = start[number] + position, (position < lengths[number]).nonzero()[:, 0]
            self.real = there[at[there].argsort()].to(device)
            starts, lengths = dict.fromkeys(data.rows, start), dict.fromkeys(data.rows, lengths)
        self.longest = {m: int(n.max()) for m, n in lengths.items()}
        self.starts, self.lengths = ({m: x.to(device) for m, x in some.items()} for some in (starts, lengths))

    def sizes(self, count: int) -> dict[str, list[tuple[int, int]]]:
        """Per modality, the pieces of a `Grid` that holds any `count` sequences in order of length.

        The k-th shortest of them is no longer than the k-th of the longest `count`.
        """
        if self.at_frames:
            return {m: [(count, longest)] for m, longest in self.longest.items()}
        most = sorted(self.turns)[-count:]
        pieces = [most[i : i + PIECE["cuda"]] for i in range(0, count, PIECE["cuda"])]
        return {m: [(len(piece), piece[-1]) for piece in pieces] for m in self.rows}

    def batch(self, units: Tensor) -> dict:
        """What a `Batch` is made of, for (..., B) sequences by number, in order of length."""
        rows, lengths = {}, {m: n[units] for m, n in self.lengths.items()}
        for m, sizes in self.sizes(units.shape[-1]).items():
            sequence, position = Grid.rows_of(sizes, units.device)
            at = (self.starts[m][units][..., sequence] + position).clamp(max=len(self.rows[m]) - 1)
            rows[m] = self.rows[m][at]
        if self.at_frames:
            at, labels = units, self.labels[units]
        else:
            labels = torch.where(position < lengths["text"][..., sequence], self.labels[at], UNSCORED)
        return {"rows": rows, "lengths": lengths, "speaker": self.speaker[at], "labels": labels}
