"""A circuit as a real QNode."""

import numpy as np
import pennylane as qml
import pytest
import torch

from hybridq.circuits import (
    AbstractReadout,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from hybridq.errors import UnknownName
from tests.reference.random_circuits import RandomAnsatz
from tests.reference.statevector import outputs_and_jacobian

READOUTS = [
    ("expval_z", ExpvalZ()),
    ("probabilities", Probabilities()),
    ("first_probabilities", FirstProbabilities()),
    ("real_amplitudes", RealAmplitudes()),
]
ANSATZ = RandomAnsatz(seed=7, wires=3)
X = torch.tensor([[0.3, -0.7], [1.1, 0.2]], dtype=torch.float64)
W = torch.linspace(-1, 1, 4, dtype=torch.float64).reshape(2, 2)


@pytest.mark.parametrize(("kind", "readout"), READOUTS, ids=[kind for kind, _ in READOUTS])
def test_it_agrees_with_numpy(kind: str, readout: AbstractReadout) -> None:
    circuit = Circuit(ANSATZ, readout)
    node = circuit.qnode("default.qubit")
    assert isinstance(node, qml.QNode)
    expected = [
        outputs_and_jacobian(ANSATZ.gates, ANSATZ.angles(x, W.numpy()), 3, kind)[0]
        for x in X.numpy()
    ]
    np.testing.assert_allclose(readout.collect(node(X, W)), expected, atol=1e-10, rtol=0)
    np.testing.assert_allclose(readout.collect(node(X[0], W)), expected[0], atol=1e-10, rtol=0)


def test_it_takes_a_device_or_a_backend() -> None:
    circuit = Circuit(ANSATZ)
    expected = circuit.readout.collect(circuit.qnode("default.qubit")(X, W))
    for backend in (qml.device("default.qubit", wires=3), "statevector"):
        found = circuit.readout.collect(circuit.qnode(backend)(X, W))
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_its_gradients_are_pennylanes() -> None:
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    circuit = Circuit(ANSATZ)
    circuit.readout.collect(circuit.qnode("default.qubit")(x, w)).sum().backward()
    a, b, _ = ANSATZ.affine
    slopes = [
        outputs_and_jacobian(ANSATZ.gates, ANSATZ.angles(p, W.numpy()), 3, "expval_z")[1].sum(0)
        for p in X.numpy()
    ]
    np.testing.assert_allclose(x.grad, np.array(slopes) @ a, atol=1e-10, rtol=0)
    np.testing.assert_allclose(
        w.grad, (np.array(slopes) @ b).sum(0).reshape(2, 2), atol=1e-10, rtol=0
    )


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*default\.qubit"):
        Circuit(ANSATZ).qnode("defualt.qubit")
