"""Fitting a text encoder to one fold's training part, and its features of every utterance.

Reading R18: single utterances of the training part, without its validation dialogues; then the encoder is
frozen.  The fit is told nothing else: no test or validation utterance reaches it.  The tokenizer is the
published one, so no vocabulary is chosen here.
"""

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lpgnet.config import FineTuneConfig
from lpgnet.features.text import TextEncoder, load, positions
from lpgnet.machine.code import deciding, summary
from lpgnet.machine.files import whole_folder
from lpgnet.machine.workers import has_bfloat16


def fitting_code() -> str:
    """Digest of the code that fits an encoder."""
    return summary(deciding([("features.finetune", "fit")]))["digest"]


def identity(base: TextEncoder, training: pd.DataFrame, settings: FineTuneConfig, manifest: str, code: str) -> str:
    """SHA-256 of everything that decides a fit: encoder, settings, manifest, code, and what it is fitted on.

    training: columns id, text, label (the class), one row per training utterance.  code: of `fitting_code`.
    """
    fitted_on = training[["id", "text", "label"]].to_numpy().tolist()
    made = [base.name, base.version, asdict(settings), manifest, code, fitted_on]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def fit(base: Path, training: pd.DataFrame, settings: FineTuneConfig, folder: Path, device: str) -> None:
    """Fine-tune the encoder at `base` on `training` (as above); write it whole to `folder`.

    Safetensors and tokenizer, as Hugging Face's `save_pretrained` lays them out.
    """
    import torch

    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        tokenizer, model = load(base)
        _train(tokenizer, model.to(device), training, settings, device)
    with whole_folder(folder) as part:
        model.cpu().save_pretrained(part)
        tokenizer.save_pretrained(part)


def _train(tokenizer, model, training: pd.DataFrame, settings: FineTuneConfig, device: str) -> None:
    import torch
    from torch import nn

    classes = sorted(training["label"].unique())
    labels = torch.tensor([classes.index(label) for label in training["label"]], device=device)
    texts = training["text"].tolist()
    head = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(model.config.hidden_size, len(classes)))
    head.to(device)
    _fix(model, settings.fixed)
    learned = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.lr, weight_decay=settings.l2)
    steps = settings.epochs * math.ceil(len(texts) / settings.batch)
    warm = max(1, steps // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    longest = min(settings.longest, positions(model))
    order = torch.Generator().manual_seed(settings.seed)
    model.train()
    for _ in range(settings.epochs):
        for picked in torch.randperm(len(texts), generator=order).split(settings.batch):
            batch = [texts[i] for i in picked.tolist()]
            options = {"padding": True, "truncation": True, "max_length": longest}
            tokens = tokenizer(batch, return_tensors="pt", **options)
            with torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device)):
                cls = model(**tokens.to(device)).last_hidden_state[:, 0]
                scores = head(cls).float()
            loss = nn.functional.cross_entropy(scores, labels[picked.to(device)])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            rate.step()


def _fix(model, layers: int) -> None:
    """Keep the embeddings and the first layers as published."""
    if not layers:
        return
    for name, parameter in model.named_parameters():
        number = next((int(part) for part in name.split(".") if part.isdigit()), -1)
        parameter.requires_grad_(number >= layers)
