"""From a trace to one parametrised Qiskit circuit. Qiskit's bit order is undone here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridq.backends._core.shift import Array, Parametrised
from hybridq.circuits import Gate
from hybridq.errors import require

__all__ = ["PhysicalCircuit", "bindings", "compact", "order_amplitudes", "to_qiskit"]

_GATES = {
    "RX": "RXGate",
    "RY": "RYGate",
    "RZ": "RZGate",
    "PhaseShift": "PhaseGate",
    "Hadamard": "HGate",
    "PauliX": "XGate",
    "PauliY": "YGate",
    "PauliZ": "ZGate",
    "S": "SGate",
    "T": "TGate",
    "CNOT": "CXGate",
    "CZ": "CZGate",
    "SWAP": "SwapGate",
}


@dataclass(frozen=True, eq=False)
class PhysicalCircuit:
    """A compiled circuit on the qubits that it uses, and on no others.

    Args:
        circuit: The Qiskit circuit, without measurements.
        parameters: Its parameters, in the order of the columns of an array of angles.
        physical: The device's number of each qubit of `circuit`.
        wires: The qubit of `circuit` that holds each wire at the end.
    """

    circuit: Any
    parameters: tuple[Any, ...]
    physical: tuple[int, ...]
    wires: tuple[int, ...]

    @property
    def readout_order(self) -> list[int]:
        """The qubits to save or measure so that wire 0 is the leftmost bit: Qiskit's first qubit is its rightmost bit."""
        return list(reversed(self.wires))

    def saving(self, diagonal: bool) -> Any:
        """The circuit with Aer's instruction that saves the probabilities of the wires, or the amplitudes."""
        circuit = self.circuit.copy()
        if diagonal:
            circuit.save_probabilities(self.readout_order)
        else:
            circuit.save_statevector()
        return circuit


def to_qiskit(form: Parametrised) -> tuple[Any, tuple[Any, ...]]:
    """Write a circuit for Qiskit, wire i on qubit i.

    Args:
        form: The parametrised trace.

    Returns:
        The `QuantumCircuit` and its parameters, in the order of the columns of an array of angles.

    Raises:
        MissingExtra: If Qiskit is not installed.
    """
    qiskit = require("qiskit.circuit", "ibm")
    parameters = tuple(qiskit.Parameter(f"t{k}") for k in range(len(form.names)))
    circuit = qiskit.QuantumCircuit(form.trace.n_qubits)
    free = iter(parameters)
    for gate in form.trace.gates:
        angle = (
            None if gate.angle is None else next(free) if gate.angle.terms else gate.angle.constant
        )
        _append(circuit, gate, angle)
    return circuit, parameters


def _append(circuit: Any, gate: Gate, angle: Any) -> None:
    library = require("qiskit.circuit.library", "ibm")
    if gate.name == "GlobalPhase":
        # exp(-i t) as four gates on qubit 0: Aer cannot bind a parametrised global phase for many
        # points at once.
        for _ in range(2):
            circuit.p(-angle, 0)
            circuit.x(0)
        return
    make = vars(library)[_GATES[gate.name]]
    circuit.append(make() if angle is None else make(angle), gate.wires)


def compact(compiled: Any, n_wires: int, parameters: Sequence[Any]) -> PhysicalCircuit:
    """Cut a compiled circuit down to the qubits that it uses.

    Args:
        compiled: What a pass manager returned, as wide as the device, without measurements.
        n_wires: Number of wires of the circuit before compilation.
        parameters: The parameters in order.
    """
    # A pass manager that moved nothing leaves no layout.
    final = (
        list(range(n_wires)) if compiled.layout is None else compiled.layout.final_index_layout()
    )
    index = {qubit: number for number, qubit in enumerate(compiled.qubits)}
    used = sorted(
        {index[qubit] for instruction in compiled.data for qubit in instruction.qubits} | set(final)
    )
    small = require("qiskit.circuit", "ibm").QuantumCircuit(
        len(used), global_phase=compiled.global_phase
    )
    for instruction in compiled.data:
        small.append(
            instruction.operation, [used.index(index[qubit]) for qubit in instruction.qubits]
        )
    return PhysicalCircuit(
        small, tuple(parameters), tuple(used), tuple(used.index(qubit) for qubit in final)
    )


def bindings(physical: PhysicalCircuit, points: Array) -> dict[Any, Array]:
    """Map each parameter to its values: a bare array would be bound in the order of the parameters' names.

    Args:
        physical: The circuit.
        points: Shape (points, K), radians.
    """
    return {p: np.ascontiguousarray(points[:, k]) for k, p in enumerate(physical.parameters)}


def order_amplitudes(
    physical: PhysicalCircuit, states: npt.NDArray[np.complex128]
) -> npt.NDArray[np.complex128]:
    """Reorder Qiskit's state vectors so that wire 0 is the leftmost bit.

    Args:
        physical: A circuit that uses no other qubits than its wires.
        states: Shape (points, 2**n).
    """
    n = len(physical.wires)
    axes = [n - qubit for qubit in physical.wires]  # Qiskit's first qubit is the last axis
    return states.reshape(-1, *[2] * n).transpose(0, *axes).reshape(states.shape)
