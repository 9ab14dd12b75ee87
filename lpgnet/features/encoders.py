"""Which encoder a name means: one that ships with us, a local folder, or one from a model hub.

An encoder has `name`, `version` (all that decides its numbers), `size`, `frame_size`, `precision` of its
frames, `note`, and a call that yields a vector (size,) and frames (T, frame_size) per input.  Making one is
cheap; it loads its model on the first call.
"""

from functools import lru_cache

from lpgnet.features import whisper
from lpgnet.features.audio import Prosody
from lpgnet.features.text import SHIPPED, TextEncoder, shipped
from lpgnet.machine.code import deciding, summary, versions
from lpgnet.places import split_layer

LIBRARIES = {  # whose versions decide features
    "text": ("torch", "transformers", "tokenizers"),
    "audio": ("torch", "transformers", "librosa", "numpy", "scipy", "soundfile"),
}


@lru_cache(maxsize=2)
def encoder(modality: str, name: str, device: str = "cpu"):
    """One encoder per process, modality and device; its version covers its code and its libraries."""
    made = {"text": _text, "audio": _audio}[modality](name, device)
    made.version = f"{made.version}; {_code(modality, type(made))}"
    return made


def _code(modality: str, kind: type) -> str:
    entries = [(kind.__module__.partition(".")[2], kind.__name__), ("features.extract", "make")]
    other = ("corpora.sound", "read_clip") if modality == "text" else None
    code = summary(deciding(entries, [("features.encoders", "encoder"), other]))
    libraries = ", ".join(f"{name} {v}" for name, v in versions(LIBRARIES[modality]).items())
    return f"code {code['digest'][:12]}, {libraries}"


def _text(name: str, device: str):
    if name == SHIPPED:
        return shipped(device)
    from lpgnet.features.hub import full_name, resolve

    folder, revision = resolve(name)
    return TextEncoder(folder, full_name(name, folder, revision), device)


def _audio(name: str, device: str):
    if name == Prosody.name:
        return Prosody()
    base, layer = split_layer(name)
    if base == whisper.NAME:
        return whisper.Whisper(layer, device)
    from lpgnet.features.speech import encoder as speech

    return speech(name, device)
