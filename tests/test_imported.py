"""Files of the literature: what may be unpickled, what each form gives, what is refused, and back again."""

import hashlib
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from lpgnet.beyond.exchange import differences, unpickle, vectors
from lpgnet.beyond.exchange.describe import report
from lpgnet.beyond.exchange.export import export
from lpgnet.beyond.exchange.imported import Imported, read
from lpgnet.config import ROOT
from lpgnet.corpora import counts
from lpgnet.corpora.table import COLUMNS
from lpgnet.features.store import Modality
from lpgnet.labels import ERC6_EXTRA, PROTOCOLS, labelled

TEXT, AUDIO, VISUAL = 7, 5, 3
DIALOGUES = {  # in this order in the files, which isn't the table's
    "Ses05M_script01_1b": ["F000", "M001"],
    "Ses02F_impro03": ["M000", "F007", "M001", "F001", "F002"],
    "Ses02F_impro01": ["F000", "M000", "F001"],
}
LABELS = {"Ses05M_script01_1b": [4, 3], "Ses02F_impro03": [0, 0, 5, 4, -1], "Ses02F_impro01": [1, 2, 3]}
CODES = ["sad", "neu", "ang", "hap", "xxx", "fru", "exc", "", "exc", "ang"]  # IDS[4] is one of the 53
IDS = [
    *("Ses02F_impro01_F000", "Ses02F_impro01_M000", "Ses02F_impro01_F001"),
    *("Ses02F_impro03_M000", "Ses02F_impro03_F007", "Ses02F_impro03_M001"),
    *("Ses02F_impro03_F001", "Ses02F_impro03_F002", "Ses05M_script01_1b_F000", "Ses05M_script01_1b_M001"),
]
MELD_TURNS = {5: 2, 0: 3, 11: 1, 2: 2}  # dialogue -> utterances


def numbered(sizes, width, start=0.0):
    """dialogue -> (utterances, width), all values distinct."""
    found = {}
    for key, size in sizes.items():
        found[key] = start + np.arange(size * width, dtype=np.float32).reshape(size, width)
        start += size * width
    return found


def iemocap():
    """The fields of an IEMOCAP file of the literature, by name."""
    sizes = {k: len(v) for k, v in DIALOGUES.items()}
    layers = {f"roberta{i}": numbered(sizes, TEXT, 1000.0 * i) for i in range(1, 5)}
    return layers | {
        "ids": {k: [f"{k}_{turn}" for turn in v] for k, v in DIALOGUES.items()},
        "speakers": {k: [turn[0] for turn in v] for k, v in DIALOGUES.items()},
        "labels": {k: list(v) for k, v in LABELS.items()},
        "text": {k: list(v) for k, v in numbered(sizes, TEXT).items()},
        "audio": numbered(sizes, AUDIO, 0.5),
        "visual": numbered(sizes, VISUAL),
        "sentences": {k: [f"{k} says {turn}" for turn in v] for k, v in DIALOGUES.items()},
        "train": {"Ses02F_impro03", "Ses02F_impro01"},
        "test": ["Ses05M_script01_1b"],
        "validation": [],
    }


def meld():
    hot = {k: np.eye(9)[[(k + i) % 9 for i in range(n)]].tolist() for k, n in MELD_TURNS.items()}
    hot[5][1] = [0.0] * 9
    layers = {f"roberta{i}": numbered(MELD_TURNS, TEXT, 100.0 * i) for i in range(1, 5)}
    return layers | {
        "ids": {k: list(map(str, range(n))) for k, n in MELD_TURNS.items()},
        "speakers": hot,
        "labels": {5: [0, 6], 0: [1, 2, 3], 11: [4], 2: [5, -1]},
        "sentiments": {k: [0] * n for k, n in MELD_TURNS.items()},
        "text": numbered(MELD_TURNS, TEXT),
        "audio": numbered(MELD_TURNS, AUDIO),
        "visual": numbered(MELD_TURNS, VISUAL),
        "sentences": {k: ["well"] * n for k, n in MELD_TURNS.items()},
        "train": [5, 0],
        "test": np.array([11]),
        "validation": {2},
    }


SDT = "ids speakers labels text roberta2 roberta3 roberta4 audio visual sentences train test"
NINE = "ids speakers labels text audio visual sentences train test"
COSMIC = "roberta1 roberta2 roberta3 roberta4 sentences train test validation"


def fields(held, names):
    return tuple(None if name == "-" else held[name] for name in names.split())


def write(path, value, protocol=2):
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


def read_fields(tmp_path, held, names=SDT, protocol=2, **beside):
    return read(write(tmp_path / "features.pkl", fields(held, names), protocol), **beside)


def stacked(values, order):
    return np.concatenate([np.asarray(values[k], np.float32) for k in order])


SORTED = ["Ses02F_impro01", "Ses02F_impro03", "Ses05M_script01_1b"]


# What may be unpickled


class Evil:
    """Pickles as a call; the marks say whether anything ran."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def attacks(mark):
    command = f"touch {mark}"
    return {
        "posix.system": Evil(os.system, command),
        "builtins.eval": Evil(eval, f"__import__('os').system({command!r})"),
        "builtins.exec": Evil(exec, f"open({str(mark)!r}, 'w')"),
        "builtins.getattr": Evil(getattr, os, "system"),
        "builtins.open": Evil(open, str(mark), "w"),
        "builtins.__import__": Evil(__import__, "antigravity"),
        "subprocess.check_output": Evil(subprocess.check_output, ["touch", str(mark)]),
        "numpy.load": Evil(np.load, str(mark)),
        "numpy.fromfile": Evil(np.fromfile, str(mark)),
        "numpy.save": Evil(np.save, str(mark), 1),
        "numpy.memmap": Evil(np.memmap, str(mark), "u1", "w+", 0, 3),
        "pathlib.Path": Evil(type(mark), "x"),
        "functools.partial": Evil(__import__("functools").partial, os.system, command),
    }


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_is_refused_by_name_and_nothing_runs(tmp_path, protocol):
    mark, file = tmp_path / "mark", tmp_path / "evil.pkl"
    for name, evil in attacks(mark).items():
        if name == "builtins.getattr":
            evil = Evil(getattr, "text", "upper")  # a module can't be pickled
        for value in (evil, (numbered({1: 2}, 3), [np.arange(3.0), {"a": evil}])):
            try:
                write(file, value, protocol)
            except (pickle.PicklingError, AttributeError):
                continue
            short = name.rpartition(".")[2].replace("Path", "Posix")
            refused(read, file, says=rf"evil\.pkl names [\w.]*{short}[\w.]*, which is no type")
            assert not mark.exists()
    write(file, Evil(os.system, f"touch {mark}"), protocol)
    refused(read, file, says=r"names (posix|nt)\.system, which is no type of data")


def array_pickle(shape, data, dtype=b"f4"):
    """Protocol 0 of an array with a state of our choice."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n" + shape + b"cnumpy\ndtype\n(S'" + dtype + b"'\nI0\nI1\ntR"
        b"(I3\nS'" + (b"|" if dtype[:1] == b"O" else b"<") + b"'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\n" + data + b"tb."
    )


FILLED = array_pickle(b"(I1\nt", b"S'abcd'\n")
NESTED = b"(" + b"(" * 50 + b"t" * 50  # a tuple of tuples of tuples
MAKE = b"cnumpy.core.multiarray\n_reconstruct\n("
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
BUFFER = b"cnumpy.core.numeric\n_frombuffer\n(c_codecs\nencode\n(Vabcd\nS'latin1'\ntR%s(I%d\ntS'%s'\ntR."


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"cnumpy\nload\n(S'x'\ntR.", r"names numpy\.load"),
        (b"cnumpy.core.multiarray\nfromfile\n(S'x'\ntR.", r"names numpy\.core\.multiarray\.fromfile"),
        (b"(S'touch x'\niposix\nsystem\n.", r"names posix\.system"),
        (b"(cbuiltins\nlist\no.", "in a way that data doesn't need"),  # OBJ
        (b"\x80\x02cbuiltins\nlist\n)\x81.", "in a way that data doesn't need"),  # NEWOBJ
        (b"\x80\x04cbuiltins\nlist\n)}\x92.", "in a way that data doesn't need"),  # NEWOBJ_EX
        (b"\x80\x02\x82\x01.", "in a way that data doesn't need"),  # EXT1
        (b"\x80\x05\x97.", "in a way that data doesn't need"),  # NEXT_BUFFER
        (b"Pfile:///etc/passwd\n.", "persistent id"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent id"),
        (b"]}S'__class__'\nN\x86b.", "sets the state of a dict"),
        (b"\x80\x02]N\x85b.", "sets the state of a list"),
        (b"(lS'a'\n)R.", "calls something that is no type"),
        (b"cnumpy\nndarray\n(I1000000000000\ntR.", "calls a type"),
        (b"cbuiltins\nbytearray\n(L1000000000000L\ntR.", r"gives builtins\.bytearray|encodes text"),
        (b"cbuiltins\nbytes\n(L1000000000000L\ntR.", r"gives builtins\.bytes|encodes text"),
        (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "encodes text as 'rot13'"),
        (b"cbuiltins\nlist\n.", "holds a type and no data"),
        (b"cnumpy\ndtype\n(S'V1000'\nI0\nI1\ntR.", "dtype 'V1000'"),
        (b"\x80\x04\x96" + struct.pack("<Q", 2**40) + b".", "ends too early"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", "ends too early"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", "ends too early"),
        (b"\x80\x02N" + b"r\xff\xff\xff\x7f" + b".", "is nothing"),  # a memo index of two thousand million
        (b"(lp0\n0cbuiltins\ntuple\np1\n0" + b"(lg0\na" * 3 + b".", "is a list of"),
        (array_pickle(b"(I1000000\nI1000000\nt", b"S'abcd'\n"), "array of shape"),
        (array_pickle(b"(I2\nt", b"S'abcd'\n"), "array of shape"),
        (array_pickle(b"(I-1\nt", b"S'abcd'\n"), "array of shape"),
        (array_pickle(b"(I1000\nt", b"(lI1\na", b"O8"), "array of shape"),  # numpy would read past the list's end
        (array_pickle(b"(I1\nt", b"S'abcd'\n", b"U0"), "array of dtype"),
        (array_pickle(b"S'abc'\n", b"S'abcd'\n"), "array of shape abc"),
        (FILLED[:-1] + b"(I1\n(I1\nt" + DTYPE % b"f4" + b"I0\nS'abcd'\ntb.", "fills an array in a way"),
        (array_pickle(b"(I1\nt", b"(lI1\na"), "fills an array in a way"),
        (MAKE + b"cnumpy\nndarray\n(I5\ntS'b'\ntR.", "makes an array in a way"),
        (MAKE + b"cbuiltins\nlist\n(I0\ntS'b'\ntR.", "makes an array in a way"),
        (BUFFER % (DTYPE % b"f4", 1, b"X"), "makes an array in a way"),
        (BUFFER % (DTYPE % b"O8", 1, b"C"), "makes an array in a way"),
        (BUFFER % (DTYPE % b"f4", 2, b"C"), r"array of shape \(2,\), float32, but the data of 1 values"),
        (b"cnumpy.core.multiarray\nscalar\n(" + DTYPE % b"O8" + b"S'abcd'\ntR.", "scalar that is an object"),
        (DTYPE % b"f4" + b"(I3\nS'?'\nNNNI-1\nI-1\nI0\ntb.", "byte order '\\?'"),
        (NESTED + b"Nd.", "uses a tuple as a key"),
        (b"}" + NESTED[1:] + b"Ns.", "uses a tuple as a key"),
        (b"}(" + NESTED[1:] + b"Nu.", "uses a tuple as a key"),
        (b"\x80\x04\x8f(" + NESTED[1:] + b"\x90.", "uses a tuple as a key"),
        (b"\x80\x04(" + NESTED[1:] + b"\x91.", "uses a tuple as a key"),
        (b"}Na.", "adds to a dict as to a list"),
        (b"\x80\x02cbuiltins\nbytearray\n)R(K\x01e.", "adds to a bytearray as to a list"),
        (b"](NNu.", "adds to a list as to a dict"),
        (b"]NNs.", "adds to a list as to a dict"),
        (b"\x80\x04](N\x90.", "adds to a list as to a set"),
        (b"(ibuiltins\nlist\n.", "in a way that data doesn't need"),
        (b"cbuiltins\nlist\n(I1\nI2\nI3\ntR.", r"gives builtins\.list the arguments \(int, int, int\)"),
        (b"cnumpy.core.multiarray\nscalar\n(" + DTYPE % b"f4" + b"S'abcdabcd'\ntR.", "the data of 2 values"),
        (b"ccollections\ndefaultdict\n(cbuiltins\nset\ntR.", "something else than list or dict"),
        (b"cbuiltins\nlist\n(S'abc'\ntR.", "makes a container of a str"),
    ],
)  # fmt: skip
def test_what_numpy_and_python_don_t_write_is_refused(tmp_path, opcodes, message):
    """Opcodes can't call, open, take memory, or make what isn't data."""
    assert unpickle.load(write(tmp_path / "good.pkl", FILLED)).shape == (1,)
    refused(read, write(tmp_path / "x.pkl", opcodes), says=message)


def test_copying_the_same_list_again_and_again_is_refused(tmp_path):
    many = b"(" + b"N" * 5000 + b"lp0\n0("
    bomb = many + b"cbuiltins\nlist\n(g0\ntR" * 500 + b"t."
    refused(unpickle.load, write(tmp_path / "bomb.pkl", bomb), says="again and again")
    data = b"S'" + b"a" * 4000 + b"'\np5\n"
    one = array_pickle(b"(I1000\nt", data)[:-1] + b"0"
    unpickle.load(write(tmp_path / "bomb.pkl", one + b"N."))
    with pytest.raises(ValueError, match="again and again"):
        unpickle.load(write(tmp_path / "bomb.pkl", one + one.replace(data, b"g5\n") * 20 + b"N."))


@pytest.mark.parametrize("protocol", range(6))
def test_data_comes_through_as_pickle_itself_reads_it(tmp_path, protocol):
    grown = defaultdict(list)
    grown["a"].append(2**70)
    arrays = [
        np.arange(6, dtype="f4").reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["ab", "ç"]), np.array([b"ab"]), np.array([1, "x", None], object), np.zeros((0, 3)),
        np.array(5.0), np.arange(4, dtype=">i4"), np.float32(2.5), np.int64(3), np.str_("é"), np.bool_(True),
    ]  # fmt: skip
    plain = [{1, 2}, frozenset("ab"), OrderedDict(a=1), grown, b"\xff\0", b"", bytearray(b"xyz"), "é", 1.5]
    plain += [None, True, (), [], {}, set(), (1, 2, 3, 4), {(1, 2): 3}, bytearray()]
    file = write(tmp_path / "data.pkl", (arrays, plain), protocol)
    got, same = unpickle.load(file)
    assert same == plain
    for ours, theirs in zip(got, pickle.loads(file.read_bytes())[0], strict=True):
        assert type(ours) is type(theirs) and ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)


def test_names_of_both_numpys_and_of_python_2(tmp_path):
    new = pickle.dumps([np.arange(3.0), np.float32(1)], 3)
    for old, other in ((b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")):
        assert unpickle.load(write(tmp_path / "x.pkl", new.replace(old, other)))[0].tolist() == [0, 1, 2]
    python2 = b"(c__builtin__\nset\n((lS'caf\\xe9'\natRS'\\xff'\nt."
    assert unpickle.load(write(tmp_path / "x.pkl", python2)) == ({"café"}, "ÿ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello world", "no pickle that can be read"),
        (b"\0" * 1000, "no pickle that can be read"),
        (b"<html>quota exceeded</html>", "pickle"),
        (b"PK\x03\x04rest", "whole zip archive"),
        (pickle.dumps(42), "an? int"),
        (pickle.dumps({"a": [np.zeros(3)]}), "Features alone"),
        (pickle.dumps(({}, {}, {}, {}, {})), "a tuple of 5: nothing; nothing"),
        (pickle.dumps(tuple({} for _ in range(12))), "holds no dialogue"),
    ],
)
def test_what_is_no_feature_file_is_one_clear_error(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(write(tmp_path / "x.pkl", content))
    assert "x.pkl" in str(error.value)


def test_a_huge_file_is_refused_at_once(tmp_path):
    with (tmp_path / "x.pkl").open("wb") as file:
        file.truncate(2**36)  # sparse
    refused(read, tmp_path / "x.pkl", says=r"x\.pkl is no pickle")


def test_every_truncation_is_one_clear_error(tmp_path):
    whole = pickle.dumps(fields(iemocap(), SDT), 2)
    read(write(tmp_path / "cut.pkl", whole))
    for end in [*range(1, 60), *range(60, len(whole), 211), len(whole) - 1]:
        refused(read, write(tmp_path / "cut.pkl", whole[:end]), says=r"cut\.pkl")


def test_torch_files_are_refused(tmp_path):
    for name in ("x.pt", "x.pth"):
        refused(read, write(tmp_path / name, [1]), says="torch file")
    with zipfile.ZipFile(tmp_path / "archive.pkl", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    refused(read, tmp_path / "archive.pkl", says="torch file")


# What each form gives


def test_sdt_iemocap(tmp_path):
    held = iemocap()
    held["speakers"]["Ses02F_impro03"] = ["F"] * 5  # the dialogue's letter, as four toolkits have it
    got = read_fields(tmp_path, held)
    table = got.table
    assert list(table.columns) == COLUMNS
    assert table["id"].tolist() == IDS and table["label"].tolist() == CODES
    assert table["dialogue"].tolist() == [SORTED[0]] * 3 + [SORTED[1]] * 5 + [SORTED[2]] * 2
    assert table["order"].tolist() == table["line"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1]
    assert "".join(table["party"]) == "FMFMFMFFFM"
    assert table["speaker"].tolist()[3:5] == ["Ses02M", "Ses02F"] and table["session"].tolist()[7:9] == [2, 5]
    assert table["scripted"].tolist() == [False] * 8 + [True] * 2
    assert table["part"].tolist() == ["train"] * 8 + ["test"] * 2
    assert table["text"][4] == "Ses02F_impro03 says F007"
    assert set(table["wav"]) == {""} and table["start"].isna().all() and set(table["votes"]) == {"{}"}
    for name in ("text", "audio"):
        assert got.features[name].vectors.dtype == np.float32 and got.features[name].frames is None
        np.testing.assert_array_equal(got.features[name].vectors, stacked(held[name], SORTED))
    about = got.about
    assert about["format"].startswith("SDT IEMOCAP") and about["file"] == "features.pkl"
    assert about["protocols"] == ["majority-4", "majority-6", "erc-6"] and about["labels"] == "majority-4"
    assert about["split"] == "official" and about["classes"] == ["happy", "sad", "neutral", "angry"]
    assert about["ignored"] == ["roberta2 (7)", "roberta3 (7)", "roberta4 (7)", "visual (3)"]
    assert any("in 2 of 10 utterances" in note for note in about["notes"])
    assert json.loads(json.dumps(about)) == about


def test_the_53_are_filed_by_protocol_not_by_file(tmp_path):
    table = read_fields(tmp_path, iemocap()).table.set_index("id", drop=False)
    extra = "Ses02F_impro03_F007"
    assert extra in ERC6_EXTRA
    assert [labelled(table, p)[extra] for p in ("majority-4", "majority-6", "erc-6")] == [None, None, "happy"]
    held = iemocap()
    held["labels"]["Ses02F_impro03"][1] = 2  # the same utterance, not called happy
    assert read_fields(tmp_path, held).table["label"][4] == "neu"


@pytest.mark.parametrize(
    ("names", "form", "width", "ignored"),
    [
        (NINE, "MMGCN / DialogueRNN / DialogueGCN IEMOCAP", AUDIO, ["visual (3)"]),
        ("speakers labels " + COSMIC, "COSMIC IEMOCAP", None, []),
        ("speakers labels sentences train test validation", "COSMIC IEMOCAP, text only", None, []),
        ("ids labels - - train test", "MERBench input", None, ["field 3", "field 4"]),
    ],
)
def test_other_iemocap_forms(tmp_path, names, form, width, ignored):
    held = iemocap()
    value = fields(held, names)
    got = read(write(tmp_path / "x.pkl", list(value) if "text only" in form else value, 4))
    assert got.about["format"].startswith(form) and got.about["ignored"] == ignored
    assert ("audio" in got.features) == (width is not None)
    assert got.table["part"].tolist() == ["train"] * 8 + ["test"] * 2
    assert "".join(got.table["party"]) == "FMFMFMFFFM"
    if "ids" in names:
        assert got.table["id"].tolist() == IDS and got.about["labels"] == "majority-4"
        return
    assert got.table["id"].tolist()[:4] == [f"{SORTED[0]}_00{i}" for i in range(3)] + [f"{SORTED[1]}_000"]
    assert got.table["label"].tolist() == [c.replace("xxx", "hap") for c in CODES]
    assert got.about["protocols"] == ["own", "majority-4", "majority-6"]
    assert got.about["classes"] == ["ang", "exc", "fru", "hap", "neu", "sad"]
    assert "can't be told apart without utterance ids" in report(got, got.table)


def test_cosmic_s_text_is_the_mean_of_four_layers_in_float32(tmp_path):
    held = iemocap()
    rng = np.random.default_rng(0)
    for name in COSMIC.split()[:4]:
        held[name] = {k: rng.random((len(v), TEXT), np.float32) for k, v in DIALOGUES.items()}
    got = read_fields(tmp_path, held, "speakers labels " + COSMIC).features["text"].vectors
    one, two, three, four = (stacked(held[f"roberta{i}"], SORTED) for i in range(1, 5))
    np.testing.assert_array_equal(got, (one + two + three + four) / np.float32(4))


def test_layers_of_different_size_can_t_be_averaged(tmp_path):
    held = iemocap()
    held["roberta3"] = numbered({k: len(v) for k, v in DIALOGUES.items()}, 11)
    refused(read_fields, tmp_path, held, "speakers labels " + COSMIC, says="roberta1 has 7 values, roberta3 11")


def test_one_vector_shared_by_all_can_t_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "MOST", 10 * TEXT - 1)
    refused(read_fields, tmp_path, iemocap(), says="text has 10 x 7 values: more than a corpus has")


def test_frames_may_be_nested_lists_and_of_two_precisions(tmp_path):
    held = iemocap()
    frames = {k: [np.full((2, AUDIO), i, np.float16) for i in range(len(v))] for k, v in DIALOGUES.items()}
    frames[KEY][1] = [[0.1] * AUDIO, [0.3] * AUDIO, [0.2] * AUDIO]
    got = read_fields(tmp_path, held | {"audio": frames}).features["audio"]
    assert {f.dtype.name for f in got.frames} == {"float32"} and got.frames[4].shape == (3, AUDIO)
    np.testing.assert_array_equal(got.frames[4][:, 0], np.array([0.1, 0.3, 0.2], np.float32))
    np.testing.assert_allclose(got.vectors[3:6, 0], [0, 0.2, 2], rtol=1e-6)


def test_text_of_python_3_may_be_bytes(tmp_path):
    held = iemocap()
    held["sentences"][KEY][1] = "café".encode("latin-1")
    held["ids"][KEY][1] = held["ids"][KEY][1].encode()
    held["labels"][KEY] = np.array(held["labels"][KEY], np.float64)
    table = read_fields(tmp_path, held, protocol=4).table
    assert table["text"][4] == "café" and table["id"].tolist() == IDS and table["label"].tolist() == CODES


def test_cosmic_s_order_is_train_test_validation(tmp_path):
    held = iemocap() | {"train": ["Ses02F_impro03"], "test": ["Ses05M_script01_1b"]}
    held["validation"] = ["Ses02F_impro01"]
    got = read_fields(tmp_path, held, "speakers labels " + COSMIC)
    assert got.table["part"].tolist() == ["validation"] * 3 + ["train"] * 5 + ["test"] * 2


@pytest.mark.parametrize(
    ("names", "form", "parts"),
    [
        (f"{SDT} -", "SDT MELD", True),
        (f"{NINE} sentiments", "MMGCN MELD", True),
        ("ids speakers labels text audio sentences train test sentiments", "DialogueRNN MELD", True),
        ("speakers labels sentiments " + COSMIC, "COSMIC MELD", False),
        ("speakers labels sentiments sentences train test validation", "COSMIC MELD, text only", False),
    ],
)
def test_meld_forms(tmp_path, names, form, parts):
    held = meld()
    if parts:  # no validation list
        held["train"] = [5, 0, 2]
    got = read_fields(tmp_path, held, names)
    assert got.about["format"].startswith(form) and got.about["protocols"] == ["meld-7"]
    third = "train_2" if parts else "dev_2"
    order = [0, 2, 5, 11] if parts else [0, 5, 2, 11]
    want = {0: "train_0", 2: third, 5: "train_5", 11: "test_11"}
    assert got.table["dialogue"].drop_duplicates().tolist() == [want[k] for k in order]
    assert got.table["id"].iloc[[0, -1]].tolist() == ["train_0_000", "test_11_000"]
    words = {0: ["surprise", "fear", "sadness"], 2: ["disgust", ""], 5: ["neutral", "anger"], 11: ["joy"]}
    assert got.table["label"].tolist() == [word for k in order for word in words[k]]
    party = {0: ["0", "1", "2"], 2: ["2", "3"], 5: ["5", ""], 11: ["2"]}
    assert got.table["party"].tolist() == [who for k in order for who in party[k]]
    assert set(got.table["session"]) == {0} and set(got.table["speaker"]) == {""}
    assert got.about["split"] == "official" and got.about["labels"] == "meld-7"
    if "text" in names.split():
        np.testing.assert_array_equal(got.features["text"].vectors, stacked(held["text"], order))
        np.testing.assert_array_equal(got.features["audio"].vectors, stacked(held["audio"], order))
    assert "test: 1 dialogues, 1 utterances" in report(got, None)
    assert ("sentiments" in got.about["ignored"]) == form.startswith(("DialogueRNN", "COSMIC"))


def test_multiemo_takes_features_from_beside_the_file(tmp_path):
    held = iemocap()
    other = numbered({k: len(v) for k, v in DIALOGUES.items()} | {"Ses01F_none": 1}, 11)
    text = write(tmp_path / "TextFeatures.pkl", {k: list(map(list, v)) for k, v in other.items()})
    got = read_fields(tmp_path, held, NINE, text=text)
    np.testing.assert_array_equal(got.features["text"].vectors, stacked(other, SORTED))
    np.testing.assert_array_equal(got.features["audio"].vectors, stacked(held["audio"], SORTED))
    assert got.features["text"].encoder == "TextFeatures" and "TextFeatures.pkl" in got.about["files"]
    assert "text of features.pkl, for TextFeatures.pkl" in got.about["ignored"]
    assert any("Ses01F_none" in note for note in got.about["notes"])
    empty = held | {"text": {}, "audio": None, "visual": {}}
    got = read_fields(tmp_path, empty, NINE, audio=text)
    assert list(got.features) == ["audio"]
    del other["Ses02F_impro01"]
    with pytest.raises(ValueError, match=r"'Ses02F_impro01' has 3 labels, no TextFeatures\.pkl"):
        read_fields(tmp_path, held, NINE, text=write(text, other))


def folder_of(path, arrays):
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def merbench(path, labels):
    held = {name: {"emo": label, "val": -10} for name, label in labels.items()}
    np.savez(path, whole_corpus=np.array(held, object))
    return path


def test_merbench_labels_with_folders(tmp_path):
    rng = np.random.default_rng(0)
    file = merbench(tmp_path / "label_4way.npz", dict(zip(IDS, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1], strict=True)))
    text = {name: rng.random(TEXT) for name in [*IDS, "Ses01F_impro01_F000"]}
    audio = {name: rng.random((2 + i, AUDIO)).astype(np.float16) for i, name in enumerate(IDS)}
    text_folder, audio_folder = folder_of(tmp_path / "bert", text), folder_of(tmp_path / "w2v", audio)
    got = read(file, text=text_folder, audio=audio_folder)
    assert got.table["id"].tolist() == IDS and got.about["split"] == "session5"
    assert got.table["label"].tolist() == ["hap", "sad", "neu", "ang", "xxx", "sad", "neu", "ang", "hap", "sad"]
    assert got.about["protocols"] == ["majority-4"] and set(got.table["part"]) == {""}
    np.testing.assert_array_equal(got.features["text"].vectors, np.stack([text[n] for n in IDS]).astype(np.float32))
    for name, frames, vector in zip(IDS, *[getattr(got.features["audio"], x) for x in ("frames", "vectors")],
                                    strict=True):  # fmt: skip
        assert frames.dtype == np.float16
        np.testing.assert_array_equal(frames, audio[name])
        np.testing.assert_allclose(vector, audio[name].astype(float).mean(0), rtol=1e-6)
    assert any("1 files of utterances" in note for note in got.about["notes"])
    (audio_folder / f"{IDS[5]}.npy").unlink()
    refused(read, file, audio=audio_folder, says=rf"w2v lacks 1 of 10 .*{IDS[5]}")


def test_object_arrays_go_through_the_allow_list(tmp_path):
    mark = tmp_path / "mark"
    evil = np.array({"a": Evil(os.system, f"touch {mark}")}, object)
    np.savez(tmp_path / "label_4way.npz", whole_corpus=evil)
    refused(read, tmp_path / "label_4way.npz", says=r"label_4way\.npz\[whole_corpus\] names posix\.system")
    file = merbench(tmp_path / "ok.npz", dict.fromkeys(IDS, 1))
    np.save(folder_of(tmp_path / "f", dict.fromkeys(IDS, np.ones(3))) / f"{IDS[2]}.npy", evil)
    refused(read, file, text=tmp_path / "f", says=r"\.npy names posix\.system")
    assert not mark.exists()


NO_SHAPES = ["(-1, 3)", "(-2, -2)", "(True, 3)", "(1.0, 3)", f"({2**70},)", "(0,) * 9", "3", "(1,"]


def npy(shape, dtype="<f4", data=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no numpy array"),
        (b"\x93NUMPY\x09\x00", "no numpy array"),
        (npy("(1000000, 1000000)", data=b"abcd"), r"holds 4 bytes; float32 of shape \(1000000, 1000000\)"),
        (npy("(2,)", data=b"abcd" * 3), "holds 12 bytes"),
        (npy("()", "|O", pickle.dumps([1])), "holds a list where an array should be"),
        (npy("()", "|O", pickle.dumps(np.array(None, object))[:-9]), "too early|can be read"),
        *((npy(shape, data=b"abcd" * 4), "no numpy array") for shape in NO_SHAPES),
        *((npy("(1,)", dtype, b"abcd"), "no numpy array") for dtype in ("<U0", "|V0", "<f3", "no")),
        (npy("(1,)", "|V4", b"abcd"), r"is a ndarray \|V4|is no dict"),
    ],
)
def test_a_broken_npy_is_one_clear_error(tmp_path, content, message):
    file = merbench(tmp_path / "label_4way.npz", dict.fromkeys(IDS, 1))
    folder = folder_of(tmp_path / "f", dict.fromkeys(IDS, np.ones(3, np.float32)))
    assert read(file, text=folder).features["text"].vectors.sum() == 30
    write(folder / f"{IDS[2]}.npy", content)
    refused(read, file, text=folder, says=rf"{IDS[2]}.*({message})")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("whole_corpus.npy", content)
    refused(read, tmp_path / "bad.npz", says=rf"bad\.npz.*whole_corpus.*({message})")


def test_a_broken_npz_is_one_clear_error(tmp_path):
    file = merbench(tmp_path / "label_4way.npz", dict.fromkeys(IDS, 1))
    whole = file.read_bytes()
    spoilt = whole.replace(b"Ses02F_impro01_F000", b"Ses02F_impro01_F111")  # its checksum is wrong then
    for content, message in ((spoilt, "can't be read"), (whole[:-30], "no whole zip archive")):
        refused(read, write(file, content), says=rf"label_4way\.npz.* {message}")
    np.savez(file, whole_corpus=np.ones(3))
    refused(read, file, says="whole_corpus is no dict")
    np.savez(file, other=np.ones(3))
    refused(read, file, says=r"is a \.npz with other: known are")


def emotion2vec(folder, ids=IDS, labels=None):
    lengths = [2 + i for i in range(len(ids))]
    frames = np.arange(sum(lengths) * AUDIO, dtype=np.float32).reshape(-1, AUDIO)
    np.save(folder / "train.npy", frames)
    (folder / "train.lengths").write_text("".join(f"{n}\n" for n in lengths))
    labels = labels or ["hap", "sad", "neu", "ang", "sad"] * 2
    lines = [f"{name}\t{label}\n" for name, label in zip(ids, labels, strict=True)]
    (folder / "train.emo").write_text("".join(lines))
    return frames, lengths


@pytest.mark.parametrize("name", ["train.npy", "train.emo"])
def test_emotion2vec(tmp_path, name):
    ids = [*IDS[3:], *IDS[:3]]
    frames, lengths = emotion2vec(tmp_path, ids)
    got = read(tmp_path / name)
    assert got.table["id"].tolist() == IDS and got.about["protocols"] == ["majority-4"]
    ends = dict(zip(ids, np.cumsum(lengths), strict=True))
    sizes = dict(zip(ids, lengths, strict=True))
    audio = got.features["audio"]
    for utterance, held, vector in zip(IDS, audio.frames, audio.vectors, strict=True):
        want = frames[ends[utterance] - sizes[utterance] : ends[utterance]]
        np.testing.assert_array_equal(held, want)
        np.testing.assert_allclose(vector, want.mean(0), rtol=1e-6)
    (tmp_path / "train.lengths").write_text("3\n" * 10)
    refused(read, tmp_path / name, says=r"sum to 30, train\.npy has 65")
    (tmp_path / "train.lengths").unlink()
    refused(read, tmp_path / name, says=r"train\.lengths isn't there")


HEAD = "id,dialogue,order,speaker,session,scripted,label\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.emo", "Ses02F_impro01_F000\n", r"train\.emo: the line 'Ses02F_impro01_F000'; want"),
        ("train.emo", "talk_1 sad\n" * 10, "'talk_1' is no IEMOCAP utterance id"),
        ("train.emo", f"{IDS[0]} sad\n", "1 labels, 10 lengths"),
        ("train.lengths", "1\ntwo\n", r"train\.lengths: want one number of frames per line"),
        ("train.lengths", "0\n" * 10, "each at least 1"),
        *(("train.lengths", bad, "lengths") for bad in ("9" * 5000, f"{2**62}\n" * 4 + "3\n" * 6, "-1\n" * 10)),
        ("train.emo", b"\xff\xfe", "isn't UTF-8"),
        ("x.jsonl", "{no\n", "line 1 can't be read as JSON"),
        ("x.csv", HEAD + "a,b,x,,0,False,sad\n", "line 2: want order"),
        ("x.csv", HEAD + "a,b\n", "line 2: want order"),
        ("x.csv", HEAD + "a,d,0,,1,F,x\nb,d,1,,2,F,x\n", "two sessions"),
        ("x.csv", "id\n" + "x" * 200_000, "is no manifest: it lacks dialogue"),
    ],
)  # fmt: skip
def test_a_broken_label_file_is_one_clear_error(tmp_path, name, content, message):
    emotion2vec(tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(read, tmp_path / name, says=message)


def test_features_beside_a_file_must_fit_it(tmp_path):
    file = write(tmp_path / "features.pkl", fields(iemocap(), NINE))
    with pytest.raises(ValueError, match=r"TextFeatures\.pkl is a list of 1; want a dict"):
        read(file, text=write(tmp_path / "TextFeatures.pkl", [[1.0]]))
    refused(read, file, text=tmp_path / "none", says=r"text features .*none don't exist")
    cosmic = write(tmp_path / "cosmic.pkl", fields(iemocap(), "speakers labels " + COSMIC))
    refused(read, cosmic, audio=tmp_path, says=r"needs utterance ids, which .*cosmic\.pkl doesn't have")


def test_the_order_of_a_release_s_label_files_is_noted(tmp_path):
    """All of F, then all of M, is the order of EmoEvaluation."""
    held = iemocap()
    assert not any("order of speech" in note for note in read_fields(tmp_path, held).about["notes"])
    for name, turns in {KEY: "F001 F002 M001 M002 M003", "Ses02F_impro01": "M000 M001 F000"}.items():
        held["ids"][name] = [f"{name}_{turn}" for turn in turns.split()]
    notes = read_fields(tmp_path, held).about["notes"]
    assert any("in 3 of 3 dialogues one speaker's turns all stand" in note for note in notes)


def test_a_speaker_is_a_name_or_one_hot(tmp_path):
    held = meld() | {"train": [0, 2, 5]}
    held["speakers"][5][0] = [1.0, 1.0] + [0.0] * 7
    refused(read_fields, tmp_path, held, f"{SDT} -", says="dialogue 5 has a speaker that is neither")


def emobox(path, rows):
    lines = [json.dumps({"key": f"iemocap-{n}", "dataset": "iemocap", "emo": e, "channel": 1}) for n, e in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_emobox(tmp_path):
    words = ["neu", "exc", "hap", "sad", "ang", "neu", "exc", "sad", "ang", "hap"]
    file = emobox(tmp_path / "iemocap_test_fold_1.jsonl", zip(IDS, words, strict=True))
    named = {f"iemocap-{name}" if i % 2 else name: np.full(3, i) for i, name in enumerate(IDS)}
    got = read(file, audio=folder_of(tmp_path / "wavlm", named))
    assert got.table["label"].tolist() == words and got.about["protocols"] == ["majority-4"]
    np.testing.assert_array_equal(got.features["audio"].vectors[:, 0], np.arange(10))
    assert got.features["audio"].encoder == "wavlm"
    file.write_text(file.read_text() + "{}\n[1]\n")
    refused(read, file, says="line 12 has no key and emo")


def test_emobox_s_meld_is_read_as_meld_is(tmp_path):
    keys = {"dia1_utt3-train": "joy", "dia1_utt0-train": "fear", "dia0_utt0-val": "anger", "dia1_utt0-test": "joy"}
    lines = [json.dumps({"key": f"meld-{k}", "dataset": "meld", "emo": e}) for k, e in keys.items()]
    (tmp_path / "meld.jsonl").write_text("\n".join(lines))
    got = read(tmp_path / "meld.jsonl")
    assert got.table["id"].tolist() == ["train_dia1_utt0", "train_dia1_utt3", "dev_dia0_utt0", "test_dia1_utt0"]
    assert got.table["part"].tolist() == ["train", "train", "validation", "test"]
    assert got.table["label"].tolist() == ["fear", "joy", "anger", "joy"] and got.about["corpus"] == "meld"
    assert got.about["protocols"] == ["meld-7"] and got.about["split"] == "official"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {IDS[0]: {"wav": "a.wav", "emo": "sad"}}, r"\(dict with 1 entries, each with wav, emo\)"),
        ("a.json.feature", [[{"text": "a"}], []], r"\(list with 2 entries of lists\)"),
        ("a.jsonl", [3], r"\(list with 1 entries of ints\)"),
    ],
)  # fmt: skip
def test_json_of_another_form_is_told_what_it_is_and_what_is_read(tmp_path, name, content, message):
    (tmp_path / name).write_text("\n" + json.dumps(content, indent=1))
    refused(read, tmp_path / name, says=rf"is JSON in another form {message}; read are labels as EmoBox")


@pytest.mark.parametrize("protocol", range(6))
def test_changed_line_ends_are_said_for_every_pickle(tmp_path, protocol):
    """As a version control on Windows changes them: in text always, in bytes where it takes them for text."""
    data = pickle.dumps((*fields(iemocap(), NINE), "\n"), protocol)
    file = write(tmp_path / "x.pkl", data.replace(b"\n", b"\r\n"))
    refused(read, file, says=r"x\.pkl: its line ends were changed to CRLF")
    assert len(read(write(tmp_path / "y.pkl", data)).table) == len(IDS)


def test_a_manifest_of_ours(tmp_path):
    held = read_fields(tmp_path, iemocap()).table
    frame = held.assign(label=labelled(held, "majority-6"))
    frame = frame[frame["label"].notna()][["id", "dialogue", "order", "speaker", "session", "scripted", "label"]]
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "majority-6.csv", index=False)
    got = read(tmp_path / "majority-6.csv")
    assert got.table["id"].tolist() == frame["id"].tolist() and not got.features
    assert got.table["order"].tolist() == frame["order"].tolist() == [0, 1, 2, 0, 2, 3, 0, 1]
    assert labelled(got.table, "majority-6").tolist() == frame["label"].tolist()
    assert got.about["protocols"] == ["majority-4", "majority-6"]
    other = pd.DataFrame({"id": ["a1", "a2"], "dialogue": "a", "order": [3, 1], "speaker": ["x", "y"],
                          "session": 2, "scripted": False, "label": ["calm", "wild"]})  # fmt: skip
    other.to_csv(tmp_path / "own.csv", index=False)
    got = read(tmp_path / "own.csv")
    assert got.table["id"].tolist() == ["a2", "a1"] and got.table["session"].tolist() == [2, 2]
    assert got.table["speaker"].tolist() == ["y", "x"] and got.about["classes"] == ["calm", "wild"]
    assert got.about["protocols"] == ["own"]
    other.drop(columns="order").to_csv(tmp_path / "own.csv", index=False)
    refused(read, tmp_path / "own.csv", says="lacks order")


def test_other_corpora_keep_their_labels(tmp_path):
    held = {k: {f"talk{d[-2:]}": v for d, v in f.items()} for k, f in iemocap().items() if isinstance(f, dict)}
    held["ids"] = {k: list(map(str, range(len(v)))) for k, v in held["ids"].items()}
    got = read_fields(tmp_path, held | {"train": ["talk01", "talk03"], "test": ["talk1b"]})
    assert got.about["protocols"] == ["own"] and got.about["classes"] == ["0", "1", "2", "3", "4", "5"]
    assert got.table["id"].tolist()[0] == "talk01_000" and got.table["label"][0] == "1"
    assert got.table["party"].tolist()[:2] == ["F", "M"] and set(got.table["session"]) == {0}


# What is refused


def changed(field, key, at, value):
    def change(held):
        held[field][key] = [*held[field][key]]
        held[field][key][at] = value

    return change


def deleted(field, key, at=None):
    def change(held):
        if at is None:
            del held[field][key]
        else:
            held[field][key] = [x for i, x in enumerate(held[field][key]) if i != at]

    return change


KEY = "Ses02F_impro03"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deleted("text", KEY, 0), f"'{KEY}' has 5 labels, 4 text"),
        (deleted("ids", KEY, 0), f"'{KEY}' has 5 labels, 4 utterance ids"),
        (deleted("sentences", KEY), f"'{KEY}' has 5 labels, no sentences"),
        (changed("text", KEY, 1, np.zeros(11)), rf"text of utterance {KEY}_F007 .*\(11,\).*{IDS[0]} has 7"),
        (changed("audio", KEY, 1, np.full(AUDIO, np.nan)), f"audio has 5 values .* first {KEY}_F007"),
        (changed("audio", KEY, 1, np.array([0, 1, 2, 3, -np.inf])), f"audio has 1 values.* {KEY}_F007"),
        (changed("audio", KEY, 1, np.full(AUDIO, 1e300)), f"{KEY}_F007 .*beyond the range of float32"),
        (changed("audio", KEY, 1, np.array(["a"] * 5, object)), f"{KEY}_F007 .*is a ndarray object.*numbers"),
        (changed("text", KEY, 1, ["1"] * TEXT), f"text of utterance {KEY}_F007 .*is a list: want numbers"),
        (changed("text", KEY, 1, np.zeros((2, TEXT))), rf"{KEY}_F007 .*\(2, 7\); {IDS[0]} has 7 values"),
        (changed("text", KEY, 1, np.zeros((2, 2, TEXT))), f"{KEY}_F007 .*want numbers"),
        (changed("text", KEY, 1, 3.5), f"text of utterance {KEY}_F007 .*is a float: want numbers"),
        (changed("text", KEY, 1, [[0.0] * TEXT, [0.0]]), f"{KEY}_F007 .*is a list: want numbers"),
        (changed("text", KEY, 1, np.zeros(TEXT, complex)), "dtype 'c16'; want numbers"),
        (changed("labels", KEY, 1, 6), f"{KEY}_F007 .*has the label 6; this corpus has 0 hap.*5 fru"),
        (changed("labels", KEY, 1, "sad"), "has the label 0 .*|want one kind, numbers or words"),
        (changed("ids", KEY, 1, f"{KEY}_M000"), f"'{KEY}' has the utterance '{KEY}_M000' twice"),
        (changed("ids", KEY, 1, "Ses02F_impro01_F000"), "utterance id 'Ses02F_impro01_F000'"),
        (changed("sentences", KEY, 1, ["a"]), f"sentence of utterance {KEY}_F007 is a list"),
        (changed("speakers", KEY, 1, "X"), f"'{KEY}' has the speaker 'X'; want F or M"),
        (lambda held: held.update(test=["Ses09"]), "the test list has unknown dialogues: 'Ses09'"),
        (lambda held: held.update(test=[KEY]), f"'{KEY}' is in the train and the test list"),
        (lambda held: held["labels"].update({KEY: []}), f"'{KEY}' has no utterance"),
        (lambda held: held.update(labels={k: [-1] * len(v) for k, v in LABELS.items()}), "has a label"),
        (changed("labels", KEY, 1, np.zeros(2)), f"{KEY}_F007 .*has the label .* one kind"),
        (lambda held: held["labels"].update({KEY: 3}), f"labels has a int for dialogue '{KEY}'"),
    ],
)  # fmt: skip
def test_a_bad_field_is_one_error_that_says_where(tmp_path, change, message):
    held = iemocap()
    change(held)
    with pytest.raises(ValueError, match=message) as error:
        read_fields(tmp_path, held)
    assert "features.pkl" in str(error.value)


def test_mixed_dialogue_names_and_missing_files_are_refused(tmp_path):
    held = iemocap()
    for name in SDT.split()[:10]:
        held[name]["other"] = held[name].pop(KEY)
    held["train"] = ["other"]
    refused(read_fields, tmp_path, held, says="'other' isn't an IEMOCAP name, while 'Ses02F_impro01' is")
    refused(read, tmp_path / "none.pkl", says="doesn't exist")
    refused(read, tmp_path, says="is a folder")


def test_a_dialogue_in_no_list_is_kept_and_named(tmp_path):
    got = read_fields(tmp_path, iemocap() | {"train": [KEY]})
    assert got.table["part"].tolist() == [""] * 3 + ["train"] * 5 + ["test"] * 2
    assert "1 dialogues are in no part of the file's split: Ses02F_impro01" in report(got, None)
    nothing = read_fields(tmp_path, iemocap() | {"train": [], "test": []})
    assert nothing.about["split"] == "session5" and set(nothing.table["part"]) == {""}


def test_a_report_by_hand(tmp_path):
    found = framed(read_fields(tmp_path, iemocap()))
    found = Imported(found.table, {"audio": found.features["audio"]}, found.about)
    lines = [" ".join(line.split()) for line in report(found, None).splitlines()]
    assert lines[0] == f"SDT IEMOCAP (12 fields): features.pkl, SHA-256 {found.about['sha256'][:12]}"
    assert lines[1:5] == [
        "3 dialogues, 10 utterances, 9 with a label",
        "text: none",
        "audio: odd, 13 values per utterance, the mean of its frames (19 in all, 2 values, float32)",
        "left out: roberta2 (7), roberta3 (7), roberta4 (7), visual (3)",
    ]
    assert lines[6:14] == [
        *("class S2 S5 all", "happy 2 0 2", "sad 1 0 1", "neutral 1 0 1", "angry 1 1 2"),
        *("excited 1 1 2", "frustrated 1 0 1", "no class 1 0 1"),
    ]
    assert lines[15:19] == [
        "train: 2 dialogues, 8 utterances",
        "test: 1 dialogues, 2 utterances",
        "split: official unless told otherwise",
        "label protocols: majority-4 (default), majority-6, erc-6",
    ]


def test_four_classes_are_compared_with_four(tmp_path):
    said = report(read(merbench(tmp_path / "label_4way.npz", dict.fromkeys(IDS, 1))), RELEASE)
    assert "the file's labels and majority-4: 10 utterances, official 5531" in said
    assert "majority-6: can't be compared, the file has four classes" in said and "only in majority-4" in said


def test_nothing_to_test_on_is_said(tmp_path):
    held = meld() | {"train": [5, 0, 2, 11], "test": []}
    got = read_fields(tmp_path, held, f"{SDT} -")
    assert got.about["split"] == "official" and "no train and test part" in report(got, None)


def test_sets_of_ids_don_t_order_the_table(tmp_path):
    """A set of strings is iterated in another order in every process."""
    held = iemocap() | {"train": {SORTED[0], SORTED[1]}, "test": {SORTED[2]}}
    held |= {"train": set(held["train"])}
    write(tmp_path / "x.pkl", fields(held, SDT))
    code = (
        "import sys; from pathlib import Path; from lpgnet.beyond.exchange.imported import read; "
        "from lpgnet.beyond.exchange.describe import report;"
        "got = read(Path(sys.argv[1])); print(got.table.to_csv(), got.about, report(got, None))"
    )
    command, env = ([sys.executable, "-c", code, str(tmp_path / "x.pkl")], os.environ | {"OMP_NUM_THREADS": "1"})
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=env | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    said = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(said) == 1 and b"Ses05M_script01_1b_M001" in said.pop()


# Against the official labels


def release():
    """An utterance table with exactly the official counts, and the 53 among its xxx."""
    rows = []
    for session in range(1, 6):
        turns = [(name, "xxx") for name in sorted(ERC6_EXTRA) if name[4] == str(session)]
        for code, by in counts.OFFICIAL.items():
            number = range(by[session - 1])
            turns += [(f"Ses0{session}F_script0{i % 3}_{code}_{'FM'[i % 2]}{i:03d}", code) for i in number]
        rows += turns
    return pd.DataFrame(rows, columns=["id", "label"])


RELEASE = release()


def filed(path, labels, names="ids labels - - train test"):
    """A file of the release with these labels, read; as a list of fields where it has no ids."""
    numbers = {name: i for i, name in enumerate(PROTOCOLS["majority-6"].classes)}
    kept = RELEASE.assign(labels=labels.map(numbers), ids=RELEASE["id"], sentences=RELEASE["id"])[labels.notna()]
    kept = kept.assign(dialogue=kept["id"].str.rpartition("_")[0], speakers=kept["id"].str[-4])
    groups = kept.groupby("dialogue")
    held = {name: groups[name].agg(list).to_dict() for name in ("ids", "labels", "speakers", "sentences")}
    held |= {"train": [k for k in held["ids"] if k[4] != "5"], "test": [k for k in held["ids"] if k[4] == "5"]}
    value = tuple(held.get(name, []) for name in names.split())
    return read(write(path / "filed.pkl", value if "ids" in names else list(value)))


def test_which_protocol_a_file_s_labels_are(tmp_path):
    got = filed(tmp_path, labelled(RELEASE, "erc-6"))
    said = report(got, RELEASE)
    assert len(got.table) == 7433 and got.about["erc6_filed"] == 53
    assert "the file's labels and erc-6: equal in every class and session (7433)" in said
    assert "what majority-4 keeps of the file: equal in every class and session (5531)" in said
    assert "the file has 53 and calls 53 happy" in said
    assert "  erc-6: the same utterances with the same labels (7433)" in said
    assert "only in the file, 53: Ses01F_impro03_F007" in said
    assert said.count(" and 33 more") == 2  # of 53, for majority-4 and majority-6
    for name in ("majority-4", "majority-6"):
        assert f"{name}: 53 utterances differ, all of them of erc-6's 53 that the file calls happy; {name}" in said


def test_utterances_that_differ_from_the_release_are_named(tmp_path):
    own = labelled(RELEASE, "majority-6").copy()
    changed, gone = (RELEASE["id"][RELEASE["label"] == code].iloc[0] for code in ("fru", "exc"))
    own[RELEASE["id"] == changed] = "sad"
    own[RELEASE["id"] == gone] = None
    got = filed(tmp_path, own)
    said = report(got, RELEASE)
    assert got.about["protocols"] == ["majority-4", "majority-6"]
    assert f"majority-6: 2 utterances differ\n    only in majority-6, 1: {gone}\n" in said
    assert f"other label, 1: {changed} (sad, not frustrated)" in said
    assert "S1 excited 142 (official 143), S1 frustrated 279 (official 280), S1 sad 195 (official 194)" in said
    assert "erc-6: 55 utterances differ" in said
    assert "lets single utterances be compared by id" in report(got, None)


def test_classes_in_another_order_are_recognised(tmp_path):
    """Numbered alphabetically, say; every other file's counts are no permutation."""
    own = labelled(RELEASE, "majority-6")
    said = report(filed(tmp_path, own.replace({"happy": "sad", "sad": "neutral", "neutral": "happy"})), RELEASE)
    assert "the official counts with the classes in another order: " in said
    assert "what is read as neutral has the counts of sad" in said and "read as angry" not in said
    right = report(filed(tmp_path, own), RELEASE)
    assert "another order" not in right and "numbers don't compare" not in right


def test_a_test_part_of_another_session_is_said(tmp_path):
    got = filed(tmp_path, labelled(RELEASE, "majority-6"))
    part = got.table["session"].map(lambda session: "test" if session == 3 else "train")
    said = report(Imported(got.table.assign(part=part), {}, got.about), RELEASE)
    assert "The test part is of session 3, the paper's is session 5: numbers don't compare." in said


def test_counts_without_utterance_ids(tmp_path):
    names = "speakers labels sentences train test validation"
    got = filed(tmp_path, labelled(RELEASE, "erc-6"), names)
    assert got.about["protocols"] == ["own", "majority-4", "majority-6"] and got.about["labels"] == "own"
    said = report(got, RELEASE)
    assert "the file's labels and erc-6: equal in every class and session (7433)" in said
    assert "up to 53 utterances" in said and "the file has no utterance ids" in said
    got = filed(tmp_path, labelled(RELEASE, "majority-6"), names)
    assert got.about["protocols"] == ["majority-4", "majority-6"] and not got.about["unsure"]
    assert "up to 53" not in report(got, None)


# Out again


def framed(found):
    """The same with ragged frames, in half and single precision, and a vote, times and odd text."""
    table = found.table.copy()
    table.loc[0, ["start", "end"]] = 0.1 + 0.2, 1e-17
    table.loc[1, "text"] = 'é "quoted"\nline \u2028 end'
    table.loc[1, "votes"] = '{"C-E1": ["Anger"]}'
    rng = np.random.default_rng(0)
    frames = [rng.random((1 + i % 3, 11)).astype(np.float16) for i in range(len(table))]
    audio = Modality("odd", rng.random((len(table), 13), np.float32), [f[:, :2].astype("f4") for f in frames])
    text = Modality("x", rng.random((len(table), TEXT), np.float32) * np.float32(1e-40), frames)
    return Imported(table, {"text": text, "audio": audio}, found.about)


def same_bits(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("names", [SDT, "speakers labels " + COSMIC])
def test_the_neutral_form_is_exact(tmp_path, names):
    found = framed(read_fields(tmp_path, iemocap(), names))
    absent = found.features["audio"].vectors
    absent[3] = np.nan  # an utterance without audio
    paths = export(found, tmp_path / "out" / "mine", "neutral", labelled(found.table, "majority-4"))
    assert [p.name for p in paths] == ["mine.npz", "mine.jsonl"]
    for path in paths:
        back = read(path)
        pd.testing.assert_frame_equal(back.table, found.table, check_exact=True)
        assert list(back.features) == ["text", "audio"]
        for name, held in found.features.items():
            same_bits(back.features[name].vectors, held.vectors)
            for ours, theirs in zip(back.features[name].frames, held.frames, strict=True):
                same_bits(ours, theirs)
            assert back.features[name].encoder == held.encoder
        for key in ("protocols", "labels", "classes", "split", "corpus", "unsure", "made_ids", "erc6_filed"):
            assert back.about[key] == found.about[key], key
    lines = [json.loads(line) for line in paths[1].read_text().splitlines()]
    assert lines[0]["format"] == "lpgnet-neutral-1" and set(lines[1]) == {*COLUMNS, "class"}
    assert [line["class"] for line in lines[1:3]] == ["sad", "neutral"]
    assert np.load(paths[0])["text"].shape == (10, TEXT)


@pytest.fixture
def pair(tmp_path):
    """The two files of our own form."""
    found = framed(read_fields(tmp_path, iemocap()))
    return export(found, tmp_path / "mine", "neutral", labelled(found.table, "majority-4"))


def test_the_lines_of_a_neutral_pair_are_checked(pair):
    numbers, lines = pair
    whole = lines.read_text()
    for old, new, says in (
        (whole.splitlines(keepends=True)[-1], "", "has 9 utterances, its header says otherwise"),
        ('"order": 0', '"order": "0"', "line 2: order"),
        ('"part": "train", ', "", "line 2 lacks part"),
        ('"start": 0.30000000000000004', '"start": "now"', "line 2: start"),
        ('"part": "train"', '"part": "dev"', "line 2: part"),
        ('{"id"', '"id"', "line 2 can't be read as JSON"),
        (f'"id": "{IDS[1]}"', f'"id": "{IDS[0]}"', f"has the utterance '{IDS[0]}' twice"),
    ):
        assert old in whole
        lines.write_text(whole.replace(old, new, 1))
        refused(read, numbers, says=rf"mine\.jsonl.*{says}")


def test_a_neutral_pair_that_doesn_t_belong_together_is_refused(pair):
    numbers, lines = pair
    refused(read, numbers, text=numbers.parent, says="takes no text or audio beside it")
    whole = numbers.read_bytes()
    numbers.write_bytes(whole.replace(b"\x00", b"\x01", 1))
    refused(read, numbers, says=r"isn't the file that mine\.jsonl was written with")
    numbers.unlink()
    refused(read, lines, says=r"mine\.npz isn't beside it")
    numbers.write_bytes(whole)
    lines.unlink()
    refused(read, numbers, says="known are MERBench's labels")


def rewritten(lines, numbers, **arrays):
    """The pair with other arrays, or without those that are None, and the SHA-256 to match."""
    held = {name: array for name, array in (dict(np.load(numbers)) | arrays).items() if array is not None}
    np.savez(numbers, **held)
    header, _, rest = lines.read_text().partition("\n")
    header = json.loads(header)
    header["npz"]["sha256"] = hashlib.sha256(numbers.read_bytes()).hexdigest()
    lines.write_text(json.dumps(header) + "\n" + rest)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, None),
        ({"text": np.zeros((9, TEXT), np.float32)}, r"text is of shape \(9, 7\), want \(10, F\)"),
        ({"text": np.zeros((10, TEXT))}, "text is of dtype float64, want float32"),
        ({"text": np.diag(np.float32([1] * 9 + [np.inf]))}, f"text of utterance {IDS[9]} is NaN or infinite"),
        ({"text": np.diag(np.float32([1] * 8 + [np.nan, 1]))}, f"text of utterance {IDS[8]} is NaN"),
        ({"text": None}, "lacks text; it has"),
        ({"text_lengths": np.ones(10, np.int64)}, r"text_lengths don't fit text_frames, .*\(19, 11\)"),
        ({"text_lengths": np.array([20, -1] + [0] * 8)}, "text_lengths don't fit text_frames"),
        ({"text": np.array([[1]], object)}, "want float32"),
    ],
)
def test_the_numbers_of_a_neutral_pair_are_checked(pair, arrays, message):
    numbers, lines = pair
    rewritten(lines, numbers, **arrays)
    if message is None:
        assert read(lines).features["text"].vectors.shape == (10, TEXT)
        return
    refused(read, numbers, says=rf"mine\.npz.*{message}")


def test_what_a_store_knows_of_itself_may_be_little(tmp_path):
    """A pair without a word on its origin is judged by its ids; the simulated corpus isn't IEMOCAP."""
    found = framed(read_fields(tmp_path, iemocap()))
    labels = labelled(found.table, "majority-4")
    want = {"{}": ["majority-4", "majority-6", "erc-6"], '{"corpus": "simulated"}': ["majority-4", "majority-6"]}
    for about, protocols in want.items():
        held = Imported(found.table, found.features, json.loads(about))
        assert read(export(held, tmp_path / "mine", "neutral", labels)[0]).about["protocols"] == protocols
    text = Modality("x", np.zeros((10, 3), np.float32), [np.zeros((1, 2 + i % 2), "f4") for i in range(10)])
    with pytest.raises(ValueError, match="text_frames: the pieces differ in type or width"):
        export(Imported(found.table, {"text": text}, {}), tmp_path / "odd", "neutral", labels)
    assert not list(tmp_path.glob("odd*"))


@pytest.mark.parametrize("protocol", ["majority-4", "majority-6", "erc-6"])
def test_the_sdt_form_is_exact_for_what_it_holds(tmp_path, protocol):
    found = read_fields(tmp_path, iemocap())
    rng = np.random.default_rng(0)
    sizes = {"text": TEXT, "audio": AUDIO}
    found = Imported(
        found.table, {m: Modality(m, rng.random((10, n), np.float32)) for m, n in sizes.items()}, found.about
    )
    labels = labelled(found.table, protocol)
    (path,) = export(found, tmp_path / "out.pkl", "sdt", labels)
    back, kept = read(path), labels.notna()
    assert back.about["format"].startswith("SDT IEMOCAP")
    for column in ("id", "dialogue", "speaker", "party", "text", "part", "session"):
        assert back.table[column].tolist() == found.table.loc[kept, column].tolist(), column
    assert labelled(back.table, protocol).tolist() == labels[kept].tolist()
    for m in sizes:
        same_bits(back.features[m].vectors, found.features[m].vectors[kept])


def test_sdt_s_own_loader_reads_the_sdt_form(tmp_path):
    found = read_fields(tmp_path, iemocap())
    (path,) = export(found, tmp_path / "out", "sdt", labelled(found.table, "erc-6"))
    with path.open("rb") as file:
        value = pickle.load(file, encoding="latin1")
    ids, speakers, labels, text, two, _, _, audio, visual, said, train, test = value
    assert (train, test) == (SORTED[:2], SORTED[2:]) and two is text
    assert ids[KEY] == [f"{KEY}_{turn}" for turn in ("M000", "F007", "M001", "F001")]
    assert speakers[KEY] == ["M", "F", "M", "F"] and labels[KEY] == [0, 0, 5, 4] and len(said[KEY]) == 4
    assert text[KEY].shape == (4, TEXT) and audio[KEY].shape == (4, AUDIO) and visual[KEY].shape == (4, 1)
    names = {arg for code, arg, _ in pickletools.genops(path.read_bytes()) if code.name == "GLOBAL"}
    assert "numpy.core.multiarray _reconstruct" in names and not any("_core" in name for name in names)


def test_session_5_is_tested_where_the_table_has_no_parts(tmp_path):
    found = read_fields(tmp_path, iemocap() | {"train": [], "test": []})
    (path,) = export(found, tmp_path / "out", "sdt", labelled(found.table, "majority-6"))
    assert read(path).table["part"].tolist() == ["train"] * 6 + ["test"] * 2


def test_what_the_sdt_form_can_t_hold_is_refused(tmp_path):
    found = read_fields(tmp_path, iemocap())
    labels = labelled(found.table, "majority-6")
    refused(export, found, tmp_path / "out", "sdt", labels.mask(labels.notna()), says="no utterance has a label")
    train = Imported(found.table.assign(part="", session=1), found.features, found.about)
    refused(export, train, tmp_path / "out", "sdt", labels, says="has no parts and no session 5")
    only_text = Imported(found.table, {"text": found.features["text"]}, found.about)
    refused(export, only_text, tmp_path / "out", "sdt", labels, says="there is no audio")
    refused(export, found, tmp_path / "out", "sdt", labels.mask(labels == "sad", "calm"), says="has no calm")
    found.features["audio"].vectors[2] = np.nan
    refused(export, found, tmp_path / "out", "sdt", labels, says=f"1 utterances have no audio, the first {IDS[2]}")
    talk = read_fields(tmp_path, meld() | {"train": [0, 2, 5]}, f"{SDT} -")
    with pytest.raises(ValueError, match="speakers F and M only; train_0_000"):
        export(talk, tmp_path / "out", "sdt", labelled(talk.table, "meld-7"))
    assert not (tmp_path / "out.pkl").exists()


# Two label sets


def manifest(**labels):
    rows = [(name, name[:2], int(name[1]), label) for name, label in labels.items()]
    return pd.DataFrame(rows, columns=["id", "dialogue", "session", "label"])


A = manifest(d1a="sad", d1b="angry", d2a="sad", d2b="happy", d2c="")
B = manifest(d1a="sad", d1b="happy", d2a="sad", d2c="sad", d3a="calm")


def test_the_utterances_that_differ():
    assert differences.frame(A, B).to_dict("list") == {
        "id": ["d1b", "d2b", "d2c", "d3a"],
        "label_a": ["angry", "happy", "", ""],
        "label_b": ["happy", "", "sad", "calm"],
    }
    assert differences.frame(A, A).empty
    assert list(differences.frame(B, A)["label_a"]) == ["happy", "", "sad", "calm"]


def test_the_comparison_by_hand():
    said = differences.compare(A, B, ("ours", "theirs"), ("happy", "sad"))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[:3] == [
        "ours: 4 labelled utterances in 2 dialogues",
        "theirs: 5 labelled utterances in 3 dialogues",
        "In both: 3, of which 2 have the same label (66.67 %).",
    ]
    assert lines[5:11] == [
        "S1 S2 S3 all",
        "happy 0 / 1 1 / 0 0 / 0 1 / 1",
        "sad 1 / 1 1 / 2 0 / 0 2 / 3",
        "angry 1 / 0 0 / 0 0 / 0 1 / 0",
        "calm 0 / 0 0 / 0 0 / 1 0 / 1",
        "all 2 / 2 2 / 2 0 / 1 4 / 5",
    ]
    assert lines[13:18] == ["happy sad angry calm", "happy 0 0 0 0", "sad 0 2 0 0", "angry 1 0 0 0", "calm 0 0 0 0"]
    assert lines[19:] == [
        *("Only in ours: 1", "d2b happy", "", "Only in theirs: 2", "d2c sad", "d3a calm", ""),
        *("Labelled otherwise (ours, theirs): 1", "d1b angry -> happy"),
    ]
    twice = pd.concat([B, B[:1]])
    refused(differences.compare, A, twice, ("ours", "theirs"), (), says="theirs has the utterance 'd1a' twice")
