"""What LPGNet does inside: every step for one dialogue, attention maps, fused features of the test part."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lpgnet.model import MODALITY, LPGNet, attention_weights
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.packed import Packed


@torch.no_grad()
def snapshot(model: Packed, data: Dataset) -> dict[str, np.ndarray]:
    """Arrays for figures, of a model at utterance level.

    fused (N, d): F_final of Eq. (14) for each test utterance, with `ids` and `labels` ("" unscored).
    attention_<path> (U, U): Eqs. (3)-(5) in the test dialogue of middle length, rows queries, columns keys,
    with `dialogue`, `turns` (ids) and `turn_labels`.
    """
    model.eval()
    units = data.units["test"]
    read = []  # what Eq. (15) reads
    hook = model.classify.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model(data.batch(units))
    hook.remove()
    unit = sorted(units, key=len)[len(units) // 2]
    every, some = (data.table.iloc[rows.numpy()] for rows in (torch.cat(units), unit))
    arrays = {
        "fused": read[0].cpu().numpy(),
        "ids": every["id"],
        "labels": every["label"].fillna(""),
        "dialogue": some["dialogue"].iloc[0],
        "turns": some["id"],
        "turn_labels": some["label"].fillna(""),
    }
    plain = LPGNet(model.config, data.sizes, len(data.classes)).to(data.labels.device).eval()
    plain.load_state_dict(model.state_dict())
    rows = {m: x[None] for m, x in data.batch([unit]).rows.items()}
    every_turn = {m: torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) for m, x in rows.items()}
    on_the_way = steps(plain, rows, every_turn)
    maps = {f"attention_{path}": on_the_way[f"A {path} (5)"][0].cpu().numpy() for path in model.config.paths}
    words = {name: np.array(value, dtype=str) for name, value in arrays.items() if name != "fused"}
    return arrays | words | maps


@torch.no_grad()
def steps(
    model: LPGNet, rows: dict[str, Tensor], valid: dict[str, Tensor], speaker: Tensor | None = None
) -> dict[str, Tensor]:
    """What every equation gives on the way to the output, by the paper's name and number, in its order.

    The modules of the model are watched while it runs, so nothing is computed in another way than there.
    """
    found: dict[str, Tensor] = {}
    watched = [(conv, None, [f"X' {m} (2)"], lambda x: x.mT) for m, conv in model.encode.items()]
    watched += [(model.compress[p], [f"Mean {p} (6)"], [f"A_conv {p} (6)"], None) for p in model.config.paths]
    of = {o: [p for p, own in model.own.items() if own == o] for o in model.own.values()}  # one for all, or each
    watched += [(ffn, None, [f"FFN {p} (7)" for p in of[o]], None) for o, ffn in model.ffn.items()]
    watched += [
        (g, [f"X_final {p} (8)" for p in of[o]], [f"Z {p} (9)" for p in of[o]], torch.sigmoid)
        for o, g in model.unimodal_gate.items()
    ]
    names = {"text": "T", "audio": "A"}
    watched += [(w, [f"H {m} (11)"], [f"{names[m]}_fused (12)"], None) for m, w in model.merge.items()]
    watched += [(model.classify, ["F_final (14)"], ["E (15)"], None)]
    watched += [(head, None, [f"E {m} (18)"], None) for m, head in model.student.items()]
    hooks = [module.register_forward_hook(_noted(found, *rest)) for module, *rest in watched]
    output = model(rows, valid, speaker)
    for hook in hooks:
        hook.remove()
    if model.speaker is not None:  # what the paths read
        found |= {f"X' {m} (2)": found[f"X' {m} (2)"] + model.speaker(speaker) for m in model.encode}
    x = {m: found[f"X' {m} (2)"] for m in model.encode}
    for path in model.config.paths:
        query, key = (x[MODALITY[letter]] for letter in path)
        if model.maps:
            query, key = model.maps[path][0](query), model.maps[path][1](key)
        found[f"A {path} (5)"] = attention_weights(query, key, valid[MODALITY[path[1]]])
    found |= {f"alpha {m} (13)": x for m, x in output.modality_weight.items()}
    return dict(sorted(found.items(), key=lambda step: int(step[0].rpartition("(")[2][:-1])))


def _noted(found: dict, reads: list[str] | None, gives: list[str], change: Callable | None) -> Callable:
    """A hook that writes down what a module reads and gives, a name for each time that it is called."""
    read, given = iter(reads or ()), iter(gives)

    def hook(_, inputs: tuple, output: Tensor) -> None:
        if reads:
            found[next(read)] = inputs[0]
        found[next(given)] = change(output) if change else output

    return hook
