"""Every experiment by name: those of the paper's tables, other readings of it, and what context is.

An ablation, a reading and a baseline are values of `RunConfig`; nothing asks for an experiment's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lpgnet.config import (
    BiGRUConfig,
    LinearConfig,
    LossConfig,
    Model,
    RunConfig,
    SDTConfig,
    TrainConfig,
)

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
    """Reading R25: six classes are `erc-6` where a corpus has its 53 ids (IEMOCAP), else `majority-6`."""
    return replace(run, data=replace(run.data, labels="six"))


SDT = RunConfig(SDTConfig(), SDT_LOSS, SDT_TRAIN)

TABLED: dict[str, RunConfig] = {  # what feeds the paper's tables
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
    "full_frozen": _frozen(FULL),
    "text_only_frozen": _frozen(_single("tt")),
    "full_6": _six(FULL),
    "sdt_6": _six(SDT),
}


_adapter = cache(TypeAdapter)  # making one takes longer than all that it checks here


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
            checked = _adapter(kind).validate_python(value, strict=not isinstance(value, list))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(f"setting {name}={value!r}: {reason}") from None
        parts[owner[0]] = replace(part, **{name: checked})
    return RunConfig(**parts)


@dataclass(frozen=True)
class Alternative:
    """Another way to read the paper (docs/readings.md), or to take a dialogue, against an experiment.

    reading: its number, or a short name.  changes: the fields in which it differs from `default`.
    """

    reading: str
    says: str
    default: str
    changes: dict[str, Any]

    @property
    def run(self) -> RunConfig:
        return _changed(TABLED[self.default], self.changes)

    @property
    def experiment(self) -> str:
        """The experiment of the paper's tables that is the same run, or a name of its own."""
        same = [name for name, run in TABLED.items() if run == self.run]
        return same[0] if same else f"{self.reading.lower()}_{self.default}"


READINGS = (
    Alternative("R1", "kernel 3: neighbours reach each other", "full", {"kernel": 3}),
    Alternative("R2", "learned Q, K and V maps", "full", {"projections": True}),
    Alternative("R3", "no mean: every position refined", "full", {"context": "position"}),
    Alternative("R5", "d_ff = 4d", "full", {"ffn": 4}),
    Alternative("R7", "paths by query, as SDT", "full", {"branch": "query"}),
    Alternative("R8", "softmax over the features of each modality", "full", {"softmax": "feature"}),
    Alternative("R10a", "KL(teacher || student)", "full", {"first": "teacher"}),
    Alternative("R10b", "the gradient reaches the teacher", "full", {"detach": False}),
    Alternative("R10c", "both, as SDT's code", "full", {"first": "teacher", "detach": False}),
    Alternative("R11", "classes weighted by inverse frequency", "full", {"class_weights": True}),
    Alternative("R12", "half the batch (16 at the paper's size)", "full", {"batch": 16}),
    Alternative("R13a", "Session 4 is the validation part", "full", {"validation": "session4"}),
    Alternative("R13b", "no validation part, last epoch", "full", {"validation": "none"}),
    Alternative("R16", "without gates: concatenated and projected", "no_gates", {"fusion": "concatenated"}),
    Alternative("R18a", "text encoder as published", "full", {"text": "frozen"}),
    Alternative("R18b", "the training part's text features cross-fitted", "full", {"text": "crossfitted"}),
    Alternative("R19", "unlabelled turns kept as context", "full", {"unlabelled": "kept"}),
    Alternative("R20a", "SDT* with LPGNet's rate and batch", "sdt", {"lr": 3e-4, "batch": 32}),
    Alternative("R20b", "SDT* without class weights", "sdt", {"class_weights": False}),
    Alternative("R21", "frames fused position by position", "frame", {"pool": "position"}),
    Alternative("R22", "one gate and one FFN for all paths", "full", {"shared": True}),
    Alternative("R23", "AdamW", "full", {"optimizer": "adamw"}),
    Alternative("R24", "features as extracted", "full", {"standardise": False}),
    Alternative("R25", "labels majority-6", "full_6", {"labels": "majority-6"}),
    Alternative("R27", "the transcript's order", "sdt", {"order": "transcript"}),
)
TURNS = {  # what a model may read of a dialogue, beside all of it in order
    "shuffled": ("turns shuffled within each dialogue", {"turns": "shuffled"}),
    "dealt": ("turns dealt into random dialogues", {"turns": "dealt"}),
    "past": ("past turns only", {"sees": "past"}),
    "window2": ("two turns on each side", {"window": 2}),
    "unlabelled": ("unlabelled turns kept", {"unlabelled": "kept"}),
}
ROTATED = tuple(  # which dialogues validate: five draws (the first is the default's), and each session in turn
    Alternative(validation, says, model, {"validation": validation})
    for model in ("full", "sdt")
    for validation, says in {
        **{f"tenth{n}": f"a tenth of the training dialogues, draw {n}" for n in range(2, 6)},
        **{f"session{n}": f"training session {n}" for n in range(1, 5)},
    }.items()
)
CONTEXTS = tuple(
    Alternative(name, says, model, changes)
    for model in ("full", "bigru", "sdt")
    for name, (says, changes) in TURNS.items()
)

RECOGNITION = tuple(  # text as a recogniser hears it: what its errors cost
    Alternative(name, says, model, {"text": name})
    for model in ("full", "text_only", "linear")
    for name, says in (
        ("recognised_test", "recognised in the test part alone"),
        ("recognised", "recognised in training and test"),
    )
)


def _beyond() -> dict[str, RunConfig]:
    """The runs of all alternatives, and `full_moddrop`, which has learnt to miss a modality."""
    named = {a.experiment: a.run for a in (*READINGS, *CONTEXTS, *ROTATED, *RECOGNITION)}
    return named | {"full_moddrop": replace(FULL, train=replace(FULL.train, moddrop=0.5))}


EXPERIMENTS = TABLED | _beyond()


def _compared() -> tuple[str, ...]:
    """Every alternative, after the defaults that they are compared with."""
    both = (*READINGS, *CONTEXTS, *ROTATED, *RECOGNITION)
    defaults = ["linear", "text_only", "audio_only", *(a.default for a in both)]
    return tuple(dict.fromkeys([*defaults, *(a.experiment for a in both)]))


GROUPS: dict[str, tuple[str, ...]] = {  # what a notebook runs, by the name it calls it
    "training": ("full", "full_by_query", "full_frozen", "linear", "bigru", "frame"),
    "ablations": (
        "full",  # what is taken away stands beside it
        *("text_only", "text_only_frozen", "audio_only", "linear_text", "linear_audio"),
        *("no_inter", "no_intra", "no_ffn", "no_gates"),
        *(name for name in TABLED if name.startswith("lambda_")),
    ),
    "sdt": ("full", "sdt", "sdt_no_speaker", "full_speaker"),
    "six_classes": ("full_6", "sdt_6"),
    "readings": _compared(),
    "asr": tuple(dict.fromkeys([*(a.default for a in RECOGNITION), *(a.experiment for a in RECOGNITION)])),
    "conversation": ("full", "full_moddrop"),
}


def _quick(run: RunConfig) -> RunConfig:
    """A laptop's size: narrow and short, in the paper's batches.

    LPGNet and SDT* get equal epochs.  Only sizes and rates change, no reading of the paper does.  Of the
    rates 3e-4, 1e-3 and 3e-3, `full` and `sdt` did best with these on Session 4, held out of training.
    """
    frame = getattr(run.model, "pool", "none") != "none"
    narrow = {"hidden": 64} if hasattr(run.model, "hidden") else {}
    rate = {3e-4: 1e-3, 1e-4: 3e-3}[run.train.lr]
    train, data = replace(run.train, lr=rate, epochs=6 if frame else 20), replace(run.data, frames=128)
    return replace(run, model=replace(run.model, **narrow), train=train, data=data)


PROFILES = {"paper": lambda run: run, "quick": _quick}


def experiment(name: str, profile: str = "paper", settings: Mapping[str, Any] | None = None) -> RunConfig:
    """One experiment of `EXPERIMENTS` at a profile's size.

    settings: changes by field name (`{"lr": 1e-3}`), each checked strictly against the field's type.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(sorted(EXPERIMENTS))}")
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; there are {', '.join(PROFILES)}")
    return _changed(PROFILES[profile](EXPERIMENTS[name]), settings or {})


def takes(name: str, settings: Mapping[str, Any] | None) -> bool:
    """Whether an experiment has every field that `settings` changes; a linear model has no `ffn`."""
    parts = (getattr(EXPERIMENTS[name], part) for part in ("model", "loss", "train", "data"))
    return set(settings or ()) <= {field.name for part in parts for field in fields(part)}
