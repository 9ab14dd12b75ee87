"""results/<place>/report/index.html: one page that opens from disk, with everything in it.

Equal records, equal bytes.  It says by a stamp what it was made from, so that nothing is done where that has
not changed.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from lpgnet.beyond.report import sections
from lpgnet.beyond.report.blocks import style, template
from lpgnet.labels import is_simulated
from lpgnet.machine.code import swhids
from lpgnet.machine.files import whole
from lpgnet.places import Place
from lpgnet.tables.build import REPORTED
from lpgnet.tables.rebuild import code_digest
from lpgnet.tables.speakers import BOTH
from lpgnet.tables.typeset import SIMULATED

STAMP = re.compile(r'<meta name="lpgnet-stamp" content="(\w+)">')


def path_of(place: Place) -> Path:
    return place.results / "report" / "index.html"


def write(place: Place) -> Path:
    """Rebuild tables, statistics, figures and audits from the records, then the page."""
    found = sections.gather(place)
    if found.made.runs.empty:
        raise FileNotFoundError(
            f"{place.runs} has no record in use ({len(found.made.runs.attrs['stale'])} are stale): "
            "there is nothing to report; run notebooks 01 to 05 (`python -m lpgnet reproduce`) first"
        )
    path, text = path_of(place), html(found)
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def html(found: sections.Findings) -> str:
    """The page."""
    made, every = found.made, [section(found) for section in sections.SECTIONS]
    return template("page.html.j2").render(
        sections=[section for section in every if section.blocks],
        title=f"LPGNet, rerun: {made.place.name}",
        about=made.origin,
        banner=SIMULATED if is_simulated(made.data["corpus"]) else "",
        style=style,
        stamp=stamp(made.place),
    )


def stamp(place: Place) -> str:
    """SHA-256 over everything that the page depends on."""
    read = [*sorted(REPORTED.glob("*.csv")), *sorted(place.runs.rglob("[!.]*.json"))]
    read += sorted(place.features.glob("utterances.csv")) + sorted(place.features.glob("index.json"))
    read += sorted(place.results.glob("*.csv"))
    read += sorted((place.checkpoints / "full").glob("*.npz"))
    beside = (replace(place, split=split).results / "comparisons.csv" for split in BOTH)  # for who speaks
    read += [path for path in beside if path.exists()]
    sha = hashlib.sha256(f"{code_digest()} {swhids()} {place.name}".encode())
    for path in read:
        sha.update(path.name.encode() + b"\0" + path.read_bytes())
    for path in sorted(place.notebooks.glob("*.html")):
        sha.update(path.name.encode())
    return sha.hexdigest()


def fresh(place: Place) -> bool:
    """Whether the page is there, is of what is there now, and everything that it links to is too."""
    path = path_of(place)
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    found = STAMP.search(text)
    if not found or found[1] != stamp(place):
        return False
    return all((path.parent / to).exists() for to in re.findall(r'href="([^"#:]+)"', text))
