"""How many utterances of each class and session (MELD: part) a release holds, beside how many it should."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lpgnet.corpora.table import PARTS
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
SIMPLE = ("majority-4", "majority-6")  # protocols that are a table of codes
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
        expected, source = {"emotions": _with_all(_by(OFFICIAL_MELD, PARTS))}, "the official MELD counts"
        columns, groups, found = PARTS, table["part"], {"emotions": (table["label"], OFFICIAL_MELD)}
    else:
        expected, source = _expected(root)
        columns, groups = SESSIONS, table["session"].astype(str)
        firsts = table.drop_duplicates("dialogue").assign(kind="dialogues")["kind"]
        found = {"dialogues": (firsts, ["dialogues"]), "codes": (table["label"], CODES)}
        for name in SIMPLE:
            found[name] = table["label"].map(PROTOCOLS[name].codes), PROTOCOLS[name].classes
    lines, differ = [f"Counts as found/expected ({source}); * where they differ."], 0
    for name, (labels, kinds) in found.items():
        have = _with_all(pd.crosstab(labels, groups).reindex(index=kinds, columns=columns, fill_value=0))
        want = expected[name].reindex(index=have.index)
        lines += ["", f"{name:12}" + "".join(f"{column:>12}" for column in have)]
        for kind in have.index:
            pairs = zip(have.loc[kind], want.loc[kind], strict=True)
            cells = [str(n) if pd.isna(m) else f"{n}/{m:.0f}{'*' * (n != m)}" for n, m in pairs]
            differ += sum(cell.endswith("*") for cell in cells)
            lines.append(f"{kind:12}" + "".join(f"{cell:>12}" for cell in cells))
    return lines, differ, source


def _expected(root: Path) -> tuple[dict[str, pd.DataFrame], str]:
    """table -> kind by session (and "all"; NaN where that isn't known), and the source's name."""
    path = root / "manifest.json"
    if path.exists():
        held = json.loads(path.read_text())["expected"]
        tables = {name: pd.DataFrame(by).reindex(columns=SESSIONS).fillna(0) for name, by in held.items()}
        return {name: _with_all(frame) for name, frame in tables.items()}, "the simulated corpus's manifest.json"
    tables = {name: pd.DataFrame({s: official(name, s) for s in SESSIONS}) for name in SIMPLE}
    tables |= {"codes": _by(OFFICIAL, SESSIONS), "dialogues": _by({"dialogues": OFFICIAL_DIALOGUES}, SESSIONS)}
    tables = {name: _with_all(frame) for name, frame in tables.items()}
    tables["codes"] = pd.concat([tables["codes"], pd.DataFrame({"all": OFFICIAL_RARE})])
    return tables, "the official IEMOCAP counts"


def _by(counts: dict[str, tuple[int, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(counts, orient="index", columns=columns)


def _with_all(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(all=frame.sum(axis=1))
