"""emotion2vec (the paper's audio encoder, section 4.2) through funasr, from a local folder, kept on a leash.

A folder holds config.yaml and the weights: the file that configuration.json names (Hugging Face:
emotion2vec_base.pt), else model.pt, else the only *.pt.  We read and check both ourselves, because funasr
would run what config.yaml's feature_encoder_spec says and leave weights that don't fit at random.
"""

import ast
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from lpgnet.features.loading import (
    TOGETHER,
    by_length,
    check_device,
    first_line,
    holding,
    plain_weights,
    read_json,
    refuse_misfit,
    without_side_effects,
)
from lpgnet.machine.files import sha256

NUMBER = r"\s*\d{1,5}\s*"
LAYER = rf"\s*\({NUMBER},{NUMBER},{NUMBER}\)\s*"  # channels, kernel, stride
TERM = rf"\s*\[{LAYER}(?:,{LAYER})*\](?:\s*\*\s*(\d{{1,2}}))?\s*"  # [(512, 3, 2)] * 4
WRAPPERS = ("state_dict", "model_state_dict", "model")  # where a checkpoint keeps its weights
DECODER = "modality_encoders.AUDIO.decoder."  # of the pretraining


class Emotion2vec:
    """Frames at 50 Hz, and their mean as the utterance vector: funasr's granularity "utterance".

    The wave is normalised first, so overall loudness is invisible to it.  On a GPU waves of like length go
    together.  funasr would let the padding reach real frames through the positional convolutions (upstream
    #37), so padded frames are zeroed before each of them, as if the wave ended there; where the front end
    normalises over time, waves stay alone, as on a CPU, where batches gain nothing.
    """

    precision = "float16"
    note = ""

    def __init__(self, folder: Path, name: str, device: str = "cpu"):
        self.folder, self.name, self.device = Path(folder), name, device
        self.weights = weights(self.folder)
        self.conf = model_conf(self.folder / "config.yaml")
        self.size = self.frame_size = self.conf["embed_dim"]
        self.front = ast.literal_eval(self.conf["modalities"]["audio"]["feature_encoder_spec"])
        by_frame = self.conf["modalities"]["audio"].get("extractor_mode") == "layer_norm"
        self.together = TOGETHER if by_frame and device != "cpu" else 1
        about, held = sha256(self.folder / "config.yaml"), sha256(self.weights)
        self.version = f"funasr {_installed()}, weights sha256 {held[:16]}, config sha256 {about[:16]}"
        self.model = self.real = None

    def __call__(self, waves: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, size) float32 per wave, T = 1 + (samples - 400) // 320."""
        for frames in by_length(self.frames, waves, self.together):
            yield frames.mean(axis=0), frames

    def frames(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """What funasr's generate(granularity="frame") gives of each, of one wave alone bit for bit."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self.model = self.model or self._load()
        sources = [torch.tensor(wave, dtype=torch.float32, device=self.device) for wave in waves]
        if self.conf.get("normalize"):
            sources = [torch.nn.functional.layer_norm(source, source.shape) for source in sources]
        padding = self.real = None
        counts = [self._count(len(wave)) for wave in waves]
        if len(waves) > 1:
            padding = pad_sequence([torch.zeros_like(s, dtype=torch.bool) for s in sources], True, True)
            real = [torch.ones(count, device=self.device) for count in counts]
            self.real = pad_sequence(real, batch_first=True)[:, None]  # (B, 1, T)
        with torch.no_grad():
            frames = self.model.extract_features(pad_sequence(sources, True), padding_mask=padding)["x"]
        return [some[:count].cpu().numpy() for some, count in zip(frames, counts, strict=True)]

    def _count(self, samples: int) -> int:
        """Frames that the front end makes of so many samples."""
        for _, kernel, stride in self.front:
            samples = (samples - kernel) // stride + 1
        return samples

    def _only_real(self, _, given: tuple) -> tuple | None:
        """Before a positional convolution, (B, d, T): what is padding is zero."""
        return None if self.real is None else (given[0] * self.real,)

    def _load(self):
        """funasr's model with our checked weights.

        Given model_conf, AutoModel reads no file of the folder and asks no hub.
        """
        import torch

        check_device(self.device)
        options = {"ncpu": 1, "disable_update": True, "disable_pbar": True, "log_level": "ERROR"}
        state = read_weights(self.weights)
        with without_side_effects():
            from funasr import AutoModel

            try:
                model = AutoModel(model="Emotion2vec", model_conf=self.conf, device=self.device, **options).model
            except Exception as error:
                raise ValueError(
                    f"{self.folder / 'config.yaml'} describes no model that funasr can build "
                    f"({type(error).__name__}: {first_line(error)}); take the one of the release"
                ) from None
        fill(model, state, self.weights)
        for part in model.modality_encoders["AUDIO"].relative_positional_encoder.modules():
            if isinstance(part, torch.nn.Conv1d):
                part.register_forward_pre_hook(self._only_real)
        return model.eval().to(self.device)


def weights(folder: Path) -> Path:
    """The file of weights of an emotion2vec folder."""
    _wanted(folder / "config.yaml")
    index = folder / "configuration.json"
    metas = read_json(index).get("file_path_metas", {}) if index.is_file() else {}
    named = metas.get("init_param") if isinstance(metas, dict) else None
    if named is not None:
        place = PurePosixPath(str(named))
        if not isinstance(named, str) or place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{index} names the weights {named!r}: want a file inside {folder}")
        return _wanted(folder / named)
    others = sorted(folder.glob("*.pt"))
    return others[0] if len(others) == 1 else _wanted(folder / "model.pt")


def _wanted(path: Path) -> Path:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent}: want an emotion2vec folder")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} lacks {path.name}, it holds {holding(path.parent)}: an emotion2vec folder has "
            "config.yaml and the weights (model.pt, or the file that configuration.json names)"
        )
    return path


def model_conf(path: Path) -> dict:
    """model_conf of an emotion2vec config.yaml, without the pretraining decoder and safe to build from."""
    import omegaconf  # PyYAML alone would read 1e-5 as a word

    try:
        about = omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.load(path), resolve=True)
    except Exception as error:  # three libraries' errors
        raise ValueError(f"{path} can't be read: {first_line(error)}") from None
    found = about.get("model") if isinstance(about, dict) else None
    if found != "Emotion2vec":
        raise ValueError(f"{path} describes the model {found!r}: want Emotion2vec")
    try:
        conf, audio = about["model_conf"], about["model_conf"]["modalities"]["audio"]
        spec, width = audio["feature_encoder_spec"], conf["embed_dim"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} lacks {error} under model_conf; take the one of the release") from None
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"{path} has embed_dim {width!r}: want a positive integer")
    audio.update(feature_encoder_spec=str(layers(spec, path)), decoder=None)
    return conf


def layers(spec: object, path: Path) -> list[tuple[int, int, int]]:
    """'[(512, 10, 5)] + [(512, 3, 2)] * 4' worked out, and nothing that is not of this form."""
    if not isinstance(spec, str) or not re.fullmatch(rf"{TERM}(?:\+{TERM})*", spec):
        raise ValueError(
            f"{path} has feature_encoder_spec {spec!r}: want lists of (channels, kernel, stride) joined by + "
            "and repeated by *, as in '[(512, 10, 5)] + [(512, 3, 2)] * 4' (funasr would run it as code)"
        )
    worked_out = []
    for term in spec.split("+"):
        times = re.fullmatch(TERM, term)[1]
        found = re.findall(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", term)
        worked_out += [tuple(map(int, layer)) for layer in found] * int(times or 1)
    return worked_out


def read_weights(path: Path) -> dict:
    """Name -> tensor of a checkpoint, without the wrapper and prefixes that funasr knows.

    A pickle that asks for anything but tensors and plain types is refused before any of it runs.
    """
    import torch

    state = plain_weights(path)
    for wrapper in WRAPPERS:
        state = state[wrapper] if isinstance(state, dict) and wrapper in state else state
    state = {k: v for k, v in state.items() if torch.is_tensor(v)} if isinstance(state, dict) else {}
    return {re.sub(r"^(module\.|d2v_model\.)+", "", str(key)): value for key, value in state.items()}


def fill(model, state: dict, path: Path) -> None:
    """Load every weight of the model, or say which don't fit.

    What the checkpoint has beyond the parts that the model has (heads, the decoder) is left alone.
    """
    wanted = model.state_dict()
    own = tuple(f"{part}." for part, _ in model.named_children())
    misshapen = {k: (state[k].shape, w.shape) for k, w in wanted.items() if k in state and state[k].shape != w.shape}
    extra = (k for k in state.keys() - wanted.keys() if k.startswith(own) and not k.startswith(DECODER))
    refuse_misfit(path, wanted.keys() - state.keys(), misshapen, extra)
    given = {name: state[name].to(weight.dtype) for name, weight in wanted.items()}
    model.load_state_dict(given, assign=True)  # no copy: workers share the mapped file's pages


def _installed() -> str:
    try:
        return importlib.metadata.version("funasr")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError("emotion2vec runs through funasr, which is not installed: pip install funasr") from None
