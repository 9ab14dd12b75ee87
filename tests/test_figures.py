"""Figures from made-up runs: what they show, whose corpus they name, and that they leave nothing open."""

import ast
import dataclasses

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_tables import DATA, EMPTY, PAPER, RUNS, built, fake_data, fake_run

from lpgnet import places
from lpgnet.config import ROOT
from lpgnet.labels import PROTOCOLS
from lpgnet.tables import rebuild, selection
from lpgnet.tables.claims import STANDS
from lpgnet.tables.figures import architecture, forest, inside, of_runs, of_tables, theme
from lpgnet.tables.names import plain_name
from lpgnet.tables.rows import TABLES as TABLE_ROWS
from lpgnet.tables.scores import Evaluation
from lpgnet.tables.typeset import SIMULATED

FIGURES = ROOT / "lpgnet" / "tables" / "figures"
FOUND = Evaluation(RUNS, DATA)
GAP = selection.selection_gap(FOUND)
TABLES = {number: built(number, RUNS, DATA, PAPER) for number in PAPER}


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


def test_every_picture_names_its_corpus_warns_and_leaves_no_state():
    theme = dict(mpl.rcParams)
    figures = [
        of_tables.class_distribution(TABLES[1]),
        *(of_tables.comparison(TABLES[n], n) for n in range(2, 7)),
        of_tables.by_class(TABLES[7]),
        of_runs.confusion_matrix(FOUND.whole("full"), DATA),
        of_runs.training_curves(RUNS, DATA),
        of_runs.class_points(FOUND.pool, DATA),
        of_runs.selection_gap(GAP),
        of_runs.slices(sliced()),
    ]
    for figure in figures:
        assert caption(figure).startswith("Corpus simulated, profile quick, split session5, labels majority-4")
        assert SIMULATED in caption(figure)
    assert pyplot.get_fignums() == []
    assert dict(mpl.rcParams) == theme


def test_another_corpus_gets_no_warning():
    own = fake_data(place="iemocap")
    figure = of_tables.comparison(built(3, RUNS, own, PAPER), 3)
    assert caption(figure).startswith("Corpus iemocap")
    assert SIMULATED not in caption(figure)


def rebuilt(folder, runs=RUNS, tables=TABLES, parts=None) -> rebuild.Rebuilt:
    """Of no place on disk but for its figures."""
    place = dataclasses.replace(places.place(), output=folder)
    found = Evaluation(runs, DATA)
    beside = {"slices": pd.DataFrame() if parts is None else parts, "claims": pd.DataFrame()}
    beside["selection_gap"] = selection.selection_gap(found)
    return rebuild.Rebuilt(place, found, tables, pd.DataFrame(), beside, [])


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, part, **_: part.touch())


@pytest.fixture(autouse=True)
def no_predictions(monkeypatch):
    """Made-up runs leave none, so nothing inside is to be drawn."""
    for name, declared in list(theme.FIGURES.items()):
        if declared.draw.__module__ == inside.__name__:
            nothing = dataclasses.replace(declared, of=lambda made: None)
            monkeypatch.setitem(theme.FIGURES, name, nothing)


def test_saves_every_figure_with_its_words_and_draws_none_twice(tmp_path, monkeypatch):
    made = rebuilt(tmp_path)
    saved = rebuild.draw(made)
    assert [p.read_bytes()[:4] for p in saved] == [b"\x89PNG"] * 15
    assert sorted(p.name for p in made.place.figures.iterdir()) == sorted(p.name for p in saved)
    assert {p.stem: theme.said(p)["Description"] for p in saved} == {p.stem: theme.FIGURES[p.stem].alt for p in saved}
    before = {p: p.stat().st_mtime_ns for p in saved}
    assert rebuild.draw(rebuilt(tmp_path, RUNS.copy())) == saved
    assert {p: p.stat().st_mtime_ns for p in saved} == before
    other = rebuilt(tmp_path, tables=TABLES | {3: TABLES[3].assign(accuracy_mean=50.0)})
    rebuild.draw(other)
    assert [p.stem for p in saved if p.stat().st_mtime_ns != before[p]] == ["table3_ablation"]


def test_a_name_is_declared_once():
    with pytest.raises(ValueError, match="two figures are called 'cost'"):
        theme.figure("cost", "Other words.")(rebuilt)
    assert all(len(declared.alt) > 30 for declared in theme.FIGURES.values())


def test_nothing_keeps_a_list_of_figures():
    """A name stands where the figure is declared; the sections show some by name or pattern, none twice."""
    assert {d.draw.__module__ for d in theme.FIGURES.values()} >= {
        found.__name__ for found in (architecture, inside, of_runs, of_tables)
    }
    long = {name for name in theme.FIGURES if "_" in name and name != "selection_gap"}  # no other word
    assert len(long) > 10
    for path in (ROOT / "lpgnet").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        words = [node.value for node in nodes if isinstance(node, ast.Constant)]
        assert all(words.count(name) <= path.is_relative_to(FIGURES) for name in long), path


def test_slices_are_drawn_where_they_are_known(tmp_path, undrawn):
    saved = rebuild.draw(rebuilt(tmp_path, EMPTY, parts=sliced()))
    assert len(saved) == 9 and "slices.png" in {p.name for p in saved}
    alone = sliced().query("experiment == 'no_ffn'")
    assert len(rebuild.draw(rebuilt(tmp_path, EMPTY, parts=alone))) == 8


def test_without_runs_the_tables_still_have_figures(tmp_path, undrawn):
    bare = {number: built(number, EMPTY, DATA, PAPER) for number in PAPER}
    saved = rebuild.draw(rebuilt(tmp_path, EMPTY, bare))
    assert sorted(p.name[:6] for p in saved) == ["archit", *(f"table{n}" for n in range(1, 8))]


def test_a_dollar_in_a_name_is_a_dollar():
    """Corpus, row and class alike: a formula of theirs would stop the drawing or change the words."""
    table = TABLES[2].assign(corpus="a$b$", model=[rf"m$\frac{{{i}}}$" for i in range(len(TABLES[2]))])
    classes = ["x$y$", "$", "$_$", "d"]
    pool = FOUND.whole("full").assign(classes=[tuple(classes)] * len(FOUND.whole("full")))
    for figure in (of_tables.comparison(table, 2), of_runs.confusion_matrix(pool, DATA)):
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())
    assert "a$b$" in caption(of_tables.comparison(table, 2))
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == classes


def test_the_paper_is_a_tick_black_only_on_its_own_corpus():
    table = TABLES[3]
    axis = of_tables.comparison(table, 3).axes[0]
    points = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    assert points == table["accuracy_mean"].tolist()
    ticks = [line for line in axis.lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in ticks] == PAPER[3]["accuracy"].tolist()
    assert {(line.get_color(), line.get_label()) for line in ticks} == {(theme.QUOTED, "printed, of IEMOCAP")}
    own = of_tables.comparison(built(3, RUNS, fake_data(place="iemocap"), PAPER), 3).axes[0]
    assert {line.get_color() for line in own.lines if line.get_marker() == "|"} == {"black"}
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


DEUTERANOPIA = np.array([  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
])  # fmt: skip


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as somebody sees it."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.array(xyz) @ np.clip(seen @ linear, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("protocol", ["majority-6", "meld-7"])
def test_emotions_differ_for_a_deuteranope_too(protocol):
    """By 20 in L*a*b*, where 2 can be told apart side by side."""
    colours = theme.class_colours(PROTOCOLS[protocol].classes)
    for seen in (np.eye(3), DEUTERANOPIA):
        places = [lab(colour, seen) for colour in colours]
        near = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(near) > 20, (protocol, np.round(near, 1))


def test_no_interval_goes_beyond_100_percent():
    down, up = theme.reach([99.0, 50.0, 50.0], [2.0, 2.0, 2.0], [3, 3, 1])
    half = 4.302653 * 2 / np.sqrt(3)
    np.testing.assert_allclose(down, [half, half, 0], rtol=1e-6)
    np.testing.assert_allclose(up, [1, half, 0], rtol=1e-6)


def test_rows_not_run_say_so():
    table = built(3, RUNS[RUNS["experiment"] != "no_ffn"], DATA, PAPER)
    assert words(of_tables.comparison(table, 3)).count("not run yet") == 2  # accuracy and F1
    assert "not run yet" not in words(of_tables.comparison(TABLES[3], 3))


def test_confusion_sums_seeds_and_shares_by_row():
    counts = np.sum([c["best_validation"] for c in RUNS[RUNS["experiment"] == "full"]["confusion"]], axis=0)
    first = words(of_runs.confusion_matrix(FOUND.whole("full"), DATA))[1]
    assert first == f"{100 * counts[0, 1] / counts[0].sum():.1f} %\n{counts[0, 1]}"


def test_class_points_are_recall_and_f1_with_the_interval_over_seeds():
    figure = of_runs.class_points(FOUND.pool, DATA)
    mine = TABLES[7].iloc[0]  # LPGNet on four classes
    names = DATA["protocols"]["majority-4"]["classes"]
    points = figure.axes[0].containers[0]
    assert points.get_label() == "LPGNet"
    want = np.array([[mine[f"{n}_{what}"] for n in names] for what in ("mean", "ci_low", "ci_high")], dtype=float)
    np.testing.assert_allclose(np.array(points.lines[0].get_ydata(), dtype=float), want[0], atol=0.006)
    ends = [[y for _, y in segment] for segment in points.lines[2][0].get_segments()]
    np.testing.assert_allclose(np.array(ends, dtype=float), np.clip(want[1:].T, 0, 100), atol=0.012)


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
    assert names[:3] == ["Linear classifier", "LPGNet on frames", "LPGNet"]  # in the order of the tables
    in_tables = {row.experiment for table in TABLE_ROWS.values() for row in table.rows}
    assert sorted(names) == sorted(map(plain_name, in_tables & set(RUNS["experiment"])))
    mine = GAP[(GAP["experiment"] == "full") & (GAP["metric"] == "weighted_f1")].iloc[0]
    shown = {x.get_marker(): x.get_xdata()[0] for x in axis.lines if x.get_marker() != "None" and x.get_ydata()[0] == 2}
    assert shown == {"s": mine["last_mean"], "o": mine["best_validation_mean"], "^": mine["best_test_mean"]}
    text = f"{mine['gap_validation_mean']:+.1f} ± {mine['gap_validation_std']:.1f}"
    assert words(figure)[len(names) + 2] == text
    assert "chosen on the test set (weighted F1) and feeds no headline" in caption(figure)


def test_every_claim_is_a_line_with_its_verdict_s_mark():
    """The printed number stands beside the axis; on the paper's own corpus it is a tick on it as well."""
    verdicts = ["supported", "supported on this test set only", "equal within 1 point", "undecided: could have ..."]
    lines = pd.DataFrame({"verdict": verdicts, "difference": [3.0, 2.0, 0.1, -1.0], "n_seeds": 5, "profile": "quick"})
    lines = lines.assign(claim=[f"{i}" for i in range(4)], metric="accuracy", split="session5", labels="majority-4")
    lines = lines.assign(difference_reported=[1.21, np.nan, 0.5, 0.4], corpus="simulated")
    for kind in ("seeds", "dialogues"):
        lines[f"{kind}_low"], lines[f"{kind}_high"] = lines["difference"] - 1, lines["difference"] + 1
    figure = forest.claims(lines)
    axis = figure.axes[0]
    points = [x for x in axis.lines if x.get_marker() not in ("None", "|") and len(x.get_xdata()) == 1]
    assert [(x.get_xdata()[0], x.get_marker()) for x in points] == [(3, "o"), (2, "^"), (0.1, "D"), (-1, "o")]
    said = [text for text in words(figure) if text.startswith("+")]
    assert said == ["+3.0", "+1.21", "+2.0", "+0.1", "+0.50", "+0.40"]
    assert not [x for x in axis.lines if x.get_marker() == "|"]
    own = forest.claims(lines.assign(corpus="iemocap")).axes[0]
    assert [x.get_xdata()[0] for x in own.lines if x.get_marker() == "|"] == [1.21, 0.5, 0.4]
    assert {verdict.partition(":")[0] for verdict in verdicts} <= set(forest.MARKS) == set(STANDS)


def test_slices_show_the_named_models_with_their_number_of_utterances():
    figure = of_runs.slices(sliced())
    assert [axis.get_title() for axis in figure.axes] == [
        of_runs.SLICES["length"],
        of_runs.SLICES["shift"],
    ]
    axis = figure.axes[1]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["shift\n(5)", "same\n(6)"]
    names = [c.get_label() for c in axis.containers]
    assert names == ["LPGNet", "Linear classifier"]  # of the labels of `full`, and no model that was not asked for
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
