"""Figures from made-up runs: what they show, whose corpus they name, and that they leave nothing open."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from test_tables import DATA, EMPTY, PAPER, RUNS, fake_data, fake_run

from lpgnet.tables import build, selection
from lpgnet.tables.figures import of_runs, of_tables, theme
from lpgnet.tables.rows import TABLES as TABLE_ROWS
from lpgnet.tables.typeset import SIMULATED

GAP = selection.selection_gap(RUNS, DATA)
TABLES = {number: build.build(number, RUNS, DATA, PAPER) for number in PAPER}


def sliced() -> pd.DataFrame:
    """Scores on the parts of two slices, in the form of `slices.slices`."""
    lines = [
        {"experiment": experiment, "labels": labels, "slice": name, "value": value, "n_utterances": 5 + i}
        | {"accuracy_mean": 40.0 + 7 * i + place, "accuracy_std": 1.5, "n_seeds": 3}
        for labels, names in (("majority-4", ("full", "no_ffn", "linear")), ("majority-6", ("sdt_6",)))
        for place, experiment in enumerate(names)
        for name, values in (("all", ["all"]), ("shift", ["shift", "same"]), ("length", ["short", "long"]))
        for i, value in enumerate(values)
    ]
    who = pd.DataFrame([{"corpus": "simulated", "profile": "quick", "split": "session5"}] * len(lines))
    frame = pd.concat([who, pd.DataFrame(lines)], axis=1)
    frame.attrs["left_out"] = ["majority-4: slice turn left out, no", "majority-6: slice turn left out, no"]
    return frame


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def words(figure: Figure) -> list[str]:
    """Every text of every panel."""
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def draw_all(data: dict, built: dict) -> list[Figure]:
    return [
        of_tables.class_distribution(built[1]),
        of_tables.comparison(built[2], 2),
        *(of_tables.ablation_bars(built[n], n) for n in (3, 4, 5)),
        of_tables.comparison(built[6], 6),
        of_tables.by_class(built[7]),
        of_runs.confusion_matrix(RUNS, data),
        of_runs.training_curves(RUNS, data),
        of_runs.class_bars(RUNS, data),
        of_runs.selection_gap(selection.selection_gap(RUNS, data)),
        of_runs.slices(sliced()),
    ]


def test_every_picture_names_its_corpus_warns_and_leaves_no_state():
    theme = dict(mpl.rcParams)
    for figure in draw_all(DATA, TABLES):
        assert caption(figure).startswith(
            "Corpus simulated, profile quick, split session5, labels majority-4"
        )
        assert SIMULATED in caption(figure)
    assert pyplot.get_fignums() == []
    assert dict(mpl.rcParams) == theme


def test_another_corpus_gets_no_warning():
    own = fake_data(place="iemocap")
    figure = of_tables.ablation_bars(build.build(3, RUNS, own, PAPER), 3)
    assert caption(figure).startswith("Corpus iemocap")
    assert SIMULATED not in caption(figure)


def test_saves_every_figure(tmp_path):
    saved = of_tables.save_all(RUNS, DATA, TABLES, tmp_path)
    assert [p.read_bytes()[:4] for p in saved] == [b"\x89PNG"] * 15
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in saved)


def test_slices_are_drawn_where_they_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, part, **_: part.touch())
    saved = of_tables.save_all(EMPTY, DATA, TABLES, tmp_path, sliced())
    assert [p.name for p in saved][8:] == ["slices.png"]
    alone = sliced().query("experiment == 'no_ffn'")
    assert len(of_tables.save_all(EMPTY, DATA, TABLES, tmp_path, alone)) == 8


def test_without_runs_the_tables_still_have_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, part, **_: part.touch())
    bare = {number: build.build(number, EMPTY, DATA, PAPER) for number in PAPER}
    saved = of_tables.save_all(EMPTY, DATA, bare, tmp_path, pd.DataFrame())
    assert [p.name[:6] for p in saved] == [*(f"table{n}" for n in range(1, 8)), "archit"]


def test_bars_show_our_mean_and_the_paper_as_tick():
    table = TABLES[3]
    figure = of_tables.ablation_bars(table, 3)
    axis = figure.axes[0]
    assert [bar.get_width() for bar in axis.patches] == table["accuracy_mean"].tolist()
    ticks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "|"]
    assert ticks == PAPER[3]["accuracy"].tolist()
    assert axis.get_yticklabels()[1].get_text() == "Text"
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # first row on top


def test_points_show_quoted_rows_as_printed_and_ours_with_interval():
    figure = of_tables.comparison(TABLES[2], 2)
    axis = figure.axes[0]
    points = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() == "o"}
    assert points[1].get_xdata()[0] == 74.20  # MER-HAN
    assert points[1].get_color() == theme.QUOTED
    full = TABLES[2].iloc[10]
    assert points[10].get_xdata()[0] == full["accuracy_mean"]
    lines = [list(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert [full["accuracy_ci_low"], full["accuracy_ci_high"]] in lines


def test_rows_not_run_say_so():
    table = build.build(3, RUNS[RUNS["experiment"] != "no_ffn"], DATA, PAPER)
    assert words(of_tables.ablation_bars(table, 3)).count("not run yet") == 2  # accuracy and F1
    assert "not run yet" not in words(of_tables.ablation_bars(TABLES[3], 3))


def test_confusion_sums_seeds_and_shares_by_row():
    counts = np.sum([c["best_validation"] for c in RUNS[RUNS["experiment"] == "full"]["confusion"]], axis=0)
    first = words(of_runs.confusion_matrix(RUNS, DATA))[1]
    assert first == f"{100 * counts[0, 1] / counts[0].sum():.1f} %\n{counts[0, 1]}"


def test_class_bars_are_recall_and_f1_with_the_interval_over_seeds():
    figure = of_runs.class_bars(RUNS, DATA)
    mine = TABLES[7].iloc[0]  # LPGNet on four classes
    axis = figure.axes[0]
    names = DATA["protocols"]["majority-4"]["classes"]
    bars = axis.containers[0]
    assert bars.get_label() == "full"
    np.testing.assert_allclose([b.get_height() for b in bars], [mine[f"{n}_mean"] for n in names], atol=0.006)
    ends = [line.get_ydata() for line in axis.lines[: len(names)]]
    want = [[max(mine[f"{n}_ci_low"], 0), min(mine[f"{n}_ci_high"], 100)] for n in names]
    np.testing.assert_allclose(np.array(ends, dtype=float), want, atol=0.006)


def test_curves_are_the_mean_over_runs_by_epoch():
    figure = of_runs.training_curves(RUNS, DATA)
    want = np.mean([fake_run("full", seed)["curves"]["validation_f1"] for seed in range(3)], axis=0)
    line = figure.axes[1].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 100 * want)
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_the_gap_shows_three_epochs_a_row_and_says_what_feeds_no_headline():
    figure = of_runs.selection_gap(GAP)
    axis = figure.axes[1]  # weighted F1
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[:3] == ["linear", "frame", "full"]  # in the order of the tables
    in_tables = {row.experiment for table in TABLE_ROWS.values() for row in table.rows}
    assert sorted(names) == sorted(in_tables & set(RUNS["experiment"]))
    mine = GAP[(GAP["experiment"] == "full") & (GAP["metric"] == "weighted_f1")].iloc[0]
    shown = {
        x.get_marker(): x.get_xdata()[0]
        for x in axis.lines
        if x.get_marker() != "None" and x.get_ydata()[0] == 2
    }
    assert shown == {"s": mine["last_mean"], "o": mine["best_validation_mean"], "^": mine["best_test_mean"]}
    text = f"{mine['gap_validation_mean']:+.1f} ± {mine['gap_validation_std']:.1f}"
    assert words(figure)[len(names) + 2] == text
    assert "chosen on the test set (weighted F1) and feeds no headline" in caption(figure)


def test_slices_show_the_named_models_with_their_number_of_utterances():
    figure = of_runs.slices(sliced())
    assert [axis.get_title() for axis in figure.axes] == [
        of_runs.SLICES["length"],
        of_runs.SLICES["shift"],
    ]
    axis = figure.axes[1]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["shift\n(5)", "same\n(6)"]
    names = [c.get_label() for c in axis.containers]
    assert names == ["full", "linear"]  # of the labels of `full`, and no model that was not asked for
    assert [c.lines[0].get_ydata().tolist() for c in axis.containers] == [[40.0, 47.0], [42.0, 49.0]]
    assert "majority-4: slice turn left out, no." in caption(figure)
    assert "majority-6" not in caption(figure)
    assert len({axis.get_ylim() for axis in figure.axes}) == 1


@pytest.mark.parametrize("number", [2, 6])
def test_texts_of_a_panel_do_not_overlap(number):
    figure = of_tables.comparison(TABLES[number], number)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axis in figure.axes:
        texts = [*axis.texts, *axis.get_yticklabels(), *axis.get_xticklabels()]
        boxes = [t.get_window_extent(renderer) for t in texts if t.get_text()]
        clashes = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
        assert clashes == []
