"""The probabilities of the first basis states."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits.readouts._first_states import FirstStates

__all__ = ["FirstProbabilities"]


@dataclass(frozen=True)
class FirstProbabilities(FirstStates):
    """The probabilities of the first basis states (SPEC A8, A9).

    Args:
        count: The number of basis states; 0 means one per qubit.
        order: "little" counts as Qiskit does (wire 0 is the lowest bit), "big" as PennyLane does.

    Raises:
        InvalidArgument: If `count` is negative, or there is no such order.
    """

    def measure(self, n_qubits: int) -> Any:
        """Return `qml.probs` of all wires."""
        return qml.probs(wires=range(n_qubits))

    def collect(self, result: Any) -> Tensor:
        """Pick the first basis states."""
        return self.select(torch.as_tensor(result), -1)
