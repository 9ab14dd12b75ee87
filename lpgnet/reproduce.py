"""Running the numbered notebooks in sequence: papermill, an executed copy, and an HTML that opens offline.

An executed copy is kept only when it ran to its end, and carries a stamp: a SHA-256 over its source, its
parameters, the package and what it read.  A notebook whose stamp and outputs are all there is not run again.
"""

import hashlib
import json
import re
import sys
import time
from functools import lru_cache
from pathlib import Path

from lpgnet.beyond.readings import alternatives
from lpgnet.config import ROOT
from lpgnet.experiments import EXPERIMENTS, TABLED, experiment
from lpgnet.machine.files import sweep, whole
from lpgnet.places import CORPORA, Parameters, Place, parameters
from lpgnet.runs.plan import current_records, describe, done, planned, possible, unfitted
from lpgnet.tables.typeset import mathml

SOURCE = ROOT / "notebooks"
BESIDE = {  # what else it writes
    "04": ("efficiency.csv",),
    "07": ("readings.csv", "context.csv", "figures/readings.png", "figures/context.png"),
    "08": ("missing.csv", "figures/missing.png"),
}
NOTEBOOKS = tuple(sorted(path.stem for path in SOURCE.glob("0*.ipynb")))
ASKED = ("07",)  # run only where they are asked for
TYPICAL = {"simulated": (800, 230), "iemocap": (4290, 1241), "meld": (9989, 2610)}  # training and test
PER_STEP = 0.008  # seconds of overhead of one optimiser step


def chosen(only: str | None) -> list[str]:
    """ "02,03" -> the notebooks with these numbers, in order; None: all but those of `ASKED`."""
    if only is None:
        return [name for name in NOTEBOOKS if name[:2] not in ASKED]
    numbers = {name[:2]: name for name in NOTEBOOKS}
    unknown = sorted(set(only.split(",")) - set(numbers))
    if unknown:
        raise ValueError(f"--only {only}: no notebook {', '.join(unknown)}; there are {', '.join(numbers)}")
    return [numbers[n] for n in sorted(only.split(","))]


def declared(name: str) -> dict:
    """The parameters of a notebook and their defaults, from its cell tagged `parameters`."""
    cells = json.loads((SOURCE / f"{name}.ipynb").read_text())["cells"]
    tagged = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{name} has {len(tagged)} cells tagged `parameters`, want 1")
    values: dict = {}
    exec(tagged[0], values)  # literals only, a test holds
    return {key: value for key, value in values.items() if key.isupper()}


def stamp(name: str, place: Place, given: dict) -> str:
    """SHA-256 of everything that an executed copy depends on."""
    read = [SOURCE / f"{name}.ipynb", *sorted((ROOT / "lpgnet").rglob("*.py"))]
    if name.startswith("06"):
        read += sorted((ROOT / "paper_tables" / "reported").glob("*.csv"))
        read += sorted(p for p in place.runs.rglob("*.json") if p.parent.name in {*TABLED, "runs"})
        read += sorted(place.features.glob("utterances.csv"))  # slices compare transcripts
    sha = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for path in read:
        sha.update(path.name.encode() + path.read_bytes())
    folders = [Path(given[key]) for key in ("ROOT", "FOLDER") if given.get(key)]
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):  # a clip that came since
        about = path.stat()
        sha.update(f"{path} {about.st_size} {about.st_mtime_ns}".encode())
    return sha.hexdigest()


def outputs(name: str, place: Place, given: dict) -> bool:
    """Whether everything is there that a notebook writes, besides its own copy."""
    if name.startswith("01"):
        return extracted(place)
    if name.startswith("06"):
        tables = [place.tables / f"table{n}.csv" for n in range(1, 8)]
        return all(t.exists() for t in tables) and any(place.figures.glob("*.png"))
    if not extracted(place):
        return False
    data, settings = describe(place), given.get("SETTINGS", {})
    names, _ = possible(data, experiments(name, given), settings)
    if any(unfitted(data, EXPERIMENTS[e]) for e in names):
        return False
    jobs = planned(place, data, names, given["SEEDS"], settings)
    beside = [place.results / path for path in BESIDE.get(name[:2], ()) if names]
    return all(done(job) for job in jobs) and all(path.exists() for path in beside)


def experiments(name: str, given: dict) -> list[str]:
    """What a notebook runs; 07, where it is told none: every reading and context."""
    return given.get("EXPERIMENTS", []) or (alternatives.names() if name.startswith("07") else [])


def extracted(place: Place) -> bool:
    """Whether every set of features that a place reads is whole."""
    from lpgnet.features import store

    try:
        found = describe(place)["features"]
    except FileNotFoundError:
        return False
    fits = found.pop("fits", {})
    if place.finetuned and not fits:
        return False
    sets = [*found.values(), *fits.values()]
    return not any(store.missing_shards(place.features / s["folder"], s["utterances"]) for s in sets)


def fresh(name: str, place: Place, given: dict) -> bool:
    """Whether a notebook has nothing left to do."""
    copy = place.notebooks / f"{name}.ipynb"
    if not copy.exists() or not copy.with_suffix(".html").exists():
        return False
    kept = json.loads(copy.read_text())["metadata"].get("lpgnet", {})
    return kept.get("stamp") == stamp(name, place, given) and outputs(name, place, given)


def run(name: str, asked: Parameters, **more) -> bool:
    """Run one notebook unless it has nothing left to do; returns whether it ran.

    asked: common parameters; a notebook gets those that it declares.  more: each must be declared.
    """
    known = declared(name)
    unknown = sorted(set(more) - set(known))
    if unknown:
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    common = {key: value for key, value in asked.model_dump(exclude_unset=True).items() if key in known}
    given = known | common | more
    place = parameters(given).place
    if fresh(name, place, given):
        return False
    print(f"-- {name}", flush=True)
    copy = place.notebooks / f"{name}.ipynb"
    with whole(copy) as part:
        _execute(name, part, common | more)
        _settle(part, stamp(name, place, given))
    with whole(copy.with_suffix(".html")) as part:
        part.write_text(page(copy), encoding="utf-8")
    return True


class _Log:
    """Forwards a kernel's output; a progress line becomes a line of its own where this is no terminal."""

    def write(self, text: str) -> None:
        sys.stdout.write(text if sys.stdout.isatty() else text.replace("\r", "\n"))

    def flush(self) -> None:
        sys.stdout.flush()


def _execute(name: str, executed: Path, given: dict) -> None:
    """papermill, from the repository root, with the kernel's own words on our standard output."""
    import papermill
    from traitlets.config import Config

    # Without ipykernel 7.3's warning, and without the "ERROR" that shutting a kernel down may print.
    critical = ["--IPKernelApp.log_level=50"]
    quiet = Config(
        {"KernelManager": {"transport_encryption": "auto"}, "NotebookClient": {"extra_arguments": critical}}
    )
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
    for cell in notebook["cells"]:
        merged: list[dict] = []
        for output in cell.get("outputs", []):
            streams = output["output_type"] == "stream"
            if streams and merged and merged[-1].get("name") == output["name"]:
                merged[-1]["text"] += "".join(output["text"])
            else:
                merged.append(output | {"text": "".join(output["text"])} if streams else output)
        for output in merged:
            if output["output_type"] == "stream":
                output["text"] = re.sub(r"[^\n]*\r(?!\n)", "", output["text"])
        if cell["cell_type"] == "code":
            cell["outputs"] = merged
    notebook["metadata"]["lpgnet"] = {"stamp": mark}
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
    from filelock import FileLock, Timeout

    from lpgnet.beyond.report import page
    from lpgnet.features.encoders import encoder as made

    place, names = asked.place, chosen(only)
    if asked.CORPUS in ("iemocap", "meld") and asked.ROOT is None and NOTEBOOKS[0] in names:
        raise ValueError(f"corpus {asked.CORPUS!r} needs the folder of its release: --root DIR")
    if asked.ROOT is not None and not Path(asked.ROOT).is_dir():
        raise ValueError(f"--root {asked.ROOT}: no such folder; give that of the release")
    if NOTEBOOKS[0] in names and asked.CORPUS in CORPORA and not extracted(place):
        made("text", place.text)  # a missing folder or a wrong name stops here, before hours of work
        if asked.CORPUS != "meld":  # which may come without clips
            made("audio", place.audio)
    place.results.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.results / ".lock", timeout=0)
    try:
        with lock:
            sweep(place.results), sweep(place.tables)
            ran = [name for name in names if allowed(name, place) and run(name, asked)]
            if any(place.tables.glob("*.csv")) and not page.fresh(place):
                print("-- report", flush=True)
                page.write(place)
    except Timeout:
        raise RuntimeError(f"another reproduce is at work on {place.results}; wait for it to end") from None
    print(f"{len(ran)} notebooks run, {len(names) - len(ran)} had nothing left to do.")
    print(f"Tables: {place.tables}\nFigures: {place.figures}\nNotebooks as HTML: {place.notebooks}")
    print(f"Report: {page.path_of(place)}" if page.path_of(place).exists() else "No report: it follows 06.")


def allowed(name: str, place: Place) -> bool:
    """Whether a corpus allows a notebook: 08 needs LPGNet with both modalities; says so where it is not."""
    if name[:2] != "08":
        return True
    reason = possible(describe(place), ["full"])[1].get("full", "")
    if reason:
        print(f"-- {name} is left out, since {reason}")
    return not reason


def forecast(asked: Parameters, only: str | None = None) -> str:
    """What `reproduce` would still run: runs, hours and disk, without running anything."""
    place = asked.place
    named = dict.fromkeys(e for name in chosen(only) for e in experiments(name, declared(name)))
    listed = [e for e in named if place.finetuned or EXPERIMENTS[e].data.text is None]
    todo = dict.fromkeys(listed, asked.SEEDS * (5 if place.split == "loso" else 1))
    measured: dict[str, float] = {}
    if extracted(place):
        data = describe(place)
        names, _ = possible(data, list(todo))
        todo = {name: todo[name] for name in names}
        for name in [n for n in names if not unfitted(data, EXPERIMENTS[n])]:
            todo[name] = sum(not done(job) for job in planned(place, data, [name], asked.SEEDS))
        measured = current_records(place, data).groupby("experiment")["seconds"].mean().to_dict()
    seconds = {name: measured.get(name) or seconds_per_run(name, place) for name in todo}
    lines = [f"{place.name}: what is left to run"]
    for name, runs in todo.items():
        source = "measured" if name in measured else "estimated"
        lines.append(f"  {name:16} {runs:4} runs, about {seconds[name]:8.1f} s each ({source})")
    runs, total = sum(todo.values()), sum(todo[name] * seconds[name] for name in todo)
    lines.append(
        f"{runs} runs, about {total / 3600:.2f} hours of one core (or the GPU) and {runs * 0.1:.0f} MB"
    )
    return "\n".join(lines)


@lru_cache
def rate() -> float:
    """Floating-point operations a second of one large matrix product on one thread (or the GPU)."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024, device=device)
    for _ in range(2):  # the first is a warm-up
        start = time.perf_counter()
        float((a @ a)[0, 0])
        seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    return 2 * 1024**3 / seconds


def seconds_per_run(name: str, place: Place) -> float:
    """A forecast, good to a factor of a few: six operations per parameter and row, and the steps."""
    from lpgnet.beyond import efficiency

    run = experiment(name, place.profile)
    frames = getattr(run.model, "pool", "none") != "none"
    train, test = TYPICAL.get(place.corpus, TYPICAL["iemocap"])
    weights = efficiency.parameters(run, {"text": 768, "audio": 768}, 4)
    rows = (train + test / 3) * (min(run.data.frames, 200) if frames else 1)
    steps = train / run.train.batch / (1 if frames else 30)
    return run.train.epochs * (6 * weights * rows / rate() + PER_STEP * max(steps, 1))
