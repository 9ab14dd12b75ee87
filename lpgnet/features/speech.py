"""Audio encoders besides our own prosody: any Hugging Face speech model, emotion2vec, eGeMAPS.

Each has `name`, `version` (all that decides its numbers), `size`, `frame_size`, `precision` of stored frames,
`note`, and a call: waves from `read_clip` -> vector (size,) and frames (T, frame_size), float32, per wave.
Making one is cheap and asks no network; the model is loaded on the first call.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lpgnet.corpora.sound import RATE
from lpgnet.features.egemaps import EGeMAPS
from lpgnet.features.emotion2vec import Emotion2vec
from lpgnet.features.hub import full_name, resolve
from lpgnet.features.loading import (
    TOGETHER,
    by_length,
    check_device,
    config_of,
    holding,
    load_transformers,
    read_json,
    refuse_code,
    refuse_misfit,
    settings,
    shards,
)
from lpgnet.machine.files import sha256
from lpgnet.places import split_layer

ON_WAVES = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "wav2vec2-conformer",
)  # fmt: skip
PADDABLE = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")  # with a layer-norm front end
WHISPER = "whisper"
UNUSED = ("masked_spec_embed",)  # hides frames in training; many releases lack it


def encoder(name: str, device: str = "cpu"):
    """The audio encoder that a name means: "egemaps", a local folder, or a model on a hub.

    NAME:3 and NAME:mean ask for a layer, or the mean of all.
    """
    if name == EGeMAPS.name:
        return EGeMAPS()
    base, layer = split_layer(name)
    folder, revision = resolve(base)
    full = full_name(base, folder, revision)
    if (folder / "config.json").is_file() and not (folder / "config.yaml").is_file():
        return SpeechModel(folder, full, device, layer)
    if layer:
        raise ValueError(f"{name}: {folder} is no Hugging Face or Whisper encoder, whose layers can be asked for")
    if (folder / "config.yaml").is_file():
        return Emotion2vec(folder, full, device)
    raise ValueError(f"{folder} holds {holding(folder)}: want config.yaml (emotion2vec) or config.json (Hugging Face)")


class SpeechModel:
    """Hidden states of a Hugging Face speech encoder; the utterance vector is their mean.

    layer: 1 to the last, or "mean" of all; "": the last.  Those before it often say more of an emotion.
    One wave at a time on the CPU, where batches gain nothing, and wherever padding would reach real frames
    in spite of the mask (group-norm front ends such as wav2vec2-base: off by 2; conformers: by 1.6).
    """

    precision = "float16"
    note = ""

    def __init__(self, folder: Path, name: str, device: str = "cpu", layer: str = ""):
        self.folder, self.name, self.device, self.layer = Path(folder), name, device, layer
        files = [self._file("config.json"), self._file("preprocessor_config.json")]
        refuse_code(self.folder)
        self.kind, masked = _kind(files[0]), _masked(files[1])
        self.config = config_of(self.folder)
        adapted = getattr(self.config, "add_adapter", False)
        self.size = self.config.output_hidden_size if adapted else self.config.hidden_size
        self.frame_size = self.size
        self.together = TOGETHER if masked and device != "cpu" and _paddable(self.config) else 1
        held, about = sha256(*self.weights()), sha256(*settings(self.folder))
        library = f"transformers {importlib.metadata.version('transformers')}"
        self.version = f"{library}, weights sha256 {held[:16]}, config sha256 {about[:16]}"
        if layer:
            self._at_layer(self.config.num_hidden_layers)
        self.model = self.extractor = None

    def _at_layer(self, count: int) -> None:
        self.name = f"{self.name}:{self.layer}"
        if self.layer != "mean" and not 1 <= int(self.layer) <= count:
            raise ValueError(f"{self.name}: the model has layers 1 to {count}, or mean")
        self.size = self.frame_size = self.config.hidden_size  # an adapter stands behind all layers
        self.version = f"{self.version}, layer {self.layer} of {count}"

    def _file(self, name: str) -> Path:
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no folder {self.folder}: want a Hugging Face speech model")
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} lacks {name}, it holds {holding(self.folder)}: a Hugging Face speech model "
                "has config.json, preprocessor_config.json and model.safetensors (or pytorch_model.bin)"
            )
        return path

    def weights(self) -> list[Path]:
        """The files of weights in the order in which transformers looks for them."""
        for whole in ("model.safetensors", "pytorch_model.bin"):
            if (self.folder / whole).is_file():
                return [self.folder / whole]
            index = self.folder / f"{whole}.index.json"
            if index.is_file():
                return [index, *map(self._file, shards(index))]
        return [self._file("model.safetensors")]

    def __call__(self, waves: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, size) float32 per wave, in the order of the waves, at 50 frames a second."""
        if self.model is None:
            self._load()
        whisper = self.kind == WHISPER
        for frames in map(self.whisper_frames, waves) if whisper else by_length(self.frames, waves, self.together):
            yield frames.mean(axis=0), frames

    def frames(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """The hidden states of the real signal of each wave, from one forward pass."""
        import torch

        padded = len(waves) > 1
        inputs = self.extractor(waves, sampling_rate=RATE, padding=padded, return_tensors="pt").to(self.device)
        mask = {"attention_mask": inputs["attention_mask"]} if padded else {}
        with torch.no_grad():
            hidden = self._states(inputs["input_values"], **mask).cpu().numpy()
        if not padded:
            return [hidden[0]]
        lengths = self.model._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1)).tolist()
        return [row[:length] for row, length in zip(hidden, lengths, strict=True)]

    def _states(self, inputs, **mask):
        """The hidden states (B, T, size) of the layer that is asked for."""
        found = self.model(inputs, output_hidden_states=bool(self.layer), **mask)
        if not self.layer:
            return found.last_hidden_state
        states = list(found.hidden_states[1:])
        if found.last_hidden_state.shape == states[-1].shape:  # no adapter: behind the final norm, as by default
            states[-1] = found.last_hidden_state
        return (sum(states) / len(states) if self.layer == "mean" else states[int(self.layer) - 1]).contiguous()

    def whisper_frames(self, wave: np.ndarray) -> np.ndarray:
        """Whisper hears 30 s at a time, padded: keep the ceil(samples / 320) states of the signal."""
        import torch

        step = 2 * self.extractor.hop_length
        found = []
        for start in range(0, len(wave), self.extractor.n_samples):
            piece = wave[start : start + self.extractor.n_samples]
            inputs = self.extractor(piece, sampling_rate=RATE, return_tensors="pt").to(self.device)
            with torch.no_grad():
                hidden = self._states(inputs["input_features"])[0]
            found.append(hidden[: -(-len(piece) // step)].cpu().numpy())
        return np.concatenate(found)

    def _load(self) -> None:
        """Model and feature extractor; weights that don't fit are refused by name."""
        check_device(self.device)
        extractor, model, found = load_transformers(self.folder, self.weights(), "AutoFeatureExtractor")
        self._check(model, found)
        model = model.encoder if self.kind == WHISPER else model
        self.model, self.extractor = model.eval().to(self.device), extractor

    def _check(self, model, found: dict) -> None:
        prefix = f"{model.base_model_prefix}."
        own = tuple(f"{part}." for part, _ in model.named_children())
        extra = (key for key in found["unexpected_keys"] if key.removeprefix(prefix).startswith(own))
        shapes = {key: (here, wanted) for key, here, wanted in found["mismatched_keys"]}
        missing = (key for key in found["missing_keys"] if key not in UNUSED)
        refuse_misfit(self.weights()[0], missing, shapes, extra)


def _kind(path: Path) -> str:
    found = read_json(path).get("model_type")
    if found not in (*ON_WAVES, WHISPER):
        raise ValueError(
            f"{path.parent} holds a {found!r} model: as audio encoder want emotion2vec (a folder with "
            f"config.yaml) or one of {', '.join((*ON_WAVES, WHISPER))}"
        )
    return found


def _paddable(config) -> bool:
    """Whether masked padding leaves real frames as they are; a test holds it for each of these."""
    reached = getattr(config, "add_adapter", False) or getattr(config, "conv_pos_batch_norm", False)
    return config.model_type in PADDABLE and config.feat_extract_norm == "layer" and not reached


def _masked(path: Path) -> bool:
    """Whether the feature extractor masks what it pads."""
    found = read_json(path)
    if found.get("sampling_rate") != RATE:
        raise ValueError(f"{path} says sampling_rate {found.get('sampling_rate')}: want {RATE}")
    return bool(found.get("return_attention_mask"))
