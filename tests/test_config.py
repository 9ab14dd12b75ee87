"""The paper's numbers, the readings, and what a notebook may be told."""

import ast
import re
import subprocess
import sys
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lpgnet import places
from lpgnet.config import ROOT
from lpgnet.experiments import EXPERIMENTS, FULL, experiment
from lpgnet.places import parameters, place

MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / "lpgnet").rglob("*.py")}
TORCH_FREE = ["config", "places", "labels", "files", "cli", "analysis.records", "analysis.metrics"]
TORCH_FREE += ["analysis.statistics", "analysis.tables"]  # figures: see test_tables


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lpgnet"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= inner or {node.module}
    return found


def test_modules_import_in_one_direction():
    TopologicalSorter({name: imports(path) for name, path in MODULES.items()}).prepare()


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
        return {
            f.name for a, b in parts.values() for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)
        }

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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CORPUS": "simulatd"}, "no corpus 'simulatd'; there are simulated, iemocap"),
        ({"CORPSU": "simulated"}, "parameter CORPSU"),
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
