"""emotion2vec, Hugging Face speech encoders, eGeMAPS and model names, on tiny models with random weights."""

import importlib.metadata
import io
import json
import logging
import os
import random
import shutil
import socket
import sys
import time
import types
import warnings

import numpy as np
import omegaconf
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lpgnet.features import hub, speech
from lpgnet.features.emotion2vec import Emotion2vec, layers
from lpgnet.features.loading import without_side_effects
from lpgnet.features.speech import EGeMAPS, SpeechModel

AUDIO = {
    "type": "AUDIO", "prenet_depth": 1, "prenet_layerdrop": 0, "prenet_dropout": 0.1,
    "start_drop_path_rate": 0, "end_drop_path_rate": 0, "num_extra_tokens": 10,
    "init_extra_token_zero": True, "mask_noise_std": 0.01, "conv_pos_depth": 5, "conv_pos_width": 95,
    "conv_pos_groups": 4, "conv_pos_pre_ln": False, "extractor_mode": "layer_norm", "local_grad_mult": 1.0,
    "feature_encoder_spec": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
    "use_alibi_encoder": True, "alibi_scale": 1.0, "learned_alibi": False, "alibi_max_pos": None,
    "learned_alibi_scale": True, "learned_alibi_scale_per_head": True,
    "learned_alibi_scale_per_layer": False, "num_alibi_heads": 4, "model_depth": 1, "decoder": None,
    "ema_local_encoder": False, "local_grad_mult_": 1.0,
}  # fmt: skip
CONF = {
    "depth": 1, "embed_dim": 32, "num_heads": 4, "mlp_ratio": 2.0, "norm_eps": 1e-5, "norm_affine": True,
    "layer_norm_first": False, "encoder_dropout": 0.1, "post_mlp_drop": 0.1, "attention_dropout": 0.1,
    "activation_dropout": 0.0, "dropout_input": 0.0, "layerdrop": 0.05, "start_drop_path_rate": 0,
    "end_drop_path_rate": 0, "average_top_k_layers": 1, "end_of_block_targets": False, "loss_beta": 0.0,
    "loss_scale": None, "clone_batch": 8, "normalize": True, "modalities": {"audio": AUDIO},
}  # fmt: skip
QKV = "blocks.0.attn.qkv.weight"

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
KINDS = {  # model type, and what makes its front end group or layer norm
    "group": ("wav2vec2", {}),
    "layer": ("wav2vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "plain": ("wav2vec2", {"feat_extract_norm": "layer"}),
    "hubert": ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm": ("wavlm", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "data2vec": ("data2vec-audio", {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2}),
    "unispeech": ("unispeech", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "conformer": ("wav2vec2-conformer", {"feat_extract_norm": "layer", "conv_depthwise_kernel_size": 5}),
    "unispeech-sat": ("unispeech-sat", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
}


def waves(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [(rng.normal(size=n) / 5).astype(np.float32) for n in lengths]


@pytest.fixture(autouse=True, scope="module")
def no_network():
    """Who opens a connection or looks up a name is named: nothing here needs a network."""
    went = []

    def refuse(*args, **kwargs):
        went.append(args)
        raise OSError("a test went to the network")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield went


@pytest.fixture(autouse=True)
def stays_at_home(no_network, request):
    """Also where the error is swallowed."""
    no_network.clear()
    yield
    assert not no_network or "hub" in request.node.name


def write_config(folder, conf=CONF, **changes):
    about = {"model": "Emotion2vec", "model_conf": conf, "scope_map": ["d2v_model.", "none"]}
    omegaconf.OmegaConf.save(omegaconf.OmegaConf.create({**about, **changes}), folder / "config.yaml")


@pytest.fixture(scope="module")
def funasr(tmp_path_factory, no_network):
    """funasr, imported once and by us, so that what its import does can be looked at."""
    folder = tmp_path_factory.mktemp("first")
    write_config(folder)
    torch.save({}, folder / "model.pt")
    with trace() as changed, pytest.raises(ValueError, match="lacks"):
        next(Emotion2vec(folder, "empty")(waves(800)))
    import funasr

    return types.SimpleNamespace(AutoModel=funasr.AutoModel, changed=changed)


class trace:
    """What of the process's state changes in a block: a list of names, filled when the block ends."""

    @staticmethod
    def states() -> dict:
        root = logging.getLogger()
        streams = [
            getattr(handler, "stream", None)
            for log in [root, *logging.root.manager.loggerDict.values()]
            for handler in getattr(log, "handlers", [])
        ]
        return {
            "random": random.getstate(),
            "numpy": str(np.random.get_state()),  # noqa: NPY002
            "torch": torch.get_rng_state().tolist(),
            "threads": torch.get_num_threads(),
            "root logger": (root.level, list(root.handlers), root.manager.disable),
            "environment": dict(os.environ),
            "warnings": len(warnings.filters),
            "no logger holds our ear": any(type(s).__name__ == "StringIO" for s in streams),
        }

    def __enter__(self) -> list:
        self.before, self.changed = self.states(), []
        return self.changed

    def __exit__(self, *args) -> None:
        after = self.states()
        self.changed += [name for name, state in self.before.items() if state != after[name]]


@pytest.fixture(scope="module")
def state(funasr):
    """Random weights that differ from what the model would start with, also in its norms."""
    from funasr.models.emotion2vec.model import Emotion2vec as Model

    made = Model(model_conf=omegaconf.OmegaConf.create(CONF)).state_dict()
    generator = torch.Generator().manual_seed(5)
    return {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in made.items()}


@pytest.fixture
def folder(tmp_path, state):
    write_config(tmp_path)
    torch.save({"model": {f"d2v_model.{k}": v for k, v in state.items()}, "args": None}, tmp_path / "model.pt")
    return tmp_path


def resave(folder, state, **more):
    torch.save({**state, **more}, folder / "model.pt")


# --- emotion2vec


def test_emotion2vec_gives_what_funasr_gives(folder, funasr):
    """Bit for bit, from the folder as funasr itself reads it, in any order and again."""
    theirs = funasr.AutoModel(model=str(folder), device="cpu", ncpu=1, disable_update=True, log_level="ERROR")
    made = Emotion2vec(folder, "tiny")
    some = waves(400, 32_321, 16_000, 719, 720)
    for wave, (vector, frames) in zip(some, made(some), strict=True):
        for want, granularity in ((vector, "utterance"), (frames, "frame")):
            given = theirs.generate(wave.copy(), granularity=granularity, extract_embedding=True, disable_pbar=True)
            np.testing.assert_array_equal(want, given[0]["feats"])
        np.testing.assert_array_equal(vector, frames.mean(axis=0))
        assert frames.shape == (1 + (len(wave) - 400) // 320, made.frame_size) and vector.shape == (made.size,)
        assert frames.dtype == vector.dtype == np.float32
    again = list(made(some[::-1]))[::-1]
    for (vector, _), (other, _) in zip(again, made(some), strict=True):
        np.testing.assert_array_equal(vector, other)


def test_padding_reaches_no_frame_of_emotion2vec(folder, funasr):
    """As on a GPU, where waves go together; without the zeros frames are 2 apart (upstream #37)."""
    made = Emotion2vec(folder, "tiny", "cuda")
    assert made.together == 8
    made.device, made.together = "cpu", 3
    some = waves(9_000, 400, 16_000, 7_001, 720, 24_000, 3_000)
    for (vector, frames), (alone, alone_frames) in zip(made(some), Emotion2vec(folder, "tiny")(some), strict=True):
        assert frames.shape == alone_frames.shape
        np.testing.assert_allclose(frames, alone_frames, atol=1e-5)
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def test_emotion2vec_s_waves_stay_alone_where_the_front_end_normalises_over_time(folder):
    audio = {**AUDIO, "extractor_mode": "default"}
    write_config(folder, {**CONF, "modalities": {"audio": audio}})
    assert Emotion2vec(folder, "tiny", "cuda").together == 1


def test_emotion2vec_leaves_no_trace(folder, funasr, capfd):
    assert funasr.changed == []  # its import, and building a model
    made = Emotion2vec(folder, "tiny")
    capfd.readouterr()
    with trace() as changed:
        list(made(waves(800)))
    with trace() as later:
        list(made(waves(900)))
    assert changed == later == [] and capfd.readouterr() == ("", "")


def test_a_gpu_keeps_its_random_state(monkeypatch):
    calls = []
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["state"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: calls.append(states))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: calls.append(seed))
    with without_side_effects():
        pass
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with without_side_effects():
        pass
    assert calls == [["state"], torch.initial_seed()]


def disturb():
    with without_side_effects():
        random.random(), torch.rand(1), np.random.rand()  # noqa: NPY002
        os.environ["LEFT_BEHIND"] = "1"
        warnings.simplefilter("ignore", UserWarning)
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger("made meanwhile").addHandler(logging.StreamHandler())
        raise RuntimeError


def test_what_disturbs_is_undone_whatever_it_was():
    with trace() as changed, pytest.raises(RuntimeError):
        disturb()
    handler = logging.getLogger("made meanwhile").handlers.pop()
    assert changed == [] and handler.stream is sys.stderr


def test_threads_that_were_asked_for_stay(folder, funasr):
    torch.set_num_threads(2)
    try:
        list(Emotion2vec(folder, "tiny")(waves(800)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_making_an_encoder_loads_no_model(folder, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    made = speech.encoder(str(folder))
    assert isinstance(made, Emotion2vec) and made.name == folder.name
    assert (made.size, made.frame_size, made.precision, made.note) == (32, 32, "float16", "")
    assert made.version.startswith("funasr 1.") and made.version == Emotion2vec(folder, "other name").version


def test_emotion2vec_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(ValueError, match=r"funasr, which is not installed: pip install funasr"):
        Emotion2vec(folder, "tiny")


def absent(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_version_knows_weights_and_config(folder, state):
    versions = {Emotion2vec(folder, "tiny").version}
    resave(folder, state, **{QKV: state[QKV] * 2})
    versions.add(Emotion2vec(folder, "tiny").version)
    write_config(folder, {**CONF, "normalize": False})
    versions.add(Emotion2vec(folder, "tiny").version)
    assert len(versions) == 3


def test_weights_are_found_under_any_of_their_names(folder, funasr):
    want = next(Emotion2vec(folder, "tiny")(waves(800)))[0]
    (folder / "model.pt").rename(folder / "emotion2vec_base.pt")
    (folder / "configuration.json").write_text('{"framework": "pytorch"}')
    made = Emotion2vec(folder, "tiny")  # the only *.pt
    assert made.weights.name == "emotion2vec_base.pt"
    (folder / "model.pt").write_bytes(b"decoy")
    named = {"file_path_metas": {"init_param": "emotion2vec_base.pt", "config": "config.yaml"}}
    (folder / "configuration.json").write_text(json.dumps(named))
    np.testing.assert_array_equal(next(Emotion2vec(folder, "tiny")(waves(800)))[0], want)
    (folder / "configuration.json").unlink()
    assert Emotion2vec(folder, "tiny").weights.name == "model.pt"


@pytest.mark.parametrize("named", ["../model.pt", "/etc/passwd", 3])
def test_weights_outside_the_folder_are_refused(folder, named):
    (folder / "configuration.json").write_text(json.dumps({"file_path_metas": {"init_param": named}}))
    with pytest.raises(ValueError, match=r"configuration.json names the weights .*: want a file inside"):
        Emotion2vec(folder, "tiny")


def test_heads_and_the_pretraining_decoder_are_not_needed(folder, state, funasr):
    want = next(Emotion2vec(folder, "tiny")(waves(800)))[0]
    decoder = "modality_encoders.AUDIO.decoder.blocks.0.0.weight"
    resave(folder, state, **{"proj.weight": torch.ones(9, 32), decoder: torch.ones(3), "_ema": torch.ones(2)})
    write_config(folder, {**CONF, "modalities": {"audio": {**AUDIO, "decoder": {"decoder_dim": 384}}}})
    np.testing.assert_array_equal(next(Emotion2vec(folder, "tiny")(waves(800)))[0], want)


def lacking(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: lacking(s, QKV), r"model.pt don't fit .*lacks blocks.0.attn.qkv.weight\."),
        (lambda s: {**s, QKV: s[QKV][:, :31]}, r"blocks.0.attn.qkv.weight \(96, 31\) \(want \(96, 32\)\)"),
        (lambda s: {**s, "blocks.1.norm1.bias": torch.ones(32)}, "has too many blocks.1.norm1.bias"),
        (lambda s: {k.replace("blocks.0", "block.0"): v for k, v in s.items()}, r"lacks .* and \d+ more"),
        (lambda s: list(s), r"lacks .* and \d+ more"),
        (lambda s: {**s, QKV: "text"}, "lacks blocks.0.attn.qkv.weight"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(folder, state, funasr, change, message):
    torch.save(change(state), folder / "model.pt")
    with pytest.raises(ValueError, match=message):
        next(Emotion2vec(folder, "tiny")(waves(800)))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle_that_runs_code_is_refused(folder, state, whole):
    fuse = folder / "went off"
    torch.save(Bomb(fuse) if whole else {**state, "more": Bomb(fuse)}, folder / "model.pt")
    with pytest.raises(ValueError, match=r"model.pt is no plain file of weights, so it was not run"):
        next(Emotion2vec(folder, "tiny")(waves(800)))
    assert not fuse.exists()


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_broken_file_of_weights_is_refused(folder, content):
    whole = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"model.pt is no plain file of weights"):
        next(Emotion2vec(folder, "tiny")(waves(800)))


def test_a_front_end_is_worked_out_as_funasr_would(tmp_path):
    for spec in (AUDIO["feature_encoder_spec"], "[(512,10,5),(1,2,3)]*2+[ ( 4 , 5 , 6 ) ]", "[(1, 2, 3)]"):
        assert layers(spec, tmp_path) == eval(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "__import__('os').system('touch {fuse}')",
        "[(512, 10, 5)] + __import__('os').system('touch {fuse}')",
        "[(512, 10, 5)] * 9 ** 9 ** 9",
        "[(512, 10, 5)] * 999999999",
        "[(512, 10, 5)] + ",
        [[512, 10, 5]],
        None,
    ],
)
def test_a_front_end_that_is_code_is_refused(folder, spec):
    fuse = folder / "went off"
    spec = spec.format(fuse=fuse) if isinstance(spec, str) else spec
    write_config(folder, {**CONF, "modalities": {"audio": {**AUDIO, "feature_encoder_spec": spec}}})
    with pytest.raises(ValueError, match=r"config.yaml has feature_encoder_spec .*as code"):
        Emotion2vec(folder, "tiny")
    assert not fuse.exists()


def test_nothing_else_of_config_yaml_is_followed(folder, funasr):
    """funasr would import remote_code and fetch the other models."""
    want = next(Emotion2vec(folder, "tiny")(waves(800)))[0]
    (folder / "code.py").write_text(f"open({str(folder / 'went off')!r}, 'w')")
    more = {"trust_remote_code": True, "remote_code": str(folder / "code.py"), "vad_model": "fsmn-vad"}
    write_config(folder, **more, tokenizer="CharTokenizer", init_param="/nowhere.pt", excludes="blocks")
    np.testing.assert_array_equal(next(Emotion2vec(folder, "tiny")(waves(800)))[0], want)
    assert not (folder / "went off").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: Paraformer", "describes the model 'Paraformer': want Emotion2vec"),
        ("- 1", "describes the model None"),
        ("a: [", "config.yaml can't be read"),
        ("model: Emotion2vec", "lacks 'model_conf'"),
        ("model: Emotion2vec\nmodel_conf: {modalities: {audio: {feature_encoder_spec: ''}}}", "'embed_dim'"),
        (
            "model: Emotion2vec\nmodel_conf: {embed_dim: x, modalities: {audio: {feature_encoder_spec: ''}}}",
            "has embed_dim 'x': want a positive integer",
        ),
    ],
)
def test_a_config_that_is_no_emotion2vec_is_refused(folder, text, message):
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Emotion2vec(folder, "tiny")


def test_a_config_that_funasr_cannot_build_is_refused(folder, funasr):
    write_config(folder, {**CONF, "mlp_ratio": "wide"})
    with pytest.raises(ValueError, match=r"config.yaml describes no model that funasr can build \(ValueError"):
        next(Emotion2vec(folder, "tiny")(waves(800)))


@pytest.mark.parametrize("name", ["config.yaml", "model.pt"])
def test_a_folder_that_lacks_a_file_says_so_at_once(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}, it holds .*an emotion2vec folder has"):
        Emotion2vec(folder, "tiny")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        Emotion2vec(folder / "nowhere", "tiny")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU asked for is there")
def test_a_device_that_is_not_there_is_refused(folder, models):
    for made in (Emotion2vec(folder, "tiny", "cuda"), SpeechModel(models["group"], "tiny", "cuda")):
        with pytest.raises(ValueError, match="no device 'cuda' here"):
            next(made(waves(800)))


# --- Hugging Face


def write_model(folder, kind: str, **changes):
    config = transformers.AutoConfig.for_model(kind, **{**TINY, **changes})
    torch.manual_seed(7)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    masked = changes.get("feat_extract_norm") == "layer" or kind == "data2vec-audio"
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in (*KINDS, "whisper")}
    for name, (kind, changes) in KINDS.items():
        write_model(folders[name], kind, **changes)
    sizes = {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = transformers.WhisperConfig(
        d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60, **sizes, **tokens
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folders["whisper"])
    transformers.WhisperFeatureExtractor().save_pretrained(folders["whisper"])
    return folders


@pytest.fixture
def copy(models, tmp_path):
    """A folder of our own to break, its weights, and a way to save them."""
    folder = tmp_path / "copy"
    shutil.copytree(models["group"], folder)
    weights = folder / "model.safetensors"
    state = {k: v.clone() for k, v in load_file(weights).items()}  # not the file's own memory
    return folder, state, lambda state: save_file(state, weights, metadata={"format": "pt"})


@pytest.mark.parametrize("name", KINDS)
def test_speech_models_give_their_last_hidden_state(models, name):
    made = speech.encoder(str(models[name]))
    model = transformers.AutoModel.from_pretrained(models[name]).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(models[name])
    some = waves(400, 16_000, 7_001)
    assert made.together == 1
    for wave, (vector, frames) in zip(some, made(some), strict=True):
        with torch.no_grad():
            inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")
            want = model(inputs["input_values"]).last_hidden_state[0].numpy()
        np.testing.assert_array_equal(frames, want)
        np.testing.assert_array_equal(vector, want.mean(axis=0))
        assert frames.shape == (1 + (len(wave) - 400) // 320, made.frame_size) and vector.dtype == np.float32


@pytest.mark.parametrize("name", ["layer", "hubert", "wavlm", "unispeech", "unispeech-sat", "plain"])
def test_batches_change_nothing(models, name):
    made = SpeechModel(models[name], "tiny", "cuda")
    assert made.together == 8
    made.device, made.together = "cpu", 3
    some = waves(9_000, 400, 16_000, 7_001, 720, 24_000, 3_000)
    calls = []
    made._load()
    made.model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    together = list(made(some))
    assert calls == [3, 3, 1]
    for (vector, frames), (alone, alone_frames) in zip(together, SpeechModel(models[name], "tiny")(some), strict=True):
        assert frames.shape == alone_frames.shape
        np.testing.assert_allclose(frames, alone_frames, atol=1e-5)
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def test_a_speech_model_says_what_it_is(copy):
    folder, state, save = copy
    made = SpeechModel(folder, "tiny")
    assert (made.name, made.size, made.frame_size, made.precision, made.note) == (
        "tiny",
        32,
        32,
        "float16",
        "",
    )
    assert made.version.startswith(f"transformers {transformers.__version__}, ") and made.model is None
    versions = {made.version, SpeechModel(folder, "other name").version}
    assert len(versions) == 1
    save({k: v + 1 for k, v in state.items()})
    versions.add(SpeechModel(folder, "tiny").version)
    edit(folder / "preprocessor_config.json", do_normalize=False)
    versions.add(SpeechModel(folder, "tiny").version)
    assert len(versions) == 3


def test_a_config_that_transformers_cannot_read_is_refused(copy):
    folder, _, _ = copy
    edit(folder / "config.json", conv_dim=[16, 16])
    with pytest.raises(ValueError, match=r"config.json can't be read: "):
        SpeechModel(folder, "tiny")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere: want a Hugging Face speech model"):
        SpeechModel(folder / "nowhere", "tiny")


def test_front_ends_that_padding_reaches_are_never_batched(models, tmp_path):
    for name in ("group", "conformer", "data2vec"):
        assert SpeechModel(models[name], "tiny", "cuda").together == 1
    write_model(tmp_path, "wav2vec2", feat_extract_norm="layer", do_stable_layer_norm=True)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(tmp_path)
    assert SpeechModel(tmp_path, "tiny", "cuda").together == 1
    write_model(tmp_path, "hubert", feat_extract_norm="layer", conv_pos_batch_norm=True)
    assert SpeechModel(tmp_path, "tiny", "cuda").together == 1


def test_an_adapter_has_its_own_size(tmp_path):
    write_model(
        tmp_path,
        "wav2vec2",
        add_adapter=True,
        feat_extract_norm="layer",
        output_hidden_size=24,
        num_adapter_layers=1,
    )
    made = SpeechModel(tmp_path, "tiny", "cuda")
    assert made.together == 1
    made.device = "cpu"
    vector, frames = next(made(waves(16_000)))
    assert made.size == 24 == len(vector) and frames.shape == (25, 24)


def test_whisper_keeps_the_frames_of_the_signal(models):
    made = speech.encoder(str(models["whisper"]))
    model = transformers.WhisperModel.from_pretrained(models["whisper"]).encoder.eval()
    extractor = transformers.WhisperFeatureExtractor()
    long = waves(480_321)[0]
    for wave, (vector, frames) in zip([long[:16_001], long], made([long[:16_001], long]), strict=True):
        want = []
        for piece in (wave[:480_000], wave[480_000:]):
            if len(piece):
                heard = extractor(piece, sampling_rate=16_000, return_tensors="pt")["input_features"]
                with torch.no_grad():
                    want.append(model(heard).last_hidden_state[0, : int(np.ceil(len(piece) / 320))].numpy())
        np.testing.assert_array_equal(frames, np.concatenate(want))
        np.testing.assert_array_equal(vector, frames.mean(axis=0))
        assert frames.shape == (int(np.ceil(len(wave) / 320)), made.size) == (len(frames), 16)


def test_speech_models_leave_no_trace(copy, capfd):
    folder, state, save = copy
    save({k: v for k, v in state.items() if k != "masked_spec_embed"})  # transformers would report it
    made = SpeechModel(folder, "tiny")
    capfd.readouterr()
    with trace() as changed:
        list(made(waves(800)))
    assert changed == [] and capfd.readouterr() == ("", "")


def test_released_forms_of_the_same_weights_give_the_same(copy):
    """Old names of the weight norm, a head on top, a pickle, half precision, shards, no masked_spec_embed."""
    folder, state, save = copy
    want = next(SpeechModel(folder, "tiny")(waves(3_000)))[1]

    def now():
        return next(SpeechModel(folder, "tiny")(waves(3_000)))[1]

    old = {k.replace("parametrizations.weight.original0", "weight_g"): v for k, v in state.items()}
    old = {k.replace("parametrizations.weight.original1", "weight_v"): v for k, v in old.items()}
    assert old.keys() != state.keys()
    del old["masked_spec_embed"]
    save(old)
    np.testing.assert_array_equal(now(), want)
    save({f"wav2vec2.{k}": v for k, v in old.items()} | {"lm_head.weight": torch.ones(3, 32)})
    np.testing.assert_array_equal(now(), want)
    save({k: v.half() for k, v in state.items()})
    assert now().dtype == np.float32
    np.testing.assert_allclose(now(), want, atol=0.02)
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(now(), want)
    (folder / "pytorch_model.bin").unlink()
    keys = list(state)
    shards = {"a.safetensors": keys[::2], "b.safetensors": keys[1::2]}
    for name, names in shards.items():
        save_file({k: state[k] for k in names}, folder / name, metadata={"format": "pt"})
    placed = {k: name for name, names in shards.items() for k in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    np.testing.assert_array_equal(now(), want)
    (folder / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks b.safetensors"):
        SpeechModel(folder, "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: lacking(s, "encoder.layer_norm.bias"), r"lacks encoder.layer_norm.bias\."),
        (
            lambda s: {**s, "encoder.layer_norm.bias": torch.ones(31)},
            r"encoder.layer_norm.bias \(31,\) \(want \(32,\)\)",
        ),
        (
            lambda s: {f"wav2vec2.{k}": v for k, v in {**s, "encoder.layers.2.x": torch.ones(1)}.items()},
            "has too many wav2vec2.encoder.layers.2.x",
        ),
        (
            lambda s: {k.replace("encoder.layer_norm.bias", "encoder.norm.bias"): v for k, v in s.items()},
            "lacks encoder.layer_norm.bias; it has too many encoder.norm.bias",
        ),
    ],
)
def test_speech_weights_that_do_not_fit_are_named(copy, change, message):
    folder, state, save = copy
    save(change(state))
    with pytest.raises(ValueError, match=message):
        next(SpeechModel(folder, "tiny")(waves(800)))


def test_broken_or_dangerous_speech_weights_are_refused(copy):
    folder, state, _ = copy
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="can't be loaded by transformers"):
        next(SpeechModel(folder, "tiny")(waves(800)))
    weights.unlink()
    torch.save({**state, "more": Bomb(folder / "went off")}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"so it was not run \(it asks for posix\.system\): fetch") as refused:
        next(SpeechModel(folder, "tiny")(waves(800)))
    assert "weights_only" not in str(refused.value) and "\n" not in str(refused.value)
    assert not (folder / "went off").exists()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_speech_folder_that_lacks_a_file_says_so_at_once(copy, name):
    folder, _, _ = copy
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}, it holds .*a Hugging Face speech model"):
        SpeechModel(folder, "tiny")


@pytest.mark.parametrize("held", [[], {}, {"a": 1}, {"a": "../x"}, {"a": None}])
def test_an_index_of_weights_that_is_none_is_refused(copy, held):
    (copy[0] / "model.safetensors").unlink()
    (copy[0] / "model.safetensors.index.json").write_text(json.dumps({"weight_map": held or None}))
    with pytest.raises(ValueError, match=r"index\.json(: a file of weights is| has the weight_map)"):
        SpeechModel(copy[0], "tiny")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_in_a_speech_folder_never_runs(copy):
    folder, _, _ = copy
    (folder / "code.py").write_text(f"open({str(folder / 'went off')!r}, 'w')\nclass C: pass\nclass M: pass")
    remote = {"AutoConfig": "code.C", "AutoModel": "code.M", "AutoFeatureExtractor": "code.C"}
    edit(folder / "config.json", auto_map=remote)
    edit(folder / "preprocessor_config.json", auto_map=remote)
    with pytest.raises(ValueError, match=r"config\.json has auto_map: Python code that comes with"):
        SpeechModel(folder, "tiny")
    edit(folder / "config.json", auto_map=None)  # the name alone is enough
    with pytest.raises(ValueError, match="has auto_map"):
        SpeechModel(folder, "tiny")
    assert not (folder / "went off").exists()


def test_a_model_for_another_rate_or_kind_is_refused(copy):
    folder, _, _ = copy
    edit(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(ValueError, match="says sampling_rate 8000: want 16000"):
        speech.encoder(str(folder))
    edit(folder / "config.json", model_type="bert")
    with pytest.raises(ValueError, match=r"holds a 'bert' model: as audio encoder want emotion2vec .* wav2vec2"):
        speech.encoder(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json can't be read as JSON: Expecting"):
        speech.encoder(str(folder))
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config.json holds a list: want a JSON object"):
        speech.encoder(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds model.safetensors, .*: want config.yaml \(emotion2vec\) or"):
        speech.encoder(str(folder))


# --- names


@pytest.mark.parametrize("name", ["/no/such", "./no", "../no", "~/no/such", "a\\b", "a/b/c", "models/no", ""])
def test_a_missing_folder_is_one_error_at_once(name, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*; give a local folder, or use the encoders"):
        hub.resolve(name)
    assert time.monotonic() - begun < 1


def test_a_file_is_no_folder(folder):
    with pytest.raises(FileNotFoundError, match="is a file: want the folder"):
        hub.resolve(str(folder / "model.pt"))


@pytest.mark.parametrize(
    ("name", "where"),
    [("facebook/no-such", "Hugging Face"), ("no-such@main", "Hugging Face"), ("iic/no_such", "ModelScope")],
)
def test_a_hub_out_of_reach_is_one_error_soon(name, where, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    begun = time.monotonic()
    model = name.split("@")[0]
    with pytest.raises(FileNotFoundError, match=f"no folder {model}, and can't fetch it from the .* hub") as seen:
        hub.resolve(name)
    assert time.monotonic() - begun < 10 and "audio prosody" in str(seen.value)
    assert "\n" not in str(seen.value) and "(KeyError" not in str(seen.value)


def test_a_hub_that_answers_is_heard():
    assert hub._soon(lambda: 7) == 7
    with pytest.raises(LookupError, match="no such model"):
        hub._soon(lambda: {}["no such model"])


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(hub, "PATIENCE", 0.1)
    with pytest.raises(TimeoutError, match="no answer"):
        hub._soon(lambda: time.sleep(5))


class FakeHub:
    """Stands for huggingface_hub: what is cached, what the hub holds, what was asked for."""

    def __init__(self, monkeypatch, root, files):
        import huggingface_hub

        self.root, self.files, self.asked = root, files, []
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def model_info(self, model, revision, timeout):
        siblings = [types.SimpleNamespace(rfilename=name) for name in self.files]
        return types.SimpleNamespace(siblings=siblings)

    def snapshot_download(self, model, revision=None, local_files_only=False, **options):
        from huggingface_hub.errors import LocalEntryNotFoundError

        self.asked.append({"model": model, "revision": revision, "local": local_files_only, **options})
        folder = self.root / "snapshots" / (revision or "c0ffee")
        if not local_files_only:
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.files:
                (folder / name).write_text("{}")
        elif not folder.exists():
            raise LocalEntryNotFoundError("nothing cached")
        return str(folder)


def test_a_name_is_fetched_once_and_pinned(tmp_path, monkeypatch):
    fake = FakeHub(monkeypatch, tmp_path, ["config.json", "model.safetensors", "pytorch_model.bin"])
    commit = hub.PINNED["bert-base-uncased"]
    assert hub.resolve("bert-base-uncased") == (tmp_path / "snapshots" / commit, commit)
    assert fake.asked[-1]["revision"] == commit and "*.bin" not in fake.asked[-1]["allow_patterns"]
    assert "*.safetensors" in fake.asked[-1]["allow_patterns"]
    assert hub.resolve("bert-base-uncased")[1] == commit
    assert [asked["local"] for asked in fake.asked] == [True, False, True]
    assert hub.resolve("facebook/hubert")[1] == "c0ffee"
    assert hub.resolve("facebook/hubert@v1")[1] == "v1" and fake.asked[-1]["model"] == "facebook/hubert"


def test_pickles_are_fetched_where_nothing_else_is_there(tmp_path, monkeypatch):
    fake = FakeHub(monkeypatch, tmp_path, ["config.yaml", "emotion2vec_base.pt", "configuration.json"])
    folder, _ = hub.resolve("emotion2vec/emotion2vec_base")
    assert "*.pt" in fake.asked[-1]["allow_patterns"] and folder.name == fake.asked[-1]["revision"]


def test_a_snapshot_that_was_cut_off_is_fetched_again(tmp_path, monkeypatch):
    fake = FakeHub(monkeypatch, tmp_path, ["config.json", "model.safetensors"])
    folder = tmp_path / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    hub.resolve("facebook/hubert")
    assert [asked["local"] for asked in fake.asked] == [True, False]
    index = '{"weight_map": {"x": "a.safetensors", "y": "lost.safetensors"}}'
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    hub.resolve("facebook/hubert")
    assert [asked["local"] for asked in fake.asked[2:]] == [True, False]


@pytest.mark.parametrize(
    "files",
    [
        ["model.safetensors", "pytorch_model.bin.index.json"],  # whose shards were not wanted
        ["a.safetensors", "b.safetensors", "model.safetensors.index.json"],
        ["emotion2vec_base.pt", "configuration.json"],
    ],
)
def test_a_whole_snapshot_is_not_fetched_again(files, tmp_path, monkeypatch):
    fake = FakeHub(monkeypatch, tmp_path, [])
    folder = tmp_path / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    assert hub.resolve("facebook/hubert")[0] == folder
    assert [asked["local"] for asked in fake.asked] == [True]


def test_modelscope_is_asked_for_what_is_its_own(tmp_path, monkeypatch):
    asked, reached = [], []

    def snapshot_download(model, revision, local_files_only=False, allow_patterns=None):
        asked.append((model, revision, local_files_only))
        if local_files_only and len(asked) == 1:
            raise LookupError("not in the cache")
        (tmp_path / "model.pt").touch()
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "modelscope", types.SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.setattr(hub.urllib.request, "urlopen", lambda url, timeout: reached.append(url) or io.BytesIO())
    assert hub.resolve("iic/emotion2vec_base") == (tmp_path, "master")
    assert hub.resolve("iic/emotion2vec_base@v2.0.4") == (tmp_path, "v2.0.4")
    model = "iic/emotion2vec_base"
    assert asked == [(model, "master", True), (model, "master", False), (model, "v2.0.4", True)]
    assert reached == ["https://modelscope.cn"]


def test_encoders_from_a_hub_carry_their_revision(tmp_path, monkeypatch, models):
    place = tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(models["group"], place)
    FakeHub(monkeypatch, tmp_path, [])
    assert speech.encoder("facebook/hubert").name == "facebook/hubert@c0ffee"


# --- eGeMAPS


def test_egemaps_gives_functionals_and_descriptors():
    opensmile = pytest.importorskip("opensmile")
    made = speech.encoder("egemaps")
    assert made.precision == "float32" and made.version.startswith("eGeMAPSv02, opensmile ")
    some = waves(400, 16_000, 8_000)
    smiles = [
        opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)
        for level in (opensmile.FeatureLevel.Functionals, opensmile.FeatureLevel.LowLevelDescriptors)
    ]
    for wave, (vector, frames) in zip(some, made(some), strict=True):
        assert vector.shape == (made.size,) and frames.shape[1] == made.frame_size and len(frames)
        assert np.isfinite(vector).all() and np.isfinite(frames).all()
        if len(wave) > 1600:
            np.testing.assert_array_equal(vector, smiles[0].process_signal(wave, 16_000).to_numpy()[0])
            np.testing.assert_array_equal(frames, smiles[1].process_signal(wave, 16_000).to_numpy())


def test_egemaps_refuses_what_is_not_finite(monkeypatch):
    frame = types.SimpleNamespace(to_numpy=lambda: np.full((1, 88), np.nan))
    made = EGeMAPS.__new__(EGeMAPS)
    made.vector = made.frames = types.SimpleNamespace(process_signal=lambda wave, rate: frame)
    with pytest.raises(ValueError, match="openSMILE gave NaN for a wave of 2000 samples"):
        next(made(waves(2000)))


def test_egemaps_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(ValueError, match=r"pip install 'lpgnet\[opensmile\]'"):
        speech.encoder("egemaps")
    assert "research" in EGeMAPS.note


def test_importing_the_encoders_imports_no_model_library():
    import subprocess

    code = (
        "import sys, lpgnet.features.speech;"
        "print([m for m in ('torch', 'transformers', 'funasr', 'opensmile') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
