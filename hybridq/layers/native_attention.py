"""Attention by the compiled kernels: softmax(s + Phi(frequency s) + mask) v with s = scale q k^T, or without Phi.

The kernels walk over tiles of scores and keep for the backward pass the logarithm of each row's sum and the seed of dropout.
In eager mode an autograd function calls them, which costs microseconds; under torch.compile a pair of operators does.
"""

import ctypes
import itertools
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybridq.engine.once import differentiable_once, no_second_derivative
from hybridq.layers.fourier import LAYER_WAY_OUT, derivative, sizes, to_polynomials
from hybridq.native import Kernels, kernels

__all__ = ["Inputs", "Settings", "native_attention"]

_POWER_TERMS = 5  # of each polynomial, for which the kernels keep their sums in registers: a degree of at most 8
_SHARE = 2**21  # multiply-adds that are worth a thread
_EVERY_KEY = 2**40
_NO_SEED = torch.zeros(1, dtype=torch.int64)


class Settings(NamedTuple):
    """What is no tensor.

    Args:
        scale: The factor of q k^T.
        frequency: The factor of the scaled score inside the series.
        dropout: The probability of dropping a weight.
        diagonal: Row i sees the keys up to i + diagonal; None for all keys.
    """

    scale: float
    frequency: float
    dropout: float
    diagonal: int | None


class Inputs(NamedTuple):
    """The tensors, as `fourier_attention` describes them."""

    q: Tensor
    k: Tensor
    v: Tensor
    coefficients: Tensor | None
    mask: Tensor | None


class _Saved(NamedTuple):
    output: Tensor
    log_sums: Tensor  # (batch, heads, length)
    series: Tensor  # (heads, 2 * 4 * terms): A, B, C and E of Phi, then of frequency Phi'; empty without a series
    seed: Tensor  # (1,), int64


def native_attention(inputs: Inputs, settings: Settings) -> Tensor:
    """Attend; see `fourier_attention`.

    Args:
        inputs: Tensors of one dtype, float32 or float64, on the CPU, none of them empty.
        settings: The numbers.

    Returns:
        Shape (batch, heads, length, value size), laid out in memory as q is.
    """
    if torch.compiler.is_compiling():
        scale, frequency, dropout, diagonal = settings
        output: Tensor = _forward(*inputs, [scale, frequency, dropout], diagonal)[0]
        return output
    return _Function.apply(*inputs, settings)  # type: ignore[no-any-return, no-untyped-call]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, settings = arguments
        inputs = Inputs(*tensors)
        saved = _attend(inputs, settings)
        ctx.save_for_backward(*inputs, *saved)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return saved.output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 6
        tensors = ctx.saved_tensors
        inputs, saved = Inputs(*tensors[:5]), _Saved(*tensors[5:])
        sources = [x for x in (gradient, *inputs) if x is not None]
        found = differentiable_once(lambda: _differentiate(gradient, inputs, saved, ctx.settings), sources, LAYER_WAY_OUT)
        return *found, None, None


# The same as operators, for torch.compile ---------------------------------------------------------------------------------


@torch.library.custom_op("hybridq::native_attention", mutates_args=(), tags=torch.Tag.nondeterministic_seeded)
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor | None,
    mask: Tensor | None,
    numbers: list[float],
    diagonal: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output, and what the backward pass needs."""
    scale, frequency, dropout = numbers
    return tuple(_attend(Inputs(q, k, v, coefficients, mask), Settings(scale, frequency, dropout, diagonal)))  # type: ignore[return-value]


@torch.library.custom_op("hybridq::native_attention_backward", mutates_args=())
def _backward(
    gradient: Tensor,
    qkv: list[Tensor],
    coefficients: Tensor | None,
    mask: Tensor | None,
    saved: list[Tensor],
    numbers: list[float],
    diagonal: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and the coefficients."""
    scale, frequency, dropout = numbers
    inputs = Inputs(qkv[0], qkv[1], qkv[2], coefficients, mask)
    *found, to_coefficients = _differentiate(gradient, inputs, _Saved(*saved), Settings(scale, frequency, dropout, diagonal))
    return *found, gradient.new_empty(0) if to_coefficients is None else to_coefficients  # type: ignore[return-value]


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, coefficients: Tensor | None, *_: Any) -> tuple[Tensor, ...]:
    shape = (0,) if coefficients is None else (len(coefficients), 8 * _n_terms(coefficients.shape[1] // 2))
    return _empty(q, v), q.new_empty(q.shape[:3]), q.new_empty(shape), torch.empty(1, dtype=torch.int64, device=q.device)


@_backward.register_fake
def _(gradient: Tensor, qkv: list[Tensor], coefficients: Tensor | None, *_: Any) -> tuple[Tensor, ...]:
    last = gradient.new_empty(0) if coefficients is None else gradient.new_empty(coefficients.shape)
    return *map(torch.empty_like, qkv), last


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.numbers, ctx.diagonal = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if gradient is None:  # what follows has no gradient
        return (None,) * 7
    q, k, v, coefficients, mask, *saved = ctx.saved_tensors
    *found, last = _backward(gradient, [q, k, v], coefficients, mask, saved, ctx.numbers, ctx.diagonal)
    return *found, None if coefficients is None else last, None, None, None


def _no_gradients(*_: Any) -> None:
    raise no_second_derivative(LAYER_WAY_OUT)


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_gradients)


# The kernels --------------------------------------------------------------------------------------------------------------


# `hq::Attention` of attention.cpp: counts, the seed, numbers, nine arrays (address and four strides), three addresses.
_LAYOUT = struct.Struct("10q Q 3d 45q 3q")
_NOTHING = (0, 0, 0, 0, 0)


def _attend(inputs: Inputs, settings: Settings) -> _Saved:
    q, coefficients = inputs.q, inputs.coefficients
    if coefficients is None:
        series = q.new_empty(0)
    else:
        series = coefficients @ _table(coefficients.shape[1] // 2, settings.frequency, q.dtype)
    seed = torch.randint(2**62, (1,)) if settings.dropout else _NO_SEED.clone()
    saved = _Saved(_empty(q, inputs.v), q.new_empty(q.shape[:3]), series, seed)
    _call("forward", inputs, saved, settings, (_NOTHING,) * 4, 0)
    return saved


def _differentiate(gradient: Tensor, inputs: Inputs, saved: _Saved, settings: Settings) -> tuple[Tensor | None, ...]:
    q, k, v, coefficients, _ = inputs
    found = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    terms = 0 if coefficients is None else _n_terms(coefficients.shape[1] // 2)
    to_series = torch.zeros((*q.shape[:2], 4 * terms), dtype=torch.float64)
    arrays = tuple(_array(x) for x in (gradient, *found))
    _call("backward", inputs, saved, settings, arrays, to_series.data_ptr())
    if coefficients is None:
        return *found, None
    return *found, (to_series.sum(0) @ _transpose(coefficients.shape[1] // 2)).to(q.dtype)


def _array(x: Tensor) -> tuple[int, ...]:
    return x.data_ptr(), *x.stride()


def _call(
    name: str, inputs: Inputs, saved: _Saved, settings: Settings, arrays: tuple[tuple[int, ...], ...], to_series: int
) -> None:
    q, k, v, coefficients, mask = inputs
    batch, heads, length, size = q.shape
    _, key_heads, keys, value_size = v.shape
    terms = 0 if coefficients is None else _n_terms(coefficients.shape[1] // 2)
    threads = max(1, min(torch.get_num_threads(), batch * heads * length * keys * (size + value_size) // _SHARE))
    counts = (batch, heads, key_heads, length, keys, size, value_size, threads, terms)
    diagonal = _EVERY_KEY if settings.diagonal is None else settings.diagonal
    whole_mask = _NOTHING if mask is None else _array(mask.expand(batch, heads, length, keys))
    given = (*_array(q), *_array(k), *_array(v), *whole_mask, *_array(saved.output), *itertools.chain(*arrays))
    last = (saved.series.data_ptr(), saved.log_sums.data_ptr(), to_series)
    problem = _LAYOUT.pack(*counts, diagonal, saved.seed.item(), *settings[:3], *given, *last)
    found = kernels()
    assert found is not None, "the caller has looked"  # noqa: S101
    if _function(found, f"hq_attention_{name}_{'float' if q.dtype == torch.float32 else 'double'}")(problem):
        raise MemoryError("no memory for the scratch space of attention")


@lru_cache(maxsize=16)
def _function(found: Kernels, name: str) -> Any:
    function = found.library[name]
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_int
    return function


def _n_terms(degree: int) -> int:
    """Of each of the four polynomials; a constant cancels in softmax."""
    if degree == 0:
        return 0
    return _POWER_TERMS if degree <= 8 else max(_POWER_TERMS + 1, degree // 2 + 1)


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _table(degree: int, frequency: float, dtype: torch.dtype) -> Tensor:
    """From coefficients to the terms of A, B, C and E, and to those of frequency Phi': shape (2 D + 1, 2 * 4 * terms)."""
    matrix, ends = to_polynomials(degree, powers=False), np.cumsum(sizes(degree))
    padded = np.zeros((2 * degree + 1, 4, _n_terms(degree)))
    for part, (end, size) in enumerate(zip(ends, sizes(degree), strict=True)):
        padded[:, part, : min(size, padded.shape[2])] = matrix[:, end - size : end][:, : padded.shape[2]]
    value = torch.from_numpy(padded).flatten(1)
    slope = derivative(torch.eye(2 * degree + 1, dtype=torch.float64)) @ value * frequency
    return torch.cat((value, slope), 1).to(dtype)


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _transpose(degree: int) -> Tensor:
    """From the gradient of A, B, C and E to that of the coefficients, in float64."""
    table = _table(degree, 1.0, torch.float64)
    return table[:, : table.shape[1] // 2].t().contiguous()


def _empty(q: Tensor, v: Tensor) -> Tensor:
    """Room for the output: heads inside of positions if q has them so, as a view of a projection does."""
    batch, heads, length, _ = q.shape
    if q.stride(1) < q.stride(2):
        return q.new_empty(batch, length, heads, v.shape[3]).transpose(1, 2)
    return q.new_empty(batch, heads, length, v.shape[3])
