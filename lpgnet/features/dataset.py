"""What a run reads: features, labels and speakers of one fold, standardised on its training part."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpgnet.config import MODALITIES, DataConfig
from lpgnet.features.store import Features, utterances
from lpgnet.labels import PROTOCOLS, Fold, labelled
from lpgnet.model import Batch, Layout

FLAT = 1e-6  # a column whose deviation is below this part of its size carries nothing


@dataclass(frozen=True)
class Scaler:
    """Reading R24: zero mean and unit deviation per column, from the training part alone."""

    mean: Tensor
    scale: Tensor

    @staticmethod
    def fit(rows: Tensor) -> "Scaler":
        """rows: (N, F).  A constant column becomes zero."""
        rows = rows.double()
        mean, std = rows.mean(0), rows.std(0, correction=0)
        flat = std <= FLAT * (1 + rows.abs().amax(0))
        return Scaler(mean.float(), torch.where(flat, 0.0, 1 / std).float())

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) * self.scale


class Dataset:
    """One fold's utterances, in order of speech, and the batches made of them.

    units: per part ("train", "validation", "test"), what a sequence is made of: the row numbers of a
    dialogue, or of one utterance at frame level.
    """

    def __init__(
        self, folder: Path, config: DataConfig, protocol: str, corpus: str, fold: Fold, frames: bool
    ):
        table = utterances(folder)
        table = table.assign(label=labelled(table, protocol, corpus))
        if config.context == "labelled":  # Reading R19
            table = table[table["label"].notna()]
        if config.order == "transcript":  # Reading R27: the table itself is in order of time
            table = table.sort_values(["session", "dialogue", "line"])
        self.table = table.reset_index(names="place")
        self.classes = PROTOCOLS[protocol].classes
        number = {name: i for i, name in enumerate(self.classes)}
        self.labels = torch.tensor([number.get(label, -1) for label in self.table["label"]])
        self.speaker_names = sorted(self.table["party"].unique())
        self.speaker = torch.tensor([self.speaker_names.index(g) for g in self.table["party"]])
        self.at_frames, self.most = frames, config.frames
        self.units = {part: self._units(getattr(fold, part)) for part in ("train", "validation", "test")}
        features = {m: Features(folder, m) for m in MODALITIES}
        read = self._frames if frames else self._vectors
        self.rows, self.scalers = {}, {}
        for m in MODALITIES:
            self.rows[m] = read(features[m])
            self.scalers[m] = Scaler.fit(self._training_rows(m))
        if config.standardise:
            self.rows = {m: self._scaled(m) for m in MODALITIES}
        self.sizes = {m: (rows[0] if frames else rows).shape[-1] for m, rows in self.rows.items()}

    def _units(self, dialogues: tuple[str, ...]) -> list[Tensor]:
        groups = self.table.groupby("dialogue").indices
        rows = [torch.from_numpy(groups[d]) for d in dialogues if d in groups]
        if not self.at_frames:
            return rows
        return [row for dialogue in rows for row in dialogue.split(1) if self.labels[row] >= 0]

    def _vectors(self, features: Features) -> Tensor:
        return features.vectors()[self.table["place"].tolist()]

    def _frames(self, features: Features) -> list[Tensor]:
        return [features.frames(i, self.most).float() for i in self.table["place"]]

    def _training_rows(self, modality: str) -> Tensor:
        index = torch.cat(self.units["train"])
        rows = self.rows[modality]
        return torch.cat([rows[i] for i in index]) if self.at_frames else rows[index]

    def _scaled(self, modality: str):
        scale, rows = self.scalers[modality], self.rows[modality]
        return [scale(frames) for frames in rows] if self.at_frames else scale(rows)

    def to(self, device: torch.device) -> "Dataset":
        """Keep everything on `device` from now on."""
        for m, rows in self.rows.items():
            self.rows[m] = [r.to(device) for r in rows] if self.at_frames else rows.to(device)
        self.labels, self.speaker = self.labels.to(device), self.speaker.to(device)
        return self

    def batch(self, units: list[Tensor]) -> Batch:
        """One batch of sequences, given their row numbers."""
        index = torch.cat(units)
        device = self.labels.device
        if self.at_frames:
            picked = {m: [self.rows[m][i] for i in index.tolist()] for m in MODALITIES}
            lengths = {m: [len(f) for f in frames] for m, frames in picked.items()}
            layouts = {m: Layout(torch.tensor(n, device=device)) for m, n in lengths.items()}
            rows = {m: torch.cat(frames) for m, frames in picked.items()}
        else:
            layout = Layout(torch.tensor([len(u) for u in units], device=device))
            layouts = dict.fromkeys(MODALITIES, layout)
            rows = {m: self.rows[m][index] for m in MODALITIES}
        return Batch(rows, layouts, self.speaker[index], self.labels[index])

    def class_weight(self) -> Tensor:
        """One over each class's share of the training part, (C,), as SDT's code weighs (R11, R20)."""
        labels = self.labels[torch.cat(self.units["train"])]
        counts = torch.bincount(labels[labels >= 0], minlength=len(self.classes)).clamp(min=1)
        return counts.sum() / counts.float()
