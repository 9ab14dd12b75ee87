"""results/<place>/summary.md, in the form of an ML reproducibility report, and numbers.tex, a macro a number.

Both are of the records alone.  A number of a simulated corpus says so: numbers.tex sets \\lpgnetMark behind
each, and the mark is empty for real data only.
"""

import re
from pathlib import Path

import pandas as pd

from lpgnet.beyond.audit.paper_kinds import FAILS, HOLDS, OPEN
from lpgnet.beyond.report import provenance, verdicts
from lpgnet.machine.files import whole
from lpgnet.tables import typeset
from lpgnet.tables.build import lacking, reported
from lpgnet.tables.rebuild import Rebuilt
from lpgnet.tables.statistics import ALPHA

DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
INTERVAL = ("mean", "std", "seeds_low", "seeds_high", "dialogues_low", "dialogues_high")
DIFFERENCE = ("difference", "seeds_low", "seeds_high", "dialogues_low", "dialogues_high")
SUMMARY = """# LPGNet, rerun: reproducibility summary

{origin}

## Scope

He & Xiao (2025), doi:10.20944/preprints202508.0678.v1, say that LPGNet, without speaker identity, reaches
{printed:.2f} % accuracy on four emotions of IEMOCAP and beats its ablations and SDT\\*. Asked here are
{asked} of the paper's claims, and each number of its Tables 1 to 7.

## Method

The paper comes without code: the model, its losses and its baselines are written anew from its equations,
with {readings} readings where it leaves a choice open (docs/readings.md). Each experiment is trained once per
seed and fold; the epoch is chosen on validation, never on test. A claim is supported where the difference has
its sign and both paired tests, over seeds and over dialogues, give p < {alpha} after Holm's correction; the
one about speaker embeddings has a margin of one point instead.

{method}

## Results

{counts}

{results}

## What was easy

* The paper states its optimiser, rates, sizes, losses and their weights (section 4.3).
* {holds} of {statements} statements about its own tables hold when they are recomputed.

## What was hard

* {readings} choices are open in the paper, among them how the tested epoch was chosen and how BERT was
  fine-tuned.
* {fails} statements about its own tables do not hold, {undecided} can't be decided (paper_audit.md).
{hard}
## Cost

{cost}

## Communication with the authors

None is recorded here.
"""


def write(made: Rebuilt, paper: pd.DataFrame, readings: int) -> list[Path]:
    """Both files; none without a record.  paper: the audit.  readings: how many choices are open."""
    if made.runs.empty:
        return []
    texts = (summary(made, paper, readings), macros(made))
    paths = [made.place.results / name for name in provenance.SUMMARIES]
    for path, text in zip(paths, texts, strict=True):
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")
    return paths


def summary(made: Rebuilt, paper: pd.DataFrame, readings: int) -> str:
    """The report, in Markdown."""
    claims, count = made.beside["claims"], verdicts.counts(made.beside["claims"])
    audited = paper["verdict"].value_counts()
    facts = dict(provenance.facts(made.place, made.data, made.runs))
    shown = [name for name in facts if name.startswith(("Features", "Labels", "Package", "SWHID"))]
    waiting = sorted({line.partition(": ")[0] for n in made.tables for line in lacking(n, made.evaluation)})
    return SUMMARY.format(
        origin=made.origin,
        printed=reported()[2].set_index("model").at["LPGNet (Utterance)", "accuracy"],
        asked=len(claims),
        readings=readings,
        alpha=ALPHA,
        method="\n".join(f"* {name}: {facts[name]}" for name in shown),
        counts=", ".join(f"{n} {name}" for name, n in count.items()) + f" (of {len(claims)} claims asked here).",
        results=_results(made),
        statements=len(paper),
        holds=audited.get(HOLDS, 0),
        fails=audited.get(FAILS, 0),
        undecided=audited.get(OPEN, 0),
        hard=f"* Without a run here: {', '.join(waiting)}.\n" if waiting else "",
        cost=_cost(made.runs),
    )


def _results(made: Rebuilt) -> str:
    """Accuracy and weighted F1 of each experiment, then each claim."""
    rows = [
        "| experiment | labels | metric | seeds | mean ± standard deviation, % |",
        "|---|---|---|---|---|",
    ]
    for line in made.beside["intervals"].to_dict("records"):
        spread = "" if pd.isna(line["std"]) else f" ± {line['std']:.2f}"
        about = " | ".join(str(line[name]) for name in ("experiment", "labels", "metric", "n_seeds"))
        rows.append(f"| {about} | {line['mean']:.2f}{spread} |")
    claims = made.beside["claims"].to_dict("records")
    said = [f"* {line['verdict']}: {line['claim']} ({line['difference']:+.2f} points)" for line in claims]
    return "\n".join([*rows, "", *said])


def _cost(runs: pd.DataFrame) -> str:
    devices = ", ".join(sorted({made["device"] for made in runs["made"]}))
    return (
        f"{len(runs)} runs, {runs['seconds'].sum() / 3600:.2f} hours of training in all "
        f"({runs['seconds'].mean():.1f} seconds each) on {devices}; features and tables not counted."
    )


def macros(made: Rebuilt) -> str:
    """numbers.tex: \\newcommand per number, in percent or points; equal records, equal bytes."""
    mark = r"\textsuperscript{simulated}" if typeset.SIMULATED in made.origin else ""
    lines = [f"% {made.origin}", f"\\newcommand{{\\lpgnetOrigin}}{{{typeset.escaped(made.origin)}}}"]
    lines.append(f"\\newcommand{{\\lpgnetMark}}{{{mark}}}")
    values = numbers(made)
    return "\n".join([*lines, *(f"\\newcommand{{\\{name}}}{{{v}\\lpgnetMark}}" for name, v in values), ""])


def numbers(made: Rebuilt) -> list[tuple[str, str]]:
    """Name of the macro and value; a number that doesn't exist (one seed has no spread) has no macro."""
    found: dict[str, str] = {}
    for line in made.beside["intervals"].to_dict("records"):
        found |= _named((line["experiment"], line["metric"]), line, INTERVAL)
    pairs = made.beside["comparisons"]
    for line in pairs.to_dict("records"):
        found |= _named((line["a"], "minus", line["b"], line["metric"]), line, DIFFERENCE)
    for name, part in made.runs.groupby("experiment"):
        found[macro(name, "parameters")] = str(part["parameters"].max())
        found[macro(name, "seeds")] = str(part["seed"].nunique())
    for name, n in verdicts.counts(made.beside["claims"]).items():
        found[macro("claims", name)] = str(n)
    return list(found.items())


def _named(about: tuple[str, ...], line: dict, whats: tuple[str, ...]) -> dict[str, str]:
    """LaTeX's minus is a dash in text: \\ensuremath makes one of both."""
    values = {macro(*about, what): line[what] for what in whats if not pd.isna(line[what])}
    return {name: f"\\ensuremath{{{value:.2f}}}" if value < 0 else f"{value:.2f}" for name, value in values.items()}


def macro(*words: str) -> str:
    """Letters only, as TeX wants: full_6, weighted_f1, mean -> lpgnetFullSixWeightedFOneMean."""
    spelt = re.sub(r"\d", lambda digit: f"_{DIGITS[int(digit[0])]}_", "_".join(words).replace(" ", "_"))
    parts = re.findall(r"[A-Za-z]+", spelt)
    return "lpgnet" + "".join(part[0].upper() + part[1:] for part in parts)
