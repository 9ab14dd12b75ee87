"""Protocols, manifests, splits."""

import hashlib
from typing import get_args

import pandas as pd
import pytest
from conftest import refused

from lpgnet.config import Validation
from lpgnet.labels import CARRIES, ERC6_EXTRA, PROTOCOLS, counts, digest, folds, manifest, meant, rule, write_manifests


def table_of(*rows):
    frame = pd.DataFrame(rows, columns=["id", "dialogue", "label"])
    return frame.assign(order=range(len(frame)), speaker="Ses01F", session=1, scripted=False, part="")


ROWS = [
    ("Ses01F_impro01_F000", "d", "hap"),
    ("Ses01F_impro01_F001", "d", "exc"),
    ("Ses01F_impro01_F002", "d", "fru"),
    ("Ses01F_impro01_F003", "d", "xxx"),
    ("Ses01F_impro01_F004", "d", ""),
    ("Ses01F_impro03_F007", "d", "xxx"),  # one of the 53
    ("Ses01F_impro03_F011", "d", "sad"),  # one of the 53 by id, but its label isn't xxx
]


@pytest.mark.parametrize(
    ("protocol", "kept"),
    [
        ("majority-4", {0: "happy", 1: "happy", 6: "sad"}),
        ("majority-6", {0: "happy", 1: "excited", 2: "frustrated", 6: "sad"}),
        ("erc-6", {0: "happy", 1: "excited", 2: "frustrated", 5: "happy", 6: "sad"}),
    ],
)
def test_which_rows_a_protocol_keeps_and_as_what(protocol, kept):
    found = manifest(table_of(*ROWS), protocol)
    assert dict(zip(found["order"], found["label"], strict=True)) == kept and len(ERC6_EXTRA) == 53


def test_an_unknown_protocol_is_refused():
    refused(manifest, table_of(*ROWS), "majority-5", says="no label protocol 'majority-5'; there are")


def test_own_takes_every_label_as_a_class():
    assert rule(table_of(*ROWS), "own").classes == ("exc", "fru", "hap", "sad", "xxx")
    assert len(manifest(table_of(*ROWS), "own")) == 6


def test_the_hash_knows_every_label():
    one, two = table_of(*ROWS), table_of(*ROWS)
    two.loc[0, "label"] = "sad"
    assert digest(manifest(one, "majority-4")) == digest(manifest(one.copy(), "majority-4"))
    assert digest(manifest(one, "majority-4")) != digest(manifest(two, "majority-4"))


def test_a_manifest_s_hash_is_that_of_its_file(tmp_path):
    table = table_of(*ROWS)
    digests = write_manifests(table, CARRIES["iemocap"], tmp_path)
    assert list(digests) == ["majority-4", "majority-6", "erc-6"]
    for name, sha in digests.items():
        assert hashlib.sha256((tmp_path / f"{name}.csv").read_bytes()).hexdigest() == sha


def test_counts_by_session_and_class():
    kept = manifest(table_of(*ROWS), "majority-4")
    assert counts(kept, PROTOCOLS["majority-4"].classes, "session5") == {
        "1": {"happy": 2, "sad": 1, "neutral": 0, "angry": 0}
    }


IEMOCAP_DIALOGUES = (28, 30, 32, 30, 31)


def iemocap_shaped():
    rows = [(f"Ses0{s}F_{i:02d}", s) for s, n in enumerate(IEMOCAP_DIALOGUES, 1) for i in range(n)]
    return pd.DataFrame(rows, columns=["dialogue", "session"]).sample(frac=1, random_state=0)


def test_session5_holds_out_12_of_120_dialogues_with_one_per_session_at_least():
    (fold,) = folds(iemocap_shaped(), "session5")
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (108, 12, 31)
    assert {d[:5] for d in fold.validation} == {"Ses01", "Ses02", "Ses03", "Ses04"}
    assert all(d.startswith("Ses05") for d in fold.test)
    assert not set(fold.train) & set(fold.validation) and not set(fold.train) & set(fold.test)


def test_validation_is_drawn_once_whatever_the_order_of_rows():
    assert folds(iemocap_shaped(), "session5") == folds(iemocap_shaped().sort_values("dialogue"), "session5")


def test_loso_tests_each_dialogue_once_and_never_trains_on_its_session():
    got = folds(iemocap_shaped(), "loso")
    assert sorted(d for f in got for d in f.test) == sorted(iemocap_shaped()["dialogue"])
    for fold in got:
        held = {d[:5] for d in fold.test}
        assert len(held) == 1 and not held & {d[:5] for d in fold.train + fold.validation}


def test_reading_r13_alternatives():
    (last,) = folds(iemocap_shaped(), "session5", "session4")
    assert {d[:5] for d in last.validation} == {"Ses04"} and len(last.validation) == 30
    (none,) = folds(iemocap_shaped(), "session5", "none")
    assert none.validation == () and len(none.train) == 120


def test_other_draws_and_each_session_validate_in_turn():
    """Five draws that differ, of one size, each with a dialogue of every session; four sessions, each whole."""
    names = get_args(Validation)
    parts = {name: folds(iemocap_shaped(), "session5", name)[0] for name in names}
    draws = [set(parts[name].validation) for name in names if name.startswith("tenth")]
    assert len(draws) == len(set(map(frozenset, draws))) == 5
    for held in draws:
        assert len(held) == 12 and {d[:5] for d in held} == {"Ses01", "Ses02", "Ses03", "Ses04"}
    for number in range(1, 5):
        held = parts[f"session{number}"].validation
        assert held == tuple(d for d in sorted(iemocap_shaped()["dialogue"]) if d.startswith(f"Ses0{number}"))
    for fold in parts.values():
        assert len(fold.train) + len(fold.validation) == 120 and len(fold.test) == 31


def test_a_small_corpus_still_has_a_dialogue_per_session():
    small = pd.DataFrame([(f"Ses0{s}_{i}", s) for s in range(1, 6) for i in range(3)], columns=["dialogue", "session"])
    (fold,) = folds(small, "session5")
    assert len(fold.validation) == 4


def test_splits_that_cannot_be():
    refused(folds, iemocap_shaped(), "session6", says="no split 'session6'")
    refused(folds, iemocap_shaped().query("session < 3"), "session5", says="tests 5; the corpus has sessions '1', '2'")
    with pytest.raises(ValueError, match="split official tests test; the corpus has parts ''"):
        folds(iemocap_shaped().assign(part=""), "official")


def official():
    rows = [(f"{p}{i}", 0, p) for p, n in (("train", 20), ("validation", 3), ("test", 5)) for i in range(n)]
    return pd.DataFrame([*rows, ("loose", 0, "")], columns=["dialogue", "session", "part"])


def test_the_official_split_is_the_corpus_s_own():
    (fold,) = folds(official(), "official")
    assert fold.name == "official" and len(fold.train) == 20
    assert fold.validation == ("validation0", "validation1", "validation2") and len(fold.test) == 5
    assert "loose" not in fold.train + fold.validation + fold.test


def test_an_official_split_without_validation_gives_a_tenth_of_its_training_part():
    frame = official()
    (fold,) = folds(frame[frame["part"] != "validation"], "official")
    assert len(fold.validation) == 2 and len(fold.train) == 18 and len(fold.test) == 5


def test_six_classes_are_erc_6_where_its_ids_exist():
    """Reading R25: 71.78 and 67.47 % are 1165 and 1095 of erc-6's 1,623, and no whole count of 1,622."""
    assert meant("six", "majority-4", CARRIES["iemocap"]) == "erc-6"
    assert meant("six", "majority-4", CARRIES["simulated"]) == "majority-6"
    assert meant("six", "meld-7", CARRIES["meld"]) not in CARRIES["meld"]  # refused there by name
    assert meant(None, "majority-4", ()) == "majority-4" and meant("erc-6", "majority-4", ()) == "erc-6"
    for printed, count in ((71.78, 1165), (67.47, 1095)):
        assert round(100 * count / 1623, 2) == printed
        assert printed not in {round(100 * n / 1622, 2) for n in range(1623)}
