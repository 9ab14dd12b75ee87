"""What LPGNet is compared with: a linear map, a bidirectional GRU, and SDT with text and audio (SDT*).

Letters as in `lpgnet.model`; each takes a `Batch` at utterance level and returns an `Output`.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lpgnet.config import BiGRUConfig, LinearConfig, SDTConfig
from lpgnet.model import MODALITY, Output, attention_weights
from lpgnet.runs.packed import Batch, Dropout, Layout, mix


class Linear(nn.Module):
    """One linear map of the concatenated features, no context (Reading R28)."""

    def __init__(self, config: LinearConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        super().__init__()
        self.modalities = config.modalities
        self.classify = nn.Linear(sum(sizes[m] for m in self.modalities), classes)

    def forward(self, batch: Batch) -> Output:
        return Output(self.classify(torch.cat([batch.rows[m] for m in self.modalities], dim=-1)))


class BiGRU(nn.Module):
    """A bidirectional GRU over a dialogue's concatenated features, then a linear map."""

    def __init__(self, config: BiGRUConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        super().__init__()
        self.gru = nn.GRU(sum(sizes.values()), config.hidden // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(2 * (config.hidden // 2), classes)

    def forward(self, batch: Batch) -> Output:
        layout = batch.layouts["text"]
        padded = layout.pad(torch.cat(list(batch.rows.values()), dim=-1))
        lengths = torch.tensor(layout.counts, device="cpu")
        packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return Output(self.classify(self.dropout(layout.unpad(states))))


class DropWeights(Dropout):
    """Dropout of attention weights: a mask (B, heads, U, U)."""

    def shape(self, layout: Layout) -> tuple[int, ...]:
        rows, longest = layout.valid.shape
        return rows, self.size, longest, longest

    def cut(self, layout: Layout) -> list[Callable[[Tensor], Tensor]]:
        """Per piece of a layout, what drops its weights."""
        if not self.training or self.mask is None:
            return [self] * len(layout.pieces)
        masks = self.mask.split([len(piece.lengths) for piece in layout.pieces])
        pairs = zip(layout.pieces, masks, strict=True)
        return [partial(_masked, mask[0] if piece.alone else mask) for piece, mask in pairs]


def _masked(mask: Tensor, weights: Tensor) -> Tensor:
    longest = weights.shape[-1]
    return weights * mask[..., :longest, :longest]


class Transformer(nn.Module):
    """One SDT path: multi-head attention and an FFN, one layer (SDT's published depth).

    Its FFN has d_ff = d, a residual inside, and the layer's only norm; the first layer of SDT
    does not normalise its input.
    """

    def __init__(self, config: SDTConfig):
        super().__init__()
        d = config.hidden
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.drop_weights = DropWeights(config.dropout, config.heads, "pair")
        self.drop_out, inside, outside = (Dropout(config.dropout, d, "utterance") for _ in range(3))
        self.ffn = nn.Sequential(
            nn.LayerNorm(d, eps=1e-6), nn.Linear(d, d), nn.GELU(), inside, nn.Linear(d, d), outside
        )

    def forward(self, query: Tensor, key: Tensor, layout: Layout) -> Tensor:
        """(N, d), (N, d) -> (N, d); queries attend to keys of their own dialogue."""
        parts = (layout.cut(rows) for rows in (self.query(query), self.key(key), self.value(key)))
        drops = self.drop_weights.cut(layout)
        pieces = zip(*parts, layout.pieces, drops, strict=True)
        rows = self.out(torch.cat([self._attend(*piece) for piece in pieces]))
        rows = self.drop_out(rows) + query
        return self.ffn(rows) + rows

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, layout: Layout, drop) -> Tensor:
        """A piece as `Layout.cut` gives it, (..., U, d) each -> (N, d), every head on its part of d."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for x in (query, key, value))
        mask = layout.mask if layout.alone else layout.mask[:, None].expand(-1, self.heads, -1)
        attended = (drop(attention_weights(q, k, mask)) @ v).transpose(-3, -2).flatten(-2)
        return attended if layout.alone else layout.unpad(attended)


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """The Transformer's position code: (N,) -> (N, size)."""
    steps = torch.arange(0, size, 2, device=positions.device)
    angles = positions[:, None] * torch.exp(-math.log(10000.0) * steps / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]


class SDT(nn.Module):
    """SDT (Ma et al. 2023) without its video: the paper's SDT*.

    Reading R20: speaker embedding, sinusoidal positions, four Transformer paths with the query
    naming the branch, bias-free input maps and gates, students ReLU, dropout, linear.
    """

    def __init__(self, config: SDTConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        super().__init__()
        d = config.hidden
        dropped = partial(Dropout, config.dropout, d, "utterance")
        self.encode = nn.ModuleDict({m: nn.Linear(f, d, bias=False) for m, f in sizes.items()})
        self.speaker = nn.Embedding(speakers, d) if config.speakers else None
        self.paths = nn.ModuleDict({q + k: Transformer(config) for q in "ta" for k in "ta"})
        self.unimodal_gate = nn.ModuleDict({p: nn.Linear(d, d, bias=False) for p in self.paths})
        self.merge = nn.ModuleDict({m: nn.Linear(2 * d, d) for m in sizes})
        self.multimodal_gate = nn.Linear(d, d, bias=False)
        self.classify = nn.Linear(d, classes)
        self.student = nn.ModuleDict({m: nn.Sequential(nn.ReLU(), dropped(), nn.Linear(d, classes)) for m in sizes})
        # What a path reads is dropped anew: the query of each, and the key where it is another modality.
        sides = [p + letter for p in self.paths for letter in dict.fromkeys(p)]
        self.drop = nn.ModuleDict({side: dropped() for side in sides})

    def forward(self, batch: Batch) -> Output:
        layout = batch.layouts["text"]
        placed = {}
        for m, encode in self.encode.items():
            rows = encode(batch.rows[m])
            rows = rows + sinusoids(layout.position, rows.shape[-1])
            if self.speaker is not None:
                rows = rows + self.speaker(batch.speaker)
            placed[m] = rows
        gated = {}
        for path, transform in self.paths.items():
            read = [self.drop[path + letter](placed[MODALITY[letter]]) for letter in dict.fromkeys(path)]
            hidden = transform(read[0], read[-1], layout)
            gated[path] = self.unimodal_gate[path](hidden).sigmoid_() * hidden
        fused = {MODALITY[q]: self.merge[MODALITY[q]](torch.cat([gated[q + k] for k in "ta"], dim=-1)) for q in "ta"}
        final, weight = mix(self.multimodal_gate, fused)
        students = {m: head(fused[m]) for m, head in self.student.items()}
        return Output(self.classify(final), students, weight)
