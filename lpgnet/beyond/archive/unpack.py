"""Runs as they lie somewhere, in a bundle or in a folder of another machine, as a place that can be read.

What stands in a bundle is checked against its manifest before anything of it is used, and only what is known
by its name is unpacked: records, predictions, and what figures need.  Nothing in it is ever run.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lpgnet import places
from lpgnet.beyond.archive import verify
from lpgnet.config import ROOT
from lpgnet.machine.files import plain_name, sha256, shown, whole
from lpgnet.places import Place
from lpgnet.runs import records
from lpgnet.runs.plan import current_records
from lpgnet.tables.figures import theme
from lpgnet.tables.rebuild import Rebuilt, rebuild

READ = re.compile(  # the place's name is the first group
    r"results/([^/]+)/(runs/data\.json|efficiency\.csv"
    r"|(runs|checkpoints)/\w+/\d+-[0-9a-f]{8}\.(json|parquet|npz))"
)
TABLE = re.compile(r"paper_tables/([^/]+)/table[1-7]\.csv")
REFERENCE = ROOT / "docs" / "reference"
KEY = ["experiment", "fold", "seed"]


@dataclass(frozen=True)
class Side:
    """One of two runs to compare.  runs: its records, a row each, all sound.  unused: the others, and why."""

    label: str
    data: dict
    runs: pd.DataFrame
    unused: list[str]
    tables: dict[int, pd.DataFrame]  # as they were written, by number, where they are there

    def where(self, keys: Iterable[tuple]) -> pd.DataFrame:
        """Its records of some (experiment, fold, seed)."""
        return self.runs[pd.MultiIndex.from_frame(self.runs[KEY]).isin(list(keys))]

    @cached_property
    def by_key(self) -> dict[tuple, Any]:
        """(experiment, fold, seed) -> record."""
        return {(run.experiment, run.fold, run.seed): run for run in self.runs.itertuples()}


@dataclass(frozen=True)
class Unpacked(Place):
    """A place as it lies in a folder, under the name that it had where it was made."""

    folder: Path = Path()
    called: str = ""

    @property
    def name(self) -> str:
        return self.called

    @property
    def results(self) -> Path:
        return self.folder


def in_folder(folder: Path, output: Path | None = None) -> Unpacked:
    """The place whose runs/ lies in a folder.  output: above paper_tables/."""
    path = folder / "runs" / "data.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no runs in {folder}: want a bundle, or the folder results/<place> of a run (it has runs/)"
        )
    data = records.read_data(path.parent)
    encoders = (data["features"].get(m, {}).get("encoder", "") for m in ("text", "audio"))
    which = (data[name] for name in ("corpus", "profile", "split", "labels"))
    name, fitted = plain_name(data["place"], f"the place in {path}"), data["text"] == "finetuned"
    return Unpacked(*which, *encoders, fitted, output or folder.parents[1], keep_code=True, folder=folder, called=name)


def unpack(bundle: Path, output: Path) -> Unpacked:
    """The runs of a bundle under output/results/<place>; a bundle that isn't as it was made is refused."""
    try:
        with verify.Archive(bundle) as archive:
            if found := verify.problems(archive):
                more = f" and {len(found) - 3} more" * (len(found) > 3)
                raise ValueError(f"{bundle} isn't as it was made ({shown('; '.join(found[:3]))}{more}): get it again")
            known = {name: READ.fullmatch(name) or TABLE.fullmatch(name) for name in archive.namelist()}
            names = {name: match[1] for name, match in known.items() if match}
            if len(set(names.values())) != 1:
                held = ", ".join(sorted(set(names.values()))) or "none"
                raise ValueError(f"{bundle} holds runs of {held}: want those of one place")
            for name in names:
                with whole(output / name) as part:
                    part.write_bytes(archive.read(name))
    except verify.DAMAGED as error:
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"{bundle} can't be read as a bundle ({error})") from None
    return in_folder(output / "results" / names.popitem()[1], output)


def rebuild_from(bundle: Path, out: Path | None = None) -> list[str]:
    """Tables and figures of a bundle, in a folder of their own that says so; returns what there is to say."""
    folder = out or places.OUTPUT / "results" / "rebuilt" / plain_name(bundle.stem, "the bundle's name")
    note = folder / "FROM.txt"
    if folder.exists() and not note.exists():
        raise FileExistsError(f"{folder} is there and isn't of a bundle: name another folder or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    with whole(note) as part:
        part.write_text(f"Rebuilt from the records of {bundle.name}, sha256 {sha256(bundle)}; not run here.\n")
    made = rebuild(unpack(bundle, folder))
    if made.runs.empty:
        reasons = sorted(set(made.runs.attrs["stale"].values()))
        raise ValueError(f"{bundle} has no record that this version reads ({'; '.join(reasons) or 'none at all'})")
    return [*map(str, made.paths), *made.remarks(), *left_out(made), note.read_text().strip()]


def left_out(made: Rebuilt) -> list[str]:
    """What a bundle can't give: a line per figure that can't be drawn."""
    drawn = {path.stem for path in made.paths if path.suffix == ".png"}
    names = sorted(name for name, declared in theme.FIGURES.items() if declared.of and name not in drawn)
    return [f"figure {name} left out, its data are not in the bundle" for name in names]


def resolve(asked: str) -> Path:
    """A folder or a bundle: of a path, of a place's name, or the committed reference run."""
    if asked == "reference":
        found = sorted(REFERENCE.glob("*.zip"))
        if len(found) != 1:
            raise FileNotFoundError(f"{len(found)} runs in docs/reference: want one (make reference)")
        return found[0]
    results = places.OUTPUT / "results"
    for path in (Path(asked).expanduser(), results / asked):
        if path.exists():
            return path
    have = ", ".join(sorted(path.parents[1].name for path in results.glob("*/runs/data.json"))) or "none yet"
    raise FileNotFoundError(
        f"no run {asked!r}: want a folder results/<place>, a place's name (there are {have}), a bundle, "
        "or the word reference"
    )


def read(asked: str, folder: Path) -> Side:
    """One side, every record held to its own hash and to its predictions.  folder: to unpack a bundle to."""
    path = resolve(asked)
    try:
        return in_place(in_folder(path) if path.is_dir() else unpack(path, folder), path.name)
    except ValueError as error:
        raise ValueError(str(error).replace(f"{folder}/", f"{path.name}: ")) from None
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} has a record or a data.json of another form ({error!r})") from None


def in_place(place: Place, label: str) -> Side:
    """Every record of a place; of several of one run the one in use today, else the newest."""
    data = records.read_data(place.runs)
    used = set(current_records(place, data)["path"])
    paths = sorted(place.runs.glob("*/[!.]*.json"), key=lambda p: (str(p) in used, p.stat().st_mtime, p.name))
    every = {path: record for path in paths if (record := records.read(path))}
    found = {(r.experiment, r.fold, r.seed): path for path, r in every.items()}
    refused = {path: why for path in found.values() if (why := records.contradiction(every[path], path))}
    if refused:
        names = "; ".join(f"{path.parent.name}/{path.name}: {why}" for path, why in refused.items())
        raise ValueError(f"{label} has records that are refused ({names}); delete them and run again")
    rows = [asdict(every[path]) | {"path": str(path)} for _, path in sorted(found.items())]
    runs = pd.DataFrame(rows, columns=[*records.Record.__dataclass_fields__, "path"])
    whys = {path: "of another version's form" for path in paths if path not in every}
    whys |= dict.fromkeys(every.keys() - set(found.values()), "another of the same run is used")
    unused = [f"{path.parent.name}/{path.name} ({why})" for path, why in sorted(whys.items())]
    tables = {n: path for n in range(1, 8) if (path := place.tables / f"table{n}.csv").exists()}
    tables = {n: pd.read_csv(path) for n, path in tables.items()}
    return Side(label, data, runs.assign(classes=runs["classes"].map(tuple)), unused, tables)
