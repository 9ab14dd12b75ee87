"""The seven tables from made-up runs: what stands where, and what must never get in."""

import copy

import numpy as np
import pandas as pd
import pytest

from lpgnet import experiments
from lpgnet.config import ROOT
from lpgnet.labels import PROTOCOLS, held_groups
from lpgnet.runs.metrics import scores
from lpgnet.tables import build, typeset
from lpgnet.tables import scores as tabled
from lpgnet.tables.rows import SIMULATOR, TABLES
from lpgnet.tables.scores import HEADLINE, Evaluation, fold_scores, pooled

PAPER = build.reported()
RULES = ("best_validation", "last", "best_test")
EPOCHS = 5
WITHOUT_TORCH = """
import sys
class NoTorch:  # as on a machine that lacks it; None in sys.modules would stop scipy, which looks there
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTorch)
"""


def fake_data(split: str = "session5", place: str = "simulated") -> dict:
    """A data.json of round numbers: class number c of session s has 10 s + c utterances."""
    protocols = {}
    for name in ("majority-4", "majority-6"):
        classes = list(PROTOCOLS[name].classes)
        counts = {str(s): {c: 10 * s + i for i, c in enumerate(classes)} for s in range(1, 6)}
        folds = held_groups(split, [str(s) for s in range(1, 6)])
        protocols[name] = {"manifest": "0", "classes": classes, "counts": counts, "folds": folds}
    features = {
        "text": {"encoder": "letters", "frame_size": 3},
        "audio": {"encoder": "loudness", "frame_size": 2},
    }
    where = {"corpus": "simulated", "place": place, "profile": "quick", "split": split}
    where |= {"labels": "majority-4", "text": "frozen", "parties": ["F", "M"]}
    return where | {"protocols": protocols, "features": features}


def fake_run(experiment: str, seed: int, fold: str = "session5") -> dict:
    """One record with random counts, the same each time."""
    labels = "majority-6" if experiments.TABLED[experiment].data.labels else "majority-4"
    classes = PROTOCOLS[labels].classes
    rng = np.random.default_rng([seed, *experiment.encode(), *fold.encode()])
    confusion = {r: (rng.integers(1, 9, (len(classes),) * 2) + 23 * np.eye(len(classes), dtype=int)) for r in RULES}
    curves = {name: rng.random(EPOCHS).tolist() for name in ("loss", "validation_f1", "test_f1")}
    return {
        "experiment": experiment,
        "seed": seed,
        "fold": fold,
        "labels": labels,
        "classes": classes,
        "confusion": {rule: counts.tolist() for rule, counts in confusion.items()},
        "curves": curves,
        "epoch": {"best_validation": 3 + seed % 2, "last": EPOCHS, "best_test": 1},
        "seconds": 7.0,
        "temperature": 1.5,
        "validation": {name: [0.2, 0.4, 0.6, 0.8] for name in classes},
        "parameters": 7,
        "config": {"model": {"hidden": 11}, "train": {"epochs": EPOCHS}, "data": {"text": "frozen"}},
    }


def fake_runs(seeds: int = 3, folds: tuple[str, ...] = ("session5",), names=tuple(experiments.TABLED)) -> pd.DataFrame:
    """Every experiment, seed and fold."""
    return pd.DataFrame([fake_run(n, s, f) for n in names for s in range(seeds) for f in folds])


RUNS, DATA = fake_runs(), fake_data()
EMPTY = RUNS.iloc[:0]


def built(number: int, runs: pd.DataFrame, data: dict, paper: dict) -> pd.DataFrame:
    return build.build(number, Evaluation(runs, data), paper)


def line(frame: pd.DataFrame, experiment: str) -> pd.Series:
    """The one row of an experiment."""
    (found,) = (row for _, row in frame[frame["experiment"] == experiment].iterrows())
    return found


def test_every_row_of_ours_is_an_experiment_that_exists():
    named = {row.experiment for table in TABLES.values() for row in table.rows if row.experiment}
    assert named == set(experiments.TABLED)


def test_a_row_is_fed_by_the_experiment_it_names():
    """By hand, from the paper's tables; Table 6 by the weights in each experiment's config."""
    fed = {row.key: row.experiment for n in (2, 3, 4, 5, 7) for row in TABLES[n].rows if row.experiment}
    want = {
        "linear": ("Linear",),
        "frame": ("LPGNet (Frame)",),
        "text_only": ("Text",),
        "audio_only": ("Audio",),
        "no_inter": ("w/o inter attention",),
        "no_intra": ("w/o intra attention",),
        "no_ffn": ("w/o position-wise FFN",),
        "no_gates": ("w/o dual-gated fusion",),
        "sdt": ("SDT*", 4),
        "sdt_6": ("SDT*", 6),
        "full_6": ("LPGNet", 6),
    }
    assert {name: fed[key] for name, key in want.items()} == {name: name for name in want}
    assert fed["LPGNet",] == fed["LPGNet (Utterance)",] == fed["LPGNet", 4] == "full"
    assert (fed["emotion2vec", "LPGNet"], fed["BERT", "LPGNet"]) == ("audio_only", "text_only")
    for row in TABLES[6].rows:
        loss = experiments.TABLED[row.experiment].loss
        assert row.key == (loss.task, loss.ce, loss.kl)


@pytest.mark.parametrize("number", range(2, 8))
def test_every_printed_row_and_number_is_there_in_order(number):
    frame, paper = built(number, RUNS, DATA, PAPER), PAPER[number]
    for column in paper:
        metric = column.removesuffix("_std")
        name = next(n for n in (f"{column}_reported", f"{metric}_reported_std", column) if n in frame)
        found = frame[name].iloc[: len(paper)]
        assert found.astype(str).tolist() == paper[column].astype(str).tolist() or np.allclose(
            found.astype(float), paper[column], equal_nan=True
        )
    beyond = frame.iloc[len(paper) :]
    assert beyond[[c for c in frame if c.endswith("_reported")]].isna().all(axis=None)


def test_table_1_counts_and_finds_what_does_not_add_up():
    frame = built(1, EMPTY, DATA, PAPER).set_index("part")
    for part, printed in PAPER[1].set_index("split").iterrows():
        assert {n: frame.at[part, f"{n}_reported"] for n in printed.index} == printed.to_dict()
    assert frame["happy_ours"].tolist() == [10 + 20 + 30 + 40, 50, 150]
    assert frame["angry_ours"].tolist() == [13 + 23 + 33 + 43, 53, 165]
    assert frame.at["test", "total_ours"] == 50 + 51 + 52 + 53
    assert frame.at["test", "happy_delta"] == 50 - 442
    assert frame.at["train_val", "sum_of_printed"] == 1262 + 828 + 1319 + 872
    assert "4281, printed total is 4290" in frame.at["train_val", "note"]
    assert frame.at["test", "note"] == ""
    wrong = {1: PAPER[1].replace(1073, 1074)}
    assert "sad column adds up to 1073, printed total is 1074" in built(1, EMPTY, DATA, wrong)["note"].iloc[2]


def test_table_1_with_other_classes_keeps_both_and_subtracts_nothing():
    frame = built(1, EMPTY, DATA | {"labels": "majority-6"}, PAPER)
    assert frame["excited_ours"].notna().all()
    assert frame[[c for c in frame if c.endswith(("_delta", "excited_reported"))]].isna().all(axis=None)


def test_numbers_by_hand():
    mine = RUNS[RUNS["experiment"] == "full"]
    found = [scores(c["best_validation"]) for c in mine["confusion"]]
    accuracy, f1 = ([100 * s[name] for s in found] for name in ("accuracy", "weighted_f1"))
    row = line(built(2, RUNS, DATA, PAPER), "full")
    assert row["accuracy_mean"] == round(np.mean(accuracy), 2)
    assert row["accuracy_std"] == round(np.std(accuracy, ddof=1), 2)
    assert row["f1_mean"] == round(np.mean(f1), 2)
    assert row["f1_delta"] == round(row["f1_mean"] - 87.96, 2)
    assert row["macro_f1_mean"] == round(100 * np.mean([s["macro_f1"] for s in found]), 2)
    half = 4.302652729911275 * np.std(accuracy, ddof=1) / np.sqrt(3)
    assert (row["accuracy_ci_high"] - row["accuracy_ci_low"]) / 2 == pytest.approx(half, abs=0.01)
    assert (row["n_seeds"], row["hidden"], row["epochs"], row["parameters"]) == (3, 11, EPOCHS, 7)
    assert (row["source"], row["encoder_text"]) == ("run", "letters")


def test_tables_share_a_run():
    means = [line(built(n, RUNS, DATA, PAPER), "full")["accuracy_mean"] for n in (2, 3, 6)]
    assert len({*means, line(built(7, RUNS, DATA, PAPER), "full")["overall_mean"]}) == 1


def test_class_columns_are_recall_and_by_the_other_reading_f1(monkeypatch):
    """Reading R26."""
    counts = np.sum([c["best_validation"] for c in RUNS[RUNS["experiment"] == "sdt"]["confusion"]], axis=0)
    one = pd.DataFrame([fake_run("sdt", 0) | {"confusion": {"best_validation": counts.tolist()}}])
    recall = line(built(7, one, DATA, PAPER), "sdt")["sad_mean"]
    monkeypatch.setattr(tabled, "CLASS_METRIC", "f1")
    f1 = line(built(7, one, DATA, PAPER), "sdt")["sad_mean"]
    assert recall == round(100 * counts[1, 1] / counts[1].sum(), 2)
    assert f1 == round(100 * 2 * counts[1, 1] / (counts[1].sum() + counts[:, 1].sum()), 2)


def test_table_7_keeps_four_and_six_classes_apart():
    frame = built(7, RUNS, DATA, PAPER)
    four, six = line(frame, "full"), line(frame, "full_6")
    assert (four["labels"], six["labels"]) == ("majority-4", "majority-6")
    assert np.isnan(four["excited_mean"])
    assert six["excited_delta"] == round(six["excited_mean"] - 77.83, 2)


def test_no_delta_against_another_number_of_classes():
    six = pd.DataFrame([fake_run("full_6", s) | {"experiment": "full"} for s in range(2)])
    row = line(built(2, six, DATA | {"labels": "majority-6"}, PAPER), "full")
    assert row["accuracy_mean"] > 0
    assert np.isnan(row["accuracy_delta"])


def test_only_the_validation_rule_feeds_tables():
    """What must never happen: a number chosen on the test set in a headline."""
    changed = copy.deepcopy(RUNS)
    for confusion in changed["confusion"]:
        for rule in set(RULES) - {HEADLINE}:
            confusion[rule] = np.eye(len(confusion[rule]), dtype=int).tolist()
    for number in range(1, 8):
        before, after = (built(number, runs, DATA, PAPER) for runs in (RUNS, changed))
        pd.testing.assert_frame_equal(before, after)
    assert HEADLINE == "best_validation"
    with pytest.raises(ValueError, match="no 'best_validation' confusion"):
        pooled(pd.DataFrame([fake_run("full", 0) | {"confusion": {"last": [[1]]}}]), DATA)


def test_the_order_of_records_changes_nothing():
    runs = fake_runs(3, tuple(f"session{s}" for s in range(1, 6)), ("full", "sdt"))
    data, shuffled = fake_data("loso"), runs.sample(frac=1, random_state=1)
    first, second = (built(7, frame, data, PAPER) for frame in (runs, shuffled))
    pd.testing.assert_frame_equal(first, second)
    assert line(first, "sdt")["n_seeds"] == 3


def test_folds_are_summed_and_a_seed_without_one_is_left_out_by_name():
    folds, data = tuple(f"session{s}" for s in range(1, 6)), fake_data("loso")
    runs = fake_runs(3, folds, ("full",))
    gone = (runs["seed"] == 1) & (runs["fold"] == "session4")
    frame = built(3, runs[~gone], data, PAPER)
    row = line(frame, "full")
    whole = [runs[runs["seed"] == s]["confusion"] for s in (0, 2)]
    sums = [np.sum([c["best_validation"] for c in part], axis=0) for part in whole]
    assert row["accuracy_mean"] == round(100 * np.mean([scores(s)["accuracy"] for s in sums]), 2)
    assert row["n_seeds"] == 2
    assert row["note"] == "seed 1 left out: lacks session4"
    assert "full seed 1: lacks session4" in build.lacking(3, Evaluation(runs[~gone], data))


def test_a_fold_that_no_run_has_is_missed_too():
    runs = fake_runs(1, ("session1", "session2"), ("full",))
    assert line(built(3, runs, fake_data("loso"), PAPER), "full")["n_seeds"] == 0


def test_one_seed_has_a_mean_and_no_spread():
    row = line(built(6, fake_runs(1), DATA, PAPER), "full")
    assert row["n_seeds"] == 1
    assert row["accuracy_mean"] > 0
    assert row[["accuracy_std", "accuracy_ci_low", "accuracy_ci_high"]].isna().all()


@pytest.mark.parametrize("runs", [EMPTY, pd.DataFrame()])
def test_rows_without_runs_stay_and_are_named(runs):
    for number in range(2, 8):
        frame = built(number, runs, DATA, PAPER)
        ours = frame[frame["source"] == "run"]
        assert ours["n_seeds"].eq(0).all()
        assert frame[[c for c in frame if c.endswith(("_mean", "_delta"))]].isna().all(axis=None)
        assert list(frame) == list(built(number, RUNS, DATA, PAPER))
    assert build.lacking(4, Evaluation(runs, DATA)) == [f"{n}: no finished run" for n in ("audio_only", "linear_audio")]
    assert build.lacking(4, Evaluation(RUNS, DATA)) == build.lacking(1, Evaluation(runs, DATA)) == []


def test_the_best_reachable_row_stands_where_the_corpus_knows_it():
    data = fake_data()
    best = (4 * np.eye(4, dtype=int) + 1).tolist()  # 5 of 8 right
    data["protocols"]["majority-4"]["oracle"] = {"5": best, "1": [[1] * 4] * 4}  # session 1 is not tested
    frame = built(2, RUNS, data, PAPER)
    last = frame.iloc[-1]
    assert (last["model"], last["source"], last["accuracy_mean"]) == (SIMULATOR, "simulator", 62.5)
    assert pd.isna(last["n_seeds"])
    assert "simulator" not in set(built(2, RUNS, DATA, PAPER)["source"])
    assert built(2, EMPTY, data, PAPER).iloc[-1]["accuracy_mean"] == last["accuracy_mean"]


def test_two_records_of_one_run_stop_it():
    with pytest.raises(ValueError, match="two runs of full, seed 0, session5"):
        built(2, pd.concat([RUNS, RUNS[RUNS["experiment"] == "full"]]), DATA, PAPER)


def test_a_changed_transcription_stops_it():
    with pytest.raises(LookupError, match=r"table3\.csv has rows"):
        built(3, RUNS, DATA, {3: PAPER[3].iloc[::-1]})
    with pytest.raises(FileNotFoundError, match=r"lacks table1\.csv"):
        build.reported(ROOT / "tests")


def test_writes_three_forms_of_each_table_the_same_bytes_each_time(tmp_path):
    first, second = (build.write_all(build.build_all(Evaluation(RUNS, DATA)), tmp_path / name) for name in "ab")
    assert [p.name for p in first] == [f"table{n}.{s}" for n in range(1, 8) for s in ("csv", "md", "tex")]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in first)
    for path in first:
        text = path.read_text()
        if path.suffix == ".csv":
            frame = pd.read_csv(path)
            assert list(frame)[:4] == ["corpus", "profile", "split", "labels"]
            assert frame["corpus"].eq("simulated").all()
        else:
            assert typeset.SIMULATED in text
            assert "split session5" in text


def test_latex_is_escaped_and_cells_read_well():
    frame = built(6, RUNS, DATA, PAPER)
    text = typeset.latex(frame, 6)
    assert not {"±", "λ"} & set(text)
    assert r"95 \% t" in text
    assert r"\lambda" in text
    one = {"f1_mean": 1.0, "f1_std": 0.5, "f1_ci_low": 0.25, "f1_ci_high": 1.75, "f1_reported": 2.5}
    assert typeset.cell(one, "f1") == "1.00 ± 0.50 [0.25, 1.75] (paper: 2.50)"
    assert typeset.cell(one | {"f1_mean": np.nan, "f1_std": np.nan}, "f1") == "(paper: 2.50)"
    assert typeset.cell(one | {"f1_reported": np.nan, "f1_std": np.nan}, "f1") == "1.00"
    assert typeset.escaped("a_b & 5 % {x} \\") == r"a\_b \& 5 \% \{x\} \textbackslash{}"


def test_only_a_simulated_corpus_is_called_one():
    own = fake_data(place="iemocap")
    assert "Simulated" not in typeset.markdown(built(3, EMPTY, own, PAPER), 3)
    assert "Not run yet: audio_only, full" in typeset.markdown(built(3, EMPTY, own, PAPER), 3)


def test_folds_by_hand():
    """Two folds of two seeds: accuracies 1, 0.5 and 0.5, 0; all four have mean 50 and deviation 40.82."""
    right, half, wrong = [[2, 0], [0, 2]], [[1, 1], [1, 1]], [[0, 2], [2, 0]]
    cells = [("session1", 0, right), ("session1", 1, half), ("session2", 0, half), ("session2", 1, wrong)]
    runs = pd.DataFrame(
        {
            "experiment": "full",
            "labels": "majority-4",
            "fold": f,
            "seed": s,
            "confusion": {"best_validation": m},
        }
        for f, s, m in cells
    )
    got = fold_scores(runs, fake_data("loso")).set_index("fold")
    assert got["accuracy_mean"].tolist() == [75.0, 25.0, 50.0]
    assert got.loc[["session1", "all folds and seeds"], "accuracy_std"].tolist() == [35.36, 40.82]
    assert got["n_runs"].tolist() == [2, 2, 4]
