"""LPGNet, section 3 of the paper: its equations in order, one line each.

Shapes:
    B  sequences in a batch         d  hidden size (`LPGNetConfig.hidden`)
    U  positions, padded            C  emotion classes
`valid` is (B, U), True where a position is real.  A sequence is a dialogue and a position an utterance; at
frame level a sequence is an utterance and a position a token or a frame.  Where the paper leaves a choice
open, the line that takes it begins with "Reading"; the other choices are values of `LPGNetConfig`.

Training runs the same weights without padding (`lpgnet/runs/packed.py`); a test holds the two equal.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lpgnet.config import LPGNetConfig

MODALITY = {"t": "text", "a": "audio"}  # the letters of a path's name: query, then key and value


class Output(NamedTuple):
    """logits: (..., C).  students: the same per modality.

    modality_weight: per modality, how much Eq. (14) takes of it, averaged over the d features, (...).
    """

    logits: Tensor
    students: dict[str, Tensor] = {}  # noqa: RUF012  never written to
    modality_weight: dict[str, Tensor] = {}  # noqa: RUF012


def attention_weights(query: Tensor, key: Tensor, valid: Tensor | None = None) -> Tensor:
    """Softmax(Q K^T / sqrt(d)) over real keys: (..., Uq, d), (..., Uk, d) -> (..., Uq, Uk).

    valid: (..., Uk), True where a key is real; None: all are.
    """
    if valid is not None and valid.shape != key.shape[:-1]:
        raise ValueError(f"valid is {tuple(valid.shape)}, keys are {tuple(key.shape)}: want (..., Uk)")
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # Eq. (3)
    if valid is not None:
        scores = scores.masked_fill(~valid[..., None, :], -1e9)  # Eq. (4)
    return scores.softmax(dim=-1)  # Eq. (5)


def mean(x: Tensor, valid: Tensor) -> Tensor:
    """Over the real positions of a sequence: (B, U, d) -> (B, 1, d)."""
    return (x * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]


class GlobalCompression(nn.Sequential):
    """Conv2D of Eq. (6): 1x1 convolution, batch norm, LeakyReLU, on real rows alone.

    Reading R4: every path has its own; padding never enters the batch statistics.  A 1x1 convolution of one
    position is a linear map; the norm would subtract its bias.
    """

    def __init__(self, d: int):
        super().__init__(nn.Linear(d, d, bias=False), nn.BatchNorm1d(d), nn.LeakyReLU())

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: (B, U, d).  real: (B, U), which rows there are; the others stay zero."""
        return torch.zeros_like(x).index_put(real.nonzero(as_tuple=True), super().forward(x[real]))


def position_wise_ffn(d: int, ratio: int, dropout: float) -> nn.Sequential:
    """W2(Dropout(GELU(W1 LayerNorm(x)))), Eq. (7).

    Reading R5: d_ff = 2d and one dropout.  Reading R22: no biases, as none are printed.
    """
    return nn.Sequential(
        nn.LayerNorm(d),
        nn.Linear(d, ratio * d, bias=False),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(ratio * d, d, bias=False),
    )


class LPGNet(nn.Module):
    """LPIA (3.3), dual-gated fusion (3.4), classifier (3.5), students (3.6)."""

    def __init__(self, config: LPGNetConfig, sizes: dict[str, int], classes: int, speakers: int = 0):
        """sizes: F per modality.  speakers: how many there are; read only if the config wants them."""
        super().__init__()
        self.config, d, paths = config, config.hidden, config.paths
        used = [m for letter, m in MODALITY.items() if any(letter in path for path in paths)]
        # Reading R1: kernel 1, so "adjacent utterances" don't reach each other here; with bias.
        self.encode = nn.ModuleDict({m: nn.Conv1d(sizes[m], d, config.kernel, padding="same") for m in used})
        self.speaker = nn.Embedding(speakers, d) if config.speakers else None
        # Reading R2: one head and no Q, K, V maps (`projections` learns them).
        self.maps = nn.ModuleDict(
            {
                p: nn.ModuleList(nn.Linear(d, d, bias=False) for _ in "QKV")
                for p in (paths if config.projections else ())
            }
        )
        self.compress = nn.ModuleDict({p: GlobalCompression(d) for p in paths})
        # Reading R22: Eq. (7)'s FFN and Eq. (9)'s gate belong to their path (`shared`: one for all).
        self.own = {p: "all" if config.shared else p for p in paths}
        owners, gated = dict.fromkeys(self.own.values()), config.fusion == "gated"
        self.ffn = nn.ModuleDict({o: position_wise_ffn(d, config.ffn, config.dropout) for o in owners if config.ffn})
        self.unimodal_gate = nn.ModuleDict({o: nn.Linear(d, d, bias=False) for o in owners if gated})
        # Reading R7: literally X_at (query audio, key text) joins T_fused; "query" is as in SDT.
        side = 1 if config.branch == "key" else 0
        joined = {m: [p for p in paths if p[side] == letter] for letter, m in MODALITY.items()}
        self.branches = {m: some for m, some in joined.items() if some}
        self.merge = nn.ModuleDict({m: nn.Linear(len(b) * d, d) for m, b in self.branches.items()})
        both = len(self.branches) == 2
        self.multimodal_gate = nn.Linear(d, d, bias=False) if both and gated else None
        self.project = nn.Linear(2 * d, d) if both and config.fusion == "concatenated" else None
        self.classify = nn.Linear(d, classes)
        # Reading R17: a single modality would be its own teacher, so it has no student.
        self.student = nn.ModuleDict({m: nn.Linear(d, classes) for m in (self.branches if both else ())})

    def forward(self, rows: dict[str, Tensor], valid: dict[str, Tensor], speaker: Tensor | None = None) -> Output:
        """rows: (B, U, F) per modality.  speaker: (B, U).  Logits (B, U, C); at frame level (B, 1, C)."""
        x = {m: conv(rows[m].mT).mT for m, conv in self.encode.items()}  # X', Eq. (2)
        if self.speaker is not None:
            x = {m: part + self.speaker(speaker) for m, part in x.items()}
        hidden = {}
        for path in self.config.paths:
            (query, key), own = (MODALITY[letter] for letter in path), self.own[path]
            q, k, v = x[query], x[key], x[key]
            if self.maps:
                q, k, v = (w(part) for w, part in zip(self.maps[path], (q, k, v), strict=True))
            a_hat, real = attention_weights(q, k, valid[key]) @ v, valid[query]  # Eqs. (3)-(5)
            if self.config.context == "dialogue":
                # Reading R3: Eq. (6)'s mean runs over the real queries of a sequence, one vector per path.
                a_hat, real = mean(a_hat, real), real[:, :1] | True
            a_conv = self.compress[path](a_hat, real)  # Eq. (6)
            ffn = self.ffn[own](a_conv) if self.ffn else 0  # Eq. (7)
            # Reading R6: Q is X' of the query modality.  "Broadcast back to the sequence dimension."
            x_final = x[query] + a_conv + ffn  # Eq. (8)
            hidden[path] = self.pooled(x_final, valid[query])
        if self.unimodal_gate:  # Eqs. (9)-(11): Z = sigmoid(W_g H), Z * H
            hidden = {p: self.unimodal_gate[self.own[p]](h).sigmoid() * h for p, h in hidden.items()}
        fused = {  # T_fused, A_fused
            m: self.merge[m](torch.cat([hidden[p] for p in paths], dim=-1))  # Eq. (12)
            for m, paths in self.branches.items()
        }
        final, weight = self.fuse(fused)  # Eqs. (13), (14)
        if self.config.pool == "position":
            either = torch.stack(list(valid.values())).any(dim=0)
            final, fused = mean(final, either), {m: mean(h, either) for m, h in fused.items()}
            weight = {m: mean(w[..., None], either)[..., 0] for m, w in weight.items()}
        logits = self.classify(final)  # Eq. (15); the softmax of Eq. (16) is in the loss
        # Reading R9: H'_m is T_fused, A_fused.
        students = {m: head(fused[m].relu()) for m, head in self.student.items()}  # Eq. (18)
        return Output(logits, students, weight)

    def pooled(self, x: Tensor, valid: Tensor) -> Tensor:
        """What the gates read of a path: at utterance level all of it, (B, U, d).

        Reading R21: at frame level the mean over its query's real positions, (B, 1, d); `pool="position"`
        goes on position by position, zero where the query has none, and averages over either mask at the end.
        """
        if self.config.pool == "path":
            return mean(x, valid)
        return x * valid[..., None] if self.config.pool == "position" else x

    def fuse(self, fused: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """F_final of T_fused and A_fused, and the weight of each in it.

        Reading R16: without the gates the two are averaged, or concatenated and projected.
        """
        parts = list(fused.values())
        if self.project is not None:
            return self.project(torch.cat(parts, dim=-1)), {}
        if self.multimodal_gate is None:
            return torch.stack(parts).mean(dim=0), {}
        # Reading R8: the softmax runs across the two modalities, per feature, with one shared W;
        # `softmax="feature"` is the literal one, over d for each modality alone.
        over = 0 if self.config.softmax == "modality" else -1
        alpha_t, alpha_a = torch.stack([self.multimodal_gate(h) for h in parts]).softmax(dim=over)  # Eq. (13)
        final = alpha_t * parts[0] + alpha_a * parts[1]  # Eq. (14)
        return final, {m: alpha.mean(dim=-1) for m, alpha in zip(fused, (alpha_t, alpha_a), strict=True)}
