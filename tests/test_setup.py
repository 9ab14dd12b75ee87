"""One list of pins, and pages (README, CONTRIBUTING, docs) whose every path and command is real."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import distributions

import pandas as pd
import pytest
import torch
import yaml

from lpgnet import __version__
from lpgnet.config import ROOT

# A pin may be for some Pythons only: `importlib-metadata==10.2.0 ; python_full_version < '3.12'`.
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
CARD = {"torch", "jupyterlab", "papermill", "nbconvert", "matplotlib", "seaborn", "pandas"}
CARD |= {"transformers", "funasr"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_environment_and_lock_are_one_list():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    pins = [line.strip().removeprefix("- ") for line in lines[lines.index("  - pip:") + 1 :]]
    assert pins == [*LOCK, "-e ."]
    assert "name: lpgnet" in lines and "  - conda-forge" in lines and "  - python=3.11" in lines


def test_lock_pins_exactly_and_names_no_address():
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; python_full_version [<>=]+ '3[\d.*]+')?", pin) for pin in LOCK)
    names = {pin.split("==")[0].lower() for pin in LOCK}
    assert names >= CARD
    assert not [n for n in names if n.startswith(("nvidia", "triton"))]


def test_lock_covers_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = [d for name, extra in extras.items() if name != "opensmile" for d in extra]  # research only
    asked = project["dependencies"] + locked
    names = {pin.split("==")[0].lower() for pin in LOCK}
    assert {re.split(r"[<>=]", a)[0].lower() for a in asked} <= names


def test_a_cpu_torch_brought_no_gpu_packages():
    if torch.version.cuda is not None:
        pytest.skip("this torch is the CUDA build")
    assert not [d.name for d in distributions() if d.name.startswith("nvidia-")]


def test_ci_calls_make_test_only():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make")] == ["make test"]


def test_every_path_that_a_page_names_exists():
    """In code quotes, from the root of the repository; a link is `tests/test_docs.py`'s."""
    pattern = r"`((?:lpgnet|notebooks|paper_tables/reported|tests|docs)/[\w./-]*)`"
    named = {path: re.findall(pattern, path.read_text()) for path in PAGES}
    assert all(named[ROOT / name] for name in ("README.md", "CONTRIBUTING.md"))
    assert [(path.name, p) for path in PAGES for p in named[path] if not (ROOT / p).exists()] == []


def test_every_make_target_that_a_page_names_is_known():
    """Commands of the package and their options are `tests/test_docs.py`'s."""
    text = "\n".join(path.read_text() for path in PAGES)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.M))
    assert {"reproduce", "test"} <= named <= targets
    parts = set(re.findall(r"^    \"(\w+)\": \w+,$", (ROOT / "tests" / "bench.py").read_text(), re.M))
    assert set(re.findall(r"tests/bench\.py (\w+)", text)) <= parts


def test_no_machine_path_or_index_address_is_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    wrong = re.compile(r"/(?:home|root|work|opt/pypi)/\w|--(?:extra-)?index-url +\S|pypi\.org/simple")
    paths = [ROOT / p for p in tracked if p != "tests/test_setup.py" and not p.endswith(".png")]
    texts = {p: p.read_text(errors="ignore") for p in paths if p.exists()}
    assert [p for p, text in texts.items() if wrong.search(text)] == []


def test_the_simulated_numbers_of_the_docs_are_those_of_the_dated_tables():
    text = (ROOT / "docs" / "simulated.md").read_text()
    rows = re.findall(r"^\|[^|]*\| `(\w+)` \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text, re.M)
    tables = [pd.read_csv(path) for path in sorted((ROOT / "docs").glob("simulated_*_table*.csv"))]
    known = {}
    for table in tables:
        assert set(table["corpus"]) == {"simulated"}
        name = "overall" if "overall_mean" in table else "accuracy"
        columns = [f"{name}_{what}" for what in ("mean", "std", "ci_low", "ci_high")]
        ours = table[table["experiment"].notna()]
        known |= {e: v for e, *v in ours[["experiment", *columns]].itertuples(index=False)}
    assert len(rows) > 10
    for experiment, *numbers in rows:
        assert [f"{value:.1f}" for value in known[experiment]] == numbers


def test_what_make_tables_installs_is_in_the_lock():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.search(r"^REVIEW := (.+)$", makefile, re.M)[1].split())
    assert len(named) > 10 and named <= {pin.split("==")[0] for pin in LOCK}
    assert named.isdisjoint({"torch", "transformers", "funasr"})


CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_has_what_cff_1_2_0_requires_and_names_the_paper():
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CITATION["version"] == project["version"] == __version__
    assert CITATION["abstract"] == project["description"] and CITATION["license"] == project["license"]
    dates = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert str(CITATION["date-released"]) in dates
    paper = CITATION["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys() and paper["year"] == 2025
    identifiers = {(one["type"], one["value"]) for one in paper["identifiers"]}
    assert identifiers == {("doi", paper["doi"]), ("other", "arXiv:2508.08925")}
    assert paper["url"].removeprefix("https://arxiv.org/abs/") == "2508.08925"


def test_codemeta_says_what_the_citation_and_pyproject_say():
    about = json.loads((ROOT / "codemeta.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert about["name"] == CITATION["title"] and about["keywords"] == CITATION["keywords"]
    assert about["datePublished"] == str(CITATION["date-released"])
    assert [one["name"] for one in about["author"]] == [one["name"] for one in CITATION["authors"]]
    assert about["license"] == f"https://spdx.org/licenses/{project['license']}"
    assert (about["version"], about["description"]) == (project["version"], project["description"])
    assert about["programmingLanguage"]["version"] == project["requires-python"]
    paper, cited = about["referencePublication"], CITATION["preferred-citation"]
    assert paper["@id"] == f"https://doi.org/{cited['doi']}" and paper["name"] == cited["title"]
    assert paper["identifier"] == cited["identifiers"][1]["value"]


def test_the_dockerfile_by_its_form():
    """It was never built here: Debian with this Python, no root at work, the two commands of the README."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [word for word, _ in steps]
    assert words[0] == "FROM" and set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    assert re.fullmatch(r"python:3\.11-slim-\w+", steps[0][1])
    assert steps[-1] == ["CMD", '["make", "reproduce"]']
    user = words.index("USER")
    assert steps[user][1] not in ("root", "0") and f"useradd --create-home {steps[user][1]}" in text
    assert ["RUN", "make env"] in steps[user:] and words.index("COPY") < user
    assert {"git", "make"} <= set(text.split()) and "http" not in text and "index" not in text
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", "data", "results/*"} <= set(ignored) and ".git" not in ignored  # its SWHID is asked
