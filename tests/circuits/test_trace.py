"""The symbolic trace: affine angles, what is refused, and decompositions.

Decompositions are equal with their global phase.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch

from hybridq.backends import resolve
from hybridq.circuits import Angle, Circuit, gates_of
from hybridq.circuits._angle import symbols
from hybridq.errors import InvalidArgument, NonAffineAngle
from tests.circuits._ansaetze import Queues, unitary

VALUES = (0.37, -1.1, 2.3)
# Operations with up to three angles, and their number of wires.
PARAMETRISED: dict[str, tuple[Callable[..., Any], int]] = {
    "Rot": (lambda a, b, c: qml.Rot(a, b, c, 0), 1),
    "U1": (lambda a, b, c: qml.U1(a, 0), 1),
    "U2": (lambda a, b, c: qml.U2(a, b, 0), 1),
    "U3": (lambda a, b, c: qml.U3(a, b, c, 0), 1),
    "CRX": (lambda a, b, c: qml.CRX(a, [1, 0]), 2),
    "CRY": (lambda a, b, c: qml.CRY(a, [0, 1]), 2),
    "CRZ": (lambda a, b, c: qml.CRZ(a, [0, 1]), 2),
    "CRot": (lambda a, b, c: qml.CRot(a, b, c, [0, 1]), 2),
    "ControlledPhaseShift": (lambda a, b, c: qml.ControlledPhaseShift(a, [1, 0]), 2),
    "CPhaseShift00": (lambda a, b, c: qml.CPhaseShift00(a, [1, 0]), 2),
    "IsingXX": (lambda a, b, c: qml.IsingXX(a, [0, 1]), 2),
    "IsingYY": (lambda a, b, c: qml.IsingYY(a, [0, 1]), 2),
    "IsingZZ": (lambda a, b, c: qml.IsingZZ(a, [0, 1]), 2),
    "IsingXY": (lambda a, b, c: qml.IsingXY(a, [0, 1]), 2),
    "PSWAP": (lambda a, b, c: qml.PSWAP(a, [0, 1]), 2),
    "MultiRZ": (lambda a, b, c: qml.MultiRZ(a, [0, 1, 2]), 3),
    "PauliRot": (lambda a, b, c: qml.PauliRot(a, "XYZ", [0, 1, 2]), 3),
    "PCPhase": (lambda a, b, c: qml.PCPhase(a, 2, [0, 1]), 2),
    "SingleExcitation": (lambda a, b, c: qml.SingleExcitation(a, [0, 1]), 2),
    "DoubleExcitation": (lambda a, b, c: qml.DoubleExcitation(a, [0, 1, 2, 3]), 4),
    "GlobalPhase": (lambda a, b, c: qml.GlobalPhase(a), 1),
    "adjoint(RX)": (lambda a, b, c: qml.adjoint(qml.RX(a, 0)), 1),
    "adjoint(Rot)": (lambda a, b, c: qml.adjoint(qml.Rot(a, b, c, 0)), 1),
    "ctrl(RX) on 0": (lambda a, b, c: qml.ctrl(qml.RX(a, 0), 1, control_values=[0]), 2),
    "ctrl(GlobalPhase)": (lambda a, b, c: qml.ctrl(qml.GlobalPhase(a), 0), 1),
    "RY squared": (lambda a, b, c: qml.pow(qml.RY(a, 0), 2), 1),
    "product": (lambda a, b, c: qml.prod(qml.RX(a, 0), qml.RY(b, 1), qml.CNOT([1, 0])), 2),
}
FIXED: dict[str, tuple[Callable[[], Any], int]] = {
    "SX": (lambda: qml.SX(0), 1),
    "adjoint(S)": (lambda: qml.adjoint(qml.S(0)), 1),
    "adjoint(T)": (lambda: qml.adjoint(qml.T(0)), 1),
    "adjoint(SX)": (lambda: qml.adjoint(qml.SX(0)), 1),
    "S cubed": (lambda: qml.pow(qml.S(0), 3), 1),
    "CY": (lambda: qml.CY([0, 1]), 2),
    "CH": (lambda: qml.CH([1, 0]), 2),
    "ctrl(S)": (lambda: qml.ctrl(qml.S(0), 1), 2),
    "ISWAP": (lambda: qml.ISWAP([0, 1]), 2),
    "SISWAP": (lambda: qml.SISWAP([0, 1]), 2),
    "ECR": (lambda: qml.ECR([0, 1]), 2),
    "CCZ": (lambda: qml.CCZ([0, 1, 2]), 3),
    "Toffoli": (lambda: qml.Toffoli([2, 0, 1]), 3),
    "CSWAP": (lambda: qml.CSWAP([2, 0, 1]), 3),
    "MultiControlledX": (lambda: qml.MultiControlledX(wires=[0, 1, 2], control_values=[0, 1]), 3),
    "QFT": (lambda: qml.QFT([0, 1, 2]), 3),
    "GroverOperator": (lambda: qml.GroverOperator([0, 1, 2]), 3),
    "Permute": (lambda: qml.Permute([2, 0, 1], [0, 1, 2]), 3),
    "QubitUnitary": (lambda: qml.QubitUnitary(qml.IsingXX.compute_matrix(0.3), [0, 1]), 2),
    "DiagonalQubitUnitary": (
        lambda: qml.DiagonalQubitUnitary(np.exp(1j * np.arange(4)), [0, 1]),
        2,
    ),
    "Identity": (lambda: qml.Identity(0), 1),
    "Barrier": (lambda: qml.Barrier([0, 1]), 2),
}


@pytest.mark.parametrize("name", PARAMETRISED)
def test_decompositions_with_symbols_equal_pennylanes_matrix(name: str) -> None:
    make, n = PARAMETRISED[name]
    expected = qml.matrix(make(*VALUES), wire_order=range(n))
    np.testing.assert_allclose(unitary(gates_of(make(*VALUES)), n), expected, atol=1e-12)
    gates = gates_of(make(*symbols("x", (3,))))
    assert any(gate.angle is not None and gate.angle.terms for gate in gates)
    np.testing.assert_allclose(unitary(gates, n, VALUES), expected, atol=1e-12)


@pytest.mark.parametrize("name", FIXED)
def test_decompositions_equal_pennylanes_matrix(name: str) -> None:
    make, n = FIXED[name]
    np.testing.assert_allclose(
        unitary(gates_of(make()), n), qml.matrix(make(), wire_order=range(n)), atol=1e-12
    )


def test_an_angle_is_an_affine_form() -> None:
    x, y = Angle({("x", 0): 1.0}), Angle({("w", 3): 1.0})
    form = -(2 * x - y / 4 + 1) * np.float64(0.5) + np.int64(3) - (1 - y)
    assert form.terms == {("x", 0): -1.0, ("w", 3): 0.125 + 1}
    assert form.constant == -0.5 + 3 - 1
    assert (x - x).terms == {}
    assert (x * 0).terms == {}


def test_an_array_of_symbols_computes_as_numpy_does() -> None:
    x = symbols("x", (2, 2))
    rows = np.array([[1.0, 2.0], [0.0, -1.0]]) @ x  # linear layers trace
    assert rows[0, 1].terms == {("x", 1): 1.0, ("x", 3): 2.0}
    assert x.sum().terms == {("x", i): 1.0 for i in range(4)}


def test_the_affine_map_gives_the_angles() -> None:
    def gates(x: Any, w: Any) -> None:
        qml.RX(2 * x[..., 0] - w[..., 1, 0] + 0.5, 0)
        qml.Hadamard(1)
        qml.RZ(w[..., 0, 1] + w[..., 0, 1], 1)
        qml.RY(0.25, 0)

    trace = Circuit(Queues(gates, wires=2, inputs=2, weights=(2, 2))).trace()
    a, b, c = trace.affine()
    np.testing.assert_array_equal(a, [[2, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(b, [[0, 0, -1, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(c, [0.5, 0, 0.25])
    assert trace.n_weights == 4


def test_a_circuit_is_traced_once() -> None:
    calls = []

    def gates(x: Any, w: Any) -> None:
        calls.append(1)
        qml.RX(x[..., 0], 0)

    ansatz = Queues(gates)
    assert Circuit(ansatz).trace() is Circuit(ansatz).trace()
    assert calls == [1]


NOT_AFFINE: dict[str, Callable[[Any, Any], Any]] = {
    "np.sin": lambda x, w: np.sin(x[..., 0]),
    "np.exp of an array": lambda x, w: np.exp(w)[..., 1],
    "math.cos": lambda x, w: math.cos(x[..., 0]),
    "qml.math.sin": lambda x, w: qml.math.sin(x[..., 0]),
    "torch.sin": lambda x, w: torch.sin(x[..., 0]),
    "a torch method": lambda x, w: x.sin()[..., 0],
    "product": lambda x, w: x[..., 0] * w[..., 0],
    "square": lambda x, w: x[..., 0] ** 2,
    "power": lambda x, w: 2 ** x[..., 0],
    "quotient": lambda x, w: 1 / x[..., 0],
    "absolute value": lambda x, w: abs(x[..., 0]),
    "remainder": lambda x, w: x[..., 0] % 1,
    "arctan2": lambda x, w: np.arctan2(x[..., 0], w[..., 0]),
    "comparison": lambda x, w: 1.0 if x[..., 0] > 0 else 2.0,
    "decomposition": lambda x, w: qml.ctrl(qml.RY(x[..., 0], 0), [1, 2]) and 0.0,
}


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_what_is_not_affine_is_refused_by_name(name: str) -> None:
    ansatz = Queues(lambda x, w: qml.RX(NOT_AFFINE[name](x, w), 0), wires=3)
    with pytest.raises(NonAffineAngle, match=r"affine|a\*x") as caught:
        Circuit(ansatz).trace()
    assert "backend='default.qubit'" in str(caught.value)


def test_the_advice_for_what_is_not_affine_works() -> None:
    circuit = Circuit(Queues(lambda x, w: qml.RY(qml.math.sin(x[..., 0]) * w[..., 0], 0)))
    x = torch.tensor([[0.3], [1.2]], dtype=torch.float64)
    w = torch.tensor([0.7, 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(NonAffineAngle):
        resolve("statevector").evaluate(circuit, x, w)
    expected = torch.cos(0.7 * x.sin())
    torch.testing.assert_close(
        resolve("default.qubit").evaluate(circuit, x, w), expected, atol=1e-10, rtol=0
    )


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (lambda x, w: qml.measure(0), "MidMeasure"),
        (lambda x, w: qml.QutritUnitary(np.eye(3), wires=0), "QutritUnitary"),
        (lambda x, w: qml.expval(qml.Z(0)), "readout"),
        (lambda x, w: qml.RX(x[..., 0], 2), r"RX acts on \(2,\)"),
        (lambda x, w: qml.RX(x[..., 0], "0"), r"RX.*\['0'\]; wires are the integers"),
    ],
    ids=[
        "mid-circuit measurement",
        "no decomposition",
        "measurement",
        "wire out of range",
        "string wire",
    ],
)
def test_what_is_no_gate_of_ours_is_refused_by_name(
    gates: Callable[[Any, Any], Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^ansatz=.*{message}"):
        Circuit(Queues(gates)).trace()
