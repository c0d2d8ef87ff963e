"""The base class of all readouts."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

__all__ = ["AbstractReadout"]


class AbstractReadout(ABC):
    """A measurement that turns a state into a vector of real numbers.

    Write a frozen dataclass with the four abstract methods. The outputs are a linear map of the
    probabilities of the basis states or, where `diagonal` is False, of the real parts of the
    amplitudes. A new readout is one file in this folder, whose `__all__` begins with the class.
    """

    diagonal: bool = True
    """Whether the probabilities of the basis states determine the outputs.

    Then one set of shots serves all outputs, and every backend can run the readout.
    """

    averaged: bool = False
    """Whether a layer starts with the mean of the outputs instead of their sum (SPEC A8).

    It matters to layers that make one number of the outputs.
    """

    @abstractmethod
    def n_outputs(self, n_qubits: int) -> int:
        """Return the number of outputs.

        Args:
            n_qubits: Number of wires.
        """

    @abstractmethod
    def measure(self, n_qubits: int) -> Any:
        """Return the PennyLane measurement, or the list of them, that a QNode ends with.

        Args:
            n_qubits: Number of wires.
        """

    @abstractmethod
    def collect(self, result: Any) -> Tensor:
        """Turn the result of the QNode into a tensor.

        Args:
            result: What the QNode returned for one point, or for a batch of points.

        Returns:
            Shape (n_outputs,) for one point, (batch, n_outputs) for a batch.
        """

    @abstractmethod
    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Apply the readout's linear map along `dim`.

        Args:
            amplitudes: Along `dim` 2**n_qubits entries: probabilities if `diagonal`, otherwise real
                parts of amplitudes. Entry 0 is |0...0>, and wire 0 is the leftmost bit.
            dim: The dimension to contract.

        Returns:
            The same tensor with `n_outputs` entries along `dim`.
        """

    def matrix(self, n_qubits: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the linear map as a matrix.

        Args:
            n_qubits: Number of wires.
            dtype: The dtype of the matrix.

        Returns:
            Shape (n_outputs, 2**n_qubits).
        """
        return self.select(torch.eye(2**n_qubits, dtype=dtype), 0)
