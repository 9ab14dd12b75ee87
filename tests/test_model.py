"""LPGNet against hand computations, torch's own attention, and invariances.  Sizes are distinct primes."""

import pytest
import torch
from torch.testing import assert_close

from lpgnet.config import LPGNetConfig
from lpgnet.model import MODALITY, GlobalCompression, LPGNet, attention_weights, mean, position_wise_ffn

LENGTHS, TEXT, AUDIO, D, C = (5, 2, 3), 7, 11, 13, 4
SIZES = {"text": TEXT, "audio": AUDIO}
ALTERNATIVES = [
    {},
    {"ffn": 4},
    {"ffn": 0},
    {"kernel": 3},
    {"projections": True},
    {"context": "position"},
    {"branch": "query"},
    {"softmax": "feature"},
    {"fusion": "averaged"},
    {"fusion": "concatenated"},
    {"shared": True},
    {"speakers": True},
    {"paths": ("tt",)},
    {"paths": ("aa",)},
    {"paths": ("tt", "aa")},
    {"paths": ("at", "ta")},
]
FRAME = [{"pool": "path"}, {"pool": "path", "context": "position"}, {"pool": "position"}]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def valid_of(lengths, longest=None):
    return torch.arange(longest or max(lengths)) < torch.tensor(lengths)[:, None]


def dialogues(lengths=LENGTHS, seed=0):
    """Rows, valid and speakers of dialogues; what stands at padding is noise, since it must not matter."""
    g = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    rows = {m: torch.randn(*shape, f, generator=g) for m, f in SIZES.items()}
    return rows, dict.fromkeys(SIZES, valid_of(lengths)), torch.randint(2, shape, generator=g)


def frames(text=(4, 1, 2), audio=(3, 5, 2), common=False, seed=0):
    """The same of utterances with so many tokens and frames; common: padded to one length."""
    g = torch.Generator().manual_seed(seed)
    lengths = {"text": text, "audio": audio}
    longest = {m: max((*text, *audio) if common else n) for m, n in lengths.items()}
    rows = {m: torch.randn(len(n), longest[m], SIZES[m], generator=g) for m, n in lengths.items()}
    return rows, {m: valid_of(n, longest[m]) for m, n in lengths.items()}


def randomised(model):
    """Running statistics and affine maps that matter."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.normal_()
    return model.eval()


def model_of(seed=0, kind=LPGNet, dropout=0.0, **changes):
    torch.manual_seed(seed)
    return randomised(kind(LPGNetConfig(hidden=D, dropout=dropout, **changes), SIZES, C, speakers=2))


def inputs_of(model, names, *data):
    """The output of a model, and what some of its modules read on the way."""
    read, modules = {}, dict(model.named_modules())
    hooks = [
        modules[name].register_forward_pre_hook(lambda _, given, name=name: read.update({name: given[0]}))
        for name in names
    ]
    output = model(*data)
    for hook in hooks:
        hook.remove()
    return output, read


def encoded(model, rows):
    return {m: conv(rows[m].mT).mT for m, conv in model.encode.items()}


# Equations, one by one


def test_eq2_is_a_conv1d_of_kernel_1_with_bias():
    """By hand: a linear map of every turn; with kernel 3 of it and its neighbours."""
    rows, _, _ = dialogues()
    conv = model_of().encode["text"]
    want = rows["text"] @ conv.weight[..., 0].T + conv.bias
    assert_close(encoded(model_of(), rows)["text"], want)
    wide = model_of(kernel=3).encode["text"]
    padded = torch.nn.functional.pad(rows["text"], (0, 0, 1, 1))
    want = sum(padded[:, i : i + 5] @ wide.weight[..., i].T for i in range(3)) + wide.bias
    assert_close(encoded(model_of(kernel=3), rows)["text"], want, **CLOSE)


def test_eqs3_to_5_agree_with_torch():
    valid = valid_of(LENGTHS)
    q, k, v = (torch.randn(3, 5, D) for _ in range(3))
    mask = valid[:, None, :].expand(-1, 5, -1)
    reference = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert_close(attention_weights(q, k, valid) @ v, reference)


def test_eq5_by_hand():
    """Two keys with scores 0 and ln 3 / 1 at d = 1: weights 1/4 and 3/4; a padded key gets none."""
    key = torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))], [100.0]]])
    valid = torch.tensor([[True, True, False]])
    assert_close(attention_weights(torch.ones(1, 1, 1), key, valid), torch.tensor([[[0.25, 0.75, 0.0]]]))


def test_attention_refuses_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"valid is \(5, 3\), keys are \(3, 5, 7\)"):
        attention_weights(torch.zeros(3, 5, 7), torch.zeros(3, 5, 7), torch.ones(5, 3, dtype=bool))


def test_mean_counts_real_positions_only():
    x = torch.tensor([[[1.0], [9.0], [9.0]], [[2.0], [3.0], [7.0]]])
    assert mean(x, valid_of((1, 3))).tolist() == [[[1.0]], [[4.0]]]


def test_eq6_block_is_conv2d_batch_norm_leaky_relu_of_the_real_rows():
    torch.manual_seed(2)
    block = GlobalCompression(D).train()
    conv = torch.nn.Conv2d(D, D, 1)
    conv.weight.data = block[0].weight.data[:, :, None, None]
    x, real = torch.randn(3, 5, D), valid_of(LENGTHS)
    reference = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(D), torch.nn.LeakyReLU()).train()
    found = block(x, real)
    assert_close(found[real], reference(x[real][:, :, None, None])[:, :, 0, 0], **CLOSE)
    assert not found[~real].any()


def test_eq7_by_its_parts():
    torch.manual_seed(3)
    ffn = position_wise_ffn(D, 2, 0.0)
    norm, first, _, _, second = ffn
    norm.weight.data.normal_()
    x = torch.randn(5, D)
    z = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    z = (z * norm.weight + norm.bias) @ first.weight.T
    z = z * 0.5 * (1 + torch.erf(z / 2**0.5))
    assert_close(ffn(x), z @ second.weight.T)
    assert first.bias is None and second.bias is None
    assert first.weight.shape == (2 * D, D)


def test_eq7_drops_between_gelu_and_w2():
    torch.manual_seed(4)
    ffn = position_wise_ffn(D, 2, 0.5)
    x = torch.randn(3, D)
    assert not torch.equal(ffn.train()(x), ffn(x))
    assert torch.equal(ffn.eval()(x), ffn(x))
    kept = []
    ffn[4].register_forward_hook(lambda m, i, o: kept.append(i[0]))
    ffn.train()(torch.randn(50, D))
    assert 0.4 < (kept[0] == 0).float().mean() < 0.6


@pytest.mark.parametrize("changes", [{}, {"projections": True}, {"context": "position"}], ids=str)
def test_eqs3_to_8_of_every_path(changes):
    """X_final = Q + A_conv + FFN(A_conv) with torch's attention, dialogue by dialogue."""
    model, (rows, valid, _) = model_of(**changes), dialogues()
    _, read = inputs_of(model, [f"unimodal_gate.{p}" for p in model.config.paths], rows, valid)
    x = encoded(model, rows)
    assert list(model.config.paths) == ["tt", "aa", "at", "ta"]
    for path in model.config.paths:
        query, key = (x[MODALITY[letter]] for letter in path)
        maps = list(model.maps[path]) if model.maps else [torch.nn.Identity()] * 3
        for i, length in enumerate(LENGTHS):
            q, k, v = (w(part[i, :length]) for w, part in zip(maps, (query, key, key), strict=True))
            attended = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]
            if "context" not in changes:
                attended = attended.mean(0, keepdim=True)
            context = torch.nn.Sequential.forward(model.compress[path], attended)
            want = query[i, :length] + context + model.ffn[path](context)
            assert_close(read[f"unimodal_gate.{path}"][i, :length], want, **CLOSE)


def test_eqs9_to_12_gate_then_join():
    model, (rows, valid, _) = model_of(), dialogues()
    names = [f"unimodal_gate.{p}" for p in model.config.paths] + ["merge.text", "merge.audio"]
    _, read = inputs_of(model, names, rows, valid)
    hidden = {p: read[f"unimodal_gate.{p}"] for p in model.config.paths}
    gated = {p: torch.sigmoid(x @ model.unimodal_gate[p].weight.T) * x for p, x in hidden.items()}
    assert_close(read["merge.text"], torch.cat([gated["tt"], gated["at"]], -1))
    assert_close(read["merge.audio"], torch.cat([gated["aa"], gated["ta"]], -1))
    assert all(gate.bias is None for gate in model.unimodal_gate.values())


def test_reading_r7_by_query_joins_the_paths_of_one_query():
    assert model_of().branches == {"text": ["tt", "at"], "audio": ["aa", "ta"]}
    assert model_of(branch="query").branches == {"text": ["tt", "ta"], "audio": ["aa", "at"]}


def test_eqs13_and_14_by_hand():
    model = model_of()
    fused = {"text": torch.randn(3, D), "audio": torch.randn(3, D)}
    w = model.multimodal_gate.weight
    t, a = torch.exp(fused["text"] @ w.T), torch.exp(fused["audio"] @ w.T)
    alpha = t / (t + a)
    final, weight = model.fuse(fused)
    assert_close(final, alpha * fused["text"] + (1 - alpha) * fused["audio"])
    assert_close(weight, {"text": alpha.mean(-1), "audio": 1 - alpha.mean(-1)})
    assert model.multimodal_gate.bias is None


def test_reading_r8_literal_softmax_runs_over_the_features():
    model = model_of(softmax="feature")
    fused = {"text": torch.randn(3, D), "audio": torch.randn(3, D)}
    w = model.multimodal_gate.weight
    want = sum((x @ w.T).softmax(-1) * x for x in fused.values())
    assert_close(model.fuse(fused)[0], want)


def test_reading_r16_averages_or_projects():
    fused = {"text": torch.randn(3, D), "audio": torch.randn(3, D)}
    averaged = model_of(fusion="averaged")
    assert_close(averaged.fuse(fused)[0], (fused["text"] + fused["audio"]) / 2)
    assert not averaged.unimodal_gate and averaged.multimodal_gate is None and averaged.project is None
    joined = model_of(fusion="concatenated")
    want = joined.project(torch.cat([fused["text"], fused["audio"]], -1))
    assert_close(joined.fuse(fused)[0], want)
    assert not joined.unimodal_gate and joined.multimodal_gate is None
    assert model_of().project is None


def test_eqs15_and_18_classify_the_fused_and_each_branch():
    model, (rows, valid, _) = model_of(), dialogues()
    output, read = inputs_of(model, ["merge.text", "merge.audio", "classify"], rows, valid)
    fused = {m: model.merge[m](read[f"merge.{m}"]) for m in SIZES}
    final, weight = model.fuse(fused)
    assert_close(read["classify"], final)
    assert_close(output.logits, final @ model.classify.weight.T + model.classify.bias)
    assert_close(output.students, {m: model.student[m](torch.relu(fused[m])) for m in SIZES})
    assert_close(output.modality_weight, weight)
    assert output.logits.shape == (3, 5, C)


def test_the_paper_has_these_biases():
    """Eq. (2) by Reading R1, Eq. (12)'s Linear, b_c of Eq. (15) and b'_m of Eq. (18); R22: no others."""
    model = model_of()
    kinds = (torch.nn.Linear, torch.nn.Conv1d)
    biased = {n for n, m in model.named_modules() if isinstance(m, kinds) and m.bias is not None}
    names = {f"{part}.{m}" for part in ("encode", "merge", "student") for m in SIZES}
    assert biased == names | {"classify"}


# One modality, shared parts, speakers


def test_one_modality_has_one_path_no_gate_across_and_no_student():
    for path, modality, other in (("tt", "text", "audio"), ("aa", "audio", "text")):
        model = model_of(paths=(path,))
        assert list(model.encode) == [modality] and list(model.branches) == [modality]
        assert model.multimodal_gate is None and not model.student and model.project is None
        rows, valid, _ = dialogues()
        changed = rows | {other: torch.randn_like(rows[other])}
        assert_close(model(rows, valid).logits, model(changed, valid).logits)
        assert model(rows, valid).modality_weight == {}
    assert model_of(paths=("tt",), fusion="concatenated").project is None


def test_shared_parts_are_one():
    model = model_of(shared=True)
    assert list(model.ffn) == ["all"] and list(model.unimodal_gate) == ["all"]
    assert len(model.compress) == 4  # Reading R4: always a path's own


def test_without_ffn_there_is_none():
    assert not model_of(ffn=0).ffn
    assert model_of(ffn=4).ffn["tt"][1].weight.shape == (4 * D, D)


def test_speaker_embedding_is_added_to_both_modalities():
    model, (rows, valid, speaker) = model_of(speakers=True), dialogues()
    plain = model_of()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("speaker")})
    shift = model.speaker(speaker)
    for encode in plain.encode.values():
        encode.register_forward_hook(lambda m, i, o: o + shift.mT)
    assert_close(model(rows, valid, speaker).logits, plain(rows, valid).logits)
    assert plain.speaker is None


def test_speaker_identity_changes_nothing_in_the_paper_s_model():
    model, (rows, valid, speaker) = model_of(), dialogues()
    assert_close(model(rows, valid, speaker).logits, model(rows, valid, 1 - speaker).logits)


# Invariances


@pytest.mark.parametrize("changes", [c for c in ALTERNATIVES if "kernel" not in c], ids=str)
def test_a_dialogue_alone_gives_the_same_rows(changes):
    """Padding and the other dialogues of a batch reach nobody.  (Kernel 3 wants zeros where nothing is.)"""
    model, (rows, valid, speaker) = model_of(**changes), dialogues()
    beside = model(rows, valid, speaker)
    for i, length in enumerate(LENGTHS):
        one = {m: x[i : i + 1, :length] for m, x in rows.items()}
        alone = model(one, {m: v[i : i + 1, :length] for m, v in valid.items()}, speaker[i : i + 1, :length])
        assert_close(beside.logits[i, :length], alone.logits[0], **CLOSE)
        for m, student in alone.students.items():
            assert_close(beside.students[m][i, :length], student[0], **CLOSE)


@pytest.mark.parametrize("changes", [c for c in ALTERNATIVES if "kernel" not in c], ids=str)
def test_permuting_turns_permutes_outputs_and_nothing_else(changes):
    """R2 and R3 leave no positions: LPGNet with kernel 1 doesn't know the order of the turns."""
    model, (rows, valid, speaker) = model_of(**changes), dialogues((5,))
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = model({m: x[:, order] for m, x in rows.items()}, valid, speaker[:, order])
    assert_close(permuted.logits, model(rows, valid, speaker).logits[:, order], **CLOSE)


def test_kernel_3_knows_its_neighbours():
    model, (rows, valid, _) = model_of(kernel=3), dialogues((5,))
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = model({m: x[:, order] for m, x in rows.items()}, valid)
    assert not torch.allclose(permuted.logits, model(rows, valid).logits[:, order], atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"context": "position"}], ids=str)
def test_context_reaches_every_turn_of_its_dialogue(changes):
    model, (rows, valid, _) = model_of(**changes), dialogues()
    other = rows["audio"].clone()
    other[0, 0] += 5.0
    change = model(rows | {"audio": other}, valid).logits - model(rows, valid).logits
    reached = change.abs().sum(-1) > 1e-6
    assert reached[valid["text"]].tolist() == [True] * 5 + [False] * 5


def test_dropping_a_modality_costs_what_only_it_says():
    """Zeroed audio leaves the text rows' part and nothing of the old audio."""
    model, (rows, valid, _) = model_of(), dialogues()
    silent = rows | {"audio": torch.zeros_like(rows["audio"])}
    assert not torch.allclose(model(silent, valid).logits, model(rows, valid).logits, atol=1e-2)
    assert not torch.allclose(model(rows | {"text": 0 * rows["text"]}, valid).logits, model(rows, valid).logits)


@pytest.mark.parametrize("changes", ALTERNATIVES + FRAME, ids=str)
def test_every_parameter_learns(changes):
    model = model_of(**changes).train()
    output = model(*(frames(common=True) if "pool" in changes else dialogues()))
    sum([output.logits.square().sum(), *(s.square().sum() for s in output.students.values())]).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# Frame level (R21)


@pytest.mark.parametrize("changes", FRAME, ids=str)
def test_frames_give_one_row_per_utterance_whatever_stands_beside_it(changes):
    model, (rows, valid) = model_of(**changes), frames(common=True)
    beside = model(rows, valid)
    assert beside.logits.shape == (3, 1, C)
    for i in range(3):
        longest = max(int(v[i].sum()) for v in valid.values())
        one = {m: x[i : i + 1, :longest] for m, x in rows.items()}
        alone = model(one, {m: v[i : i + 1, :longest] for m, v in valid.items()})
        assert_close(beside.logits[i : i + 1], alone.logits, **CLOSE)
        for m in SIZES:
            assert_close(beside.students[m][i : i + 1], alone.students[m], **CLOSE)
            assert_close(beside.modality_weight[m][i : i + 1], alone.modality_weight[m], **CLOSE)


def test_frames_are_averaged_over_the_query_before_the_gates():
    """What `pool="path"` gates is the mean of what no pooling would gate."""
    (rows, valid), names = frames(), [f"unimodal_gate.{p}" for p in ("tt", "aa", "at", "ta")]
    rows, valid = {m: x[:1, :3] for m, x in rows.items()}, {m: v[:1, :3] for m, v in valid.items()}
    _, each = inputs_of(model_of(), names, rows, valid)
    output, pooled = inputs_of(model_of(pool="path"), names, rows, valid)
    assert output.logits.shape == (1, 1, C)
    for name in names:
        assert_close(pooled[name], each[name].mean(1, keepdim=True))


def test_literal_frames_pool_last_over_either_mask():
    """One utterance of 1 token and 2 frames: position 2 has a frame only."""
    model, (rows, valid) = model_of(pool="position"), frames((1,), (2,), common=True)
    output, read = inputs_of(model, [f"unimodal_gate.{p}" for p in model.config.paths], rows, valid)
    x = {p: read[f"unimodal_gate.{p}"][0] for p in model.config.paths}
    assert all(not x[p][1].any() for p in ("tt", "ta")) and all(x[p][1].any() for p in ("aa", "at"))
    gated = {p: torch.sigmoid(h @ model.unimodal_gate[p].weight.T) * h for p, h in x.items()}
    fused = {m: model.merge[m](torch.cat([gated[p] for p in ps], -1)) for m, ps in model.branches.items()}
    final, weight = model.fuse(fused)
    assert_close(output.logits[0], model.classify(final.mean(0, keepdim=True)))
    assert_close(output.students["text"][0], model.student["text"](fused["text"].mean(0, keepdim=True).relu()))
    assert_close(output.modality_weight["text"][0], weight["text"].mean(0, keepdim=True))


def test_config_refuses_what_is_no_model():
    for wrong in ({"paths": ()}, {"paths": ("tx",)}, {"kernel": 2}, {"speakers": True, "pool": "path"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LPGNetConfig(**wrong)
