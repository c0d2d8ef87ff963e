"""A circuit written down once, with symbolic angles."""

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml

from hybridq.circuits._angle import Angle, as_angle, symbols
from hybridq.circuits._ansatz import AbstractAnsatz
from hybridq.errors import InvalidArgument, NonAffineAngle

__all__ = ["FIXED_GATES", "ROTATION_GATES", "Gate", "Trace", "gates_of", "trace_ansatz"]

ROTATION_GATES = frozenset({"RX", "RY", "RZ", "PhaseShift", "GlobalPhase"})
FIXED_GATES = frozenset({"Hadamard", "PauliX", "PauliY", "PauliZ", "S", "T", "CNOT", "CZ", "SWAP"})
# The errors of NumPy and autoray when a function that they cannot apply meets a symbol.
_MEETING_A_SYMBOL = (TypeError, AttributeError, ImportError)


@dataclass(frozen=True)
class Gate:
    """One gate of the base set.

    Args:
        name: PennyLane's name, one of `ROTATION_GATES` or `FIXED_GATES`.
        wires: The wires it acts on, the control first. Wire 0 is the leftmost bit.
        angle: The angle in radians of a rotation gate, otherwise None.
    """

    name: str
    wires: tuple[int, ...]
    angle: Angle | None = None


@dataclass(frozen=True)
class Trace:
    """The gates of an ansatz, which every executor translates into its own form.

    Args:
        n_qubits: The number of wires.
        n_inputs: The number of inputs x.
        weight_shape: The shape of the weights w.
        gates: The gates in the order in which they act.
    """

    n_qubits: int
    n_inputs: int
    weight_shape: tuple[int, ...]
    gates: tuple[Gate, ...]

    @property
    def n_weights(self) -> int:
        """The number of weights."""
        return int(np.prod(self.weight_shape))

    @cached_property
    def angles(self) -> tuple[Angle, ...]:
        """The angles of the rotation gates, in order."""
        return tuple(gate.angle for gate in self.gates if gate.angle is not None)

    def affine(
        self,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Write all angles as A x + B w + c.

        Returns:
            A of shape (angles, n_inputs), B of shape (angles, n_weights) and c of shape (angles,),
            in radians.
        """
        a = np.zeros((len(self.angles), self.n_inputs))
        b = np.zeros((len(self.angles), self.n_weights))
        c = np.array([angle.constant for angle in self.angles])
        for row, angle in enumerate(self.angles):
            for (kind, index), factor in angle.terms.items():
                (a if kind == "x" else b)[row, index] = factor
        return a, b, c


def trace_ansatz(ansatz: AbstractAnsatz) -> Trace:
    """Call the ansatz once with symbols and write down its gates.

    Args:
        ansatz: The ansatz.

    Returns:
        The trace. Operations beyond the base gates are decomposed by PennyLane's own rules.

    Raises:
        NonAffineAngle: If an angle is not of the form a*x + b*w + c.
        InvalidArgument: If an operation has no decomposition into the base gates, measures, or acts
            on another wire.
    """
    inputs = symbols("x", (ansatz.n_inputs,))
    weights = symbols("w", ansatz.weight_shape)
    try:
        with qml.queuing.AnnotatedQueue() as queue:
            ansatz.apply(inputs, weights)
        tape = qml.tape.QuantumScript.from_queue(queue)
        gates = [gate for operation in tape.operations for gate in gates_of(operation)]
    except _MEETING_A_SYMBOL as error:
        raise NonAffineAngle(
            f"{ansatz} cannot be traced with symbolic angles ({error}). Keep angles of the form "
            "a*x + b*w + c, or run it on a PennyLane backend such as backend='default.qubit'."
        ) from error
    if tape.measurements:
        raise InvalidArgument.of(
            "ansatz", ansatz, "`apply` measures; measurements belong to the readout of the Circuit"
        )
    for gate in gates:
        if not set(gate.wires) <= set(range(ansatz.n_qubits)):
            raise InvalidArgument.of(
                "ansatz", ansatz, f"{gate.name} acts on {gate.wires}, outside wires 0..n_qubits-1"
            )
    return Trace(ansatz.n_qubits, ansatz.n_inputs, ansatz.weight_shape, tuple(gates))


def gates_of(operation: Any) -> list[Gate]:
    """Write a PennyLane operation in the base gates.

    Args:
        operation: A PennyLane operation, with numbers or symbols as parameters.

    Returns:
        The base gates; empty for identities and barriers.

    Raises:
        InvalidArgument: If it has no decomposition into them, or a wire is not an integer.
    """
    name = operation.name
    try:
        wires = tuple(operator.index(wire) for wire in operation.wires)
    except TypeError as error:
        labels = operation.wires.tolist()
        raise InvalidArgument.of(
            "ansatz", name, f"it acts on {labels}; wires are the integers 0..n_qubits-1"
        ) from error
    if name in ROTATION_GATES:
        return [Gate(name, wires, as_angle(operation.parameters[0]))]
    if name in FIXED_GATES:
        return [Gate(name, wires)]
    if name in {"Identity", "Barrier", "WireCut"}:
        return []
    if not operation.has_decomposition:
        base_gates = sorted(ROTATION_GATES | FIXED_GATES)
        raise InvalidArgument.of(
            "ansatz", name, f"this operation cannot be written in the gates {base_gates}"
        )
    return [gate for part in operation.decomposition() for gate in gates_of(part)]
