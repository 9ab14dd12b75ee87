"""The report: what stands in it, that it is whole and offline, and that a browser shows it without a word."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import warnings
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import environment, lpgnet, made_table, write_store
from matplotlib.figure import Figure
from test_tables import WITHOUT_TORCH

from lpgnet import places
from lpgnet.beyond.report import blocks, equations, page, provenance, sections, verdicts
from lpgnet.beyond.report import tables as report_tables
from lpgnet.config import ROOT
from lpgnet.labels import folds, manifest
from lpgnet.runs import calibration, records
from lpgnet.runs.plan import current_records, describe, planned
from lpgnet.runs.training import DECODED
from lpgnet.tables.figures import inside, of_runs, theme
from lpgnet.tables.figures.architecture import ARROWS, BOXES, architecture
from lpgnet.tables.rebuild import draw, rebuild
from lpgnet.tables.scores import Evaluation
from lpgnet.tables.typeset import SIMULATED

NAMES = ("full", "sdt", "linear", "full_speaker", "sdt_no_speaker", "full_6", "text_only")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECTIONS = ["verdict", "reading", "tables", "comparisons", "selection", "parts", "model", "cost", "beyond", "decisions"]
SECTIONS += ["paper-audit", "data-audit", "provenance"]


def filled(place: places.Place, seeds: int = 2) -> None:
    """Records of made-up runs, as training leaves them, and what notebook 07 leaves beside them."""
    write_store(place.features, made_table())
    table, data = made_table(), describe(place)
    for job in planned(place, data, list(NAMES), seeds):
        kept = manifest(table, job.labels)
        test = {fold.name: fold.test for fold in folds(kept, place.split)}[job.fold]
        rows = kept[kept["dialogue"].isin(test)].merge(table[["id", "start", "end"]], on="id")
        rng = np.random.default_rng([job.seed, *job.experiment.encode()])
        record, predictions = made_run(place, data, job, rows, rng)
        records.save(job.path, record, predictions)
        if (job.experiment, job.seed) == ("full", 0):
            keep(place.checkpoints / "full" / f"{job.path.stem}.npz", rows, rng)
    who = {"corpus": place.name, "profile": "quick", "split": "session5", "labels": "majority-4"}
    cost = {"parameters": [7, 70], "multiply_adds": [11, 110], "accuracy_mean": [51.0, 57.0], "accuracy_std": 1.0}
    cost |= {"n_seeds": 2, "experiment": ["full", "<script>alert(1)</script>"]}
    pd.DataFrame(cost).assign(**who).to_csv(place.results / "efficiency.csv", index=False)


def made_run(place, data, job, rows, rng) -> tuple[records.Record, pd.DataFrame]:
    """One record with random predictions, right about half the time."""
    classes = data["protocols"][job.labels]["classes"]
    gold = pd.Index(classes).get_indexer(rows["label"])
    sure = rng.dirichlet(np.ones(len(classes)), len(rows)) + 0.5 * np.eye(len(classes))[gold]
    sure /= sure.sum(1, keepdims=True)
    predicted = sure.argmax(1)
    counts = np.zeros((len(classes),) * 2, dtype=int)
    np.add.at(counts, (gold, predicted), 1)
    text = rng.random(len(rows))
    named = np.array(classes)[predicted]
    frame = rows.assign(predicted=named, predicted_last=named, weight_text=text, weight_audio=1 - text)
    if job.experiment in DECODED:
        frame["predicted_crf"] = named
    frame[[f"p_{name}" for name in classes]] = sure
    rules = ("best_validation", "last", "best_test")
    known = {name: getattr(place, name) for name in ("corpus", "profile", "split")}
    names = ("experiment", "seed", "fold", "labels", "asked", "code", "libraries", "key")
    record = records.Record(
        **known | {name: getattr(job, name) for name in names},
        classes=classes,
        version="0",
        config=job.run.as_dict(),
        manifest=data["protocols"][job.labels]["manifest"],
        features={"text": "a", "audio": "b"},
        epoch=dict.fromkeys(rules, 1),
        confusion=dict.fromkeys(rules, counts.tolist()),
        students={},
        curves={name: [0.5, 0.25, 0.125] for name in ("loss", "validation_f1", "test_f1")},
        parameters={"full": 7, "sdt": 11}.get(job.experiment, 13),
        temperature=2.0,
        validation={name: [0.25, 0.5] for name in classes},
        predictions="",
        made={"seconds": 3.0, "device": "cpu", "torch": "1", "numpy": "2"},
    )
    return record, frame


def keep(path: Path, rows: pd.DataFrame, rng) -> None:
    """Attention maps and fused features, as training leaves them."""
    first = rows[rows["dialogue"] == rows["dialogue"].iloc[0]]
    maps = rng.dirichlet(np.ones(len(first)), (4, len(first)))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        fused=rng.normal(size=(len(rows), 5)).astype(np.float32),
        ids=rows["id"].to_numpy(str),
        labels=rows["label"].to_numpy(str),
        dialogue=np.array(first["dialogue"].iloc[0]),
        turns=first["id"].to_numpy(str),
        turn_labels=first["label"].to_numpy(str),
        **{f"attention_{path}": one for path, one in zip(inside.PATHS, maps, strict=True)},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = dataclasses.replace(places.place(), output=tmp_path_factory.mktemp("report"))
    filled(made)
    return made


@pytest.fixture(scope="module")
def html(place):
    return page.write(place).read_text(encoding="utf-8")


class Seen(HTMLParser):
    """Every id, every address, and every tag of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loaded, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "a":
            self.links.append(attrs["href"])
        else:
            self.loaded += [attrs[name] for name in ("src", "href", "srcset", "data") if attrs.get(name)]


def test_every_link_leads_somewhere(html, place):
    seen = Seen(html)
    assert len(seen.ids) == len(set(seen.ids))
    anchors = {to[1:] for to in seen.links if to.startswith("#")}
    assert anchors <= set(seen.ids) and len(anchors) > 20
    files = [to for to in seen.links if not to.startswith(("#", "https://doi.org/"))]
    assert len(files) > 20
    assert [to for to in files if not (page.path_of(place).parent / to).exists()] == []


def test_a_claim_leads_to_its_table_a_table_to_its_figure_and_its_notebook(html, place, tmp_path):
    claims = html[html.index('<table id="claims"') :].partition("</table>")[0]
    assert claims.count("<tr") - 1 == len(re.findall(r'<td><a href="#table[2-7]">', claims)) > 5
    for number in range(1, 8):
        about = html[html.index(f'id="about-table{number}"') :].partition("</p>")[0]
        assert re.search(rf'<a href="#figure-table{number}_\w+">Figure</a>', about)
    other = dataclasses.replace(place, output=tmp_path)
    other.notebooks.mkdir(parents=True)
    (other.notebooks / "05_six_class.html").touch()
    found = sections.Findings(SimpleNamespace(place=other), None, None)
    assert found.notebooks(*sections.MAKES[7]) == (("Notebook 05", "../notebooks/05_six_class.html"),)


def test_nothing_is_asked_of_the_network_and_no_formula_is_left_raw(html, place):
    seen = Seen(html)
    assert all(address.startswith("data:") for address in seen.loaded)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", html)
    policy = next(a["content"] for t, a in seen.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "$" not in re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.S)
    assert html.count("<math") == len(equations.EQUATIONS) == 21
    assert str(place.output) not in html and str(ROOT) not in html


def test_the_verdict_comes_first_and_every_figure_has_words(html):
    found = re.findall(r'<section id="([\w-]+)"', html)
    assert found == SECTIONS
    start = html.index('<section id="verdict"')
    assert html.index("LPGNet reaches 87.99 %", start) < html.index('<table id="claims"')
    pictures = [attrs for tag, attrs in Seen(html).tags if tag == "img"]
    assert all(len(attrs["alt"]) > 30 for attrs in pictures)
    names = set(re.findall(r'<figure id="figure-(\w+)"', html))
    assert {"architecture", "gates", "attention", "embedding", "calibration", "risk", "classes", "cost"} <= names
    assert {"confusion_full", "confusion_sdt", "confusion_full_6", "curves_full"} <= names


def test_simulated_numbers_are_called_so_on_screen_and_on_paper(html, place):
    assert f'<p class="banner" role="note">{SIMULATED}</p>' in html
    assert f'@top-center {{ content: "{SIMULATED}"' in html
    found = sections.gather(place)
    own = Evaluation(found.made.runs, found.made.data | {"corpus": "iemocap"})
    found = dataclasses.replace(found, made=dataclasses.replace(found.made, evaluation=own))
    assert "banner" not in page.html(found).replace(".banner", "")


def test_what_a_file_says_is_text_and_no_markup(html):
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html


def test_without_torch_the_same_records_give_the_same_bytes(html, place):
    block = WITHOUT_TORCH + "from lpgnet.cli import app; app(['report'])"
    before = {p: p.read_bytes() for p in place.tables.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", block], env=environment(place.output), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(page.path_of(place))
    assert page.path_of(place).read_text(encoding="utf-8") == html
    assert {p: p.read_bytes() for p in place.tables.iterdir()} == before


def test_a_page_is_fresh_until_something_changes(html, place):
    assert page.fresh(place)
    moved = place.results / "claims.csv"
    moved.rename(moved.with_suffix(".away"))
    assert not page.fresh(place)  # a link would lead nowhere
    moved.with_suffix(".away").rename(moved)
    record = next(place.runs.glob("linear/*.json"))
    kept = record.read_bytes()
    record.write_bytes(kept + b"\n")
    assert not page.fresh(place)
    record.write_bytes(kept)
    assert page.fresh(place)


@pytest.mark.parametrize("command", [("report",), ("bundle", "--out", "x.zip")])
def test_without_records_there_is_one_clear_error(tmp_path, command):
    done = lpgnet(tmp_path, *command)
    assert done.returncode == 1 and "run notebooks 01 to 05 first" in done.stderr
    assert "Traceback" not in done.stderr


def test_stale_records_alone_are_no_report(tmp_path):
    place = dataclasses.replace(places.place(), output=tmp_path)
    write_store(place.features, made_table())
    describe(place)
    with pytest.raises(FileNotFoundError, match=r"has no record in use \(0 are stale\)"):
        page.write(place)


# The verdicts, by hand.

IEMOCAP = {
    "corpus": "iemocap",
    "labels": "majority-4",
    "protocols": {"majority-4": {"classes": list("abcd")}},
}


def headline(low: float, high: float, **data) -> blocks.Card:
    line = {"experiment": "full", "metric": "accuracy", "mean": 83.0, "n_seeds": 5, "n_dialogues": 7}
    line |= {"seeds_low": low, "seeds_high": high, "dialogues_low": low + 1, "dialogues_high": high - 1}
    return verdicts._headline(pd.DataFrame([line]), IEMOCAP | data)


@pytest.mark.parametrize(
    ("low", "high", "short"),
    [
        (80, 86, "not reached here"),
        (80, 88, "agrees"),
        (89, 95, "exceeded here"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_the_headline_is_judged_by_our_interval(low, high, short):
    card = headline(low, high)
    assert card.title == "LPGNet reaches 87.99 % on four emotions of IEMOCAP" and card.verdict == short


def test_the_headline_is_of_iemocap_on_four_classes():
    assert headline(80, 88, corpus="simulated").verdict == "not comparable"
    six = {"labels": "erc-6", "protocols": {"erc-6": {"classes": list("abcdef")}}}
    assert headline(80, 88, **six).verdict == "not comparable"


def test_where_the_network_cannot_run_all_that_did_comes_first(monkeypatch):
    """All of it: the best would be picked on the test part."""
    monkeypatch.setattr(verdicts, "possible", lambda *_: ([], {"full": "x has no audio features"}))
    lines = [("text_only", 70.1), ("linear_text", 71.25)]
    accuracy = pd.DataFrame([{"experiment": n, "metric": "accuracy", "mean": m} for n, m in lines])
    card = verdicts._headline(accuracy, IEMOCAP)
    assert (card.title, card.verdict) == ("What this corpus can show", "2 of its models ran")
    means = "LPGNet, text alone 70.1 %, Linear classifier, text alone 71.2 %"
    want = f"Accuracy: {means}. LPGNet can't run: x has no audio features."
    assert card.says == want


def test_a_claim_shows_both_numbers_and_both_intervals():
    line = {
        "claim": "A beats B",
        "verdict": "not supported",
        "difference_reported": 1.21,
        "difference": -3.17,
    }
    line |= {"verdict_last": "not supported", "difference_last": -3.0}
    line |= {"margin": 0.0, "n_seeds": 5, "n_dialogues": 7, "seeds_low": -4.0, "seeds_high": -2.0}
    card = verdicts._claim(line | {"dialogues_low": np.nan, "dialogues_high": np.nan})
    assert (card.verdict, card.style) == ("not supported", "bad")
    m = blocks.MINUS
    assert card.says == (
        f"Printed: +1.21 points. Here: {m}3.2 points, 95 % intervals [{m}4.0, {m}2.0] over 5 seeds and "
        "(none) over 7 dialogues."
    )


def test_a_reading_s_two_metrics_stand_side_by_side_and_one_not_run_says_why():
    ends = {"seeds_low": -2.0, "seeds_high": 0.5, "dialogues_low": -3.0, "dialogues_high": 1.0, "difference": -1.0}
    one = {"reading": "R1", "alternative": "x", "default": "full", "verdict": "matters: worse", "note": np.nan} | ends
    lines = [one | {"metric": metric} for metric in ("accuracy", "weighted_f1")]
    absent = dict.fromkeys(ends, np.nan) | {"verdict": np.nan, "note": "not run: no fits"}
    lines += [line | {"reading": "R2"} | absent for line in lines]
    lines += [one | {"reading": "R3", "metric": "mean over classes"}]
    first, second, third = verdicts.alternatives_sheet(pd.DataFrame(lines), "readings", "", "").rows
    m = blocks.MINUS
    assert [cell.text for cell in first] == ["R1", "x", "LPGNet", *[f"{m}1.0", "matters: worse"] * 2]
    assert first[3].small == f"seeds [{m}2.0, 0.5]\ndialogues [{m}3.0, 1.0]"
    assert [cell.text for cell in second[3:]] == ["", "not run: no fits"] * 2
    assert third[3].small.startswith("mean over classes\n")


def test_recognised_texts_of_a_model_have_lines_of_their_own():
    ends = dict.fromkeys(("seeds_low", "seeds_high", "dialogues_low", "dialogues_high"), -1.0)
    line = {"model": "full", "accuracy_mean": 80.0, "accuracy_std": 1.0, "note": ""} | ends
    lines = [
        line | {"text": "transcript", "difference": np.nan, "verdict": np.nan, "wer": np.nan},
        line | {"text": "recognised", "difference": -4.5, "verdict": "matters: worse", "wer": 29.8},
    ]
    made = verdicts.alternatives_sheet(pd.DataFrame(lines), "asr", "", "")
    assert made.heads == ["Model", "Text", "Accuracy", "Words wrong", "Accuracy, points", "Verdict"]
    assert [cell.text for cell in made.rows[0]] == ["LPGNet", "transcript", "80.0 ± 1.0", "", "", ""]
    wanted = ["LPGNet", "recognised", "80.0 ± 1.0", "29.8", f"{blocks.MINUS}4.5", "matters: worse"]
    assert [cell.text for cell in made.rows[1]] == wanted


def test_claims_are_counted_by_their_first_words():
    claims = pd.DataFrame(
        {"verdict": ["supported", "not supported", "undecided: could have shown 2.1 points at least"] * 2}
    )
    counted = {name: n for name, n in verdicts.counts(claims.iloc[:5]).items() if n}
    assert counted == {"supported": 2, "not supported": 2, "undecided": 1}


def test_lightweight_is_counted():
    runs = pd.DataFrame({"experiment": ["full", "sdt"], "parameters": [7, 14], "profile": "paper"})
    (card,) = verdicts._size(runs)
    assert card.verdict == "supported" and "0.50 times" in card.says
    assert verdicts._size(runs.assign(parameters=[14, 7]))[0].verdict == "not supported"
    assert verdicts._size(runs.assign(profile="quick"))[0].verdict == "not comparable"  # equal widths
    assert verdicts._size(runs.iloc[:1]) == []


# Cells and tables, by hand.


def test_numbers_are_written_for_people_and_sorted_by_value():
    assert blocks.number(-1234567) == blocks.Cell(f"{blocks.MINUS}1\u202f234\u202f567", sort=-1234567.0)
    assert blocks.number(0.5, signed=True).text == "+0.5"
    assert blocks.number(np.nan) == blocks.Cell("")
    assert blocks.number(-np.inf).text == f"{blocks.MINUS}∞"
    assert blocks.spread(80.0, 1.5, 79.0, 81.0) == blocks.Cell("80.0 ± 1.5", "[79.0, 81.0]", 80.0)
    assert blocks.spread(80.0, np.nan).text == "80.0"


def test_a_figure_is_embedded_at_its_own_width(tmp_path):
    Figure(figsize=(7, 2)).savefig(tmp_path / "one.png", dpi=100)
    (one,) = blocks.pictures(tmp_path, "on*")
    assert one.width == round(700 * 0.57) and one.data.startswith("iVBOR")
    assert blocks.pictures(tmp_path, "two") == []


def test_any_frame_is_a_table():
    frame = pd.DataFrame({
        "corpus": ["x", "x"],
        "experiment": ["full", "sdt"],
        "accuracy_mean": [80.0, np.nan],
        "accuracy_std": [1.0, np.nan],
        "ci_low": [79.0, np.nan],
        "ci_high": [81.0, np.nan],
        "p_seeds_holm": [0.00001, 0.25],
        "verdict": ["undecided at n = 3 seeds", "supported"],
    })  # fmt: skip
    made = blocks.sheet(frame, "name", "Caption.")
    assert made.heads == ["experiment", "accuracy", "95 %", "p, seeds", "verdict"]
    first, second = made.rows
    assert [c.text for c in first] == ["LPGNet", "80.0 ± 1.0", "[79.0, 81.0]", "< 0.0001", "undecided"]
    assert (first[-1].small, first[-1].kind, second[-1].kind) == ("at n = 3 seeds", "chip open", "chip good")
    assert [c.text for c in second[1:4]] == ["", "", "0.25"]


def test_the_papers_tables_show_ours_printed_and_the_difference(place):
    made = rebuild(place)
    shown = report_tables.paper_sheet(made.tables[2], 2, "x.csv")
    assert shown.heads[:5] == ["Model", "ACC, ours", "ACC, paper", "Δ", "F1, ours"]
    line = made.tables[2].iloc[10]
    row = shown.rows[10]
    assert row[0].text == "LPGNet (Utterance)" and row[2].text == "87.99"
    assert row[1].text == f"{line['accuracy_mean']:.1f} ± {line['accuracy_std']:.1f}"
    assert row[3].sort == line["accuracy_delta"]
    assert shown.styles[0] == "quoted" and shown.rows[9][0].small == "not run yet"
    assert [c.small for c in row if c.text == "emotion2vec"] == ["here made-up"]
    seventh = report_tables.paper_sheet(made.tables[7], 7, "x.csv").rows[0]
    assert seventh[2].small.endswith("paper 92.06")


def test_readings_are_read_from_the_code(tmp_path):
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "one.py").write_text(
        '"""Words.\n\nReading R2: a long\nstory.  Reading R3: short.\n\nMore.\n"""\n'
        "x = 1  # Reading R1: one, not two\n# Reading R2: again,\n# and on\ny = 2  # (Reading R1)\n"
    )
    one, two, three = equations.readings(folder).values()
    assert one == [("x = 1", "one, not two", "pack/one.py:8")]
    story = ("", "a long story.", "pack/one.py:3")
    assert two == [story, ("", "again, and on", "pack/one.py:9")]
    assert three[0][1] == "short."


def test_every_reading_of_the_design_is_on_the_page(html):
    assert list(equations.readings()) == list(range(1, 29))
    assert all(f'id="reading-{n}"' in html for n in range(1, 29))


def test_options_name_a_place_again():
    for kind in ({}, {"split": "loso"}, {"labels": "majority-6", "profile": "paper"}, {"corpus": "iemocap"}):
        made = places.place(**kind)
        words = dict(zip(*[iter(provenance.options(made).split())] * 2, strict=True))
        again = places.place(**{name.removeprefix("--"): value for name, value in words.items()})
        assert again == made
    assert "/" not in provenance.options(places.place(text=str(ROOT)))


# Figures.


def test_every_box_of_fig_1_is_joined_and_every_equation_named():
    assert {name for arrow in ARROWS for name in arrow} == set(BOXES)
    words = " ".join(t.get_text() for t in architecture().axes[0].texts)
    named = {int(n) for n in re.findall(r"\((\d+)\)", words)}
    for low, high in re.findall(r"\((\d+)\)-\((\d+)\)", words):
        named |= set(range(int(low), int(high) + 1))
    assert named == set(range(2, 23))


@pytest.fixture
def full(place):
    """The predictions of `full`, its runs, the data: what its figures are drawn of."""
    runs = current_records(place)
    mine = runs[runs["experiment"] == "full"]
    return inside.predictions(mine), mine, records.read_data(place.runs)


def test_gates_are_means_over_utterances_then_seeds(full):
    scored, mine, data = full
    figure = inside.gates(scored, mine, data)
    want = [
        scored[scored["label"] == name].groupby("seed")["weight_text"].mean().mean() for name in mine["classes"].iloc[0]
    ]
    got = figure.axes[0].containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(np.array(got, dtype=float), 100 * np.array(want))
    absent = mine["classes"].iloc[0][0]  # a small test part may lack a class
    figure = inside.gates(scored[scored["label"] != absent], mine, data)
    got = figure.axes[0].containers[0].lines[0].get_ydata()
    assert np.isnan(np.array(got, dtype=float)).tolist() == [True, False, False, False]


def test_calibration_scales_by_each_runs_temperature(full):
    scored, mine, data = full
    classes = list(mine["classes"].iloc[0])
    errors = []
    for _, part in scored.groupby("seed"):
        sure = part[[f"p_{name}" for name in classes]].to_numpy()
        gold = pd.Index(classes).get_indexer(part["label"])
        errors.append(100 * calibration.ece(calibration.scaled(sure, 2.0), gold))
    before, after = (axis.texts[0].get_text() for axis in inside.calibration(scored, mine, data).axes)
    assert after == f"ECE {np.mean(errors):.1f} ± {np.std(errors, ddof=1):.1f} points" != before


def test_risk_is_drawn_over_what_is_answered_and_both_tables_stand_below(place, full):
    scored, mine, data = full
    classes = list(mine["classes"].iloc[0])
    curves, answered = [], []
    for _, part in scored.groupby("seed"):
        sure = calibration.scaled(part[[f"p_{name}" for name in classes]].to_numpy(), 2.0)
        gold = pd.Index(classes).get_indexer(part["label"])
        curves.append([100 * calibration.risk(sure, gold, np.array([share]))[0] for share in (0.5, 1.0)])
        answered.append(100 * (sure.max(1) >= calibration.SURE).mean())
    axis = inside.risk(scored, mine, data).axes[0]
    line = dict(zip(axis.lines[0].get_xdata().round(6), axis.lines[0].get_ydata(), strict=True))
    np.testing.assert_allclose([line[50], line[100]], np.mean(curves, axis=0))
    point = np.array(axis.containers[0].lines[0].get_xdata(), dtype=float)
    np.testing.assert_allclose(point, np.mean(answered))
    shown = {b.name: b for b in sections.model(sections.gather(place)).blocks if isinstance(b, blocks.Sheet)}
    assert list(shown) == ["calibration-errors", "coverage"]
    first = [cell.text for cell in shown["coverage"].rows[0]]
    assert first[:2] == ["80.0", "all classes"] and "exchangeable" in shown["coverage"].caption


def test_attention_and_features_are_drawn_where_a_run_left_them(place, full):
    _, mine, data = full
    kept = inside.checkpoint(mine, data, place.checkpoints)
    figure = inside.attention(kept, mine, data)
    for axis, path in zip(figure.axes[:-1], inside.PATHS, strict=True):
        want = kept[f"attention_{path}"]
        np.testing.assert_allclose(axis.collections[0].get_array().reshape(want.shape), want)
    flat = inside._flat(kept["fused"].astype(float), 3.0)
    assert [place.shape for place in flat.values()] == [(len(kept["ids"]), 2)] * 2
    assert inside.checkpoint(mine, data, place.checkpoints / "none") is None
    made = rebuild(place)
    assert all(theme.FIGURES[name].of(made) for name in ("gates", "calibration", "attention", "embedding"))
    (folder := place.checkpoints).rename(away := folder.with_name("away"))
    paths = draw(made)
    away.rename(folder)
    inner = {"gates", "calibration", "attention", "embedding"}
    assert {"gates", "calibration"} == {p.stem for p in paths} & inner
    draw(made)


def test_cost_is_drawn_from_what_was_measured(place):
    """The main models; the other of the two lines, a variant, stands in the table alone."""
    efficiency = pd.read_csv(place.results / "efficiency.csv")
    assert len(of_runs.cost(efficiency).axes[0].containers) == 1
    figure = of_runs.cost(efficiency.assign(experiment=["full", "sdt"]))
    for axis, want in zip(figure.axes, ([7, 70], [11, 110]), strict=True):
        assert [c.lines[0].get_xdata()[0] for c in axis.containers] == want
        assert axis.get_xscale() == "log"


def test_a_figure_that_is_no_longer_made_goes(place, tmp_path):
    made = rebuild(place)
    copy = dataclasses.replace(made, place=dataclasses.replace(place, output=tmp_path))  # without checkpoints
    folder = copy.place.figures
    folder.mkdir(parents=True)
    for name in ("attention", "missing"):
        (folder / f"{name}.png").touch()
    theme.save_figure("cost", Figure(), folder, "stamp").rename(folder / "confusion_linear.png")
    draw(copy)
    left = {path.name for path in folder.iterdir()}
    assert "missing.png" in left  # another's
    assert not left & {"confusion_linear.png", "attention.png"}


# Sections.

EVIL = "<img src=x onerror=alert(1)> $x^2$"


def test_a_section_is_the_same_in_a_notebook_and_on_the_page(html, place):
    found = sections.gather(place)
    assert [section(found).name for section in sections.SECTIONS] == SECTIONS
    for section in (make(found) for make in sections.SECTIONS):
        alone = section._repr_html_()
        start = alone.index(">", alone.index("<div")) + 1
        body = alone[start : alone.rindex("</div>")].strip()
        if section.name != "provenance":  # which says of what git says
            assert body and body in html
        assert f'id="{section.name}"' in alone and "mathjax_ignore" in alone
    empty = blocks.Section("name", "Short", "Title", [])
    assert "nothing to show" in empty._repr_html_()


def test_every_figure_that_is_written_is_on_the_page_with_its_words(html, place):
    there = {attrs["id"] for tag, attrs in Seen(html).tags if tag == "figure"}
    assert there == {f"figure-{path.stem}" for path in place.figures.glob("*.png")}
    shown = {attrs["alt"] for tag, attrs in Seen(html).tags if tag == "img"}
    assert shown == {theme.FIGURES[path.stem].alt for path in place.figures.glob("*.png")}


def test_the_report_draws_nothing_that_is_there(place, monkeypatch):
    page.write(place)
    monkeypatch.setattr(theme, "save_figure", None)
    before = {path: path.stat().st_mtime_ns for path in place.figures.iterdir()}
    page.write(place)
    assert {path: path.stat().st_mtime_ns for path in place.figures.iterdir()} == before


def test_a_name_is_never_markup(tmp_path, place):
    """An encoder's, a class's, a file's name, in a section as on the page."""
    found = sections.gather(place)
    data = json.loads(json.dumps(found.made.data))
    data["features"]["text"]["encoder"] = data["features"]["audio"]["encoder"] = EVIL
    classes = [EVIL, *data["protocols"]["majority-4"]["classes"][1:]]
    data["protocols"]["majority-4"] |= {"classes": classes}
    own = Evaluation(found.made.runs, data)
    tables = dict(found.made.tables)
    for number in range(2, 8):
        note = tables[number]["note"].mask(tables[number]["source"].eq("run"), EVIL)
        tables[number] = tables[number].assign(note=note)
    tables[1] = tables[1].rename(columns=lambda name: name.replace("happy", EVIL))
    for number in (2, 4, 5):
        tables[number] = tables[number].replace("made-up", EVIL)
    sliced = found.made.beside["slices"].copy()
    sliced.attrs["left_out"] = [EVIL]
    made = dataclasses.replace(found.made, evaluation=own, tables=tables, beside=found.made.beside | {"slices": sliced})
    audit = found.audit.assign(detail=EVIL)
    found = dataclasses.replace(found, made=made, audit=audit, paper=found.paper.assign(note=EVIL))
    shown = [page.html(found), *(section(found)._repr_html_() for section in sections.SECTIONS)]
    for text in shown:
        assert "<img src=x" not in text
    assert sum("&lt;img src=x" in text for text in shown) >= 5
    tags = [attrs for text in shown for tag, attrs in Seen(text).tags if tag == "img"]
    assert all("onerror" not in attrs and attrs["src"].startswith("data:") for attrs in tags)


# In a browser.

CHECKS = """
<script>
addEventListener("load", () => {
  const heads = document.querySelectorAll("#claims thead button");
  const column = () => [...document.querySelectorAll("#claims tbody tr")].map((r) => r.cells[2].dataset.sort);
  heads[2].click();
  const up = column();
  const said = heads[2].parentNode.getAttribute("aria-sort");
  heads[2].click();
  const down = column();
  const before = getComputedStyle(document.body).backgroundColor;
  document.getElementById("theme").click();
  const after = getComputedStyle(document.body).backgroundColor;
  const wide = [document.documentElement.scrollWidth, document.documentElement.clientWidth];
  parent.postMessage({ up, down, said, before, after, wide }, "*");
});
</script></body>
"""
CANARY = "http://canary.invalid/x.png"
FRAME = f"""<!doctype html><title>frame</title><img src="{CANARY}">
<iframe src="page.html" style="width:390px;height:844px;border:0"></iframe>
<pre id="said"></pre>
<script>
addEventListener("message", (m) => {{
  document.getElementById("said").textContent = JSON.stringify(m.data);
}});
</script>
"""


def browse(folder: Path, html: str, checks: str, *more: str) -> tuple[dict, str]:
    """A page in Debian's Chromium at the width of a phone: what its checks say, and the browser's own words."""
    if CHROMIUM is None:
        warnings.warn("no chromium on PATH: a page was not opened in a browser", stacklevel=1)
        pytest.skip("no chromium on PATH (Debian: apt install chromium)")
    (folder / "page.html").write_text(html.replace("</body>", checks), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME)
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    quiet += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    command = [CHROMIUM, *quiet, *more, "--dump-dom", f"file://{folder / 'frame.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)
    assert said and said[1], done.stderr[-2000:]
    return json.loads(unescape(said[1])), done.stderr


@pytest.fixture(scope="module")
def browsed(html, tmp_path_factory):
    """The page: what it says, its console, its net log."""
    folder = tmp_path_factory.mktemp("browser")
    quiet = ["--disable-quic", "--disable-component-update", "--disable-sync", "--disable-extensions"]
    quiet += [f"--log-net-log={folder / 'net.json'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    said, console = browse(folder, html, CHECKS, *quiet)
    return said, console, json.loads((folder / "net.json").read_text())["events"]


def test_in_a_browser_nothing_is_complained_of_and_no_request_leaves(browsed):
    _, console, net = browsed
    assert [line for line in console.splitlines() if "CONSOLE" in line] == []
    asked = [event["params"] for event in net if "initiator" in event.get("params", {})]
    by_pages = {request["url"] for request in asked if request["initiator"] != "not an origin"}
    assert by_pages == {CANARY}  # the frame's: so the log would tell; the others are Chromium's own


def test_in_a_browser_tables_sort_and_the_light_goes_out(browsed):
    said, _, _ = browsed
    up = [float(value) for value in said["up"]]
    assert up == sorted(up) and len(set(up)) > 1 and said["said"] == "ascending"
    assert [float(value) for value in said["down"]] == up[::-1]
    assert said["before"] != said["after"]


def test_on_a_phone_the_page_does_not_scroll_sideways(browsed):
    said, _, _ = browsed
    page_wide, window = said["wide"]
    assert page_wide == window <= 390
