"""A number is as old as its code: which edits make which numbers anew.  In copies; nothing is imported."""

import re
import shutil

import pytest

from lpgnet.config import ROOT
from lpgnet.corpora.simulated import corpus
from lpgnet.features import encoders, finetune
from lpgnet.features.audio import Prosody
from lpgnet.features.text import TextEncoder
from lpgnet.machine import code
from lpgnet.runs import plan

LPGNET, RUNS = {"LPGNet"}, {"LPGNet", "SDT", "BiGRU", "Linear"}
FEATURES = {"text", "audio"}
ALL = RUNS | FEATURES | {"fit", "simulated"}


def digests() -> dict[str, str]:
    """What each kind of number is made by."""
    for cached in (code._module, code._imported, code._digest, plan.run_code):
        cached.cache_clear()
    kinds = {"text": TextEncoder, "audio": Prosody}
    return (
        {kind: plan.run_code(kind)["digest"] for kind in RUNS}
        | {modality: encoders._code(modality, kind) for modality, kind in kinds.items()}
        | {"fit": finetune.fitting_code(), "simulated": corpus._versions()["code"]}
    )


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The package in another place, which digests are taken of."""
    shutil.copytree(ROOT / "lpgnet", tmp_path / "lpgnet", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", tmp_path / "lpgnet")
    yield tmp_path / "lpgnet"
    monkeypatch.undo()
    digests()


@pytest.mark.parametrize(
    ("file", "old", "new", "redone"),
    [
        ("model.py", "/ math.sqrt(query.shape[-1])", "/ query.shape[-1]", {"LPGNet", "SDT"}),
        ("model.py", "nn.LeakyReLU()", "nn.ReLU()", LPGNET),
        ("runs/packed.py", "context.add_(x[query])", "context", LPGNET),
        ("runs/packed.py", "gate(difference).sigmoid_()", "gate(audio).sigmoid_()", {"LPGNet", "SDT"}),
        ("losses.py", "config.kl * soft", "2 * config.kl * soft", RUNS),
        ("losses.py", "teacher.detach() if detach", "teacher if detach", RUNS),
        ("runs/seeds.py", "lr=config.lr", "lr=2 * config.lr", RUNS),
        ("runs/training.py", '["weighted_f1"]', '["accuracy"]', RUNS),  # picks the epoch
        ("runs/metrics.py", "def scores(", "CUT = 1\n\n\ndef scores(", set()),  # nobody reads it
        ("runs/seeds.py", "self.model.eval()", "self.model.train()", RUNS),
        ("runs/dataset.py", "FLAT = 1e-6", "FLAT = 1e-5", RUNS),
        ("runs/calibration.py", "20.0  # temp", "30.0  # temp", RUNS),
        ("runs/baselines.py", "math.log(10000.0)", "math.log(1000.0)", {"SDT"}),
        ("runs/baselines.py", "config.hidden // 2, batch_first", "config.hidden, batch_first", {"BiGRU"}),
        ("labels.py", "def _tenth(", "def _tenth(more=0, *", RUNS),  # the draw of validation dialogues
        ("features/audio.py", "MELS = 26", "MELS = 27", {"audio"}),
        ("features/text.py", "yield sequence[0], sequence", "yield sequence.mean(0), sequence", {"text"}),
        ("features/finetune.py", "cross_entropy", "mse_loss", {"fit"}),
        ("features/store.py", "LARGEST_HALF = 65504.0", "LARGEST_HALF = 1.0", FEATURES),
        ("corpora/sound.py", "channels.mean(axis=1)", "channels[:, 0]", {"audio"}),
        ("corpora/simulated/speech.py", "RATE = 16_000", "RATE = 8_000", {"simulated"}),
        ("corpora/simulated/plan.py", "rng.", "1 * rng.", {"simulated"}),
        # what decides no number
        ("model.py", "import math", "import math  # a comment", set()),
        ("model.py", '"""Over the real positions', '"""Really over the real positions', set()),
        ("runs/training.py", "recorded already", "kept", set()),
        ("runs/records.py", "is damaged", "is broken", set()),
        ("runs/checkpoint.py", "no checkpoint", "not a checkpoint", set()),
        ("tables/statistics.py", "ALPHA = 0.05", "ALPHA = 0.01", set()),
        ("beyond/efficiency.py", "REPEATS = 15", "REPEATS = 5", set()),
    ],
)
def test_an_edit_makes_anew_what_goes_through_it_and_nothing_else(copy, file, old, new, redone):
    before, path = digests(), copy / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r} any more: name another edit"
    path.write_text(text.replace(old, new))
    after = digests()
    assert {kind for kind in ALL if before[kind] != after[kind]} == redone


def test_a_renamed_module_makes_nothing_anew(copy):
    before = digests()
    (copy / "runs" / "metrics.py").rename(copy / "runs" / "measures.py")
    for path in copy.rglob("*.py"):
        text = path.read_text().replace("lpgnet.runs.metrics", "lpgnet.runs.measures")
        text = re.sub(r"(from lpgnet\.runs import .*)\bmetrics\b", r"\1measures", text)
        path.write_text(re.sub(r"\bmetrics\.(confusion|scores)\(", r"measures.\1(", text))
    after = digests()
    assert "runs.measures" in plan.run_code("LPGNet")["modules"]
    assert {kind for kind in ALL if before[kind] != after[kind]} == set()


def test_formatting_and_a_definition_moved_to_another_module_count_for_nothing(copy):
    before = digests()
    model, packed = copy / "model.py", copy / "runs" / "packed.py"
    text = model.read_text()
    start, end = text.index("def mean("), text.index("class GlobalCompression")
    (copy / "averages.py").write_text(f"from torch import Tensor\n\n\n{text[start:end]}")
    model.write_text("from lpgnet.averages import mean\n" + text[:start] + text[end:])
    packed.write_text(packed.read_text().replace("rows.new_zeros(len(", "rows.new_zeros(\n        len("))
    assert digests() == before


def test_what_changed_is_named():
    old = {"digest": "1", "modules": {"model": "a", "runs.packed": "b"}}
    new = {"digest": "2", "modules": {"model": "a", "runs.packed": "c", "losses": "d"}}
    assert code.changed(old, new) == "losses.py, runs/packed.py changed"
    assert code.versions(["numpy", "no-such-library"]).keys() == {"numpy"}


OF_EVERY_KIND = """
class Kept(Base, key="é"):
    '''Not counted.'''
    field: int = -1

@cached
async def fit(a, /, b: list[int] = (), *c, d=1e-6, **e) -> "B":
    with open(a) as f, g:
        assert (n := len(b)) > 0x10, f"{n!r:>{WIDTH}} {a=} {'x' if b else ''}" "" f""
    try:
        value = [x async for x in await d(*c, **e) if x is not ...] + [""]
    except* (OSError, ValueError) as error:
        raise TypeError(f"{error}") from None
    match b:
        case [1, *rest] | {"k": rest} if rest:
            yield lambda: ({**e}, {1, 2j}, b"x", not a, rest[1:2, ...])
"""


def test_a_digest_is_the_same_on_every_python(tmp_path, monkeypatch):
    """Pinned, or records of one would be stale on another; 3.12.1 reads the f-string in its own way."""
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    (tmp_path / "every_kind.py").write_text(OF_EVERY_KIND)
    assert code._digest("every_kind", "")[:12] == "cdf338d39d39"
