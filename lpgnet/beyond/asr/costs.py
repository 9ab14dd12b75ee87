"""What recognition errors cost: each model with text as transcribed, and as a recogniser hears it."""

from collections.abc import Sequence

import pandas as pd

from lpgnet.beyond.readings.alternatives import CONTEXT, beside_default, judged, sets_of
from lpgnet.corpora.table import plain, utterances
from lpgnet.experiments import GROUPS, RECOGNITION
from lpgnet.places import Place
from lpgnet.tables.scores import identity
from lpgnet.tables.statistics import percent

TRANSCRIPT = "transcript"
COLUMNS = [*("text" if name == "turns" else name for name in CONTEXT), "wer", "nothing_recognised"]


def table(runs: pd.DataFrame, data: dict, place: Place, heard: pd.Series | None) -> pd.DataFrame:
    """One line per model and text, columns `COLUMNS`: accuracy in percent, the difference to the transcript.

    wer: word error rate over the corpus's utterances that have words and a clip, percent.  After LPGNet's lines
    those of missing.csv, where it is there: a part of the turns without text, over its own seeds, not paired.
    """
    sets = sets_of(runs, data, GROUPS["asr"])
    frame = judged(list(beside_default(sets, data, RECOGNITION, TRANSCRIPT))).rename(columns={"turns": "text"})
    frame = pd.concat([frame, pd.DataFrame(_missing(place, data))], ignore_index=True)
    frame = frame.sort_values("model", key=lambda m: m.map(list(dict.fromkeys(m)).index), kind="stable")
    frame = frame.reindex(columns=COLUMNS).reset_index(drop=True)
    if heard is not None:
        table = utterances(place.features)
        by = frame["experiment"].str.startswith("recognised") & frame["accuracy_mean"].notna()
        clips = table["wav"].ne("").to_numpy()
        frame.loc[by, "wer"] = percent(word_error_rate(table["text"][clips], heard[clips]))
        frame.loc[by, "nothing_recognised"] = int((heard[clips] == "").sum())
    return frame.astype({"n_seeds": "Int64", "n_dialogues": "Int64", "nothing_recognised": "Int64"})


def _missing(place: Place, data: dict) -> list[dict]:
    """Lines of missing.csv that lose text, of `full`."""
    path = place.results / "missing.csv"
    if not path.exists():
        return []
    rows = pd.read_csv(path, dtype={"runs": str}).query("experiment == 'full' and modality == 'text'")
    whole = rows["accuracy_mean"][rows["rate"] == 0].iloc[0]
    return [
        identity(data, line.labels)
        | {"model": "full", "text": f"none in {line.rate:.0%} of the test turns", "experiment": "full"}
        | {"accuracy_mean": percent(line.accuracy_mean), "accuracy_std": percent(line.accuracy_std)}
        | {"difference": percent(line.accuracy_mean - whole), "n_seeds": line.n_seeds, "note": "missing.csv"}
        for line in rows[rows["rate"] > 0].itertuples()
    ]


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Words that must be replaced, left out or added for all that is said to become what is heard, per word said.

    Words alone, in lower case; utterances without words don't count.
    """
    pairs = [(plain(a).split(), plain(b).split()) for a, b in zip(said, heard, strict=True)]
    pairs = [(a, b) for a, b in pairs if a]
    return sum(edits(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs) if pairs else float("nan")


def edits(a: Sequence, b: Sequence) -> int:
    """The fewest replacements, deletions and insertions that turn a into b."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]
