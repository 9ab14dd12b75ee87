"""What a researcher wants to know of an imported file before using it, as text."""

import pandas as pd

from lpgnet.beyond.exchange import differences
from lpgnet.beyond.exchange.codes import differing
from lpgnet.beyond.exchange.imported import Imported
from lpgnet.corpora.counts import SESSIONS, official
from lpgnet.corpora.table import PARTS
from lpgnet.labels import CARRIES, ERC6_EXTRA, MELD, OWN, PROTOCOLS, SIX_CLASSES, labelled
from lpgnet.machine.files import listed

CELLS = 6  # differing counts that are shown


def report(found: Imported, reference: pd.DataFrame | None = None) -> str:
    """Format, sizes, classes, split, what was left out, and which label protocol the file's labels equal.

    reference: the utterance table of the release it is of (columns id, label with raw codes); with it the
    utterances that differ are named.
    """
    table, about = found.table, found.about
    others = "".join(f"\n  with {name}, SHA-256 {digest[:12]}" for name, digest in about["files"].items())
    lines = [
        f"{about['format']}: {about['file']}, SHA-256 {about['sha256'][:12]}{others}",
        f"{table['dialogue'].nunique()} dialogues, {len(table)} utterances, "
        f"{int((table['label'] != '').sum())} with a label",
        *_features(found),
        f"left out: {', '.join(about['ignored']) or 'nothing'}",
        "",
        *_counts(table, filed_labels(found)),
        "",
        *_split(table, about["split"]),
        *_protocols(about),
    ]
    if about["corpus"] == "iemocap" and about["protocols"] != [OWN]:
        lines += ["", *_against_official(found), "", *_against_release(found, reference)]
    elif about["corpus"] == "simulated" and reference is not None:
        lines += ["", *_against_release(found, reference)]
    if about["notes"]:
        lines += ["", *(f"Note: {note}." for note in about["notes"])]
    return "\n".join(lines) + "\n"


def filed_labels(found: Imported) -> pd.Series:
    """The class that the file itself gives each utterance, in its own classes; None where it gives none."""
    table, names = found.table, found.about["protocols"]
    if "erc-6" in names and found.about["erc6_filed"]:
        return labelled(table, "erc-6")
    return labelled(table, next(n for n in ("majority-6", "majority-4", "meld-7", OWN) if n in names))


def _features(found: Imported) -> list[str]:
    lines = []
    for modality in ("text", "audio"):
        held = found.features.get(modality)
        if held is None:
            lines.append(f"{modality}: none")
            continue
        said = f"{modality}: {held.encoder}, {held.vectors.shape[1]} values per utterance"
        if held.frames is not None:
            total, frame = sum(map(len, held.frames)), held.frames[0]
            said += f", the mean of its frames ({total} in all, {frame.shape[1]} values, {frame.dtype})"
        lines.append(said)
    return lines


def _counts(table: pd.DataFrame, labels: pd.Series) -> list[str]:
    """Utterances per class, by session where there are sessions, else by part."""
    by = "session" if (table["session"] > 0).any() else "part"
    columns = table[by].map(lambda value: (f"S{value}" if by == "session" else value) or "in no part")
    order = [c for c in (*PARTS, "in no part") if c in set(columns)] if by == "part" else sorted(set(columns))
    counts = pd.crosstab(labels.fillna("no class").to_numpy(), columns.to_numpy())[order]
    known = [c for c in (*SIX_CLASSES, *MELD) if c in counts.index]
    others = [c for c in counts.index if c not in (*known, "no class")]
    last = [c for c in counts.index if c == "no class"]
    counts = counts.assign(all=counts.sum(axis=1)).loc[list(dict.fromkeys([*known, *others, *last]))]
    wide = max(12, *(len(name) + 1 for name in counts.index))
    lines = [f"{'class':{wide}}" + "".join(f"{name:>12}" for name in counts.columns)]
    return lines + [f"{name:{wide}}" + "".join(f"{n:>12}" for n in row) for name, row in counts.iterrows()]


def _split(table: pd.DataFrame, split: str) -> list[str]:
    lines = []
    for part in PARTS:
        rows = table[table["part"] == part]
        if len(rows):
            lines.append(f"{part}: {rows['dialogue'].nunique()} dialogues, {len(rows)} utterances")
    tested = set(table["session"][table["part"] == "test"]) - {0}
    if len(tested) == 1 and (session := tested.pop()) != 5:
        lines.append(
            f"The test part is of session {session}, the paper's is session 5: numbers don't compare. "
            "`--split session5` is the paper's."
        )
    lines.append(f"split: {split} unless told otherwise")
    if split == "official" and not {"train", "test"} <= set(table["part"]):
        lines.append("The file has no train and test part: nothing can be tested on it as it is.")
    return lines


def _protocols(about: dict) -> list[str]:
    first, *rest = about["protocols"]
    lines = [f"label protocols: {', '.join([f'{first} (default)', *rest])}"]
    if about["unsure"]:
        lines.append(
            "The file has no utterance ids of IEMOCAP: it holds up to 53 utterances that majority-4 and "
            "majority-6 lack; they can't be told apart without utterance ids."
        )
    return lines


def _against_official(found: Imported) -> list[str]:
    """How the counts per class and session compare with the release's."""
    table, about, own = found.table, found.about, filed_labels(found)
    six = "majority-6" in about["protocols"]
    differ = {name: differing(table, name, own) for name in (("majority-6", "erc-6") if six else ("majority-4",))}
    near = min(differ, key=lambda name: len(differ[name]))
    lines = [
        "Counts per class and session against the official ones:",
        f"  the file's labels and {near}: {_verdict(differ[near], own, near)}",
        *_permuted(table, own, near),
    ]
    for name in (n for n in about["protocols"] if n in PROTOCOLS):
        labels = labelled(table, name)
        if not (name == near and labels.equals(own)):
            lines.append(f"  what {name} keeps of the file: {_verdict(differing(table, name), labels, name)}")
    extra = set(table["id"]) & ERC6_EXTRA
    if about["made_ids"] or not (six or extra):
        return lines
    lines.append(
        f"Of the {len(ERC6_EXTRA)} utterances that erc-6 adds to happy (official label xxx), the file has "
        f"{len(extra)} and calls {about['erc6_filed']} happy; majority-4 and majority-6 leave them out."
    )
    absent = sorted(ERC6_EXTRA - extra)
    return lines + ([f"  absent: {listed(absent)}"] if extra and absent else [])


def _permuted(table: pd.DataFrame, own: pd.Series, protocol: str) -> list[str]:
    """A line where the counts are the official ones, but for the order of the classes."""
    counts = [official(protocol, session) for session in SESSIONS]
    want = {tuple(count[name] for count in counts): name for name in PROTOCOLS[protocol].classes}
    have = pd.crosstab(own.to_numpy(), table["session"].to_numpy()).reindex(columns=range(1, 6), fill_value=0)
    named = {name: want.get(tuple(row)) for name, row in zip(have.index, have.to_numpy().tolist(), strict=True)}
    if sorted(named.values(), key=str) != sorted(want.values()) or all(a == b for a, b in named.items()):
        return []
    said = ", ".join(f"what is read as {a} has the counts of {b}" for a, b in named.items() if a != b)
    return [f"  These are the official counts with the classes in another order: {said}."]


def _verdict(cells: dict[tuple, tuple], labels: pd.Series, protocol: str) -> str:
    have, want = int(labels.notna().sum()), sum(official(protocol).values())
    if not cells:
        return f"equal in every class and session ({have})"
    said = [f"S{s} {name} {n} (official {m})" for (s, name), (n, m) in list(cells.items())[:CELLS]]
    more = f" and {len(cells) - CELLS} more" if len(cells) > CELLS else ""
    return f"{have} utterances, official {want}; {len(cells)} counts differ: {', '.join(said)}{more}"


def _against_release(found: Imported, reference: pd.DataFrame | None) -> list[str]:
    """Which utterances differ from each protocol, by id, against a release's own labels."""
    if found.about["made_ids"]:
        return ["Single utterances can't be compared: the file has no utterance ids."]
    if reference is None:
        return [
            "With no release at hand only counts are compared; `import --root DIR` with an IEMOCAP release, "
            "or notebook 01 run on one before, lets single utterances be compared by id."
        ]
    lines, own = ["Utterances against your release, as the file labels them:"], filed_labels(found)
    for name in CARRIES[found.about["corpus"]]:
        if name != "majority-4" and "majority-6" not in found.about["protocols"]:
            lines.append(f"  {name}: can't be compared, the file has four classes")
            continue
        lines += _by_id(merged_labels(own) if name == "majority-4" else own, found, reference, name)
    return lines


def merged_labels(labels: pd.Series) -> pd.Series:
    """Six classes as majority-4 has them: excited is happy, frustrated is none."""
    return labels.replace({"excited": "happy", "frustrated": None})


def _by_id(labels: pd.Series, found: Imported, reference: pd.DataFrame, name: str) -> list[str]:
    ours = pd.DataFrame({"id": found.table["id"], "label": labels})
    theirs = pd.DataFrame({"id": reference["id"], "label": labelled(reference, name)})
    differ = differences.frame(ours, theirs)
    if differ.empty:
        return [f"  {name}: the same utterances with the same labels ({int(theirs['label'].notna().sum())})"]
    only, lacking = differ["label_b"] == "", differ["label_a"] == ""
    kinds = {"only in the file": only, f"only in {name}": lacking, "other label": ~only & ~lacking}
    lines = [f"  {name}: {len(differ)} utterances differ"]
    if name != "erc-6" and set(differ["id"]) <= ERC6_EXTRA:
        lines[0] += (
            f", all of them of erc-6's {len(ERC6_EXTRA)} that the file calls happy; {name} leaves those out "
            "when it reads the file, so its counts above are equal"
        )
    for what, rows in kinds.items():
        said = [_said(row) for _, row in differ[rows].iterrows()]
        if said:
            lines.append(f"    {what}, {len(said)}: {listed(said)}")
    return lines


def _said(row: pd.Series) -> str:
    both = row["label_a"] and row["label_b"]
    return f"{row['id']} ({row['label_a']}, not {row['label_b']})" if both else row["id"]
