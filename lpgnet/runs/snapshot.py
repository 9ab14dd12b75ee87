"""What a trained LPGNet holds inside: attention maps of one dialogue, fused features of the test part."""

import numpy as np
import torch

from lpgnet.model import MODALITY, LPGNet, attention_weights
from lpgnet.runs.dataset import Dataset


@torch.no_grad()
def inside(model: LPGNet, data: Dataset) -> dict[str, np.ndarray]:
    """Arrays for figures, of a model at utterance level.

    fused (N, d): F_final of Eq. (14) for each test utterance, with `ids` and `labels` ("" unscored).
    attention_<path> (U, U): Eqs. (3)-(5) in the test dialogue of middle length, rows queries, columns keys,
    with `dialogue`, `turns` (ids) and `turn_labels`.
    """
    model.eval()
    units = data.units["test"]
    fused = model.merge_branches(model.interact(batch := data.batch(units)), batch.layouts)[0]
    unit = sorted(units, key=len)[len(units) // 2]
    every, some = (data.table.iloc[rows.numpy()] for rows in (torch.cat(units), unit))
    arrays = {
        "fused": model.fuse(fused)[0].cpu().numpy(),
        "ids": every["id"],
        "labels": every["label"].fillna(""),
        "dialogue": some["dialogue"].iloc[0],
        "turns": some["id"],
        "turn_labels": some["label"].fillna(""),
    }
    maps = {f"attention_{path}": weights for path, weights in _attention(model, data.batch([unit])).items()}
    words = {name: np.array(value, dtype=str) for name, value in arrays.items() if name != "fused"}
    return arrays | words | maps


def _attention(model: LPGNet, batch) -> dict[str, np.ndarray]:
    """The weights of each path in one dialogue, (U, U)."""
    x = {m: encode(batch.rows[m], batch.layouts[m]) for m, encode in model.encode.items()}
    maps = {}
    for path, attend in model.attend.items():
        query, key = (x[MODALITY[letter]] for letter in path)
        if attend.maps:
            query, key = attend.maps[0](query), attend.maps[1](key)
        maps[path] = attention_weights(query, key).cpu().numpy()
    return maps
