"""What LPGNet does inside, from what `full` leaves: gate weights, confidence, attention, fused features.

Predictions hold each test utterance's probabilities and modality weights.  The attention maps and F_final of
Eq. (14) are those of one seed, in `<checkpoints>/full/<seed>-<key8>.npz`; where no such file is, no picture.
Shapes: N test utterances, C classes, U turns of one dialogue, d hidden size.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpgnet.config import MODALITIES
from lpgnet.runs import calibration as certain
from lpgnet.runs.calibration import SURE, ece, reliability, scaled
from lpgnet.tables.figures import theme
from lpgnet.tables.figures.of_runs import runs_origin
from lpgnet.tables.names import plain_name
from lpgnet.tables.statistics import summary

SHOWN = "full"
PATHS = {"tt": "text asks text", "aa": "audio asks audio", "at": "audio asks text", "ta": "text asks audio"}
NOT_SCORED = "#D0D0D0"
SHARES = np.arange(1, 21) / 20  # of the test utterances that are answered
PERPLEXITY = 30.0  # of t-SNE; a third of a small test part


def told(made) -> tuple | None:
    """Every prediction of `full`, its runs, the data; None before a seed is whole."""
    mine = made.runs[made.runs["experiment"] == SHOWN]
    return (predictions(mine), mine, made.data) if made.evaluation.whole(SHOWN).size else None


def weighed(made) -> tuple | None:
    """The same, where the model has gates."""
    found = told(made)
    return found if found and found[0]["weight_text"].notna().any() else None


def left(made) -> tuple | None:
    """What the first seed left, its runs, the data."""
    mine = made.runs[made.runs["experiment"] == SHOWN]
    kept = checkpoint(mine, made.data, made.place.checkpoints) if made.evaluation.whole(SHOWN).size else None
    return kept and (kept, mine, made.data)


def predictions(runs: pd.DataFrame) -> pd.DataFrame:
    """Every test utterance of every run, with its seed and the temperature of its run."""
    parts = [
        pd.read_parquet(Path(run.path).with_suffix(".parquet")).assign(seed=run.seed, t=run.temperature)
        for run in runs.itertuples()
    ]
    return pd.concat(parts, ignore_index=True)


def checkpoint(runs: pd.DataFrame, data: dict, folder: Path) -> dict | None:
    """What the first seed left of its first fold: arrays by name; None where the file isn't here."""
    order = list(data["protocols"][data["labels"]]["folds"])
    first = runs[(runs["seed"] == runs["seed"].min()) & (runs["fold"] == order[0])]
    for path in map(Path, first["path"]):
        file = folder / SHOWN / f"{path.stem}.npz"
        if file.exists():
            with np.load(file, allow_pickle=False) as opened:
                return dict(opened)
    return None


@theme.figure("gates", "Points: how much of text and of audio the fusion takes, by class.", of=weighed)
@theme.themed
def gates(scored: pd.DataFrame, runs: pd.DataFrame, data: dict) -> Figure:
    """Per class, how much of each modality Eq. (14) takes: mean over its utterances, then over seeds."""
    classes = list(runs["classes"].iloc[0])
    figure, (axis,) = theme.empty_figure(8, 4.4, 1)
    for shift, modality, colour in zip((-0.12, 0.12), MODALITIES, (theme.OURS, theme.OTHER), strict=True):
        weight = scored.groupby(["label", "seed"])[f"weight_{modality}"].mean().unstack("seed")
        found = [summary(100 * values) for values in weight.reindex(classes).to_numpy()]  # NaN: none tested
        half = theme.reach(*zip(*((f.mean, f.std, f.n) for f in found), strict=True))
        style = {"fmt": "o", "color": colour, "label": modality, "markersize": 8, "elinewidth": 2}
        axis.errorbar(np.arange(len(classes)) + shift, [f.mean for f in found], yerr=half, **style)
    axis.axhline(50, color=theme.QUOTED, linewidth=1, linestyle="--")
    axis.set_xticks(range(len(classes)), [c.capitalize() for c in classes])
    axis.set(ylabel="Weight in the fused features (%)", xlim=(-0.5, len(classes) - 0.5), ylim=(0, 100))
    axis.grid(visible=False, axis="x")
    text = f"{runs_origin(runs, data)} Weights of Eq. (13), averaged over the d features. {theme.SPREAD}"
    return theme.titled(figure, f"Gate weights of {plain_name(SHOWN)}", f"{text} Dashed: both alike.", axis)


@theme.figure(
    "calibration",
    "Two reliability diagrams: how often LPGNet is right at each confidence, before and after temperature scaling.",
    of=told,
)
@theme.themed
def calibration(scored: pd.DataFrame, runs: pd.DataFrame, data: dict) -> Figure:
    """How often LPGNet is right when it is so sure, as trained and after temperature scaling."""
    classes = pd.Index(runs["classes"].iloc[0])
    figure, axes = theme.empty_figure(9.5, 5, 2)
    for axis, title, after in ((axes[0], "As trained", False), (axes[1], "After temperature scaling", True)):
        _reliability(axis, scored, classes, after)
        axis.set(title=title, xlabel="Confidence (%)", ylabel="Right (%)", xlim=(0, 102), ylim=(0, 102))
    text = (
        f"{runs_origin(runs, data)} The temperature is fitted on each run's validation part. Size of a "
        "point: utterances in the bin, all seeds together; ECE: mean and standard deviation over seeds."
    )
    return theme.titled(figure, f"Calibration of {plain_name(SHOWN)}", text)


def _reliability(axis: Axes, scored: pd.DataFrame, classes: pd.Index, after: bool) -> None:
    """One panel; ECE is worked out seed by seed."""
    parts = [_sure(mine, classes, after) for _, mine in scored.groupby("seed")]
    errors = [100 * ece(*part) for part in parts]
    sure, gold = (np.concatenate(part) for part in zip(*parts, strict=True))
    bins, found = reliability(sure, gold), summary(errors)
    axis.plot([0, 100], [0, 100], color=theme.QUOTED, linewidth=1, linestyle="--")
    axis.plot(100 * bins["confidence"], 100 * bins["accuracy"], color=theme.OURS, linewidth=1.6)
    sizes = 25 + 300 * bins["count"] / bins["count"].sum()
    axis.scatter(100 * bins["confidence"], 100 * bins["accuracy"], s=sizes, color=theme.OURS, alpha=0.8)
    spread = "" if np.isnan(found.std) else f" ± {found.std:.1f}"
    axis.text(98, 4, f"ECE {found.mean:.1f}{spread} points", fontsize=10, ha="right")


def _sure(mine: pd.DataFrame, classes: pd.Index, calibrated: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) probabilities of one seed, each fold by its own temperature, and (N,) class numbers."""
    sure = mine[[f"p_{name}" for name in classes]].to_numpy(dtype=float)
    return scaled(sure, mine[["t"]].to_numpy()) if calibrated else sure, classes.get_indexer(mine["label"])


@theme.figure(
    "risk",
    "A line with its interval: errors among the utterances that LPGNet is surest of, by how many it answers.",
    of=told,
)
@theme.themed
def risk(scored: pd.DataFrame, runs: pd.DataFrame, data: dict) -> Figure:
    """Risk against coverage: errors among the surest utterances, as more are answered; seed by seed."""
    classes = pd.Index(runs["classes"].iloc[0])
    curves, points = zip(*(_risks(mine, classes) for _, mine in scored.groupby("seed")), strict=True)
    figure, (axis,) = theme.empty_figure(8, 4.6, 1)
    mean, ends = _interval(np.array(curves))
    axis.fill_between(100 * SHARES, mean - ends[0], mean + ends[1], color=theme.OURS, alpha=0.2, linewidth=0)
    axis.plot(100 * SHARES, mean, color=theme.OURS, linewidth=1.8, label="the surest first")
    axis.axhline(mean[-1], color=theme.QUOTED, linewidth=1, linestyle="--", label="drawn at random")
    (answered, wrong), ends = _interval(np.array(points))
    style = {"fmt": "o", "color": theme.OTHER, "label": f"top probability of {SURE:g} and more", "elinewidth": 1.6}
    axis.errorbar(answered, wrong, xerr=ends[:, :1], yerr=ends[:, 1:], **style)
    axis.set(xlabel="Answered (%)", ylabel="Wrong among these (%)", xlim=(0, 102))
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper left")
    text = f"{runs_origin(runs, data)} Calibrated probabilities. Band and lines: 95 % t interval over seeds."
    return theme.titled(figure, f"Risk and coverage of {plain_name(SHOWN)}", text)


def _risks(mine: pd.DataFrame, classes: pd.Index) -> tuple[np.ndarray, tuple[float, float]]:
    """Of one seed, in percent: the risk at each of `SHARES`; what is answered and what of it is wrong at `SURE`."""
    sure, gold = _sure(mine, classes)
    answered = sure.max(1) >= SURE
    wrong = (sure.argmax(1) != gold)[answered].mean() if answered.any() else np.nan
    return 100 * certain.risk(sure, gold, SHARES), (100 * answered.mean(), 100 * wrong)


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, K) percentages -> their mean over seeds, (K,), and how far its interval goes down and up, (2, K)."""
    found = [summary(column) for column in values.T]
    mean = np.array([f.mean for f in found])
    return mean, theme.reach(mean, [f.std for f in found], [f.n for f in found])


@theme.figure(
    "attention",
    "Four heat maps: how much each turn of a dialogue attends to each other turn, by path.",
    of=left,
)
@theme.themed
def attention(kept: dict, runs: pd.DataFrame, data: dict) -> Figure:
    """The four maps of Eq. (5) for one dialogue: a row is a turn that asks, a column one that answers."""
    maps = {name[-2:]: kept[name] for name in kept if name.startswith("attention_")}
    turns = [str(label) or "-" for label in kept["turn_labels"]]
    rows = -(-len(maps) // 2)
    figure, axes = theme.empty_figure(10.5, 1 + 4.5 * rows, min(2, len(maps)), rows=rows)
    highest, step = max(float(weights.max()) for weights in maps.values()), max(1, len(turns) // 24)
    named = [f"{number} {label}" for number, label in enumerate(turns, start=1)]
    for axis, (path, weights) in zip(axes, maps.items(), strict=False):
        theme.heat_map(axis, weights, highest, square=True)
        places = np.arange(0, len(turns), step)
        axis.set_xticks(places + 0.5, [named[p] for p in places], rotation=90, fontsize=7)
        axis.set_yticks(places + 0.5, [named[p] for p in places], rotation=0, fontsize=7)
        axis.set(title=f"{path}: {PATHS[path]}", xlabel="Answers (key)", ylabel="Asks (query)")
    figure.colorbar(axes[0].collections[0], ax=axes, shrink=0.6, label="weight, Eq. (5)")
    text = f"{_one(runs, data)} Dialogue {kept['dialogue']}. {len(turns)} turns, numbered. A row sums to one. Mean "
    return theme.titled(figure, "Attention by path", f"{text}over the rows: what each turn gives to Eq. (6).")


@theme.figure("embedding", "Two scatter plots of the fused features, PCA and t-SNE, coloured by emotion.", of=left)
@theme.themed
def embedding(kept: dict, runs: pd.DataFrame, data: dict) -> Figure:
    """F_final of Eq. (14) of the test part in two dimensions: PCA, and t-SNE beside it."""
    points, labels = kept["fused"].astype(float), kept["labels"].astype(str)
    near = min(PERPLEXITY, (len(points) - 1) / 3)
    figure, axes = theme.empty_figure(10.5, 5.2, 2)
    for axis, (title, place) in zip(axes, _flat(points, near).items(), strict=True):
        plain = labels == ""
        axis.scatter(*place[plain].T, s=12, color=NOT_SCORED, label="not scored" if plain.any() else None)
        names = runs["classes"].iloc[0]
        for colour, name in zip(theme.class_colours(names), names, strict=True):
            axis.scatter(*place[labels == name].T, s=16, color=colour, label=name, alpha=0.85, linewidths=0)
        axis.set(title=title, xticks=[], yticks=[])
    text = f"{_one(runs, data)} F_final of {len(points)} test utterances. t-SNE: scikit-learn, perplexity "
    text += f"{near:.0f}, from the PCA, random state 0; its distances and sizes mean little."
    return theme.titled(figure, "Fused features", text, axes[0])


def _flat(points: np.ndarray, perplexity: float) -> dict[str, np.ndarray]:
    """(N, d) -> (N, 2), two ways; no torch comes in with scikit-learn."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    linear = PCA(2, random_state=0, svd_solver="full").fit(points)
    share = 100 * linear.explained_variance_ratio_.sum()
    bent = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(points.astype(np.float32))
    return {f"PCA ({share:.0f} % of the variance)": linear.transform(points), "t-SNE": bent}


def _one(runs: pd.DataFrame, data: dict) -> str:
    """The caption of a picture of one run."""
    return runs_origin(runs[runs["seed"] == runs["seed"].min()], data).replace("1 seeds", "first seed")
