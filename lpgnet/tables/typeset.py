"""A table as people read it, Markdown and LaTeX, beside the CSV with every column; formulas as MathML."""

import html
import re
from pathlib import Path

import pandas as pd

from lpgnet.labels import is_simulated
from lpgnet.machine.files import write_forms

IEMOCAPS = ("majority-4", "majority-6", "erc-6")
SIMULATED = "Simulated corpus: shows that the machinery works, says nothing about the paper."
OF_IEMOCAP = "Printed numbers are of IEMOCAP."
TITLES = {
    1: "Emotion distribution: ours (printed in the paper)",
    2: "Overall performance",
    3: "Ablation of LPGNet",
    4: "Audio alone",
    5: "Text alone",
    6: "Weights of the three losses",
    7: "LPGNet and SDT* by class",
}
HEADS = {
    "model": "Model",
    "citation": "Ref.",
    "upstream_audio": "Upstream (A)",
    "upstream_text": "Upstream (T)",
    "encoder_audio": "Our encoder (A)",
    "encoder_text": "Our encoder (T)",
    "group": "Group",
    "variant": "Variant",
    "upstream": "Upstream",
    "downstream": "Downstream",
    "lambda_task": "λ task",
    "lambda_ce": "λ CE",
    "lambda_kl": "λ KL",
    "classes": "Classes",
    "part": "Part",
    "source": "Source",
    "n_seeds": "Seeds",
    "accuracy": "ACC",
    "f1": "F1",
}
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
}
MARKDOWN = {"|": r"\|", "<": "&lt;"}


def write(frame: pd.DataFrame, folder: Path, number: int) -> list[Path]:
    """tableN.csv, tableN.md and tableN.tex, each whole or not at all; equal frames, equal bytes."""
    texts = {
        "csv": frame.to_csv(index=False, lineterminator="\n"),
        "md": markdown(frame, number),
        "tex": latex(frame, number),
    }
    return write_forms(Path(folder) / f"table{number}", texts)


def markdown(frame: pd.DataFrame, number: int) -> str:
    """The readable table under its caption."""
    table = readable(frame).map(lambda text: escaped(text, MARKDOWN)).to_markdown(index=False, disable_numparse=True)
    return f"**Table {number}. {caption(frame, number)}**\n\n{table}\n"


def latex(frame: pd.DataFrame, number: int) -> str:
    """A table environment as wide as the text; needs booktabs and graphicx."""
    table = readable(frame)
    table = table.rename(columns=escaped).map(escaped)
    body = table.to_latex(index=False, escape=False).strip()
    lines = [
        r"\begin{table}",
        rf"\caption{{{escaped(caption(frame, number))}}}",
        rf"\label{{tab:{number}}}",
        r"\resizebox{\textwidth}{!}{%",
        body + "}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str, special: dict[str, str] = LATEX) -> str:
    """Plain text for LaTeX, or for a cell in Markdown."""
    return "".join(special.get(letter, letter) for letter in text)


def caption(frame: pd.DataFrame, number: int) -> str:
    """Title, origin, what a cell shows, and which experiments are still to be run."""
    parts = [f"{TITLES[number]}.", origin(frame)]
    if "n_seeds" in frame:
        bracket = "" if _crowded(frame) else " [95 % t interval]"
        parts.append(f"Percent; mean ± standard deviation over seeds{bracket} (paper: printed number).")
        waiting = frame["n_seeds"].eq(0) & frame["note"].eq("")
        absent = sorted(frame.loc[waiting, "experiment"].unique())
        parts += [f"Not run yet: {', '.join(absent)}."] if absent else []
    experiment = frame["experiment"] if "experiment" in frame else frame["part"]
    noted = experiment[frame["note"].ne("")].groupby(frame["note"], sort=False).unique()
    return " ".join(parts + [f"{', '.join(names)}: {note}." for note, names in noted.items()])


def warning(corpus: str) -> str:
    """What every output says that is made from simulated data, with a space before it; "" of any other."""
    return f" {SIMULATED}" if is_simulated(corpus) else ""


def origin(frame: pd.DataFrame) -> str:
    """Corpus, profile, split, labels and seeds of a table, with a warning where it is simulated."""
    one = frame.iloc[0]
    labels = " and ".join(dict.fromkeys(frame["labels"]))
    text = f"Corpus {one['corpus']}, profile {one['profile']}, split {one['split']}, labels {labels}"
    seeds = frame["n_seeds"].dropna() if "n_seeds" in frame else pd.Series()
    seeds = seeds[seeds > 0]
    if len(seeds):
        low, high = int(seeds.min()), int(seeds.max())
        text += f", {low} seeds" if low == high else f", {low} to {high} seeds"
    if is_simulated(one["corpus"]):
        return f"{text}.{warning(one['corpus'])}"
    return f"{text}." if one["labels"] in IEMOCAPS else f"{text}. {OF_IEMOCAP}"


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns worth reading, one text cell per metric."""
    if "part" in frame:
        table = frame[["part"]].copy()
        for name in (c.removesuffix("_ours") for c in frame if c.endswith("_ours")):
            ours, printed = (frame[f"{name}_{what}"].astype("string").fillna("-") for what in ("ours", "reported"))
            table[name] = (ours + " (" + printed + ")").replace("- (-)", "")
        return _named(table)
    metrics = headline(frame)
    before = [c for c in frame if c in HEADS and c not in ("n_seeds", "experiment", *metrics)]
    table = frame[before].map(lambda value: "" if pd.isna(value) else str(value))
    lines = frame.to_dict("records")
    for name in metrics:
        table[name] = [cell(line, name, interval=not _crowded(frame)) for line in lines]
    table["n_seeds"] = frame["n_seeds"].astype("string").fillna("")
    return _named(table)


def headline(frame: pd.DataFrame) -> list[str]:
    """The metrics that a table shows beside the paper's."""
    return [c.removesuffix("_delta") for c in frame if c.endswith("_delta")]


def cell(line: dict, name: str, interval: bool = True) -> str:
    """mean ± std [low, high] (paper: printed), as much of it as there is."""
    mean, std, printed = (line[f"{name}_{what}"] for what in ("mean", "std", "reported"))
    text = "" if pd.isna(mean) else f"{mean:.2f}"
    if not pd.isna(std):
        text += f" ± {std:.2f}"
        text += f" [{line[f'{name}_ci_low']:.2f}, {line[f'{name}_ci_high']:.2f}]" if interval else ""
    if pd.isna(printed):
        return text
    spread = line.get(f"{name}_reported_std")
    more = "" if spread is None or pd.isna(spread) else f" ± {spread}"
    return f"{text} (paper: {printed:.2f}{more})".strip()


def _crowded(frame: pd.DataFrame) -> bool:
    return len(headline(frame)) > 3  # Table 7: the intervals stand in its CSV


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: HEADS.get(name, name.capitalize()))


def mathml(text: str) -> str:
    """$…$ and $$…$$ in HTML text as MathML."""
    from latex2mathml.converter import convert

    def formula(match: re.Match) -> str:
        display = "block" if match[1] is not None else "inline"
        return convert(html.unescape(match[1] or match[2]), display=display)

    return re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", formula, text, flags=re.S)
