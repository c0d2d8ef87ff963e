"""The rewrites: how short the compiled program is. test_random_circuits shows that it is right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest

from hybridq.circuits import (
    AbstractReadout,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.engine import Program, compile_circuit
from hybridq.engine.program import Permute, Phase, Rotate
from tests.circuits._ansaetze import Queues


def compiled(
    gates: Callable[[Any, Any], None], readout: AbstractReadout | None = None, wires: int = 3
) -> Program:
    return compile_circuit(Circuit(Queues(gates, wires=wires), readout or RealAmplitudes()))


def kinds(program: Program) -> list[str]:
    return [type(step).__name__ for step in program.instructions]


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("pattern", ["chain", "ring", "brick"])
@pytest.mark.parametrize("readout", [ExpvalZ(), Probabilities(), FirstProbabilities()], ids=repr)
def test_a_layer_is_a_diagonal_a_permutation_and_a_layer_of_rotations(
    readout: AbstractReadout, pattern: Any, n_layers: int
) -> None:
    ansatz = RyRzCnot(n_qubits=4, n_layers=n_layers, pattern=pattern)
    program = compile_circuit(Circuit(ansatz, readout))
    hadamard_and_ry = {wire: f"w{2 * wire} + x0 + {np.pi / 2:g}" for wire in range(4)}
    assert {wire: str(angle) for wire, angle in program.start.angles.items()} == hadamard_and_ry
    # The last diagonal is dropped.
    assert kinds(program) == ["Phase", "Permute", "Rotate"] * (n_layers - 1)
    assert program.last is not None, "the last permutation moves into the readout"
    for step in program.instructions:
        if isinstance(step, Phase):
            assert sorted(step.angles) == [1, 2, 4, 8], "one term for each RZ"
        if isinstance(step, Rotate):
            assert sorted(step.angles) == [0, 1, 2, 3]


def test_amplitudes_keep_the_last_diagonal() -> None:
    program = compile_circuit(Circuit(RyRzCnot(n_qubits=4, n_layers=1), RealAmplitudes()))
    assert kinds(program) == ["Phase"]
    assert program.last is not None


def test_the_last_permutation_is_that_of_the_cnots() -> None:
    program = compile_circuit(Circuit(RyRzCnot(n_qubits=2, n_layers=1)))
    assert program.last is not None
    assert program.last.tolist() == [0, 1, 3, 2]


def test_diagonals_that_meet_are_one() -> None:
    def gates(x: Any, w: Any) -> None:
        for wire in range(3):
            qml.Hadamard(wire)
        qml.S(0)
        qml.CZ([0, 1])
        qml.RZ(x[..., 0], 0)
        qml.T(2)
        qml.PhaseShift(w[..., 0], 0)
        qml.Z(1)
        qml.GlobalPhase(w[..., 1])

    program = compiled(gates)
    assert kinds(program) == ["Phase"]
    assert len(program.start.angles) == 3


def test_permutations_that_meet_are_one() -> None:
    def gates(x: Any, w: Any) -> None:
        for wire in range(3):
            qml.RY(w[..., wire], wire)
        qml.CNOT([0, 1])
        qml.X(2)
        qml.SWAP([0, 2])
        qml.RY(x[..., 0], 1)

    assert kinds(compiled(gates)) == ["Permute", "Rotate"]


def test_rotations_pass_what_does_not_touch_them() -> None:
    def gates(x: Any, w: Any) -> None:
        qml.RY(w[..., 0], 0)
        qml.RZ(x[..., 0], 0)
        qml.RY(w[..., 1], 1)  # joins the product state
        qml.CNOT([0, 1])
        qml.RY(w[..., 2], 2)  # too, and the second one with it
        qml.RY(x[..., 0], 2)

    program = compiled(gates)
    assert sorted(program.start.angles) == [0, 1, 2]
    assert str(program.start.angles[2]) == "w2 + x0"
    assert kinds(program) == ["Phase"]


def test_what_acts_on_zero_is_dropped() -> None:
    def gates(x: Any, w: Any) -> None:
        qml.CNOT([0, 1])
        qml.CZ([1, 2])
        qml.RZ(0.0, 1)
        qml.RY(x[..., 0], 0)

    program = compiled(gates)
    assert kinds(program) == []
    assert program.last is None


def test_the_global_phase_goes_only_where_nothing_sees_it() -> None:
    def gates(x: Any, w: Any) -> None:
        qml.RY(w[..., 0], 0)
        qml.GlobalPhase(x[..., 0])
        qml.SX(0)

    seen = [step for step in compiled(gates).instructions if isinstance(step, Phase)]
    assert any(0 in step.angles for step in seen)
    unseen = [step for step in compiled(gates, ExpvalZ()).instructions if isinstance(step, Phase)]
    assert not any(0 in step.angles for step in unseen)


def test_permutations_are_bijections() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=5, n_layers=3, pattern="ring"))
    for step in compile_circuit(circuit).instructions:
        if isinstance(step, Permute):
            assert sorted(step.index.tolist()) == list(range(32))


def test_a_circuit_is_compiled_once() -> None:
    assert compile_circuit(Circuit(RyRzCnot())) is compile_circuit(Circuit(RyRzCnot()))
