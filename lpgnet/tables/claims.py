"""The paper's claims as lines: what it prints, what we found, and whether that supports it.

The verdict on a claim "a is better than b", the first that holds:
    supported                           a - b > 0 and both tests give p < 0.05 after Holm's correction over the
                                        claim's table
    not supported                       a - b < 0, and the same
    equal within 1 point                both 95 % intervals, over seeds and over dialogues, lie within a point of 0
    supported on this test set only     a - b > 0 and only the test over seeds says so: the dialogues are too few
    not supported on this test set only a - b < 0, and the same
    undecided: ...                      anything else, with the smallest difference that could have shown: half
                                        the wider of the two intervals
A claim "a is no worse than b" has a margin instead, in points: it is supported where both intervals of a - b lie
above minus the margin; the rest as above.

Each claim is asked again at the last epoch, since a headline may turn on how the epoch was chosen (R14).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lpgnet.labels import is_simulated
from lpgnet.machine.files import write_csv
from lpgnet.tables import certainty
from lpgnet.tables.build import reported
from lpgnet.tables.comparisons import all_scored, compare, decoder, pairs
from lpgnet.tables.raters import raters
from lpgnet.tables.rows import TABLES
from lpgnet.tables.scores import SHOWN, Evaluation, Predictions, identity
from lpgnet.tables.selection import selection_gap
from lpgnet.tables.slices import slices
from lpgnet.tables.statistics import ALPHA, EQUAL, equal
from lpgnet.tables.typeset import IEMOCAPS, OF_IEMOCAP, SIMULATED


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper: `better` beats `worse` in `metric`, or is within `margin` points of it."""

    says: str
    section: str
    table: int
    better: str
    worse: str
    metric: str = "accuracy"  # the one that the sentence argues with
    margin: float = 0.0


LINEAR = "LPGNet beats a linear classifier on the same features"
F1 = "weighted_f1"
CLAIMS = (
    Claim(LINEAR, "4.4", 2, "full", "linear"),
    Claim("Utterance vectors serve LPGNet better than frames", "4.4", 2, "full", "frame"),
    Claim("LPGNet on frames still beats the linear classifier", "4.4", 2, "frame", "linear"),
    Claim("Both modalities are better than text alone", "4.5", 3, "full", "text_only"),
    Claim("Both modalities are better than audio alone", "4.5", 3, "full", "audio_only"),
    Claim("Without inter-modal attention LPGNet is worse", "4.5", 3, "full", "no_inter"),
    Claim("Without intra-modal attention LPGNet is worse", "4.5", 3, "full", "no_intra"),
    Claim("Without the position-wise FFN LPGNet is worse", "4.5", 3, "full", "no_ffn", F1),  # its "1.12" is ACC
    Claim("Without dual-gated fusion LPGNet is worse", "4.5", 3, "full", "no_gates", F1),
    Claim(f"Audio alone: {LINEAR}", "4.5", 4, "audio_only", "linear_audio"),
    Claim(f"Text alone: {LINEAR}", "4.5", 5, "text_only", "linear_text"),
    *(
        Claim(f"Loss weights 1.5/1.0/0.3 are better than {weights}", "4.5", 6, "full", name)
        for weights, name in (
            ("1.0/1.0/1.0", "lambda_1_1_1"),
            ("1.0/0.0/1.0", "lambda_1_0_1"),
            ("1.0/1.0/0.0", "lambda_1_1_0"),
        )
    ),
    Claim("Distillation helps: KL weight 0.3 beats 0 at 1.5/1.0", "4.5", 6, "full", "lambda_1p5_1_0"),
    Claim("The students' own loss helps: CE weight 1 beats 0", "4.5", 6, "lambda_1_1_1", "lambda_1_0_1"),
    Claim("Self-distillation helps: 1.0/1.0/1.0 beats none", "3.6", 6, "lambda_1_1_1", "lambda_1_0_0"),
    Claim("Self-distillation helps: 1.5/1.0/0.3 beats none", "3.6", 6, "full", "lambda_1p5_0_0"),
    Claim("LPGNet beats SDT* on four classes", "4.5", 7, "full", "sdt"),
    Claim("LPGNet beats SDT* on six classes", "4.5", 7, "full_6", "sdt_6"),
    Claim("LPGNet needs no speaker embedding", "1", 7, "full", "full_speaker", margin=1.0),
    Claim("SDT* depends on its speaker embedding", "1", 7, "sdt", "sdt_no_speaker"),
    Claim("LPGNet beats SDT* where neither knows the speaker", "1", 7, "full", "sdt_no_speaker"),
)
EQUAL_TO, UNDECIDED = f"equal within {EQUAL:.0f} point", "undecided"
HERE_ONLY = " on this test set only"
STANDS = (  # what a verdict can say, up to its colon
    *("supported", f"supported{HERE_ONLY}", EQUAL_TO),
    *("not supported", f"not supported{HERE_ONLY}", UNDECIDED),
)
QUOTED = {(4, "linear_audio"): ("emotion2vec", "Linear")}  # ours that the paper quotes from others
SHARED = (  # columns of a comparison that a claim shows
    *("difference", "n_seeds", "seeds_low", "seeds_high", "p_seeds_holm", "effect"),
    *("n_dialogues", "dialogues_low", "dialogues_high", "p_dialogues_holm"),
)


def build_all(found: Evaluation, features: Path | None = None) -> dict[str, pd.DataFrame]:
    """Every CSV that stands beside the runs, by its name.  features: the store, for slices by transcript."""
    return stated(found.predictions, found.data) | {
        "decoder": decoder(found),
        "selection_gap": selection_gap(found),
        "slices": slices(found, features),
        "raters": raters(found, features),
        "coverage": certainty.coverage(found),
        "calibration": certainty.calibration(found),
    }


def stated(predictions: list[Predictions], data: dict) -> dict[str, pd.DataFrame]:
    """Intervals, comparisons, and one line per claim whose two models have been run."""
    intervals, compared = compare(predictions, data)
    last = pairs(all_scored(predictions, "last"), data)
    return {"intervals": intervals, "comparisons": compared, "claims": _claims(compared, last, data)}


def write(frames: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """One CSV per frame; equal frames, equal bytes.  A frame without a line is no file."""
    paths = []
    for name, frame in frames.items():
        path = Path(folder) / f"{name}.csv"
        if frame.empty:
            path.unlink(missing_ok=True)
            continue
        paths.append(write_csv(path, frame))
    return paths


def _claims(compared: pd.DataFrame, last: pd.DataFrame, data: dict) -> pd.DataFrame:
    paper, lines = reported(), []
    by_pair, at_last = (
        {(r["table"], r["a"], r["b"], r["metric"]): r for r in frame.to_dict("records")} for frame in (compared, last)
    )
    for claim in CLAIMS:
        key = (claim.table, claim.better, claim.worse)
        if (*key, claim.metric) not in by_pair:
            continue
        found, end = by_pair[*key, claim.metric], at_last[*key, claim.metric]
        (other,) = (by_pair[(*key, m)] for m in SHOWN if m != claim.metric)
        printed = _printed(claim, paper, len(data["protocols"][found["labels"]]["classes"]))
        lines.append(
            identity(data, found["labels"])
            | {"claim": claim.says, "section": claim.section, "table": claim.table}
            | {"better": claim.better, "worse": claim.worse, "metric": claim.metric}
            | {"margin": claim.margin, "difference_reported": printed}
            | {name: found[name] for name in SHARED}
            | {"reported_is_inside": _inside(printed, found)}
            | {"verdict": verdict(found, claim.margin), "verdict_other_metric": verdict(other, claim.margin)}
            | {"difference_last": end["difference"], "verdict_last": verdict(end, claim.margin)}
            | {"note": SIMULATED if is_simulated(data["place"]) else "" if found["labels"] in IEMOCAPS else OF_IEMOCAP}
        )
    return pd.DataFrame(lines)


def verdict(found: dict, margin: float = 0.0) -> str:
    """What a line of `pairs` says of "a is better than b", or, with a margin, of "a is no worse than b"."""
    ends = [found[f"{kind}_{end}"] for kind in ("seeds", "dialogues") for end in ("low", "high")]
    over_seeds, over_dialogues = (found[p] < ALPHA for p in ("p_seeds_holm", "p_dialogues_holm"))  # NaN is not
    way = "supported" if found["difference"] > 0 else "not supported"
    if margin and min(ends[0], ends[2]) > -margin:
        return "supported"
    if over_seeds and over_dialogues and not (margin and found["difference"] > 0):
        return way
    if equal(*ends):
        return EQUAL_TO
    if over_seeds and not margin:
        return way + HERE_ONLY
    if np.isnan(ends).any():
        return f"{UNDECIDED}: one seed or dialogue has no interval"
    wider = max(ends[1] - ends[0], ends[3] - ends[2])
    return f"{UNDECIDED}: could have shown {wider / 2:.1f} points at least"


def stand(verdict: str) -> str:
    """Which of `STANDS` a verdict is."""
    return verdict.partition(":")[0]


def _printed(claim: Claim, paper: dict[int, pd.DataFrame], classes: int) -> float:
    """What the paper prints as difference, in points; NaN where it prints none (over so many classes)."""
    columns = {score: column for column, score in TABLES[claim.table].metrics.items()}
    if claim.metric not in columns:
        return np.nan
    printed = paper[claim.table].set_index(list(TABLES[claim.table].key))[columns[claim.metric]]
    better, worse = (_row(claim.table, name) for name in (claim.better, claim.worse))
    if better is None or worse is None or classes != (better[1] if claim.table == 7 else 4):
        return np.nan
    return round(printed.loc[better] - printed.loc[worse], 2) + 0.0


def _row(table: int, experiment: str) -> tuple | str | None:
    """The key of the row that the paper prints for an experiment."""
    keys = [row.key for row in TABLES[table].rows if row.experiment == experiment and row.printed]
    key = QUOTED.get((table, experiment)) or (keys[0] if keys else None)
    return key[0] if key and len(key) == 1 else key


def _inside(printed: float, found: dict) -> str:
    """Whether the printed difference lies in both of our intervals; empty where either is missing."""
    ends = [found[f"{kind}_{end}"] for kind in ("seeds", "dialogues") for end in ("low", "high")]
    if np.isnan([printed, *ends]).any():
        return ""
    return "yes" if max(ends[0], ends[2]) <= printed <= min(ends[1], ends[3]) else "no"
