"""The sections of notebook 06 and of the report, in their order; `gather` has all that they show.

A section without anything to show is left out of the page.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps

import pandas as pd
from markupsafe import Markup, escape

from lpgnet.beyond.audit import data_audit, paper_audit, paper_kinds
from lpgnet.beyond.report import provenance, summary, verdicts
from lpgnet.beyond.report.blocks import Cards, Cell, Equations, Section, Sheet, Text, pictures, sheet
from lpgnet.beyond.report.equations import EQUATIONS, readings
from lpgnet.beyond.report.tables import cost_sheet, paper_sheet
from lpgnet.experiments import TABLED
from lpgnet.places import Place
from lpgnet.tables import typeset
from lpgnet.tables.build import reported
from lpgnet.tables.names import LABELS, differs, plain_name
from lpgnet.tables.raters import HUMAN
from lpgnet.tables.rebuild import Rebuilt, rebuild
from lpgnet.tables.statistics import ALPHA, EQUAL

MAKES = {1: ("01",), 2: ("02",), **dict.fromkeys((3, 4, 5, 6), ("03",)), 7: ("04", "05")}  # table -> its notebooks
BEYOND = Markup("Not run here. <code>make beyond</code> makes it.")
SECTIONS: list[Callable[["Findings"], Section]] = []  # in the order of this file; `section` alone fills it


def section(name: str, short: str, title: str) -> Callable:
    """Declare a section by what yields its blocks."""

    def declare(blocks: Callable[["Findings"], Iterator]) -> Callable[["Findings"], Section]:
        @wraps(blocks)
        def made(found: Findings) -> Section:
            return Section(name, short, title, list(blocks(found)))

        SECTIONS.append(made)
        return made

    return declare


@dataclass(frozen=True)
class Findings:
    """What there is to show of a place.  paper, audit: both audits, the data's None without a store."""

    made: Rebuilt
    paper: pd.DataFrame
    audit: pd.DataFrame | None

    @cached_property
    def readings(self) -> dict[int, list]:
        return readings()

    def shown(self, *patterns: str) -> list:
        """Figures of these names (`table2_*`), as far as they are there."""
        return pictures(self.made.place.figures, *patterns)

    def sheet(self, csv: str, name: str, caption: str, make: Callable = sheet, only: tuple = (), **more) -> list[Sheet]:
        """The table of a CSV beside the records, where it has a line.  only: models in its column of models."""
        frame = self.made.beside[csv]
        if only and len(frame):
            column = "who" if "who" in frame else "experiment"
            frame = frame[frame[column].isin(only)].drop(columns=[column] * (len(only) == 1))
        return [make(frame, name, caption, f"../{csv}.csv", **more)] if len(frame) else []

    def notebooks(self, *numbers: str) -> tuple[tuple[str, str], ...]:
        """Links to notebooks as they ran, as far as they are there."""
        paths = [path for number in numbers for path in sorted(self.made.place.notebooks.glob(f"{number}_*.html"))]
        return tuple((f"Notebook {path.name[:2]}", f"../notebooks/{path.name}") for path in paths)

    def csv(self, name: str) -> pd.DataFrame | None:
        """What another notebook left beside the tables, where it ran."""
        path = self.made.place.results / f"{name}.csv"
        return pd.read_csv(path) if path.exists() else None


def gather(place: Place) -> Findings:
    """Rebuild tables, statistics and figures from the records, audit paper and data; all of it is written."""
    made, paper, audit = rebuild(place), paper_audit.audit_paper(reported()), None
    paper_audit.write(paper, place.output / "results")
    if (place.features / "index.json").exists():
        audit = data_audit.audit_data(place)
        data_audit.write(audit, place)
    found = Findings(made, paper, audit)
    summary.write(made, paper, len(found.readings))
    return found


def coded(text: str) -> Markup:
    """Plain text with `code` in it, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def items(lines: Iterable) -> Markup:
    return Markup("<ul>{}</ul>").format(Markup().join(Markup("<li>{}</li>").format(line) for line in lines))


@section("verdict", "Verdict", "The verdict")
def verdict(found: Findings) -> Iterator:
    """Cards, then every claim in a line."""
    made = found.made
    claims = made.beside["claims"]
    count = verdicts.counts(claims)
    total = sum(count.values())
    said = Markup(", ").join(Markup("<b>{}</b> {}").format(n, name) for name, n in count.items())
    lead = Markup("Of <b>{}</b> claims that the paper makes, asked here over {} seeds: {}.")
    yield Text(lead.format(total, made.runs["seed"].nunique(), said))
    yield from found.shown("claims")
    yield Cards(verdicts.cards(made.beside, made.data, made.runs, found.paper, found.audit))
    if total:
        yield verdicts.claims_sheet(claims, "../claims.csv")
        yield Text(
            "Supported: the difference has the claimed sign, and both paired tests, over seeds and over "
            f"dialogues, give p < {ALPHA} after Holm's correction over the claim's table; not supported: the "
            "same, with the opposite sign. On this test set only: seeds agree, the dialogues are too few. Equal: both "
            f"95 % intervals lie within {EQUAL:g} point of zero. Undecided: anything else, with the smallest "
            "difference that could have shown. “Needs no speaker embedding” has a margin: both intervals must lie "
            "above minus one point."
        )


@section("reading", "How to read", "How to read this page")
def reading(found: Findings) -> Iterator:
    """How to read the page: ten lines, and what the models are called."""
    made = found.made
    names = [name for name in TABLED if name in set(made.runs["experiment"])]
    rows = [
        [Cell(plain_name(name)), Cell(name, kind="code", to=f"../runs/{name}/"), Cell(differs(name))] for name in names
    ]
    labels = [f"{name}: {LABELS.get(name, 'see its protocol')}" for name in made.data["protocols"]]
    lines = [
        "Every model is trained once per seed; “84.5 ± 1.8” is mean and standard deviation over seeds.",
        "Brackets hold 95 % intervals. Over seeds: what another training would give. Over dialogues: what another "
        "test set of the same kind would.",
        "Accuracy counts every utterance alike; weighted F1 weighs classes by their size. Both in percent, "
        "differences in points.",
        "The epoch is chosen on validation dialogues, never on the test set.",
        "p is of a paired test, after Holm's correction over all pairs of a table.",
        "d_z is a difference in units of its own spread over seeds.",
        f"Label sets: {'; '.join(labels)}.",
        "R1 to R28 are places where the paper leaves a choice open; they are listed under Readings.",
        "Grey rows and ticks are printed in the paper.",
        "A number of seeds links to the records behind it; CSV links to all columns.",
    ]
    caption = "Names. What the models are called here, in records and commands, and where each differs from LPGNet."
    yield Text(items(lines))
    yield Sheet("names", caption, ["Here", "In records", "Differs in"], rows)


@section("tables", "Tables", "Tables 1 to 7")
def tables(found: Findings) -> Iterator:
    """Tables 1 to 7, each with its figure, then fold by fold where there are several."""
    made = found.made
    yield Text(
        "Ours: mean ± standard deviation over seeds, the 95 % interval below. Accuracy is plain, F1 is weighted "
        "(Reading R15); the CSV files hold the other conventions. Grey rows are quoted from the paper, which quotes "
        "them from others."
    )
    folder = f"../../../paper_tables/{made.place.name}"
    for number, frame in made.tables.items():
        drawn = found.shown(f"table{number}_*")
        links = [("Figure", f"#figure-{picture.name}") for picture in drawn]
        links += found.notebooks(*MAKES[number])
        yield replace(paper_sheet(frame, number, f"{folder}/table{number}.csv"), links=tuple(links))
        yield from drawn
    if made.folds["fold"].nunique() > 2:  # one fold and "all"
        yield sheet(made.folds, "folds", "Fold by fold; percent.", f"{folder}/folds.csv")


@section("comparisons", "Models", "Model against model")
def comparisons(found: Findings) -> Iterator:
    """Every pair, then what single models do: classes, confusion."""
    caption = "Pairs. First minus second in points, both 95 % intervals, p after Holm's correction over the table."
    yield from found.sheet("comparisons", "pairs", caption, verdicts.pairs_sheet)
    caption = (
        "Neighbouring labels. A chain over a model's outputs: which label follows which is counted in training, "
        "its weight fitted on validation. The last line asks whether LPGNet's context is worth more than that."
    )
    yield from found.sheet("decoder", "decoder", caption, verdicts.pairs_sheet)
    caption = "Who speaks. With and without speaker embeddings, under each split that has been run; percent, points."
    yield from found.sheet("speakers", "speakers", caption, verdicts.speakers_sheet)
    yield from found.shown("classes", "confusion_*")


@section("selection", "Epoch", "The epoch, and the selection gap")
def epochs(found: Findings) -> Iterator:
    """Training, and what choosing the epoch on the test set would add."""
    yield from found.shown("curves_*", "selection_gap")
    caption = (
        "Scores at three epochs. The last, the best on validation (the tables'), the best on test; gap: test minus "
        "validation, in points, its 95 % interval below."
    )
    yield from found.sheet("selection_gap", "gap", caption, verdicts.gap_sheet, links=found.notebooks("02"))


@section("parts", "Slices", "Parts of the test set")
def parts(found: Findings) -> Iterator:
    """Slices of the test set."""
    yield from found.shown("slices")
    yield from (Text(f"{line}.") for line in found.made.beside["slices"].attrs["left_out"])
    caption = "Parts. LPGNet, SDT* and the linear classifier on parts of the test set; percent."
    yield from found.sheet("slices", "parts-scores", caption, only=("full", "sdt", "linear"))
    caption = (
        "Raters. Where they all agree and where not; divergence of probabilities from their vote shares, in bits; "
        "and one rater against the others."
    )
    yield from found.sheet("raters", "raters", caption, only=(HUMAN, "full", "sdt", "bigru", "linear"))


@section("model", "Inside", "The model, and inside it")
def model(found: Findings) -> Iterator:
    """Fig. 1, the equations with our readings, what the trained model does inside, how far it may be sure."""
    words = {number: max((words for _, words, _ in says), key=len) for number, says in found.readings.items()}
    lines = [
        (f"({n})", Markup(typeset.mathml(f"${latex}$")), [(r, coded(words[r])) for r in taken])
        for n, (latex, taken) in EQUATIONS.items()
    ]
    text = "The equations as printed. Where one leaves a choice open, what we took stands beside it."
    for words, to in found.notebooks("02"):
        text += Markup(' <a href="{}">{}</a> takes one dialogue through them.').format(to, words)
    yield from found.shown("architecture")
    yield Text(text)
    yield Equations(lines)
    yield from found.shown("gates", "attention", "embedding", "calibration", "risk")
    caption = (
        "Calibration. ECE looks at the top class, the classwise error at the probability of every class, both in "
        "points; the Brier score is the mean squared distance to the label, 0 at best and 2 at worst."
    )
    heads = {"ece_mean": "ECE", "classwise_mean": "classwise error", "brier_mean": "Brier score"}
    yield from found.sheet("calibration", "calibration-errors", caption, heads=heads)
    caption = (
        "Sets. Split-conformal sets of LPGNet, of each run's validation part: how often they hold the true class, "
        "wanted and found, in percent, and how many classes they hold. The promise is over all classes together, "
        "and exact only where test and validation turns are exchangeable; other speakers and turns of one dialogue "
        "are not quite. No set is empty, so more is found where the top class alone is right more often."
    )
    heads = {"coverage_mean": "found", "size_mean": "classes in a set", "n_utterances": "utterances"}
    yield from found.sheet("coverage", "coverage", caption, only=("full",), heads=heads)


@section("cost", "Cost", "What it costs")
def cost(found: Findings) -> Iterator:
    """Parameters and seconds from the records; multiply-adds and latency where they were measured."""
    by = found.made.runs.groupby("experiment")
    frame = pd.DataFrame({
        "parameters": by["parameters"].max(),
        "seconds per run": by["seconds"].mean(),
        "runs": by.size(),
        "device": by["made"].agg(lambda made: ", ".join(sorted({m["device"] for m in made}))),
    }).reset_index()  # fmt: skip
    efficiency = found.csv("efficiency")
    yield from found.shown("cost")
    if efficiency is None:
        yield Text("Latency, multiply-adds, memory. " + BEYOND)
    else:
        yield replace(cost_sheet(efficiency, "../efficiency.csv"), links=found.notebooks("04"))
    yield sheet(frame, "training-cost", "Training, by the records.")


@section("beyond", "Beyond", "Beyond the paper")
def beyond(found: Findings) -> Iterator:
    """Readings that were run the other way, how much context matters, a missing modality."""
    captions = {
        "readings": "Each reading run the other way. That minus ours, in points, with both 95 % intervals. "
        "It matters where both tests say so after correction; undecided is not equal.",
        "context": "What a dialogue's turns are worth. Shuffled, dealt anew, past or near alone, minus as spoken.",
        "validation": "Which dialogues validate: accuracy over the same seeds, five draws of a tenth, then each "
        "training session; the last lines are the spread over those, beside the spread over seeds.",
        "asr": "What recognition errors cost. Text as a recogniser hears it, in the test part alone or in training "
        "too, minus the transcript, in points; words wrong, in percent.",
        "missing": "What missing text or audio costs (notebook 08).",
    }
    blocks = []
    for name, caption in captions.items():
        blocks += found.shown(name)
        if (frame := found.csv(name)) is not None:
            about = f"beyond-{name}", caption, f"../{name}.csv"
            made = verdicts.alternatives_sheet if "difference" in frame else sheet
            blocks.append(replace(made(frame, *about), links=found.notebooks("08" if name == "missing" else "07")))
    yield from blocks or [Text(BEYOND)]


@section("decisions", "Readings", "What we had to decide")
def decisions(found: Findings) -> Iterator:
    """R1 to R28, in the words of the code."""
    rows = [
        [
            Cell(f"R{number}", sort=number),
            Cell(coded(f"`{code}` {says}" if code else says)),
            Cell(where, kind="code"),
        ]
        for number, taken in found.readings.items()
        for code, says, where in taken
    ]
    caption = "Every place where the paper leaves a choice open: what the code says there, file and line."
    yield Sheet("readings", caption, ["Reading", "What we took", "Where"], rows)


@section("paper-audit", "Paper audit", "The paper, audited")
def paper_audited(found: Findings) -> Iterator:
    """The paper against its own tables."""
    order = (paper_kinds.FAILS, paper_kinds.OPEN, paper_kinds.HOLDS)
    paper = found.paper.sort_values("verdict", key=lambda v: v.map(order.index), kind="stable")
    frame = paper[["verdict", "claim", "where", "printed", "recomputed", "note"]]
    yield Text("No model is run for this: what the paper's text states, against its own printed tables.")
    yield sheet(frame, "paper-audit-lines", f"{paper_audit.counted(paper)}.", "../../paper_audit.csv")
    yield Text(f"How a rounded number is compared. {paper_kinds.ROUNDING}")


@section("data-audit", "Data audit", "The data, audited")
def data_audited(found: Findings) -> Iterator:
    """The data of this place, where its store is here."""
    if found.audit is not None:
        frame = found.audit[["severity", "check", "finding", "detail", "what_to_do"]].fillna("")
        said = data_audit.counted(found.audit)
        caption = f"{said}. Fault: numbers can't be trusted; warning: read them with it."
        yield sheet(frame, "data-audit-lines", caption, "../audit.csv", {"what_to_do": "what to do"})


@section("provenance", "Provenance", "Where it comes from")
def origin(found: Findings) -> Iterator:
    """Hashes, versions, commands, and everything else that was written."""
    made = found.made
    facts = provenance.facts(made.place, made.data, made.runs)
    rows = [[Cell(name), Cell(value, kind="code")] for name, value in facts]
    files = [Markup('<a href="{}">{}</a>').format(to, name) for name, to in provenance.links(made.place)]
    steps = Markup("<pre><code>{}</code></pre>").format("\n".join(provenance.commands(made.place)))
    yield Sheet("facts", "What these numbers were made from and with.", ["What", "Value"], rows)
    yield Text("From nothing to this page and its archive:" + steps)
    yield Text("Notebooks as they ran, and every table as a file:" + items(files))
    left = [line for line in made.remarks() if not line.startswith("stale")]
    if left:
        yield Text("Not there yet, or left out:" + items(left))
