"""An ansatz made of any function, and the matrix of base gates in NumPy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridq.circuits import AbstractAnsatz, Angle, Gate
from tests.reference.statevector import FIXED, Complex, embed, rotation


@dataclass(frozen=True)
class Queues(AbstractAnsatz):
    """An ansatz that queues what `gates(inputs, weights)` queues."""

    gates: Callable[[Any, Any], Any]
    wires: int = 1
    inputs: int = 1
    weights: tuple[int, ...] = (3,)

    @property
    def n_qubits(self) -> int:
        return self.wires

    @property
    def n_inputs(self) -> int:
        return self.inputs

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.weights

    def apply(self, inputs: Any, weights: Any) -> None:
        self.gates(inputs, weights)


def value(angle: Angle, x: Sequence[float], w: Sequence[float] = ()) -> float:
    return angle.constant + sum(
        a * {"x": x, "w": w}[kind][i] for (kind, i), a in angle.terms.items()
    )


def unitary(
    gates: Sequence[Gate], n: int, x: Sequence[float] = (), w: Sequence[float] = ()
) -> Complex:
    """Multiply the matrices of base gates on n wires."""
    product = np.eye(2**n, dtype=complex)
    for gate in gates:
        matrix = (
            FIXED[gate.name] if gate.angle is None else rotation(gate.name, value(gate.angle, x, w))
        )
        product = (
            matrix[0, 0] * product
            if gate.name == "GlobalPhase"
            else embed(matrix, gate.wires, n) @ product
        )
    return product
