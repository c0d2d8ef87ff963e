"""One suite for every file of layers/scores/: what holds for any score, made with its defaults."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hybridq import catalogue
from hybridq.errors import InvalidArgument
from hybridq.layers import AbstractScore, Attention, attend, evaluate_together, to_backend
from hybridq.layers.fused.plain import attend_by_logits, causal_mask

HEADS = 2
SIZE = 4
SCALE = 0.5


@pytest.fixture(params=catalogue.names("layers.scores"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def score(name: str) -> AbstractScore:
    """A score in float64 whose parameters were moved, so that nothing cancels by accident."""
    torch.manual_seed(0)
    made: AbstractScore = catalogue.load("layers.scores", name)(HEADS, SIZE).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made


def tokens(length: int, keys: int, key_heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two sequences."""
    rng = torch.Generator().manual_seed(1)
    shapes = ((2, HEADS, length, SIZE), (2, key_heads, keys, SIZE), (2, key_heads, keys, 3))
    q, k, v = (torch.randn(shape, dtype=torch.float64, generator=rng) for shape in shapes)
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def results(score: AbstractScore, output: Tensor, *tensors: Tensor) -> list[Tensor]:
    """The output and the gradients of a mixture of it towards tensors and parameters."""
    mix = torch.linspace(-1, 1.3, output.numel(), dtype=output.dtype).view_as(output)
    wanted = [*tensors, *(p for p in score.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad((output * mix).sum(), wanted, materialize_grads=True)
    return [output.detach(), *gradients]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_logits_are_those_of_one_circuit_a_pair(score: AbstractScore) -> None:
    q, k, _ = tokens(2, 3)
    logits = score.logits(q, k, SCALE)
    assert logits.shape == (2, HEADS, 2, 3)
    assert logits.dtype == q.dtype
    by_pair = score.per_pair(q, k, SCALE)
    assert_equal(results(score, logits, q, k), results(score, by_pair, q, k))


def test_a_logit_depends_on_its_pair_alone(score: AbstractScore) -> None:
    q, k, _ = (x.detach() for x in tokens(2, 3))
    before = score.logits(q, k, SCALE)
    k[:, :, 2] += 1.0
    change = (score.logits(q, k, SCALE) - before).abs()
    assert change[..., :2].max() < 1e-12
    assert change[..., 2].max() > 1e-6, "softmax cancels what does not vary over the keys"


@pytest.mark.parametrize("call", ["plain", "mask", "diagonal"])
def test_every_way_gives_the_softmax_of_the_logits(score: AbstractScore, call: str) -> None:
    q, k, v = tokens(3, 3)
    hidden = causal_mask(3, 3, 0, q)
    mask = hidden if call == "mask" else None
    diagonal = 0 if call == "diagonal" else None
    options = {"scale": SCALE, "diagonal": diagonal}
    ours, none = attend(score, q, k, v, mask, **options)
    assert none is None
    theirs, weights = attend(score, q, k, v, mask, need_weights=True, **options)
    assert weights is not None
    expected, _ = attend_by_logits(
        score.logits(q, k, SCALE), v, None if call == "plain" else hidden
    )
    found = [results(score, output, q, k, v) for output in (ours, theirs, expected)]
    assert_equal(found[0], found[2])
    assert_equal(found[1], found[2])


def test_key_heads_serve_several_query_heads(score: AbstractScore) -> None:
    q, k, v = tokens(2, 3, key_heads=1)
    repeated = [x.repeat_interleave(HEADS, 1) for x in (k, v)]
    ours, _ = attend(score, q, k, v, scale=SCALE)
    theirs, _ = attend(score, q, *repeated, scale=SCALE)
    assert_equal(results(score, ours, q, k, v), results(score, theirs, q, k, v))


def test_every_parameter_learns(score: AbstractScore) -> None:
    q, k, _ = tokens(2, 3)
    logits = score.logits(q, k, SCALE)
    mix = torch.linspace(-1, 1.3, logits.numel(), dtype=logits.dtype).view_as(logits)
    (logits * mix).sum().backward()
    for parameter_name, parameter in score.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.any(), parameter_name


def test_its_number_of_circuits_is_what_runs(score: AbstractScore) -> None:
    q, k, _ = tokens(2, 3)
    if score.requests() is None:
        with pytest.raises(InvalidArgument):
            _ = score.n_circuits
        return
    before = score.backend.n_circuits_run
    score.logits(q, k, SCALE)
    assert score.backend.n_circuits_run - before == score.n_circuits


def test_another_backend_gives_the_same(score: AbstractScore) -> None:
    q, k, _ = tokens(2, 2)
    expected = results(score, score.logits(q, k, SCALE), q, k)
    assert score.to_backend("default.qubit") is score
    assert_equal(results(score, score.logits(q, k, SCALE), q, k), expected)


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],  # noqa: S301 - of ours
    ids=["deepcopy", "pickle"],
)
def test_it_can_be_copied(
    score: AbstractScore, clone: Callable[[AbstractScore], AbstractScore]
) -> None:
    q, k, _ = tokens(2, 3)
    expected = score.logits(q, k, SCALE)
    torch.testing.assert_close(clone(score).logits(q, k, SCALE), expected, atol=0, rtol=0)


def test_its_checkpoint_holds_all_of_it(name: str, score: AbstractScore) -> None:
    file = io.BytesIO()
    torch.save(score.state_dict(), file)
    file.seek(0)
    loaded = catalogue.load("layers.scores", name)(HEADS, SIZE).double()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    q, k, _ = tokens(2, 3)
    expected = score.logits(q, k, SCALE)
    torch.testing.assert_close(loaded.logits(q, k, SCALE), expected, atol=0, rtol=0)


def test_attention_takes_it_by_name_together_and_elsewhere(name: str) -> None:
    torch.manual_seed(0)
    layer = Attention(HEADS * SIZE, HEADS, batch_first=True, score=name)
    x = torch.randn(2, 3, HEADS * SIZE)
    expected = layer(x, x, x, need_weights=False)[0]
    evaluate_together(layer)
    torch.testing.assert_close(layer(x, x, x, need_weights=False)[0], expected)
    to_backend(layer, "lightning.qubit")
    torch.testing.assert_close(layer(x, x, x)[0], expected, atol=1e-5, rtol=1e-5)
