"""Every number the paper states, and the readings where it leaves one open.

A run is a value of `RunConfig`; an ablation is a different value, never a branch (`lpgnet.experiments`).
`Reading Rn:` marks each place where we decided for the paper (docs/readings.md): the field's default is what
we read, its other values are the alternatives.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

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


Validation = Literal[  # a tenth in five draws, one training session after the other, or none
    "tenth", "tenth2", "tenth3", "tenth4", "tenth5", "session1", "session2", "session3", "session4", "none"
]


RECOGNISED = ("recognised", "recognised_test")  # text as a recogniser hears it: of all turns, of the test part's alone
Text = Literal["frozen", "finetuned", "crossfitted", *RECOGNISED]


@dataclass(frozen=True)
class DataConfig:
    """What a run reads."""

    labels: str | None = None  # a protocol of labels.py, or "six" of its classes; None: the place's own
    validation: Validation = "tenth"  # Reading R13: of the training part
    text: Text | None = None  # Reading R18; None: the place's own
    standardise: bool = True  # Reading R24: features standardised on the training part
    unlabelled: Literal["dropped", "kept"] = "dropped"  # Reading R19: turns without a label of the task
    order: Literal["time", "transcript"] = "time"  # Reading R27: of the utterances
    turns: Literal["spoken", "shuffled", "dealt"] = "spoken"  # within dialogues, or into random dialogues
    sees: Literal["dialogue", "past"] = "dialogue"  # what a turn's sequence holds; past: it and those before
    window: int = 0  # turns on each side that a turn's sequence holds; 0: all
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
