"""What a notebook shows of its runs, and the sentences that it ends with; all of it made from the records."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from markupsafe import escape

from lpgnet.beyond.report.blocks import Section, sheet
from lpgnet.corpora.table import utterances
from lpgnet.labels import is_simulated, labelled
from lpgnet.places import Place
from lpgnet.runs.plan import describe
from lpgnet.tables.claims import stand, verdict
from lpgnet.tables.classes import BOTH_HAPPY, FRUSTRATED, OLD, by_kind
from lpgnet.tables.comparisons import PAIRS, all_scored, pairs
from lpgnet.tables.names import plain_name
from lpgnet.tables.scores import SHOWN, Evaluation
from lpgnet.tables.statistics import columns, summary
from lpgnet.tables.typeset import SIMULATED

METRIC = "accuracy"


@dataclass(frozen=True, repr=False)
class Seen:
    """Sentences that a notebook shows as a list; all text is escaped."""

    lines: list[str]

    def _repr_html_(self) -> str:
        return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in self.lines) + "</ul>"

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def _seen(lines: Iterable[str], corpus: str) -> Seen:
    """The same, with what simulated data can't say."""
    lines = list(lines) or ["Nothing that was asked for here has been run yet."]
    return Seen(lines + [SIMULATED] * is_simulated(corpus))


def table(frame: pd.DataFrame, caption: str, **heads: str) -> Section:
    """Any frame as the report shows it: plain names, intervals in brackets.  heads: what a column is called."""
    name = caption.partition(" ")[0].lower()
    return Section(name, "", "", [sheet(frame, name, caption, heads=heads)] if len(frame) else [])


def scored_runs(found: Evaluation, experiments: list[str]) -> Section:
    """Accuracy and weighted F1 of some experiments, in percent, in the order asked."""
    by = found.seeds.groupby("experiment")
    lines = [
        {"experiment": name, "n_seeds": len(mine)}
        | {key: x for metric in SHOWN for key, x in columns(metric, summary(mine[metric])).items()}
        for name in experiments
        if name in by.groups and len(mine := by.get_group(name))
    ]
    return table(pd.DataFrame(lines), "Scores in percent, mean ± standard deviation over seeds.", experiment="model")


def compared(found: Evaluation, table: int) -> list[dict]:
    """The pairs of a table in accuracy, whole seeds alone; each a line of `comparisons.pairs`."""
    names = {name for pair in PAIRS[table] for name in pair}
    mine = Evaluation(found.runs[found.runs["experiment"].isin(names)], found.data)
    lines = pairs(all_scored(mine.predictions), mine.data, {table: PAIRS[table]}).to_dict("records")
    return [line for line in lines if line["metric"] == METRIC]


def sentence(line: dict) -> str:
    """A pair: both numbers, the difference with both intervals, what it is worth."""
    a, b = (plain_name(line[x]) for x in "ab")
    text = (
        f"{a} against {b}: {line['mean_a']:.1f} and {line['mean_b']:.1f} % accuracy, {line['difference']:+.1f} points"
    )
    spans = [
        f"{low:+.1f} to {high:+.1f} over {line[f'n_{kind}']} {kind}"
        for kind in ("seeds", "dialogues")
        for low, high in [(line[f"{kind}_low"], line[f"{kind}_high"])]
        if not pd.isna(low)
    ]
    return f"{text} (95 %: {'; '.join(spans) or 'no interval of one seed'}): {verdict(line)}."


def features(place: Place) -> Seen:
    """01: how much of the corpus is labelled, how uneven its classes are, how wide its vectors."""
    table, data = utterances(place.features), describe(place)
    label = labelled(table, place.labels).dropna()
    share = (100 * label.value_counts(normalize=True)).map("{:.0f} %".format)
    sizes = [f"{m} {about['size']}" for m, about in data["features"].items() if m != "fits"]
    lines = [
        f"{len(label)} of {len(table)} turns in {table['dialogue'].nunique()} dialogues carry a label of "
        f"{place.labels}: {share.index[0]} is the largest class ({share.iloc[0]}), {share.index[-1]} the smallest "
        f"({share.iloc[-1]}).",
        f"Numbers that a turn is read as: {', '.join(sizes)}.",
    ]
    return _seen(lines, place.corpus)


def trained(found: Evaluation, table: int) -> Seen:
    """02: every pair of a table."""
    return _seen(map(sentence, compared(found, table)), found.data["place"])


def ablated(found: Evaluation, table: int) -> Seen:
    """03: what taking parts away costs, the most costly first, and how many of the differences are decided."""
    lines = sorted((p for p in compared(found, table) if p["a"] == "full"), key=lambda p: -p["difference"])
    if not lines:
        return _seen([], found.data["place"])
    count = pd.Series([stand(verdict(line)) for line in lines]).value_counts()
    told = ", ".join(f"{name} ({n})" for name, n in count.items())
    most, cost = plain_name(lines[0]["b"]), lines[0]["difference"]
    dear = (
        f"The most costly is {most}: {cost:.1f} points." if cost >= 0.05 else "On average none of them costs anything."
    )
    first = f"LPGNet against {len(lines)} variants: {told}. {dear}"
    return _seen([first, *map(sentence, lines)], found.data["place"])


def compared_with_sdt(found: Evaluation) -> Seen:
    """04: the answer, class by class, and the sizes."""
    lines = [p for p in compared(found, 7) if p["a"] != "full_6"]
    words = [sentence(line) for line in lines]
    mine, other = (found.seeds[found.seeds["experiment"] == name] for name in ("full", "sdt"))
    if len(mine) and len(other):
        classes = mine["classes"].iloc[0]
        ahead = [name for name in classes if mine[name].mean() > other[name].mean()]
        named = ", ".join(ahead) or "none"
        words.append(f"By recall LPGNet is ahead of SDT* in {len(ahead)} of {len(classes)} classes: {named}.")
        sizes = [int(part["parameters"].iloc[0]) for part in (mine, other)]
        words.append(
            f"LPGNet has {sizes[0]:,} parameters here, SDT* {sizes[1]:,}: {sizes[0] / sizes[1]:.2f} times as many."
        )
    return _seen(words, found.data["place"])


def of_six_classes(found: Evaluation) -> Seen:
    """05: the comparison on six classes, and how much of the errors is new."""
    words = [sentence(p) for p in compared(found, 7) if p["a"] == "full_6"]
    for name in ("full_6", "sdt_6"):
        if len(pool := found.whole(name)):
            share = by_kind(pool).set_index("errors")["share"]
            words.append(
                f"{plain_name(name)}: of its errors {share[BOTH_HAPPY]:.0f} % are between happy and excited and "
                f"{share[FRUSTRATED]:.0f} % with frustrated, both new; {share[OLD]:.0f} % could be made with four."
            )
    return _seen(words, found.data["place"])


def claimed(claims: pd.DataFrame, corpus: str) -> Seen:
    """06: how many of the paper's claims have which verdict."""
    if claims.empty:
        return _seen([], corpus)
    count = claims["verdict"].map(stand).value_counts()
    return _seen([f"Of {len(claims)} claims: {', '.join(f'{n} {name}' for name, n in count.items())}."], corpus)
