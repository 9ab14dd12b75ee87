"""ro-crate-metadata.json of a bundle: a Process Run Crate, one action per notebook that ran.

https://w3id.org/ro/wfrun/process/0.5.  A folder stands for its files (MANIFEST.sha256 has each); of files
those at the top are named, and what an action made.  Times are papermill's, in the executed copies, and the
date of publication is codemeta.json's: nothing here asks a clock.
"""

import ast
import json
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from lpgnet.config import ROOT
from lpgnet.experiments import GROUPS
from lpgnet.labels import is_simulated
from lpgnet.machine.code import swhids
from lpgnet.places import Place
from lpgnet.tables.typeset import SIMULATED

NAME = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SOFTWARE, AUTHOR = "#lpgnet", "#author"
OUTSIDE = ["#release", "#features-text", "#features-audio"]  # what notebooks read that stays out of the bundle
FORMATS = {  # what isn't here is text
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".html": "text/html",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".png": "image/png",
    ".py": "text/x-python",
    ".yml": "application/yaml",
    ".cff": "application/yaml",
    ".toml": "application/toml",
}


def metadata(place: Place, data: dict, names: Collection[str]) -> str:
    """The crate as JSON.  names: of every other file in the bundle."""
    about = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    actions = list(_actions(place, set(names)))
    used = {one["@id"] for action in actions for key in ("object", "result") for one in action[key]}
    notebooks = [action["instrument"][0]["@id"] for action in actions]
    folders = sorted({f"{name.rpartition('/')[0]}/" for name in names if "/" in name})
    files = sorted({name for name in names if "/" not in name or _id(name) in used} - {NAME})
    files = [name for name in files if _id(name) not in notebooks]
    parts = [entity(_id(name), "Dataset", name=name) for name in folders]
    parts += [_file(name) for name in files]
    code = {"version": about["version"], "encodingFormat": FORMATS[".ipynb"]}
    parts += [entity(one, ["File", "SoftwareSourceCode"], name=one, **code) for one in notebooks]
    context = [one for one in _inputs(place, data) if one["@id"] in used]
    graph = [*_crate(place, about, parts, actions), *parts, *context, *actions]
    graph = [{key: _single(value) for key, value in one.items()} for one in graph]
    return json.dumps({"@context": f"{SPECIFICATION}/context", "@graph": graph}, indent=1) + "\n"


def entity(address: str, kind: str | list[str], /, **values) -> dict:
    return {"@id": address, "@type": kind, **values}


def refer(*names: str) -> list[dict]:
    return [{"@id": name} for name in names]


def _single(value):
    """A list of one as JSON-LD writes it: the one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _id(name: str) -> str:
    return quote(name, safe="/+#")


def _crate(place: Place, about: dict, parts: list[dict], actions: list[dict]) -> list[dict]:
    """The descriptor, the root, and whom and what they name."""
    code = swhids()
    said = f"Records, tables, report and code of {place.name}."
    if is_simulated(place.corpus):
        said += f" {SIMULATED}"
    return [
        entity(NAME, "CreativeWork", about=refer("./"), conformsTo=refer(SPECIFICATION)),
        entity(
            "./",
            "Dataset",
            name=f"LPGNet, rerun: {place.name}",
            description=said,
            datePublished=about["datePublished"],
            license=refer(about["license"]),
            author=refer(AUTHOR),
            conformsTo=refer(PROFILE),
            hasPart=refer(*(part["@id"] for part in parts)),
            mentions=refer(*(action["@id"] for action in actions)),
        ),
        entity(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"),
        entity(about["license"], "CreativeWork", name="MIT License", description="Of the code."),
        entity(AUTHOR, "Organization", name=about["author"][0]["name"]),
        entity(
            SOFTWARE,
            "SoftwareApplication",
            name="lpgnet",
            description=f"{about['description']}; code: {', '.join(code)}",
            softwareVersion=about["version"],
            **({"identifier": list(code)} if all(name.startswith("swh:") for name in code) else {}),
        ),
    ]


def _file(name: str) -> dict:
    return entity(_id(name), "File", name=name, encodingFormat=FORMATS.get(Path(name).suffix, "text/plain"))


def _inputs(place: Place, data: dict) -> list[dict]:
    """The corpus by its name, features by the hash of their recipe."""
    found = [entity("#release", "CreativeWork", name=f"corpus {place.corpus}", description="Not in here.")]
    for m in ("text", "audio"):
        recipe = data["features"].get(m, {}).get("recipe", "unknown")
        found.append(entity(f"#features-{m}", "PropertyValue", name=f"{m} features, recipe", value=recipe))
    return found


def _actions(place: Place, names: set[str]) -> Iterator[dict]:
    """In the order of the notebooks; records are of the first that asks for their experiment."""
    there = names | {f"{name.rpartition('/')[0]}/" for name in names}
    runs = f"results/{place.name}/runs/"
    every = sorted(name for name in there if name.startswith(runs) and name.endswith("/") and name != runs)
    waiting = list(every)
    for copy in sorted(place.notebooks.glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(copy.read_text(encoding="utf-8"))
        asked, about = _experiments(notebook), notebook["metadata"]["lpgnet"]
        own = [name for name in waiting if name.removeprefix(runs)[:-1] in asked]
        waiting = [name for name in waiting if name not in own]
        made = _meant(place, about["writes"], own)
        made += [f"results/{place.name}/notebooks/{copy.stem}{suffix}" for suffix in (".ipynb", ".html")]
        made = [name for name in made if name in there or name in OUTSIDE]
        yield _action(place, copy.name, notebook, _meant(place, about["reads"], every), made)


def _meant(place: Place, words: list[str], records: list[str]) -> list[str]:
    """What a notebook's metadata say that it reads or writes, as names in the bundle or of `OUTSIDE`."""
    known = {
        "release": OUTSIDE[:1],
        "features": OUTSIDE[1:],
        "records": records,
        "tables": [f"paper_tables/{place.name}/"],
        "figures": [f"results/{place.name}/figures/"],
    }
    return [name for word in words for name in known.get(word, [f"results/{place.name}/{word}"])]


def _action(place: Place, name: str, notebook: dict, read: list[str], made: list[str]) -> dict:
    times = notebook["metadata"].get("papermill", {})
    moments = {"startTime": times.get("start_time"), "endTime": times.get("end_time")}
    return entity(
        f"#run-{name[:2]}",
        "CreateAction",
        name=f"Run of {name}",
        description=f"papermill ran notebooks/{name} on {place.name}.",
        instrument=refer(f"notebooks/{name}"),
        agent=refer(SOFTWARE),
        object=refer(*map(_id, read)),
        result=refer(*map(_id, made)),
        **{key: datetime.fromisoformat(time).isoformat(timespec="seconds") for key, time in moments.items() if time},
    )


def _experiments(notebook: dict) -> list[str]:
    """What the parameters of an executed copy ask for; papermill's own cell stands behind the defaults."""
    asked = []
    for cell in notebook["cells"]:
        if set(cell["metadata"].get("tags", [])) & {"parameters", "injected-parameters"}:
            for node in ast.parse("".join(cell["source"])).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXPERIMENTS":
                    asked = ast.literal_eval(node.value)
    return list(GROUPS[asked]) if isinstance(asked, str) else asked
