"""LPGNet, section 3 of the paper, its equations in order.

Shapes, here and in every docstring below:
    B  sequences in a batch            d  hidden size (`LPGNetConfig.hidden`)
    U  positions, padded               C  emotion classes
    N  real positions of all B         F  feature size of a modality
A sequence is a dialogue and a position an utterance; at frame level a sequence is an utterance and a position
a token or a frame.  Linear maps work on the N real rows alone; padding exists only inside attention, and
there only where sequences share a product (on a GPU).
Where the paper leaves a choice open, the line that takes it begins with "Reading".
"""

import math
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpgnet.config import LPGNetConfig

BLOCK = 128  # queries whose attention weights are formed at once
PIECE = {"cpu": 1, "cuda": 8}  # sequences padded to one length inside attention; measured in `make bench`
MODALITY = {"t": "text", "a": "audio"}  # the letters of a path's name


class Layout:
    """Where N packed rows stand in B sequences; rows go sequence by sequence, in order."""

    def __init__(self, lengths: Tensor):
        """lengths: (B,) integers, each at least 1."""
        if lengths.ndim != 1 or lengths.numel() == 0 or int(lengths.min()) < 1:
            raise ValueError(f"lengths are {lengths.tolist()}: want at least one sequence, none empty")
        self.lengths, self.counts = lengths, lengths.tolist()
        positions = torch.arange(max(self.counts), device=lengths.device)
        self.valid = positions < lengths[:, None]  # (B, U), True where real
        sequences = torch.arange(len(lengths), device=lengths.device)
        self.sequence = sequences.repeat_interleave(lengths)  # (N,)
        # (N,), where each row stands in B x U; B x U itself is nowhere (`lpgnet.runs.seeds` fills up so).
        self.place = self.valid.flatten().nonzero()[:, 0]
        self.alone = len(lengths) == 1
        size = PIECE[lengths.device.type]
        self.pieces = [Layout(part) for part in lengths.split(size)] if len(lengths) > size else [self]

    @property
    def mask(self) -> Tensor | None:
        """(B, U), True where real; None where one sequence stands alone, so nothing is padded."""
        return None if self.alone else self.valid

    def pad(self, rows: Tensor) -> Tensor:
        """(N, d) -> (B, U, d), zero where nothing is real."""
        if len(rows) != len(self.sequence):
            raise ValueError(f"{len(rows)} rows for {len(self.sequence)} real positions")
        padded = rows.new_zeros(self.valid.numel() + 1, rows.shape[-1]).index_copy(0, self.place, rows)
        return padded[:-1].unflatten(0, self.valid.shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """(B, U, d) -> (N, d): the real positions."""
        return padded.flatten(0, 1).index_select(0, self.place.clamp(max=self.valid.numel() - 1))

    def cut(self, rows: Tensor) -> list[Tensor]:
        """(N, d) -> per piece what attention reads: (U, d) of one sequence, (B, U, d) of several, padded."""
        parts = rows.split([len(piece.place) for piece in self.pieces])
        pairs = zip(self.pieces, parts, strict=True)
        return [part if piece.alone else piece.pad(part) for piece, part in pairs]

    def mean(self, rows: Tensor) -> Tensor:
        """(N, d) -> (B, d), over each sequence's real positions."""
        total = rows.new_zeros(len(self.lengths), rows.shape[-1]).index_add(0, self.sequence, rows)
        return total / self.lengths[:, None].to(rows.dtype)


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


@dataclass
class Output:
    """logits: one row of C per utterance.  students: the same per modality (training only).

    modality_weight: per modality, how much Eq. (14) takes of it, averaged over the d features.
    """

    logits: Tensor
    students: dict[str, Tensor] = field(default_factory=dict)
    modality_weight: dict[str, Tensor] = field(default_factory=dict)

    def at(self, rows: Tensor) -> "Output":
        """The same of some rows."""
        parts = ({m: x[rows] for m, x in part.items()} for part in (self.students, self.modality_weight))
        return Output(self.logits[rows], *parts)


class LocalEncoding(nn.Module):
    """X' = Conv1D(X), Eq. (2).

    Reading R1: kernel 1, so "adjacent utterances" don't reach each other here; with bias.
    """

    def __init__(self, features: int, hidden: int, kernel: int):
        super().__init__()
        self.reach = kernel // 2
        self.project = nn.Linear(kernel * features, hidden)

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """(N, F) -> (N, d)."""
        if self.reach:
            padded = nn.functional.pad(layout.pad(rows), (0, 0, self.reach, self.reach))
            length = layout.valid.shape[1]
            shifted = [padded[:, i : i + length] for i in range(2 * self.reach + 1)]
            rows = layout.unpad(torch.cat(shifted, dim=-1))
        return self.project(rows)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax(Q K^T / sqrt(d)) over real keys, Eqs. (3)-(5): (..., Uq, d), (..., Uk, d) -> (..., Uq, Uk).

    mask: (..., Uk), True where a key is real; None: all are.
    """
    if mask is not None and mask.shape != key.shape[:-1]:
        raise ValueError(f"mask is {tuple(mask.shape)}, keys are {tuple(key.shape)}: want (..., Uk)")
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # Eq. (3)
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None, :], -1e9)  # Eq. (4)
    return scores.softmax(dim=-1)  # Eq. (5)


def by_block(attend, query: Tensor, real: Tensor | None) -> list[Tensor]:
    """attend(query, real) for `BLOCK` queries of (..., Uq, d), (..., Uq) at a time.

    The weights of a block are formed again in the backward pass and not kept, so that a frame sequence
    of U needs memory for BLOCK x U weights and not for U x U.
    """
    queries = query.split(BLOCK, dim=-2)
    if len(queries) == 1:
        return [attend(query, real)]
    reals = [None] * len(queries) if real is None else real.split(BLOCK, dim=-1)
    options = {"use_reentrant": False, "preserve_rng_state": False}  # no dropout within
    return [checkpoint(attend, *block, **options) for block in zip(queries, reals, strict=True)]


class Attention(nn.Module):
    """One of the four parallel paths of section 3.3 (2), up to the mean of Eq. (6).

    Reading R2: one head and no Q/K/V maps (`projections` learns them).
    Reading R3: Eq. (6)'s mean runs over the real queries of a sequence: one context vector per
    sequence and path.  What follows needs only that mean, and mean_i sum_j A_ij v_j =
    sum_j (mean_i A_ij) v_j, so the (U, d) product is not formed.  `context="position"` skips the mean.
    """

    def __init__(self, hidden: int, projections: bool, context: str):
        super().__init__()
        maps = [nn.Linear(hidden, hidden, bias=False) for _ in range(3)] if projections else []
        self.maps = nn.ModuleList(maps)
        self.averaged = context == "dialogue"

    def forward(self, query: Tensor, key: Tensor, asks: Layout, answers: Layout) -> Tensor:
        """One piece, as `Layout.cut` gives it: (Uq, d), (Uk, d) or padded -> (B, d), unaveraged (Nq, d)."""
        value = key
        if self.maps:
            query, key, value = (project(x) for project, x in zip(self.maps, (query, key, key), strict=True))

        def rows(some: Tensor, real: Tensor | None) -> Tensor:  # (..., block, d)
            return attention_weights(some, key, answers.mask) @ value

        def total(some: Tensor, real: Tensor | None) -> Tensor:  # (..., 1, Uk)
            weights = attention_weights(some, key, answers.mask)
            return (weights if real is None else weights * real[..., None]).sum(dim=-2, keepdim=True)

        if not self.averaged:
            attended = torch.cat(by_block(rows, query, asks.mask), dim=-2)
            return attended if asks.alone else asks.unpad(attended)
        totals = reduce(torch.add, by_block(total, query, asks.mask))
        return (totals @ value).flatten(0, -2) / asks.lengths[:, None]  # Mean(A) of Eq. (6)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm in single precision, also where matrix products are in bfloat16."""

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows.float())


def global_compression(hidden: int) -> nn.Module:
    """The Conv2D block of Eq. (6) on rows of d: 1x1 convolution, batch norm, LeakyReLU.

    Reading R4: per path its own; rows are real sequences only, so padding never enters the batch
    statistics.  A 1x1 convolution of one position is a linear map; the norm would subtract its bias.
    """
    return nn.Sequential(nn.Linear(hidden, hidden, bias=False), BatchNorm(hidden), nn.LeakyReLU())


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
        return len(layout.place if self.per == "utterance" else layout.lengths), self.size

    def draw(self, layout: Layout, generator: torch.Generator) -> Tensor:
        """A mask of 0 or 1 / (1 - p)."""
        draws = torch.rand(self.shape(layout), device=layout.valid.device, generator=generator)
        return draws.ge_(self.p).div_(1 - self.p)  # four times as fast as bernoulli_ on a CPU

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.mask is not None:
            return x * self.mask
        return nn.functional.dropout(x, self.p, self.training)


def position_wise_ffn(hidden: int, ratio: int, dropout: float) -> nn.Module:
    """W2(Dropout(GELU(W1 LayerNorm(x)))), Eq. (7).

    Reading R5: d_ff = 2d and one dropout.  Reading R22: no biases, as none are printed.
    """
    return nn.Sequential(
        nn.LayerNorm(hidden),
        nn.Linear(hidden, ratio * hidden, bias=False),
        nn.GELU(),
        Dropout(dropout, ratio * hidden, "dialogue"),
        nn.Linear(ratio * hidden, hidden, bias=False),
    )


def mix(gate: nn.Module, text: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """F_final of Eq. (14) and text's weight in it, both (N, d); audio's is one less that.

    The softmax of two numbers is the sigmoid of their difference, and the gate W of Eq. (13) is linear
    without bias, so W is applied once, to the difference.
    """
    difference = text - audio
    alpha = gate(difference).sigmoid_()  # Eq. (13)
    return torch.addcmul(audio, alpha, difference), alpha  # Eq. (14): alpha text + (1 - alpha) audio


class LPGNet(nn.Module):
    """The whole model: LPIA (3.3), dual-gated fusion (3.4), classifier (3.5), students (3.6)."""

    def __init__(self, config: LPGNetConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        """sizes: F per modality.  speakers: how many there are; read only if the config wants them."""
        super().__init__()
        self.config, d = config, config.hidden
        used = {MODALITY[letter] for path in config.paths for letter in path}
        self.encode = nn.ModuleDict(
            {m: LocalEncoding(sizes[m], d, config.kernel) for m in sizes if m in used}
        )
        self.speaker = nn.Embedding(speakers, d) if config.speakers else None
        self.attend = nn.ModuleDict(
            {p: Attention(d, config.projections, config.context) for p in config.paths}
        )
        self.compress = nn.ModuleDict({p: global_compression(d) for p in config.paths})
        # Reading R22: Eq. (7)'s FFN and Eq. (9)'s gate belong to their path (`shared`: one for all).
        own = ("all",) if config.shared else config.paths
        self.ffn = nn.ModuleDict(
            {p: position_wise_ffn(d, config.ffn, config.dropout) for p in own if config.ffn}
        )
        gates = own if config.fusion == "gated" else ()
        self.unimodal_gate = nn.ModuleDict({p: nn.Linear(d, d, bias=False) for p in gates})

        # Reading R7: literally X_at (query audio, keys text) joins T_fused; "query" is as in SDT.
        side = 1 if config.branch == "key" else 0
        self.branches = {
            MODALITY[m]: [p for p in config.paths if p[side] == m]
            for m in MODALITY
            if any(p[side] == m for p in config.paths)
        }
        self.merge = nn.ModuleDict({m: nn.Linear(len(paths) * d, d) for m, paths in self.branches.items()})
        both = len(self.branches) > 1
        self.multimodal_gate = nn.Linear(d, d, bias=False) if both and config.fusion == "gated" else None
        self.project = nn.Linear(2 * d, d) if both and config.fusion == "concatenated" else None
        self.classify = nn.Linear(d, classes)
        # A single modality would be its own teacher, so it has no student (Reading R17).
        self.student = nn.ModuleDict({m: nn.Linear(d, classes) for m in (self.branches if both else ())})

    def forward(self, batch: Batch) -> Output:
        """Logits, students' logits and modality weights, one row per utterance."""
        outputs = self.interact(batch)
        fused, layout = self.merge_branches(outputs, batch.layouts)
        final, weight = self.fuse(fused)
        if layout is not None:  # the literal frame level pools last
            final, fused = layout.mean(final), {m: layout.mean(x) for m, x in fused.items()}
            weight = {m: layout.mean(w[:, None])[:, 0] for m, w in weight.items()}
        logits = self.classify(final)  # Eq. (15); Eq. (16)'s softmax is in the loss
        # Reading R9: H'_m of Eq. (18) is T_fused, A_fused.
        students = {m: head(fused[m].relu()) for m, head in self.student.items()}  # Eq. (18)
        return Output(logits, students, weight)

    def interact(self, batch: Batch) -> dict[str, Tensor]:
        """X_final of Eq. (8) for every path: (Nq, d), in its query's layout."""
        x = {m: encode(batch.rows[m], batch.layouts[m]) for m, encode in self.encode.items()}
        if self.speaker is not None:
            x = {m: rows + self.speaker(batch.speaker) for m, rows in x.items()}
        padded = {m: batch.layouts[m].cut(rows) for m, rows in x.items()}
        outputs = {}
        for path, attend in self.attend.items():
            query, key = MODALITY[path[0]], MODALITY[path[1]]
            asks, answers = batch.layouts[query], batch.layouts[key]
            pieces = zip(padded[query], padded[key], asks.pieces, answers.pieces, strict=True)
            context = self.compress[path](torch.cat([attend(*piece) for piece in pieces]))  # Eq. (6)
            if self.ffn:
                context = context + self.ffn["all" if self.config.shared else path](context)  # (7)
            if self.config.context == "dialogue":
                context = context.index_select(0, asks.sequence)  # "broadcast back to the sequence dimension"
            outputs[path] = context.add_(x[query])  # Eq. (8); Reading R6: Q is X' of the query modality
        return outputs

    def merge_branches(
        self, outputs: dict[str, Tensor], layouts: dict[str, Layout]
    ) -> tuple[dict[str, Tensor], Layout | None]:
        """T_fused and A_fused, Eqs. (9)-(12), and the layout that is still to be pooled, if any.

        Reading R21: at frame level each path's output is averaged over its query's real positions
        first; `pool="position"` goes on position by position over either mask instead.
        """
        layout = None
        if self.config.pool == "path":
            outputs = {p: layouts[MODALITY[p[0]]].mean(x) for p, x in outputs.items()}
        elif self.config.pool == "position":
            layout = Layout(torch.stack([x.lengths for x in layouts.values()]).amax(dim=0))
            outputs = {p: _moved(x, layouts[MODALITY[p[0]]], layout) for p, x in outputs.items()}
        if self.unimodal_gate:
            outputs = {p: self._gate(p, x) for p, x in outputs.items()}  # Eqs. (9)-(11)
        fused = {
            m: self.merge[m](torch.cat([outputs[p] for p in paths], dim=-1))  # Eq. (12)
            for m, paths in self.branches.items()
        }
        return fused, layout

    def _gate(self, path: str, hidden: Tensor) -> Tensor:
        """Z * H with Z = sigmoid(W_g H), Eq. (9); in place, since a new (N, d) costs as much as its sum."""
        return self.unimodal_gate["all" if self.config.shared else path](hidden).sigmoid_() * hidden

    def fuse(self, fused: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """F_final of Eq. (14) and the weight of each modality in it.

        Reading R8: Eq. (13)'s softmax runs across the two modalities, per feature, with one shared W;
        `softmax="feature"` is the literal one, over d for each modality alone.
        Reading R16: without gates the two are averaged, or concatenated and projected.
        """
        parts = list(fused.values())
        if self.project is not None:
            return self.project(torch.cat(parts, dim=-1)), {}
        if self.multimodal_gate is None:
            return torch.stack(parts).mean(dim=0), {}
        if self.config.softmax == "modality":
            final, alpha = mix(self.multimodal_gate, *parts)
            text = alpha.mean(dim=-1)
            return final, dict(zip(fused, (text, 1 - text), strict=True))
        alphas = [self.multimodal_gate(x).softmax(dim=-1) for x in parts]  # Eq. (13), literally
        final = alphas[0] * parts[0] + alphas[1] * parts[1]
        return final, {m: alpha.mean(dim=-1) for m, alpha in zip(fused, alphas, strict=True)}


def _moved(rows: Tensor, old: Layout, new: Layout) -> Tensor:
    """Rows of one layout in a longer one of the same sequences, zero where the old has none."""
    missing = new.valid.shape[1] - old.valid.shape[1]
    return new.unpad(nn.functional.pad(old.pad(rows), (0, 0, 0, missing)))
