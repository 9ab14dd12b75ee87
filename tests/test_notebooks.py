"""The notebooks: clean, thin, checked, and run end to end on a small simulated corpus."""

import ast
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from conftest import environment, lpgnet
from test_tables import WITHOUT_TORCH

from lpgnet import places, reproduce
from lpgnet.config import ROOT
from lpgnet.experiments import CONTEXTS, EXPERIMENTS, READINGS

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 30  # the parameters of 03


def code(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.fixture(params=SOURCES, ids=lambda p: p.stem)
def notebook(request):
    return request.param


def test_holds_no_output(notebook):
    assert not any(cell.outputs or cell.execution_count for cell in code(notebook))
    assert nbformat.read(notebook, 4).metadata.kernelspec.name == "python3"


def test_defines_nothing_and_keeps_cells_short(notebook):
    for cell in code(notebook):
        body = ast.parse(cell.source).body
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source


def test_first_cell_says_what_is_read_and_written(notebook):
    first = nbformat.read(notebook, 4).cells[0].source
    assert all(f"**{word}**" in first for word in ("Question.", "Reads", "Writes", "Takes"))


def test_parameters_are_literals_that_a_notebook_may_be_told(notebook):
    (tagged,) = [c for c in code(notebook) if "parameters" in c.metadata.get("tags", [])]
    for node in ast.parse(tagged.source).body:
        ast.literal_eval(node.value)
    places.parameters(reproduce.declared(notebook.stem))


def test_metadata_say_what_a_notebook_reads_and_writes(notebook):
    """The runner knows no notebook by number; what it writes by name, its first cell names too."""
    about, first = reproduce.about(notebook.stem), nbformat.read(notebook, 4).cells[0].source
    assert about.keys() == {"reads", "writes", "asked", "needs"} and about["reads"] and about["writes"]
    assert [path for path in about["writes"] if path.endswith(".csv") and path not in first] == []
    assert about["needs"] is None or about["needs"] in EXPERIMENTS
    assert not re.search(r"startswith|== \"0\d", Path(reproduce.__file__).read_text())


def test_the_paper_s_notebooks_show_figures_and_one_shows_the_plain_model():
    sources = {path.stem[:2]: "\n".join(c.source for c in code(path)) for path in SOURCES}
    drawing = re.compile(r"(architecture|inside|of_tables|of_runs|figures|timeline)\.\w+\(|sections\.gather\(")
    assert [number for number, text in sources.items() if not drawing.search(text)] == []
    assert "from lpgnet.model import LPGNet" in sources["02"]


def test_every_option_that_names_a_place_reaches_each_notebook(notebook):
    """One that a notebook lacks would be dropped in silence; 01 makes features, and reads no record."""
    lacking = set(places.WHICH) - reproduce.declared(notebook.stem).keys()
    assert lacking == ({"KEEP_CODE"} if notebook.stem.startswith("01") else set())


def test_every_experiment_is_run_by_some_notebook():
    """07 runs every reading and context of `experiments`."""
    named = {e for path in SOURCES for e in places.parameters(reproduce.declared(path.stem)).experiments}
    assert named | {a.experiment for a in (*READINGS, *CONTEXTS)} == set(EXPERIMENTS)


def test_chosen_notebooks():
    assert reproduce.selected("03,02") == ["02_training", "03_ablations"]
    assert [name[:2] for name in reproduce.selected(None)] == ["01", "02", "03", "04", "05", "06", "08"]
    assert reproduce.selected("07")[0].startswith("07")
    with pytest.raises(ValueError, match="no notebook 9; there are 01, 02"):
        reproduce.selected("02,9")


def test_an_undeclared_parameter_is_refused():
    with pytest.raises(ValueError, match="02_training has no parameter LR; it has"):
        reproduce.run("02_training", places.parameters({}), LR=0.1)


def test_a_parameter_in_lower_case_is_refused():
    """As `papermill -p corpus meld` passes it: nothing would read it."""
    with pytest.raises(ValueError, match="parameter corpus='meld': parameters are in upper case, CORPUS"):
        places.parameters({"CORPUS": "simulated", "corpus": "meld"})


def test_formulas_become_mathml_and_nothing_is_fetched():
    got = reproduce.mathml("<p>with $d_{ff} = 2d$ &amp; $$a &lt; b \\tag{3}$$ costs</p>")
    assert got.count("<math") == 2 and "$" not in got


# End to end.  One small simulated corpus; each call is the command a user types.


def rerun(output: Path, root: Path, *more: str):
    arguments = ("--root", str(root), "--seeds", "2", "--jobs", "2", *more)
    return lpgnet(output, "reproduce", *arguments)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, small_tree):
    output = tmp_path_factory.mktemp("whole")
    done = rerun(output, small_tree)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return output, done.stdout


def tables(output: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((output / "paper_tables" / "simulated").glob("*"))}


def test_reproduce_writes_everything(uninterrupted):
    output, said = uninterrupted
    assert "7 notebooks run" in said and "left" in said
    results = output / "results" / "simulated"
    assert {f"table{n}.{e}" for n in range(1, 8) for e in ("csv", "md", "tex")} <= set(tables(output))
    assert len(list((results / "figures").glob("*.png"))) >= 7
    for name in reproduce.selected(None):
        page = (results / "notebooks" / f"{name}.html").read_text()
        assert "$$" not in page
        outside = r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//"
        assert not re.search(outside, page)
        copy = json.loads((results / "notebooks" / f"{name}.ipynb").read_text())
        assert all(c["execution_count"] for c in copy["cells"] if c["cell_type"] == "code")
        assert not {"input_path", "output_path"} & set(copy["metadata"]["papermill"])  # of this machine
    report = (results / "report" / "index.html").read_text()
    assert all(f"../notebooks/{name}.html" in report for name in reproduce.selected(None))
    assert f"Report: {results / 'report' / 'index.html'}" in said
    assert not list(output.rglob(".part-*"))


def test_a_second_call_does_nothing_and_says_so(uninterrupted, small_tree):
    output, _ = uninterrupted
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file() and p.name != ".lock"}
    again = rerun(output, small_tree)
    assert "0 notebooks run, 7 had nothing left to do" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_tables_come_from_records_alone(uninterrupted, tmp_path):
    output, _ = uninterrupted
    shutil.copytree(output / "results" / "simulated" / "runs", tmp_path / "results" / "simulated" / "runs")
    block = WITHOUT_TORCH + "from lpgnet.cli import app; app(['tables'])"
    subprocess.run([sys.executable, "-c", block], env=environment(tmp_path), check=True, cwd=ROOT)
    assert tables(tmp_path) == tables(output)


BEYOND = """
from lpgnet import places, reproduce
asked = places.parameters({"SEEDS": 2, "JOBS": 2, "FINETUNE": FINETUNE})
some = ["full", "linear", "r13a_full", "shuffled_full", "r27_sdt", "sdt", "r18b_full"]
print([reproduce.run(name, asked, **more) for name, more in (
    ("01_feature_extraction", {"ROOT": RELEASE}),
    ("07_beyond_the_paper", {"EXPERIMENTS": some}),
    ("07_beyond_the_paper", {"EXPERIMENTS": some}),
)])
"""


@pytest.mark.parametrize("finetune", [None, True])
def test_beyond_the_paper_on_what_was_asked_for(finetune, uninterrupted, small_tree, tmp_path):
    """With cross-fitted features where the encoder is fine-tuned; a second call does nothing."""
    kept = uninterrupted[0] / "results" / "simulated" / "features"
    shutil.copytree(kept, tmp_path / "results" / "simulated" / "features")
    block = BEYOND.replace("FINETUNE}", f"{finetune}}}").replace("RELEASE", repr(str(small_tree)))
    options = {"env": environment(tmp_path), "cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", block], **options)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "[True, True, False]" in done.stdout
    results = next(tmp_path.glob("results/*/readings.csv")).parent
    assert {"readings.png", "context.png"} <= {path.name for path in results.glob("figures/*")}
    assert "R24" in (results / "readings.csv").read_text() and (results / "context.csv").exists()
    made = {path.name for path in results.glob("runs/*/")}
    assert ("r18b_full" in made) == bool(finetune) and {"r13a_full", "shuffled_full"} <= made


# Nothing is lost

LIVES = 8  # how often the power goes


def cut_power(process: subprocess.Popen) -> None:
    """kill -9 for a process and all that it started, wherever it put them."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    process.wait()
    psutil.wait_procs(family[:-1], timeout=10)


def written(output: Path) -> dict[str, bytes]:
    """Every table and CSV but the one that holds measured times."""
    paths = [*output.glob("paper_tables/*/*"), *output.glob("results/*/*.csv"), *output.glob("results/*.csv")]
    return {str(p.relative_to(output)): p.read_bytes() for p in paths if p.name != "efficiency.csv"}


def recorded(output: Path) -> dict[str, dict]:
    paths = output.glob("results/*/runs/*/*.json")
    found = {str(p.relative_to(output)): json.loads(p.read_text()) for p in paths}
    for record in found.values():
        record.pop("made")
    return found


def test_the_power_goes_at_random_moments(uninterrupted, small_tree, tmp_path):
    """Records, predictions and every CSV are then those of a run that nothing disturbed, byte for byte."""
    whole, _ = uninterrupted
    arguments = ["reproduce", "--root", str(small_tree), "--seeds", "2", "--jobs", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    cuts, chance = 0, random.Random()
    for _ in range(LIVES):
        command = [sys.executable, "-m", "lpgnet", *arguments]
        process = subprocess.Popen(command, env=environment(tmp_path), **quiet)
        try:
            process.wait(timeout=chance.uniform(2, 16))
            break  # it came to its end
        except subprocess.TimeoutExpired:
            cut_power(process)
            cuts += 1
    assert cuts
    kept = {p: p.read_bytes() for p in tmp_path.glob("results/*/runs/*/*.json")}
    done = rerun(tmp_path, small_tree)
    assert done.returncode == 0 and "damaged" not in done.stdout, done.stderr[-4000:]
    assert written(tmp_path) == written(whole)
    assert recorded(tmp_path) == recorded(whole)
    assert {p: p.read_bytes() for p in kept} == kept  # what was recorded is not made again
    assert not list((tmp_path / "results" / "simulated").rglob(".part-*"))


def test_a_write_that_fails_is_one_clear_error_and_the_next_call_goes_on(uninterrupted, small_tree, tmp_path):
    """Files can't grow beyond 9 kB: a write fails in the middle, as on a full disk."""
    whole, _ = uninterrupted

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, resource.RLIM_INFINITY))

    assert rerun(tmp_path, small_tree, "--only", "01").returncode == 0
    command = [sys.executable, "-m", "lpgnet", "reproduce", "--root", str(small_tree), "--seeds", "2"]
    options = {"capture_output": True, "text": True, "timeout": 600, "preexec_fn": limit}
    failed = subprocess.run([*command, "--only", "02"], env=environment(tmp_path), **options)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "File too large" in failed.stderr
    assert not list((tmp_path / "results").rglob(".part-*"))
    assert recorded(tmp_path).items() <= recorded(whole).items()
    assert rerun(tmp_path, small_tree, "--only", "02").returncode == 0
    made = recorded(tmp_path)
    assert made and made.items() <= recorded(whole).items()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
def test_a_read_only_folder_is_one_clear_error(tmp_path, small_tree):
    tmp_path.chmod(0o555)
    done = rerun(tmp_path, small_tree)
    assert done.returncode == 1 and "Permission denied" in done.stderr and "Traceback" not in done.stderr


def test_an_output_that_is_no_folder_is_one_clear_error(tmp_path, small_tree):
    (tmp_path / "file").write_text("")
    done = rerun(tmp_path / "file", small_tree)
    assert done.returncode == 1 and "Not a directory" in done.stderr and "Traceback" not in done.stderr


def test_a_dry_run_lists_and_runs_nothing(small_tree, tmp_path):
    said = lpgnet(tmp_path, "reproduce", "--dry-run", "--seeds", "3").stdout
    assert "full " in said and "hours" in said and "75 runs" in said
    assert not list(tmp_path.rglob("*.json"))


def test_two_at_once_do_not_start(uninterrupted, small_tree):
    from filelock import FileLock

    output, _ = uninterrupted
    with FileLock(output / "results" / "simulated" / ".lock"):
        refused = [rerun(output, small_tree), *(lpgnet(output, name) for name in ("tables", "report"))]
        refused.append(lpgnet(output, "bundle", "--out", str(output / "none.zip")))
    for done in refused:
        assert done.returncode == 1 and "another command is at work on" in done.stderr
    assert not (output / "none.zip").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("reproduce", "--corpus", "simulatd"), "simulatd"),
        (("reproduce", "--corpus", "iemocap"), "--root"),
        (("reproduce", "--corpus", "iemocap", "--root", "nowhere"), "no such folder"),
        (("reproduce", "--only", "77"), "no notebook 77"),
        (("reproduce", "--labels", "erc-6"), "corpus 'simulated' carries majority-4, majority-6"),
        (("reproduce", "--text", "no/such/model"), "give a local folder, or use the encoders that ship"),
        (("reproduce", "--audio", "lpgnet"), "want config.yaml (emotion2vec) or config.json"),
        (("import", "README.md", "--name", "a--b"), "--name 'a--b': want"),
        (("import", "README.md", "--name", "iemocap"), "none of compare, features, iemocap"),
        (("labels", "diff", "majority-4", "majority-7"), "'majority-7' is no label protocol"),
        (("export", "--out", "x"), "run notebook 01 first"),
        (("tables",), "run notebooks 01 to 05 first"),
        (("corpus", "check", "--root", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_call_gets_one_clear_error(tmp_path, arguments, says):
    done = lpgnet(tmp_path, *arguments)
    assert done.returncode not in (0, None)
    assert says in done.stderr and "Traceback" not in done.stderr
