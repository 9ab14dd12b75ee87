"""Where a report's numbers come from: data and features by hash, versions, devices, commands, files."""

import platform
import re
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from lpgnet import __version__, places
from lpgnet.machine.code import swhids
from lpgnet.places import Place, slug
from lpgnet.tables.rebuild import code_digest

NOTEBOOK = re.compile(r"\d\d_")
SUMMARIES = ("summary.md", "numbers.tex")  # beside the CSVs
SHOWN = ("numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "pyarrow")  # of who built the page


def options(place: Place) -> str:
    """The options that name a place on the command line; a folder of an encoder by its last name."""
    usual = places.place(place.corpus, place.profile, output=place.output)
    parts = [f"--corpus {place.corpus}"]
    parts += [f"--profile {place.profile}"] * (place.profile != places.place(place.corpus).profile)
    parts += [f"--split {place.split}"] * (place.split != usual.split)
    parts += [f"--labels {place.labels}"] * (place.labels != usual.labels)
    for name in ("text", "audio"):
        mine, theirs = getattr(place, name), getattr(usual, name)
        parts += [f"--{name} {_short(mine)}"] * (mine != theirs)
    if place.finetuned != usual.finetuned:
        parts.append("--finetune" if place.finetuned else "--frozen")
    return " ".join(parts)


def commands(place: Place) -> list[str]:
    """What makes all of it, from the corpus to this page and its archive."""
    root = " --root DIR" if place.corpus in ("iemocap", "meld") else ""
    said = options(place)
    return [
        "make env",
        f"python -m lpgnet reproduce {said}{root}",
        f"python -m lpgnet report {said}",
        f"python -m lpgnet bundle {said} --out {place.name}.zip",
    ]


def links(place: Place) -> list[tuple[str, str]]:
    """Name and relative address of what stands beside the page, as far as it is there."""
    notebooks = sorted(p for p in place.notebooks.glob("*.html") if NOTEBOOK.match(p.name))
    found = [(p.stem, f"../notebooks/{p.name}") for p in notebooks]
    beside = [*sorted(place.results.glob("*.csv")), *(place.results / name for name in SUMMARIES)]
    found += [(p.name, f"../{p.name}") for p in beside]
    for path in sorted(place.tables.iterdir()):
        found.append((path.name, f"../../../paper_tables/{place.name}/{path.name}"))
    audits = sorted((place.output / "results").glob("paper_audit.*"))
    return [*found, *((p.name, f"../../{p.name}") for p in audits)]


def facts(place: Place, data: dict, runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Name and value, one line each."""
    lines = [("Corpus", data["corpus"]), ("Profile", data["profile"]), ("Split", data["split"])]
    for name, about in data["protocols"].items():
        lines.append((f"Labels {name}", f"{len(about['classes'])} classes, manifest sha256 {about['manifest']}"))
    for modality in ("text", "audio"):
        if modality in data["features"]:
            lines.append((f"Features: {modality}", _features(data["features"][modality])))
    for fold, about in data["features"].get("fits", {}).items():
        lines.append((f"Features: text, {fold}", _features(about)))
    made = pd.DataFrame(list(runs["made"])).drop(columns="seconds", errors="ignore")
    lines += [(f"Runs: {name}", _each(made[name])) for name in sorted(made)]
    lines.append(("Runs: package version", _each(runs["version"])))
    lines.append(("Records", f"{len(runs)} used, {len(runs.attrs['stale'])} stale and not used"))
    lines.append(("Package", f"lpgnet {__version__}, sha256 {code_digest()}"))
    lines.append(("SWHID of the code", ", ".join(swhids())))
    here = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    return [*lines, ("This page", f"Python {platform.python_version()}, {here}")]


def _features(about: dict) -> str:
    named = {name: about[name] for name in ("encoder", "version", "size") if name in about}
    known = "; ".join(f"{name} {_short(value)}" for name, value in named.items())
    return f"{known}; recipe {about.get('recipe', 'not known')}"


def _short(value) -> str:
    """An encoder that is a folder, by its last name: no machine's paths in the page."""
    return slug(value) if isinstance(value, str) and Path(value).is_absolute() else str(value)


def _each(values: pd.Series) -> str:
    """The different values, with how many runs have each where there are several."""
    count = values.astype(str).value_counts().sort_index()
    return ", ".join(f"{v} ({n})" for v, n in count.items()) if len(count) > 1 else "".join(count.index)
