"""From a traced circuit to the gates and qubits of a device.

A circuit is written for Qiskit, compiled by Qiskit's pass manager with the device's calibration,
and cut down to the qubits that it uses. Qiskit's bit order is undone here and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hybridq.backends._core.shift import Array, ParametrisedCircuit
from hybridq.circuits import Gate
from hybridq.errors import BackendUnavailable, InvalidArgument, require

__all__ = ["Compiler", "PhysicalCircuit", "bindings", "compact", "order_amplitudes", "to_qiskit"]

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
        """The qubits to save or measure so that wire 0 is the leftmost bit.

        Qiskit's first qubit is its rightmost bit.
        """
        return list(reversed(self.wires))

    def saving(self, diagonal: bool) -> Any:
        """Add Aer's instruction that saves what is wanted.

        Args:
            diagonal: Whether the probabilities of the wires are saved, not the amplitudes.

        Returns:
            A copy of the circuit, with the instruction at its end.
        """
        circuit = self.circuit.copy()
        if diagonal:
            circuit.save_probabilities(self.readout_order)
        else:
            circuit.save_statevector()
        return circuit


@dataclass(eq=False)
class Compiler:
    """Compiles circuits for one device.

    Args:
        device: Qiskit's backend, whose target has the gates, the couplings and their errors; None
            connects all qubits.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose those with the
            smallest errors.
        optimization_level: Qiskit's, 0 to 3.
        basis: The gates to compile for where there is no device; None leaves those of the circuit.
    """

    device: Any
    initial_layout: tuple[int, ...] | None
    optimization_level: int = 2
    basis: tuple[str, ...] | None = None
    transpilations: int = field(default=0, init=False)

    def compile(self, parametrised: ParametrisedCircuit) -> PhysicalCircuit:
        """Compile a circuit, and cut the result down to the qubits that it uses.

        Raises:
            BackendUnavailable: If the circuit does not fit the device.
            InvalidArgument: If `initial_layout` does not fit the circuit.
        """
        n_qubits = parametrised.trace.n_qubits
        if self.device is not None:
            self._check(n_qubits)
        circuit, parameters = to_qiskit(parametrised)
        self.transpilations += 1
        try:
            compiled = self._passes.run(circuit)
        except require("qiskit.transpiler.exceptions", "ibm").TranspilerError as error:
            raise BackendUnavailable(
                f"Qiskit cannot compile this circuit for {self.device.name!r}: {error}"
            ) from error
        return compact(compiled, n_qubits, parameters)

    def _check(self, n_qubits: int) -> None:
        if n_qubits > self.device.num_qubits:
            raise BackendUnavailable(
                f"n_qubits={n_qubits}: the device {self.device.name!r} has "
                f"{self.device.num_qubits} qubits"
            )
        layout = self.initial_layout
        if layout is None:
            return
        existing = set(layout) & set(range(self.device.num_qubits))
        if not len(layout) == len(existing) == n_qubits:
            way_out = f"give one qubit of {self.device.name!r} for each of {n_qubits} wires"
            raise InvalidArgument.of("initial_layout", layout, way_out)

    @cached_property
    def _passes(self) -> Any:
        # Made once: the target of an AerSimulator is rebuilt at every access, and that of a device
        # takes 0.2 s.
        transpiler = require("qiskit.transpiler", "ibm")
        if self.device is None:  # all of our gates are Aer's own
            gates = None if self.basis is None else list(self.basis)
            return transpiler.generate_preset_pass_manager(optimization_level=0, basis_gates=gates)
        layout = None if self.initial_layout is None else list(self.initial_layout)
        return transpiler.generate_preset_pass_manager(
            optimization_level=self.optimization_level,
            target=self.device.target,
            initial_layout=layout,
            seed_transpiler=0,
        )


def to_qiskit(parametrised: ParametrisedCircuit) -> tuple[Any, tuple[Any, ...]]:
    """Write a circuit for Qiskit, wire i on qubit i.

    Args:
        parametrised: The circuit.

    Returns:
        The `QuantumCircuit` and its parameters, in the order of the columns of an array of angles.

    Raises:
        MissingExtra: If Qiskit is not installed.
    """
    qiskit = require("qiskit.circuit", "ibm")
    parameters = tuple(qiskit.Parameter(f"t{k}") for k in range(len(parametrised.names)))
    circuit = qiskit.QuantumCircuit(parametrised.trace.n_qubits)
    free = iter(parameters)
    for gate in parametrised.trace.gates:
        angle = None
        if gate.angle is not None:
            angle = next(free) if gate.angle.terms else gate.angle.constant
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
    layout = compiled.layout
    final = list(range(n_wires)) if layout is None else layout.final_index_layout()
    index = {qubit: number for number, qubit in enumerate(compiled.qubits)}
    touched = {index[qubit] for instruction in compiled.data for qubit in instruction.qubits}
    used = sorted(touched | set(final))
    quantum_circuit = require("qiskit.circuit", "ibm").QuantumCircuit
    small = quantum_circuit(len(used), global_phase=compiled.global_phase)
    for instruction in compiled.data:
        qubits = [used.index(index[qubit]) for qubit in instruction.qubits]
        small.append(instruction.operation, qubits)
    wires = tuple(used.index(qubit) for qubit in final)
    return PhysicalCircuit(small, tuple(parameters), tuple(used), wires)


def bindings(physical: PhysicalCircuit, points: Array) -> dict[Any, Array]:
    """Map each parameter to its values.

    A bare array would be bound in the order of the parameters' names.

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
