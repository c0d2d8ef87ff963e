"""Attention by the compiled kernels: softmax(s + Phi(frequency s) + mask) v with s = scale q k^T.

The series Phi may be left out. The kernels walk over blocks of scores, and keep for the backward
pass two numbers for each row and the seed of dropout. Head sizes that do not fill registers are
padded with zeros. In eager mode an autograd function calls the kernels, which costs microseconds;
under torch.compile a pair of operators does.
"""

import ctypes
from functools import lru_cache
from typing import Any

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
from hybridq.layers.fused.series import LAYER_WAY_OUT, polynomial_matrix, sizes
from hybridq.native import kernels
from hybridq.native.attention import (
    REGISTER_BYTES,
    AttentionNumbers,
    AttentionResult,
    AttentionTensors,
    SeriesPolynomials,
    attend,
    differentiate,
    gradient_room,
    n_terms,
    output_room,
)

__all__ = ["attend_by_kernels"]

_SEEDS = 2**62  # of dropout


def attend_by_kernels(tensors: AttentionTensors, numbers: AttentionNumbers) -> Tensor:
    """Attend; see `fourier_attention`.

    Args:
        tensors: Tensors of one dtype, float32 or float64, on the CPU, none of them empty; a degree
            of at most `MOST_DEGREE`.
        numbers: The numbers.

    Returns:
        Shape (batch, heads, length, value size), laid out in memory as q is. Differentiable once.
    """
    q, k, v, coefficients, mask = tensors
    size, value_size = q.shape[3], v.shape[3]
    lanes = REGISTER_BYTES // q.element_size()
    if size % lanes:
        q = F.pad(q, (0, -size % lanes))
        k = F.pad(k, (0, -size % lanes))
    if value_size % lanes:
        v = F.pad(v, (0, -value_size % lanes))
    if torch.compiler.is_compiling():
        of_scores = [numbers.scale, numbers.frequency, numbers.dropout]
        output: Tensor = _forward(q, k, v, coefficients, mask, of_scores, numbers.diagonal)[0]
    else:
        output = _Attend.apply(q, k, v, coefficients, mask, numbers)  # type: ignore[no-untyped-call]
    return output[..., :value_size] if value_size % lanes else output


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *inputs, numbers = arguments
        tensors = AttentionTensors(*inputs)
        ctx.numbers = numbers
        ctx.seed = _draw_seed(numbers.dropout)
        result = _attend(tensors, numbers, ctx.seed)
        save_tensors(ctx, *tensors, *result)
        ctx.set_materialize_grads(False)
        return result.output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 6
        q, k, v, coefficients, mask, *saved = saved_tensors(ctx)
        tensors = AttentionTensors(q, k, v, coefficients, mask)
        result = AttentionResult(*saved)
        sources = [x for x in (gradient, *tensors) if x is not None]
        gradients = differentiable_once(
            lambda: _differentiate(gradient, tensors, result, ctx.numbers, ctx.seed),
            sources,
            LAYER_WAY_OUT,
        )
        return *gradients, None, None


# The same as operators, for torch.compile
# --------------------------------------------------------------------------------------------------


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
    """Return the output, and what the backward pass needs: the rows' numbers and the seed."""
    scale, frequency, dropout = numbers
    seed = _draw_seed(dropout)
    output, rows = _attend(
        AttentionTensors(q, k, v, coefficients, mask),
        AttentionNumbers(scale, frequency, dropout, diagonal),
        seed,
    )
    return output, rows, torch.tensor([seed], device="cpu")


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
    """Return the gradients of q, k, v and the coefficients.

    What was saved are the output, the rows' numbers and the seed. Without coefficients the last
    gradient is empty, since operators return tensors only.
    """
    q, k, v = qkv
    output, rows, seed = saved
    scale, frequency, dropout = numbers
    *gradients, to_coefficients = _differentiate(
        gradient,
        AttentionTensors(q, k, v, coefficients, mask),
        AttentionResult(output, rows),
        AttentionNumbers(scale, frequency, dropout, diagonal),
        int(seed),
    )
    if to_coefficients is None:
        to_coefficients = gradient.new_empty(0)
    return *gradients, to_coefficients  # type: ignore[return-value]


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, ...]:
    rows = q.new_empty((*q.shape[:3], 2))
    seed = torch.empty(1, dtype=torch.int64, device=q.device)
    return output_room(q, v), rows, seed


@_backward.register_fake
def _(
    gradient: Tensor, qkv: list[Tensor], coefficients: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    shape = (0,) if coefficients is None else coefficients.shape
    return *map(gradient_room, qkv), gradient.new_empty(shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.numbers, ctx.diagonal = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if gradient is None:  # what follows has no gradient
        return (None,) * 7
    q, k, v, coefficients, mask, *saved = ctx.saved_tensors
    *gradients, to_coefficients = _backward(
        gradient, [q, k, v], coefficients, mask, saved, ctx.numbers, ctx.diagonal
    )
    last = None if coefficients is None else to_coefficients
    return *gradients, last, None, None, None


def _no_gradients(*_: Any) -> None:
    raise no_second_derivative(LAYER_WAY_OUT)


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_gradients)


# The calls of the kernels
# --------------------------------------------------------------------------------------------------


def _draw_seed(dropout: float) -> int:
    """Draw the seed of dropout from torch's global generator."""
    return int(torch.randint(_SEEDS, (), device="cpu")) if dropout else 0


def _attend(tensors: AttentionTensors, numbers: AttentionNumbers, seed: int) -> AttentionResult:
    polynomials = _polynomials(tensors.coefficients, numbers.frequency)
    return attend(_library(), tensors, numbers, polynomials, seed)


def _differentiate(
    gradient: Tensor,
    tensors: AttentionTensors,
    result: AttentionResult,
    numbers: AttentionNumbers,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    polynomials = _polynomials(tensors.coefficients, numbers.frequency)
    return differentiate(_library(), gradient, tensors, result, numbers, polynomials, seed)


def _library() -> ctypes.CDLL:
    chosen = kernels()
    assert chosen is not None, "the caller has looked"  # noqa: S101
    return chosen.library


def _polynomials(coefficients: Tensor | None, frequency: float) -> SeriesPolynomials | None:
    if coefficients is None:
        return None
    return _polynomials_of(coefficients.shape[1] // 2, frequency)


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _polynomials_of(degree: int, frequency: float) -> SeriesPolynomials:
    """Find the matrices from Fourier coefficients to polynomials, of Phi and frequency Phi'."""
    terms = n_terms(degree)
    n_coefficients = 2 * degree + 1
    matrix = polynomial_matrix(degree, powers=False)
    ends = np.cumsum(sizes(degree))
    padded = np.zeros((n_coefficients, 4, terms))
    for part, (end, size) in enumerate(zip(ends, sizes(degree), strict=True)):
        kept = min(size, terms)
        start = end - size
        padded[:, part, :kept] = matrix[:, start : start + kept]
    value = torch.from_numpy(padded).flatten(1)
    identity = torch.eye(n_coefficients, dtype=torch.float64, device="cpu")
    slope = FourierForm.derivative(identity) @ value * frequency
    return SeriesPolynomials(terms, torch.cat((value, slope), 1))
