"""The sections of the report, in the order of the page.  A section without anything to show is left out."""

import html
import re

import pandas as pd
from markupsafe import Markup, escape

from lpgnet.beyond.audit import data_audit, paper_audit, paper_kinds
from lpgnet.beyond.report import provenance, verdicts
from lpgnet.beyond.report.blocks import Cards, Cell, Equations, Section, Sheet, Text, picture, sheet
from lpgnet.beyond.report.equations import EQUATIONS, Reading
from lpgnet.beyond.report.pictures import ALT
from lpgnet.beyond.report.tables import paper_sheet
from lpgnet.tables import typeset
from lpgnet.tables.rebuild import Made
from lpgnet.tables.statistics import ALPHA

TABLE_PICTURES = ("classes", "comparison", "ablation", "audio", "text", "weights", "by_class")
BEYOND = "Not run here. <code>make beyond</code> makes it."


def shown(made: Made, *names: str) -> list:
    """Figures of these names, as far as they are there."""
    return [one for name in names for one in picture(made.place.figures, name, ALT[name])]


def coded(text: str) -> Markup:
    """Plain text with `code` in it, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def first(made: Made, paper: pd.DataFrame, audit: pd.DataFrame | None) -> Section:
    """The verdict: cards, then every claim in a line."""
    claims = made.beside["claims"]
    count = verdicts.counts(claims)
    total = sum(count.values())
    said = ", ".join(f"<b>{n}</b> {name}" for name, n in count.items())
    seeds = made.runs["seed"].nunique()
    lead = f"Of <b>{total}</b> claims that the paper makes, asked here over {seeds} seeds: {said}."
    rule = (
        "Supported: the difference has the claimed sign, and both paired tests, over seeds and over "
        f"dialogues, give p &lt; {ALPHA} after Holm's correction over the claim's table. Not supported: the "
        "same, with the opposite sign. Undecided: anything else, at the seeds and dialogues shown. “Needs no "
        "speaker embedding” has a margin instead: both intervals must lie above minus one point."
    )
    blocks = [Text(lead), Cards(verdicts.cards(made.beside, made.data, made.runs, paper, audit))]
    if total:
        blocks += [verdicts.claims_sheet(claims, "../claims.csv"), Text(rule)]
    return Section("verdict", "Verdict", "The verdict", blocks)


def paper_tables(made: Made) -> Section:
    """Tables 1 to 7, each with its figure, then fold by fold where there are several."""
    blocks = [
        Text(
            "Ours: mean ± standard deviation over seeds, the 95 % interval below. Accuracy is plain, F1 is "
            "weighted (Reading R15); the CSV files hold the other conventions. Grey rows are quoted from the "
            "paper, which quotes them from others."
        )
    ]
    for table, what in zip(made.tables, TABLE_PICTURES, strict=True):
        source = f"../../../paper_tables/{made.place.name}/table{table}.csv"
        blocks += [paper_sheet(made.tables[table], table, source), *shown(made, f"table{table}_{what}")]
    if made.folds["fold"].nunique() > 2:  # one fold and "all"
        source = f"../../../paper_tables/{made.place.name}/folds.csv"
        blocks.append(sheet(made.folds, "folds", "Fold by fold; percent.", source))
    return Section("tables", "Tables", "Tables 1 to 7", blocks)


def comparisons(made: Made) -> Section:
    """Every pair, then what single models do: classes, confusion."""
    frame, blocks = made.beside["comparisons"], []
    if len(frame):
        caption = "Pairs. a minus b in points, both 95 % intervals, p after Holm's correction, Cohen's d_z."
        frame = frame.drop(columns=["p_seeds", "p_dialogues"])
        blocks.append(sheet(frame, "pairs", caption, "../comparisons.csv"))
    speakers = made.beside["speakers"]
    if len(speakers):
        caption = "Who speaks. With and without speaker embeddings, under each split that has been run."
        blocks.append(sheet(speakers, "speakers", caption, "../speakers.csv"))
    blocks += shown(made, "classes", "confusion_full", "confusion_sdt", "confusion_full_6", "confusion_sdt_6")
    return Section("comparisons", "Models", "Model against model", blocks)


def epochs(made: Made) -> Section:
    """Training, and what choosing the epoch on the test set would add."""
    blocks = [*shown(made, "curves_full", "selection_gap")]
    gap = made.beside["selection_gap"]
    if len(gap):
        keep = [c for c in gap if not c.startswith("gap_last")]
        caption = "Scores at three epochs. Gap validation: best on test minus best on validation, in points."
        blocks.append(sheet(gap[keep], "gap", caption, "../selection_gap.csv"))
    return Section("selection", "Epoch", "The epoch, and the selection gap", blocks)


def parts(made: Made) -> Section:
    """Slices of the test set."""
    sliced = made.beside["slices"]
    blocks = [*shown(made, "slices")]
    blocks += [Text(html.escape(f"{line}.")) for line in sliced.attrs["left_out"]]
    if len(sliced):
        frame = sliced[sliced["experiment"].isin(["full", "sdt", "linear"])]
        caption = "Parts. LPGNet, SDT* and the linear classifier on parts of the test set; percent."
        blocks.append(sheet(frame, "parts-scores", caption, "../slices.csv"))
    return Section("parts", "Slices", "Parts of the test set", blocks)


def model(made: Made, choices: list[Reading], mathml) -> Section:
    """Fig. 1, the equations with our readings, what the trained model does inside.  mathml: LaTeX -> HTML."""
    words = {r.number: max((says for _, says, _ in r.says), key=len, default="") for r in choices}
    lines = [
        (f"({n})", mathml(f"${latex}$"), [(r, coded(words[r])) for r in taken])
        for n, (latex, taken) in EQUATIONS.items()
    ]
    text = "The equations as printed. Where one leaves a choice open, what we took stands beside it."
    blocks = [*shown(made, "architecture"), Text(text), Equations(lines)]
    blocks += shown(made, "gates", "attention", "embedding", "calibration")
    return Section("model", "Inside", "The model, and inside it", blocks)


def cost(made: Made, extra: dict[str, pd.DataFrame]) -> Section:
    """Parameters and seconds from the records; multiply-adds and latency where they were measured."""
    by = made.runs.groupby("experiment")
    frame = pd.DataFrame({
        "parameters": by["parameters"].max(),
        "seconds per run": by["seconds"].mean(),
        "runs": by.size(),
        "device": by["made"].agg(lambda made: ", ".join(sorted({m["device"] for m in made}))),
    }).reset_index()  # fmt: skip
    blocks = [*shown(made, "cost")]
    if "efficiency" in extra:
        caption = "Multiply-adds of a dialogue of 50 turns; latency by number of turns; peak memory."
        blocks.append(sheet(extra["efficiency"], "efficiency", caption, "../efficiency.csv"))
    else:
        blocks.append(Text(f"Latency, multiply-adds, memory. {BEYOND}"))
    return Section(
        "cost", "Cost", "What it costs", [*blocks, sheet(frame, "training-cost", "Training, by the records.")]
    )


def beyond(made: Made, extra: dict[str, pd.DataFrame]) -> Section:
    """Readings that were run the other way, how much context matters, a missing modality."""
    captions = {
        "readings": "Each reading run the other way: points, 95 % intervals over seeds and test dialogues. "
        "It matters where both tests say so after correction; undecided is not equal.",
        "context": "What a dialogue's turns are worth: as spoken, shuffled, dealt anew, past or near alone.",
        "missing": "What missing text or audio costs (notebook 08).",
    }
    blocks = []
    for name, caption in captions.items():
        blocks += shown(made, name)
        if name in extra:
            blocks.append(sheet(extra[name], f"beyond-{name}", caption, f"../{name}.csv"))
    return Section("beyond", "Beyond", "Beyond the paper", blocks or [Text(BEYOND)])


def decisions(choices: list[Reading]) -> Section:
    """R1 to R28, in the words of the code."""
    rows = [
        [
            Cell(f"R{reading.number}", sort=reading.number),
            Cell(coded(f"`{code}` {says}" if code else says)),
            Cell(where, kind="code"),
        ]
        for reading in choices
        for code, says, where in reading.says
    ]
    caption = "Every place where the paper leaves a choice open: what the code says there, file and line."
    heads = ["Reading", "What we took", "Where"]
    return Section(
        "decisions", "Readings", "What we had to decide", [Sheet("readings", caption, heads, rows)]
    )


def audits(paper: pd.DataFrame, data: pd.DataFrame | None) -> list[Section]:
    """The paper against its own tables; the data of this place."""
    order = (paper_kinds.FAILS, paper_kinds.OPEN, paper_kinds.HOLDS)
    paper = paper.sort_values("verdict", key=lambda v: v.map(order.index), kind="stable")
    frame = paper[["verdict", "claim", "where", "printed", "recomputed", "note"]]
    caption = f"{paper_audit.counted(paper)}."
    rule = " ".join(paper_kinds.__doc__.partition("Rounding.  ")[2].split())
    blocks = [
        Text("No model is run for this: what the paper's text states, against its own printed tables."),
        sheet(frame, "paper-audit-lines", caption, "../../paper_audit.csv"),
        Text(f"How a rounded number is compared. {html.escape(rule)}"),
    ]
    found = [Section("paper-audit", "Paper audit", "The paper, audited", blocks)]
    if data is not None:
        frame = data[["severity", "check", "finding", "detail", "what_to_do"]].fillna("")
        caption = f"{data_audit.counted(data)}. Fault: numbers can't be trusted; warning: read them with it."
        heads = {"what_to_do": "what to do"}
        lines = sheet(frame, "data-audit-lines", caption, "../audit.csv", heads)
        found.append(Section("data-audit", "Data audit", "The data, audited", [lines]))
    return found


def origin(made: Made, links: list[tuple[str, str]]) -> Section:
    """Hashes, versions, commands, and everything else that was written."""
    facts = provenance.facts(made.place, made.data, made.runs)
    rows = [[Cell(name), Cell(value, kind="code")] for name, value in facts]
    listed = "".join(f'<li><a href="{html.escape(to)}">{html.escape(name)}</a></li>' for name, to in links)
    steps = html.escape("\n".join(provenance.commands(made.place)))
    blocks = [
        Sheet("facts", "What these numbers were made from and with.", ["What", "Value"], rows),
        Text(f"From nothing to this page and its archive:<pre><code>{steps}</code></pre>"),
        Text(f"Notebooks as they ran, and every table as a file:<ul>{listed}</ul>"),
    ]
    left = [line for line in made.remarks() if not line.startswith("stale")]
    if left:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in left)
        blocks.append(Text(f"Not there yet, or left out:<ul>{items}</ul>"))
    return Section("provenance", "Provenance", "Where it comes from", blocks)


def caption_of(made: Made) -> str:
    """Corpus, profile, split, labels, seeds: what every number on the page is of."""
    return typeset.origin(made.tables[2][made.tables[2]["source"] == "run"])
