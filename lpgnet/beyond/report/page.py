"""results/<place>/report/index.html: one page that opens from disk, with everything in it.

Equal records, equal bytes.  It says by a stamp what it was made from, so that nothing is done where that has
not changed.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from lpgnet.beyond.audit import data_audit, paper_audit
from lpgnet.beyond.report import provenance, sections
from lpgnet.beyond.report.equations import readings
from lpgnet.machine.files import whole
from lpgnet.places import Place
from lpgnet.tables.build import REPORTED, reported
from lpgnet.tables.rebuild import Made, remake
from lpgnet.tables.speakers import BOTH
from lpgnet.tables.typeset import SIMULATED, mathml

HERE = Path(__file__).parent
EXTRA = ("readings", "context", "missing", "efficiency")  # of notebooks 07, 08, 04, where they ran
STAMP = re.compile(r'<meta name="lpgnet-stamp" content="(\w+)">')
NOTEBOOK = re.compile(r"\d\d_")


def path_of(place: Place) -> Path:
    return place.results / "report" / "index.html"


def write(place: Place) -> Path:
    """Rebuild tables, statistics, figures and audits from the records, then the page."""
    made = remake(place)
    if made.runs.empty:
        raise FileNotFoundError(
            f"{place.runs} has no record in use ({len(made.runs.attrs['stale'])} are stale): "
            "there is nothing to report; run notebooks 01 to 05 (`python -m lpgnet reproduce`) first"
        )
    paper, audit = _audits(place)
    path, text = path_of(place), html(made, paper, audit)
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def html(made: Made, paper: pd.DataFrame, audit: pd.DataFrame | None) -> str:
    """The page.  paper, audit: both audits, the data's None where there is no feature store."""
    choices = readings()
    extra = {name: pd.read_csv(made.place.results / f"{name}.csv") for name in _extra(made.place)}
    found = [
        sections.first(made, paper, audit),
        sections.paper_tables(made),
        sections.comparisons(made),
        sections.epochs(made),
        sections.parts(made),
        sections.model(made, choices, mathml),
        sections.cost(made, extra),
        sections.beyond(made, extra),
        sections.decisions(choices),
        *sections.audits(paper, audit),
        sections.origin(made, links(made.place)),
    ]
    loader = jinja2.FileSystemLoader(HERE)
    rules = {
        "autoescape": True,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "undefined": jinja2.StrictUndefined,
    }
    template = jinja2.Environment(loader=loader, **rules).get_template("page.html.j2")
    return template.render(
        sections=[section for section in found if section.blocks],
        title=f"LPGNet, rerun: {made.place.name}",
        about=sections.caption_of(made),
        banner=SIMULATED if made.data["corpus"] == "simulated" else "",
        css=Markup((HERE / "page.css").read_text()),
        js=Markup((HERE / "page.js").read_text()),
        stamp=stamp(made.place),
    )


def _audits(place: Place) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The paper's, and the data's where the store is here; both are written too."""
    paper = paper_audit.audit_paper(reported())
    paper_audit.write(paper, place.output / "results")
    if not (place.features / "index.json").exists():
        return paper, None
    audit = data_audit.audit_data(place)
    data_audit.write(audit, place)
    return paper, audit


def _extra(place: Place) -> list[str]:
    return [name for name in EXTRA if (place.results / f"{name}.csv").exists()]


def links(place: Place) -> list[tuple[str, str]]:
    """Name and relative address of what stands beside the page, as far as it is there."""
    notebooks = sorted(p for p in place.notebooks.glob("*.html") if NOTEBOOK.match(p.name))
    found = [(p.stem, f"../notebooks/{p.name}") for p in notebooks]
    found += [(p.name, f"../{p.name}") for p in sorted(place.results.glob("*.csv"))]
    for path in sorted(place.tables.iterdir()):
        found.append((path.name, f"../../../paper_tables/{place.name}/{path.name}"))
    audits = sorted((place.output / "results").glob("paper_audit.*"))
    return [*found, *((p.name, f"../../{p.name}") for p in audits)]


def stamp(place: Place) -> str:
    """SHA-256 over everything that the page depends on."""
    read = [*sorted(REPORTED.glob("*.csv")), *sorted(place.runs.rglob("[!.]*.json"))]
    read += sorted(place.features.glob("utterances.csv")) + sorted(place.features.glob("index.json"))
    read += [place.results / f"{name}.csv" for name in _extra(place)]
    read += sorted((place.checkpoints / "full").glob("*.npz"))
    beside = (replace(place, split=split).results / "comparisons.csv" for split in BOTH)  # for who speaks
    read += [path for path in beside if path.exists()]
    sha = hashlib.sha256(f"{provenance.code_digest()} {provenance.commit()} {place.name}".encode())
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
