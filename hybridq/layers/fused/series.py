"""A Fourier series evaluated elementwise, in torch, with its gradients.

With x = cos s, y = sin s and u = cos 2s, the even and odd harmonics of a series are

    Phi = A(u) + x (C(u) + y B(u)) + y E(u)

with four polynomials of degree at most D / 2, one fused multiply-add per coefficient. The gradient
towards s is the derived series, evaluated in the same way; the gradient towards the coefficients
needs the sums of the incoming gradient times {1, xy, x, y} times powers of u.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor

from hybridq._torch import not_compiled
from hybridq.circuits import FourierForm
from hybridq.engine import full_precision
from hybridq.engine.once import differentiable_once
from hybridq.errors import InvalidArgument

__all__ = [
    "LAYER_WAY_OUT",
    "FourierSeries",
    "Polynomials",
    "backpropagate",
    "polynomial_matrix",
    "series",
    "sizes",
]

LAYER_WAY_OUT = (
    "QuantumOptions(method='per_score') on backend='default.qubit' has second derivatives"
)
Work = Sequence[Tensor]
_LARGEST_POWER_DEGREE = 8  # above, powers of u lose digits in float32


@dataclass(frozen=True)
class FourierSeries:
    """The function Phi of each head, in the scaled score s: a series in frequency * s.

    Args:
        coefficients: Shape (heads, 2 D + 1), in the order of `FourierForm.coefficients`.
        frequency: The fundamental frequency.
    """

    coefficients: Tensor
    frequency: float = 1.0

    def __call__(self, scores: Tensor) -> Tensor:
        """Evaluate the series.

        Args:
            scores: Shape (batch, heads, ...).

        Returns:
            The shape and dtype of `scores`.
        """
        dtype = torch.promote_types(scores.dtype, torch.float32)
        angles = scores.to(dtype)
        if self.frequency != 1.0:
            angles = angles * self.frequency
        return series(self.coefficients.to(dtype), angles).to(scores.dtype)


@not_compiled  # works in place; dynamo traces no cached constants
def series(coefficients: Tensor, angles: Tensor) -> Tensor:
    """Evaluate the series elementwise.

    Args:
        coefficients: Shape (heads, 2 D + 1), as `FourierForm.coefficients` orders them.
        angles: Shape (batch, heads, ...), radians. Half precision is computed in float32.

    Returns:
        The shape and dtype of `angles`. Differentiable once towards both.

    Raises:
        InvalidArgument: If the shapes do not fit.
    """
    if coefficients.ndim != 2 or coefficients.shape[1] % 2 == 0:
        reason = "the shape must be (heads, 2 * degree + 1)"
        raise InvalidArgument.of("coefficients", tuple(coefficients.shape), reason)
    if angles.ndim < 2 or angles.shape[1] != len(coefficients):
        reason = f"the shape must be (batch, {len(coefficients)}, ...)"
        raise InvalidArgument.of("angles", tuple(angles.shape), reason)
    dtype = torch.promote_types(angles.dtype, torch.float32)
    arguments = (coefficients.to(dtype), angles.to(dtype))
    with full_precision(angles.device):
        values: Tensor = _Series.apply(*arguments)[0]  # type: ignore[no-untyped-call]
    return values.to(angles.dtype)


class _Series(torch.autograd.Function):
    """The series, and the cosine of the angles.

    The cosine is an output so that it is saved with its graph, at no cost. A second derivative is
    noticed by this graph.
    """

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        flat = angles.flatten(2)  # (batch, heads, elements)
        x = flat.cos()
        y = flat.sin()
        ctx.save_for_backward(coefficients, x, y)
        ctx.set_materialize_grads(False)
        return Polynomials(coefficients)(x, y).view_as(angles), x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return None, None
        coefficients, x, y = ctx.saved_tensors

        def gradients() -> tuple[Tensor, Tensor]:
            slopes = Polynomials(FourierForm.derivative(coefficients))
            flat = gradient.flatten(2).clone()
            to_angles = torch.zeros_like(x)
            work = (torch.empty_like(x), torch.empty_like(x))
            to_coefficients = backpropagate(flat, x.clone(), y.clone(), slopes, to_angles, work)
            return to_coefficients, to_angles.view_as(gradient)

        return differentiable_once(gradients, (gradient, coefficients, x), LAYER_WAY_OUT)


class Polynomials:
    """A series with one set of coefficients per head, as polynomials.

    It is evaluated from x = cos s and y = sin s.

    Args:
        coefficients: Shape (heads, 2 D + 1).
    """

    def __init__(self, coefficients: Tensor) -> None:
        degree = coefficients.shape[1] // 2
        self.powers = degree <= _LARGEST_POWER_DEGREE
        by_head = coefficients @ _to_polynomials(degree, coefficients.dtype, coefficients.device)
        terms = by_head.t()[:, :, None].unbind()  # each (heads, 1)
        end_of_a, end_of_b, end_of_c, _ = itertools.accumulate(sizes(degree))
        self.even_cos = terms[:end_of_a]
        self.even_sin = terms[end_of_a:end_of_b]
        self.odd_cos = terms[end_of_b:end_of_c]
        self.odd_sin = terms[end_of_c:]

    def __call__(self, x: Tensor, y: Tensor, work: Work | None = None) -> Tensor:
        """Evaluate the series.

        Args:
            x: cos s, shape (batch, heads, elements).
            y: sin s, of the same shape.
            work: Four tensors of this shape to work in; the result is the first.

        Returns:
            The shape of `x`.
        """
        result, odd, part, u = [torch.empty_like(x) for _ in range(4)] if work is None else work
        _double_angle(x, u)
        self._sum(u, self.even_cos, result)
        if self.odd_cos:
            self._sum(u, self.odd_cos, odd)
            if self.even_sin:
                odd.addcmul_(self._sum(u, self.even_sin, part), y)
            result.addcmul_(odd, x).addcmul_(self._sum(u, self.odd_sin, part), y)
        return result

    def _sum(self, u: Tensor, terms: Sequence[Tensor], out: Tensor) -> Tensor:
        """Sum by Horner's rule in powers of u, or Clenshaw's in Chebyshev polynomials of u."""
        if len(terms) == 1:
            return out.copy_(terms[0].expand_as(u))
        if self.powers:
            torch.mul(u, terms[-1], out=out).add_(terms[-2])
            for term in reversed(terms[:-2]):
                torch.addcmul(term, out, u, out=out)
            return out
        # b_k = c_k + 2 u b_{k+1} - b_{k+2}, and the sum is c_0 + u b_1 - b_2.
        following = torch.zeros_like(u)
        current = terms[-1].expand_as(u)
        for term in reversed(terms[1:-1]):
            following, current = current, torch.addcmul(term - following, u, current, value=2)
        return torch.addcmul(terms[0] - following, u, current, out=out)


def backpropagate(
    gradient: Tensor, x: Tensor, y: Tensor, slopes: Polynomials, to_angles: Tensor, work: Work
) -> Tensor:
    """Compute both gradients of the series in one pass.

    Args:
        gradient: dL/d(series), shape (batch, heads, elements). Overwritten.
        x: cos s, of the same shape. Overwritten.
        y: sin s, of the same shape. Overwritten.
        slopes: The derived series.
        to_angles: Where dL/ds is added.
        work: Two tensors of this shape to work in.

    Returns:
        dL/d(coefficients), shape (heads, 2 D + 1).
    """
    mixed, u = work
    _double_angle(x, u)
    torch.mul(x.mul_(gradient), y, out=mixed)
    y.mul_(gradient)
    sums: list[Tensor] = []
    parts = (slopes.even_cos, slopes.even_sin, slopes.odd_cos, slopes.odd_sin)
    for factor, terms in zip((gradient, mixed, x, y), parts, strict=True):
        for term, basis in zip(terms, _times_basis(factor, u, slopes.powers), strict=False):
            sums.append(basis.sum((0, 2)))
            to_angles.addcmul_(basis, term)
    to_terms = torch.stack(sums, 1)  # (heads, 2 D + 1)
    matrix = _to_polynomials(to_terms.shape[1] // 2, to_terms.dtype, to_terms.device)
    return to_terms @ matrix.t()


def _times_basis(factor: Tensor, u: Tensor, powers: bool) -> Iterator[Tensor]:
    """Yield the factor times u^j, in place, or times T_j(u), for j = 0, 1, 2 and so on."""
    yield factor
    if powers:
        while True:
            yield factor.mul_(u)
    before = factor
    last = factor * u
    while True:
        yield last
        before, last = last, torch.addcmul(-before, u, last, value=2)


def _double_angle(x: Tensor, out: Tensor) -> Tensor:
    """Write cos 2s, from x = cos s."""
    return torch.mul(x, x, out=out).mul_(2).sub_(1)


def sizes(degree: int) -> tuple[int, int, int, int]:
    """Return the numbers of coefficients of the polynomials A, B, C and E.

    Args:
        degree: The degree D of the series.

    Returns:
        The four numbers.
    """
    return degree // 2 + 1, degree // 2, (degree + 1) // 2, (degree + 1) // 2


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _to_polynomials(degree: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = polynomial_matrix(degree, powers=degree <= _LARGEST_POWER_DEGREE)
    return torch.from_numpy(matrix).to(device, dtype)


def polynomial_matrix(degree: int, *, powers: bool) -> npt.NDArray[np.float64]:
    """Return the matrix from the coefficients a, b of a series to those of A, B, C and E.

    With T and U Chebyshev's polynomials of the first and second kind in u = cos 2s:

        cos 2ms = T_m             sin 2ms = 2 x y U_{m-1}
        cos (2m+1)s = x (T_m - (1 - u) U_{m-1})        sin (2m+1)s = y (T_m + (1 + u) U_{m-1})

    Args:
        degree: The degree D of the series.
        powers: Whether the polynomials are written in powers of u, or in T_j(u).

    Returns:
        Shape (2 D + 1, 2 D + 1): coefficients of the series, coefficients of the polynomials.
    """
    starts = np.cumsum([0, *sizes(degree)])
    matrix = np.zeros((2 * degree + 1, 2 * degree + 1))

    def put(row: int, part: int, in_chebyshev: Any) -> None:
        terms = chebyshev.cheb2poly(in_chebyshev) if powers else in_chebyshev
        terms = polynomial.polytrim(terms)
        matrix[row, starts[part] : starts[part] + len(terms)] = terms

    put(0, 0, [1.0])
    for k in range(1, degree + 1):
        m = k // 2
        first = _first_kind(m)
        second = _second_kind(m - 1)
        if k % 2 == 0:
            put(k, 0, first)
            put(degree + k, 1, 2 * second)
        else:
            put(k, 2, chebyshev.chebsub(first, chebyshev.chebmul([1, -1], second)))
            put(degree + k, 3, chebyshev.chebadd(first, chebyshev.chebmul([1, 1], second)))
    return matrix


def _first_kind(m: int) -> Any:
    return np.eye(m + 1)[m]


def _second_kind(m: int) -> Any:
    """Return U_m in terms of T; 0 for m = -1.

    It is 2 (T_m + T_{m-2} + ...), where the last term is halved if it is T_0.
    """
    terms = np.zeros(max(m + 1, 1))
    terms[m::-2] = 2.0 if m >= 0 else 0.0
    if m >= 0 and m % 2 == 0:
        terms[0] = 1.0
    return terms
