"""Every equation's numbers on the way through the model, what ties them together, and the terms of the loss.

The model itself runs (`lpgnet.runs.snapshot.steps` watches it); what is worked out here beside it is asserted
equal to what it gave.
"""

import math
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.testing import assert_close

from lpgnet import losses
from lpgnet.beyond.walk import dialogue
from lpgnet.beyond.walk.dialogue import Walk
from lpgnet.model import MODALITY, mean
from lpgnet.runs.snapshot import steps

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # what float32 sums in another order may differ by
TAUS = (0.5, 1.0, 2.0, 4.0)
FUSED = {"text": "T_fused (12)", "audio": "A_fused (12)"}


@torch.no_grad()
def every_step(walk: Walk) -> dict[str, Tensor]:
    """Name with the equation's number in brackets -> its value, in the paper's order; a path is part of a name.

    Nothing is computed twice but the scores of Eq. (3), Eq. (5)'s products and the softmax of (16) and (18).
    """
    model, talk = walk.model, walk.dialogue
    found = {f"X {m} (1)": talk.rows[m] for m in model.encode}
    found |= steps(model, talk.rows, talk.valid, talk.speaker)
    for path in model.config.paths:
        query, key, value = _read(walk, found, path)
        found[f"scores {path} (3)"] = query @ key.mT / math.sqrt(query.shape[-1])
        found[f"A_hat {path} (5)"] = found[f"A {path} (5)"] @ value
        found.setdefault(f"X_final {path} (8)", _refined(walk, found, path))  # without gates nothing reads it
    found["y (16)"] = found["E (15)"].softmax(-1)
    found |= {f"y {m} (18)": found[f"E {m} (18)"].softmax(-1) for m in model.student}
    return dict(sorted(found.items(), key=lambda step: number(step[0])))


def number(step: str) -> int:
    """ "A tt (5)" -> 5."""
    return int(step.rpartition("(")[2][:-1])


def _read(walk: Walk, found: dict[str, Tensor], path: str) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K and V of a path, (1, U, d) each."""
    query, key = (found[f"X' {MODALITY[letter]} (2)"] for letter in path)
    if not walk.model.maps:
        return query, key, key
    return tuple(w(x) for w, x in zip(walk.model.maps[path], (query, key, key), strict=True))


def _refined(walk: Walk, found: dict[str, Tensor], path: str) -> Tensor:
    """Eq. (8): Q + A_conv + FFN(A_conv)."""
    query = found[f"X' {MODALITY[path[0]]} (2)"]
    return query + found[f"A_conv {path} (6)"] + found.get(f"FFN {path} (7)", 0)


def shapes(found: dict[str, Tensor]) -> pd.DataFrame:
    """One line per step: equation, shape, mean and standard deviation of its numbers."""
    lines = [
        {"equation": f"({number(name)})", "step": name.rpartition(" (")[0], "shape": tuple(x.shape)}
        | {"mean": x.mean().item(), "std": x.std().item()}
        for name, x in found.items()
    ]
    return pd.DataFrame(lines)


@torch.no_grad()
def agreement(walk: Walk, found: dict[str, Tensor]) -> pd.DataFrame:
    """Each equation worked out from the steps before it, and its largest distance from what the model gave.

    An AssertionError where one doesn't hold; the last line is the whole: the steps end where `model(batch)` does.
    """
    lines = [line for path in walk.model.config.paths for line in _of_path(walk, found, path)]
    lines += _of_the_whole(walk, found)
    for _, _, ours, theirs in lines:
        assert_close(ours, theirs, **CLOSE)
    return pd.DataFrame(
        {"equation": eq, "says": says, "largest difference": (a - b).abs().max().item()} for eq, says, a, b in lines
    )


def _of_path(walk: Walk, found: dict[str, Tensor], path: str) -> list[tuple[str, str, Tensor, Tensor]]:
    """Equation, what it says, as worked out here, as the model has it."""
    heard, a_hat = walk.dialogue.heard[None], found[f"A_hat {path} (5)"]
    weights = found[f"scores {path} (3)"].masked_fill(~heard[:, None], -torch.inf).softmax(-1)
    compressed = mean(a_hat, heard) if walk.model.config.context == "dialogue" else a_hat
    return [
        ("(3)-(5)", f"{path}: softmax of scores = A", weights, found[f"A {path} (5)"]),
        ("(6)", f"{path}: mean of A_hat = Mean", compressed, found[f"Mean {path} (6)"]),
        ("(7), (8)", f"{path}: Q + A_conv + FFN = X_final", _refined(walk, found, path), found[f"X_final {path} (8)"]),
    ]


def _of_the_whole(walk: Walk, found: dict[str, Tensor]) -> list[tuple[str, str, Tensor, Tensor]]:
    """The same of both branches and what follows them."""
    model, output, lines = walk.model, walk.output(), []
    fused = {m: found[FUSED[m]] for m in model.branches}
    for m, paths in model.branches.items():
        gated = torch.cat([found.get(f"Z {p} (9)", 1) * found[f"X_final {p} (8)"] for p in paths], dim=-1)
        joined = found[f"H {m} (11)"]
        lines.append(("(9)-(11)", f"{m}: Z X_final of {' and '.join(paths)} = H", gated, joined))
        lines.append(("(12)", f"{m}: W H = {FUSED[m].partition(' ')[0]}", model.merge[m](joined), fused[m]))
    final = found["F_final (14)"]
    lines.append(("(13), (14)", "T_fused and A_fused, weighed = F_final", model.fuse(fused)[0], final))
    students = output.students.items()
    lines += [("(18)", f"{m}: E = student of model(batch)", found[f"E {m} (18)"], x) for m, x in students]
    return [*lines, ("all", "E (15) = model(batch)", found["E (15)"], output.logits)]


def loss_terms(walk: Walk, tau: float | None = None) -> pd.DataFrame:
    """Eq. (22), a line per term: its weight, its value over the scored turns, what it adds; then their sum.

    tau: the temperature of Eqs. (19) and (21); None: that of the run.
    """
    output, labels, config = walk.output(), walk.dialogue.labels, walk.loss
    config = config if tau is None else replace(config, tau=tau)
    logits, students = output.logits[0], {m: x[0] for m, x in output.students.items()}
    kl = partial(
        losses.distillation, teacher=logits, tau=config.tau, first=config.first, scored=labels != losses.UNSCORED
    )
    terms = [("(17)", "the model's cross-entropy", config.task, losses.cross_entropy(logits, labels))]
    terms += [
        ("(20)", f"the {m} student's cross-entropy", config.ce, losses.cross_entropy(x, labels))
        for m, x in students.items()
    ]
    terms += [("(21)", f"KL of the {m} student and the model", config.kl, kl(x)) for m, x in students.items()]
    lines = [
        {"equation": eq, "term": term, "weight": weight, "value": float(value), "adds": weight * float(value)}
        for eq, term, weight, value in terms
    ]
    whole = float(losses.total(logits, students, labels, config))
    assert_close(sum(line["adds"] for line in lines), whole, rtol=1e-4, atol=1e-5)
    return pd.DataFrame([*lines, {"equation": "(22)", "term": "the loss of the model", "adds": whole}])


def per_turn(walk: Walk) -> pd.DataFrame:
    """One line per turn: its label, what the model and each student say, and what Eq. (14) takes of each branch."""
    output, names = walk.output(), walk.dialogue.classes
    frame = walk.dialogue.turns[["turn", "speaker", "label"]].copy()
    for who, logits in (("model", output.logits), *output.students.items()):
        top = logits[0].softmax(-1).max(-1)
        frame[who] = [names[i] for i in top.indices]
        frame[f"p {who}"] = top.values.numpy()
    return frame.assign(**{f"alpha {m}": w[0].numpy() for m, w in output.modality_weight.items()})


def changes(walk: Walk) -> pd.DataFrame:
    """What the controls of `controls.live` show, for a copy that has none: each change, and what it moves.

    moved: the largest change of a logit over the turns that are still heard.  other class: how many of them are
    taken for another.  loss: Eq. (22).
    """
    paths, turns = walk.model.config.paths, walk.dialogue.turns["turn"]
    some = {"nothing is changed": walk}
    some |= {f"without path {p}": dialogue.without_path(walk, p) for p in paths}
    if len(turns) > 1:
        middle, last = turns.iloc[len(turns) // 2], turns.iloc[-1]
        some |= {f"turn {n} muted": dialogue.muted(walk, n) for n in dict.fromkeys((1, middle))}
        some[f"turns 1 and {last} swapped"] = dialogue.swapped(walk, 1, last)
    lines = [{"change": name, **moved(walk, other), "loss": _loss(other)} for name, other in some.items()]
    lines += [{"change": f"tau {tau:g}", **moved(walk, walk), "loss": _loss(walk, tau)} for tau in TAUS]
    return pd.DataFrame(lines)


def _loss(walk: Walk, tau: float | None = None) -> float:
    return loss_terms(walk, tau)["adds"].iloc[-1]


def moved(before: Walk, after: Walk) -> dict[str, float]:
    """Turn by turn (by id), over those heard in both: the largest change of a logit; how many get another class."""
    logits = [w.output().logits[0] for w in (before, after)]
    place = pd.Index(before.dialogue.turns["id"]).get_indexer(after.dialogue.turns["id"])
    both = before.dialogue.heard[place] & after.dialogue.heard
    one, two = logits[0][place][both], logits[1][both]
    return {"moved": (one - two).abs().max().item(), "other class": int((one.argmax(-1) != two.argmax(-1)).sum())}
