"""QNodes for the tests of `hybridq.qiskit`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits import Circuit, RyRzCnot

__all__ = ["HERMITIAN", "MEASUREMENTS", "SPINE", "flat", "node", "spine", "tensors"]

SPINE = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
HERMITIAN = np.array([[1.0, 0.3 - 0.2j], [0.3 + 0.2j, -0.5]])
MEASUREMENTS: dict[str, Callable[[Any], Any]] = {
    "expval": lambda w: [qml.expval(qml.Z(wire)) for wire in w],
    "words": lambda w: [
        qml.expval(qml.X(w[0]) @ qml.Y(w[1])),
        qml.expval(qml.Y(w[1]) @ qml.Z(w[2])),
        qml.var(qml.X(w[0])),
    ],
    "hamiltonian": lambda w: qml.expval(
        0.5 * qml.Z(w[0]) @ qml.Z(w[2]) - 1.5 * qml.X(w[1]) + 0.25 * qml.Y(w[0])
    ),
    "hermitian": lambda w: [
        qml.expval(qml.Hermitian(HERMITIAN, w[0])),
        qml.var(qml.Hermitian(HERMITIAN, w[2])),
    ],
    "projector": lambda w: qml.expval(qml.Projector([1, 0], [w[2], w[0]])),
    "var": lambda w: qml.var(qml.Z(w[2]) @ qml.Z(w[0])),
    "variance of a sum": lambda w: [
        qml.var(qml.Z(w[0]) + 2 * qml.Z(w[1])),
        qml.var(qml.Z(w[2]) + qml.X(w[2]) @ qml.Y(w[0])),
    ],
    "probs": lambda w: qml.probs(wires=[w[2], w[0]]),
    "all probs": lambda w: qml.probs(),
    "probs of an observable": lambda w: qml.probs(op=qml.X(w[1])),
    "mixed": lambda w: [qml.probs(wires=[w[1]]), qml.var(qml.Z(w[0])), qml.expval(qml.X(w[2]))],
}


def gates(wires: Any, x: Any, y: Any) -> None:
    qml.StatePrep(np.array([0.6, 0.8]), wires=wires[1])
    qml.Hadamard(wires[0])
    qml.CRY(x, [wires[0], wires[1]])
    qml.RY(0.3 * x, wires[0])
    qml.Rot(y, x, torch.tensor(0.3), wires=wires[2])
    qml.IsingXX(y, [wires[1], wires[2]])
    qml.GlobalPhase(y)
    qml.RZ(x * y, wires[0])


def node(device: Any, measurement: Callable[[Any], Any], wires: Any) -> Any:
    @qml.qnode(device, interface="torch")
    def run(x: Any, y: Any) -> Any:
        gates(wires, x, y)
        return measurement(wires)

    return run


def flat(result: Any) -> Tensor:
    return torch.cat(
        [
            torch.as_tensor(part).reshape(-1)
            for part in (result if isinstance(result, tuple | list) else [result])
        ]
    )


def spine(device: Any, shots: int | None = None) -> Any:
    return qml.set_shots(SPINE.qnode(device), shots)


def tensors(batch: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 1, generator=random, dtype=torch.float64).requires_grad_()
    return inputs, torch.randn(
        SPINE.weight_shape, generator=random, dtype=torch.float64
    ).requires_grad_()
