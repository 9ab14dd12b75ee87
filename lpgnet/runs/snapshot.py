"""What a trained LPGNet holds inside: attention maps of one dialogue, fused features of the test part."""

import numpy as np
import torch

from lpgnet.model import MODALITY, attention_weights
from lpgnet.runs.dataset import Dataset
from lpgnet.runs.packed import Batch, Packed


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
    maps = {f"attention_{path}": weights for path, weights in _attention(model, data.batch([unit])).items()}
    words = {name: np.array(value, dtype=str) for name, value in arrays.items() if name != "fused"}
    return arrays | words | maps


def _attention(model: Packed, batch: Batch) -> dict[str, np.ndarray]:
    """The weights of each path in one dialogue, (U, U)."""
    x, maps = {m: model.encoded(m, batch.rows[m], batch.layouts[m]) for m in model.encode}, {}
    for path in model.config.paths:
        query, key = (x[MODALITY[letter]] for letter in path)
        if model.maps:
            query, key = model.maps[path][0](query), model.maps[path][1](key)
        maps[path] = attention_weights(query, key).cpu().numpy()
    return maps
