"""Figures from made-up runs: what they show, whose corpus they name, and that they leave nothing open."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from test_tables import DATA, EMPTY, PAPER, RUNS, fake_data, fake_run

from lpgnet.analysis import canvas, figures, tables
from lpgnet.analysis.typeset import SIMULATED

TABLES = {number: tables.build(number, RUNS, DATA, PAPER) for number in PAPER}


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def words(figure: Figure) -> list[str]:
    """Every text of every panel."""
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def draw_all(data: dict, built: dict) -> list[Figure]:
    return [
        figures.class_distribution(built[1]),
        figures.comparison(built[2], 2),
        *(figures.ablation_bars(built[n], n) for n in (3, 4, 5)),
        figures.comparison(built[6], 6),
        figures.by_class(built[7]),
        figures.confusion_matrix(RUNS, data),
        figures.training_curves(RUNS, data),
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
    figure = figures.ablation_bars(tables.build(3, RUNS, own, PAPER), 3)
    assert caption(figure).startswith("Corpus iemocap")
    assert SIMULATED not in caption(figure)


def test_saves_every_figure(tmp_path):
    saved = figures.save_all(RUNS, DATA, TABLES, tmp_path)
    assert [p.read_bytes()[:4] for p in saved] == [b"\x89PNG"] * 9
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in saved)


def test_without_runs_the_tables_still_have_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, part, **_: part.touch())
    bare = {number: tables.build(number, EMPTY, DATA, PAPER) for number in PAPER}
    saved = figures.save_all(EMPTY, DATA, bare, tmp_path)
    assert [p.name[:6] for p in saved] == [f"table{n}" for n in range(1, 8)]


def test_bars_show_our_mean_and_the_paper_as_tick():
    table = TABLES[3]
    figure = figures.ablation_bars(table, 3)
    axis = figure.axes[0]
    assert [bar.get_width() for bar in axis.patches] == table["accuracy_mean"].tolist()
    ticks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "|"]
    assert ticks == PAPER[3]["accuracy"].tolist()
    assert axis.get_yticklabels()[1].get_text() == "Text"
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # first row on top


def test_points_show_quoted_rows_as_printed_and_ours_with_interval():
    figure = figures.comparison(TABLES[2], 2)
    axis = figure.axes[0]
    points = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() == "o"}
    assert points[1].get_xdata()[0] == 74.20  # MER-HAN
    assert points[1].get_color() == canvas.QUOTED
    full = TABLES[2].iloc[10]
    assert points[10].get_xdata()[0] == full["accuracy_mean"]
    lines = [list(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert [full["accuracy_ci_low"], full["accuracy_ci_high"]] in lines


def test_rows_not_run_say_so():
    table = tables.build(3, RUNS[RUNS["experiment"] != "no_ffn"], DATA, PAPER)
    assert words(figures.ablation_bars(table, 3)).count("not run yet") == 2  # accuracy and F1
    assert "not run yet" not in words(figures.ablation_bars(TABLES[3], 3))


def test_confusion_sums_seeds_and_shares_by_row():
    counts = np.sum([c["best_validation"] for c in RUNS[RUNS["experiment"] == "full"]["confusion"]], axis=0)
    first = words(figures.confusion_matrix(RUNS, DATA))[1]
    assert first == f"{100 * counts[0, 1] / counts[0].sum():.1f} %\n{counts[0, 1]}"


def test_curves_are_the_mean_over_runs_by_epoch():
    figure = figures.training_curves(RUNS, DATA)
    want = np.mean([fake_run("full", seed)["curves"]["validation_f1"] for seed in range(3)], axis=0)
    line = figure.axes[1].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 100 * want)
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [2, 6])
def test_texts_of_a_panel_do_not_overlap(number):
    figure = figures.comparison(TABLES[number], number)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axis in figure.axes:
        texts = [*axis.texts, *axis.get_yticklabels(), *axis.get_xticklabels()]
        boxes = [t.get_window_extent(renderer) for t in texts if t.get_text()]
        clashes = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
        assert clashes == []
