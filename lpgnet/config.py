"""Every number the paper states, and the readings where it leaves one open.

An experiment is a value of `RunConfig`; an ablation is a different value, never a branch.
`Reading Rn:` marks each place where we decided for the paper (DESIGN section 3): the field's default is what
we read, its other values are the alternatives.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

ROOT = Path(__file__).resolve().parents[1]
MODALITIES = ("text", "audio")
PATHS = ("tt", "aa", "at", "ta")  # query modality, then key/value modality


@dataclass(frozen=True)
class LPGNetConfig:
    """The shape of LPGNet, sections 3.3 to 3.6.  Input sizes are read from the features."""

    hidden: int = 768  # d, section 4.3
    ffn: int = 2  # Reading R5: d_ff = 2d of "2d or 4d" (3.3); 4 is the alternative, 0 removes the FFN
    dropout: float = 0.1  # section 4.3
    paths: tuple[str, ...] = PATHS  # which attention paths of section 3.3 (2) exist
    kernel: int = 1  # Reading R1: kernel 1, with bias, so no neighbours; 3 is the alternative
    projections: bool = False  # Reading R2: Eq. (3) has no Q/K/V maps and one head
    context: Literal["dialogue", "position"] = "dialogue"  # Reading R3: Mean(A) or every position
    branch: Literal["key", "query"] = "key"  # Reading R7: literal Eqs. (10)-(12), or as SDT has it
    softmax: Literal["modality", "feature"] = "modality"  # Reading R8: Eq. (13) across modalities
    fusion: Literal["gated", "averaged", "concatenated"] = "gated"  # Reading R16: without the gates
    shared: bool = False  # Reading R22: Eq. (9)'s gate and Eq. (7)'s FFN per path, or one for all
    speakers: bool = False  # SDT's speaker embedding, for `full_speaker`; the paper has none
    pool: Literal["none", "path", "position"] = "none"  # Reading R21: frame level; none: utterances

    def __post_init__(self):
        unknown = [p for p in self.paths if p not in PATHS]
        if unknown or not self.paths:
            raise ValueError(f"paths={self.paths!r}: each must be one of {PATHS}, at least one")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel}: must be odd, so that Eq. (2) keeps the length")
        if self.speakers and self.pool != "none":
            raise ValueError("speakers=True: a frame sequence is one utterance, so has one speaker")


@dataclass(frozen=True)
class LinearConfig:
    """One linear map of the concatenated features.

    Reading R28: the paper's "simple linear classifier", with LPGNet's optimiser and epochs.
    """

    modalities: tuple[str, ...] = MODALITIES


@dataclass(frozen=True)
class BiGRUConfig:
    """One bidirectional GRU over the concatenated features: the plain context baseline."""

    hidden: int = 768  # both directions together
    dropout: float = 0.1


@dataclass(frozen=True)
class SDTConfig:
    """SDT with text and audio only.

    Reading R20: its own published settings (here and in `SDT_TRAIN`, `SDT_LOSS`), not LPGNet's.
    """

    hidden: int = 1024
    heads: int = 8
    dropout: float = 0.5
    speakers: bool = True


@dataclass(frozen=True)
class LossConfig:
    """Weights of Eq. (22) and how its terms are read."""

    task: float = 1.5
    ce: float = 1.0
    kl: float = 0.3
    tau: float = 1.0  # section 4.3
    first: Literal["student", "teacher"] = "student"  # Reading R10: Eq. (21) has the student first
    detach: bool = True  # Reading R10: no gradient into the teacher through Eq. (21)
    class_weights: bool = False  # Reading R11: plain means; True weighs by inverse class frequency


@dataclass(frozen=True)
class TrainConfig:
    """Section 4.3."""

    lr: float = 3e-4
    l2: float = 1e-5
    batch: int = 32  # Reading R12: 32 dialogues (utterances at frame level)
    epochs: int = 150
    optimizer: Literal["adam", "adamw"] = "adam"  # Reading R23: Adam with L2 on all, constant rate
    precision: Literal["auto", "full", "mixed"] = "auto"  # auto: bfloat16 products on a GPU that has them
    moddrop: float = 0.0  # share of dialogues that lose turns of one modality in training (`full_moddrop`)


@dataclass(frozen=True)
class DataConfig:
    """What a run reads."""

    labels: str | None = None  # a protocol of labels.py; None: the place's own
    validation: Literal["tenth", "session4", "none"] = "tenth"  # Reading R13: of the training part
    text: Literal["frozen", "finetuned"] | None = None  # Reading R18; None: the place's own
    standardise: bool = True  # Reading R24: features standardised on the training part
    context: Literal["labelled", "all"] = "labelled"  # Reading R19: turns without a label of the task
    order: Literal["time", "transcript"] = "time"  # Reading R27: of the utterances
    frames: int = 512  # tokens and frames per utterance at most, section 4.4; frame level only


@dataclass(frozen=True)
class FineTuneConfig:
    """How a text encoder is fitted to a fold; section 4.2 says only that it was.

    Reading R18: AdamW, the rate warmed up over a tenth of the steps and let down to zero, on single
    utterances; a linear classifier on [CLS], dropped afterwards.
    """

    lr: float = 2e-5
    epochs: int = 3
    batch: int = 32  # utterances
    longest: int = 128  # tokens
    dropout: float = 0.1  # before the classifier
    l2: float = 0.01
    fixed: int = 0  # layers that stay as published, the embeddings with them
    seed: int = 0


FINETUNE = {
    "paper": FineTuneConfig(),
    "quick": FineTuneConfig(lr=2e-4, epochs=4, fixed=4),  # a small encoder and few utterances
}

Model = LPGNetConfig | LinearConfig | BiGRUConfig | SDTConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run but its data, its fold and its seed."""

    model: Model = field(default_factory=LPGNetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def as_dict(self) -> dict:
        """Plain JSON types, with the model's kind by name."""
        values = asdict(self)
        values["model"] = {"kind": type(self.model).__name__.removesuffix("Config")} | values["model"]
        return values


FULL = RunConfig()
TASK_ONLY = LossConfig(task=1.0, ce=0.0, kl=0.0)
SDT_LOSS = LossConfig(1.0, 1.0, 1.0, first="teacher", detach=False, class_weights=True)
SDT_TRAIN = TrainConfig(lr=1e-4, batch=16)


def _lpgnet(**changes) -> RunConfig:
    return replace(FULL, model=replace(FULL.model, **changes))


def _weights(task: float, ce: float, kl: float) -> RunConfig:
    return replace(FULL, loss=LossConfig(task, ce, kl))


def _single(path: str) -> RunConfig:
    """Reading R17: one modality is one path (tt or aa) with the task loss only.

    The alternative, the student heads of `full`, is in every record of `full`.
    """
    return replace(_lpgnet(paths=(path,)), loss=TASK_ONLY)


def _baseline(model: Model) -> RunConfig:
    return RunConfig(model=model, loss=TASK_ONLY)


def _frozen(run: RunConfig) -> RunConfig:
    """Reading R18's alternative beside it: the text encoder as published."""
    return replace(run, data=replace(run.data, text="frozen"))


def _six(run: RunConfig) -> RunConfig:
    """Reading R25: six classes are `majority-6`; `--labels erc-6` is the alternative."""
    return replace(run, data=replace(run.data, labels="majority-6"))


SDT = RunConfig(SDTConfig(), SDT_LOSS, SDT_TRAIN)

EXPERIMENTS: dict[str, RunConfig] = {
    "full": FULL,
    "full_by_query": _lpgnet(branch="query"),
    "linear": _baseline(LinearConfig()),
    "bigru": _baseline(BiGRUConfig()),
    "frame": _lpgnet(pool="path"),
    "text_only": _single("tt"),
    "audio_only": _single("aa"),
    "linear_text": _baseline(LinearConfig(("text",))),
    "linear_audio": _baseline(LinearConfig(("audio",))),
    "no_inter": _lpgnet(paths=("tt", "aa")),
    "no_intra": _lpgnet(paths=("at", "ta")),
    "no_ffn": _lpgnet(ffn=0),
    "no_gates": _lpgnet(fusion="averaged"),
    "lambda_1_1_1": _weights(1.0, 1.0, 1.0),
    "lambda_1_0_1": _weights(1.0, 0.0, 1.0),
    "lambda_1_1_0": _weights(1.0, 1.0, 0.0),
    "lambda_1p5_1_0": _weights(1.5, 1.0, 0.0),
    "lambda_1_0_0": _weights(1.0, 0.0, 0.0),
    "lambda_1p5_0_0": _weights(1.5, 0.0, 0.0),
    "sdt": SDT,
    "sdt_no_speaker": replace(SDT, model=replace(SDT.model, speakers=False)),
    "full_speaker": _lpgnet(speakers=True),
    "full_moddrop": replace(FULL, train=replace(FULL.train, moddrop=0.5)),
    "full_frozen": _frozen(FULL),
    "text_only_frozen": _frozen(_single("tt")),
    "full_6": _six(FULL),
    "sdt_6": _six(SDT),
}


def _quick(run: RunConfig) -> RunConfig:
    """A laptop's size: narrow, short, small batches (the simulated corpus has 28 training dialogues).

    LPGNet and SDT* get equal epochs.  Only sizes and rates change, no reading of the paper does.  Of the
    rates 3e-4, 1e-3 and 3e-3, `full` and `sdt` did best with these on Session 4, held out of training.
    """
    frame = getattr(run.model, "pool", "none") != "none"
    narrow = {"hidden": 64} if hasattr(run.model, "hidden") else {}
    rate = 3e-3 if isinstance(run.model, SDTConfig) else 1e-3
    sizes = {"epochs": 6, "batch": 32} if frame else {"epochs": 20, "batch": 8}
    train, data = replace(run.train, lr=rate, **sizes), replace(run.data, frames=128)
    return replace(run, model=replace(run.model, **narrow), train=train, data=data)


PROFILES = {"paper": lambda run: run, "quick": _quick}


def experiment(name: str, profile: str = "paper", settings: Mapping[str, Any] | None = None) -> RunConfig:
    """One experiment of DESIGN section 5 at a profile's size.

    settings: changes by field name (`{"lr": 1e-3}`), each checked strictly against the field's type.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(sorted(EXPERIMENTS))}")
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; there are {', '.join(PROFILES)}")
    return _changed(PROFILES[profile](EXPERIMENTS[name]), settings or {})


def _changed(run: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """`run` with some fields replaced; a name that it lacks or a value of another type stops it."""
    parts = {part: getattr(run, part) for part in ("model", "loss", "train", "data")}
    for name, value in settings.items():
        owner = [p for p, part in parts.items() if name in {f.name for f in fields(part)}]
        if not owner:
            known = sorted(f.name for part in parts.values() for f in fields(part))
            raise ValueError(f"no setting {name!r}; {type(run.model).__name__} has {', '.join(known)}")
        part = parts[owner[0]]
        try:
            kind = type(part).__dataclass_fields__[name].type
            checked = TypeAdapter(kind).validate_python(value, strict=not isinstance(value, list))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(f"setting {name}={value!r}: {reason}") from None
        parts[owner[0]] = replace(part, **{name: checked})
    return RunConfig(**parts)
