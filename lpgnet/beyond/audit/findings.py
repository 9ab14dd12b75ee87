"""What a check of the data says: one line per check, with how grave it is and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass

from lpgnet.machine.files import listed

FAULT, WARNING, NOTE, OK = SEVERITIES = ("fault", "warning", "note", "ok")
UNCHECKED = "can't be checked"
SHOWN = 8  # names in a detail


@dataclass(frozen=True)
class Finding:
    """severity: fault (numbers can't be trusted), warning (they must be read with it), note, or ok."""

    check: str
    severity: str
    finding: str
    detail: str = ""
    what_to_do: str = ""


def fine(check: str, finding: str, detail: str = "") -> Finding:
    return Finding(check, OK, finding, detail)


def judged(check: str, bad: Iterable, found: str, do: str, ok: str, severity: str = FAULT) -> Finding:
    """What is wrong, with the first of the bad ones by name; where none is bad, that all is well."""
    bad = list(bad)
    return Finding(check, severity, found, some(bad), do) if bad else fine(check, ok)


def unchecked(check: str, why: str) -> Finding:
    return Finding(check, NOTE, f"{UNCHECKED}: {why}")


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    return listed(list(map(str, names)), SHOWN)
