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
from lpgnet.experiments import CONTEXTS, EXPERIMENTS, READINGS, RECOGNITION, ROTATED
from lpgnet.machine import clean_notebook
from lpgnet.machine.clean_notebook import cleaned

ALL = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [path for path in ALL if path.stem in reproduce.NOTEBOOKS]
START = ROOT / "notebooks" / "00_start.ipynb"
LONGEST_CELL = 20  # the imports of 02


def code(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.fixture(params=SOURCES, ids=lambda p: p.stem)
def notebook(request):
    return request.param


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_is_committed_as_the_clean_filter_leaves_it(path):
    """Without outputs, counts, or what JupyterLab writes beside them."""
    assert not any(cell.outputs or cell.execution_count for cell in code(path))
    assert cleaned(path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8")
    assert nbformat.read(path, 4).metadata.kernelspec.name == "python3"


def test_the_start_page_leads_to_every_notebook_and_is_not_run():
    (cell,) = nbformat.read(START, 4).cells
    assert re.findall(r"\]\((\w+\.ipynb)\)", cell.source) == [path.name for path in SOURCES]
    assert START.stem not in reproduce.NOTEBOOKS and len(ALL) == len(SOURCES) + 1


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
    assert about.keys() == {"reads", "writes", "asked", "needs", "uses"} and about["reads"] and about["writes"]
    assert [path for path in about["writes"] if path.endswith(".csv") and path not in first] == []
    assert about["needs"] is None or about["needs"] in EXPERIMENTS
    assert not re.search(r"startswith|== \"0\d", Path(reproduce.__file__).read_text())


def test_the_paper_s_notebooks_show_figures_and_one_shows_the_plain_model():
    sources = {path.stem[:2]: "\n".join(c.source for c in code(path)) for path in SOURCES}
    drawing = re.compile(r"(architecture|of_tables|of_runs|drawn|figures|spaces|timeline)\.\w+\(|sections\.gather\(")
    assert [number for number, text in sources.items() if not drawing.search(text)] == []
    assert "from lpgnet.model import LPGNet" in sources["02"] and "steps.agreement(walk, found)" in sources["02"]


def test_the_paper_s_notebooks_end_with_what_was_seen():
    """A sentence made from the records, by the package."""
    ends = {path.stem[:2]: code(path)[-1].source for path in SOURCES}
    assert {number for number, text in ends.items() if text.startswith("seen.")} == {f"0{n}" for n in range(1, 7)}


def test_settings_are_compared_with_the_default_where_a_notebook_takes_them(notebook):
    text = "\n".join(cell.source for cell in code(notebook))
    assert ("SETTINGS" in reproduce.declared(notebook.stem)) == ("explored.against_default(" in text)


def test_every_option_that_names_a_place_reaches_each_notebook(notebook):
    """One that a notebook lacks would be dropped in silence; 01 makes features, and reads no record."""
    lacking = set(places.WHICH) - reproduce.declared(notebook.stem).keys()
    assert lacking == ({"KEEP_CODE"} if notebook.stem.startswith("01") else set())


def test_every_experiment_is_run_by_some_notebook():
    """07 runs every reading and context of `experiments`, recognised text, and what each is compared with."""
    named = {path.stem[:2]: places.parameters(reproduce.declared(path.stem)).experiments for path in SOURCES}
    assert {e for names in named.values() for e in names} == set(EXPERIMENTS)
    both = (*READINGS, *CONTEXTS, *ROTATED, *RECOGNITION)
    assert {name for a in both for name in (a.experiment, a.default)} <= set(named["07"])


def test_chosen_notebooks():
    assert reproduce.selected("03,02") == ["02_training", "03_ablations"]
    assert [name[:2] for name in reproduce.selected(None)] == ["01", "02", "03", "04", "05", "06", "08"]
    assert reproduce.selected("07")[0].startswith("07")
    with pytest.raises(ValueError, match="no notebook 9; there are 01, 02"):
        reproduce.selected("02,9")


def test_an_undeclared_parameter_is_refused():
    with pytest.raises(ValueError, match="02_training has no parameter LR; it has"):
        reproduce.run("02_training", places.parameters({}), LR=0.1)


def test_a_wrong_parameter_is_its_message_alone_in_a_notebook():
    """What IPython prints: no traceback, nothing of the package's inside."""
    block = "from lpgnet import places; CORPUS = 'simulatd'; places.parameters(globals())"
    done = subprocess.run([sys.executable, "-m", "IPython", "-c", block], cwd=ROOT, capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(said) == 1 and said[0].startswith(
        "WrongParameter: no corpus 'simulatd'; there are simulated, simulated-null, iemocap"
    )


def as_jupyterlab_saves(path: Path) -> None:
    """Outputs, counts, and what it writes into metadata."""
    notebook = json.loads(path.read_text())
    notebook["metadata"] |= {"language_info": {"name": "python", "version": "3.13.0"}, "widgets": {"state": {}}}
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        cell["metadata"] |= {"scrolled": True, "execution": {"iopub.execute_input": "2026"}}
        cell["execution_count"] = 3
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["said\n"]}]
    path.write_text(json.dumps(notebook, indent=2))


def test_running_a_notebook_in_jupyterlab_leaves_git_clean(tmp_path):
    """With the filter that `make env` sets up and the hook of `make lab`; without, git shows the change."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    for name in (".gitattributes", "notebooks/02_training.ipynb", "lpgnet/machine/clean_notebook.py", "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    path = tmp_path / "notebooks" / "02_training.ipynb"
    git("init", "-q"), git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    before = path.read_bytes()
    as_jupyterlab_saves(path)
    assert "02_training" in git("status", "--short")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".git" / "info" / "exclude").write_text(".venv\n")
    subprocess.run(["make", "-o", ".venv/.ready", "env"], cwd=tmp_path, check=True, capture_output=True)
    clean_notebook.saved({"type": "notebook"}, os_path=str(path), contents_manager=None)
    assert git("status", "--short") == "" and git("diff", "--cached") == ""
    assert path.read_bytes() != before  # what was seen stays in the file
    path.write_text(path.read_text().replace("SEEDS = 10", "SEEDS = 3"))
    clean_notebook.saved({"type": "notebook"}, os_path=str(path), contents_manager=None)
    assert git("status", "--short") == " M notebooks/02_training.ipynb\n"  # nothing is staged that was changed by hand
    changed = [line for line in git("diff").splitlines() if re.match(r"[+-](?![+-])", line)]
    assert len(changed) == 2 and all("SEEDS" in line for line in changed)


def test_without_the_filter_a_save_stages_nothing(tmp_path):
    path = tmp_path / "02_training.ipynb"
    shutil.copy(ROOT / "notebooks" / path.name, path)
    clean_notebook.saved({"type": "notebook"}, os_path=str(path))  # in no repository
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    as_jupyterlab_saves(path)
    clean_notebook.saved({"type": "notebook"}, os_path=str(path))
    shown = subprocess.run(["git", "status", "--short"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout == "AM 02_training.ipynb\n"


def test_what_is_no_notebook_stays_as_it_is():
    for text in ("", "<<<<<<< ours\n{}", "[]", '{"cells": 3}', '{"cells": [{}]}'):
        assert cleaned(text) == text


def test_outputs_in_a_source_make_no_copy_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "SOURCE", tmp_path)
    shutil.copy(ROOT / "notebooks" / "02_training.ipynb", tmp_path)
    asked = places.parameters({})
    before = reproduce.stamp("02_training", asked)
    as_jupyterlab_saves(tmp_path / "02_training.ipynb")
    assert reproduce.stamp("02_training", asked) == before
    path = tmp_path / "02_training.ipynb"
    path.write_text(path.read_text().replace("SEEDS = 10", "SEEDS = 3"))
    assert reproduce.stamp("02_training", asked) != before


def test_formulas_become_mathml_and_nothing_is_fetched():
    got = reproduce.mathml("<p>with $d_{ff} = 2d$ &amp; $$a &lt; b \\tag{3}$$ costs</p>")
    assert got.count("<math") == 2 and "$" not in got


# End to end.  One small simulated corpus; each call is the command a user types.


def rerun(output: Path, root: Path, *words: str, **more):
    return lpgnet(output, "reproduce", "--root", str(root), "--seeds", "2", "--jobs", "2", *words, **more)


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
asked = places.parameters({"SEEDS": 2, "JOBS": 2, "FINETUNE": True})
some = ["full", "linear", "r13a_full", "shuffled_full", "r27_sdt", "sdt", "r18b_full"]
print([reproduce.run(name, asked, **more) for name, more in (
    ("01_feature_extraction", {"ROOT": RELEASE}),
    ("07_beyond_the_paper", {"EXPERIMENTS": some}),
    ("07_beyond_the_paper", {"EXPERIMENTS": some}),
)])
"""


def with_features_of(whole: Path, output: Path) -> Path:
    """The features of a finished place, in another output."""
    features = Path("results", "simulated", "features")
    shutil.copytree(whole / features, output / features)
    return output


def test_beyond_the_paper_on_what_was_asked_for(uninterrupted, small_tree, tmp_path):
    """With cross-fitted features, as the encoder is fine-tuned; a second call does nothing."""
    block = BEYOND.replace("RELEASE", repr(str(small_tree)))
    options = {"env": environment(with_features_of(uninterrupted[0], tmp_path)), "cwd": ROOT}
    done = subprocess.run([sys.executable, "-c", block], **options, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "[True, True, False]" in done.stdout
    results = next(tmp_path.glob("results/*/readings.csv")).parent
    assert {"readings.png", "context.png"} <= {path.name for path in results.glob("figures/*")}
    assert "R24" in (results / "readings.csv").read_text() and (results / "context.csv").exists()
    assert all("corpus," in path.read_text() for path in results.glob("*.csv"))  # also where nothing was asked for
    made = {path.name for path in results.glob("runs/*/")}
    assert {"r18b_full", "r13a_full", "shuffled_full"} <= made


# Nothing is lost

LIVES = 4  # how often the power goes


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

    with_features_of(whole, tmp_path)
    failed = rerun(tmp_path, small_tree, "--only", "02", preexec_fn=limit)
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
    assert {"Features", "Training", "Notebooks", "In all"} <= {
        line.partition(": ")[0].partition(" about")[0] for line in said.splitlines()
    }
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
