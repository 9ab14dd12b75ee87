"""Where things lie on disk, and what a notebook may be told: (corpus, profile, split, labels) -> folders."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lpgnet.config import PROFILES, ROOT, experiment
from lpgnet.labels import PROTOCOLS, allowed

OUTPUT = Path(os.environ.get("LPGNET_OUTPUT", ROOT))  # results/ and paper_tables/<corpus>/ go here
CORPORA = ("simulated", "iemocap")
SPLITS = ("session5", "loso")


@dataclass(frozen=True)
class Place:
    """One kind of run and its folders: corpus, profile, split and labels share none (DESIGN 1)."""

    corpus: str
    profile: str
    split: str
    labels: str
    output: Path  # above results/ and paper_tables/

    @property
    def name(self) -> str:
        """The corpus alone where everything is its default, all four otherwise."""
        default = replace(place(self.corpus), output=self.output)
        parts = (self.corpus, self.profile, self.split, self.labels)
        return self.corpus if self == default else "--".join(parts)

    @property
    def results(self) -> Path:
        return self.output / "results" / self.name

    @property
    def features(self) -> Path:
        """Features depend on the corpus only, so its other combinations read the same ones."""
        return self.output / "results" / self.corpus / "features"

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


def place(
    corpus: str = "simulated",
    profile: str | None = None,
    split: str | None = None,
    labels: str | None = None,
) -> Place:
    """The folders of one kind of run.  None takes the corpus's default."""
    profile = profile or ("quick" if corpus == "simulated" else "paper")
    split, labels = split or "session5", labels or "majority-4"
    wanted = {
        "corpus": (corpus, CORPORA),
        "profile": (profile, PROFILES),
        "split": (split, SPLITS),
        "labels": (labels, PROTOCOLS),
    }
    for what, (value, known) in wanted.items():
        if value not in known:
            raise ValueError(f"no {what} {value!r}; there are {', '.join(known)}")
    allowed(labels, corpus)
    return Place(corpus, profile, split, labels, OUTPUT)


class Parameters(BaseModel):
    """What a notebook may be told; each declares the ones it uses.  Anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    CORPUS: str = "simulated"
    ROOT: str | None = None
    PROFILE: str | None = None
    SPLIT: str | None = None
    LABELS: str | None = None
    DEVICE: Literal["auto", "cpu", "cuda"] = "auto"
    SEEDS: int = 10
    JOBS: int | None = None
    EXPERIMENTS: list[str] = []
    SETTINGS: dict[str, Any] = {}

    @property
    def place(self) -> Place:
        return place(self.CORPUS, self.PROFILE, self.SPLIT, self.LABELS)


def parameters(names: Mapping[str, Any]) -> Parameters:
    """Check a notebook's parameters, given its `globals()`: every upper-case name is one.

    papermill only warns of a name that it doesn't know and passes `lr: 3e-4` as a string; both stop here.
    """
    given = {name: value for name, value in names.items() if name.isupper() and name[0] != "_"}
    try:
        checked = Parameters(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Parameters.model_fields)
        raise ValueError(
            f"parameter {name}={given.get(name)!r}: {first['msg']}; a notebook knows {known}"
        ) from None
    if checked.SEEDS < 1 or (checked.JOBS is not None and checked.JOBS < 1):
        raise ValueError(f"SEEDS={checked.SEEDS}, JOBS={checked.JOBS}: both must be at least 1")
    for name in checked.EXPERIMENTS:
        experiment(name, settings=checked.SETTINGS)
    checked.place  # noqa: B018  a misspelt corpus stops here
    return checked
