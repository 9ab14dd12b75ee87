"""Claims, the selection gap and slices, from made-up runs whose answer is known."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_tables import DATA, EMPTY, PAPER, RUNS, built, fake_data, fake_run, line

from lpgnet.corpora.table import plain
from lpgnet.experiments import TABLED
from lpgnet.labels import PROTOCOLS
from lpgnet.runs.metrics import confusion, scores
from lpgnet.tables import claims, comparisons, raters, selection, slices
from lpgnet.tables.rows import TABLES
from lpgnet.tables.scores import Evaluation, Predictions
from lpgnet.tables.typeset import SIMULATED

FOUR = PROTOCOLS["majority-4"].classes
RIGHT = {"full": 0.9, "linear": 0.6, "frame": 0.9, "no_gates": 0.99}  # chance of a right prediction
ALL_FOLDS = tuple(f"session{s}" for s in range(1, 6))


def rows(fold: str = "session5", dialogues: int = 13) -> pd.DataFrame:
    """5 to 10 utterances a dialogue; every second dialogue is scripted."""
    rng = np.random.default_rng([int(fold[-1])])
    length = rng.integers(5, 11, dialogues)
    number = np.repeat(np.arange(dialogues), length)
    order = np.concatenate([np.arange(n) for n in length])
    frame = pd.DataFrame({"dialogue": [f"{fold}d{n:02d}" for n in number], "order": order})
    frame["id"] = frame["dialogue"] + [f"_{o}" for o in order]
    frame["speaker"] = rng.choice(["F", "M"], len(frame))
    frame["scripted"] = number % 2 == 0
    frame["start"] = 10.0 * order
    frame["end"] = frame["start"] + rng.random(len(frame))
    return frame.assign(label=rng.choice(FOUR, len(frame)))


def run(
    folder, experiment: str, seed: int, frame: pd.DataFrame, predicted, fold: str = "session5", last=None, crf=None
) -> dict:
    """A record and its parquet file.  last, crf: what it predicts at the last epoch, and by the CRF."""
    path = folder / experiment / f"{seed}-{fold}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    sure = {f"p_{name}": np.asarray(predicted) == name for name in FOUR}
    frame = frame.assign(predicted=predicted, predicted_last=predicted if last is None else last, **sure)
    if crf is not None:
        frame["predicted_crf"] = crf
    frame.to_parquet(path.with_suffix(".parquet"), index=False)
    gold, called = (pd.Index(FOUR).get_indexer(x) for x in (frame["label"], predicted))
    counts = confusion(gold, called, len(FOUR)).tolist()
    made = fake_run("full", seed, fold) | {"experiment": experiment, "path": str(path)}
    return made | {"confusion": dict.fromkeys(selection.RULES, counts)}


def guess(frame: pd.DataFrame, experiment: str, seed: int) -> np.ndarray:
    """Labels that are right with the chance of `RIGHT`."""
    rng = np.random.default_rng([seed, *experiment.encode()])
    gold = pd.Index(FOUR).get_indexer(frame["label"])
    wrong = (gold + rng.integers(1, len(FOUR), len(frame))) % len(FOUR)
    return np.array(FOUR)[np.where(rng.random(len(frame)) < RIGHT.get(experiment, 0.8), gold, wrong)]


def world(folder, names=tuple(RIGHT), seeds=range(5), folds=("session5",)) -> pd.DataFrame:
    return pd.DataFrame(
        run(folder, name, seed, rows(fold), guess(rows(fold), name, seed), fold)
        for name, seed, fold in itertools.product(names, seeds, folds)
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return world(tmp_path_factory.mktemp("runs"))


def made(name: str, runs: pd.DataFrame, data: dict) -> pd.DataFrame:
    """intervals, comparisons or claims."""
    return claims.stated(Evaluation(runs, data).predictions, data)[name]


def of(frame: pd.DataFrame, **want) -> pd.Series:
    """The one line with these values."""
    for name, value in want.items():
        frame = frame[frame[name] == value]
    (found,) = (row for _, row in frame.iterrows())
    return found


def accuracies(runs: pd.DataFrame, name: str) -> list[float]:
    mine = runs[runs["experiment"] == name].sort_values("seed")
    return [100 * scores(c["best_validation"])["accuracy"] for c in mine["confusion"]]


# Claims and comparisons.


def test_intervals_agree_with_the_tables(runs):
    found = made("intervals", runs, DATA)
    table = line(built(2, runs, DATA, PAPER), "full")
    mine = of(found, experiment="full", metric="accuracy")
    assert (mine["mean"], mine["std"]) == (table["accuracy_mean"], table["accuracy_std"])
    assert (mine["seeds_low"], mine["seeds_high"]) == (table["accuracy_ci_low"], table["accuracy_ci_high"])
    assert (mine["n_seeds"], mine["n_dialogues"]) == (5, 13)
    assert mine["dialogues_low"] < mine["mean"] < mine["dialogues_high"]
    assert list(found)[:4] == ["corpus", "profile", "split", "labels"]
    assert of(found, experiment="full", metric="weighted_f1")["mean"] == table["f1_mean"]


def test_a_pair_by_scipy(runs):
    found = of(made("comparisons", runs, DATA), a="full", b="linear", metric="accuracy")
    a, b = (accuracies(runs, name) for name in ("full", "linear"))
    want = stats.ttest_rel(a, b)
    interval = want.confidence_interval()
    assert found["p_seeds"] == pytest.approx(want.pvalue, rel=1e-3)
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b), abs=0.006)
    assert (found["seeds_low"], found["seeds_high"]) == pytest.approx(interval, abs=0.006)
    assert found["effect"] == pytest.approx(want.statistic / np.sqrt(5), abs=0.006)
    assert (found["mean_a"], found["mean_b"]) == (round(np.mean(a), 2), round(np.mean(b), 2))


def test_holm_is_over_a_table_and_a_metric(runs):
    """Table 2 has here full-linear, full-frame and frame-linear; Table 3 full-no_gates alone."""
    found = made("comparisons", runs, DATA)
    assert found.groupby(["table", "metric"]).size().to_dict() == {
        (2, "accuracy"): 3,
        (2, "weighted_f1"): 3,
        (3, "accuracy"): 1,
        (3, "weighted_f1"): 1,
    }
    for kind in ("p_seeds", "p_dialogues"):
        mine = found[(found["table"] == 2) & (found["metric"] == "accuracy")]
        least = mine.loc[mine[kind].idxmin()]
        assert least[f"{kind}_holm"] == pytest.approx(3 * least[kind], rel=1e-3)
        one = of(found, table=3, metric="accuracy")
        assert one[f"{kind}_holm"] == one[kind]


def test_only_common_seeds_are_paired(tmp_path, runs):
    """full has seeds 0 to 4, linear 3 to 6: two pairs, whose means stand beside the difference."""
    both = pd.concat([runs[runs["experiment"] == "full"], world(tmp_path, ["linear"], range(3, 7))], ignore_index=True)
    found = of(made("comparisons", both, DATA), a="full", b="linear", metric="accuracy")
    a, b = accuracies(both, "full")[3:], accuracies(both, "linear")[:2]
    assert (found["n_seeds"], found["mean_a"]) == (2, round(np.mean(a), 2))
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b), abs=0.006)
    apart = both[~both["seed"].isin([3, 4])]
    assert made("comparisons", apart, DATA).empty and made("claims", apart, DATA).empty
    assert len(made("intervals", apart, DATA)) == 4


def test_dialogues_are_drawn_for_both_models_at_once(tmp_path):
    """Where b errs just where a does and in each dialogue's first turn too, no draw puts b level."""
    frame = rows()
    bad = frame["dialogue"].str.endswith(("0", "3", "6")) & (frame["order"] > 0)
    a = np.where(bad, "sad", frame["label"])
    b = np.where(frame["order"] > 0, a, np.where(frame["label"] == "angry", "sad", "angry"))
    same = [run(tmp_path, name, 0, frame, x) for name, x in (("full", a), ("linear", b))]
    found = of(made("comparisons", pd.DataFrame(same), DATA), metric="accuracy")
    assert found["dialogues_low"] > 0
    assert np.isnan([found["p_seeds"], found["seeds_low"]]).all()
    assert found["p_dialogues"] < 0.05


def test_verdicts_on_a_world_with_known_truth(runs):
    """full is better than linear, no_gates is better than full, and frame is as good as full."""
    found = made("claims", runs, DATA).set_index("worse")
    better = found[found["better"] == "full"]["verdict"].to_dict()
    assert better["linear"] == "supported"
    assert better["no_gates"] == "not supported"
    assert re.fullmatch(r"undecided: could have shown \d+\.\d points at least", better["frame"])
    assert found["note"].eq(SIMULATED).all()
    compared = made("comparisons", runs, DATA)
    compared.loc[compared["metric"] == "weighted_f1", "p_seeds_holm"] = 1.0
    mixed = claims._claims(compared, compared, DATA).set_index("worse").loc["no_gates"]  # a claim about F1
    assert mixed["metric"] == "weighted_f1" and mixed["verdict_other_metric"] == "not supported"
    assert mixed["verdict"] == mixed["verdict_last"] and mixed["verdict"].startswith("undecided: could have shown ")
    own = made("claims", runs, fake_data(place="iemocap"))
    assert own["note"].eq("").all()


def test_a_claim_is_asked_again_at_the_last_epoch(tmp_path):
    """full beats linear at the chosen epoch; at the last one they have changed places."""
    frame, lines = rows(), []
    for seed in range(5):
        good, bad = guess(frame, "full", seed), guess(frame, "linear", seed)
        lines += [
            run(tmp_path, "full", seed, frame, good, last=bad),
            run(tmp_path, "linear", seed, frame, bad, last=good),
        ]
    found = of(made("claims", pd.DataFrame(lines), DATA), worse="linear")
    assert (found["verdict"], found["verdict_last"]) == ("supported", "not supported")
    assert found["difference_last"] == -found["difference"]


def test_a_decoder_is_compared_with_its_model_and_with_lpgnet(tmp_path):
    frame, lines = rows(), []
    for seed in range(5):
        good, bad = guess(frame, "full", seed), guess(frame, "linear", seed)
        lines += [run(tmp_path, "full", seed, frame, bad, crf=bad), run(tmp_path, "linear", seed, frame, bad, crf=good)]
    runs = pd.DataFrame([*lines, run(tmp_path, "frame", 0, frame, bad)])
    found = comparisons.decoder(Evaluation(runs, DATA))
    found = found[found["metric"] == "accuracy"].set_index(["a", "b"])["difference"]
    assert found["linear_crf", "linear"] > 20
    assert found["full_crf", "full"] == 0
    assert found["full", "linear_crf"] == -found["linear_crf", "linear"] + np.round(
        np.mean(accuracies(runs, "full")) - np.mean(accuracies(runs, "linear")), 2
    )
    assert len(found) == 3


VOTES = [  # label, votes, and what they are
    ("happy", {"C-E1": ["Happiness"], "C-E2": ["Excited"], "C-E4": ["Happiness"], "C-F1": ["Anger"]}),  # all agree
    ("sad", {"C-E1": ["Sadness"], "C-E2": ["Sadness", "Anger"], "C-E4": ["Sadness"]}),  # one names another too
    ("angry", {"C-E1": ["Anger"], "C-E2": ["Anger"], "C-E4": ["Frustration"]}),  # one outside the four classes
    ("neutral", {}),
]


def test_raters_by_hand(tmp_path):
    """Of the 9 raters with others: happy 3 of 3; sad 3 of 3 (its second rater names it too); angry: the first two have
    others that are split (Anger, Frustration), the third has two for Anger and is wrong."""
    frame = rows(dialogues=1).iloc[:4].assign(label=[label for label, _ in VOTES])
    table = pd.DataFrame({"id": frame["id"], "votes": [json.dumps(votes) for _, votes in VOTES]})
    called = ["happy", "sad", "happy", "neutral"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raters, "utterances", lambda folder: table)
        (tmp_path / "utterances.csv").touch()
        found = raters.raters(Evaluation(pd.DataFrame([run(tmp_path, "full", 0, frame, called)]), DATA), tmp_path)
    found = found.set_index(["who", "value"])
    human, mine = found.loc[raters.HUMAN], found.loc["full"]
    assert (
        human["n_utterances"].to_dict() == mine["n_utterances"].to_dict() == {"all": 3, "all agree": 1, "majority": 2}
    )
    assert human.at["all agree", "accuracy_mean"] == 100
    assert human.at["all", "accuracy_mean"] == round(100 * 6 / 7, 2)
    assert mine["accuracy_mean"].to_dict() == {"all": 66.67, "all agree": 100, "majority": 50}
    assert mine.at["all agree", "divergence_mean"] == 0
    # sad: (3/4 sad, 1/4 angry) beside (1, 0); angry called happy: nothing in common
    middle = (1 + 3 / 4) / 2
    sad = (np.log2(1 / middle) + 0.75 * np.log2(0.75 / middle) + 0.25 * np.log2(2)) / 2
    assert mine.at["majority", "divergence_mean"] == round((sad + 1) / 2, 4)


def test_without_votes_or_store_there_are_no_raters(runs, tmp_path):
    assert raters.raters(Evaluation(runs, DATA), None).empty
    assert raters.raters(Evaluation(runs, DATA), tmp_path).empty


FOUND = {"difference": 2.0, "p_seeds_holm": 0.01, "p_dialogues_holm": 0.01}
FOUND |= {"seeds_low": 0.5, "seeds_high": 3.5, "dialogues_low": 0.5, "dialogues_high": 4.7}
EQUAL = {"difference": 0.3, "seeds_low": -0.2, "seeds_high": 0.8, "dialogues_low": -0.99, "dialogues_high": 0.99}


@pytest.mark.parametrize(
    ("change", "margin", "want"),
    [
        ({}, 0, "supported"),
        ({"p_seeds_holm": 0.06}, 0, "undecided: could have shown 2.1 points at least"),
        ({"p_dialogues_holm": 0.06}, 0, "supported on this test set only"),
        ({"p_seeds_holm": np.nan}, 0, "undecided: could have shown 2.1 points at least"),
        ({"p_dialogues_holm": np.nan}, 0, "supported on this test set only"),
        ({"difference": -2.0}, 0, "not supported"),
        ({"difference": -2.0, "p_seeds_holm": 0.06}, 0, "undecided: could have shown 2.1 points at least"),
        ({"difference": -2.0, "p_dialogues_holm": 0.06}, 0, "not supported on this test set only"),
        (EQUAL | {"p_dialogues_holm": 0.06}, 0, "equal within 1 point"),
        (EQUAL, 0, "supported"),  # a small difference, and there
        (EQUAL | {"p_dialogues_holm": 0.06, "seeds_high": 1.0}, 0, "supported on this test set only"),
        ({"difference": -0.1, "seeds_low": -0.9, "dialogues_low": -0.9}, 1, "supported"),
        ({"seeds_low": -1.1, "dialogues_low": -0.9}, 1, "undecided: could have shown 2.8 points at least"),
        ({"seeds_low": -0.9, "dialogues_low": -1.1}, 1, "undecided: could have shown 2.9 points at least"),
        ({"seeds_low": np.nan}, 1, "undecided: one seed or dialogue has no interval"),
        ({"difference": -2.0, "seeds_low": -3.0}, 1, "not supported"),
    ],
)
def test_a_verdict_needs_both_tests(change, margin, want):
    found = claims.verdict(FOUND | change, margin)
    assert found == want
    assert claims.stand(found) in claims.STANDS


def test_every_claim_has_its_pair_and_every_pair_its_experiments():
    for claim in claims.CLAIMS:
        assert (claim.better, claim.worse) in comparisons.PAIRS[claim.table], claim
    for number, pairs in comparisons.PAIRS.items():
        ours = {row.experiment for row in TABLES[number].rows}
        assert len(set(pairs)) == len(pairs)
        assert {name for pair in pairs for name in pair} <= ours & set(TABLED)


def test_printed_differences_by_hand():
    found = {
        (c.table, c.better, c.worse): claims._printed(c, PAPER, 6 if c.better == "full_6" else 4) for c in claims.CLAIMS
    }
    want = {
        (2, "full", "linear"): 6.31,  # as the text says
        (2, "full", "frame"): 4.12,
        (3, "full", "no_inter"): 1.77,
        (3, "full", "no_intra"): 0.96,
        (3, "full", "no_ffn"): 1.21,
        (3, "full", "no_gates"): 1.37,
        (4, "audio_only", "linear_audio"): 9.85,
        (6, "full", "lambda_1p5_1_0"): 0.40,
        (7, "full", "sdt"): 1.21,
        (7, "full_6", "sdt_6"): 4.31,
    }
    assert {key: found[key] for key in want} == want
    unprinted = {key for key, value in found.items() if np.isnan(value)}
    assert unprinted == {
        (5, "text_only", "linear_text"),
        (6, "lambda_1_1_1", "lambda_1_0_0"),
        (6, "full", "lambda_1p5_0_0"),
        (7, "full", "full_speaker"),
        (7, "sdt", "sdt_no_speaker"),
        (7, "full", "sdt_no_speaker"),
    }


def test_no_printed_difference_over_another_number_of_classes():
    found = {c.better: claims._printed(c, PAPER, 6) for c in claims.CLAIMS}
    assert [name for name, value in found.items() if not np.isnan(value)] == ["full_6"]


def test_whether_the_printed_difference_lies_in_both_intervals():
    ends = {"seeds_low": 1.0, "seeds_high": 5.0, "dialogues_low": 2.0, "dialogues_high": 6.0}
    assert [claims._inside(x, ends) for x in (1.5, 2.0, 5.0, 5.5, np.nan)] == ["no", "yes", "yes", "no", ""]
    assert claims._inside(3.0, ends | {"seeds_low": np.nan}) == ""


def test_folds_are_pooled_and_a_seed_without_one_is_left_out(tmp_path):
    runs, data = world(tmp_path, ("full", "linear"), range(3), ALL_FOLDS), fake_data("loso")
    gone = (runs["experiment"] == "linear") & (runs["seed"] == 1) & (runs["fold"] == "session4")
    found = of(made("comparisons", runs[~gone], data), metric="accuracy")
    assert (found["n_seeds"], found["n_dialogues"]) == (2, 5 * 13)
    table = line(built(2, runs, data, PAPER), "full")
    mine = of(made("intervals", runs, data), experiment="full", metric="accuracy")
    assert mine["mean"] == table["accuracy_mean"]
    shuffled = runs.sample(frac=1, random_state=2)
    pd.testing.assert_frame_equal(made("comparisons", runs, data), made("comparisons", shuffled, data))


def test_predictions_of_other_utterances_stop_it(tmp_path):
    frame = rows()
    lines = [run(tmp_path, "full", 0, frame, frame["label"])]
    lines.append(run(tmp_path, "linear", 0, frame.iloc[1:], frame["label"].iloc[1:]))
    with pytest.raises(ValueError, match="has other utterances"):
        made("comparisons", pd.DataFrame(lines), DATA)


def test_equal_bytes_in_any_order_and_no_file_without_lines(tmp_path, runs):
    shuffled = runs.sample(frac=1, random_state=2)
    first = claims.write(claims.build_all(Evaluation(runs, DATA)), tmp_path / "a")
    second = claims.write(claims.build_all(Evaluation(shuffled, DATA)), tmp_path / "b")
    names = ["intervals", "comparisons", "claims", "selection_gap", "slices", "coverage", "calibration"]
    assert [p.stem for p in first] == names
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    for path in first:
        frame = pd.read_csv(path)
        assert frame["corpus"].eq("simulated").all()
        assert "-0.0," not in path.read_text()
    assert claims.write(claims.build_all(Evaluation(EMPTY, DATA)), tmp_path / "a") == []
    assert not list((tmp_path / "a").iterdir())


# The selection gap.


def test_the_gap_by_hand():
    """Two seeds: best test 1 and 3/4, best validation 1/2 and 1/2, last 3/4 and 3/4."""
    cells = {"best_test": (4, 3), "best_validation": (2, 2), "last": (3, 3)}
    made = [
        fake_run("full", s)
        | {
            "classes": ("a", "b"),
            "confusion": {rule: [[k[s], 4 - k[s]], [0, 0]] for rule, k in cells.items()},
        }
        for s in range(2)
    ]
    found = of(selection.selection_gap(Evaluation(pd.DataFrame(made), DATA)), metric="accuracy")
    assert [found[f"{rule}_mean"] for rule in selection.RULES] == [75.0, 50.0, 87.5]
    assert (found["gap_validation_mean"], found["gap_validation_std"]) == (37.5, 17.68)
    assert (found["gap_last_mean"], found["gap_last_std"]) == (12.5, 17.68)
    half = 12.706204736 * 17.67766953 / np.sqrt(2)
    assert found["gap_last_ci_high"] == pytest.approx(12.5 + half, abs=0.01)
    assert found["n_seeds"] == 2


def test_the_gap_is_of_one_seed_at_a_time():
    """Paired: the spread of the differences, not of the scores."""
    found = of(selection.selection_gap(Evaluation(RUNS, DATA)), experiment="full", metric="weighted_f1")
    mine = RUNS[RUNS["experiment"] == "full"]["confusion"]
    one = [100 * (scores(c["best_test"])["weighted_f1"] - scores(c["last"])["weighted_f1"]) for c in mine]
    assert found["gap_last_std"] == round(np.std(one, ddof=1), 2)
    assert len(selection.selection_gap(Evaluation(RUNS, DATA))) == 2 * len(TABLED)
    assert selection.selection_gap(Evaluation(EMPTY, DATA)).empty


# Slices.


def turns(**columns) -> pd.DataFrame:
    """Six turns of one dialogue, F and M in turn."""
    frame = pd.DataFrame({"dialogue": "d", "order": range(6), "speaker": ["F", "M"] * 3, "scripted": False})
    frame["label"] = ["sad", "sad", "angry", "sad", "angry", "angry"]
    frame["start"], frame["end"] = 0.0, [1.0, 2.0, 3.0, 4.0, 5.0, 99.0]
    frame["id"] = [f"Ses05F_impro01_{i}" for i in range(6)]
    return frame.assign(fold="session5", **columns)


def part(frame: pd.DataFrame) -> Predictions:
    return Predictions("majority-4", FOUR, "tenth", frame, {}, {}, {}, {})


def values(frame: pd.DataFrame, name: str, features=None) -> list:
    found, _ = slices.assigned(part(frame), "session5", features)
    return [None if pd.isna(v) else v for v in found[name]]


def test_slices_by_hand():
    """sad sad angry sad angry angry, by F M F M F M."""
    frame = turns()
    assert values(frame, "length") == ["short"] * 3 + ["long"] * 3
    assert values(frame, "shift") == [None, "same", "shift", "shift", "shift", "same"]
    assert values(frame, "speaker_shift") == [None, None, "shift", "same", "same", "shift"]
    assert values(frame, "turn") == ["early", "early", None, None, "late", "late"]


def test_slices_stay_in_their_dialogue_and_follow_the_order():
    frame = turns()
    both = pd.concat([frame, turns(dialogue="e", label="sad")], ignore_index=True)
    assert values(both, "shift")[6:] == [None] + ["same"] * 5
    back = both.iloc[::-1].reset_index(drop=True)
    for name in ("shift", "speaker_shift", "turn", "length"):
        assert values(back, name)[::-1] == values(both, name)


def test_what_is_not_known_is_in_no_slice():
    frame = turns(end=[1.0, 2.0, np.nan, 4.0, np.nan, np.nan])
    assert values(frame, "length") == ["short", "short", None, "long", None, None]
    found, why = slices.assigned(part(turns(end=np.nan, speaker="")), "session5", None)
    assert "length" not in found and why["length"] == "no utterance has a value"
    assert "speaker_shift" not in found and "shift" in found
    assert why["speech"] == "all of it is improvised"
    assert why["transcript"] == "the feature store with the transcripts is not here"


def test_plain_words():
    assert plain("  It's  OK -- I_think, [LAUGHTER]!") == "it s ok i think laughter"
    assert plain("?!") == ""


def test_transcripts_seen_in_training(tmp_path):
    """Session 5 is tested; what counts is the labelled turns of the training dialogues alone."""
    test = turns(text=["Yes, I know.", "no", "WHO  cares", "held", "?", "xxx only"])
    train = pd.concat(
        [turns(dialogue=f"t{i}", id=[f"t{i}_{j}" for j in range(6)], text="yes i know") for i in range(6)]
    )
    train = train.assign(session=1)
    train.loc[train["id"] == "t0_1", "text"] = "Who cares?"
    train.loc[train["id"] == "t0_2", ["text", "label"]] = ["xxx only", "xxx"]
    table = pd.concat([test.assign(session=5), train], ignore_index=True)
    codes = {"sad": "sad", "angry": "ang", "xxx": "xxx"}
    table = table.assign(label=table["label"].map(codes), part="", party="F", wav="", line=0, votes="{}").drop(
        columns="fold"
    )
    (fold,) = slices.folds(slices.manifest(table, "majority-4"), "session5")
    (held,) = fold.validation
    table.loc[table["dialogue"] == held, "text"] = "held"
    if held == "t0":
        table.loc[table["id"] == "t1_1", "text"] = "Who cares?"
    table.to_csv(tmp_path / "utterances.csv", index=False)
    found = values(test.drop(columns="text"), "transcript", tmp_path)
    assert found == ["seen", "unseen", "seen", "unseen", None, "unseen"]


def test_transcripts_are_those_of_the_fold(tmp_path):
    """ "both" is in sessions 1 to 3: seen by the fold that tests any of them; "one" is in session 1 alone."""
    tables = [
        turns(dialogue=f"s{s}{d}", id=[f"s{s}{d}{i}" for i in range(6)], session=s, text=f"own {s}")
        for s in range(1, 6)
        for d in "abc"
    ]
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["session"] <= 3, "text"] = "both"
    table.loc[table["dialogue"] == "s1a", "text"] = "one"
    test = table[table["dialogue"].isin(["s1a", "s2a"])].assign(fold=lambda t: "session" + t["session"].astype(str))
    coded = table.assign(label=table["label"].map({"sad": "sad", "angry": "ang"}), part="", party="F", wav="")
    coded.assign(votes="{}", line=0).drop(columns="fold").to_csv(tmp_path / "utterances.csv", index=False)
    found, _ = slices.assigned(part(test.drop(columns="text").reset_index(drop=True)), "loso", tmp_path)
    assert found["transcript"].tolist() == ["unseen"] * 6 + ["seen"] * 6


def test_scores_of_a_slice_by_brute_force(runs):
    found = slices.slices(Evaluation(runs, DATA))
    frame = rows()
    each = []
    for seed in range(5):
        mine = pd.read_parquet(of(runs, experiment="full", seed=seed)["path"].replace(".json", ".parquet"))
        each.append(100 * (mine["label"] == mine["predicted"])[mine["scripted"]].mean())
    got = of(found, experiment="full", slice="speech", value="scripted")
    assert (got["accuracy_mean"], got["accuracy_std"]) == (
        round(np.mean(each), 2),
        round(np.std(each, ddof=1), 2),
    )
    assert (got["n_utterances"], got["n_seeds"]) == (frame["scripted"].sum(), 5)
    whole = of(found, experiment="full", slice="all")
    table = line(built(2, runs, DATA, PAPER), "full")
    assert (whole["accuracy_mean"], whole["weighted_f1_std"]) == (table["accuracy_mean"], table["f1_std"])
    assert set(found["slice"]) == {"all", "speech", "length", "shift", "speaker_shift", "turn"}
    assert found.attrs["left_out"] == [
        "majority-4: slice transcript left out, the feature store with the transcripts is not here"
    ]


def test_slices_of_all_folds_are_of_all_utterances(tmp_path):
    runs, data = world(tmp_path, ("full",), range(2), ALL_FOLDS), fake_data("loso")
    found = slices.slices(Evaluation(runs, data))
    assert of(found, slice="all")["n_utterances"] == sum(len(rows(fold)) for fold in ALL_FOLDS)
    assert of(found, slice="all")["accuracy_mean"] == line(built(2, runs, data, PAPER), "full")["accuracy_mean"]
