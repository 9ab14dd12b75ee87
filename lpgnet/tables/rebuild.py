"""Records -> everything that stands beside them: tables, statistics, figures.  No torch."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lpgnet.experiments import TABLED
from lpgnet.places import Place
from lpgnet.runs import records
from lpgnet.runs.plan import current_records
from lpgnet.tables import build, claims, folds
from lpgnet.tables.speakers import speaker_independence


@dataclass(frozen=True)
class Made:
    """What the records of a place come to, and where it was written.

    beside: the frames of `claims.build_all` by name.
    """

    place: Place
    data: dict
    runs: pd.DataFrame
    tables: dict[int, pd.DataFrame]
    folds: pd.DataFrame
    beside: dict[str, pd.DataFrame]
    paths: list[Path]

    def remarks(self) -> list[str]:
        """What was not used, left out, or is still to be run."""
        stale = (Path(path).relative_to(self.place.runs).as_posix() for path in self.runs.attrs["stale"])
        lines = [f"stale, not used: {name}" for name in stale]
        lines += self.beside["slices"].attrs["left_out"]
        return lines + [
            f"table {n}: {line}" for n in self.tables for line in build.lacking(n, self.runs, self.data)
        ]


def remake(place: Place) -> Made:
    """Build everything from the records of a place and write it, whole files only."""
    data = records.read_data(place.runs)
    runs = current_records(place, data)
    runs = runs[runs["experiment"].isin(TABLED)]  # what notebooks 07 and 08 run has tables of its own
    built = build.build_all(runs, data)
    by_fold = folds.fold_scores(runs, data)
    beside = claims.build_all(runs, data, place.features)
    paths = [*build.write_all(built, place.tables), folds.write(by_fold, place.tables)]
    paths += claims.write(beside, place.results)
    beside["speakers"] = speaker_independence(place)  # reads what was written just now, and the other split's
    paths += claims.write({"speakers": beside["speakers"]}, place.results)
    from lpgnet.tables.figures import of_tables  # after the tables: it takes seconds to import

    paths += of_tables.save_all(runs, data, built, place.figures, beside["slices"], place.results)
    return Made(place, data, runs, built, by_fold, beside, paths)
