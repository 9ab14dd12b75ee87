"""The sections of notebook 06 and of the report, in their order; `gather` has all that they show.

A section without anything to show is left out of the page.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from markupsafe import Markup, escape

from lpgnet.beyond.audit import data_audit, paper_audit, paper_kinds
from lpgnet.beyond.report import provenance, summary, verdicts
from lpgnet.beyond.report.blocks import Cards, Cell, Equations, Section, Sheet, Text, pictures, sheet
from lpgnet.beyond.report.equations import EQUATIONS, Reading, readings
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


@dataclass(frozen=True)
class Findings:
    """What there is to show of a place.  paper, audit: both audits, the data's None without a store."""

    made: Rebuilt
    paper: pd.DataFrame
    audit: pd.DataFrame | None

    @cached_property
    def readings(self) -> list[Reading]:
        return readings()

    def shown(self, *patterns: str) -> list:
        """Figures of these names (`table2_*`), as far as they are there."""
        return pictures(self.made.place.figures, *patterns)

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


def verdict(found: Findings) -> Section:
    """Cards, then every claim in a line."""
    made = found.made
    claims = made.beside["claims"]
    count = verdicts.counts(claims)
    total = sum(count.values())
    said = Markup(", ").join(Markup("<b>{}</b> {}").format(n, name) for name, n in count.items())
    lead = Markup("Of <b>{}</b> claims that the paper makes, asked here over {} seeds: {}.")
    lead = lead.format(total, made.runs["seed"].nunique(), said)
    rule = (
        "Supported: the difference has the claimed sign, and both paired tests, over seeds and over "
        f"dialogues, give p < {ALPHA} after Holm's correction over the claim's table; not supported: the "
        "same, with the opposite sign. On this test set only: seeds agree, the dialogues are too few. Equal: both 95 % "
        f"intervals lie within {EQUAL:g} point of zero. Undecided: anything else, with the smallest difference that "
        "could have shown. “Needs no speaker embedding” has a margin: both intervals must lie above minus one point."
    )
    cards = verdicts.cards(made.beside, made.data, made.runs, found.paper, found.audit)
    blocks = [Text(lead), *found.shown("claims"), Cards(cards)]
    if total:
        blocks += [verdicts.claims_sheet(claims, "../claims.csv"), Text(rule)]
    return Section("verdict", "Verdict", "The verdict", blocks)


def reading(found: Findings) -> Section:
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
    sheet = Sheet("names", caption, ["Here", "In records", "Differs in"], rows)
    return Section("reading", "How to read", "How to read this page", [Text(items(lines)), sheet])


def tables(found: Findings) -> Section:
    """Tables 1 to 7, each with its figure, then fold by fold where there are several."""
    made = found.made
    blocks = [
        Text(
            "Ours: mean ± standard deviation over seeds, the 95 % interval below. Accuracy is plain, F1 is "
            "weighted (Reading R15); the CSV files hold the other conventions. Grey rows are quoted from the "
            "paper, which quotes them from others."
        )
    ]
    for number, frame in made.tables.items():
        source = f"../../../paper_tables/{made.place.name}/table{number}.csv"
        drawn = found.shown(f"table{number}_*")
        links = [("Figure", f"#figure-{picture.name}") for picture in drawn]
        links += found.notebooks(*MAKES[number])
        blocks += [replace(paper_sheet(frame, number, source), links=tuple(links)), *drawn]
    if made.folds["fold"].nunique() > 2:  # one fold and "all"
        source = f"../../../paper_tables/{made.place.name}/folds.csv"
        blocks.append(sheet(made.folds, "folds", "Fold by fold; percent.", source))
    return Section("tables", "Tables", "Tables 1 to 7", blocks)


def comparisons(found: Findings) -> Section:
    """Every pair, then what single models do: classes, confusion."""
    frame, blocks = found.made.beside["comparisons"], []
    if len(frame):
        caption = "Pairs. First minus second in points, both 95 % intervals, p after Holm's correction over the table."
        blocks.append(verdicts.pairs_sheet(frame, "pairs", caption, "../comparisons.csv"))
    decoded = found.made.beside["decoder"]
    if len(decoded):
        caption = (
            "Neighbouring labels. A chain over a model's outputs: which label follows which is counted in training, "
            "its weight fitted on validation. The last line asks whether LPGNet's context is worth more than that."
        )
        blocks.append(verdicts.pairs_sheet(decoded, "decoder", caption, "../decoder.csv"))
    speakers = found.made.beside["speakers"]
    if len(speakers):
        caption = (
            "Who speaks. With and without speaker embeddings, under each split that has been run; percent, points."
        )
        blocks.append(verdicts.speakers_sheet(speakers, caption, "../speakers.csv"))
    blocks += found.shown("classes", "confusion_*")
    return Section("comparisons", "Models", "Model against model", blocks)


def epochs(found: Findings) -> Section:
    """Training, and what choosing the epoch on the test set would add."""
    blocks = found.shown("curves_*", "selection_gap")
    gap = found.made.beside["selection_gap"]
    if len(gap):
        blocks.append(verdicts.gap_sheet(gap, "../selection_gap.csv", found.notebooks("02")))
    return Section("selection", "Epoch", "The epoch, and the selection gap", blocks)


def parts(found: Findings) -> Section:
    """Slices of the test set."""
    sliced = found.made.beside["slices"]
    blocks = found.shown("slices")
    blocks += [Text(f"{line}.") for line in sliced.attrs["left_out"]]
    if len(sliced):
        frame = sliced[sliced["experiment"].isin(["full", "sdt", "linear"])]
        caption = "Parts. LPGNet, SDT* and the linear classifier on parts of the test set; percent."
        blocks.append(sheet(frame, "parts-scores", caption, "../slices.csv"))
    people = found.made.beside["raters"]
    if len(people):
        frame = people[people["who"].isin([HUMAN, "full", "sdt", "bigru", "linear"])]
        caption = (
            "Raters. Where they all agree and where not; divergence of probabilities from their vote shares, in bits; "
            "and one rater against the others."
        )
        blocks.append(sheet(frame, "raters", caption, "../raters.csv"))
    return Section("parts", "Slices", "Parts of the test set", blocks)


def model(found: Findings) -> Section:
    """Fig. 1, the equations with our readings, what the trained model does inside."""
    words = {r.number: max((says for _, says, _ in r.says), key=len, default="") for r in found.readings}
    lines = [
        (f"({n})", Markup(typeset.mathml(f"${latex}$")), [(r, coded(words[r])) for r in taken])
        for n, (latex, taken) in EQUATIONS.items()
    ]
    text = "The equations as printed. Where one leaves a choice open, what we took stands beside it."
    for words, to in found.notebooks("02"):
        text += Markup(' <a href="{}">{}</a> takes one dialogue through them.').format(to, words)
    blocks = [*found.shown("architecture"), Text(text), Equations(lines)]
    blocks += found.shown("gates", "attention", "embedding", "calibration", "risk")
    blocks += certainty(found)
    return Section("model", "Inside", "The model, and inside it", blocks)


def certainty(found: Findings) -> list[Sheet]:
    """How far probabilities are off, and what conformal sets hold."""
    errors, held = (found.made.beside[name] for name in ("calibration", "coverage"))
    sheets = []
    if len(errors):
        caption = (
            "Calibration. ECE looks at the top class, the classwise error at the probability of every class, both in "
            "points; the Brier score is the mean squared distance to the label, 0 at best and 2 at worst."
        )
        heads = {"ece_mean": "ECE", "classwise_mean": "classwise error", "brier_mean": "Brier score"}
        sheets.append(sheet(errors, "calibration-errors", caption, "../calibration.csv", heads))
    if len(held := held[held["experiment"] == "full"] if len(held) else held):
        caption = (
            "Sets. Split-conformal sets of LPGNet, of each run's validation part: how often they hold the true class, "
            "wanted and found, in percent, and how many classes they hold. The promise is over all classes together, "
            "and exact only where test and validation turns are exchangeable; other speakers and turns of one dialogue "
            "are not quite. No set is empty, so more is found where the top class alone is right more often."
        )
        heads = {"coverage_mean": "found", "size_mean": "classes in a set", "n_utterances": "utterances"}
        sheets.append(sheet(held.drop(columns="experiment"), "coverage", caption, "../coverage.csv", heads))
    return sheets


def cost(found: Findings) -> Section:
    """Parameters and seconds from the records; multiply-adds and latency where they were measured."""
    by = found.made.runs.groupby("experiment")
    frame = pd.DataFrame({
        "parameters": by["parameters"].max(),
        "seconds per run": by["seconds"].mean(),
        "runs": by.size(),
        "device": by["made"].agg(lambda made: ", ".join(sorted({m["device"] for m in made}))),
    }).reset_index()  # fmt: skip
    blocks, efficiency = found.shown("cost"), found.csv("efficiency")
    if efficiency is not None:
        blocks.append(replace(cost_sheet(efficiency, "../efficiency.csv"), links=found.notebooks("04")))
    else:
        blocks.append(Text("Latency, multiply-adds, memory. " + BEYOND))
    blocks.append(sheet(frame, "training-cost", "Training, by the records."))
    return Section("cost", "Cost", "What it costs", blocks)


def beyond(found: Findings) -> Section:
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
    return Section("beyond", "Beyond", "Beyond the paper", blocks or [Text(BEYOND)])


def decisions(found: Findings) -> Section:
    """R1 to R28, in the words of the code."""
    rows = [
        [
            Cell(f"R{reading.number}", sort=reading.number),
            Cell(coded(f"`{code}` {says}" if code else says)),
            Cell(where, kind="code"),
        ]
        for reading in found.readings
        for code, says, where in reading.says
    ]
    caption = "Every place where the paper leaves a choice open: what the code says there, file and line."
    heads = ["Reading", "What we took", "Where"]
    return Section("decisions", "Readings", "What we had to decide", [Sheet("readings", caption, heads, rows)])


def paper_audited(found: Findings) -> Section:
    """The paper against its own tables."""
    order = (paper_kinds.FAILS, paper_kinds.OPEN, paper_kinds.HOLDS)
    paper = found.paper.sort_values("verdict", key=lambda v: v.map(order.index), kind="stable")
    frame = paper[["verdict", "claim", "where", "printed", "recomputed", "note"]]
    caption = f"{paper_audit.counted(paper)}."
    rule = " ".join(paper_kinds.__doc__.partition("Rounding.  ")[2].split())
    blocks = [
        Text("No model is run for this: what the paper's text states, against its own printed tables."),
        sheet(frame, "paper-audit-lines", caption, "../../paper_audit.csv"),
        Text(f"How a rounded number is compared. {rule}"),
    ]
    return Section("paper-audit", "Paper audit", "The paper, audited", blocks)


def data_audited(found: Findings) -> Section:
    """The data of this place, where its store is here."""
    blocks, data = [], found.audit
    if data is not None:
        frame = data[["severity", "check", "finding", "detail", "what_to_do"]].fillna("")
        caption = f"{data_audit.counted(data)}. Fault: numbers can't be trusted; warning: read them with it."
        heads = {"what_to_do": "what to do"}
        blocks.append(sheet(frame, "data-audit-lines", caption, "../audit.csv", heads))
    return Section("data-audit", "Data audit", "The data, audited", blocks)


def origin(found: Findings) -> Section:
    """Hashes, versions, commands, and everything else that was written."""
    made = found.made
    facts = provenance.facts(made.place, made.data, made.runs)
    rows = [[Cell(name), Cell(value, kind="code")] for name, value in facts]
    files = [Markup('<a href="{}">{}</a>').format(to, name) for name, to in provenance.links(made.place)]
    steps = Markup("<pre><code>{}</code></pre>").format("\n".join(provenance.commands(made.place)))
    blocks = [
        Sheet("facts", "What these numbers were made from and with.", ["What", "Value"], rows),
        Text("From nothing to this page and its archive:" + steps),
        Text("Notebooks as they ran, and every table as a file:" + items(files)),
    ]
    left = [line for line in made.remarks() if not line.startswith("stale")]
    if left:
        blocks.append(Text("Not there yet, or left out:" + items(left)))
    return Section("provenance", "Provenance", "Where it comes from", blocks)


SECTIONS = (
    *(verdict, reading, tables, comparisons, epochs, parts, model, cost, beyond),
    *(decisions, paper_audited, data_audited, origin),
)
