"""Running the numbered notebooks in sequence: papermill, an executed copy, and an HTML that opens offline.

An executed copy is kept only when it ran to its end, and carries a stamp: a SHA-256 over its source, its
parameters, the package and what it read.  A notebook whose stamp and outputs are all there is not run again.
"""

import hashlib
import importlib.util
import json
import logging
import re
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from lpgnet.config import RECOGNISED, ROOT
from lpgnet.experiments import EXPERIMENTS, TABLED, experiment
from lpgnet.labels import meant
from lpgnet.machine.clean_notebook import cleaned
from lpgnet.machine.files import alone, sweep, whole
from lpgnet.machine.workers import device_named
from lpgnet.places import CORPORA, Parameters, Place, parameters
from lpgnet.runs.plan import current_records, describe, done, planned, possible, unfitted
from lpgnet.tables.typeset import mathml

SOURCE = ROOT / "notebooks"
NOTEBOOKS = tuple(sorted(path.stem for path in SOURCE.glob("0*.ipynb") if '"lpgnet": {' in path.read_text()))


def _source(name: str) -> dict:
    return json.loads((SOURCE / f"{name}.ipynb").read_text())


def about(name: str) -> dict:
    """What a notebook says of itself in its metadata.

    reads, writes: "release", "features", "records", "tables", or a path below the results.  asked: it runs
    only where it is asked for.  needs: an experiment that the corpus must allow.  uses: modules of an extra, which
    it does without.
    """
    return {"reads": [], "writes": [], "asked": False, "needs": None, "uses": []} | _source(name)["metadata"]["lpgnet"]


def selected(only: str | None) -> list[str]:
    """ "02,03" -> the notebooks with these numbers, in order; None: all that need not be asked for."""
    if only is None:
        return [name for name in NOTEBOOKS if not about(name)["asked"]]
    numbers = {name[:2]: name for name in NOTEBOOKS}
    unknown = sorted(set(only.split(",")) - set(numbers))
    if unknown:
        raise ValueError(f"--only {only}: no notebook {', '.join(unknown)}; there are {', '.join(numbers)}")
    return [numbers[n] for n in sorted(only.split(","))]


def declared(name: str) -> dict:
    """The parameters of a notebook and their defaults, from its cell tagged `parameters`."""
    cells = _source(name)["cells"]
    tagged = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{name} has {len(tagged)} cells tagged `parameters`, want 1")
    values: dict = {}
    exec(tagged[0], values)  # literals only, a test holds
    return {key: value for key, value in values.items() if key.isupper()}


def stamp(name: str, asked: Parameters) -> str:
    """SHA-256 of everything that an executed copy depends on."""
    place, reads = asked.place, about(name)["reads"]
    paths = sorted((ROOT / "lpgnet").rglob("*.py"))
    if "records" in reads:
        paths += sorted((ROOT / "paper_tables" / "reported").glob("*.csv"))
        paths += sorted(p for p in place.runs.rglob("*.json") if p.parent.name in {*TABLED, "runs"})
        paths += sorted(place.features.glob("utterances.csv"))  # slices compare transcripts
    source = cleaned((SOURCE / f"{name}.ipynb").read_text(encoding="utf-8"))  # not what JupyterLab left in it
    extras = [module for module in about(name)["uses"] if importlib.util.find_spec(module)]
    sha = hashlib.sha256((asked.model_dump_json() + source + str(extras)).encode())
    for path in paths:
        sha.update(path.name.encode() + path.read_bytes())
    folders = [Path(folder) for folder in (asked.ROOT, asked.FOLDER) if folder]
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):  # a clip that came since
        stat = path.stat()
        sha.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return sha.hexdigest()


def outputs(name: str, asked: Parameters) -> bool:
    """Whether everything is there that a notebook writes, besides its own copy."""
    place = asked.place
    there = {
        "features": lambda: has_features(place),
        "records": lambda: has_records(place, asked),
        "tables": lambda: all((place.tables / f"table{n}.csv").exists() for n in range(1, 8)),
    }
    return all(there.get(what, (place.results / what).exists)() for what in about(name)["writes"])


def has_records(place: Place, asked: Parameters) -> bool:
    """Whether every run of some experiments that the corpus allows has its record."""
    if not has_features(place):
        return False
    data = describe(place)
    names, _ = possible(data, asked.experiments, asked.SETTINGS)
    lacking = {e for e in names if unfitted(data, EXPERIMENTS[e])}
    heard = {e for e in lacking if EXPERIMENTS[e].data.text in RECOGNISED}  # 07 has said why they can't be had
    if lacking - heard:
        return False
    names = [e for e in names if e not in heard]
    return all(done(job, place.keep_code) for job in planned(place, data, names, asked.SEEDS, asked.SETTINGS))


def has_features(place: Place) -> bool:
    """Whether every set of features that a place reads is whole."""
    from lpgnet.features import store

    try:
        sets = describe(place)["features"]
    except FileNotFoundError:
        return False
    fits = sets.pop("fits", {})
    if place.finetuned and not fits:
        return False
    wanted = [*sets.values(), *fits.values()]
    return not any(store.missing_shards(place.features / s["folder"], s["utterances"]) for s in wanted)


def fresh(name: str, asked: Parameters) -> bool:
    """Whether a notebook has nothing left to do."""
    copy = asked.place.notebooks / f"{name}.ipynb"
    if not copy.exists() or not copy.with_suffix(".html").exists():
        return False
    kept = json.loads(copy.read_text())["metadata"].get("lpgnet", {})
    return kept.get("stamp") == stamp(name, asked) and outputs(name, asked)


def run(name: str, asked: Parameters, **more) -> bool:
    """Run one notebook unless it has nothing left to do; returns whether it ran.

    asked: common parameters; a notebook gets those that it declares.  more: each must be declared.
    """
    known = declared(name)
    unknown = sorted(set(more) - set(known))
    if unknown:
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    given, settings = _given(name, asked, **more)
    if fresh(name, settings):
        return False
    print(f"-- {name}", flush=True)
    copy = settings.place.notebooks / f"{name}.ipynb"
    with whole(copy) as part:
        _execute(name, part, given)
        _settle(part, stamp(name, settings))
    with whole(copy.with_suffix(".html")) as part:
        part.write_text(page(copy), encoding="utf-8")
    return True


def _given(name: str, asked: Parameters, **more) -> tuple[dict, Parameters]:
    """What a notebook is told of what was asked, and with its own defaults."""
    known = declared(name)
    given = {key: value for key, value in asked.model_dump(exclude_unset=True).items() if key in known} | more
    return given, parameters(known | given)


class _Log:
    """Forwards a kernel's output; a progress line becomes a line of its own where this is no terminal."""

    def write(self, text: str) -> None:
        sys.stdout.write(text if sys.stdout.isatty() else text.replace("\r", "\n"))

    def flush(self) -> None:
        sys.stdout.flush()


def _execute(name: str, executed: Path, given: dict) -> None:
    """papermill, from the repository root, with the kernel's own words on our standard output."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # names are checked by `places.parameters`
    from traitlets.config import Config

    # Without ipykernel 7.3's warning, and without the "ERROR" that shutting a kernel down may print.
    critical = ["--IPKernelApp.log_level=50"]
    quiet = Config({"KernelManager": {"transport_encryption": "auto"}, "NotebookClient": {"extra_arguments": critical}})
    try:
        papermill.execute_notebook(
            SOURCE / f"{name}.ipynb",
            executed,
            given,
            cwd=ROOT,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=_Log(),
            config=quiet,
        )
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}") from None
    except OSError as error:  # a full disk, say
        raise RuntimeError(f"{name} can't be written: {error}; mended, the same command goes on") from None


def _settle(path: Path, mark: str) -> None:
    """Leave of each progress line only its last state, and write the stamp."""
    notebook = json.loads(path.read_text())
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        merged = []
        for _, outputs in groupby(cell["outputs"], lambda o: o["name"] if o["output_type"] == "stream" else id(o)):
            first, *rest = outputs
            if first["output_type"] == "stream":
                text = "".join(line for output in (first, *rest) for line in output["text"])
                first["text"] = re.sub(r"[^\n]*\r(?!\n)", "", text)
            merged.append(first)
        cell["outputs"] = merged
    notebook["metadata"]["lpgnet"]["stamp"] = mark
    for where in ("input_path", "output_path"):  # of this machine
        notebook["metadata"]["papermill"].pop(where, None)
    path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def page(copy: Path) -> str:
    """An executed notebook as one HTML page that asks nothing of the network; formulas are MathML."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="lab").from_filename(str(copy))
    body = re.sub(r"<script.*?</script>", "", body, flags=re.S)  # MathJax, require.js, mermaid
    markdown = re.compile(r"(<div[^>]*jp-RenderedMarkdown[^>]*>)(.*?)(</div>\s*</div>)", re.S)
    return markdown.sub(lambda m: m[1] + mathml(m[2]) + m[3], body)


def reproduce(asked: Parameters, only: str | None = None) -> None:
    """Run the notebooks in sequence; two at once on one place don't start."""
    from lpgnet.beyond.compare import against_reference
    from lpgnet.beyond.report import page
    from lpgnet.features.encoders import encoder as made

    place, names = asked.place, selected(only)
    extracting = any("features" in about(name)["writes"] for name in names)
    if asked.CORPUS in ("iemocap", "meld") and asked.ROOT is None and extracting:
        raise ValueError(f"corpus {asked.CORPUS!r} needs the folder of its release: --root DIR")
    _check_root(asked)
    if extracting and asked.CORPUS in CORPORA and not has_features(place):
        made("text", place.text)  # a missing folder or a wrong name stops here, before hours of work
        if asked.CORPUS != "meld":  # which may come without clips
            made("audio", place.audio)
    with alone(place.results):
        sweep(place.results), sweep(place.tables)
        could, ran = [], []
        for name in names:
            if allowed(name, place):
                could.append(name)
                ran += [name] * run(name, asked)
        if any(place.tables.glob("*.csv")) and not page.fresh(place):
            print("-- report", flush=True)
            page.write(place)
    left = f", {len(names) - len(could)} are left out" if len(could) < len(names) else ""
    print(f"{len(ran)} notebooks run, {len(could) - len(ran)} had nothing left to do{left}.")
    if not could:
        print("Nothing could run: this corpus has not what these notebooks need.")
    made = {"Tables": place.tables, "Figures": place.figures, "Notebooks as HTML": place.notebooks}
    made["Report"] = page.path_of(place)
    print("\n".join(f"{what}: {path}" for what, path in made.items() if path.exists()))
    if not made["Report"].exists():
        print("No report: it follows 06.")
    elif line := against_reference(place):
        print(line)


def _check_root(asked: Parameters) -> None:
    """A ValueError where --root holds another corpus."""
    from lpgnet.corpora.load import refuse_other

    if asked.ROOT is not None and asked.CORPUS in CORPORA:
        refuse_other(asked.CORPUS, Path(asked.ROOT))


def allowed(name: str, place: Place) -> bool:
    """Whether the corpus allows what a notebook needs, or one of its experiments; says so where not."""
    needed = about(name)["needs"]
    wanted = [needed] if needed else parameters(declared(name)).experiments
    names, why = possible(describe(place), wanted) if wanted else ([], {})
    if wanted and not names:
        print(f"-- {name} is left out, since {why[wanted[0]]}")
    return bool(names) or not wanted


def wanted_experiments(data: dict, only: str | None = None) -> tuple[list[str], dict[str, str]]:
    """The experiments of some notebooks that the corpus allows, and why not the others."""
    named = dict.fromkeys(e for name in selected(only) for e in parameters(declared(name)).experiments)
    return possible(data, list(named))


def forecast(asked: Parameters, only: str | None = None) -> str:
    """What `reproduce` would still do here: runs, time and disk, from a few seconds of measuring; nothing is run."""
    from lpgnet.beyond.forecast import whole as told
    from lpgnet.beyond.status import look

    place = asked.place
    _check_root(asked)
    with tempfile.TemporaryDirectory() as folder:
        corpus = told.corpus(place, asked.ROOT, Path(folder), has_features(place))
        names, why = wanted_experiments(corpus.data, only)
        counts = look(place, names, asked.SEEDS).counts if corpus.ready else {}
        runs, protocols = {}, corpus.data["protocols"]
        for name in names:
            labels = meant(experiment(name, place.profile).data.labels, place.labels, protocols)
            have, wanted = counts.get(name, (0, asked.SEEDS * len(protocols[labels]["folds"])))
            runs[name] = wanted - have
        known = current_records(place, corpus.data).groupby("experiment")["seconds"].mean() if corpus.ready else {}
        left = [n for n in selected(only) if not (corpus.ready and fresh(n, _given(n, asked)[1]))]
        device = device_named(asked.DEVICE)
        workers = told.workers(asked.JOBS, device)
        lines = told.lines(told.Asked(place, corpus, runs, dict(known), len(left), workers, device))
    out = [f"  {name:16} left out, since {reason}" for name, reason in why.items()]
    return "\n".join([f"{place.name}: what is left to run", *out, *lines])
