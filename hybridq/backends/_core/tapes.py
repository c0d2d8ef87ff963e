"""The one reader of PennyLane tapes: base gates, rows of their angles, and what is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml

from hybridq.backends._core.shift import Array
from hybridq.circuits import AbstractAnsatz, gates_of
from hybridq.circuits._angle import as_angle
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES

__all__ = ["WITHOUT_EFFECT", "Gates", "Indices", "TapeAnsatz", "TapeReading", "read_tape"]

Gates = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and wires of each gate, in order."""
Indices = npt.NDArray[np.int64]

WITHOUT_EFFECT = frozenset({"Identity", "Barrier", "WireCut", "Snapshot"})
"""Operations that change no state."""


@dataclass(frozen=True)
class TapeAnsatz(AbstractAnsatz):
    """The gates of a tape with their angles as inputs: tapes of one structure are one circuit.

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


@dataclass(frozen=True, eq=False)
class TapeReading:
    """A tape in base gates, with the angles apart, so that tapes of one structure are told.

    Args:
        wires: The tape's wires, leftmost bit first. The numbers in `gates` are places in it.
        gates: The base gates.
        angles: One row for each point of a broadcast tape, otherwise one; shape (batch, K),
            radians.
        columns: The column of each parameter of the tape's operations; None for one that is not
            the angle of a base gate.
        trainable: The numbers of the parameters that are trained.
        measurements: PennyLane's measurements.
    """

    wires: tuple[Any, ...]
    gates: Gates
    angles: Array
    columns: tuple[int | None, ...]
    trainable: tuple[int, ...]
    measurements: tuple[Any, ...]

    @property
    def trained_columns(self) -> tuple[int | None, ...]:
        """The column of each trained parameter."""
        return tuple(self.columns[number] for number in self.trainable)

    def outcomes(self, measurement: Any, n_qubits: int) -> Indices:
        """Return of each basis state which outcome it is of a measurement, shape (2**n_qubits,).

        Args:
            measurement: One that is diagonal in the Z basis.
            n_qubits: Number of qubits of the basis states.
        """
        measured = measurement.wires or self.wires
        return _outcomes(n_qubits, tuple(self.wires.index(wire) for wire in measured))


def read_tape(tape: Any, wires: Sequence[Any], phases: bool = True) -> TapeReading:
    """Read a tape.

    Args:
        tape: The tape. Operations that are not of the base gates are decomposed; they act on the
            wires 0..n-1 and have one point.
        wires: All of its wires, leftmost bit first.
        phases: Whether global phases are kept; they change no probability.

    Returns:
        The reading.

    Raises:
        InvalidArgument: If an operation has no decomposition into the base gates.
    """
    number = {wire: place for place, wire in enumerate(wires)}
    gates: list[tuple[str, tuple[int, ...]]] = []
    angles: list[Array] = []
    columns: list[int | None] = []
    for operation in tape.operations:
        parts = _parts(operation, phases)
        is_base_gate = len(parts) == 1 and parts[0][0] == operation.name
        columns += [len(angles) if is_base_gate else None] * len(operation.parameters)
        for name, gate_wires, angle in parts:
            gates.append((name, tuple(number[wire] for wire in gate_wires)))
            if angle is not None:
                angles.append(angle)
    rows = np.empty((tape.batch_size or 1, len(angles)))
    for column, angle in enumerate(angles):
        rows[:, column] = angle
    trainable = tuple(tape.trainable_params)
    return TapeReading(
        tuple(wires), tuple(gates), rows, tuple(columns), trainable, tuple(tape.measurements)
    )


def _parts(operation: Any, phases: bool) -> list[tuple[str, tuple[Any, ...], Array | None]]:
    """Write an operation as name, wires and angle of base gates."""
    name = operation.name
    if name in WITHOUT_EFFECT or (name == "GlobalPhase" and not phases):
        return []
    if name in ROTATION_GATES:
        return [(name, tuple(operation.wires), _numbers(operation.parameters[0]))]
    if name in FIXED_GATES:
        return [(name, tuple(operation.wires), None)]
    return [
        (gate.name, gate.wires, None if gate.angle is None else np.asarray(gate.angle.constant))
        for gate in gates_of(operation)
        if phases or gate.name != "GlobalPhase"
    ]


def _numbers(parameter: Any) -> Array:
    """Return an angle as an array: shape (), or (batch,) of a broadcast tape."""
    if qml.math.ndim(parameter) == 0:
        return np.asarray(as_angle(parameter).constant)
    return np.asarray(parameter, dtype=np.float64)


@lru_cache(maxsize=256)
def _outcomes(n_qubits: int, places: tuple[int, ...]) -> Indices:
    states = np.arange(2**n_qubits)
    outcomes = np.zeros(2**n_qubits, dtype=np.int64)
    for place in places:
        outcomes = outcomes << 1 | states >> (n_qubits - 1 - place) & 1
    return outcomes
