"""What a notebook's SETTINGS change: an exploration against its default, on the seeds that both have."""

from itertools import product
from typing import Any

import pandas as pd

from lpgnet.beyond.readings.alternatives import PAIRED, against, judged, sets_of
from lpgnet.places import Place
from lpgnet.runs.plan import current_records, possible
from lpgnet.runs.records import read_data
from lpgnet.tables.scores import SHOWN
from lpgnet.tables.statistics import Resampled

EXPLORED = " with SETTINGS"
SHOWN_COLUMNS = ["experiment", "metric", "default_mean", "alternative_mean", *PAIRED, "verdict", "note"]


def against_default(place: Place, names: list[str], settings: dict[str, Any]) -> pd.DataFrame:
    """One line per experiment and metric: with the settings minus without, in points, as notebook 07 has it.

    Both intervals are paired; the verdict is after Holm's correction over the lines of a metric.  An experiment
    without both runs keeps its line, and the note says what is lacking.
    """
    data = read_data(place.runs)
    default, changed = current_records(place, data), current_records(place, data, settings)
    changed = changed.assign(experiment=changed["experiment"] + EXPLORED)
    runs = pd.concat([default, changed], ignore_index=True)
    sets = sets_of(runs, data, [*names, *(name + EXPLORED for name in names)])
    lines = [_line(sets, data, name, metric) for name, metric in product(names, SHOWN)]
    return judged(lines)[SHOWN_COLUMNS].rename(columns={"alternative_mean": "explored_mean"})


def _line(sets: dict[str, Resampled], data: dict, name: str, metric: str) -> dict:
    line = {"experiment": name, "metric": metric}
    if name not in sets or name + EXPLORED not in sets:
        refused = possible(data, [name])[1].get(name)
        lacks = "with these settings" if name in sets else "without settings, on these seeds"
        return line | {"note": f"not run: {refused}" if refused else f"not run {lacks}"}
    return line | against(sets, data, name + EXPLORED, name, metric)
