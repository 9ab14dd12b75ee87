"""The paper's numbers, the readings, and what a notebook may be told."""

import ast
import os
import re
import subprocess
import sys
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from lpgnet import places
from lpgnet.config import ROOT
from lpgnet.experiments import EXPERIMENTS, FULL, experiment
from lpgnet.places import parameters, place

PACKAGE = ROOT / "lpgnet"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
FRONT = ("config", "losses", "model", "labels", "experiments", "places")  # knows the machine and itself alone
ORDER = (
    "machine",
    "front",
    "corpora",
    "features",
    "runs",
    "tables",
    "beyond",
    "reproduce",
    "cli",
    "__main__",
)
TORCH_FREE = ["config", "places", "labels", "machine.files", "machine.workers", "cli"]
TORCH_FREE += ["runs.plan", "runs.records", "runs.metrics", "tables.rebuild", "beyond.readings.figures"]


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports anywhere, in its functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lpgnet":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lpgnet"}
    return found - {"lpgnet"}  # its version


def room(module: str) -> str:
    """The folder, or file at the top, that a module stands in."""
    name = module.split(".")[1]
    return "front" if name in FRONT else name


def wrong_arrows(modules: dict[str, set[str]]) -> list[str]:
    """Imports that go against `ORDER`, and circles: of modules, and of folders at any depth."""
    wrong = [
        f"{module} -> {other}"
        for module, others in modules.items()
        for other in others
        if ORDER.index(room(other)) > ORDER.index(room(module))
    ]
    for depth in (2, 3, 4):  # lpgnet.beyond, lpgnet.beyond.audit, lpgnet.beyond.audit.findings
        graph: dict[str, set[str]] = {}
        for module, others in modules.items():
            own = ".".join(module.split(".")[:depth])
            ends = {".".join(other.split(".")[:depth]) for other in others} - {own}
            graph.setdefault(own, set()).update(ends)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as circle:
            wrong.append(" -> ".join(circle.args[1]))
    return wrong


def test_imports_go_one_way():
    """machine < front < corpora < features < runs < tables < beyond < reproduce < cli; lazy imports count."""
    arrows = {module: imports(path) for module, path in MODULES.items() if module != "lpgnet"}
    assert wrong_arrows(arrows) == []
    assert {room(module) for module in arrows} == set(ORDER)


@pytest.mark.parametrize(
    ("module", "other"),
    [  # what the package had before it had rooms
        ("lpgnet.corpora.load", "lpgnet.features.store"),
        ("lpgnet.features.extract", "lpgnet.runs.plan"),
        ("lpgnet.runs.training", "lpgnet.tables.scores"),
        ("lpgnet.tables.slices", "lpgnet.beyond.audit.findings"),
        ("lpgnet.places", "lpgnet.corpora.table"),
        ("lpgnet.tables.scores", "lpgnet.tables.build"),
        ("lpgnet.beyond.audit.findings", "lpgnet.beyond.report.page"),
    ],
)
def test_a_wrong_arrow_is_seen(module, other):
    arrows = {name: imports(path) for name, path in MODULES.items() if name != "lpgnet"}
    arrows[module] = arrows[module] | {other}
    assert wrong_arrows(arrows)


def test_an_import_within_a_function_counts(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("def f():\n    from lpgnet.beyond import efficiency\n    import lpgnet.runs.plan\n")
    assert imports(path) == {"lpgnet.beyond.efficiency", "lpgnet.runs.plan"}


def test_model_and_losses_stand_alone():
    assert imports(MODULES["lpgnet.model"]) == {"lpgnet.config"}
    assert imports(MODULES["lpgnet.losses"]) == set()


@pytest.mark.parametrize("module", TORCH_FREE)
def test_records_and_tables_need_no_torch(module):
    """A reviewer can rebuild the tables from the records on a laptop."""
    block = f"import sys; sys.modules['torch'] = None; import lpgnet.{module}"
    subprocess.run([sys.executable, "-c", block], check=True, cwd=ROOT)


def test_every_reading_stands_in_the_code():
    """One grep lists all interpretations."""
    text = "\n".join(path.read_text() for path in MODULES.values())
    found = {int(n) for n in re.findall(r"Reading R(\d+)", text)}
    assert found == set(range(1, 29))


def test_section_4_3():
    run = EXPERIMENTS["full"]
    assert (run.model.hidden, run.model.dropout, run.model.ffn) == (768, 0.1, 2)
    assert (run.train.lr, run.train.l2, run.train.batch, run.train.epochs) == (3e-4, 1e-5, 32, 150)
    assert (run.loss.task, run.loss.ce, run.loss.kl, run.loss.tau) == (1.5, 1.0, 0.3, 1.0)
    assert run.data.frames == 512 and run.train.optimizer == "adam"


def test_sdt_s_published_settings():
    run = EXPERIMENTS["sdt"]
    assert (run.model.hidden, run.model.heads, run.model.dropout) == (1024, 8, 0.5)
    assert (run.train.lr, run.train.l2, run.train.batch, run.train.epochs) == (1e-4, 1e-5, 16, 150)
    assert (run.loss.task, run.loss.ce, run.loss.kl, run.loss.tau) == (1, 1, 1, 1)
    assert (run.loss.first, run.loss.detach, run.loss.class_weights) == ("teacher", False, True)


def test_an_ablation_differs_from_full_in_what_it_names():
    def changed(name):
        run = EXPERIMENTS[name]
        parts = {p: (getattr(FULL, p), getattr(run, p)) for p in ("model", "loss", "train", "data")}
        return {f.name for a, b in parts.values() for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)}

    assert changed("no_inter") == changed("no_intra") == {"paths"}
    assert changed("no_ffn") == {"ffn"} and changed("no_gates") == {"fusion"}
    assert changed("full_by_query") == {"branch"} and changed("frame") == {"pool"}
    assert changed("full_speaker") == {"speakers"} and changed("full_6") == {"labels"}
    assert changed("text_only") == {"paths", "task", "ce", "kl"}
    assert changed("lambda_1_0_0") == {"task", "ce", "kl"}


def test_quick_changes_sizes_and_rates_only():
    allowed = {"hidden", "lr", "epochs", "batch", "frames"}
    for name, run in EXPERIMENTS.items():
        quick = experiment(name, "quick")
        for part in ("model", "loss", "train", "data"):
            a, b = getattr(run, part), getattr(quick, part)
            assert {f.name for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)} <= allowed
    assert experiment("full", "quick").train.epochs == experiment("sdt", "quick").train.epochs


def test_places_share_no_folder():
    corpora = [("simulated", "quick"), ("simulated", "paper"), ("iemocap", "paper"), ("iemocap", "quick")]
    made = [place(c, p, s) for c, p in corpora for s in places.SPLITS]
    assert len({p.results for p in made}) == len({p.tables for p in made}) == len(made)
    assert place().name == "simulated" and place("iemocap").name == "iemocap"
    assert place(split="loso").name == "simulated--quick--loso--majority-4"


@pytest.mark.parametrize("given", ["out", ""])
def test_a_relative_output_is_the_same_folder_for_processes_that_start_elsewhere(tmp_path, given):
    """An empty one is none."""
    block = "import os; from lpgnet.places import OUTPUT; print(OUTPUT, os.environ['LPGNET_OUTPUT'])"
    env = os.environ | {"LPGNET_OUTPUT": given, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", block], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path / given if given else ROOT)] * 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CORPUS": "simulatd"}, "no corpus 'simulatd'; there are simulated, simulated-null, iemocap"),
        ({"CORPSU": "simulated"}, "parameter CORPSU"),
        ({"corpus": "meld"}, "parameter corpus='meld': parameters are in upper case, CORPUS"),  # as `papermill -p` may
        ({"LR": "3e-4"}, "parameter LR"),
        ({"SETTINGS": {"lr": "3e-4"}, "EXPERIMENTS": ["full"]}, "setting lr='3e-4'"),
        ({"SEEDS": "10"}, "parameter SEEDS='10'"),
        ({"SEEDS": 0}, "SEEDS=0"),
        ({"EXPERIMENTS": ["no_ffnn"]}, "no experiment 'no_ffnn'"),
        ({"PROFILE": "qick"}, "no profile 'qick'"),
        ({"LABELS": "erc-6"}, "corpus 'simulated' carries majority-4, majority-6"),
        ({"DEVICE": "gpu"}, "parameter DEVICE='gpu'"),
    ],
)
def test_a_wrong_parameter_stops_with_its_name(given, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        parameters(given)


def test_parameters_are_the_upper_case_names():
    checked = parameters({"CORPUS": "simulated", "here": 1, "In": [], "_X": 2, "SEEDS": 3})
    assert checked.SEEDS == 3 and checked.place == place()
