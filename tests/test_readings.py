"""Readings and contexts against their defaults, from made-up runs whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_claims import accuracies, guess, of, rows, run
from test_tables import DATA, fake_data

from lpgnet.beyond.readings import alternatives, figures, rotation
from lpgnet.beyond.readings.alternatives import COUNTED, NEVER
from lpgnet.experiments import READINGS
from lpgnet.runs.metrics import scores
from lpgnet.runs.plan import possible
from lpgnet.tables.figures import theme

WORSE = {"r1_full": 0.4, "dealt_full": 0.4}  # share of the right answers of `full` that are kept
SEEDS = range(5)


def predictions(frame: pd.DataFrame, name: str, seed: int) -> np.ndarray:
    """`full`, and the same but for the first turns of some dialogues, or worse all over."""
    base = guess(frame, "full", seed)
    if name in WORSE:
        rng = np.random.default_rng([seed, *name.encode()])
        lost = np.where(frame["label"] == "sad", "happy", "sad")
        return np.where(rng.random(len(frame)) < WORSE[name], base, lost)
    return base if name in ("full", "shuffled_full") else guess(frame, name, seed)


def record(folder, name: str, seed: int, frame: pd.DataFrame, students: bool = True) -> dict:
    made = run(folder, name, seed, frame, predictions(frame, name, seed))
    head = made["confusion"]["best_validation"]
    return made | {"students": {"text": head, "audio": head} if students else {}}


def world(folder, names, seeds=SEEDS, frame: pd.DataFrame | None = None) -> pd.DataFrame:
    frame = rows(dialogues=29) if frame is None else frame
    return pd.DataFrame([record(folder, name, seed, frame) for name in names for seed in seeds])


NAMES = ("full", "linear", "text_only", "r1_full", "r12_full", "shuffled_full", "dealt_full", "bigru")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return world(tmp_path_factory.mktemp("runs"), NAMES)


@pytest.fixture(scope="module")
def table(runs):
    return alternatives.readings(runs, DATA)


@pytest.fixture(scope="module")
def context(runs):
    return alternatives.contexts(runs, DATA)


def test_every_alternative_has_its_lines_in_order(table):
    """Two per alternative; R14 and R17 twice two, R15 and R26 one each; nothing that was not run vanishes."""
    assert len(table) == 2 * len(READINGS) + 8 + 2
    assert list(table) == alternatives.COLUMNS
    numbers = table["reading"].str.extract(r"(\d+)")[0].astype(int)
    assert numbers.is_monotonic_increasing and {14, 15, 17, 26} <= set(numbers)
    waiting = table[table["difference"].isna()]
    assert waiting["note"].str.startswith("not run").all() and waiting["verdict"].eq("").all()
    assert of(waiting, reading="R2", metric="accuracy")["note"] == "not run yet"
    erc = of(waiting, reading="R25", metric="accuracy")
    assert "the six classes are majority-6 here already" in erc["note"] and erc["labels"] == "majority-6"
    assert "frozen here already" in of(waiting, reading="R18a", metric="accuracy")["note"]
    assert "--finetune" in of(waiting, reading="R18b", metric="accuracy")["note"]


def test_an_alternative_by_scipy(runs, table):
    found = of(table, reading="R1", metric="accuracy")
    a, b = (accuracies(runs, name) for name in ("r1_full", "full"))
    want = stats.ttest_rel(a, b)
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b), abs=0.006)
    assert (found["seeds_low"], found["seeds_high"]) == pytest.approx(want.confidence_interval(), abs=0.006)
    assert (found["default_mean"], found["alternative_mean"]) == (round(np.mean(b), 2), round(np.mean(a), 2))
    assert (found["default"], found["experiment"], found["n_seeds"]) == ("full", "r1_full", 5)
    assert found["dialogues_low"] < found["difference"] < found["dialogues_high"]
    assert found["verdict"] == "matters: worse" and found["note"] == ""


def test_holm_is_over_the_tested_lines_of_a_metric(runs, table):
    """Accuracy is tested of R1, R12, R14's last epoch and R17's text head: four lines."""
    tested = table[(table["metric"] == "accuracy") & table["p_seeds_holm"].notna()]
    assert tested["reading"].tolist() == ["R1", "R12", "R14", "R17"]
    a, b = (accuracies(runs, name) for name in ("r1_full", "full"))
    assert tested["p_seeds_holm"].iloc[0] == pytest.approx(4 * stats.ttest_rel(a, b).pvalue, rel=1e-3)


def test_the_alternatives_of_the_same_run(runs):
    changed = runs.copy()
    changed["confusion"] = [
        c | {"best_test": (np.eye(4, dtype=int) * 9).tolist()} if e == "full" else c
        for e, c in zip(changed["experiment"], changed["confusion"], strict=True)
    ]
    table = alternatives.readings(changed, DATA)
    mine = [scores(c["best_validation"]) for c in runs[runs["experiment"] == "full"]["confusion"]]
    mean = {name: 100 * np.mean([s[name] for s in mine]) for name in mine[0]}
    best = of(table, alternative="the best test epoch", metric="accuracy")
    assert (best["alternative_mean"], best["verdict"]) == (100.0, NEVER)
    last = of(table, alternative="the last epoch", metric="accuracy")
    dialogues = of(table, reading="R1", metric="accuracy")["n_dialogues"]
    assert (last["difference"], last["n_dialogues"], last["note"]) == (0, dialogues, "")
    binary = of(table, reading="R15")
    assert binary["alternative_mean"] == pytest.approx(100 - (100 - mean["accuracy"]) / 2, abs=0.006)
    assert binary["verdict"] == COUNTED
    by_class = of(table, reading="R26")
    assert by_class["difference"] == pytest.approx(mean["macro_f1"] - mean["balanced_accuracy"], abs=0.006)
    head = of(table, alternative="the text student head of full", metric="accuracy")
    assert (head["default"], head["experiment"]) == ("text_only", "full")
    text = np.mean(accuracies(runs, "text_only"))
    assert head["difference"] == pytest.approx(mean["accuracy"] - text, abs=0.006)
    assert "seeds alone" in head["note"] and np.isnan(head["dialogues_low"])
    assert of(table, alternative="the audio student head of full", metric="accuracy")["note"] == "not run yet"


def test_labels_that_differ_are_paired_by_seeds_alone(tmp_path):
    """R25 under other labels is scored on other utterances; the note says so."""
    data = fake_data()
    data["protocols"]["erc-6"] = data["protocols"]["majority-6"]
    frame = rows()
    made = pd.DataFrame(
        [
            record(tmp_path, name, seed, part) | {"labels": labels}
            for name, labels, part in (
                ("full_6", "erc-6", frame),
                ("r25_full_6", "majority-6", frame.iloc[: len(frame) // 2]),
            )
            for seed in SEEDS
        ]
    )
    found = of(alternatives.readings(made, data), reading="R25", metric="accuracy")
    assert "other test sets (majority-6, erc-6): paired by seeds alone" in found["note"]
    assert found["n_seeds"] == 5 and pd.isna(found["n_dialogues"]) and found["labels"] == "majority-6"
    assert "beyond it (" not in found["verdict"]


def test_another_order_of_the_turns_is_paired_all_the_same(tmp_path, runs):
    """R27, shuffled and dealt runs write their predictions in another order."""
    frame = rows(dialogues=29).sample(frac=1, random_state=3)
    line = run(tmp_path, "shuffled_full", 0, frame, guess(rows(dialogues=29), "full", 0)[frame.index])
    kept = runs[(runs["seed"] == 0) & (runs["experiment"] == "full")]
    both = pd.concat([kept, pd.DataFrame([line | {"students": {}}])], ignore_index=True)
    found = of(alternatives.contexts(both, DATA), experiment="shuffled_full")
    assert (found["difference"], found["dialogues_low"], found["dialogues_high"]) == (0, 0, 0)


def test_contexts_say_what_each_model_loses(context):
    assert list(context) == alternatives.CONTEXT
    assert context["model"].value_counts().to_dict() == {"linear": 1, "full": 6, "bigru": 6, "sdt": 6}
    assert context["model"].iloc[0] == "linear" and context["accuracy_mean"].notna().sum() == 5
    shuffled, dealt = (of(context, experiment=name) for name in ("shuffled_full", "dealt_full"))
    assert shuffled["difference"] == 0 and shuffled["verdict"].startswith("no difference found at n = 5 seeds")
    assert dealt["verdict"] == "matters: worse"
    spoken = of(context, experiment="full")
    assert pd.isna(spoken["difference"]) and spoken["verdict"] == ""
    assert dealt["accuracy_mean"] == pytest.approx(spoken["accuracy_mean"] + dealt["difference"], abs=0.011)
    assert of(context, experiment="past_sdt")["note"] == "not run yet"


def test_a_default_with_more_seeds_is_shown_over_the_shared_ones(tmp_path):
    runs = pd.concat([world(tmp_path, ["full"], range(7)), world(tmp_path, ["dealt_full"], range(3))])
    context = alternatives.contexts(runs.reset_index(drop=True), DATA)
    assert of(context, experiment="full")["n_seeds"] == of(context, experiment="dealt_full")["n_seeds"] == 3


def test_only_common_seeds_of_a_student_head_are_paired(runs):
    fewer = runs[(runs["experiment"] != "text_only") | (runs["seed"] > 2)]
    head = of(alternatives.readings(fewer, DATA), alternative="the text student head of full", metric="accuracy")
    assert head["n_seeds"] == 2 and head["default_mean"] == round(np.mean(accuracies(fewer, "text_only")), 2)


FOUND = {"difference": 2.0, "n_seeds": 5, "n_dialogues": 7, "p_seeds": 0.01}
FOUND |= {"seeds_low": 0.9, "seeds_high": 3.1, "dialogues_low": 0.5, "dialogues_high": 3.5}
NEAR = {"difference": 0.1, "seeds_low": -0.8, "seeds_high": 0.9, "dialogues_low": -0.99, "dialogues_high": 0.99}


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({}, "matters: better"),
        ({"difference": -2.0}, "matters: worse"),
        ({"p_dialogues_holm": 0.2}, "better on this test set, undecided beyond it (7 dialogues)"),
        ({"n_dialogues": np.nan}, "better on this test set, not asked beyond it"),
        ({"p_seeds_holm": 0.2}, "a hint of better, not after correction, at n = 5 seeds, 7 dialogues"),
        ({"p_seeds_holm": 0.2, "p_seeds": 0.2}, "no difference found at n = 5 seeds, 7 dialogues"),
        (NEAR | {"p_seeds_holm": 0.2, "p_seeds": 0.2}, "equal within 1 point"),
        (
            {"p_seeds_holm": np.nan, "p_seeds": np.nan, "n_seeds": 1},
            "no difference found at n = 1 seeds, 7 dialogues",
        ),
        ({"difference": np.nan}, ""),
    ],
)
def test_verdicts(change, want):
    found = FOUND | {"p_seeds_holm": 0.03, "p_dialogues_holm": 0.03} | change
    if pd.isna(found["n_dialogues"]):
        found["p_dialogues_holm"] = np.nan
    assert alternatives.verdict(found) == want


def test_a_session_is_held_out_only_where_others_are_left():
    """R13a: the parts that a corpus ships are no sessions."""
    assert possible(DATA, ["r13a_full"])[0] == ["r13a_full"]
    refused = possible(DATA | {"split": "official"}, ["r13a_full", "r13b_full"])[1]
    assert refused == {"r13a_full": "simulated has no 4 sessions to train on"}


def test_the_spread_over_validation_parts_is_that_of_their_means(tmp_path):
    """Over the seeds that all parts have; what has not been run is no line."""
    parts = {"full": range(5), "tenth2_full": range(3), "session1_full": range(4), "sdt": range(2)}
    lines = [record(tmp_path, name, seed, rows(dialogues=9)) for name, seeds in parts.items() for seed in seeds]
    runs = pd.DataFrame(lines).assign(epoch=[{"best_validation": 7}] * len(lines))
    found = rotation.rotation(runs, DATA).set_index("validation")
    means = [np.mean(accuracies(runs, name)[:3]) for name in list(parts)[:3]]
    assert found["n_seeds"].dropna().tolist() == [3, 3, 3] and set(found["model"]) == {"full"}
    assert found["accuracy_mean"].iloc[:3].tolist() == pytest.approx(means, abs=0.006)
    assert found.at[rotation.DRAWS, "accuracy_std"] == pytest.approx(np.std(means[:2], ddof=1), abs=0.006)
    assert found.at[rotation.SESSIONS, "accuracy_std"] == pytest.approx(np.std(means, ddof=1), abs=0.006)
    assert rotation.rotation(runs.iloc[:5], DATA).empty and rotation.rotation(runs.iloc[:0], DATA).empty


def test_no_runs_at_all_leave_every_line(runs):
    empty = runs.iloc[:0]
    table, context = alternatives.readings(empty, DATA), alternatives.contexts(empty, DATA)
    assert table["difference"].isna().all() and table["note"].ne("").all()
    assert context["accuracy_mean"].isna().all() and context["note"].ne("").all()
    figures.differences(table), figures.turns(context)


def test_equal_bytes_in_any_order(tmp_path, runs, table, context):
    mixed = runs.sample(frac=1, random_state=2)
    again = {"readings": alternatives.readings(mixed, DATA), "context": alternatives.contexts(mixed, DATA)}
    first = alternatives.write({"readings": table, "context": context}, tmp_path / "a")
    second = alternatives.write(again, tmp_path / "b")
    assert [p.name for p in first] == ["readings.csv", "context.csv"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert not any("-0.0," in p.read_text() for p in first)


def test_figures_show_each_line_and_colour_by_verdict(tmp_path, table, context):
    paths = figures.save(table, context, tmp_path)
    assert [p.name for p in paths] == ["readings.png", "context.png"] and all(p.stat().st_size for p in paths)
    figure = figures.differences(table)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    shown = table[table["verdict"] != COUNTED].drop_duplicates(["reading", "alternative"])
    assert len(names) == len(shown) and names[0].startswith("R1 ")
    marks = [line for line in figure.axes[0].lines if line.get_label() == "matters: over seeds and dialogues"]
    matter = table[(table["metric"] == "accuracy") & table["verdict"].str.startswith("matters")]
    assert len(marks) == len(matter) and {mark.get_color() for mark in marks} == {theme.OTHER}
    assert marks[0].get_ydata()[0] == 0 and marks[0].get_xdata()[0] == matter["difference"].iloc[0]
    assert any("majority-6 here" in text.get_text() for text in figure.axes[0].texts)
