"""`make gpu` itself, tried on the CPU at a tenth of everything."""

import os
import re
import subprocess
import sys
from pathlib import Path

from gpu import makespan

SCRIPT = Path(__file__).parent / "gpu.py"


def script(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=400)


def test_the_script_says_seconds_of_every_model_and_how_far_numbers_are():
    done = script("--device", "cpu", "--small", "speed", "equality", "features")
    assert done.returncode == 0, done.stderr
    for name in ("full", "sdt", "bigru", "frame", "linear"):
        assert re.search(rf"^{name}: s [\d.]+, s an epoch [\d.]+, seeds beside [12]", done.stdout, re.M)
    assert "all 26 experiments, one after the other" in done.stdout
    assert re.search(r"simulated.*: 1 cards \d+ s, 4 cards \d+ s, 16 cards \d+ s, 64 cards \d+ s", done.stdout)
    far = dict(re.findall(r"^(\w+ in \w+): losses (\S+) from the CPU's", done.stdout, re.M))
    assert far.keys() == {f"{n} in {p}" for n in ("full", "sdt") for p in ("float32", "bfloat16")}
    assert all(float(loss) < (1e-5 if "float32" in name else 1e-2) for name, loss in far.items())
    apart = re.findall(r"^(\w\S*).*: [\d.]+ hours of speech a minute .*vectors (\S+) of", done.stdout, re.M)
    assert {*dict(apart)} == {"emotion2vec", "Whisper"} and all(float(far) < 1e-5 for _, far in apart)
    assert {*re.findall(r"^BERT fitted in (\w+): \d+ texts a second", done.stdout, re.M)} == {"float32", "bfloat16"}


def test_pieces_on_several_cards_end_when_the_last_card_does():
    """By hand: 5 | 4 + 2 | 3 + 3, then the longest alone."""
    assert [makespan([2, 3, 4, 5, 3], cards) for cards in (1, 3, 64)] == [17, 6, 5]


def test_without_a_gpu_it_says_so_and_how_to_try_it():
    import torch

    if torch.cuda.is_available():
        return
    done = script()
    assert done.returncode == 1 and "--device cpu --small" in done.stderr
