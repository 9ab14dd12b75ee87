"""LPGNet against hand computations, torch's own attention, and invariances.  Sizes are distinct primes."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from lpgnet import model
from lpgnet.config import LPGNetConfig
from lpgnet.model import (
    Attention,
    Batch,
    Layout,
    LocalEncoding,
    LPGNet,
    attention_weights,
    global_compression,
    position_wise_ffn,
)

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
FRAME = [{"pool": "path"}, {"pool": "position"}]


def batch_of(lengths, seed=0, speakers=2):
    g = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    layout = Layout(torch.tensor(lengths))
    rows = {m: torch.randn(n, f, generator=g) for m, f in SIZES.items()}
    speaker = torch.randint(speakers, (n,), generator=g)
    labels = torch.randint(C, (n,), generator=g)
    return Batch(rows, {"text": layout, "audio": layout}, speaker, labels)


def frames_of(text, audio, seed=0):
    g = torch.Generator().manual_seed(seed)
    lengths = {"text": text, "audio": audio}
    rows = {m: torch.randn(sum(n), SIZES[m], generator=g) for m, n in lengths.items()}
    layouts = {m: Layout(torch.tensor(n)) for m, n in lengths.items()}
    return Batch(rows, layouts, torch.zeros(len(text), dtype=int), torch.zeros(len(text), dtype=int))


def model_of(seed=0, **changes):
    torch.manual_seed(seed)
    config = LPGNetConfig(hidden=D, dropout=0.0, **changes)
    model = LPGNet(config, SIZES, C, speakers=2)
    for module in model.modules():  # running statistics that matter
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.normal_()
    return model.eval()


def part(batch, start, stop, length):
    layout = Layout(torch.tensor([length]))
    rows = {m: x[start:stop] for m, x in batch.rows.items()}
    return Batch(rows, dict.fromkeys(rows, layout), batch.speaker[start:stop], batch.labels[start:stop])


# Layout


def test_padding_puts_each_row_in_its_place():
    layout = Layout(torch.tensor([1, 3]))
    padded = layout.pad(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    assert padded[..., 0].tolist() == [[1, 0, 0], [2, 3, 4]]
    assert layout.valid.tolist() == [[True, False, False], [True, True, True]]
    assert layout.sequence.tolist() == [0, 1, 1, 1]


def test_mean_counts_real_rows_only():
    layout = Layout(torch.tensor([1, 3]))
    mean = layout.mean(torch.tensor([[1.0], [2.0], [3.0], [7.0]]))
    assert mean.tolist() == [[1.0], [4.0]]


def test_layout_refuses_an_empty_sequence_and_rows_that_do_not_fit():
    with pytest.raises(ValueError, match="none empty"):
        Layout(torch.tensor([2, 0]))
    with pytest.raises(ValueError, match="none empty"):
        Layout(torch.tensor([], dtype=int))
    with pytest.raises(ValueError, match="none empty"):
        Layout(torch.tensor([[1, 2]]))
    with pytest.raises(ValueError, match="3 rows for 2"):
        Layout(torch.tensor([2])).pad(torch.zeros(3, 1))


# Equations, one by one


def test_eq2_is_a_conv1d():
    """Kernel 1 and 3 agree with torch's own convolution, dialogue by dialogue."""
    for kernel in (1, 3):
        torch.manual_seed(0)
        encode = LocalEncoding(TEXT, D, kernel)
        batch = batch_of(LENGTHS)
        ours = encode(batch.rows["text"], batch.layouts["text"]).split(LENGTHS)
        conv = torch.nn.Conv1d(TEXT, D, kernel, padding=kernel // 2)
        conv.weight.data = encode.project.weight.data.reshape(D, kernel, TEXT).transpose(1, 2)
        conv.bias.data = encode.project.bias.data
        for rows, got in zip(batch.rows["text"].split(LENGTHS), ours, strict=True):
            assert_close(got, conv(rows.T[None])[0].T)


def test_eqs3_to_5_agree_with_torch():
    layout = Layout(torch.tensor(LENGTHS))
    q, k, v = (layout.pad(torch.randn(sum(LENGTHS), D)) for _ in range(3))
    mask = layout.valid[:, None, :].expand(-1, 5, -1)
    reference = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert_close(attention_weights(q, k, layout.valid) @ v, reference)


def test_eq5_by_hand():
    """Two keys with scores 0 and ln 3 / 1 at d = 1: weights 1/4 and 3/4; a padded key gets none."""
    key = torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))], [100.0]]])
    valid = torch.tensor([[True, True, False]])
    weights = attention_weights(torch.ones(1, 1, 1), key, valid)
    assert_close(weights, torch.tensor([[[0.25, 0.75, 0.0]]]))


def test_attention_refuses_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"mask is \(5, 3\), keys are \(3, 5, 7\)"):
        attention_weights(torch.zeros(3, 5, 7), torch.zeros(3, 5, 7), torch.ones(5, 3, dtype=bool))


@pytest.mark.parametrize("context", ["dialogue", "position"])
@pytest.mark.parametrize("projections", [False, True])
def test_sequences_by_themselves_and_side_by_side_attend_alike(context, projections):
    """A piece of one sequence is not padded; a piece of several is, and masked."""
    torch.manual_seed(5)
    asks, answers = Layout(torch.tensor(LENGTHS)), Layout(torch.tensor([2, 4, 1]))
    query, key = torch.randn(sum(LENGTHS), D), torch.randn(7, D)
    attend = Attention(D, projections, context)
    assert not asks.alone and [piece.alone for piece in asks.pieces] == [True] * 3
    assert [x.shape for x in asks.cut(query)] == [(n, D) for n in LENGTHS]
    pieces = zip(asks.cut(query), answers.cut(key), asks.pieces, answers.pieces, strict=True)
    together = attend(asks.pad(query), answers.pad(key), asks, answers)
    assert_close(torch.cat([attend(*piece) for piece in pieces]), together)


@pytest.mark.parametrize("projections", [False, True])
def test_eq6_mean_is_that_of_the_attended_rows(projections):
    """mean_i sum_j A_ij v_j by torch's attention; queries and keys of different lengths."""
    torch.manual_seed(1)
    asks, answers = Layout(torch.tensor(LENGTHS)), Layout(torch.tensor([2, 4, 1]))
    query, key = asks.pad(torch.randn(sum(LENGTHS), D)), answers.pad(torch.randn(7, D))
    averaged = Attention(D, projections, "dialogue")
    every = Attention(D, projections, "position")
    every.load_state_dict(averaged.state_dict())
    maps = list(averaged.maps) or [torch.nn.Identity()] * 3
    q, k, v = maps[0](query), maps[1](key), maps[2](key)
    mask = answers.valid[:, None, :].expand(-1, 5, -1)
    rows = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)[asks.valid]
    assert_close(every(query, key, asks, answers), rows)
    assert_close(averaged(query, key, asks, answers), asks.mean(rows))


@pytest.mark.parametrize("context", ["dialogue", "position"])
@pytest.mark.parametrize("projections", [False, True])
def test_attention_by_blocks_is_attention(monkeypatch, context, projections):
    """Outputs and gradients, with queries split in blocks of 2 (the last has one) and at once."""
    torch.manual_seed(6)
    asks, answers = Layout(torch.tensor(LENGTHS)), Layout(torch.tensor([2, 4, 1]))
    attend = Attention(D, projections, context)
    found = []
    for block in (2, 128):
        monkeypatch.setattr(model, "BLOCK", block)
        query, key = (
            layout.pad(
                torch.randn(int(layout.lengths.sum()), D, generator=torch.Generator().manual_seed(seed))
            )
            for layout, seed in ((asks, 7), (answers, 8))
        )
        query.requires_grad_(), key.requires_grad_()
        output = attend(query, key, asks, answers)
        weights = [*attend.parameters(), query, key]
        found.append([output, *torch.autograd.grad(output.square().sum(), weights)])
    for split, whole in zip(*found, strict=True):
        assert_close(split, whole)


@pytest.mark.parametrize("context", ["dialogue", "position"])
def test_attention_keeps_memory_in_proportion_to_length(context):
    """What the forward pass keeps for the backward one, with sequences twice as long: twice as much."""
    kept = []
    for length in (512, 1024):
        layout = Layout(torch.tensor([length]))
        rows = torch.randn(1, length, 2, requires_grad=True)
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            Attention(2, False, context)(rows, rows, layout, layout)
        kept.append(sum(sizes.values()))
    assert kept[1] <= 2.1 * kept[0] and kept[1] < 1024 * 128 * 4


def test_eq6_block_is_conv2d_batch_norm_leaky_relu():
    torch.manual_seed(2)
    block = global_compression(D).train()
    conv = torch.nn.Conv2d(D, D, 1)
    conv.weight.data = block[0].weight.data[:, :, None, None]
    x = torch.randn(5, D)
    reference = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(D), torch.nn.LeakyReLU()).train()
    assert_close(block(x), reference(x[:, :, None, None])[:, :, 0, 0], atol=1e-5, rtol=1e-5)


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


def test_eq8_adds_query_context_and_ffn():
    model, batch = model_of(), batch_of(LENGTHS)
    layout = batch.layouts["text"]
    x = {m: model.encode[m](batch.rows[m], layout) for m in SIZES}
    outputs = model.interact(batch)
    names = {"t": "text", "a": "audio"}
    assert list(outputs) == ["tt", "aa", "at", "ta"]
    for path, out in outputs.items():
        q, k = x[names[path[0]]], x[names[path[1]]]
        mean = model.attend[path](layout.pad(q), layout.pad(k), layout, layout)
        context = model.compress[path](mean)
        want = q + (context + model.ffn[path](context))[layout.sequence]
        assert_close(out, want)


def test_eqs9_to_12_gate_then_join():
    model, batch = model_of(), batch_of(LENGTHS)
    outputs = model.interact(batch)
    gated = {p: torch.sigmoid(x @ model.unimodal_gate[p].weight.T) * x for p, x in outputs.items()}
    fused, layout = model.merge_branches(outputs, batch.layouts)
    assert layout is None
    text = model.merge["text"](torch.cat([gated["tt"], gated["at"]], -1))
    audio = model.merge["audio"](torch.cat([gated["aa"], gated["ta"]], -1))
    assert_close(fused, {"text": text, "audio": audio})
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
    model, batch = model_of(), batch_of(LENGTHS)
    fused, _ = model.merge_branches(model.interact(batch), batch.layouts)
    final, weight = model.fuse(fused)
    output = model(batch)
    assert_close(output.logits, model.classify(final))
    want = {m: model.student[m](torch.relu(fused[m])) for m in ("text", "audio")}
    assert_close(output.students, want)
    assert_close(output.modality_weight, weight)
    assert output.logits.shape == (sum(LENGTHS), C)


def test_the_paper_has_these_biases():
    """Eq. (2) by Reading R1, Eq. (12)'s Linear, b_c of Eq. (15) and b'_m of Eq. (18); R22: no others."""
    model = model_of()
    biased = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m.bias is not None}
    names = {f"{part}.{m}" for part in ("merge", "student") for m in SIZES}
    assert biased == names | {"classify", "encode.text.project", "encode.audio.project"}


# One modality, shared parts, speakers


def test_one_modality_has_one_path_no_gate_across_and_no_student():
    for path, modality, other in (("tt", "text", "audio"), ("aa", "audio", "text")):
        model = model_of(paths=(path,))
        assert list(model.encode) == [modality] and list(model.branches) == [modality]
        assert model.multimodal_gate is None and not model.student and model.project is None
        batch = batch_of(LENGTHS)
        changed = replace(batch, rows=batch.rows | {other: torch.randn_like(batch.rows[other])})
        assert_close(model(batch).logits, model(changed).logits)
        assert model(batch).modality_weight == {}
    assert model_of(paths=("tt",), fusion="concatenated").project is None


def test_shared_parts_are_one():
    model = model_of(shared=True)
    assert list(model.ffn) == ["all"] and list(model.unimodal_gate) == ["all"]
    assert len(model.compress) == 4  # Reading R4: always a path's own


def test_without_ffn_there_is_none():
    assert not model_of(ffn=0).ffn
    assert model_of(ffn=4).ffn["tt"][1].weight.shape == (4 * D, D)


def test_speaker_embedding_is_added_to_both_modalities():
    model, batch = model_of(speakers=True), batch_of(LENGTHS)
    plain = model_of()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("speaker")})
    shift = model.speaker(batch.speaker)
    for encode in plain.encode.values():
        encode.register_forward_hook(lambda m, i, o: o + shift)
    assert_close(model(batch).logits, plain(batch).logits)
    assert plain.speaker is None


def test_speaker_identity_changes_nothing_in_the_paper_s_model():
    model, batch = model_of(), batch_of(LENGTHS)
    assert_close(model(batch).logits, model(replace(batch, speaker=1 - batch.speaker)).logits)


# Invariances


@pytest.mark.parametrize("changes", ALTERNATIVES, ids=str)
def test_a_dialogue_alone_gives_the_same_rows(changes):
    """Padding and the other dialogues of a batch reach nobody."""
    model, batch = model_of(**changes), batch_of(LENGTHS)
    together = model(batch)
    start = 0
    for length in LENGTHS:
        alone = model(part(batch, start, start + length, length))
        assert_close(together.logits[start : start + length], alone.logits, atol=1e-5, rtol=1e-5)
        for m, student in alone.students.items():
            assert_close(together.students[m][start : start + length], student, atol=1e-5, rtol=1e-5)
        start += length


@pytest.mark.parametrize("changes", [c for c in ALTERNATIVES if "kernel" not in c], ids=str)
def test_permuting_turns_permutes_outputs_and_nothing_else(changes):
    """R2 and R3 leave no positions: LPGNet with kernel 1 doesn't know the order of the turns."""
    model, batch = model_of(**changes), batch_of((5,))
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = Batch(
        {m: x[order] for m, x in batch.rows.items()},
        batch.layouts,
        batch.speaker[order],
        batch.labels[order],
    )
    assert_close(model(moved).logits, model(batch).logits[order], atol=1e-5, rtol=1e-5)


def test_kernel_3_knows_its_neighbours():
    model, batch = model_of(kernel=3), batch_of((5,))
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = replace(batch, rows={m: x[order] for m, x in batch.rows.items()})
    assert not torch.allclose(model(moved).logits, model(batch).logits[order], atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"context": "position"}], ids=str)
def test_context_reaches_every_turn_of_its_dialogue(changes):
    model, batch = model_of(**changes), batch_of(LENGTHS)
    rows = {m: x.clone() for m, x in batch.rows.items()}
    rows["audio"][0] += 5.0
    moved = (model(replace(batch, rows=rows)).logits - model(batch).logits).abs().sum(-1) > 1e-6
    assert moved.tolist() == [True] * 5 + [False] * 5


def test_dropping_a_modality_costs_what_only_it_says():
    """Zeroed audio leaves the text rows' part and nothing of the old audio."""
    model, batch = model_of(), batch_of(LENGTHS)
    silent = replace(batch, rows=batch.rows | {"audio": torch.zeros_like(batch.rows["audio"])})
    other = batch_of(LENGTHS, seed=1)
    swapped = replace(other, rows=other.rows | {"text": batch.rows["text"]})
    silent_too = replace(swapped, rows=swapped.rows | {"audio": torch.zeros_like(other.rows["audio"])})
    assert_close(model(silent).logits, model(silent_too).logits)
    assert not torch.allclose(model(silent).logits, model(batch).logits, atol=1e-2)


@pytest.mark.parametrize("changes", ALTERNATIVES + FRAME, ids=str)
def test_every_parameter_learns(changes):
    model = model_of(**changes).train()
    batch = frames_of((4, 2), (3, 5)) if "pool" in changes else batch_of(LENGTHS)
    output = model(batch)
    sum([output.logits.square().sum(), *(s.square().sum() for s in output.students.values())]).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# Frame level (R21)


@pytest.mark.parametrize("changes", FRAME, ids=str)
def test_frames_give_one_row_per_utterance_whatever_stands_beside_it(changes):
    model = model_of(**changes)
    text, audio = (4, 1, 2), (3, 5, 2)
    batch = frames_of(text, audio)
    together = model(batch)
    assert together.logits.shape == (3, C)
    t, a = batch.rows["text"].split(text), batch.rows["audio"].split(audio)
    for i in range(3):
        layouts = {
            "text": Layout(torch.tensor(text[i : i + 1])),
            "audio": Layout(torch.tensor(audio[i : i + 1])),
        }
        alone = model(Batch({"text": t[i], "audio": a[i]}, layouts, batch.speaker[:1], batch.labels[:1]))
        assert_close(together.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-5)
        for m in SIZES:
            assert_close(together.students[m][i : i + 1], alone.students[m], atol=1e-5, rtol=1e-5)
            assert_close(
                together.modality_weight[m][i : i + 1], alone.modality_weight[m], atol=1e-5, rtol=1e-5
            )


def test_frames_are_averaged_over_the_query_before_the_gates():
    model, batch = model_of(pool="path"), frames_of((4, 1, 2), (3, 5, 2))
    outputs = model.interact(batch)
    pooled = {p: batch.layouts["text" if p[0] == "t" else "audio"].mean(x) for p, x in outputs.items()}
    gated = {p: model._gate(p, x) for p, x in pooled.items()}
    fused, layout = model.merge_branches(outputs, batch.layouts)
    assert layout is None
    assert_close(fused["text"], model.merge["text"](torch.cat([gated["tt"], gated["at"]], -1)))


def test_literal_frames_pool_last_over_either_mask():
    """One utterance of 1 token and 2 frames: position 2 has a frame only."""
    model, batch = model_of(pool="position"), frames_of((1,), (2,))
    outputs = model.interact(batch)
    zero = torch.zeros(1, D)
    at_two = {p: torch.cat([x, zero]) if p[0] == "t" else x for p, x in outputs.items()}
    fused = {
        "text": model.merge["text"](
            torch.cat([model._gate("tt", at_two["tt"]), model._gate("at", at_two["at"])], -1)
        ),
        "audio": model.merge["audio"](
            torch.cat([model._gate("aa", at_two["aa"]), model._gate("ta", at_two["ta"])], -1)
        ),
    }
    final, weight = model.fuse(fused)
    output = model(batch)
    assert_close(output.logits, model.classify(final.mean(0, keepdim=True)))
    assert_close(output.students["text"], model.student["text"](fused["text"].mean(0, keepdim=True).relu()))
    assert_close(output.modality_weight["text"], weight["text"].mean(0, keepdim=True))


def test_config_refuses_what_is_no_model():
    for wrong in ({"paths": ()}, {"paths": ("tx",)}, {"kernel": 2}, {"speakers": True, "pool": "path"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LPGNetConfig(**wrong)
