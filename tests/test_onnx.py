"""A checkpoint as ONNX, as a user writes and reads it."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import lpgnet, refused
from test_predict import hearer  # noqa: F401  a fixture

from lpgnet.beyond import onnx_model


@pytest.fixture(scope="module")
def written(hearer, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("onnx")
    hearer.save_pretrained(folder / "model")
    done = lpgnet(folder, "export-model", str(folder / "model"), "--out", str(folder / "m.onnx"))
    assert done.returncode == 0, done.stderr
    assert "of torch at 1 to 200 turns" in done.stdout
    return folder / "m.onnx"


@pytest.mark.parametrize("turns", [1, 4, 60, 200])
def test_the_file_gives_the_reader_s_own_probabilities(hearer, written, turns):  # noqa: F811
    """Turns without a modality, and padding beside them, included: the reader knows nothing of either form."""
    rng = torch.Generator().manual_seed(turns)
    rows = {m: torch.randn(turns, size, generator=rng) for m, size in hearer.sizes.items()}
    rows["audio"][0] = torch.nan
    want, weight = hearer(rows)
    padded = {m: np.concatenate([x.numpy(), np.full((3, x.shape[1]), 7.0, np.float32)])[None] for m, x in rows.items()}
    valid = np.arange(turns + 3)[None] < turns
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    found = dict(
        zip([x.name for x in session.get_outputs()], session.run(None, padded | {"valid": valid}), strict=True)
    )
    np.testing.assert_allclose(found["probabilities"][0, :turns], want.numpy(), atol=1e-5)
    for m, x in weight.items():
        np.testing.assert_allclose(found[f"weight_{m}"][0, :turns], x.numpy(), atol=1e-5)


def test_the_file_says_what_it_is_and_of_what(hearer, written):  # noqa: F811
    about = {entry.key: entry.value for entry in onnx.load(written).metadata_props}
    assert json.loads(about["classes"]) == list(hearer.classes)
    assert float(about["temperature"]) == 1.5 and "simulated" in about["says"]
    assert json.loads(about["encoders"]) == hearer.encoders


def test_a_file_that_is_not_torch_s_model_is_not_left_behind(hearer, tmp_path, monkeypatch):  # noqa: F811
    hearer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(onnx_model, "CLOSE", 0.0)
    with pytest.raises(RuntimeError, match=r"from torch, want at most 0.0: nothing was written"):
        onnx_model.export(tmp_path / "model", tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    refused(onnx_model.export, tmp_path / "model", tmp_path / "m.pt", says=r"want a name that ends in .onnx")
