"""The base class of all ansaetze."""

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["AbstractAnsatz"]


class AbstractAnsatz(ABC):
    """A family of gates with inputs and trainable weights.

    Write a frozen dataclass with the four abstract members; `n_qubits`, `n_inputs` and
    `weight_shape` may be fields. A new ansatz is one file in this folder, whose `__all__` begins
    with the class.
    """

    @property
    @abstractmethod
    def n_qubits(self) -> int:
        """The number of wires."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """The number of inputs of one circuit."""

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weights of one circuit."""

    @abstractmethod
    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue PennyLane operations on the wires 0..n_qubits-1.

        Args:
            inputs: Shape (..., n_inputs), radians. Index it as `inputs[..., i]`, so that batches
                broadcast.
            weights: Shape (..., *weight_shape), radians. Index it as `weights[..., i, j]`.
        """
