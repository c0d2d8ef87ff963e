"""The Fourier form: a circuit's output as a trigonometric series in its one input.

A circuit whose input s enters only through rotations by integer multiples of s has an output that is exactly

    Phi(s) = a_0 + sum_{k=1..D} a_k cos(k s) + b_k sin(k s)

so 2 D + 1 circuits at s_j = 2 pi j / (2 D + 1) determine it, noise that does not depend on s included, and evaluating it on
millions of scores is elementwise arithmetic (SPEC section 2). A real amplitude is such a series in s / 2.

How the series is evaluated: with x = cos s, y = sin s and u = cos 2s, the even and odd harmonics are

    Phi = A(u) + x (C(u) + y B(u)) + y E(u)

with four polynomials of degree at most D / 2, one fused multiply-add per coefficient. The gradient towards s is the derived
series, evaluated in the same way; the gradient towards the coefficients needs the sums of the incoming gradient times
{1, xy, x, y} times powers of u.
"""

import itertools
import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor
from torch.autograd.function import once_differentiable

from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument

__all__ = ["FourierForm", "Polynomials", "coefficient_gradient", "derivative", "series"]

_LARGEST_POWER_DEGREE = 8  # above, powers of u lose digits in float32


@dataclass(frozen=True)
class FourierForm:
    """Where to sample a circuit and how to turn the samples into coefficients.

    Args:
        degree: The degree D of the series.
        frequency: The fundamental frequency: the series is one in frequency * s. 1 for expectation values and
            probabilities, 1/2 for amplitudes.

    Example:
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> FourierForm.of(Circuit(RyRzCnot(n_qubits=4, n_layers=2))).n_samples
        17
    """

    degree: int
    frequency: float = 1.0

    @classmethod
    def of(cls, circuit: Circuit) -> "FourierForm":
        """Find the form of a circuit.

        Raises:
            UnsupportedEncoding: If the circuit has none: more than one input, or factors that are not integers.
        """
        return cls(circuit.fourier_degree(), 1.0 if circuit.readout.diagonal else 0.5)

    @property
    def n_samples(self) -> int:
        """Number of circuits that determine the series: 2 * degree + 1."""
        return 2 * self.degree + 1

    def points(self, like: Tensor) -> Tensor:
        """The inputs s_j at which the circuit is sampled, shape (n_samples,), radians."""
        turns = torch.arange(self.n_samples, dtype=torch.float64) / self.n_samples
        return (turns * (2 * math.pi / self.frequency)).to(like)

    def coefficients(self, samples: Tensor) -> Tensor:
        """Turn samples into (a_0, a_1..a_D, b_1..b_D) by a discrete Fourier transform.

        Args:
            samples: Shape (..., n_samples).

        Returns:
            Shape (..., n_samples). Differentiable.
        """
        return samples @ _transform(self.degree).to(samples)


def derivative(coefficients: Tensor) -> Tensor:
    """The coefficients of the derived series; shape (..., 2 D + 1)."""
    degree = coefficients.shape[-1] // 2
    k = torch.arange(1, degree + 1, dtype=coefficients.dtype, device=coefficients.device)
    a, b = coefficients[..., 1 : degree + 1], coefficients[..., degree + 1 :]
    return torch.cat((torch.zeros_like(coefficients[..., :1]), k * b, -k * a), -1)


def series(coefficients: Tensor, angles: Tensor) -> Tensor:
    """Evaluate the series elementwise.

    Args:
        coefficients: Shape (heads, 2 D + 1), as `FourierForm.coefficients` orders them.
        angles: Shape (batch, heads, ...), radians.

    Returns:
        The shape of `angles`. Differentiable once towards both.

    Raises:
        InvalidArgument: If the shapes do not fit.
    """
    if coefficients.ndim != 2 or coefficients.shape[1] % 2 == 0:
        raise InvalidArgument.of("coefficients", tuple(coefficients.shape), "the shape must be (heads, 2 * degree + 1)")
    if angles.ndim < 2 or angles.shape[1] != len(coefficients):
        raise InvalidArgument.of("angles", tuple(angles.shape), f"the shape must be (batch, {len(coefficients)}, ...)")
    return _Series.apply(coefficients, angles)  # type: ignore[no-any-return]


class _Series(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, angles: Tensor) -> Tensor:
        flat = angles.flatten(2)  # (batch, heads, elements)
        x, y = flat.cos(), flat.sin()
        ctx.save_for_backward(coefficients, x, y)
        return Polynomials(coefficients)(x, y).view_as(angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, x, y = ctx.saved_tensors
        flat = gradient.flatten(2)
        to_angles = Polynomials(derivative(coefficients))(x, y).mul_(flat).view_as(gradient)
        return coefficient_gradient(flat, x, y, coefficients.shape[1] // 2), to_angles


class Polynomials:
    """A series with one set of coefficients per head, ready to be evaluated from x = cos s and y = sin s.

    Args:
        coefficients: Shape (heads, 2 D + 1).
    """

    def __init__(self, coefficients: Tensor) -> None:
        degree = coefficients.shape[1] // 2
        self.powers = degree <= _LARGEST_POWER_DEGREE
        table = coefficients @ _to_polynomials(degree).to(coefficients)  # (heads, 2 D + 1)
        self._set_terms([column[:, None] for column in table.unbind(1)])  # each (heads, 1)

    def of_heads(self, heads: slice) -> "Polynomials":
        """The same for some of the heads."""
        if heads.stop - heads.start == len(self.terms[0]):
            return self
        part = copy(self)
        part._set_terms([term[heads] for term in self.terms])
        return part

    def _set_terms(self, terms: list[Tensor]) -> None:
        self.terms = terms
        even_cos, even_sin, odd_cos, _ = itertools.accumulate(_sizes(len(terms) // 2))
        self.even_cos, self.even_sin = terms[:even_cos], terms[even_cos:even_sin]
        self.odd_cos, self.odd_sin = terms[even_sin:odd_cos], terms[odd_cos:]

    def __call__(self, x: Tensor, y: Tensor, scratch: Sequence[Tensor] | None = None) -> Tensor:
        """Evaluate the series.

        Args:
            x: cos s, shape (batch, heads, elements).
            y: sin s, of the same shape.
            scratch: At least four tensors of this shape to work in; the result is the first, and cos 2s the fourth.

        Returns:
            The shape of `x`.
        """
        result, odd, part, u = ([torch.empty_like(x) for _ in range(4)] if scratch is None else scratch)[:4]
        _double_angle(x, u)
        self._sum(u, self.even_cos, result)
        if self.odd_cos:
            self._sum(u, self.odd_cos, odd)
            if self.even_sin:
                odd.addcmul_(self._sum(u, self.even_sin, part), y)
            result.addcmul_(odd, x).addcmul_(self._sum(u, self.odd_sin, part), y)
        return result

    def _sum(self, u: Tensor, terms: list[Tensor], out: Tensor) -> Tensor:
        """Horner's rule in powers of u, or Clenshaw's in Chebyshev polynomials of u."""
        if len(terms) == 1:
            return out.copy_(terms[0].expand_as(u))
        if self.powers:
            torch.mul(u, terms[-1], out=out).add_(terms[-2])
            for term in reversed(terms[:-2]):
                torch.addcmul(term, out, u, out=out)
            return out
        # b_k = c_k + 2 u b_{k+1} - b_{k+2}, and the sum is c_0 + u b_1 - b_2
        following, current = torch.zeros_like(u), terms[-1].expand_as(u)
        for term in reversed(terms[1:-1]):
            following, current = current, torch.addcmul(term - following, u, current, value=2)
        return torch.addcmul(terms[0] - following, u, current, out=out)


def coefficient_gradient(
    gradient: Tensor, x: Tensor, y: Tensor, degree: int, scratch: Sequence[Tensor] | None = None
) -> Tensor:
    """Sum gradient * d(series)/d(coefficients) over batch and elements.

    Args:
        gradient: Shape (batch, heads, elements).
        x: cos s, of the same shape.
        y: sin s, of the same shape.
        degree: The degree D.
        scratch: At least four tensors of this shape to work in; the fourth holds cos 2s.

    Returns:
        Shape (heads, 2 D + 1).
    """
    scratch = [torch.empty_like(x) for _ in range(4)] if scratch is None else scratch
    u = _double_angle(x, scratch[3])
    moments = []
    sums = _power_moments if degree <= _LARGEST_POWER_DEGREE else _chebyshev_moments
    for part, size in enumerate(_sizes(degree)):
        factor = gradient if part == 0 else torch.mul(gradient, y if part == 3 else x, out=scratch[0])
        if part == 1:
            factor.mul_(y)
        moments += sums(factor, u, size, scratch)
    table = torch.stack(moments, 1)  # (heads, 2 D + 1)
    return table @ _to_polynomials(degree).to(table).t()


def _power_moments(factor: Tensor, u: Tensor, size: int, scratch: Sequence[Tensor]) -> list[Tensor]:
    """Sum factor * u^j over batch and elements for j < size; each of shape (heads,)."""
    moments = [factor.sum((0, 2))] if size else []
    for _ in range(1, size):
        factor = torch.mul(factor, u, out=scratch[0])
        moments.append(factor.sum((0, 2)))
    return moments


def _chebyshev_moments(factor: Tensor, u: Tensor, size: int, scratch: Sequence[Tensor]) -> list[Tensor]:
    """Sum factor * T_j(u) over batch and elements for j < size; each of shape (heads,)."""
    current, following = factor.clone(), factor * u
    moments = []
    for _ in range(size):
        moments.append(current.sum((0, 2)))
        current, following = following, torch.addcmul(-current, u, following, value=2)
    return moments


def _double_angle(x: Tensor, out: Tensor) -> Tensor:
    """Cos 2s from x = cos s."""
    return torch.addcmul(x.new_tensor(-1.0), x, x, value=2, out=out)


def _sizes(degree: int) -> tuple[int, int, int, int]:
    """Number of coefficients of the polynomials A, B, C and E."""
    return degree // 2 + 1, degree // 2, (degree + 1) // 2, (degree + 1) // 2


@lru_cache(maxsize=64)
def _transform(degree: int) -> Tensor:
    """The matrix (samples, coefficients) of the discrete Fourier transform, in float64."""
    n = 2 * degree + 1
    s = 2 * np.pi * np.arange(n) / n
    k = np.arange(1, degree + 1)
    rows = [np.full((1, n), 1 / n), 2 / n * np.cos(np.outer(k, s)), 2 / n * np.sin(np.outer(k, s))]
    return torch.from_numpy(np.concatenate(rows).T.copy())


@lru_cache(maxsize=64)
def _to_polynomials(degree: int) -> Tensor:
    """The matrix (coefficients, polynomial coefficients) from a, b to A, B, C, E, in float64.

    With T and U Chebyshev's polynomials of the first and second kind in u = cos 2s:

        cos 2ms = T_m             sin 2ms = 2 x y U_{m-1}
        cos (2m+1)s = x (T_m - (1 - u) U_{m-1})        sin (2m+1)s = y (T_m + (1 + u) U_{m-1})
    """
    sizes = _sizes(degree)
    starts = np.cumsum([0, *sizes])
    matrix = np.zeros((2 * degree + 1, 2 * degree + 1))

    def put(row: int, part: int, in_chebyshev: Any) -> None:
        terms = chebyshev.cheb2poly(in_chebyshev) if degree <= _LARGEST_POWER_DEGREE else in_chebyshev
        terms = polynomial.polytrim(terms)
        matrix[row, starts[part] : starts[part] + len(terms)] = terms

    put(0, 0, [1.0])
    for k in range(1, degree + 1):
        m = k // 2
        first, second = _first_kind(m), _second_kind(m - 1)
        if k % 2 == 0:
            put(k, 0, first)
            put(degree + k, 1, 2 * second)
        else:
            put(k, 2, chebyshev.chebsub(first, chebyshev.chebmul([1, -1], second)))
            put(degree + k, 3, chebyshev.chebadd(first, chebyshev.chebmul([1, 1], second)))
    return torch.from_numpy(matrix)


def _first_kind(m: int) -> Any:
    return np.eye(m + 1)[m]


def _second_kind(m: int) -> Any:
    """U_m in terms of T: 2 (T_m + T_{m-2} + ...), the last term halved if it is T_0; 0 for m = -1."""
    terms = np.zeros(max(m + 1, 1))
    terms[m::-2] = 2.0 if m >= 0 else 0.0
    if m >= 0 and m % 2 == 0:
        terms[0] = 1.0
    return terms
