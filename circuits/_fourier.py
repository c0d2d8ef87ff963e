"""The Fourier form: a circuit's output as a trigonometric series in its one input.

A circuit whose input s enters only through rotations by integer multiples of s has an output that
is exactly

    Phi(s) = a_0 + sum_{k=1..D} a_k cos(k s) + b_k sin(k s)

so 2 D + 1 circuits at s_j = 2 pi j / (2 D + 1) determine it, noise that does not depend on s
included. Evaluating the series on millions of scores is elementwise arithmetic (SPEC section 2).
A real amplitude is such a series in s / 2.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybridq._torch import constant_in_graphs
from hybridq.circuits._circuit import Circuit

__all__ = ["FourierForm"]


@dataclass(frozen=True)
class FourierForm:
    """Where to sample a circuit and how to turn the samples into Fourier coefficients.

    Args:
        degree: The degree D of the series.
        frequency: The fundamental frequency: the series is one in frequency * s. It is 1 for
            expectation values and probabilities, and 1/2 for amplitudes.

    Example:
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> FourierForm.of(Circuit(RyRzCnot(n_qubits=4, n_layers=2))).n_samples
        17
    """

    degree: int
    frequency: float = 1.0

    @classmethod
    def of(cls, circuit: Circuit) -> "FourierForm":
        """Return the Fourier form of a circuit.

        Args:
            circuit: A circuit with one input.

        Returns:
            The form.

        Raises:
            UnsupportedEncoding: If the circuit has more than one input, or if a gate multiplies the
                input by a factor that is not an integer.
        """
        return cls(_degree(circuit), cls.fundamental(circuit))

    @staticmethod
    def fundamental(circuit: Circuit) -> float:
        """Return the fundamental frequency of a circuit's output."""
        return 1.0 if circuit.readout.diagonal else 0.5

    @property
    def n_samples(self) -> int:
        """The number of circuits that determine the series: 2 * degree + 1."""
        return 2 * self.degree + 1

    def points(self, like: Tensor) -> Tensor:
        """Return the inputs s_j at which the circuit is sampled.

        Args:
            like: A tensor whose dtype and device the points have.

        Returns:
            Shape (n_samples,), radians.
        """
        if torch.compiler.is_compiling():
            numbers = _as_numbers(self.degree, "points")
            return torch.tensor(numbers, dtype=like.dtype, device=like.device) / self.frequency
        points = _matrices(self.degree, like.dtype, like.device).points
        return points if self.frequency == 1.0 else points / self.frequency

    def inputs(self, weights: Tensor) -> Tensor:
        """Return the points for several sets of weights, as a backend's `evaluate` takes them.

        Args:
            weights: Shape (sets, *weight_shape).

        Returns:
            Shape (sets * n_samples, 1), radians: all points of the first set, then of the second.
        """
        points = self.points(weights)
        return points.expand(len(weights), -1).reshape(-1, 1)

    def coefficients(self, samples: Tensor) -> Tensor:
        """Turn samples into (a_0, a_1..a_D, b_1..b_D) by a discrete Fourier transform.

        Args:
            samples: Shape (..., n_samples).

        Returns:
            Shape (..., n_samples). Differentiable.
        """
        if torch.compiler.is_compiling():
            numbers = _as_numbers(self.degree, "transform")
            return samples @ torch.tensor(numbers, dtype=samples.dtype, device=samples.device)
        return samples @ _matrices(self.degree, samples.dtype, samples.device).transform

    def combine(self, outputs: Tensor, readout: Tensor, gate: Tensor) -> Tensor:
        """Turn a circuit's outputs at `inputs` into the coefficients of gate * (readout . outputs).

        Args:
            outputs: Shape (sets * n_samples, n_outputs).
            readout: The weight of each output, shape (sets, n_outputs).
            gate: The factor of each set, shape (sets,).

        Returns:
            Shape (sets, n_samples). Differentiable towards all three.
        """
        samples = outputs.view(len(readout), self.n_samples, -1)
        weighted = (readout * gate.unsqueeze(1)).unsqueeze(2)
        phi = torch.bmm(samples, weighted).squeeze(2)  # (sets, samples)
        return self.coefficients(phi)

    @staticmethod
    def derivative(coefficients: Tensor) -> Tensor:
        """Return the coefficients of the derived series, in the order of `coefficients`.

        Args:
            coefficients: Shape (..., 2 D + 1).

        Returns:
            The same shape. With a fundamental frequency other than 1, it is the derivative towards
            frequency * s.
        """
        degree = coefficients.shape[-1] // 2
        return coefficients @ _matrices(degree, coefficients.dtype, coefficients.device).derive


class _Matrices(NamedTuple):
    """The constants of one degree."""

    points: Tensor  # (samples,): 2 pi j / (2 D + 1)
    transform: Tensor  # (samples, coefficients)
    derive: Tensor  # (coefficients, coefficients)


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # a tensor made in inference mode could never be used in training
def _matrices(degree: int, dtype: torch.dtype, device: torch.device) -> _Matrices:
    n = 2 * degree + 1
    k = np.arange(1, degree + 1)
    points = 2 * np.pi * np.arange(n) / n
    waves = [
        np.full((1, n), 1 / n),
        2 / n * np.cos(np.outer(k, points)),
        2 / n * np.sin(np.outer(k, points)),
    ]
    transform = np.concatenate(waves).T.copy()
    derive = np.zeros((n, n))
    derive[degree + k, k] = k  # b_k sin ks gives k b_k cos ks
    derive[k, degree + k] = -k
    matrices = (points, transform, derive)
    return _Matrices(*(torch.from_numpy(matrix).to(device, dtype) for matrix in matrices))


@constant_in_graphs
def _degree(circuit: Circuit) -> int:
    return _known_degree(circuit)


_known_degree = lru_cache(maxsize=64)(Circuit.fourier_degree)


@constant_in_graphs
def _as_numbers(degree: int, name: str) -> Any:
    """Return one of the constants as Python numbers, since dynamo traces no cached tensors."""
    matrices = _matrices(degree, torch.float64, torch.device("cpu"))
    return getattr(matrices, name).tolist()
