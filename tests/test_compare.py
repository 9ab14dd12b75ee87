"""Two runs compared, and tables from a bundle, on made-up records; the committed reference, if any."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import environment, lpgnet, refused
from test_bundle import changed
from test_report import filled
from test_tables import WITHOUT_TORCH

from lpgnet import places
from lpgnet.beyond import compare as comparing
from lpgnet.beyond.archive import bundle, unpack
from lpgnet.beyond.compare import BYTES, DIFFERENT, INTERVAL, ROUNDING, compare
from lpgnet.config import ROOT
from lpgnet.machine.files import json_sha256, sha256, write_json
from lpgnet.runs import metrics, records
from lpgnet.tables import build
from lpgnet.tables.rebuild import rebuild
from lpgnet.tables.scores import Evaluation

REFERENCES = sorted((ROOT / "docs" / "reference").glob("*.zip"))
LACKING = ("torch", "transformers", "librosa", "soundfile", "safetensors", "huggingface_hub", "papermill")
LACKING += ("nbconvert", "IPython", "filelock", "funasr", "modelscope", "omegaconf")  # not in `make tables`
LIMIT = 4 * 2**20  # bytes of a committed reference run


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    made = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("one"))
    filled(made, seeds=3)
    return made


@pytest.fixture
def other(one, tmp_path):
    """A copy of the first run that a test may change."""
    made = dataclasses.replace(one, output=tmp_path / "other")
    shutil.copytree(one.runs, made.runs)
    return made


@pytest.fixture(scope="module")
def reference(one, tmp_path_factory):
    """A reference run; the made-up records lack most experiments, so it isn't asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "lacking", lambda number, found: [])
        return bundle.write_reference(one, tmp_path_factory.mktemp("zip") / "simulated.zip").path


def sides(*found) -> comparing.Comparison:
    return compare(*(unpack.in_place(place, name) for place, name in zip(found, "ab", strict=True)))


def record_of(place, name: str, seed: int):
    """The record of a run, and where it lies."""
    (path,) = (place.runs / name).glob(f"{seed}-*.json")
    return records.read(path), path


def rewrite(place, name: str, seed: int, edit=None, **values) -> None:
    """A record changed by somebody who knows its hashes.  edit: of its predictions."""
    record, path = record_of(place, name, seed)
    parquet = path.with_suffix(".parquet")
    if edit:
        frame = pd.read_parquet(parquet)
        edit(frame)
        frame["predicted_last"] = frame["predicted"]  # the made-up runs have one epoch
        frame.to_parquet(parquet, index=False)
        values["predictions"] = sha256(parquet)
    record = dataclasses.replace(record, **values)
    write_json(path, dataclasses.asdict(dataclasses.replace(record, sha256=records.fingerprint(record))))


def flipped(count: int, classes: list[str]):
    """An edit that turns the first `count` right predictions into wrong ones."""

    def edit(frame: pd.DataFrame) -> None:
        names = [f"p_{name}" for name in classes]
        for row in frame.index[frame["predicted"] == frame["label"]][:count]:
            wrong = classes[(classes.index(frame.at[row, "label"]) + 1) % len(classes)]
            frame.loc[row, names] = [0.97 if name == f"p_{wrong}" else 0.01 for name in names]
            frame.at[row, "predicted"] = wrong

    return edit


def counted(frame: pd.DataFrame, classes: list[str]) -> list[list[int]]:
    gold, predicted = (pd.Index(classes).get_indexer(frame[c]) for c in ("label", "predicted"))
    return metrics.confusion(gold, predicted, len(classes)).tolist()


def worse(place, name: str, seed: int, count: int) -> None:
    """The same run with `count` decisions fewer right, in all that says so: nothing contradicts it."""
    record, path = record_of(place, name, seed)
    frame, edit = pd.read_parquet(path.with_suffix(".parquet")), flipped(count, record.classes)
    edit(frame)
    rules = dict.fromkeys(record.confusion, counted(frame, record.classes))
    rewrite(place, name, seed, edit, confusion=rules)


def test_equal_runs_are_the_same_to_the_byte(one, other):
    found = sides(one, other)
    assert set(found.records["verdict"]) == set(found.cells["verdict"]) == {BYTES}
    assert len(found.records) == 21 and found.differing() == []
    assert found.verdict().startswith("reproduced to the byte: 21 of 21 records, ")
    assert found.verdict().endswith(" table cells (simulated corpus)")
    assert not any(found.apart.values())


def test_rounding_is_within_a_thousandth_and_the_same_decisions(one, other):
    def noise(frame):
        frame["p_happy"] += 1e-4

    rewrite(other, "full", 0, noise, made={"seconds": 1.0, "device": "cuda"}, temperature=2.0001)
    found = sides(one, other)
    line = found.records.set_index(["experiment", "seed"])["verdict"]
    assert line["full", 0] == ROUNDING and (line.drop(("full", 0)) == BYTES).all()
    assert set(found.cells["verdict"]) == {BYTES}  # of decisions, and they are the same
    says = "reproduced to rounding: of 21 records 20 to the byte, 1 to rounding, "
    assert found.verdict().startswith(says)
    assert "made: device: cpu | cpu, cuda" in found.differing()


@pytest.mark.parametrize(
    "values", [{"temperature": 2.1}, {"curves": {"loss": [0.5, 0.25, 0.13]}}, {"epoch": {"last": 2}}]
)
def test_more_than_rounding_is_no_rounding(one, other, values):
    record, _ = record_of(other, "full", 0)
    values = {k: getattr(record, k) | v if isinstance(v, dict) else v for k, v in values.items()}
    rewrite(other, "full", 0, **values)
    found = sides(one, other)
    assert found.records.set_index(["experiment", "seed"]).at[("full", 0), "verdict"] == INTERVAL


def deviation(place, name: str) -> float:
    """Of the accuracy over an experiment's seeds."""
    runs = unpack.in_place(place, "").runs.query("experiment == @name")
    return np.std([metrics.scores(c["best_validation"])["accuracy"] for c in runs["confusion"]], ddof=1)


def test_within_the_interval_is_what_two_seeds_differ_by(one, other):
    """t of 2 degrees of freedom at 95 % is 4.303: two seeds differ by 4.303 sqrt(2) s."""
    worse(other, "full", 1, 1)
    found = sides(one, other)
    limit = 4.302653 * np.sqrt(2) * min(deviation(p, "full") for p in (one, other))
    limits = comparing._limits(*(comparing._scored(unpack.in_place(p, "").runs) for p in (one, other)))
    assert limits.at[("full", "session5"), "accuracy"] == pytest.approx(limit, rel=1e-6)
    assert found.records["verdict"].value_counts().to_dict() == {BYTES: 20, INTERVAL: 1}
    cells = found.cells[found.cells["row"].eq("full")]
    assert set(cells["verdict"]) <= {BYTES, ROUNDING, INTERVAL} and INTERVAL in set(cells["verdict"])
    assert found.degree == INTERVAL and found.verdict().startswith("reproduced within the seed interval: ")


def test_more_than_seeds_differ_by_is_different_and_said(one, other):
    limits = comparing._limits(*(comparing._scored(unpack.in_place(one, "").runs) for _ in range(2)))
    total = np.sum(unpack.in_place(one, "").by_key["linear", "session5", 0].confusion["best_validation"])
    worse(other, "linear", 0, int(limits.at[("linear", "session5"), "accuracy"] * total) + 2)
    found = sides(one, other)
    line = found.records.set_index(["experiment", "seed"])["verdict"]
    assert line["linear", 0] == DIFFERENT and found.degree == DIFFERENT
    assert found.verdict().startswith("not reproduced: of 21 records 20 to the byte, 1 different, ")
    assert "different: linear, session5, seed 0" in found.lines()


@pytest.mark.parametrize(
    ("inside", "outside", "degree"),
    [
        (0, 0, BYTES),
        (19, 0, INTERVAL),
        (0, 1, DIFFERENT),
        (18, 1, DIFFERENT),
        (19, 1, INTERVAL),
        (19, 2, DIFFERENT),
    ],
)
def test_one_in_twenty_may_lie_outside_by_chance(inside, outside, degree):
    verdicts = pd.Series([BYTES] * 100 + [INTERVAL] * inside + [DIFFERENT] * outside)
    assert comparing._overall(verdicts) == degree


@pytest.mark.parametrize(
    ("a", "b", "degree"),
    [
        ((80, 2, 3), (80, 2, 3), BYTES),
        ((80, 2, 3), (80.01, 2, 3), ROUNDING),
        ((80, 2, 3), (87, 2, 3), INTERVAL),  # 4.303 * 2 * sqrt(2 / 3) = 7.03
        ((80, 2, 3), (87.1, 2, 3), DIFFERENT),
        ((80, 9, 3), (87.1, 2, 3), DIFFERENT),  # the smaller deviation says
        ((80, np.nan, 1), (81, np.nan, 1), DIFFERENT),
        ((80, np.nan, 1), (80, np.nan, 1), BYTES),
        ((80, 2, 3), (np.nan,) * 3, DIFFERENT),
    ],
)
def test_cells(a, b, degree):
    assert comparing._cell_degree(np.array(a, dtype=float), np.array(b, dtype=float)) == degree


def test_what_one_side_lacks_or_was_asked_otherwise_is_listed_and_not_compared(one, other):
    for path in (other.runs / "sdt").glob("2-*"):
        path.unlink()
    config = record_of(other, "linear", 1)[0].config
    rewrite(other, "linear", 1, config=config | {"train": config["train"] | {"epochs": 99}})
    found = sides(one, other)
    assert len(found.records) == 19 and set(found.records["verdict"]) == {BYTES}
    epochs = config["train"]["epochs"]
    assert found.lines()[2:-1] == [
        "only in A: session5, seed 2: sdt",
        f"other settings: linear (1 records: train.epochs {epochs} and 99)",
    ]
    assert found.verdict().endswith("; B lacks 1 of A's records; 1 records have other settings (simulated corpus)")
    assert set(found.cells["verdict"]) == {BYTES}  # of the seeds that both have


def test_what_feeds_no_table_is_not_lacking():
    keys = [(name, "session5", 0) for name in ("full", "full_moddrop")]
    a, b = (SimpleNamespace(by_key=dict.fromkeys(some), unused=[]) for some in (keys, ()))
    assert {why.format(A="X", B="Y"): lines for why, lines in comparing._apart(a, b, {}).items() if lines} == {
        "Y lacks 1 of X's records": ["only in A: session5, seed 0: full"],
        "1 of X's records feed no table and aren't in Y": ["only in A: session5, seed 0: full_moddrop"],
    }


def test_tampered_records_are_refused_by_name(one, other):
    record, path = record_of(other, "full", 2)
    matrix = [row[:] for row in record.confusion["best_validation"]]
    matrix[0][0], matrix[0][1] = matrix[0][0] + 1, matrix[0][1] - 1
    rewrite(other, "full", 2, confusion=record.confusion | {"best_validation": matrix})
    refused(sides, one, other, says=f"full/{path.name}: its confusion matrix isn't that of its predictions")

    def relabelled(frame):  # a wrong prediction is made right, but not its probabilities
        row = frame.index[frame["predicted"] != frame["label"]][0]
        frame.at[row, "predicted"] = frame.at[row, "label"]

    rewrite(other, "full", 2, relabelled, confusion=record.confusion)
    refused(sides, one, other, says=f"full/{path.name}: a predicted class isn't the most probable one")
    path.write_text(path.read_text().replace('"temperature": 2.0', '"temperature": 2.5'))
    refused(sides, one, other, says=f"record {path} is not as it was written")


def test_a_table_that_its_records_do_not_give_is_refused(one, other):
    side = unpack.in_place(one, "")
    build.write_all(build.build_all(Evaluation(side.runs, side.data)), other.tables)
    assert sides(one, other).degree == BYTES
    path = other.tables / "table2.csv"
    found = pd.read_csv(path)
    row = found.index[found["experiment"] == "full"][0]
    found.loc[row, "accuracy_mean"] = 99.99
    found.to_csv(path, index=False)
    refused(sides, one, other, says=r"b has tables .* \(table2\.csv, full, accuracy: 99\.99 for ")
    found.loc[row, "n_seeds"] = 2  # of fewer seeds: older than its records, not changed by hand
    found.to_csv(path, index=False)
    assert sides(one, other).degree == BYTES


def test_a_bundle_with_contradicting_records_is_not_written(other, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "lacking", lambda number, found: [])
    record, path = record_of(other, "full", 2)
    rewrite(other, "full", 2, confusion=dict.fromkeys(record.confusion, [[1] * 4] * 4))
    says = f"{path.name}: its confusion matrix isn't that of its predictions"
    refused(bundle.write_reference, other, tmp_path / "x.zip", says=says)
    assert not (tmp_path / "x.zip").exists()


def test_other_kinds_of_run_are_not_compared(one, other):
    data = json.loads((other.runs / "data.json").read_text())
    write_json(other.runs / "data.json", data | {"split": "loso"})
    with pytest.raises(ValueError, match=r"other kinds of run \(split session5 and loso\)"):
        compare(*(unpack.read(str(place.results), place.output) for place in (one, other)))


def test_the_command(one, other, reference, tmp_path):
    """A place by name, a folder and a bundle; exit codes and the page."""
    page = tmp_path / "page.html"
    done = lpgnet(one.output, "compare", "simulated", str(reference), "--out", str(page))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("reproduced to the byte: 21 of 21 records, ")
    text = page.read_text(encoding="utf-8")
    assert "Simulated corpus: shows that the machinery works" in text and "to the byte: 21 of 21" in text
    assert not re.search(r'(?:src|href)="(?!data:|#|https://doi\.org)', text) and str(tmp_path) not in text
    worse(other, "linear", 0, 80)
    done = lpgnet(one.output, "compare", str(other.results), "simulated")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("not reproduced: ")
    assert (one.output / "results" / "compare" / "simulated--simulated.html").exists()
    done = lpgnet(one.output, "compare", "simulated", "nowhere")
    assert done.returncode == 2 and "error: no run 'nowhere'" in done.stderr and "simulated" in done.stderr


def test_names_in_records_are_escaped_on_the_page(one, other):
    rewrite(other, "full", 0, made={"seconds": 1.0, "device": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in comparing.page(sides(one, other))


def test_a_bundle_with_a_changed_table_is_refused(one, reference, tmp_path):
    name = next(n for n in zipfile.ZipFile(reference).namelist() if n.endswith(".parquet"))
    for spoilt, says in (
        (changed(reference, tmp_path / "a.zip", put={name: b"1"}), f"bad: {name}"),
        (changed(reference, tmp_path / "b.zip", put={"results/simulated/table2.csv": b"1"}), "extra: "),
        (changed(reference, tmp_path / "c.zip", drop=[name]), f"missing: {name}"),
    ):
        done = lpgnet(one.output, "compare", "simulated", str(spoilt))
        assert done.returncode == 2 and f"error: {spoilt} isn't as it was made ({says}" in done.stderr
        refused(unpack.rebuild_from, spoilt, tmp_path / "out", says="isn't as it was made")
    (tmp_path / "d.zip").write_bytes(b"PK")
    refused(unpack.unpack, tmp_path / "d.zip", tmp_path, says=r"d\.zip can't be read as a bundle")


def test_only_what_is_known_by_its_name_is_unpacked(reference, tmp_path):
    unpack.unpack(reference, tmp_path)
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds == {".json", ".parquet", ".npz", ".csv"}
    for name in (
        "/results/a/runs/data.json",
        "results/a/runs/../0-00000000.json",
        "results/a/f/0-1a2b3c4d.py",
    ):
        assert not unpack.READ.fullmatch(name)


def from_bundle(output, *arguments):
    """A command where there is neither torch nor anything else that encodes or trains."""
    block = WITHOUT_TORCH.replace('== "torch"', f"in {LACKING}")
    block += "\nfrom lpgnet.__main__ import main\nmain()"
    command = [sys.executable, "-c", block, *map(str, arguments)]
    return subprocess.run(command, env=environment(output), capture_output=True, text=True, cwd=ROOT)


def test_tables_from_a_bundle_without_torch_and_data(one, reference, tmp_path):
    done = from_bundle(tmp_path, "tables", "--from", reference)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "rebuilt" / "simulated"
    says = f"Rebuilt from the records of simulated.zip, sha256 {sha256(reference)}; not run here."
    assert (folder / "FROM.txt").read_text().strip() == says == done.stdout.splitlines()[-1]
    made = lpgnet(one.output, "tables")
    assert made.returncode == 0, made.stderr
    for path in sorted(one.tables.iterdir()):
        assert (folder / "paper_tables" / "simulated" / path.name).read_bytes() == path.read_bytes(), path.name
    for name in ("claims", "comparisons", "intervals", "selection_gap"):
        rebuilt = folder / "results" / "simulated" / f"{name}.csv"
        assert rebuilt.read_bytes() == (one.results / f"{name}.csv").read_bytes()
    figures = {path.name for path in (folder / "results" / "simulated" / "figures").iterdir()}
    assert figures == {path.name for path in one.figures.iterdir()}
    assert "slice transcript left out" in done.stdout
    assert from_bundle(tmp_path, "compare", "simulated", reference).returncode == 2  # no run here
    assert from_bundle(tmp_path, "compare", folder / "results" / "simulated", reference).returncode == 0


def test_a_figure_that_a_bundle_lacks_the_data_of_is_named(reference, tmp_path):
    bare = dataclasses.replace(unpack.unpack(reference, tmp_path / "in"), output=tmp_path / "in")
    shutil.rmtree(bare.checkpoints)
    lines = unpack.left_out(rebuild(bare))
    assert "figure attention left out, its data are not in the bundle" in lines
    assert len(lines) == 3  # the embedding, and sdt_6, which the made-up runs lack


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        ((), [], "it is []"),
        (("protocols",), None, "protocols is None"),
        (("protocols", "majority-4", "counts", "5"), 7, "protocols.majority-4.counts.5 is 7"),
        (("protocols", "majority-4", "folds", "session5"), [5], "folds.session5 is [5]"),
        (("features", "text", "recipe"), None, "recipe is None"),
        (("parties",), {}, "parties is {}"),
    ],
)
def test_a_data_json_of_another_form_is_one_line(one, tmp_path, at, value, words):
    shutil.copytree(one.runs, tmp_path / "runs")
    path = tmp_path / "runs" / "data.json"
    data = inside = json.loads(path.read_text())
    for name in at[:-1]:
        inside = inside[name]
    if at:
        inside[at[-1]] = value
    path.write_text(json.dumps(data if at else value))
    refused(unpack.in_folder, tmp_path, says=rf"data.json doesn't describe runs .*{re.escape(words)}")


def test_a_record_of_another_form_is_refused_although_its_hash_is_its_own(other):
    _, path = record_of(other, "full", 0)
    kept = path.read_text()
    for name, value in (("made", {"device": "cpu"}), ("epoch", {"last": "ten"}), ("confusion", {"last": 3})):
        values = json.loads(kept) | {name: value}
        values["sha256"] = json_sha256({**values, "sha256": "", "made": {}})
        write_json(path, values)
        refused(records.read, path, says=rf"0-\w+.json is damaged \({name}\.")


def test_a_folder_that_is_not_of_a_bundle_is_left_alone(reference, tmp_path):
    (tmp_path / "mine").mkdir()
    refused(unpack.rebuild_from, reference, tmp_path / "mine", says="isn't of a bundle")


def test_a_reference_is_equal_bytes_small_and_of_a_finished_run(one, reference, tmp_path, monkeypatch):
    says = r"no finished run \(table 2: .*run `python -m lpgnet reproduce` first"
    refused(bundle.write_reference, one, tmp_path / "x.zip", says=says)
    monkeypatch.setattr(bundle, "lacking", lambda number, found: [])
    again = bundle.write_reference(one, tmp_path / "x" / "simulated.zip").path
    assert again.read_bytes() == reference.read_bytes()
    done = subprocess.run([sys.executable, "-I", str(reference)], capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stdout


def test_the_verdict_against_the_reference(one, other, reference, monkeypatch):
    monkeypatch.setattr(comparing, "REFERENCE", reference.parent)
    assert comparing.against_reference(one).startswith(
        "Against the reference run: reproduced to the byte: 21 of 21 records, "
    )
    worse(other, "linear", 0, 80)
    assert comparing.against_reference(other).startswith("!! Against the reference run: not reproduced: ")
    shutil.rmtree(other.runs / "full")
    assert "; this run lacks 3 of the reference's records" in comparing.against_reference(other)
    (path,) = (other.runs / "sdt").glob("0-*.json")
    path.write_text("{")
    assert comparing.against_reference(other).startswith("Against the reference run: not compared: record ")
    monkeypatch.setattr(comparing, "REFERENCE", reference.parent / "none")
    assert comparing.against_reference(one) == ""


@pytest.mark.skipif(not REFERENCES, reason="no reference run is committed")
def test_the_committed_reference_is_small_whole_and_of_records_that_are_read(tmp_path):
    (reference,) = REFERENCES
    assert reference.stat().st_size <= LIMIT
    done = from_bundle(tmp_path, "tables", "--from", reference)
    assert done.returncode == 0, done.stderr
    assert "stale" not in done.stdout and "left out, its data" not in done.stdout
    frame = pd.read_csv(tmp_path / "results/rebuilt/simulated/paper_tables/simulated/table2.csv")
    assert frame.loc[frame["experiment"].eq("full"), "n_seeds"].item() == 10
