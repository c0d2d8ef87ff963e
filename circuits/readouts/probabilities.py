"""The probability of each basis state."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits.readouts._readout import AbstractReadout

__all__ = ["Probabilities"]


@dataclass(frozen=True)
class Probabilities(AbstractReadout):
    """The probability of each of the 2**n basis states; wire 0 is the leftmost bit."""

    def n_outputs(self, n_qubits: int) -> int:
        """Return one per basis state."""
        return int(2**n_qubits)

    def measure(self, n_qubits: int) -> Any:
        """Return `qml.probs` of all wires."""
        return qml.probs(wires=range(n_qubits))

    def collect(self, result: Any) -> Tensor:
        """Return the probabilities as they are."""
        return torch.as_tensor(result)

    def select(self, amplitudes: Tensor, dim: int) -> Tensor:
        """Return the probabilities as they are."""
        return amplitudes
