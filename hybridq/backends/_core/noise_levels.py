"""Noise of stated size: depolarising and damping after every gate, bits that are read wrongly."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pennylane as qml

from hybridq.backends._core.shift import Array
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES
from hybridq.errors import InvalidArgument, require

__all__ = ["NoiseLevels"]


@dataclass(frozen=True)
class NoiseLevels:
    """The strength of each kind of noise.

    After every gate, on each wire that it acts on, first the one and then the other:

        depolarising   rho -> (1 - p) rho + p/3 (X rho X + Y rho Y + Z rho Z)
        damping        rho -> K0 rho K0^T + K1 rho K1^T
                       with K0 = diag(1, sqrt(1 - g)) and K1 = sqrt(g) |0><1|

    Gates are those of the circuit, written in the base gates and not compiled further; a global
    phase has no noise. When a bit is read, it is flipped with probability r, each independently of
    its value and of the others.

    Args:
        depolarizing: p, the probability of a Pauli error: 3/4 leaves nothing of a qubit's state.
            Qiskit's is 4 p / 3.
        damping: g, the probability that an excited qubit decays.
        readout_error: r; at 1/2 the bits say nothing.

    Raises:
        InvalidArgument: If one of them is no probability.
    """

    depolarizing: float = 0.0
    damping: float = 0.0
    readout_error: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= 1:  # NaN neither
                way_out = "it is a probability: give a number from 0 to 1; 0 is no such noise"
                raise InvalidArgument.of(name, value, way_out)

    @property
    def on_gates(self) -> bool:
        """Whether gates carry noise."""
        return bool(self.depolarizing or self.damping)

    @property
    def acts(self) -> bool:
        """Whether there is any noise."""
        return self.on_gates or bool(self.readout_error)

    def refuse(self, reason: str) -> None:
        """Refuse the first level that is not 0.

        Raises:
            InvalidArgument: If there is one.
        """
        for name, value in asdict(self).items():
            if value:
                raise InvalidArgument.of(name, value, reason)

    def confusion(self, n_wires: int) -> list[Array]:
        """Return the readout error of each wire, P[prepared, read]; empty if there is none."""
        r = self.readout_error
        return [np.array([[1 - r, r], [r, 1 - r]])] * n_wires if r else []

    def aer_model(self, circuit: Any) -> Any:
        """Return the noise of the gates for Aer.

        Args:
            circuit: The Qiskit circuit whose gates carry it.

        Returns:
            A `NoiseModel`, without readout errors.
        """
        noise = require("qiskit_aer.noise", "ibm")
        p, model = self.depolarizing, noise.NoiseModel()
        pauli = noise.pauli_error([("I", 1 - p), ("X", p / 3), ("Y", p / 3), ("Z", p / 3)])
        error = pauli.compose(noise.amplitude_damping_error(self.damping))
        for name, width in {(gate.operation.name, len(gate.qubits)) for gate in circuit.data}:
            model.add_all_qubit_quantum_error(error if width == 1 else error.tensor(error), name)
        return model

    def queue(
        self, apply: Callable[[Any, Any], None], inputs: Any, weights: Any, n_wires: int
    ) -> None:
        """Queue PennyLane operations with their noise, and the flips of bits before the readout.

        Args:
            apply: Queues the operations without noise.
            inputs: Its first argument.
            weights: Its second argument.
            n_wires: The number of wires that are read.
        """
        with qml.QueuingManager.stop_recording():  # a decomposition queues itself
            gates = _base_gates(qml.tape.make_qscript(apply)(inputs, weights).operations)
        for gate in gates:
            qml.apply(gate)
            for wire in gate.wires:
                if self.depolarizing:
                    qml.DepolarizingChannel(self.depolarizing, wire)
                if self.damping:
                    qml.AmplitudeDamping(self.damping, wire)
        if self.readout_error:
            for wire in range(n_wires):
                qml.BitFlip(self.readout_error, wire)


def _base_gates(operations: Sequence[Any]) -> list[Any]:
    """Write operations in base gates, as `gates_of`, up to global phases.

    An operation without a decomposition stays as it is.
    """
    gates: list[Any] = []
    for operation in operations:
        if operation.name == "PhaseShift":
            # Of which default.mixed loses digits, and in a batch the gradient.
            gates.append(qml.RZ(operation.parameters[0], operation.wires))
        elif operation.name in ROTATION_GATES | FIXED_GATES or not operation.has_decomposition:
            gates.append(operation)
        else:
            gates += _base_gates(operation.decomposition())
    without_effect = {"GlobalPhase", "Identity", "Barrier", "WireCut"}
    return [gate for gate in gates if gate.name not in without_effect]
