"""LPGNet's weights without padding: what training runs.  A test holds it equal to `lpgnet.model`.

Letters as there, and
    N  real positions of all B sequences, packed row after row
Linear maps work on the N rows alone; padding exists only inside attention, and there only where sequences
share a product (on a GPU).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpgnet.config import LPGNetConfig
from lpgnet.model import MODALITY, LPGNet, Output, attention_weights

BLOCK = {"cpu": 128, "cuda": 1024}  # queries whose attention weights are formed at once
PIECE = {"cpu": 1, "cuda": 8}  # sequences padded to one length inside attention; measured in `make bench`


class Layout:
    """Where N packed rows stand in B sequences; rows go sequence by sequence, in order."""

    def __init__(self, lengths: Tensor, device: torch.device | str = "cpu"):
        """lengths: (B,) integers, each at least 1, on the CPU: counting on a GPU would wait for it."""
        if lengths.ndim != 1 or lengths.numel() == 0 or int(lengths.min()) < 1:
            raise ValueError(f"lengths are {lengths.tolist()}: want at least one sequence, none empty")
        self.counts, self.device = lengths.tolist(), torch.device(device)
        valid = torch.arange(max(self.counts)) < lengths[:, None]
        self.lengths, self.valid = lengths.to(device), valid.to(device)  # (B, U), True where real
        self.sequence = torch.arange(len(lengths)).repeat_interleave(lengths).to(device)  # (N,)
        self.place = valid.flatten().nonzero()[:, 0].to(device)  # (N,), in B x U
        self.position = self.place % valid.shape[1]  # (N,), in its sequence
        self.alone = len(lengths) == 1
        parts = lengths.split(PIECE[self.device.type])
        self.pieces = [Layout(part, device) for part in parts] if len(parts) > 1 else [self]

    @property
    def mask(self) -> Tensor | None:
        """(B, U), True where real; None where one sequence stands alone, so nothing is padded."""
        return None if self.alone else self.valid

    def pad(self, rows: Tensor) -> Tensor:
        """(N, d) -> (B, U, d), zero where nothing is real."""
        if len(rows) != len(self.sequence):
            raise ValueError(f"{len(rows)} rows for {len(self.sequence)} real positions")
        padded = rows.new_zeros(self.valid.numel(), rows.shape[-1]).index_copy(0, self.place, rows)
        return padded.unflatten(0, self.valid.shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """(B, U, d) -> (N, d): the real positions."""
        return padded.flatten(0, 1).index_select(0, self.place)

    def split(self, rows: Tensor) -> list[Tensor]:
        """(N, d) -> per piece its rows."""
        return rows.split([len(piece.place) for piece in self.pieces])

    def cut(self, rows: Tensor) -> list[Tensor]:
        """(N, d) -> per piece what attention reads: (U, d) of one sequence, (B, U, d) of several, padded."""
        pairs = zip(self.pieces, self.split(rows), strict=True)
        return [part if piece.alone else piece.pad(part) for piece, part in pairs]

    def spread(self, rows: Tensor) -> Tensor:
        """(B, d) -> (N, d): a sequence's row at each of its positions."""
        return rows.index_select(0, self.sequence)

    def mean(self, rows: Tensor) -> Tensor:
        """(N, d) -> (B, d), over each sequence's real positions."""
        total = rows.new_zeros(len(self.lengths), rows.shape[-1]).index_add(0, self.sequence, rows)
        return total / self.lengths[:, None].to(rows.dtype)


class Grid(Layout):
    """Pieces of sequences padded to a given length; padded positions have rows too, so shapes stay.

    What stands in padded rows is nobody's: attention and means leave them out, labels there are not scored.
    """

    def __init__(self, lengths: Tensor, sizes: list[tuple[int, int]]):
        """lengths: (B,), on any device.  sizes: of each piece its number of sequences, and U."""
        self.lengths, self.alone = lengths, False
        self.valid = torch.arange(max(u for _, u in sizes), device=lengths.device) < lengths[:, None]
        if len(sizes) == 1:
            self.pieces = [self]
        else:
            parts = lengths.split([count for count, _ in sizes])
            self.pieces = [Grid(part, [size]) for part, size in zip(parts, sizes, strict=True)]
        self.sequence, self.position = self.rows_of(sizes, lengths.device)

    @staticmethod
    def rows_of(sizes: list[tuple[int, int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Of each row its sequence and its position, (N,), made on the device: a graph records no copy."""
        number = torch.arange(sum(count for count, _ in sizes), device=device)
        sequences = number.split([count for count, _ in sizes])
        position = torch.arange(max(u for _, u in sizes), device=device)
        pairs = [
            torch.meshgrid(some, position[:u], indexing="ij") for some, (_, u) in zip(sequences, sizes, strict=True)
        ]
        return tuple(torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1))

    def pad(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, self.valid.shape) * self.valid[..., None]

    def unpad(self, padded: Tensor) -> Tensor:
        return padded.flatten(0, 1)

    def split(self, rows: Tensor) -> list[Tensor]:
        return rows.split([piece.valid.numel() for piece in self.pieces])

    def cut(self, rows: Tensor) -> list[Tensor]:
        pairs = zip(self.split(rows), self.pieces, strict=True)
        return [part.unflatten(0, piece.valid.shape) for part, piece in pairs]

    def spread(self, rows: Tensor) -> Tensor:
        pairs = zip(rows.split([len(piece.lengths) for piece in self.pieces]), self.pieces, strict=True)
        spread = [part[:, None].expand(-1, piece.valid.shape[1], -1).flatten(0, 1) for part, piece in pairs]
        return torch.cat(spread)

    def mean(self, rows: Tensor) -> Tensor:
        pairs = zip(self.cut(rows), self.pieces, strict=True)
        total = torch.cat([piece.valid[:, None].to(rows.dtype) @ part for part, piece in pairs])
        return total[:, 0] / self.lengths[:, None].to(rows.dtype)


@dataclass
class Batch:
    """What a model reads: one entry per modality, and what belongs to each utterance.

    rows: (N, F) per modality.  layouts: the same object for both at utterance level.
    speaker, labels: one per utterance, in order; label -1 is an utterance that is not scored.
    asked: the rows whose output is wanted, where a sequence is what one utterance may read; None: all.
    """

    rows: dict[str, Tensor]
    layouts: dict[str, Layout]
    speaker: Tensor
    labels: Tensor
    asked: Tensor | None = None


class BatchNorm(nn.BatchNorm1d):
    """Batch norm in single precision, also where matrix products are in bfloat16."""

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows.float())


class Dropout(nn.Module):
    """Dropout with a mask drawn beforehand (`draw`), so that a run's masks come from its own generator.

    per: what has a row of its own in the mask: "utterance" (N, size) or "dialogue" (B, size).
    Without a mask it is torch's dropout.
    """

    def __init__(self, p: float, size: int, per: str):
        super().__init__()
        self.p, self.size, self.per = p, size, per
        self.register_buffer("mask", None, persistent=False)

    def shape(self, layout: Layout) -> tuple[int, ...]:
        """Of the mask for a batch at utterance level."""
        return len(layout.position if self.per == "utterance" else layout.lengths), self.size

    def mask_of(self, draws: Tensor) -> Tensor:
        """Uniform numbers made into a mask of 0 or 1 / (1 - p), in place."""
        return draws.ge_(self.p).div_(1 - self.p)  # four times as fast as bernoulli_ on a CPU

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.mask is not None:
            return x * self.mask
        return nn.functional.dropout(x, self.p, self.training)


def by_block(attend: Callable, query: Tensor, real: Tensor | None) -> list[Tensor]:
    """attend(query, real) for `BLOCK` queries of (..., Uq, d), (..., Uq) at a time.

    The weights of a block are formed again in the backward pass and not kept, so that a frame sequence
    of U needs memory for BLOCK x U weights and not for U x U.
    """
    block = BLOCK["cuda" if query.is_cuda else "cpu"]
    queries = query.split(block, dim=-2)
    if len(queries) == 1:
        return [attend(query, real)]
    reals = [None] * len(queries) if real is None else real.split(block, dim=-1)
    options = {"use_reentrant": False, "preserve_rng_state": False}  # no dropout within
    return [checkpoint(attend, *block, **options) for block in zip(queries, reals, strict=True)]


def mix(gate: nn.Module, fused: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """F_final of Eq. (14), (N, d), and the weight of each modality in it, (N,).

    The softmax of two numbers is the sigmoid of their difference, and the gate W of Eq. (13) is linear
    without bias, so W is applied once, to the difference.
    """
    text, audio = fused.values()
    difference = text - audio
    alpha = gate(difference).sigmoid_()  # Eq. (13)
    final = torch.addcmul(audio, alpha, difference)  # Eq. (14): alpha text + (1 - alpha) audio
    weight = alpha.mean(dim=-1)
    return final, dict(zip(fused, (weight, 1 - weight), strict=True))


class Packed(LPGNet):
    """The constructor, the weights and the equations of `LPGNet`; reads a `Batch`, gives rows of N."""

    def __init__(self, config: LPGNetConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        super().__init__(config, sizes, classes, speakers)
        for block in self.compress.values():
            block[1] = BatchNorm(config.hidden)
        for ffn in self.ffn.values():
            ffn[3] = Dropout(config.dropout, ffn[4].in_features, "dialogue")

    def forward(self, batch: Batch) -> Output:
        x = {m: self.encoded(m, batch.rows[m], batch.layouts[m]) for m in self.encode}  # Eq. (2)
        if self.speaker is not None:
            x = {m: rows + self.speaker(batch.speaker) for m, rows in x.items()}
        cut = {m: batch.layouts[m].cut(rows) for m, rows in x.items()}
        hidden = {p: self.path(p, x, cut, batch.layouts) for p in self.config.paths}  # Eqs. (3)-(8)
        layout, hidden = self.pooled_rows(hidden, x, batch.layouts)
        if self.unimodal_gate:  # Eqs. (9)-(11); in place, since a new (N, d) costs as much as its sum
            hidden = {p: self.unimodal_gate[self.own[p]](h).sigmoid_() * h for p, h in hidden.items()}
        fused = {m: self.merge[m](torch.cat([hidden[p] for p in ps], -1)) for m, ps in self.branches.items()}
        final, weight = self.fuse(fused)
        if layout is not None:  # the literal frame level pools last
            final, fused = layout.mean(final), {m: layout.mean(h) for m, h in fused.items()}
            weight = {m: layout.mean(w[:, None])[:, 0] for m, w in weight.items()}
        students = {m: head(fused[m].relu()) for m, head in self.student.items()}  # Eq. (18)
        return Output(self.classify(final), students, weight)  # Eq. (15)

    def encoded(self, modality: str, rows: Tensor, layout: Layout) -> Tensor:
        """X' of Eq. (2), (N, d)."""
        conv = self.encode[modality]
        if self.config.kernel == 1:
            return nn.functional.linear(rows, conv.weight[..., 0], conv.bias)
        pairs = zip(layout.pieces, layout.split(rows), strict=True)
        return torch.cat([piece.unpad(conv(piece.pad(part).mT).mT) for piece, part in pairs])

    def path(self, path: str, x: dict, cut: dict, layouts: dict[str, Layout]) -> Tensor:
        """X_final of Eq. (8), (Nq, d), in its query's layout.  cut: x as `Layout.cut` gives it.

        With `pool="path"` without X', (B, d), where that is the same at every position.
        """
        query, key = (MODALITY[letter] for letter in path)
        asks, answers = layouts[query], layouts[key]
        pieces = zip(cut[query], cut[key], asks.pieces, answers.pieces, strict=True)
        attended = torch.cat([self.attended(path, *piece) for piece in pieces])
        context = nn.Sequential.forward(self.compress[path], attended)  # Eq. (6): every row is real
        if self.ffn:
            context = context + self.ffn[self.own[path]](context)  # Eq. (7)
        if self.config.context == "dialogue":
            if self.config.pool == "path":
                return context  # `pooled_rows` adds the mean of X'
            context = asks.spread(context)
        return context.add_(x[query])  # Eq. (8)

    def attended(self, path: str, query: Tensor, key: Tensor, asks: Layout, answers: Layout) -> Tensor:
        """One piece, as `Layout.cut` gives it: (Uq, d), (Uk, d) or padded -> (B, d), unaveraged (Nq, d).

        Eq. (6) needs the mean alone, and mean_i sum_j A_ij v_j = sum_j (mean_i A_ij) v_j, so the (U, d)
        product is not formed.
        """
        value, averaged = key, self.config.context == "dialogue"
        if self.maps:
            query, key, value = (w(x) for w, x in zip(self.maps[path], (query, key, key), strict=True))

        def rows(some: Tensor, real: Tensor | None) -> Tensor:  # (..., block, d)
            return attention_weights(some, key, answers.mask) @ value

        def total(some: Tensor, real: Tensor | None) -> Tensor:  # (..., 1, Uk)
            weights = attention_weights(some, key, answers.mask)
            if real is None:
                return weights.sum(dim=-2, keepdim=True)
            return real[..., None, :].to(weights.dtype) @ weights

        if not averaged:
            attended = torch.cat(by_block(rows, query, asks.mask), dim=-2)
            return attended if asks.alone else asks.unpad(attended)
        totals = reduce(torch.add, by_block(total, query, asks.mask))
        return (totals @ value).flatten(0, -2) / asks.lengths[:, None]

    def pooled_rows(
        self, hidden: dict[str, Tensor], x: dict[str, Tensor], layouts: dict[str, Layout]
    ) -> tuple[Layout | None, dict[str, Tensor]]:
        """Frame level: each path's rows averaged (Reading R21), or moved to one layout that is still to be pooled."""
        if self.config.pool == "none":
            return None, hidden
        own = {p: layouts[MODALITY[p[0]]] for p in hidden}
        if self.config.pool == "path" and self.config.context == "dialogue":
            means = {m: layouts[m].mean(rows) for m, rows in x.items()}
            return None, {p: h + means[MODALITY[p[0]]] for p, h in hidden.items()}
        if self.config.pool == "path":
            return None, {p: own[p].mean(h) for p, h in hidden.items()}
        counts = torch.tensor([one.counts for one in layouts.values()])
        layout = Layout(counts.amax(dim=0), layouts["text"].device)
        return layout, {p: _moved(h, own[p], layout) for p, h in hidden.items()}

    def fuse(self, fused: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        if self.multimodal_gate is not None and self.config.softmax == "modality":
            return mix(self.multimodal_gate, fused)
        return super().fuse(fused)


def _moved(rows: Tensor, old: Layout, new: Layout) -> Tensor:
    """Rows of one layout in a longer one of the same sequences, zero where the old has none."""
    missing = new.valid.shape[1] - old.valid.shape[1]
    return new.unpad(nn.functional.pad(old.pad(rows), (0, 0, 0, missing)))
