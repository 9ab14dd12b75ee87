"""What a model costs, held to closed formulas of its equations."""

import dataclasses

import pandas as pd
import pytest
from conftest import SIZES

from lpgnet.beyond import efficiency
from lpgnet.experiments import experiment
from lpgnet.runs import training
from lpgnet.runs.plan import describe

T, A, C, D, TURNS = 5, 3, 4, 8, 7
SHAPE = (SIZES, C, 2)


def run_of(name, **changes):
    run = experiment(name)
    size = {"hidden": D} if hasattr(run.model, "hidden") else {}
    size |= {"heads": 2} if name.startswith("sdt") else {}
    return dataclasses.replace(run, model=dataclasses.replace(run.model, **size | changes))


def lpgnet(u):
    """Eqs. (2)-(15) and (18) with R2, R3, R5: multiply-adds for u turns, four paths."""
    encode = u * (T + A) * D  # (2)
    attend = 4 * (u * u * D + u * D)  # QK^T of (3), and the mean row times the values
    refine = 4 * (D * D + 2 * 2 * D * D)  # (6) and (7), one context a path
    gate = 4 * u * D * D  # (9)
    merge = 2 * u * 2 * D * D  # (12)
    fuse = u * D * D  # (13), W once, on the difference of the two
    heads = 3 * u * D * C  # (15), (18)
    return encode + attend + refine + gate + merge + fuse + heads


def sdt(u):
    """Two input maps; per path q, k, v, out, the FFN's two, a gate, attention; merge, fuse, three heads."""
    path = u * 4 * D * D + 2 * u * u * D + 2 * u * D * D + u * D * D
    return u * (T + A) * D + 4 * path + 2 * u * 2 * D * D + u * D * D + 3 * u * D * C


def bigru(u):
    half = D // 2
    return 2 * u * 3 * half * (T + A + half) + u * D * C


WANT = {
    "full": lpgnet,
    "full_by_query": lpgnet,
    "sdt": sdt,
    "bigru": bigru,
    "linear": lambda u: u * (T + A) * C,
    "linear_audio": lambda u: u * A * C,
    "text_only": lambda u: u * T * D + u * u * D + u * D + 5 * D * D + u * D * D + u * D * D + u * D * C,
    "no_ffn": lambda u: lpgnet(u) - 16 * D * D,
    "no_gates": lambda u: lpgnet(u) - 5 * u * D * D,
    "no_inter": lambda u: u * (T + A) * D + 2 * (u * u * D + u * D) + 10 * D * D + 5 * u * D * D + 3 * u * D * C,
}


@pytest.mark.parametrize("name", WANT)
@pytest.mark.parametrize("turns", [1, TURNS])
def test_multiply_adds_are_those_of_the_equations(name, turns):
    assert efficiency.count(run_of(name), *SHAPE, turns) == WANT[name](turns)


@pytest.mark.parametrize("name", efficiency.NETWORKS)
def test_parameters_are_those_of_a_model_that_is_made(name):
    run = run_of(name)
    made = efficiency.network(run, *SHAPE)
    assert efficiency.parameters(run, *SHAPE) == sum(p.numel() for p in made.parameters())


def test_parameters_by_hand():
    linear = (T + A) * C + C
    assert efficiency.parameters(run_of("linear"), *SHAPE) == linear
    encode = T * D + D + A * D + D
    refine = 4 * (D * D + 2 * D + 2 * D + 2 * 2 * D * D)  # (6) with its norm, LayerNorm, W1, W2
    fuse = 4 * D * D + 2 * (2 * D * D + D) + D * D
    assert efficiency.parameters(run_of("full"), *SHAPE) == encode + refine + fuse + 3 * (D * C + C)


def test_peak_memory_of_a_linear_map_by_hand():
    """Four bytes a number: weights, bias, the inputs, these concatenated, the logits; and the layout."""
    numbers = (T + A) * C + C + TURNS * (T + A) * 2 + TURNS * C
    most = efficiency.peak(run_of("linear"), *SHAPE, TURNS)
    layout = TURNS * (8 + 8 + 1 + 8 + 8) + 8  # places, sequence, valid, speaker, labels; lengths
    assert 4 * numbers <= most <= 4 * numbers + 2 * layout


def test_peak_memory_grows_with_turns_and_width():
    narrow, wide = run_of("full"), run_of("full", hidden=2 * D)
    few, many = (efficiency.peak(narrow, *SHAPE, n) for n in (10, 100))
    assert few < many < efficiency.peak(wide, *SHAPE, 100)
    assert many >= 4 * (efficiency.parameters(narrow, *SHAPE) + 100 * 100)


def test_the_table_puts_cost_beside_accuracy(here, monkeypatch):
    runs = training.run_missing(here, ["full", "linear"], seeds=2, jobs=1)
    data = describe(here)
    table = efficiency.efficiency(here, runs, data)
    assert table["experiment"].tolist() == ["full", "linear"] * 2 and table["profile"].tolist()[2:] == ["paper"] * 2
    assert table["accuracy_mean"].isna().tolist() == [False, False, True, True]
    full = table.iloc[0]
    assert (full["parameters"], full["n_seeds"]) == (runs["parameters"].max(), 2)
    correct = [sum(c["best_validation"][i][i] for i in range(4)) for c in runs["confusion"][:2]]
    total = sum(map(sum, runs["confusion"][0]["best_validation"]))
    assert full["accuracy_mean"] == pytest.approx(50 * sum(correct) / total, abs=0.006)
    assert (table.filter(like="latency_ms") > 0).all(axis=None)
    for n in efficiency.TURNS:
        low, middle, high = (table[f"latency_ms_{n}{end}"] for end in ("_low", "", "_high"))
        assert ((low <= middle) & (middle <= high)).all()
    path = efficiency.write(table, here)
    assert pd.read_csv(path)["multiply_adds"].tolist() == table["multiply_adds"].tolist()
    with monkeypatch.context() as patch:  # what was measured is not measured again
        patch.setattr(efficiency, "latency", None)
        pd.testing.assert_frame_equal(efficiency.efficiency(here, runs, data), table)
