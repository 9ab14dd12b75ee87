"""What the first screen of the report answers: does the paper's headline hold, and do its claims?"""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from lpgnet.beyond.audit import data_audit, paper_audit
from lpgnet.beyond.audit.findings import FAULT, WARNING
from lpgnet.beyond.audit.paper_kinds import FAILS
from lpgnet.beyond.report.blocks import Card, Cell, Sheet, interval, number, p_value, spread, verdict
from lpgnet.labels import is_simulated
from lpgnet.runs.plan import possible
from lpgnet.tables.build import reported
from lpgnet.tables.claims import STANDS, stand
from lpgnet.tables.names import plain_name
from lpgnet.tables.typeset import IEMOCAPS

SPEAKERS = ("full_speaker", "sdt_no_speaker")  # whose claims are about speaker identity
METRICS = {"accuracy": "Accuracy", "weighted_f1": "Weighted F1"}
STYLE = dict(zip(STANDS, ("good", "warn", "warn", "bad", "warn", "open"), strict=True))


def counts(claims: pd.DataFrame) -> dict[str, int]:
    """How many claims have which verdict."""
    short = claims["verdict"].map(stand) if len(claims) else pd.Series(dtype=str)
    return {name: int((short == name).sum()) for name in STANDS}


def cards(beside: dict, data: dict, runs: pd.DataFrame, paper: pd.DataFrame, audit) -> list[Card]:
    """One per question, the paper's headline first.  audit: the data's, None where there is none."""
    claims = beside["claims"]
    lines = claims.to_dict("records") if len(claims) else []
    found = [_headline(beside["intervals"], data)]
    found += [_claim(line) for line in lines if {line["better"], line["worse"]} in ({"full", "sdt"},)]
    found += [_claim(line) for line in lines if {line["better"], line["worse"]} & set(SPEAKERS)]
    found += _size(runs)
    count = paper["verdict"].value_counts()
    says = f"{len(paper)} statements, recomputed from the paper's own tables: {paper_audit.counted(paper)}."
    verdict = f"{count.get(FAILS, 0)} of {len(paper)} fail"
    found.append(Card("The paper agrees with itself", verdict, says, "bad", "paper-audit"))
    if audit is not None:
        there, says = set(audit["severity"]), data_audit.counted(audit)
        style = "bad" if FAULT in there else "warn" if WARNING in there else "good"
        short = ", ".join(says.split(", ")[:2])  # faults and warnings
        found.append(Card("The data are sound", short, f"{says}.", style, "data-audit"))
    return found


def _headline(intervals: pd.DataFrame, data: dict) -> Card:
    """87.99 % against our accuracy of `full`, where it was asked of four classes."""
    printed = reported()[2].set_index("model").at["LPGNet (Utterance)", "accuracy"]
    title = f"LPGNet reaches {printed:.2f} % on four emotions of IEMOCAP"
    mine = intervals[(intervals["experiment"] == "full") & (intervals["metric"] == "accuracy")]
    if mine.empty and (refused := possible(data, ["full"])[1].get("full")):
        return _instead(intervals[intervals["metric"] == "accuracy"], refused)
    if mine.empty:
        return Card(title, "not run yet", "There is no whole seed of `full` here.", "open", "table2")
    line = mine.iloc[0]
    says = f"Here {line['mean']:.1f} %, {_both(line)}."
    classes = data["protocols"][data["labels"]]["classes"]
    if is_simulated(data["corpus"]) or data["labels"] not in IEMOCAPS or len(classes) != 4:
        return Card(title, "not comparable", f"{says} Not the paper's data.", "open", "table2")
    low = min(line["seeds_low"], line["dialogues_low"])
    high = max(line["seeds_high"], line["dialogues_high"])
    if pd.isna([low, high]).any():
        return Card(title, "undecided", f"{says} One seed or dialogue has no interval.", "open", "table2")
    short = "not reached here" if high < printed else "exceeded here" if low > printed else "agrees"
    style = {"agrees": "good", "exceeded here": "good"}.get(short, "bad")
    return Card(title, short, f"{says} Printed minus ours: {printed - line['mean']:+.2f} points.", style, "table2")


def _instead(accuracy: pd.DataFrame, refused: str) -> Card:
    """What ran where `full` can't: all of it, since the best would be picked on the test part."""
    means = [f"{plain_name(line.experiment)} {line.mean:.1f} %" for line in accuracy.itertuples()]
    short = f"{len(means)} of its models ran" if means else "nothing ran yet"
    says = f"Accuracy: {', '.join(means)}. " if means else ""
    return Card("What this corpus can show", short, f"{says}LPGNet can't run: {refused}.", "open", "table3")


def _claim(line: dict) -> Card:
    """One claim of the paper, with the difference that decides it."""
    short, _, more = line["verdict"].partition(": ")
    printed = line["difference_reported"]
    says = "" if pd.isna(printed) else f"Printed: {number(printed, 2, signed=True).text} points. "
    margin = f" Margin: {line['margin']:g} point." if line["margin"] else ""
    says += f"Here: {_points(line['difference'])}, {_both(line)}{more and '; '}{more}.{margin}"
    if stand(line["verdict_last"]) != short:
        says += f" At the last epoch: {line['verdict_last']} ({_points(line['difference_last'])})."
    return Card(line["claim"], short, says, STYLE[short], "claims")


def _points(difference: float) -> str:
    return f"{number(difference, signed=True).text} points"


def _both(line) -> str:
    seen = interval(line["seeds_low"], line["seeds_high"]).text or "(none)"
    drawn = interval(line["dialogues_low"], line["dialogues_high"]).text or "(none)"
    return f"95 % intervals {seen} over {line['n_seeds']} seeds and {drawn} over {line['n_dialogues']} dialogues"


def _size(runs: pd.DataFrame) -> list[Card]:
    """ "Lightweight", by the parameters that the runs had."""
    sizes = runs.groupby("experiment")["parameters"].max()
    if not {"full", "sdt"} <= set(sizes.index):
        return []
    mine, other = int(sizes["full"]), int(sizes["sdt"])
    style, short = ("good", "supported") if mine < other else ("bad", "not supported")
    says = f"LPGNet {number(mine).text}, SDT* {number(other).text}: {mine / other:.2f} times as many, counted"
    if set(runs["profile"]) == {"paper"}:
        says += "."
    else:  # both are as wide here; their published widths are 768 and 1024
        style, short = "open", "not comparable"
        says += " at this profile's equal widths; the published ones differ (notebook 04 at profile paper)."
    return [Card("LPGNet has fewer parameters than SDT*", short, says, style, "cost")]


def _difference(line: dict, column: str = "difference", signed: bool = True) -> Cell:
    """In points, both intervals below."""
    ends = {kind: interval(line[f"{kind}_low"], line[f"{kind}_high"]).text for kind in ("seeds", "dialogues")}
    within = "\n".join(f"{kind} {text or 'none'}" for kind, text in ends.items())
    return replace(number(line[column], signed=signed), small=within)


def claims_sheet(claims: pd.DataFrame, source: str) -> Sheet:
    """Every claim of the paper in a line: verdict, words, printed and found, both tests, the last epoch."""
    heads = ["The paper claims", "Verdict", "Here", "Printed", "p, seeds", "p, dialogues", "At the last epoch", "Where"]
    rows = []
    for line in claims.to_dict("records"):
        models = " against ".join(plain_name(line[x]) for x in ("better", "worse"))
        last = verdict(line["verdict_last"])
        rows.append([
            Cell(line["claim"], f"{METRICS[line['metric']]}: {models}", to=f"#table{line['table']}"),
            verdict(line["verdict"]),
            _difference(line),
            number(line["difference_reported"], 2, signed=True),
            p_value(line["p_seeds_holm"]),
            p_value(line["p_dialogues_holm"]),
            replace(last, small=f"{_points(line['difference_last'])}\n{last.small}".strip()),
            Cell(f"Table {line['table']}", f"§ {line['section']}", line["table"]),
        ])  # fmt: skip
    count = claims.iloc[0]
    caption = (
        "Claims, in the paper's order. Differences in points of the named metric, with 95 % intervals; p after Holm's "
        f"correction over the claim's table; over {count['n_seeds']} seeds and {count['n_dialogues']} dialogues."
    )
    return Sheet("claims", caption, heads, rows, source)


def _joined(lines: Iterable[tuple[list[Cell], list[Cell]]]) -> list[list[Cell]]:
    """Lines that begin alike as one row: their beginning, then the rest of each."""
    rows: dict[tuple, list[Cell]] = {}
    for first, more in lines:
        rows.setdefault(tuple(first), list(first)).extend(more)
    return list(rows.values())


def pairs_sheet(frame: pd.DataFrame, name: str, caption: str, source: str) -> Sheet:
    """Pairs of `comparisons`, a line each: the difference by both metrics with both intervals, and p by both tests."""
    heads = ["Table", "First", "Second"]
    heads += [head for title in METRICS.values() for head in (f"{title}, points", "p")]
    lines = []
    for line in frame.to_dict("records"):
        seeds, dialogues = (p_value(line[f"p_{kind}_holm"]).text for kind in ("seeds", "dialogues"))
        both = replace(p_value(line["p_seeds_holm"]), text=f"seeds {seeds}", small=f"dialogues {dialogues}")
        first = [Cell(f"Table {line['table']}", sort=line["table"]), *(Cell(plain_name(line[x])) for x in "ab")]
        lines.append((first, [_difference(line), both]))
    over = {kind: sorted(set(frame[f"n_{kind}"])) for kind in ("seeds", "dialogues")}
    counted = " and ".join(f"{' or '.join(map(str, n))} {kind}" for kind, n in over.items())
    return Sheet(name, f"{caption} Over {counted}.", heads, _joined(lines), source)


def speakers_sheet(frame: pd.DataFrame, name: str, caption: str, source: str) -> Sheet:
    """Models with and without speakers, then their differences: by both metrics with both intervals, and who leads."""
    heads = ["Split", "Model", *(head for title in METRICS.values() for head in (title, "Ahead"))]
    lines = []
    for line in frame.to_dict("records"):
        first, _, second = line["what"].partition(" - ")
        ahead, _, _ = line["verdict"].partition(" is ahead")
        who = " minus ".join(map(plain_name, filter(None, (first, second))))
        leads = Cell(plain_name(ahead) if ahead in (first, second) else ahead)
        lines.append(([Cell(line["split"]), Cell(who)], [_difference(line, "value", bool(second)), leads]))
    return Sheet(name, caption, heads, _joined(lines), source)


def gap_sheet(frame: pd.DataFrame, name: str, caption: str, source: str, links: tuple) -> Sheet:
    """Scores at three epochs, a line per model; what the best on the test set adds to the best on validation."""
    whens = {"last": "last", "best_validation": "validation", "best_test": "test"}
    heads = ["Model", *(f"{title}, {when}" for title in METRICS.values() for when in (*whens.values(), "gap"))]
    lines = []
    for line in frame.to_dict("records"):
        scores = [spread(line[f"{rule}_mean"], line[f"{rule}_std"]) for rule in whens]
        gap = spread(*(line[f"gap_validation_{what}"] for what in ("mean", "std", "ci_low", "ci_high")))
        lines.append(([Cell(plain_name(line["experiment"]))], [*scores, gap]))
    return Sheet(name, caption, heads, _joined(lines), source, links=links)


def alternatives_sheet(frame: pd.DataFrame, name: str, caption: str, source: str) -> Sheet:
    """readings, context and asr.csv: alternative minus default in points with both intervals, and what that says."""
    frame = frame.rename(columns={"ci_low": "seeds_low", "ci_high": "seeds_high"})  # as they were called at first
    keys = [c for c in ("reading", "alternative", "default", "model", "turns", "text") if c in frame]
    own = {"accuracy_mean": "Accuracy", "wer": "Words wrong"}
    titles = [title for metric, title in METRICS.items() if metric in set(frame.get("metric", ["accuracy"]))]
    heads = [*(key.capitalize() for key in keys), *(head for column, head in own.items() if column in frame)]
    heads += [head for title in titles for head in (f"{title}, points", "Verdict")]
    lines = []
    for line in frame.to_dict("records"):
        first = [Cell(plain_name(line[c]) if c in ("default", "model") else line[c]) for c in keys]
        first += [spread(line[c], line.get("accuracy_std") if c != "wer" else None) for c in own if c in frame]
        said = next((line[c] for c in ("verdict", "note") if not pd.isna(line[c])), "")
        points = Cell("") if pd.isna(line["difference"]) else _difference(line)
        if line.get("metric", "accuracy") not in METRICS:
            points = replace(points, small=f"{line['metric']}\n{points.small}")
        lines.append((first, [points, Cell(said)]))
    return Sheet(name, caption, heads, _joined(lines), source)
