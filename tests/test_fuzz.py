"""Every reader of other people's files, with a small number of damaged ones; `make fuzz` tries more."""

import subprocess
import sys
from pathlib import Path

from fuzz import damaged


def test_damage_by_hand():
    assert damaged(b"abcdef", [(0.5, "put", b"X", 1)]) == b"abcXdef"
    assert damaged(b"abcdef", [(0.5, "instead", b"XY", 1)]) == b"abcXYf"
    assert damaged(b"abcdef", [(0.0, "cut", b"X", 2), (1.0, "again", b"X", 2)]) == b"cdef"
    assert damaged(b"abcdef", [(0.0, "again", b"X", 2), (0.5, "end", b"X", 1)]) == b"abab"


def test_damaged_files_end_in_a_result_or_one_line():
    script = Path(__file__).parent / "fuzz.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("25 damaged files, each a result or one line") == 19
