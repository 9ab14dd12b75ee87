"""A conversation read as it comes: nothing of the future reaches a turn, and nothing that was said changes."""

import copy
import dataclasses
import json

import pandas as pd
import pytest
import torch
from conftest import lpgnet, made_table, write_store
from test_predict import TEST, altered, hearer, own  # noqa: F401  fixtures

from lpgnet import places
from lpgnet.beyond.conversation import predict, sources
from lpgnet.runs import checkpoint, training


@pytest.fixture(scope="module")
def causal(hearer):  # noqa: F811
    """An untrained reader whose turns read those before them."""
    trained = copy.deepcopy(hearer.trained)
    trained["config"]["data"]["sees"] = "past"
    torch.manual_seed(0)
    return altered(hearer, trained=trained | {"experiment": "past_full"})


@pytest.fixture
def rows(hearer):  # noqa: F811
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(7, size, generator=generator) for m, size in hearer.sizes.items()}


def changed(rows: dict, turn: int) -> dict:
    return {m: torch.cat([x[: turn + 1], x[turn + 1 :] + 5]) for m, x in rows.items()}


def came(reader, folder) -> list[pd.DataFrame]:
    talk = sources.from_folder(folder)
    return list(predict.turns_as_they_come(reader, talk, predict.encoders(reader, talk)))


# The four tests of a causal reader; LPGNet as printed fails each.


def test_another_future_changes_nothing(causal, hearer, rows):  # noqa: F811
    for turn in range(6):
        (p, weight), (q, other) = causal(rows), causal(changed(rows, turn))
        assert (p[: turn + 1] == q[: turn + 1]).all() and not (p[turn + 1 :] == q[turn + 1 :]).any()
        assert all((weight[m][: turn + 1] == other[m][: turn + 1]).all() for m in weight)
    assert not (hearer(rows)[0][:4] == hearer(changed(rows, 3))[0][:4]).any()


def test_a_prefix_gives_what_the_whole_gives(causal, hearer, rows):  # noqa: F811
    whole = causal(rows)[0]
    for turn in range(7):
        begun = {m: x[: turn + 1] for m, x in rows.items()}
        assert (causal(begun)[0] == whole[: turn + 1]).all()
        assert (causal.latest(begun)[0] == whole[turn : turn + 1]).all()
    assert not (hearer({m: x[:4] for m, x in rows.items()})[0] == hearer(rows)[0][:4]).any()


def test_no_gradient_comes_from_the_future(causal, hearer, rows):  # noqa: F811
    def reached(reader) -> list[int]:
        """The turns that the fourth turn's answer depends on."""
        asked = {m: x.clone().requires_grad_() for m, x in rows.items()}
        checkpoint.Reader.forward.__wrapped__(reader, asked)[0][3, 0].backward()
        return [i for i in range(7) if all(x.grad[i].any() for x in asked.values())]

    assert reached(causal) == [0, 1, 2, 3] and reached(hearer) == list(range(7))


def test_a_conversation_cut_short_says_the_same_encoders_and_all(causal, own):  # noqa: F811
    talk = sources.from_folder(own)
    whole = came(causal, own)
    lines = (own / "transcript.csv").read_text().splitlines()
    (own / "c.wav").unlink()
    (own / "transcript.csv").write_text("\n".join(lines[:3]) + "\n")
    pd.testing.assert_frame_equal(pd.concat(came(causal, own)), pd.concat(whole[:2]))
    assert pd.concat(whole)["turn"].tolist() == [1, 2, 3, 4] == [*talk.turns.index + 1]


# What is said


def test_as_they_come_they_are_what_the_whole_gives(causal, own):  # noqa: F811
    """The encoders' batches differ, by rounding alone."""
    talk = sources.from_folder(own)
    at_once = predict.turn_predictions(causal, talk, predict.vectors(causal, talk))
    found = pd.concat(came(causal, own), ignore_index=True)
    pd.testing.assert_frame_equal(found, at_once, rtol=1e-4, atol=1e-5)
    assert "Each turn is read with those before it alone." in predict.notes(causal, talk, found)


def test_a_first_turn_of_which_nothing_is_known_is_abstained_from(causal, own):  # noqa: F811
    text = (own / "transcript.csv").read_text().splitlines()
    (own / "transcript.csv").write_text("\n".join([text[0], text[4], *text[1:4]]) + "\n")
    first = came(causal, own)[0].iloc[0]
    assert first["abstain"] and len(first["set"]) == 4


def test_a_cut_turn_is_named_by_its_number(causal, own):  # noqa: F811
    path = own / "transcript.csv"
    path.write_text(path.read_text().replace("The house is old", "The house is old " * 130))
    talk = sources.from_folder(own)
    list(predict.turns_as_they_come(causal, talk, predict.encoders(causal, talk)))
    assert talk.said[-1] == "Cut: the text encoder reads 512 tokens of turn 2."


def test_a_reader_of_the_whole_conversation_is_refused(hearer, own, tmp_path):  # noqa: F811
    hearer.save_pretrained(tmp_path / "c")
    with pytest.raises(ValueError, match="which reads the whole conversation: online wants a checkpoint of past_full"):
        predict.open_conversation(places.place(), own, checkpoint=tmp_path / "c", online=True)
    with pytest.raises(ValueError, match="reads the whole conversation: want past_full"):
        came(hearer, own)


def test_the_command_prints_a_line_per_turn_and_writes_what_it_said(tmp_path):
    place = dataclasses.replace(places.place(), output=tmp_path)
    write_store(place.features, made_table())
    training.run_missing(place, ["past_full"], seeds=1, jobs=1, device="cpu")
    done = lpgnet(
        tmp_path, "predict", "--dialogue", TEST, "--online", "--coverage", "0.8", "--out", str(tmp_path / "o")
    )
    assert done.returncode == 0, done.stderr
    turns = json.loads((tmp_path / "o" / f"{TEST}.json").read_text())["turns"]
    lines = done.stdout.splitlines()[: len(turns)]
    assert [line.split("  ")[0] for line in lines] == [str(turn["turn"]) for turn in turns] == list("1234567")
    assert all(f"  {turn['predicted']}  " in line for turn, line in zip(turns, lines, strict=True))
    assert "Each turn is read with those before it alone." in done.stdout and "in 80 % of turns like" in done.stdout
    assert "says nothing about emotion" in done.stdout and "past_full" in done.stdout
