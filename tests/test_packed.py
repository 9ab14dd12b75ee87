"""The packed model against the plain one, over every alternative; rows in and out of padding."""

from types import SimpleNamespace

import pytest
import torch
from test_model import ALTERNATIVES, CLOSE, FRAME, LENGTHS, C, D, dialogues, frames, model_of
from torch import nn
from torch.testing import assert_close

from lpgnet import losses
from lpgnet.config import LossConfig, RunConfig
from lpgnet.model import LPGNet, attention_weights
from lpgnet.runs import packed
from lpgnet.runs.packed import Batch, Layout, Packed
from lpgnet.runs.seeds import MASKS, Stacked, evaluated
from lpgnet.runs.snapshot import steps

LABELS = torch.randint(C, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))


class Masked(nn.Module):
    """In place of the plain model's dropout: the mask that the packed one was given, a row a dialogue."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * (self.mask[:, None] if x.ndim == 3 else self.mask)


def pair(**changes):
    """Both models with the same weights."""
    plain, fast = model_of(**changes), model_of(kind=Packed, **changes)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def case(changes, seed=0):
    """What the plain model reads, and the same as a batch; padding is zero, as kernel 3 needs it."""
    if "pool" in changes:
        rows, valid = frames(common=True, seed=seed)
        speaker = torch.zeros(3, 1, dtype=int)
    else:
        rows, valid, speaker = dialogues(seed=seed)
    rows = {m: x * valid[m][..., None] for m, x in rows.items()}
    layouts = {m: Layout(v.sum(1)) for m, v in valid.items()}
    if "pool" not in changes:
        layouts = dict.fromkeys(layouts, layouts["text"])
    real = torch.ones(3, 1, dtype=bool) if "pool" in changes else valid["text"]
    labels = LABELS[: int(real.sum())]
    batch = Batch({m: x[valid[m]] for m, x in rows.items()}, layouts, speaker[real], labels)
    return (rows, valid, speaker), batch, real


def flat(output, real):
    """The plain model's output of the real positions."""
    some = ({m: x[real] for m, x in part.items()} for part in output[1:])
    return type(output)(output.logits[real], *some)


def drawn(dropout, batch, generator):
    """A mask of its own generator, as `Alone` draws it."""
    return dropout.mask_of(torch.rand(dropout.shape(batch.layouts["text"]), generator=generator))


def held(batches):
    """Some batches as the training part of a run, and the numbers of each one's dialogues in it."""
    rows = {m: torch.cat([b.rows[m] for b in batches]) for m in batches[0].rows}
    labels, speaker = (torch.cat([getattr(b, name) for b in batches]) for name in ("labels", "speaker"))
    counts = [b.layouts["text"].counts for b in batches]
    parts = [*torch.arange(len(labels)).split([n for some in counts for n in some])]
    units = {"train": parts, "validation": [], "test": []}
    data = SimpleNamespace(rows=rows, labels=labels, speaker=speaker, units=units, at_frames=False)
    return data, torch.arange(len(parts)).unflatten(0, (len(batches), -1))


def loss_of(output, labels):
    return losses.total(output.logits, output.students, labels, LossConfig())


@pytest.mark.parametrize("changes", ALTERNATIVES + FRAME, ids=str)
def test_packed_is_plain(changes):
    """Logits, students and weights when evaluated; the same and every gradient when trained."""
    plain, fast = pair(**changes)
    data, batch, real = case(changes)
    assert_close(fast(batch), flat(plain(*data), real), **CLOSE)
    one, two = flat(plain.train()(*data), real), fast.train()(batch)
    assert_close(two, one, **CLOSE)
    loss_of(one, batch.labels).backward(), loss_of(two, batch.labels).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    assert gradients.keys() == dict(fast.named_parameters()).keys()
    for name, p in fast.named_parameters():
        assert_close(p.grad, gradients[name], **CLOSE)
    assert_close(dict(fast.named_buffers()), dict(plain.named_buffers()), **CLOSE)  # running statistics


def test_one_seed_draws_the_same_initial_weights():
    for changes in ALTERNATIVES + FRAME:
        plain, fast = model_of(seed=3, **changes), model_of(seed=3, kind=Packed, **changes)
        assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), fast.parameters(), strict=True))
        assert plain.state_dict().keys() == fast.state_dict().keys()


@pytest.mark.parametrize("changes", [{}, {"ffn": 4}, {"branch": "query"}, {"projections": True}], ids=str)
def test_packed_is_plain_under_given_masks(changes):
    plain, fast = pair(dropout=0.5, **changes)
    plain.train(), fast.train()
    data, batch, real = case(changes)
    generator = torch.Generator().manual_seed(5)
    for path in fast.ffn:
        mask = drawn(fast.ffn[path][3], batch, generator)
        fast.ffn[path][3].mask, plain.ffn[path][3] = mask, Masked(mask)
    assert_close(fast(batch), flat(plain(*data), real), **CLOSE)


@pytest.mark.parametrize("changes", [c for c in ALTERNATIVES if not {"shared", "context"} & c.keys()], ids=str)
def test_stacked_seeds_are_plain_ones(changes):
    """Two seeds with batches of their own, one forward pass, dropout masks and all."""
    plains, batches, datas = [], [], []
    fasts = [model_of(seed, Packed, dropout=0.5, **changes) for seed in (0, 1)]
    for seed, fast in enumerate(fasts):
        plain = model_of(dropout=0.5, **changes)
        plain.load_state_dict(fast.state_dict())
        data, batch, real = case(changes, seed)
        own = torch.Generator().manual_seed(MASKS + seed)
        for path, ffn in plain.ffn.items():
            ffn[3] = Masked(drawn(fast.ffn[path][3], batch, own))
        plains.append(plain.train()), batches.append(batch), datas.append((data, real))
    made, units = held(batches)
    seeds = Stacked(fasts, RunConfig(), made, [0, 1])
    seeds.draw(units.shape[1])
    found = seeds.loss(units)
    for i, (plain, (data, real)) in enumerate(zip(plains, datas, strict=True)):
        assert_close(found[i], loss_of(flat(plain(*data), real), batches[i].labels), **CLOSE)
        want = torch.autograd.grad(loss_of(flat(plain(*data), real), batches[i].labels), plain.parameters())
        got = torch.autograd.grad(found[i], list(seeds.parameters.values()), retain_graph=True)
        for one, two in zip(want, got, strict=True):
            assert_close(two[i], one, rtol=1e-4, atol=1e-5)
            assert not two[1 - i].any()  # a seed's loss reaches no other seed


def test_in_bfloat16_both_stay_near_single_precision():
    """Two percent of the largest logit; batch norm and the loss are in single precision there too."""
    plain, fast = pair()
    data, batch, real = case({})
    want = plain(*data).logits[real]
    with torch.autocast("cpu", torch.bfloat16):
        for logits in (fast(batch).logits, plain(*data).logits[real]):
            assert (logits.float() - want).abs().max() < 0.02 * want.abs().max()
    assert evaluated(fast, [batch], mixed=True).logits.dtype == torch.float32


def test_the_plain_model_is_what_a_run_constructs():
    assert issubclass(Packed, LPGNet) and type(model_of(kind=Packed)).fuse is not LPGNet.fuse
    assert list(dict(model_of().named_parameters())) == list(dict(model_of(kind=Packed).named_parameters()))


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


# Attention: in pieces, by blocks, as a column mean


@pytest.fixture
def asked():
    """Queries and keys of different lengths, as at frame level."""
    g = torch.Generator().manual_seed(5)
    asks, answers = Layout(torch.tensor(LENGTHS)), Layout(torch.tensor([2, 4, 1]))
    query, key = torch.randn(sum(LENGTHS), D, generator=g), torch.randn(7, D, generator=g)
    return query, key, asks, answers


@pytest.mark.parametrize("context", ["dialogue", "position"])
@pytest.mark.parametrize("projections", [False, True])
def test_sequences_by_themselves_and_side_by_side_attend_alike(context, projections, asked):
    """A piece of one sequence is not padded; a piece of several is, and masked."""
    query, key, asks, answers = asked
    model = model_of(kind=Packed, projections=projections, context=context)
    assert not asks.alone and [piece.alone for piece in asks.pieces] == [True] * 3
    assert [x.shape for x in asks.cut(query)] == [(n, D) for n in LENGTHS]
    pieces = zip(asks.cut(query), answers.cut(key), asks.pieces, answers.pieces, strict=True)
    beside = model.attended("at", asks.pad(query), answers.pad(key), asks, answers)
    assert_close(torch.cat([model.attended("at", *piece) for piece in pieces]), beside)


@pytest.mark.parametrize("projections", [False, True])
def test_eq6_mean_is_that_of_the_attended_rows(projections, asked):
    """mean_i sum_j A_ij v_j by the plain weights."""
    query, key, asks, answers = asked
    models = [model_of(kind=Packed, projections=projections, context=c) for c in ("dialogue", "position")]
    maps = list(models[0].maps["at"]) if projections else [nn.Identity()] * 3
    query, key = asks.pad(query), answers.pad(key)
    rows = attention_weights(maps[0](query), maps[1](key), answers.valid) @ maps[2](key)
    averaged, every = (model.attended("at", query, key, asks, answers) for model in models)
    assert_close(every, rows[asks.valid])
    assert_close(averaged, asks.mean(rows[asks.valid]))


@pytest.mark.parametrize("context", ["dialogue", "position"])
@pytest.mark.parametrize("projections", [False, True])
def test_attention_by_blocks_is_attention(monkeypatch, context, projections, asked):
    """Outputs and gradients, with queries split in blocks of 2 (the last has one) and at once."""
    model, outcomes = model_of(kind=Packed, projections=projections, context=context), []
    query, key, asks, answers = asked
    for block in (2, 128):
        monkeypatch.setitem(packed.BLOCK, "cpu", block)
        q, k = (layout.pad(x).requires_grad_() for layout, x in ((asks, query), (answers, key)))
        output = model.attended("at", q, k, asks, answers)
        leaves = [*model.maps["at"].parameters(), q, k] if projections else [q, k]
        outcomes.append([output, *torch.autograd.grad(output.square().sum(), leaves)])
    for split, whole in zip(*outcomes, strict=True):
        assert_close(split, whole)


@pytest.mark.parametrize("context", ["dialogue", "position"])
def test_attention_keeps_memory_in_proportion_to_length(context):
    """What the forward pass keeps for the backward one, with sequences twice as long: twice as much."""
    kept, model = [], model_of(kind=Packed, context=context)
    for length in (512, 1024):
        layout = Layout(torch.tensor([length]))
        rows = torch.randn(length, 2, requires_grad=True)
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.attended("tt", rows, rows, layout, layout)
        kept.append(sum(sizes.values()))
    assert kept[1] <= 2.1 * kept[0] and kept[1] < 1024 * 128 * 4


# The steps that notebook 02 shows


@pytest.mark.parametrize("changes", [{}, {"paths": ("tt",)}, {"projections": True}, {"ffn": 0}], ids=str)
def test_steps_are_those_of_the_model_in_the_paper_s_order(changes):
    model, (rows, valid, _) = model_of(**changes), dialogues((5,))
    found, output = steps(model, rows, valid), model(rows, valid)
    assert_close(found["E (15)"], output.logits)
    numbers = [int(name.rpartition("(")[2][:-1]) for name in found]
    assert numbers == sorted(numbers) and found["X' text (2)"].shape == (1, 5, D)
    for path in model.config.paths:
        values = found["X' text (2)" if path[1] == "t" else "X' audio (2)"]
        if "projections" in changes:
            values = model.maps[path][2](values)
        attended = (found[f"A {path} (5)"] @ values).mean(1, keepdim=True)
        assert_close(found[f"Mean {path} (6)"], attended, **CLOSE)
