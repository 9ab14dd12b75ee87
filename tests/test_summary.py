"""summary.md and numbers.tex: what stands in them, and that a simulated number says so in both."""

import dataclasses
import re
import subprocess

import pandas as pd
import pytest
from test_report import filled

from lpgnet import places
from lpgnet.beyond.report import sections, summary
from lpgnet.experiments import EXPERIMENTS
from lpgnet.machine import code
from lpgnet.tables.typeset import SIMULATED

HEADS = ["Scope", "Method", "Results", "What was easy", "What was hard", "Cost"]
HEADS += ["Communication with the authors"]
MACRO = re.compile(r"^\\newcommand\{\\(lpgnet[A-Za-z]+)\}\{(.*)\}$")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("summary"))
    filled(place)
    return sections.gather(place)


def written(made) -> tuple[str, dict[str, str]]:
    """The report, and macro -> value."""
    text, tex = ((made.place.results / name).read_text() for name in ("summary.md", "numbers.tex"))
    lines = [MACRO.match(line) for line in tex.splitlines() if not line.startswith("%")]
    assert all(lines) and len({line[1] for line in lines}) == len(lines)
    return text, {line[1]: line[2] for line in lines}


def of(made, corpus: str):
    """The same records as if they were of another corpus."""
    tables = made.tables | {2: made.tables[2].assign(corpus=corpus, labels="majority-4")}
    return dataclasses.replace(made, tables=tables)


def test_the_summary_has_the_parts_of_a_reproducibility_report(found):
    text, _ = written(found.made)
    assert re.findall(r"^## (.+)$", text, re.M) == HEADS
    line = found.made.beside["intervals"].iloc[0]
    assert f"| full | majority-4 | accuracy | 2 | {line['mean']:.2f} ± {line['std']:.2f} |" in text
    assert "87.99 %" in text and "14 runs, 0.01 hours" in text  # 14 of 3 seconds
    assert f"SWHID of the code: {code.swhids()[0]}" in text
    assert "`" not in text and "/tmp" not in text


def test_a_simulated_number_says_so_in_both(found):
    text, macros = written(found.made)
    assert SIMULATED in text and SIMULATED in macros["lpgnetOrigin"]
    assert macros.pop("lpgnetMark") == r"\textsuperscript{simulated}"
    assert macros.pop("lpgnetOrigin") and all(value.endswith(r"\lpgnetMark") for value in macros.values())
    real = summary.macros(of(found.made, "iemocap"))
    assert r"\newcommand{\lpgnetMark}{}" in real and "imulated" not in real


def test_each_number_of_the_records_has_its_macro(found):
    _, macros = written(found.made)
    frame, pairs = found.made.beside["intervals"], found.made.beside["comparisons"]
    for line in frame.to_dict("records"):
        name = summary.macro(line["experiment"], line["metric"], "mean")
        assert macros[name] == f"{line['mean']:.2f}\\lpgnetMark"
    line = pairs[(pairs["a"] == "full") & (pairs["b"] == "sdt") & (pairs["metric"] == "accuracy")].iloc[0]
    assert line["difference"] < 0
    assert macros["lpgnetFullMinusSdtAccuracyDifference"] == f"\\ensuremath{{{line['difference']:.2f}}}\\lpgnetMark"
    assert macros["lpgnetFullParameters"] == "7\\lpgnetMark" and macros["lpgnetFullSeeds"] == "2\\lpgnetMark"
    assert macros["lpgnetClaimsUndecided"].startswith(str(len(found.made.beside["claims"])))


def test_what_does_not_exist_has_no_macro():
    line = {"mean": 50.0, "std": float("nan"), "seeds_low": None}
    assert summary._named(("full", "accuracy"), line, ("mean", "std", "seeds_low")) == {
        "lpgnetFullAccuracyMean": "50.00"
    }


def test_every_experiment_has_a_name_of_its_own_in_letters():
    names = [summary.macro(name, "weighted_f1", "mean") for name in EXPERIMENTS]
    assert len(set(names)) == len(names) and all(re.fullmatch("[A-Za-z]+", name) for name in names)
    assert summary.macro("lambda_1p5_0_0", "f1") == "lpgnetLambdaOnePFiveZeroZeroFOne"


def test_equal_records_equal_bytes_and_no_record_no_file(found):
    made = found.made
    before = [(made.place.results / name).read_bytes() for name in ("summary.md", "numbers.tex")]
    paths = summary.write(made, found.paper, len(found.readings))
    assert [path.read_bytes() for path in paths] == before
    runs = pd.DataFrame(columns=made.runs.columns)
    empty = dataclasses.replace(made, evaluation=dataclasses.replace(made.evaluation, runs=runs))
    assert summary.write(empty, found.paper, 0) == []


def git(folder, *words: str) -> str:
    said = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(said, check=True, capture_output=True, text=True).stdout.strip()


def test_swhids_are_git_s_own_hashes_and_say_dirty_and_unknown(tmp_path):
    assert code.swhids(tmp_path) == ("unknown",)
    git(tmp_path, "init", "-q")
    assert code.swhids(tmp_path) == ("unknown",)  # no commit yet
    (tmp_path / "lpgnet").mkdir()
    (tmp_path / "lpgnet" / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "."), git(tmp_path, "commit", "-qm", "a")
    rev, tree, package = code.swhids(tmp_path)
    assert rev == f"swh:1:rev:{git(tmp_path, 'rev-parse', 'HEAD')}"
    assert package == f"swh:1:dir:{git(tmp_path / 'lpgnet', 'write-tree', '--prefix=lpgnet/')}" != tree
    (tmp_path / "notes.txt").write_text("not what numbers are made of")
    assert code.swhids(tmp_path) == (rev, tree, package)
    (tmp_path / "lpgnet" / "a.py").write_text("a = 2\n")
    assert code.swhids(tmp_path) == (rev, tree, package, "dirty")
