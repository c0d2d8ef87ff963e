"""A PennyLane device that runs its tapes on a backend of hybridq: what makes `circuit.qnode("aer")` a real QNode."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml
import torch
from pennylane.devices import ExecutionConfig
from pennylane.devices import preprocess as checks
from pennylane.devices.modifiers import simulator_tracking, single_tape_support

from hybridq.backends._contract import AbstractBackend
from hybridq.circuits import AbstractAnsatz, AbstractReadout, Circuit, Probabilities, RealAmplitudes, gates_of
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES
from hybridq.errors import BackendUnavailable

__all__ = ["BackendDevice"]

Gates = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _TapeAnsatz(AbstractAnsatz):
    """The gates of a tape with their angles as inputs, so that tapes of one structure are one circuit.

    Args:
        wires: Number of wires.
        gates: Name and wires of each gate.
    """

    wires: int
    gates: Gates

    @property
    def n_qubits(self) -> int:
        """Number of wires."""
        return self.wires

    @property
    def n_inputs(self) -> int:
        """Number of angles."""
        return sum(name in ROTATION_GATES for name, _ in self.gates)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """No weights."""
        return (0,)

    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue the gates."""
        column = 0
        for name, wires in self.gates:
            if name in ROTATION_GATES:
                getattr(qml, name)(inputs[..., column], wires=wires)
                column += 1
            else:
                getattr(qml, name)(wires=wires)


@simulator_tracking
@single_tape_support
class BackendDevice(qml.devices.Device):  # type: ignore[misc]
    """A PennyLane device on a backend. PennyLane differentiates it by parameter shift.

    Tapes of one structure are evaluated as one batch: the shifted circuits of a gradient are one job.

    Args:
        backend: The backend. Shots are its option, not the QNode's.
        n_qubits: Number of wires, 0..n_qubits-1.
    """

    def __init__(self, backend: AbstractBackend, n_qubits: int) -> None:
        super().__init__(wires=range(n_qubits))
        self.backend = backend

    @property
    def name(self) -> str:
        """The backend's name with "hybridq." before it."""
        return f"hybridq.{self.backend.name}"

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """Bring tapes to the base gates, one point each, measured in the Z basis."""
        program = qml.CompilePipeline()
        program.add_transform(checks.validate_device_wires, wires=self.wires, name=self.name)
        program.add_transform(qml.transforms.split_non_commuting)
        program.add_transform(qml.transforms.diagonalize_measurements)
        program.add_transform(
            checks.decompose,
            target_gates=ROTATION_GATES | FIXED_GATES,
            stopping_condition=lambda operation: operation.name in ROTATION_GATES | FIXED_GATES,
            skip_initial_state_prep=False,
            name=self.name,
        )
        program.add_transform(qml.transforms.broadcast_expand)
        return program

    def execute(self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None) -> tuple[Any, ...]:
        """Run tapes, those of one structure together.

        Raises:
            BackendUnavailable: If the QNode sets shots, or measures what this backend cannot.
        """
        groups: dict[tuple[Gates, bool], list[int]] = defaultdict(list)
        angles = []
        for number, tape in enumerate(circuits):
            if tape.shots:
                raise BackendUnavailable(f"shots={tape.shots.total_shots}: set them on the backend: Aer(shots=...)")
            gates = [gate for operation in tape.operations for gate in gates_of(operation)]
            angles.append([gate.angle.constant for gate in gates if gate.angle is not None])
            states = any(isinstance(m, qml.measurements.StateMP) for m in tape.measurements)
            groups[tuple((gate.name, gate.wires) for gate in gates), states].append(number)
        results: list[Any] = [None] * len(angles)
        for (structure, states), numbers in groups.items():
            ansatz = _TapeAnsatz(len(self.wires), structure)
            entries = self._run(ansatz, [angles[number] for number in numbers], states)
            for row, number in zip(entries, numbers, strict=True):
                values = tuple(_measure(m, row) for m in circuits[number].measurements)
                results[number] = values if len(values) > 1 else values[0]
        return tuple(results)

    def _run(self, ansatz: _TapeAnsatz, angles: list[list[float]], states: bool) -> npt.NDArray[Any]:
        if not states:
            return self._evaluate(ansatz, Probabilities(), angles)
        readout = RealAmplitudes(2**ansatz.n_qubits, "big")
        # The imaginary part of z is the real part of exp(-i pi/2) z.
        turned = _TapeAnsatz(ansatz.wires, (*ansatz.gates, ("GlobalPhase", ())))
        imaginary = self._evaluate(turned, readout, [[*row, np.pi / 2] for row in angles])
        return self._evaluate(ansatz, readout, angles) + 1j * imaginary

    def _evaluate(self, ansatz: _TapeAnsatz, readout: AbstractReadout, angles: list[list[float]]) -> npt.NDArray[np.float64]:
        inputs = torch.tensor(angles, dtype=torch.float64).reshape(len(angles), ansatz.n_inputs)
        return self.backend.evaluate(Circuit(ansatz, readout), inputs, inputs.new_empty(0)).numpy()


def _measure(measurement: Any, entries: npt.NDArray[Any]) -> Any:
    if isinstance(measurement, qml.measurements.StateMP):
        return entries
    n_qubits = (len(entries) - 1).bit_length()
    wires = list(measurement.wires) or list(range(n_qubits))
    rest = tuple(wire for wire in range(n_qubits) if wire not in wires)
    marginal = entries.reshape([2] * n_qubits).transpose(*wires, *rest).reshape(2 ** len(wires), -1).sum(1)
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        return marginal
    if isinstance(measurement, qml.measurements.ExpectationMP):
        return np.dot(measurement.eigvals(), marginal)
    raise BackendUnavailable(f"{measurement}: this device measures qml.expval, qml.probs and qml.state")
