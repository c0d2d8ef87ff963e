"""Attention by the compiled kernels: softmax(s + Phi(frequency s) + mask) v with s = scale q k^T, or without Phi.

The kernels walk over tiles of scores and keep for the backward pass two numbers for each row and
the seed of dropout. Head sizes that do not fill registers are padded with zeros. In eager mode an
autograd function calls the kernels, which costs microseconds; under torch.compile a pair of
operators does.
"""

import ctypes
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hybridq.circuits import FourierForm
from hybridq.engine.once import (
    differentiable_once,
    no_second_derivative,
    save_tensors,
    saved_tensors,
)
from hybridq.errors import InvalidArgument
from hybridq.layers.fused.series import LAYER_WAY_OUT, polynomial_matrix, sizes
from hybridq.native import Kernels, kernels

__all__ = ["MOST_DEGREE", "Inputs", "Settings", "native_attention"]

MOST_DEGREE = 127  # of a series, for which the kernels have room

# of each polynomial, for which the kernels keep their sums in registers: a degree of at most 8
_POWER_TERMS = 5
_SHARE = 2**21  # multiply-adds that are worth a thread
_EVERY_KEY = 2**40
_REGISTER = 64  # bytes, the largest
_HASHES, _SEEDS = 2**32, 2**62  # of dropout
_NO_TABLE = torch.empty(0, dtype=torch.float64, device="cpu")


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
    rows: Tensor  # (batch, heads, length, 2): the largest logit, and kept / (sum of exponentials)


def native_attention(inputs: Inputs, settings: Settings) -> Tensor:
    """Attend; see `fourier_attention`.

    Args:
        inputs: Tensors of one dtype, float32 or float64, on the CPU, none of them empty; a degree
            of at most `MOST_DEGREE`.
        settings: The numbers.

    Returns:
        Shape (batch, heads, length, value size), laid out in memory as q is.
    """
    q, k, v, *others = inputs
    size, value_size, lanes = q.shape[3], v.shape[3], _REGISTER // q.element_size()
    if size % lanes:
        q, k = (F.pad(x, (0, -size % lanes)) for x in (q, k))
    if value_size % lanes:
        v = F.pad(v, (0, -value_size % lanes))
    if torch.compiler.is_compiling():
        scale, frequency, dropout, diagonal = settings
        output: Tensor = _forward(q, k, v, *others, [scale, frequency, dropout], diagonal)[0]
    else:
        output = _Function.apply(q, k, v, *others, settings)  # type: ignore[no-untyped-call]
    return output[..., :value_size] if value_size % lanes else output


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, settings = arguments
        inputs = Inputs(*tensors)
        ctx.settings, ctx.seed = settings, _draw_seed(settings)
        saved = _attend(inputs, settings, ctx.seed)
        save_tensors(ctx, *inputs, *saved)
        ctx.set_materialize_grads(False)
        return saved.output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 6
        q, k, v, coefficients, mask, *saved = saved_tensors(ctx)
        inputs = Inputs(q, k, v, coefficients, mask)
        sources = [x for x in (gradient, *inputs) if x is not None]
        found = differentiable_once(
            lambda: _differentiate(gradient, inputs, _Saved(*saved), ctx.settings, ctx.seed),
            sources,
            LAYER_WAY_OUT,
        )
        return *found, None, None


# The same as operators, for torch.compile
# ---------------------------------------------------------------------------------


@torch.library.custom_op(
    "hybridq::native_attention", mutates_args=(), tags=torch.Tag.nondeterministic_seeded
)
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor | None,
    mask: Tensor | None,
    numbers: list[float],
    diagonal: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and what the backward pass needs: the rows' numbers and the seed."""
    inputs, settings = (
        Inputs(q, k, v, coefficients, mask),
        Settings(numbers[0], numbers[1], numbers[2], diagonal),
    )
    seed = _draw_seed(settings)
    return *_attend(inputs, settings, seed), torch.tensor([seed], device="cpu")


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
    """The gradients of q, k, v and the coefficients; `saved` is the output, the rows' numbers and the seed."""
    inputs = Inputs(qkv[0], qkv[1], qkv[2], coefficients, mask)
    settings = Settings(numbers[0], numbers[1], numbers[2], diagonal)
    *found, last = _differentiate(
        gradient, inputs, _Saved(saved[0], saved[1]), settings, int(saved[2])
    )
    return *found, gradient.new_empty(0) if last is None else last  # type: ignore[return-value]


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return (
        _empty(q, v),
        q.new_empty((*q.shape[:3], 2)),
        torch.empty(1, dtype=torch.int64, device=q.device),
    )


@_backward.register_fake
def _(
    gradient: Tensor, qkv: list[Tensor], coefficients: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    last = gradient.new_empty(0) if coefficients is None else gradient.new_empty(coefficients.shape)
    return *map(_like, qkv), last


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.numbers, ctx.diagonal = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if gradient is None:  # what follows has no gradient
        return (None,) * 7
    q, k, v, coefficients, mask, *saved = ctx.saved_tensors
    *found, last = _backward(
        gradient, [q, k, v], coefficients, mask, saved, ctx.numbers, ctx.diagonal
    )
    return *found, None if coefficients is None else last, None, None, None


def _no_gradients(*_: Any) -> None:
    raise no_second_derivative(LAYER_WAY_OUT)


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_gradients)


# The kernels
# --------------------------------------------------------------------------------------------------------------


# `Attention` of attention.cpp: counts, the seed and limit, numbers, nine arrays (address and
# strides), addresses.
_LAYOUT = struct.Struct("12q 2Q 3d 36q 4q")
_NOTHING: tuple[int, ...] = (0, 0, 0, 0)


def _draw_seed(settings: Settings) -> int:
    return int(torch.randint(_SEEDS, (), device="cpu")) if settings.dropout else 0


def _attend(inputs: Inputs, settings: Settings, seed: int) -> _Saved:
    saved = _Saved(_empty(inputs.q, inputs.v), inputs.q.new_empty((*inputs.q.shape[:3], 2)))
    _call(inputs, saved, (settings, seed), _NOTHING * 4, 0)
    return saved


def _differentiate(
    gradient: Tensor, inputs: Inputs, saved: _Saved, settings: Settings, seed: int
) -> tuple[Tensor | None, ...]:
    q, k, v, coefficients, _ = inputs
    to_q, to_k, to_v = _like(q), _like(k), _like(v)
    gradient = _rows(gradient)
    last = (
        None
        if coefficients is None
        else torch.empty_like(coefficients, memory_format=torch.contiguous_format)
    )
    arrays = (*_array(gradient), *_array(to_q), *_array(to_k), *_array(to_v))
    _call(inputs, saved, (settings, seed), arrays, 0 if last is None else last.data_ptr())
    return to_q, to_k, to_v, last


def _array(x: Tensor) -> tuple[int, ...]:
    return x.data_ptr(), *x.stride()[:3]


def _rows(x: Tensor) -> Tensor:
    """The same with the numbers of each row side by side; what is expanded stays so."""
    x = x.resolve_neg()
    if x.stride(-1) == 1:
        return x
    once = x[tuple(slice(None if step else 1) for step in x.stride()[:-1])]
    return once.contiguous().expand(x.shape)


def _call(
    inputs: Inputs,
    saved: _Saved,
    numbers: tuple[Settings, int],
    gradients: tuple[int, ...],
    to_coefficients: int,
) -> None:
    q, k, v, coefficients, mask = inputs
    (scale, frequency, dropout, diagonal), seed = numbers
    (batch, heads, length, size), (_, key_heads, keys, value_size) = q.shape, v.shape
    if (size | value_size) % (_REGISTER // q.element_size()):
        raise InvalidArgument.of(
            "head sizes", (size, value_size), f"pad them to fill registers of {_REGISTER} bytes"
        )
    q, k, v, added = _rows(q), _rows(k), _rows(v), _NOTHING
    threads = max(
        1,
        min(torch.get_num_threads(), batch * heads * length * keys * (size + value_size) // _SHARE),
    )
    n_coefficients, stride, terms, table, series = 0, 0, 0, _NO_TABLE, 0
    if coefficients is not None:
        coefficients = _rows(coefficients)
        n_coefficients, stride = coefficients.shape[1], coefficients.stride(0)
        terms, table = _n_terms(n_coefficients // 2), _table(n_coefficients // 2, frequency)
        series = coefficients.data_ptr()
    if mask is not None:
        mask = _rows(mask.expand(*mask.shape[:-1], keys)).expand(batch, heads, length, keys)
        added = _array(mask)
    limit = min(max(round((1 - dropout) * _HASHES), 1), _HASHES - 1) if dropout else 0
    problem = _LAYOUT.pack(
        *(
            batch,
            heads,
            key_heads,
            length,
            keys,
            size,
            value_size,
            threads,
            n_coefficients,
            stride,
            terms,
        ),
        *(
            _EVERY_KEY if diagonal is None else max(-_EVERY_KEY, min(diagonal, _EVERY_KEY)),
            seed,
            limit,
            scale,
            frequency,
            _HASHES / limit if limit else 1.0,
        ),
        *(*_array(q), *_array(k), *_array(v), *added, *_array(saved.output), *gradients),
        *(series, to_coefficients, saved.rows.data_ptr(), table.data_ptr()),
    )
    found = kernels()
    assert found is not None, "the caller has looked"  # noqa: S101
    if _function(found, q.dtype)(problem):
        raise MemoryError("no memory for the scratch space of attention")


@lru_cache(maxsize=16)
def _function(found: Kernels, dtype: torch.dtype) -> Any:
    function = found.library[
        "hq_attention_float" if dtype == torch.float32 else "hq_attention_double"
    ]
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_int
    return function


def _n_terms(degree: int) -> int:
    """Of each of the four polynomials; a constant cancels in softmax."""
    if degree == 0:
        return 0
    return _POWER_TERMS if degree <= 8 else max(_POWER_TERMS + 1, degree // 2 + 1)


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _table(degree: int, frequency: float) -> Tensor:
    """From coefficients to the terms of A, B, C and E, and to those of frequency Phi': shape (2 D + 1, 2 * 4 * terms)."""
    matrix, ends = polynomial_matrix(degree, powers=False), np.cumsum(sizes(degree))
    padded = np.zeros((2 * degree + 1, 4, _n_terms(degree)))
    for part, (end, size) in enumerate(zip(ends, sizes(degree), strict=True)):
        padded[:, part, : min(size, padded.shape[2])] = matrix[:, end - size : end][
            :, : padded.shape[2]
        ]
    value = torch.from_numpy(padded).flatten(1)
    identity = torch.eye(2 * degree + 1, dtype=torch.float64, device="cpu")
    slope = FourierForm.derivative(identity) @ value * frequency
    return torch.cat((value, slope), 1)


def _empty(q: Tensor, v: Tensor) -> Tensor:
    """Room for the output: heads inside of positions if q has them so, as a view of a projection does."""
    batch, heads, length, _ = q.shape
    if q.stride(1) < q.stride(2):
        return q.new_empty(batch, length, heads, v.shape[3]).transpose(1, 2)
    return q.new_empty(batch, heads, length, v.shape[3])


def _like(x: Tensor) -> Tensor:
    """Room for a gradient, laid out as x is if that leaves rows side by side."""
    found = torch.empty_like(x)
    return found if found.stride(3) == 1 else x.new_empty(x.shape)
