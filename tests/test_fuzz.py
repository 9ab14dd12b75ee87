"""Every reader of other people's files, with a small number of damaged ones; `make fuzz` tries more."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import made_table
from fuzz import damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from lpgnet.corpora.table import utterances
from lpgnet.features import store
from lpgnet.machine.files import plain_text, whole_folder


def test_damage_by_hand():
    assert damaged(b"abcdef", [(0.5, "put", b"X", 1)]) == b"abcXdef"
    assert damaged(b"abcdef", [(0.5, "instead", b"XY", 1)]) == b"abcXYf"
    assert damaged(b"abcdef", [(0.0, "cut", b"X", 2), (1.0, "again", b"X", 2)]) == b"cdef"
    assert damaged(b"abcdef", [(0.0, "again", b"X", 2), (0.5, "end", b"X", 1)]) == b"abab"


def test_damaged_files_end_in_a_result_or_one_line():
    script = Path(__file__).parent / "fuzz.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("25 damaged files, each a result or one line") == 28


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.characters(), max_size=12), min_size=1, max_size=5))
def test_a_table_reads_back_what_was_written(tmp_path_factory, texts):
    """Whatever was said, half characters, line ends and quotes among it, as `plain_text` lets it through."""
    table = made_table().head(len(texts)).assign(text=[plain_text(text) for text in texts])
    folder = tmp_path_factory.mktemp("table") / "x"
    with whole_folder(folder) as part:
        store.write_table(part, table)
    assert utterances(folder)["text"].tolist() == table["text"].tolist()
    assert np.array_equal(utterances(folder)["start"], table["start"])
