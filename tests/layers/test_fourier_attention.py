"""The fused operator against the formula in plain torch."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from hybridq.errors import InvalidArgument, NotDifferentiable
from hybridq.layers import fourier_attention, series
from hybridq.layers.fused import tiles
from hybridq.layers.fused.plain import composed

SHAPES = [  # batch, heads, length, keys, head size, value size
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 7, 4, 6),
    (3, 2, 4, 4, 8, 8),
    (2, 1, 9, 2, 3, 1),
    (1, 4, 1, 11, 2, 3),
    (5, 2, 6, 3, 1, 2),
]
TILES = [(1, 1), (7, 7), (1, 30), (40, 40), (2**15, 2**17)]


def arguments(shape: tuple[int, ...], degree: int = 8, seed: int = 0) -> tuple[Tensor, ...]:
    b, h, length, keys, size, values = shape
    rng = torch.Generator().manual_seed(seed)
    shapes = ((b, h, length, size), (b, h, keys, size), (b, h, keys, values), (h, 2 * degree + 1))
    tensors = [torch.randn(*shape, dtype=torch.float64, generator=rng) for shape in shapes]
    return tuple(tensor.requires_grad_() for tensor in tensors)


def formula(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    c: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    frequency: float = 1.0,
) -> Tensor:
    return composed(q, k, v, lambda s: series(c, frequency * s), mask, scale=scale)[0]


@pytest.fixture(autouse=True)
def tiles_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is the torch engine in this file; test_native_attention.py has the kernels."""
    monkeypatch.setattr(sys.modules[fourier_attention.__module__], "choose", lambda *_: None)


def results(
    function: Any, tensors: tuple[Tensor, ...], *args: Any, **kwargs: Any
) -> tuple[Tensor, ...]:
    output: Tensor = function(*tensors, *args, **kwargs)
    mix = torch.linspace(-1, 1.3, output.numel(), dtype=output.dtype).view_as(output)
    return output.detach(), *torch.autograd.grad((output * mix).sum(), tensors)


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], limit: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=limit, rtol=0)


def masks(shape: tuple[int, ...]) -> dict[str, Tensor | None]:
    b, h, length, keys = shape[:4]
    rng = torch.Generator().manual_seed(5)

    def hide(*size: int) -> Tensor:
        mask = torch.randn(*size, dtype=torch.float64, generator=rng)
        mask[torch.rand(*size, generator=rng) < 0.4] = -math.inf
        mask[..., 0] = 0.5  # no row is empty
        return mask

    return {
        "none": None,
        "2-D": hide(length, keys),
        "keys": hide(b, 1, 1, keys),
        "all": hide(b, h, length, keys),
    }


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_formula(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], tile: tuple[int, int]
) -> None:
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", tile[0])
    monkeypatch.setattr(tiles, "_LARGEST_TILE", tile[1])
    tensors = arguments(shape)
    for mask in masks(shape).values():
        for frequency in (1.0, 0.5, -2.3):
            numbers = {"scale": 0.7, "frequency": frequency}
            assert_same(
                results(fourier_attention, tensors, mask, **numbers),
                results(formula, tensors, mask, **numbers),
            )


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_cover_every_score_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], tile: tuple[int, int], parts: int
) -> None:
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", tile[0])
    monkeypatch.setattr(tiles, "_LARGEST_TILE", tile[1])
    q, k, *_ = arguments(shape)
    seen = torch.zeros(shape[:4], dtype=torch.int64)
    for cut in tiles._tiles(q, k, parts):
        scores = seen[cut.scores]  # a view
        assert scores.numel() <= max(tile[1], shape[3])
        assert scores.shape[:2] == k[cut.keys].shape[:2]
        assert scores.shape[1] == len(torch.empty(shape[1])[cut.heads])
        scores += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 9, 20])
def test_any_degree(degree: int) -> None:
    tensors = arguments((2, 2, 3, 4, 2, 3), degree)
    assert_same(
        results(fourier_attention, tensors, scale=0.3), results(formula, tensors, scale=0.3)
    )


def test_gradients_by_finite_differences() -> None:
    tensors = arguments((1, 2, 3, 2, 2, 2), degree=3)
    mask = masks((1, 2, 3, 2))["2-D"]
    assert torch.autograd.gradcheck(
        lambda *t: fourier_attention(*t, mask, scale=0.5, frequency=0.5), tensors
    )


@pytest.mark.parametrize("number", range(4))
def test_one_tensor_alone_may_want_a_gradient(number: int) -> None:
    tensors = arguments((2, 2, 3, 4, 2, 3))
    expected = results(formula, tensors, scale=0.3)[1 + number]
    alone = [t.detach() for t in tensors]
    alone[number].requires_grad_()
    output = fourier_attention(*alone, scale=0.3)
    mix = torch.linspace(-1, 1.3, output.numel(), dtype=output.dtype).view_as(output)
    (gradient,) = torch.autograd.grad((output * mix).sum(), alone[number])
    torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=0)


def test_arguments_need_not_be_contiguous() -> None:
    tensors = arguments((2, 2, 3, 3, 2, 2))
    transposed = [t.detach().transpose(0, -1).contiguous() for t in tensors]
    views = tuple(t.transpose(0, -1).requires_grad_() for t in transposed)
    assert not any(t.is_contiguous() for t in views)
    assert_same(
        results(fourier_attention, views, scale=0.3),
        results(fourier_attention, tensors, scale=0.3),
        1e-12,
    )
    expanded = tuple(t.detach()[:1].expand(2, *t.shape[1:]) for t in tensors[:3])
    torch.testing.assert_close(
        fourier_attention(*expanded, tensors[3], scale=0.3),
        formula(*expanded, tensors[3], scale=0.3),
        atol=1e-12,
        rtol=0,
    )


@pytest.mark.parametrize("shape", [(0, 2, 3, 3, 2, 2), (2, 2, 0, 3, 2, 2), (2, 2, 0, 0, 2, 2)])
def test_empty_tensors(shape: tuple[int, ...]) -> None:
    ours = results(fourier_attention, arguments(shape), scale=1.0)
    theirs = results(formula, arguments(shape), scale=1.0)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_backward_twice_and_a_second_derivative() -> None:
    tensors = arguments((2, 2, 3, 4, 2, 3))
    loss = fourier_attention(*tensors, scale=0.3).pow(2).sum()
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    assert_same(torch.autograd.grad(loss, tensors, retain_graph=True), first, 0.0)
    (to_q,) = torch.autograd.grad(loss, tensors[:1], create_graph=True)
    torch.testing.assert_close(to_q.detach(), first[0], atol=0, rtol=0)
    with pytest.raises(NotDifferentiable, match=r"second derivatives.*default\.qubit"):
        torch.autograd.grad(to_q.sum(), tensors[1])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.zeros(2, 3, 2), r"q=\(2, 3, 2\).*head size"),
        ("k", torch.zeros(2, 2, 4, 5), r"k=\(2, 2, 4, 5\).*\(2, 2, keys, 2\)"),
        ("k", torch.zeros(1, 2, 4, 2), r"k=\(1, 2, 4, 2\)"),
        ("v", torch.zeros(2, 2, 5, 3), r"v=\(2, 2, 5, 3\).*\(2, 2, 4, value size\)"),
        ("coefficients", torch.zeros(3, 5), r"coefficients=\(3, 5\).*\(2, 2 \* degree \+ 1\)"),
        ("coefficients", torch.zeros(2, 4), r"coefficients=\(2, 4\)"),
        ("mask", torch.ones(3, 4, dtype=torch.bool), r"mask\.dtype=torch\.bool.*-inf to hide"),
        ("mask", torch.zeros(3, 5), r"mask=\(3, 5\).*\(2, 2, 3, 4\)"),
        ("dropout", 1.0, r"dropout=1\.0.*\[0, 1\)"),
        ("dropout", math.nan, "dropout=nan"),
    ],
)
def test_bad_arguments_are_named(name: str, value: Any, message: str) -> None:
    q, k, v, coefficients = arguments((2, 2, 3, 4, 2, 3))
    given = {"q": q, "k": k, "v": v, "coefficients": coefficients, "scale": 1.0, name: value}
    with pytest.raises(InvalidArgument, match=message):
        fourier_attention(**given)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_what_is_saved_is_the_weights_and_bytes_for_dropout(dropout: float) -> None:
    tensors = arguments((2, 2, 6, 8, 2, 3))
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fourier_attention(*tensors, scale=0.3, dropout=dropout, engine="torch")
    n_scores = 2 * 2 * 6 * 8
    n_numbers = sum(t.numel() for t in tensors) + n_scores
    n_kept = n_scores if dropout else 0
    assert sum(kept.values()) == 8 * n_numbers + n_kept


def test_a_mask_that_learns_is_refused() -> None:
    mask = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(InvalidArgument, match=r"mask.*composed"):
        fourier_attention(*arguments((2, 2, 3, 4, 2, 3)), mask, scale=0.3)
    with torch.no_grad():
        fourier_attention(*arguments((2, 2, 3, 4, 2, 3)), mask, scale=0.3)


# Dropout ------------------------------------------------------------------------------------------


def weights_after_dropout(tensors: tuple[Tensor, ...], dropout: float, seed: int) -> Tensor:
    """The weights themselves: the output for unit vectors as values."""
    q, k, _, c = (t.detach() for t in tensors)
    unit = torch.eye(k.shape[2], dtype=q.dtype).expand(*k.shape[:2], -1, -1)
    torch.manual_seed(seed)
    return fourier_attention(q, k, unit, c, scale=0.3, dropout=dropout)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("tile", [(2**15, 2**17), (100, 100)])
def test_dropout_keeps_the_right_share_scaled(
    monkeypatch: pytest.MonkeyPatch, dropout: float, tile: tuple[int, int]
) -> None:
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", tile[0])
    monkeypatch.setattr(tiles, "_LARGEST_TILE", tile[1])
    tensors = arguments((4, 3, 50, 33, 2, 2))
    whole, dropped = (weights_after_dropout(tensors, p, 0) for p in (0.0, dropout))
    kept = dropped != 0
    # 5 sigma of a binomial share; the probability itself is a multiple of 2**-16.
    spread = 5 * math.sqrt(dropout * (1 - dropout) / kept.numel())
    assert abs(kept.double().mean().item() - (1 - dropout)) < spread + 2**-17
    limit = 2**-17 / (1 - dropout)
    torch.testing.assert_close(dropped[kept], whole[kept] / (1 - dropout), rtol=limit, atol=0)
    # Neighbours are dropped independently of each other: 4 places share 64 random bits.
    pairs = (kept[..., :-1] & kept[..., 1:]).double()
    share = (1 - dropout) ** 2
    limit = 5 * 2 * math.sqrt(share / pairs.numel()) + 2**-16
    assert abs(pairs.mean().item() - share) < limit


def test_dropout_comes_from_torchs_generator() -> None:
    tensors = arguments((2, 2, 6, 8, 2, 3))
    first, again, other = (weights_after_dropout(tensors, 0.5, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before = torch.get_rng_state()
    fourier_attention(*tensors, scale=0.3)
    assert torch.equal(torch.get_rng_state(), before), "without dropout nothing is drawn"


@pytest.mark.parametrize("tile", [(2**15, 2**17), (30, 30)])
def test_the_gradient_sees_the_mask_of_the_forward_pass(
    monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]
) -> None:
    monkeypatch.setattr(tiles, "_SMALLEST_TILE", tile[0])
    monkeypatch.setattr(tiles, "_LARGEST_TILE", tile[1])
    tensors = arguments((2, 2, 6, 8, 2, 3))
    p = 0.25  # 1 - p is a multiple of 2**-16
    kept = (weights_after_dropout(tensors, p, 3) != 0).double() / (1 - p)

    def masked(q: Tensor, k: Tensor, v: Tensor, c: Tensor) -> Tensor:
        s = 0.3 * q @ k.transpose(2, 3)
        return (torch.softmax(s + series(c, s), -1) * kept) @ v

    torch.manual_seed(3)
    assert_same(results(fourier_attention, tensors, scale=0.3, dropout=p), results(masked, tensors))


@pytest.mark.parametrize(("dropout", "kept"), [(1e-9, 1.0), (1 - 1e-9, 0.0)])
def test_dropout_near_its_limits(dropout: float, kept: float) -> None:
    dropped = weights_after_dropout(arguments((2, 2, 6, 8, 2, 3)), dropout, 0)
    share = (dropped != 0).double().mean().item()
    assert share == pytest.approx(kept, abs=0.03)


# Other dtypes, inference mode, and torch's own checks of a custom operator ------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    tensors = tuple(t.detach().to(dtype).requires_grad_() for t in arguments((2, 2, 6, 8, 4, 3)))
    mask = torch.zeros(6, 8, dtype=dtype).masked_fill(torch.ones(6, 8).triu(3).bool(), -math.inf)
    exact = tuple(t.detach().double().requires_grad_() for t in tensors)
    ours = results(fourier_attention, tensors, mask, scale=0.3)
    theirs = results(formula, exact, mask.double(), scale=0.3)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        eps = torch.finfo(dtype).eps
        # The result is rounded once, at the end. The cotangent, of size at most 1.3, is rounded
        # too, before sums of at most 96 terms.
        torch.testing.assert_close(a.double(), b, rtol=eps, atol=96 * 1.3 * eps)


def test_autocast_does_not_reach_the_series() -> None:
    tensors = tuple(t.detach().float().requires_grad_() for t in arguments((2, 2, 6, 8, 4, 3)))
    expected = results(fourier_attention, tensors, scale=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(results(fourier_attention, tensors, scale=0.3), expected, 0.0)


def test_inference_mode_leaves_training_possible() -> None:
    tensors = arguments((2, 2, 6, 8, 4, 3))
    tiles._local.__dict__.clear()
    with torch.inference_mode():
        expected = fourier_attention(*tensors, scale=0.3).clone()
    torch.testing.assert_close(
        results(fourier_attention, tensors, scale=0.3)[0], expected, atol=0, rtol=0
    )


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("save", [False, True])
def test_torchs_checks_of_the_forward_operator(save: bool, dropout: float) -> None:
    tensors = tuple(
        t.detach().requires_grad_(save) for t in arguments((2, 2, 3, 4, 2, 3), degree=2)
    )
    call = (*tensors, torch.zeros(3, 4, dtype=torch.float64), [0.3, 1.0, dropout], save)
    utilities = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if save and not dropout:  # it compares two runs, which draw different bits
        utilities.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.hybridq.fourier_attention.default, call, test_utils=utilities)


def test_torchs_checks_of_the_backward_operator() -> None:
    q, k, v, c = (t.detach() for t in arguments((2, 2, 3, 4, 2, 3), degree=2))
    saved = [torch.softmax(0.3 * q @ k.transpose(2, 3), -1), q.new_empty(0, dtype=torch.uint8)]
    call = (torch.ones(2, 2, 3, 3, dtype=torch.float64), q, k, v, c, saved, [0.3, 1.0, 0.0])
    torch.library.opcheck(torch.ops.hybridq.fourier_attention_backward.default, call)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    tensors = arguments((2, 3, 5, 7, 4, 6))
    there = tuple(t.detach().cuda().requires_grad_() for t in tensors)
    ours = results(lambda *t: fourier_attention(*t, scale=0.3).cpu(), there)
    assert_same(tuple(t.cpu() for t in ours), results(fourier_attention, tensors, scale=0.3))
