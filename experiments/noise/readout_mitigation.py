"""Readout errors undone on any backend: two circuits measure them, and their inverse is applied."""

from dataclasses import dataclass, field
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends import (
    AbstractBackend,
    BackendDevice,
    Capabilities,
    inverse_confusion,
    resolve,
)
from hybridq.circuits import AbstractAnsatz, Circuit, Probabilities

__all__ = ["ReadoutMitigated"]


@dataclass(frozen=True)
class _Prepared(AbstractAnsatz):
    """All wires in 0, with no gate, or in 1, with one X each.

    Every bit that is read differently is a readout error.
    """

    n_qubits: int = 1
    ones: bool = False
    n_inputs: int = 0
    weight_shape: tuple[int, ...] = (0,)

    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue the X gates."""
        for wire in range(self.n_qubits if self.ones else 0):
            qml.X(wire)


@dataclass
class ReadoutMitigated(AbstractBackend):
    """Another backend, with its readout errors undone.

    This is done as on hardware, where the errors are not known and have to be measured. Every
    evaluation measures all wires in 0 and all wires in 1 with the same number of shots. This gives
    the confusion matrix A_w of each wire, and the measured frequencies are multiplied by the
    inverse of A_0 x A_1 x ... The estimate has more shot noise. Its only bias comes from errors of
    the X gates, which it takes for readout errors. An evaluation runs two circuits more than the
    backend alone.

    Args:
        inner: The backend that runs the circuits.
    """

    inner: AbstractBackend = field(default_factory=lambda: resolve("aer"))

    @property
    def name(self) -> str:
        """The name of the other backend."""
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        """Those of the other backend."""
        return self.inner.capabilities

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Make a PennyLane device that runs its tapes here."""
        return BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the other backend, and the mitigation."""
        return {
            **self.inner.provenance(),
            "readout_mitigation": "inverse of measured errors, wire by wire",
        }

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        bits = Circuit(circuit.ansatz, Probabilities())
        frequencies = self.inner.evaluate(bits, inputs, weights)  # (batch, 2**n)
        calibration = torch.cat(
            [self._calibrate(circuit.n_qubits, ones) for ones in (False, True)]
        )  # (2, 2**n)
        self.n_circuits_run = self.inner.n_circuits_run
        inverse = torch.from_numpy(inverse_confusion(calibration.numpy())).to(frequencies)
        matrix = circuit.readout.matrix(circuit.n_qubits, frequencies.dtype).to(frequencies.device)
        return frequencies @ (matrix @ inverse).mT

    def _calibrate(self, n_qubits: int, ones: bool) -> Tensor:
        """Measure all wires in 0 or all wires in 1; shape (1, 2**n)."""
        prepared = Circuit(_Prepared(n_qubits, ones), Probabilities())
        inputs = torch.zeros(1, 0, dtype=torch.float64)
        weights = torch.zeros(0, dtype=torch.float64)
        return self.inner.evaluate(prepared, inputs, weights)
