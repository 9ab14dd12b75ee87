"""Records -> everything that stands beside them: tables, statistics, figures.  No torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import joblib
import pandas as pd

from lpgnet.config import ROOT
from lpgnet.experiments import TABLED
from lpgnet.machine.files import write_csv
from lpgnet.places import Place
from lpgnet.runs import records
from lpgnet.runs.plan import current_records
from lpgnet.tables import build, claims, typeset
from lpgnet.tables.scores import Evaluation, fold_scores
from lpgnet.tables.speakers import speaker_independence


@dataclass(frozen=True)
class Rebuilt:
    """What the records of a place come to, and where it was written.

    beside: the frames of `claims.build_all`, and `speakers`, by name.
    """

    place: Place
    evaluation: Evaluation
    tables: dict[int, pd.DataFrame]
    folds: pd.DataFrame
    beside: dict[str, pd.DataFrame]
    paths: list[Path]

    @property
    def runs(self) -> pd.DataFrame:
        return self.evaluation.runs

    @property
    def data(self) -> dict:
        return self.evaluation.data

    @property
    def origin(self) -> str:
        """Corpus, profile, split, labels, seeds, and where it is simulated: what every number is of."""
        return typeset.origin(self.tables[2][self.tables[2]["source"] == "run"])

    def remarks(self) -> list[str]:
        """What was not used, left out, or is still to be run."""
        lines = [
            f"stale, not used: {Path(path).relative_to(self.place.runs).as_posix()} ({reason})"
            for path, reason in self.runs.attrs["stale"].items()
        ]
        lines += self.beside["slices"].attrs["left_out"]
        return lines + [f"table {n}: {line}" for n in self.tables for line in build.lacking(n, self.evaluation)]


def rebuild(place: Place) -> Rebuilt:
    """Build everything from the records of a place and write it, whole files only."""
    data = records.read_data(place.runs)
    runs = current_records(place, data)
    runs = runs[runs["experiment"].isin(TABLED)]  # what notebooks 07 and 08 run has tables of its own
    if kept := sorted(set(runs["kept"]) - {""}):  # every line of every table names its place
        data = data | {"place": f"{data['place']} (records of earlier code: {'; '.join(kept)})"}
    found = Evaluation(runs, data)
    tables, by_fold = build.build_all(found), fold_scores(runs, data)
    beside = claims.build_all(found, place.features)
    paths = [*build.write_all(tables, place.tables), write_csv(place.tables / "folds.csv", by_fold)]
    paths += claims.write(beside, place.results)
    beside["speakers"] = speaker_independence(place)  # reads what was written just now, and the other split's
    paths += claims.write({"speakers": beside["speakers"]}, place.results)
    rebuilt = Rebuilt(place, found, tables, by_fold, beside, paths)
    paths += draw(rebuilt)
    return rebuilt


def draw(rebuilt: Rebuilt) -> list[Path]:
    """Every declared figure that there is something to draw of; one that is there of the same stays.

    One that nothing allows any more is removed, also where its name is no longer declared.
    """
    from lpgnet.tables.figures import architecture, forest, inside, of_runs, of_tables, theme  # noqa: F401  they declare

    known, folder, code = theme.FIGURES, rebuilt.place.figures, code_digest()
    given = {name: declared.of(rebuilt) for name, declared in known.items() if declared.of}
    wanted = {folder / f"{name}.png": (name, args) for name, args in given.items() if args is not None}
    for path, (name, args) in wanted.items():
        stamp = joblib.hash((code, theme.mpl.__version__, name, args))
        if theme.said(path).get(theme.STAMP) != stamp:
            theme.save_figure(name, known[name].draw(*args), folder, stamp)
    for path in set(folder.glob("*.png")) - set(wanted):
        if path.stem in given or theme.STAMP in theme.said(path):
            path.unlink()
    return list(wanted)


def code_digest() -> str:
    """SHA-256 over the package's files, names and bytes."""
    sha = hashlib.sha256()
    for path in sorted(p for p in (ROOT / "lpgnet").rglob("*") if p.suffix in (".py", ".j2", ".css", ".js")):
        sha.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()
