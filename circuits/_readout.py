"""What is measured at the end of a circuit."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import pennylane as qml
import torch
from torch import Tensor

from hybridq.errors import InvalidArgument

__all__ = ["AbstractReadout", "ExpvalZ", "FirstProbabilities", "Probabilities", "RealAmplitudes"]

BitOrder = Literal["little", "big"]


class AbstractReadout(ABC):
    """A measurement that turns a state into a vector of real numbers."""

    diagonal: bool = True
    """Whether it can be read from the probabilities of the basis states, so that one set of shots serves all outputs."""

    averaged: bool = False
    """Whether a layer that makes one number of the outputs starts with their mean instead of their sum (SPEC A8)."""

    @abstractmethod
    def n_outputs(self, n_qubits: int) -> int:
        """Number of outputs."""

    @abstractmethod
    def measure(self, n_qubits: int) -> Any:
        """Return the PennyLane measurement that a QNode ends with."""

    @abstractmethod
    def collect(self, result: Any) -> Tensor:
        """Turn what the QNode returned into a tensor of shape (..., outputs)."""

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
        """The linear map as a matrix of shape (outputs, 2**n_qubits)."""
        return self.select(torch.eye(2**n_qubits, dtype=dtype), 0)


@dataclass(frozen=True)
class ExpvalZ(AbstractReadout):
    """The expectation value of Z on each wire; outputs in [-1, 1] (SPEC A8)."""

    averaged = True

    def n_outputs(self, n_qubits: int) -> int:
        """One per wire."""
        return n_qubits

    def measure(self, n_qubits: int) -> Any:
        """`qml.expval(Z(i))` for each wire."""
        return [qml.expval(qml.Z(wire)) for wire in range(n_qubits)]

    def collect(self, result: Any) -> Tensor:
        """Stack the expectation values."""
        return torch.stack(list(result), -1)

    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Contract with the signs of each wire's bit."""
        probabilities = amplitudes.movedim(dim, -1)
        n_qubits = (probabilities.shape[-1] - 1).bit_length()
        outputs = []
        for wire in range(n_qubits):
            halves = probabilities.unflatten(-1, (2**wire, 2, -1)).sum((-3, -1))  # type: ignore[no-untyped-call]  # (..., 2)
            outputs.append(halves[..., 0] - halves[..., 1])
        return torch.stack(outputs, -1).movedim(-1, dim)


@dataclass(frozen=True)
class Probabilities(AbstractReadout):
    """The probability of each of the 2**n basis states."""

    def n_outputs(self, n_qubits: int) -> int:
        """One per basis state."""
        return int(2**n_qubits)

    def measure(self, n_qubits: int) -> Any:
        """`qml.probs` of all wires."""
        return qml.probs(wires=range(n_qubits))

    def collect(self, result: Any) -> Tensor:
        """Nothing to do."""
        return torch.as_tensor(result)

    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Nothing to do."""
        return amplitudes


@dataclass(frozen=True)
class _FirstStates(AbstractReadout):
    """The first basis states: `count` of them (0 means one per qubit), in `order` (SPEC A9).

    Args:
        count: How many; 0 means as many as there are qubits.
        order: "little" counts as Qiskit does (wire 0 is the lowest bit), "big" as PennyLane does.
    """

    count: int = 0
    order: BitOrder = "little"

    def __post_init__(self) -> None:
        if self.order not in ("little", "big"):
            raise InvalidArgument.of("order", self.order, "choose 'little' or 'big'")
        if self.count < 0:
            raise InvalidArgument.of(
                "count", self.count, "give a number of basis states, or 0 for one per qubit"
            )

    def n_outputs(self, n_qubits: int) -> int:
        """`count`, at most 2**n_qubits."""
        return min(self.count or n_qubits, int(2**n_qubits))

    def _indices(self, n_qubits: int) -> list[int]:
        first = range(self.n_outputs(n_qubits))
        if self.order == "big":
            return list(first)
        return [int(format(k, f"0{n_qubits}b")[::-1], 2) for k in first]

    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Pick the entries of the first basis states."""
        n_qubits = (amplitudes.shape[dim] - 1).bit_length()
        return amplitudes.index_select(
            dim, torch.tensor(self._indices(n_qubits), device=amplitudes.device)
        )


@dataclass(frozen=True)
class FirstProbabilities(_FirstStates):
    """The probabilities of the first basis states (SPEC A8, A9)."""

    def measure(self, n_qubits: int) -> Any:
        """`qml.probs` of all wires."""
        return qml.probs(wires=range(n_qubits))

    def collect(self, result: Any) -> Tensor:
        """Pick the first basis states."""
        return self.select(torch.as_tensor(result), -1)


@dataclass(frozen=True)
class RealAmplitudes(_FirstStates):
    """The real parts of the first amplitudes (SPEC A10, `literal`), which depend on the global phase: not for hardware."""

    diagonal = False

    def measure(self, n_qubits: int) -> Any:
        """`qml.state`."""
        return qml.state()

    def collect(self, result: Any) -> Tensor:
        """Pick the real parts of the first amplitudes."""
        return self.select(torch.as_tensor(result).real, -1)
