"""The expectation value of Z on each wire."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits.readouts._readout import AbstractReadout

__all__ = ["ExpvalZ"]


@dataclass(frozen=True)
class ExpvalZ(AbstractReadout):
    """The expectation value of Z on each wire; outputs in [-1, 1] (SPEC A8).

    Example:
        >>> ExpvalZ().matrix(1)
        tensor([[ 1., -1.]], dtype=torch.float64)
    """

    averaged = True

    def n_outputs(self, n_qubits: int) -> int:
        """Return one per wire."""
        return n_qubits

    def measure(self, n_qubits: int) -> Any:
        """Return `qml.expval(Z(i))` for each wire."""
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
            bits = probabilities.unflatten(-1, (2**wire, 2, -1))  # type: ignore[no-untyped-call]
            halves = bits.sum((-3, -1))  # (..., 2): the probability of 0 and of 1
            outputs.append(halves[..., 0] - halves[..., 1])
        return torch.stack(outputs, -1).movedim(-1, dim)
