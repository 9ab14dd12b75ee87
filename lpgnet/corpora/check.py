"""Is the corpus at a root whole: counts beside the expected ones, every fault by name, a verdict."""

from pathlib import Path

from lpgnet.corpora import counts
from lpgnet.corpora.load import read


def check(root: Path) -> tuple[str, bool]:
    """A report on any corpus with the verdict as its last line, and whether it is complete and clean.

    Reads every sample of every clip.
    """
    found = read(root)
    counted, differ, source = counts.compare(found.table, found.corpus, root)
    problems = found.problems + found.clips
    report = [f"{found.corpus} at {root}", "", *counted, ""]
    report += _listed("notes", found.notes) + _listed("problems", problems)
    return "\n".join([*report, _verdict(len(problems), differ, source)]), not problems and not differ


def _verdict(problems: int, differ: int, source: str) -> str:
    if problems:
        return f"Verdict: {problems} problem{'s' * (problems > 1)}."
    if differ:
        return f"Verdict: clean, but the counts differ from {source} ({differ} marked with *)."
    return "Verdict: complete and clean."


def _listed(title: str, sentences: list[str]) -> list[str]:
    return [f"{len(sentences)} {title}{':' if sentences else '.'}", *(f"  {s}" for s in sentences)]
