"""The real parts of the first amplitudes."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits.readouts._first_states import FirstStates

__all__ = ["RealAmplitudes"]


@dataclass(frozen=True)
class RealAmplitudes(FirstStates):
    """The real parts of the first amplitudes (SPEC A10, `literal`).

    They depend on the global phase, which no hardware can measure.

    Args:
        count: The number of basis states; 0 means one per qubit.
        order: "little" counts as Qiskit does (wire 0 is the lowest bit), "big" as PennyLane does.

    Raises:
        InvalidArgument: If `count` is negative, or there is no such order.
    """

    diagonal = False

    def measure(self, n_qubits: int) -> Any:
        """Return `qml.state`."""
        return qml.state()

    def collect(self, result: Any) -> Tensor:
        """Pick the real parts of the first amplitudes."""
        return self.select(torch.as_tensor(result).real, -1)
