"""How many utterances of each class and session (MELD: part) a release holds, beside how many it should."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lpgnet.labels import PROTOCOLS

CODES = ("neu", "hap", "sad", "ang", "exc", "fru", "sur", "fea", "dis", "oth", "xxx")
SESSIONS = ("1", "2", "3", "4", "5")
OFFICIAL = {  # of the release, sessions 1 to 5
    "neu": (384, 362, 320, 258, 384),
    "hap": (135, 117, 135, 65, 143),
    "sad": (194, 197, 305, 143, 245),
    "ang": (229, 137, 240, 327, 170),
    "exc": (143, 210, 151, 238, 299),
    "fru": (280, 325, 382, 481, 381),
}
OFFICIAL_RARE = {"sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507}  # over all sessions
OFFICIAL_MELD = {  # train, validation, test: 9,989, 1,109 and 2,610
    "neutral": (4710, 470, 1256),
    "surprise": (1205, 150, 281),
    "fear": (268, 40, 50),
    "sadness": (683, 111, 208),
    "joy": (1743, 163, 402),
    "disgust": (271, 22, 68),
    "anger": (1109, 153, 345),
}
PARTS = ("train", "validation", "test")
OFFICIAL_DIALOGUES = (28, 30, 32, 30, 31)


def official(protocol: str, sessions: Iterable[str] = SESSIONS) -> dict[str, int]:
    """class -> how many utterances of the release's sessions a protocol of IEMOCAP gives it."""
    rule = PROTOCOLS[protocol]
    found = Counter(dict.fromkeys(rule.classes, 0))
    for session in sessions:
        for code, name in rule.codes.items():
            found[name] += OFFICIAL[code][int(session) - 1]
        found.update(filed for name, filed in rule.extra.items() if name[4] == session)
    return dict(found)


def compare(table: pd.DataFrame, corpus: str, root: Path) -> tuple[list[str], int, str]:
    """Lines that show found/expected counts, how many differ, and where the expected are from."""
    if corpus == "meld":
        counted = Counter(zip(table["part"], table["label"], strict=True))
        found = {kind: {part: counted[part, kind] for part in PARTS} for kind in OFFICIAL_MELD}
        expected = {kind: _sum(dict(zip(PARTS, row, strict=True))) for kind, row in OFFICIAL_MELD.items()}
        return _lines({"emotions": found}, {"emotions": expected}, "the official MELD counts", PARTS)
    expected, source = _expected(root)
    codes = Counter(zip(table["session"].astype(str), table["label"], strict=True))
    firsts = table.drop_duplicates("dialogue")["session"].astype(str)
    found = {"dialogues": {"dialogues": Counter(firsts)}, "codes": _by_session(codes, CODES)}
    for name in ("majority-4", "majority-6"):
        rule = PROTOCOLS[name]
        mapped = Counter()
        for (session, code), count in codes.items():
            mapped[session, rule.codes.get(code)] += count
        found[name] = _by_session(mapped, rule.classes)
    return _lines(found, expected, source, SESSIONS)


def _lines(found: dict, expected: dict, source: str, columns: tuple[str, ...]) -> tuple[list[str], int, str]:
    lines, differ = [f"Counts as found/expected ({source}); * where they differ."], 0
    for name, table_of in found.items():
        lines += ["", f"{name:12}" + "".join(f"{s:>12}" for s in (*columns, "all"))]
        for kind, row in table_of.items():
            cells = _cells(row, expected[name].get(kind, {}), columns)
            differ += sum(cell.endswith("*") for cell in cells)
            lines.append(f"{kind:12}" + "".join(f"{cell:>12}" for cell in cells))
    return lines, differ, source


def _by_session(counted: Counter, kinds: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {kind: {s: counted[s, kind] for s in SESSIONS} for kind in kinds}


def _cells(found: dict[str, int], expected: dict[str, int], columns: tuple[str, ...]) -> list[str]:
    total = {**found, "all": sum(found.values())}
    return [
        f"{total.get(s, 0)}/{expected[s]}{'*' * (total.get(s, 0) != expected[s])}"
        if s in expected
        else str(total.get(s, 0))
        for s in (*columns, "all")
    ]


def _expected(root: Path) -> tuple[dict[str, dict[str, dict[str, int]]], str]:
    """table -> kind -> session (and "all") -> count, and the source's name."""
    path = root / "manifest.json"
    if path.exists():
        counts = json.loads(path.read_text())["expected"]
        kinds = {name: sorted({k for row in by.values() for k in row}) for name, by in counts.items()}
        source = {n: {k: _sum({s: counts[n].get(s, {}).get(k, 0) for s in SESSIONS}) for k in kinds[n]}
                  for n in counts}  # fmt: skip
        return source, "the simulated corpus's manifest.json"
    by_code = {code: dict(zip(SESSIONS, row, strict=True)) for code, row in OFFICIAL.items()}
    tables = {"codes": {c: _sum(row) for c, row in by_code.items()}}
    tables["codes"] |= {code: {"all": count} for code, count in OFFICIAL_RARE.items()}
    tables["dialogues"] = {"dialogues": _sum(dict(zip(SESSIONS, OFFICIAL_DIALOGUES, strict=True)))}
    for name in ("majority-4", "majority-6"):
        counted = {s: official(name, s) for s in SESSIONS}
        tables[name] = {kind: _sum({s: counted[s][kind] for s in SESSIONS}) for kind in PROTOCOLS[name].classes}
    return tables, "the official IEMOCAP counts"


def _sum(row: dict[str, int]) -> dict[str, int]:
    return {**row, "all": sum(row.values())}
