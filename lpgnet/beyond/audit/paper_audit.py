"""The paper against its own tables: every number its text states, recomputed from paper_tables/reported.

What is written down by hand (`paper_claims`) is the claim: its words, where it stands, the number stated.
Everything else is computed from the printed tables; `paper_kinds` says how a rounded number is compared.
"""

from dataclasses import astuple
from pathlib import Path

import pandas as pd

from lpgnet.beyond.audit.paper_claims import CLAIMS
from lpgnet.beyond.audit.paper_kinds import FAILS, HOLDS, OPEN, ROUNDING, VERDICTS, Tables
from lpgnet.machine.files import write_forms

COLUMNS = ["claim", "where", "printed", "recomputed", "verdict", "note"]
ABOUT = (
    "What the text of He & Xiao (2025) states about its tables, recomputed from the tables as printed "
    "(`paper_tables/reported`); no model is run for this page. In square brackets: our words, where a table "
    "says something by its numbers alone."
)


def audit_paper(reported: Tables) -> pd.DataFrame:
    """One line per claim, columns `COLUMNS`, in the paper's order.  reported: of `tables.reported`."""
    lines = [(says, where, *astuple(check(reported, *given))) for says, where, check, *given in CLAIMS]
    return pd.DataFrame(lines, columns=COLUMNS)


def write(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """paper_audit.csv and paper_audit.md under `folder`; equal frames, equal bytes."""
    texts = {"csv": frame.to_csv(index=False, lineterminator="\n"), "md": page(frame)}
    return write_forms(Path(folder) / "paper_audit", texts)


def counted(frame: pd.DataFrame) -> str:
    """How many of each verdict."""
    count = frame["verdict"].value_counts()
    said = {"holds": "hold", "does not hold": "don't hold"}
    return ", ".join(f"{count.get(name, 0)} {said.get(name, name)}" for name in VERDICTS)


def failing(frame: pd.DataFrame) -> list:
    return list(frame[frame["verdict"] == FAILS].itertuples())


def page(frame: pd.DataFrame) -> str:
    """The audit to read: how many of each verdict, then the claims, those that fail first."""
    count = frame["verdict"].value_counts()
    lines = ["# The paper, audited", "", ABOUT, "", "| Verdict | Claims |", "|---|---|"]
    lines += [f"| {name} | {count.get(name, 0)} |" for name in VERDICTS]
    for name in (FAILS, OPEN, HOLDS):
        some = frame[frame["verdict"] == name].to_dict("records")
        lines += ["", f"## {name.capitalize()} ({len(some)})", "", *map(_item, some)]
    return "\n".join([*lines, "", "## How a rounded number is compared", "", ROUNDING, ""])


def _item(line: dict) -> str:
    says = line["claim"] if line["claim"].startswith("[") else f"“{line['claim']}”"
    return (
        f"- **{says}** ({line['where']})\n"
        f"  - Printed: {line['printed']}. Recomputed: {line['recomputed']}.\n"
        f"  - {line['note']}"
    )
