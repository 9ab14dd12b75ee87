"""Everything that a place's numbers rest on, but no data, as one zip that verifies itself.

In it, in the folders of a checkout, so that the report's links go on working: records and predictions,
tables, figures, CSVs, audits, the report, executed notebooks, the package that made them and what it was
installed with; an RO-Crate describes them.  Not in it: recordings, features, checkpoints, encoders, stale
records; and, where a corpus is licensed, any page that may hold its words.  A reference run is smaller: what
tables and figures are rebuilt from, and nothing that can be.
"""

import hashlib
import html
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lpgnet.beyond.archive import crate, verify
from lpgnet.beyond.report import page, provenance
from lpgnet.config import ROOT
from lpgnet.corpora.table import plain, utterances
from lpgnet.experiments import TABLED
from lpgnet.labels import is_simulated
from lpgnet.machine.clean_notebook import cleaned
from lpgnet.machine.files import whole
from lpgnet.places import Place
from lpgnet.runs import records
from lpgnet.runs.plan import current_records
from lpgnet.tables.build import lacking
from lpgnet.tables.scores import Evaluation

MOMENT = (1980, 1, 1, 0, 0, 0)  # the first that a zip can name: equal files, equal bytes
CODE = ("*.py", "*.txt", "*.j2", "*.css", "*.js")  # of the package
BESIDE = (
    "pyproject.toml",
    "requirements.lock",
    "environment.yml",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "codemeta.json",
)
WORDS = 6  # in a row, as in a transcript: a page that has them holds the corpus's words
REFERENCE = (
    "LPGNet, rerun: the records of {name} that other runs are compared with, and their predictions.\n\n"
    "Tables and figures of it: python -m lpgnet tables --from {zip}\n"
    "To compare a run with it: python -m lpgnet compare results/{name} {zip}\n"
    "To check that all is as it was made: python {zip}\n"
)
QUOTING = ("01", "08")  # notebooks that show turns of the corpus


@dataclass(frozen=True)
class Bundle:
    """What was written, and what was left out and why."""

    path: Path
    files: int
    manifest: str  # SHA-256 of the manifest
    left_out: list[str]

    def says(self) -> str:
        lines = [f"{self.path}: {self.files} files", f"sha256 of its manifest: {self.manifest}"]
        lines += [f"left out, {line}" for line in self.left_out]
        return "\n".join([*lines, f"To check it: python {self.path.name}"])


def write(place: Place, out: Path) -> Bundle:
    """Bundle a place whose report is up to date; a damaged record stops it, a stale one is left out."""
    data = records.read_data(place.runs)
    runs = _sound(current_records(place, data))
    if not page.fresh(place):
        raise FileNotFoundError(
            f"{page.path_of(place)} is not there or not of what is there now: "
            f"run `python -m lpgnet report {provenance.options(place)}` first"
        )
    used = [Path(path) for path in runs["path"]]
    files = _files(place, used)
    left_out = [f"stale: {Path(path).relative_to(place.runs)}" for path in runs.attrs["stale"]]
    if not is_simulated(place.corpus):
        openings = _openings(place)
        quoting = {name for name, path in files.items() if _quotes(place, path, openings)}
        left_out += [f"may hold words of the corpus: {name}" for name in sorted(quoting)]
        files = {name: path for name, path in files.items() if name not in quoting}
    about = {
        "place": place.name,
        "options": provenance.options(place),
        "commands": provenance.commands(place),
        "facts": dict(provenance.facts(place, data, runs)),
        "left out": left_out,
    }
    texts = {"bundle.json": json.dumps(about, indent=1, sort_keys=True) + "\n", "README.txt": _readme(place)}
    sources = [name for name in files if name.startswith("notebooks/")]  # without what JupyterLab left in them
    texts |= {name: cleaned(files.pop(name).read_text(encoding="utf-8")) for name in sources}
    texts[crate.NAME] = crate.metadata(place, data, [*files, *texts, "__main__.py", verify.MANIFEST])
    with whole(out) as part:
        manifest = _pack(part, files, texts)
    return Bundle(out, len(files) + len(texts) + 1, manifest, left_out)


def write_reference(place: Place, out: Path) -> Bundle:
    """The records of a finished `reproduce` with their predictions, and what figures need beside them."""
    data = records.read_data(place.runs)
    runs = current_records(place, data)
    runs = _sound(runs[runs["experiment"].isin(TABLED)])
    found = Evaluation(runs, data)
    lines = [f"table {n}: {line}" for n in range(2, 8) for line in lacking(n, found)]
    lacks = [line for line in lines if ": not run: " not in line]  # what the corpus doesn't allow
    if lacks or runs.empty:
        said = "; ".join(lacks[:3]) or "it has no record in use"
        raise ValueError(f"{place.results} is no finished run ({said}): run `python -m lpgnet reproduce` first")
    used = [Path(path) for path in runs["path"]]
    kept = [place.runs / "data.json", place.results / "efficiency.csv"]
    kept += [path.with_suffix(suffix) for path in used for suffix in (".json", ".parquet")]
    kept += [place.checkpoints / path.parent.name / f"{path.stem}.npz" for path in used]
    files = {path.relative_to(place.output).as_posix(): path for path in kept if path.exists()}
    with whole(out) as part:
        manifest = _pack(part, files, {"README.txt": REFERENCE.format(name=place.name, zip=out.name)})
    return Bundle(out, len(files) + 3, manifest, [])


def _sound(runs: pd.DataFrame) -> pd.DataFrame:
    """The same records; a ValueError names one whose scores aren't those of its predictions."""
    for run in runs.itertuples():
        if why := records.contradiction(run, Path(run.path)):
            raise ValueError(f"record {run.path}: {why}; delete it and run again")
    return runs


def _files(place: Place, used: list[Path]) -> dict[str, Path]:
    """Name in the zip -> file."""
    kept = [place.runs / "data.json", page.path_of(place)]
    kept += [path.with_suffix(suffix) for path in used for suffix in (".json", ".parquet")]
    for folder, kinds in (
        (place.results, ("*.csv", "audit.md", *provenance.SUMMARIES)),
        (place.figures, ("*.png",)),
        (place.notebooks, ("[0-9][0-9]_*.ipynb", "[0-9][0-9]_*.html")),
        (place.tables, ("*.csv", "*.md", "*.tex")),
        (place.output / "results", ("paper_audit.*",)),
    ):
        kept += [path for kind in kinds for path in folder.glob(kind)]
    files = {path.relative_to(place.output).as_posix(): path for path in kept}
    code = [path for kind in CODE for path in (ROOT / "lpgnet").rglob(kind)]
    code += [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "paper_tables" / "reported").glob("*.csv")]
    code += [ROOT / name for name in BESIDE if (ROOT / name).exists()]
    return files | {path.relative_to(ROOT).as_posix(): path for path in code}


def _quotes(place: Place, path: Path, openings: set[tuple[str, ...]]) -> bool:
    """Whether a page that was made from a licensed corpus may hold its transcripts."""
    if path.parent == place.notebooks and path.name.startswith(QUOTING):
        return True
    if not path.is_relative_to(place.output / "results") or path.suffix in (".parquet", ".png"):
        return False
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text(encoding="utf-8"))  # embedded figures
    words = plain(html.unescape(text)).split()
    said = {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}
    return not said.isdisjoint(openings)


def _openings(place: Place) -> set[tuple[str, ...]]:
    """The first words of every transcript that is long enough to be known again."""
    if not (place.features / "utterances.csv").exists():
        return set()
    words = (plain(text).split() for text in utterances(place.features)["text"])
    return {tuple(w[:WORDS]) for w in words if len(w) >= WORDS}


def _pack(path: Path, files: dict[str, Path], texts: dict[str, str]) -> str:
    """Sorted, with one moment for all, the manifest last; returns the manifest's hash."""
    checks = Path(verify.__file__)
    content = {name: file.read_bytes for name, file in (files | {"__main__.py": checks}).items()}
    content |= {name: text.encode for name, text in texts.items()}
    digests = {}
    with zipfile.ZipFile(path, "w") as bundle:
        for name in sorted(content):
            digests[name] = _add(bundle, name, content[name]())
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        return _add(bundle, verify.MANIFEST, lines.encode())


def _add(bundle: zipfile.ZipFile, name: str, content: bytes) -> str:
    entry = zipfile.ZipInfo(name, MOMENT)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # the same on every system
    alone = name == "__main__.py"  # stored: Python reads it without a zlib, which a zip might bring
    bundle.writestr(entry, content, zipfile.ZIP_STORED if alone else zipfile.ZIP_DEFLATED, 9)
    return hashlib.sha256(content).hexdigest()


def _readme(place: Place) -> str:
    return (
        f"LPGNet, rerun: {place.name}.\n\n"
        f"Unpack and open results/{place.name}/report/index.html; it needs no network.\n"
        f"To check that all is as it was made: python {place.name}.zip\n"
        "Once unpacked: python FOLDER/__main__.py\n"
        "ro-crate-metadata.json says the same to machines: an RO-Crate, an action per notebook that ran.\n"
        "bundle.json says what it was made from, with which versions, and what was left out.\n"
        "Not in it: recordings, features, checkpoints, encoders.\n"
    )
