"""hybridq's own engine: exact, embedded, on the device where the tensors are."""

from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq import __version__
from hybridq.backends._adapter import BackendDevice
from hybridq.backends._contract import AbstractBackend, Capabilities
from hybridq.circuits import Circuit
from hybridq.engine import MAX_QUBITS, evaluate

__all__ = ["Statevector"]


@dataclass
class Statevector(AbstractBackend):
    """The default backend: batched state vectors in torch, with gradients by a reversible adjoint.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
        >>> Statevector().evaluate(circuit, torch.zeros(1, 1), torch.zeros(1, 1, 2)).abs() < 1e-6
        tensor([[True]])
    """

    @property
    def name(self) -> str:
        """`statevector`."""
        return "statevector"

    @property
    def capabilities(self) -> Capabilities:
        """Exact, up to 20 qubits."""
        return Capabilities(exact=True, gradient="adjoint", max_qubits=MAX_QUBITS)

    def device(self, n_qubits: int) -> qml.devices.Device:
        """A PennyLane device that runs its tapes on this engine."""
        return BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Name and versions."""
        return {"backend": self.name, "hybridq": __version__, "torch": torch.__version__, "shots": None, "noise": None}

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        self.n_circuits_run += len(inputs)
        return evaluate(circuit, inputs, weights)
