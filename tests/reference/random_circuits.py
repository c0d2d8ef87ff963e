"""Random circuits of all base gates whose angles mix inputs, weights and constants."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pennylane as qml

from hybridq.circuits import AbstractAnsatz
from tests.reference.statevector import NamedGate, Real

ONE_WIRE = [
    "RX",
    "RY",
    "RZ",
    "PhaseShift",
    "GlobalPhase",
    "Hadamard",
    "PauliX",
    "PauliY",
    "PauliZ",
    "S",
    "T",
]
TWO_WIRES = ["CNOT", "CZ", "SWAP"]
ROTATIONS = {"RX", "RY", "RZ", "PhaseShift", "GlobalPhase"}


@dataclass(frozen=True)
class RandomAnsatz(AbstractAnsatz):
    """A circuit drawn from a seed.

    Angle k is a_k x + b_k w + c_k. Some angles are constant, and some weights are in many gates.
    """

    seed: int
    wires: int
    length: int = 24
    inputs: int = 2
    weights: tuple[int, ...] = (2, 2)

    @property
    def n_qubits(self) -> int:
        return self.wires

    @property
    def n_inputs(self) -> int:
        return self.inputs

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.weights

    @cached_property
    def gates(self) -> tuple[NamedGate, ...]:
        rng = np.random.default_rng([self.seed, 0])
        gates: list[NamedGate] = [("Hadamard", (wire,)) for wire in range(self.wires)]
        for _ in range(self.length):
            two = self.wires > 1 and rng.random() < 0.35
            name = str(rng.choice(TWO_WIRES if two else ONE_WIRE))
            gates.append(
                (name, tuple(int(wire) for wire in rng.permutation(self.wires)[: 2 if two else 1]))
            )
        return tuple(gates)

    @cached_property
    def affine(self) -> tuple[Real, Real, Real]:
        rng = np.random.default_rng([self.seed, 1])
        k = sum(name in ROTATIONS for name, _ in self.gates)
        a = rng.normal(size=(k, self.inputs)) * (rng.random((k, self.inputs)) < 0.4)
        n_weights = int(np.prod(self.weights))
        b = rng.normal(size=(k, n_weights)) * (rng.random((k, n_weights)) < 0.4)
        return a, b, rng.normal(size=k)

    def angles(self, inputs: Real, weights: Real) -> Real:
        a, b, c = self.affine
        return a @ inputs + b @ weights.ravel() + c

    def apply(self, inputs: Any, weights: Any) -> None:
        a, b, c = self.affine
        k = 0
        for name, wires in self.gates:
            if name not in ROTATIONS:
                getattr(qml, name)(wires=wires)
                continue
            angle: Any = float(c[k])
            for i in np.flatnonzero(a[k]):
                angle = angle + float(a[k, i]) * inputs[..., i]
            for j in np.flatnonzero(b[k]):
                index = np.unravel_index(j, self.weights)
                angle = angle + float(b[k, j]) * weights[(..., *map(int, index))]
            getattr(qml, name)(angle, wires=wires)
            k += 1
