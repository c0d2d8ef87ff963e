"""The compiled kernels of attention against the tiles in torch, on every instruction set."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hybridq.engine import choice
from hybridq.errors import BackendUnavailable, InvalidArgument, NotDifferentiable
from hybridq.layers import fourier_attention
from hybridq.layers.fused import native_attention as native
from hybridq.native import Kernels, attention, built, kernels, load
from tests.layers._layers import negative_view

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiled kernels")

Shape = tuple[int, int, int, int, int, int, int]
SHAPES: list[Shape] = [  # batch, heads, key heads, length, keys, head size, value size
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 3, 2, 3, 3, 8),
    (2, 4, 2, 17, 33, 8, 8),
    (1, 6, 1, 33, 17, 16, 3),
    (2, 2, 2, 65, 127, 20, 16),
    (1, 2, 1, 130, 65, 64, 64),
    (1, 1, 1, 127, 130, 80, 20),
    (1, 2, 2, 3, 300, 16, 16),
]


def usable() -> Iterator[str]:
    """What is built and runs here."""
    for name in built():
        try:
            load(name)
        except BackendUnavailable:
            continue
        yield name


@pytest.fixture(params=list(usable()))
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    found = load(request.param)
    monkeypatch.setattr(native, "kernels", lambda: found)
    return found


def arguments(
    shape: Shape, degree: int | None = 8, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Any, ...]:
    """Views of projections: positions before heads in memory."""
    batch, heads, key_heads, length, keys, size, values = shape
    rng = torch.Generator().manual_seed(seed)
    sizes = (
        (batch, length, heads, size),
        (batch, keys, key_heads, size),
        (batch, keys, key_heads, values),
    )
    qkv = (
        torch.randn(s, dtype=torch.float64, generator=rng).to(dtype).transpose(1, 2) for s in sizes
    )
    found = [x.requires_grad_() for x in qkv]
    if degree is None:
        return *found, None
    c = torch.randn(heads, 2 * degree + 1, dtype=torch.float64, generator=rng) / (1 + degree)
    return *found, c.to(dtype).requires_grad_()


def results(
    tensors: tuple[Any, ...], engine: str, mask: Tensor | None = None, **numbers: Any
) -> list[Tensor]:
    output = fourier_attention(
        *tensors, mask, scale=tensors[0].shape[-1] ** -0.5, engine=engine, **numbers
    )
    mix = (
        torch.linspace(-1, 1.3, output.numel(), dtype=torch.float64)
        .view_as(output)
        .to(output.dtype)
    )
    return [
        output.detach(),
        *torch.autograd.grad((output * mix).sum(), [x for x in tensors if x is not None]),
    ]


def assert_same(ours: list[Tensor], theirs: list[Tensor], limit: float) -> None:
    """Compare relative to the largest number."""
    for a, b in zip(ours, theirs, strict=True):
        scale = max(1.0, b.double().abs().max().item())
        torch.testing.assert_close(a.to(b.dtype), b, atol=limit * scale, rtol=0)


def masks(shape: Shape, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    batch, heads, _, length, keys, *_ = shape
    rng = torch.Generator().manual_seed(5)
    sizes = (
        (keys,),
        (length, keys),
        (batch, 1, 1, keys),
        (1, heads, 1, keys),
        (batch, 1, length, 1),
        (batch, heads, length, keys),
    )
    found = []
    for size in sizes:
        mask = torch.randn(size, dtype=dtype, generator=rng)
        if size[-1] > 1:
            mask[torch.rand(size, generator=rng) < 0.4] = -math.inf
            mask[..., 0] = 0.5  # no row is empty
        found.append(mask)
    return found


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_torch_engine(shape: Shape) -> None:
    tensors = arguments(shape)
    for frequency in (1.0, -0.5):
        numbers = {"frequency": frequency}
        assert_same(
            results(tensors, "native", **numbers), results(tensors, "torch", **numbers), 1e-11
        )
    for mask in masks(shape):
        assert_same(results(tensors, "native", mask), results(tensors, "torch", mask), 1e-11)
    for diagonal in {0, 3, max(0, shape[4] - shape[3])}:
        mask, numbers = masks(shape)[0], {"diagonal": diagonal}
        for added in (None, mask):
            assert_same(
                results(tensors, "native", added, **numbers),
                results(tensors, "torch", added, **numbers),
                1e-11,
            )


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("shape", SHAPES)
def test_float32(shape: Shape) -> None:
    single = arguments(shape, dtype=torch.float32)
    exact = tuple(x.detach().double().requires_grad_() for x in single)
    # Each logit is rounded to about 2^-23 times its size, up to 5, and slopes of Phi reach 4; sums
    # over n terms add up.
    limit = 2e-6 * max(1.0, math.sqrt(max(shape[3:5])) / 2)
    assert_same([x.double() for x in results(single, "native")], results(exact, "torch"), limit)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("degree", [None, *range(13), 20])
def test_any_degree(degree: int | None) -> None:
    tensors = arguments((2, 2, 1, 5, 19, 8, 4), degree)
    assert_same(results(tensors, "native"), results(tensors, "torch"), 1e-11)


def test_the_largest_degree() -> None:
    for degree in (attention.MOST_DEGREE, attention.MOST_DEGREE + 1):
        tensors = arguments((1, 1, 1, 2, 3, 2, 2), degree)
        assert_same(results(tensors, "auto"), results(tensors, "torch"), 1e-10)
    with pytest.raises(InvalidArgument, match=r"degree 128.*'auto'"):
        results(tensors, "native")


@pytest.mark.usefixtures("kernel")
def test_tensors_that_were_converted_since_are_refused() -> None:
    tensors = arguments((1, 1, 1, 2, 2, 16, 16))
    output = fourier_attention(*tensors, scale=1.0, engine="native")
    tensors[0].data = tensors[0].data.float()
    with pytest.raises(
        InvalidArgument, match="converted or resized between the forward and the backward pass"
    ):
        output.sum().backward()


@pytest.mark.usefixtures("kernel")
def test_layouts_are_kept_and_need_not_be_contiguous() -> None:
    tensors = arguments((2, 3, 3, 5, 7, 16, 16))
    dense = tuple(x.detach().contiguous().requires_grad_() for x in tensors)
    assert_same(results(tensors, "native"), results(dense, "native"), 1e-12)
    odd = tuple(
        x.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for x in dense
    )
    assert_same(results(odd, "native"), results(dense, "native"), 1e-12)
    *qkv, c = dense
    for view in (
        c.detach()[:1].expand(3, -1),
        torch.cat((c.detach(), c.detach()), 1)[:, :17],
        negative_view(c),
    ):
        same = (*qkv, view.clone(memory_format=torch.contiguous_format).requires_grad_())
        assert_same(
            results((*qkv, view.requires_grad_()), "native"), results(same, "native"), 1e-12
        )
    assert fourier_attention(*tensors, scale=1.0, engine="native").transpose(1, 2).is_contiguous()
    gradient = torch.autograd.grad(
        fourier_attention(*tensors, scale=1.0, engine="native").sum(), tensors[0]
    )[0]
    assert gradient.stride() == tensors[0].stride()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_threads_change_nothing(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORK_OF_A_THREAD", 1)
    tensors, before, found = arguments((2, 4, 2, 40, 50, 16, 8)), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            found.append(results(tensors, "native", dropout=dropout))
    finally:
        torch.set_num_threads(before)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True)
    )


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_rows_that_see_nothing_and_nan_are_nan_as_in_torch(engine: str) -> None:
    tensors = arguments((1, 2, 2, 40, 140, 8, 8))
    mask = torch.zeros(40, 140, dtype=torch.float64)
    mask[3] = -math.inf
    output, to_q, to_k, *_ = results(tensors, engine, mask)
    assert output[:, :, 3].isnan().all()
    assert to_q[:, :, 3].isnan().all()
    assert to_k.isnan().all()
    assert output[:, :, [0, 1, 2, 4, 39]].isfinite().all()
    late = torch.zeros(40, 140, dtype=torch.float64)
    late[:, :135] = -math.inf  # a whole tile is hidden
    assert_same(results(tensors, engine, late), results(tensors, "torch", late), 1e-11)
    with torch.no_grad():
        tensors[0][0, 1, 7, 2] = math.nan
    output = fourier_attention(*tensors, scale=0.3, engine=engine)  # type: ignore[arg-type]
    assert output[0, 1, 7].isnan().all()
    assert output.isnan().sum() == 8


@pytest.mark.usefixtures("kernel")
def test_huge_scores() -> None:
    tensors = arguments((1, 2, 2, 5, 20, 4, 4))
    with torch.no_grad():
        tensors[0].mul_(3e6).round_().mul_(
            2
        )  # products are exact, and far beyond where angles are reduced quickly
        tensors[1].mul_(64).round_()
    # The logarithm of a row's sum is rounded like its largest score; gradients that cancel are as
    # large as their terms.
    largest = (tensors[0] @ tensors[1].transpose(2, 3)).abs().max().item()
    assert_same(results(tensors, "native"), results(tensors, "torch"), 16 * 2.0**-53 * largest)


# Dropout
# --------------------------------------------------------------------------------------------------


def kept(shape: Shape, dropout: float, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Which weights are kept: the output for unit vectors as values."""
    q, k, _, c = (x.detach() for x in arguments(shape, dtype=dtype))
    unit = torch.eye(k.shape[2], dtype=dtype).expand(*k.shape[:2], -1, -1)
    torch.manual_seed(seed)
    return fourier_attention(q, k, unit, c, scale=0.3, dropout=dropout, engine="native") != 0


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_right_share_independently(dropout: float) -> None:
    places = kept((4, 3, 3, 50, 133, 2, 2), dropout, 0)

    def share(both: Tensor) -> float:
        return both.double().mean().item()

    p = 1 - dropout
    assert abs(share(places) - p) < 5 * math.sqrt(p * (1 - p) / places.numel())
    neighbours = (
        places[..., 1:] & places[..., :-1],
        places[:, :, 1:] & places[:, :, :-1],
        places[:, 1:] & places[:, :-1],
    )
    for both in (*neighbours, places[1:] & places[:-1]):  # along keys, rows, heads and the batch
        assert abs(share(both) - p**2) < 5 * math.sqrt(3 * p**2 * (1 - p**2) / both.numel())


@pytest.mark.usefixtures("kernel")
def test_dropout_is_repeatable_and_the_same_on_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (2, 2, 2, 40, 133, 2, 2)
    first = kept(shape, 0.5, 1)
    assert torch.equal(first, kept(shape, 0.5, 1, torch.float32))
    assert not torch.equal(first, kept(shape, 0.5, 2))
    monkeypatch.setattr(native, "kernels", lambda: load("baseline"))
    assert torch.equal(first, kept(shape, 0.5, 1))


@pytest.mark.usefixtures("kernel")
def test_the_gradient_sees_the_mask_of_the_forward_pass() -> None:
    shape, p = (2, 2, 2, 9, 11, 3, 11), 0.25
    places = kept(shape, p, 3).double() / (1 - p)
    tensors = arguments(shape)

    def masked(q: Tensor, k: Tensor, v: Tensor, c: Tensor) -> list[Tensor]:
        scores = q @ k.transpose(2, 3) * 3**-0.5
        order = torch.arange(1, 9)
        waves = torch.cat(
            (
                torch.ones(*scores.shape, 1),
                (scores[..., None] * order).cos(),
                (scores[..., None] * order).sin(),
            ),
            -1,
        )
        output = (torch.softmax(scores + (waves * c[:, None, None]).sum(-1), -1) * places) @ v
        mix = torch.linspace(-1, 1.3, output.numel(), dtype=torch.float64).view_as(output)
        return [output.detach(), *torch.autograd.grad((output * mix).sum(), (q, k, v, c))]

    torch.manual_seed(3)
    assert_same(
        results(tensors, "native", dropout=p), masked(*tensors), 1e-9
    )  # the kept share is rounded to 2^-32


# Torch's conventions
# --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kernel")
def test_gradients_by_finite_differences_and_no_second_ones() -> None:
    tensors = arguments((1, 2, 1, 3, 4, 2, 2), degree=3)
    assert torch.autograd.gradcheck(
        lambda *t: fourier_attention(*t, scale=0.5, frequency=0.5, engine="native"), tensors
    )
    loss = fourier_attention(*tensors, scale=0.3, engine="native").pow(2).sum()
    (to_q,) = torch.autograd.grad(loss, tensors[:1], create_graph=True)
    with pytest.raises(NotDifferentiable, match=r"second derivatives.*default\.qubit"):
        torch.autograd.grad(to_q.sum(), tensors[1])


@pytest.mark.parametrize("degree", [None, 2])
def test_torchs_checks_of_the_operators(degree: int | None) -> None:
    tensors = arguments((2, 2, 1, 3, 4, 8, 16), degree)
    call = (*tensors, torch.zeros(3, 4, dtype=torch.float64), [0.3, 1.0, 0.0], None)
    torch.library.opcheck(torch.ops.hybridq.native_attention.default, call)
    with torch.no_grad():
        output, *saved = torch.ops.hybridq.native_attention(*call)
    q, k, v, c = (None if x is None else x.detach() for x in tensors)
    arguments_back = (
        torch.ones_like(output),
        [q, k, v],
        c,
        None,
        [output, *saved],
        [0.3, 1.0, 0.0],
        None,
    )
    torch.library.opcheck(torch.ops.hybridq.native_attention_backward.default, arguments_back)
    with pytest.raises(InvalidArgument, match=r"\(8, 3\).*pad"):
        torch.ops.hybridq.native_attention(q, k, v[..., :3], *call[3:])


def test_compiled_it_is_the_same() -> None:
    torch.compiler.reset()
    tensors = arguments((2, 2, 1, 5, 6, 4, 4))
    compiled = torch.compile(
        lambda *t: fourier_attention(*t, scale=0.3, engine="native") * 2,
        backend="aot_eager",
        fullgraph=True,
    )
    output, eager = compiled(*tensors), fourier_attention(*tensors, scale=0.3, engine="native") * 2
    ours, theirs = (list(torch.autograd.grad(x.pow(2).sum(), tensors)) for x in (output, eager))
    assert_same([output.detach(), *ours], [eager.detach(), *theirs], 1e-12)
    torch.compiler.reset()


def test_what_is_saved_is_no_matrix_of_scores() -> None:
    tensors = arguments((2, 2, 2, 60, 80, 8, 16))
    kept_bytes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept_bytes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = fourier_attention(*tensors, scale=0.3, dropout=0.1, engine="native")
    assert sum(kept_bytes.values()) == 8 * (
        sum(t.numel() for t in tensors) + output.numel() + 2 * 2 * 2 * 60
    )


def test_engines_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = arguments((1, 1, 1, 2, 2, 2, 2))
    with pytest.raises(InvalidArgument, match=r"engine='fast'.*'auto', 'native', 'torch'"):
        fourier_attention(*tensors, scale=1.0, engine="fast")  # type: ignore[arg-type]
    monkeypatch.setattr(choice, "kernels", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"engine='native'.*kernels"):
        fourier_attention(*tensors, scale=1.0, engine="native")
    assert_same(results(tensors, "auto"), results(tensors, "torch"), 0.0)
    with pytest.raises(InvalidArgument, match=r"k=\(1, 2, 2, 2\)"):
        fourier_attention(
            tensors[0].expand(1, 3, 2, 2),
            tensors[1].expand(1, 2, 2, 2),
            tensors[2],
            None,
            scale=1.0,
        )


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_that_the_lowest_number_hides_is_a_mean(dtype: torch.dtype) -> None:
    q, k, v, c = arguments((2, 2, 2, 5, 7, 8, 8), dtype=dtype)
    mask = torch.zeros(5, 7, dtype=dtype)
    mask[1] = torch.finfo(dtype).min
    mask[2, 3:] = torch.finfo(dtype).min
    output, *gradients = results((q, k, v, c), "native", mask)
    torch.testing.assert_close(output[:, :, 1], v.detach().mean(2))
    assert_same(
        [output, *gradients],
        results((q, k, v, c), "torch", mask),
        2e-6 if dtype == torch.float32 else 1e-11,
    )


def test_torch_func_takes_plain_attention_alone() -> None:
    q, k, v, c = (x.detach() for x in arguments((3, 2, 2, 5, 7, 8, 8)))

    def attend(q: Tensor, c: Tensor | None, engine: Any = "auto") -> Tensor:
        return fourier_attention(q[None], k[:1], v[:1], c, scale=0.3, engine=engine)[0]

    plain = torch.stack([attend(one, None) for one in q])
    torch.testing.assert_close(torch.func.vmap(lambda one: attend(one, None))(q), plain)
    for coefficients, engine in ((c, "auto"), (c, "torch"), (None, "native")):
        with pytest.raises(
            NotDifferentiable, match=r"torch\.func: .*`composed` can be transformed"
        ):
            torch.func.vmap(lambda one: attend(one, coefficients, engine))(q)  # noqa: B023


@pytest.mark.parametrize("name", ["k", "v", "coefficients", "mask"])
def test_tensors_of_another_device_are_named(name: str) -> None:
    q, k, v, c = (x.detach() for x in arguments((2, 2, 2, 5, 7, 8, 8)))
    tensors = {"q": q, "k": k, "v": v, "coefficients": c, "mask": torch.zeros(5, 7, dtype=q.dtype)}
    tensors[name] = tensors[name].to("meta")
    with pytest.raises(InvalidArgument, match=f"^{name} is on meta: q is on cpu"):
        fourier_attention(**tensors, scale=0.3)


def test_a_diagonal_beyond_all_keys() -> None:
    q, k, v, c = (x.detach() for x in arguments((2, 2, 2, 5, 7, 8, 8)))
    whole = fourier_attention(q, k, v, c, scale=0.3)
    assert torch.equal(fourier_attention(q, k, v, c, scale=0.3, diagonal=2**63 - 1), whole)
    assert not fourier_attention(q, k, v, c, scale=0.3, diagonal=-(2**63)).nan_to_num().any()
