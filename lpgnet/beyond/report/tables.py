"""Tables 1-7 as the report shows them: ours and the printed number in columns of their own."""

import math
import re
from dataclasses import replace

import pandas as pd

from lpgnet.beyond.report.blocks import Cell, Sheet, interval, number, spread
from lpgnet.tables.names import plain_name
from lpgnet.tables.rows import TABLES
from lpgnet.tables.typeset import HEADS, TITLES, caption, headline, readable

ENCODERS = {  # the paper's column -> the encoder of our run, shown below what the paper names
    "upstream_audio": "encoder_audio",
    "upstream_text": "encoder_text",
}
ALONE = {4: "audio", 5: "text"}  # table -> the one modality of its upstream
PARTS = {"train_val": "training and validation"}
CROWDED = 3  # more metrics than this share a column each with the printed number


def paper_sheet(frame: pd.DataFrame, table: int, source: str) -> Sheet:
    """One table of the paper, rows in its order."""
    said = f"Table {table}. {caption(frame, table)}"
    if "part" in frame:
        plain = readable(frame)
        rows = [[Cell(PARTS.get(value, str(value))) for value in line] for line in plain.itertuples(index=False)]
        said = said.replace("train_val", PARTS["train_val"])
        return Sheet("table1", f"{said} In brackets: printed.", list(plain.columns), rows, source)
    frame = frame.rename(columns={"upstream": f"upstream_{ALONE[table]}"} if table in ALONE else {})
    metrics = headline(frame)
    keys, rest = _columns(frame, table, metrics)
    heads = [HEADS[c] for c in keys]
    for metric in metrics:
        name = HEADS.get(metric, metric.capitalize())
        heads += [name] if len(metrics) > CROWDED else [f"{name}, ours", f"{name}, paper", "Δ"]
    heads += ["Seeds", *(HEADS[c] for c in rest)]
    rows = [_row(line, keys, metrics, rest) for line in frame.to_dict("records")]
    styles = tuple({"reported": "quoted", "simulator": "best"}.get(s, "") for s in frame["source"])
    return Sheet(f"table{table}", f"Table {table}. {TITLES[table]}.", heads, rows, source, styles)


def _columns(frame: pd.DataFrame, table: int, metrics: list[str]) -> tuple[list[str], list[str]]:
    """What tells rows apart, and stands first; what else the paper says of them."""
    hidden = {"n_seeds", "source", *ENCODERS.values(), *metrics}
    named = [c for c in frame if c in HEADS and c not in hidden and frame[c].notna().any()]
    keys = {*TABLES[table].key} | ({f"upstream_{ALONE[table]}"} if table in ALONE else set())
    return [c for c in named if c in keys], [c for c in named if c not in keys]


def _row(line: dict, keys: list[str], metrics: list[str], rest: list[str]) -> list[Cell]:
    cells = [_named(line, column) for column in keys]
    if line["source"] == "run":
        why = line["note"] or ("not run yet" if line["n_seeds"] == 0 else "")
        cells[-1] = replace(cells[-1], small="\n".join(filter(None, [cells[-1].small, why])))
    for metric in metrics:
        ours = spread(*(line[f"{metric}_{what}"] for what in ("mean", "std", "ci_low", "ci_high")))
        printed = number(line[f"{metric}_reported"], 2)
        if len(metrics) > CROWDED:
            cells.append(_together(line, metric, printed))
        else:
            cells += [ours, printed, number(line[f"{metric}_delta"], signed=True)]
    seeds = number(line["n_seeds"])
    if line["source"] == "run" and line["n_seeds"]:
        seeds = replace(seeds, to=f"../runs/{line['experiment']}/")
    return [*cells, seeds, *(_named(line, column) for column in rest)]


def _together(line: dict, metric: str, printed: Cell) -> Cell:
    """Ours with its interval, and the printed number below, in one cell."""
    ours = spread(line[f"{metric}_mean"], line[f"{metric}_std"])
    ends = interval(line[f"{metric}_ci_low"], line[f"{metric}_ci_high"]).text
    below = [ends, f"paper {printed.text}" if printed.text else ""]
    sort = printed.sort if ours.sort is None else ours.sort
    return Cell(ours.text, "\n".join(filter(None, below)), sort)


def _named(line: dict, column: str) -> Cell:
    """A printed column: words, a citation, a weight; small below, what encoder we had in its place."""
    value, encoder = line[column], line.get(ENCODERS.get(column, ""))
    small = "" if encoder is None or pd.isna(encoder) else f"here {encoder}"
    if value is None or pd.isna(value):
        return Cell("", small)
    return Cell(value, small) if isinstance(value, str) else Cell(f"{value:g}", sort=float(value))


def cost_sheet(efficiency: pd.DataFrame, source: str) -> Sheet:
    """Counts, latencies with their range, accuracy; at the place's size and the paper's."""
    turns = [c.removeprefix("latency_ms_") for c in efficiency if re.fullmatch(r"latency_ms_\d+", c)]
    heads = ["Model", "Size", "Parameters", "Multiply-adds, 50 turns", *(f"ms, {n} turns" for n in turns)]
    rows = []
    for line in efficiency.to_dict("records"):
        cells = [Cell(plain_name(line["experiment"])), Cell(line["profile"])]
        cells += [number(int(line[c])) for c in ("parameters", "multiply_adds")]
        for n in turns:
            low, high = (line.get(f"latency_ms_{n}_{end}", math.nan) for end in ("low", "high"))
            cells.append(replace(number(line[f"latency_ms_{n}"], 2), small=f"{low:.2f} to {high:.2f}"))
        accuracy = spread(line["accuracy_mean"], line["accuracy_std"])
        rows.append([*cells, number(line.get("peak_mb")), accuracy])
    where = ", ".join(sorted(set(efficiency.get("latency_on", ()))))
    caption = (
        f"Cost of a dialogue, the network alone. Latency ({where}): the median of repeats, and least to most; a wide "
        "range says that the machine was busy. MB: weights, features and what is worked out, at once, at 110 turns."
    )
    return Sheet("efficiency", caption, [*heads, "MB", "Accuracy"], rows, source)
