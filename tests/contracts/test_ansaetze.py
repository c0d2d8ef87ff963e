"""One suite for every file of circuits/: what holds for any ansatz, made with its defaults."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from hybridq import catalogue
from hybridq.backends import resolve
from hybridq.circuits import AbstractAnsatz, Circuit, Probabilities, RealAmplitudes
from hybridq.errors import InvalidArgument, NonAffineAngle

BATCH = 3


@pytest.fixture(params=catalogue.names("circuits"))
def ansatz(request: pytest.FixtureRequest) -> AbstractAnsatz:
    made: AbstractAnsatz = catalogue.load("circuits", request.param)()
    return made


@pytest.fixture
def affine(ansatz: AbstractAnsatz) -> AbstractAnsatz:
    """Return the ansatz if it can be traced; otherwise only PennyLane's devices run it."""
    try:
        Circuit(ansatz).trace()
    except NonAffineAngle as error:
        pytest.skip(str(error))
    return ansatz


def arguments(ansatz: AbstractAnsatz, per_point: bool = False) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(BATCH, ansatz.n_inputs, generator=rng, dtype=torch.float64)
    shape = (BATCH, *ansatz.weight_shape) if per_point else ansatz.weight_shape
    weights = torch.randn(shape, generator=rng, dtype=torch.float64)
    return inputs.requires_grad_(), weights.requires_grad_()


def test_it_is_an_immutable_value(ansatz: Any) -> None:
    assert isinstance(ansatz, AbstractAnsatz)
    assert dataclasses.is_dataclass(ansatz)
    assert ansatz == type(ansatz)()
    assert len({ansatz, type(ansatz)(), pickle.loads(pickle.dumps(ansatz))}) == 1  # noqa: S301
    for field in dataclasses.fields(ansatz):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(ansatz, field.name, getattr(ansatz, field.name))


def test_its_shapes_are_python_integers(ansatz: AbstractAnsatz) -> None:
    assert type(ansatz.n_qubits) is type(ansatz.n_inputs) is int
    assert ansatz.n_qubits >= 1
    assert ansatz.n_inputs >= 0
    assert isinstance(ansatz.weight_shape, tuple)
    assert all(type(size) is int for size in ansatz.weight_shape)


def test_every_weight_and_input_is_in_some_angle(affine: AbstractAnsatz) -> None:
    trace = Circuit(affine).trace()
    assert trace.n_qubits == affine.n_qubits
    assert trace.n_inputs == affine.n_inputs
    assert trace.weight_shape == affine.weight_shape
    a, b, c = trace.affine()
    assert np.isfinite(np.concatenate([a, b, c[:, None]], 1)).all()
    assert a.any(0).all(), "an input changes nothing"
    assert b.any(0).all(), "a weight changes nothing"


@pytest.mark.parametrize("per_point", [False, True])
@pytest.mark.parametrize(
    "readout", [Probabilities(), RealAmplitudes()], ids=["probabilities", "real_amplitudes"]
)
def test_its_trace_says_what_its_qnode_says(
    affine: AbstractAnsatz, readout: Any, per_point: bool
) -> None:
    circuit = Circuit(affine, readout)
    results = []
    for run in ("statevector", "default.qubit"):
        inputs, weights = arguments(affine, per_point)
        outputs = resolve(run).evaluate(circuit, inputs, weights)
        mix = torch.linspace(-1, 1.3, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
        slopes = torch.autograd.grad(
            (outputs * mix).sum(), (inputs, weights), allow_unused=True, materialize_grads=True
        )
        results.append((outputs.detach(), *slopes))
    torch.testing.assert_close(*results, atol=1e-10, rtol=0)


def test_its_qnode_takes_a_batch_or_a_point(ansatz: AbstractAnsatz) -> None:
    circuit = Circuit(ansatz, Probabilities())
    node = circuit.qnode("default.qubit")
    inputs, weights = (t.detach() for t in arguments(ansatz))
    points = torch.stack([circuit.readout.collect(node(x, weights)) for x in inputs])
    # There is one row for all points if the inputs do not enter.
    batch = circuit.readout.collect(node(inputs, weights)).expand(points.shape)
    torch.testing.assert_close(batch, points, atol=1e-10, rtol=0)


def test_it_is_an_ordinary_template_without_measurements(ansatz: AbstractAnsatz) -> None:
    inputs, weights = arguments(ansatz)
    with qml.queuing.AnnotatedQueue() as queue:
        ansatz.apply(inputs, weights)
    tape = qml.tape.QuantumScript.from_queue(queue)
    assert tape.operations
    assert not tape.measurements
    assert set(tape.wires) <= set(range(ansatz.n_qubits))


def test_it_can_be_drawn(affine: AbstractAnsatz) -> None:
    lines = Circuit(affine).draw().splitlines()
    wires = [str(wire) for wire in range(affine.n_qubits)]
    # PennyLane continues a long drawing below, from the first wire on, after an empty line.
    labels = [line.split(":")[0].strip() for line in lines if line.strip()]
    assert labels == wires * (len(labels) // len(wires))


def test_a_pennylane_device_runs_it(ansatz: AbstractAnsatz) -> None:
    inputs, weights = arguments(ansatz, per_point=True)
    outputs = resolve("default.qubit").evaluate(Circuit(ansatz), inputs, weights)
    assert outputs.shape == (BATCH, ansatz.n_qubits)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("run", ["statevector", "default.qubit"])
@pytest.mark.parametrize("argument", ["inputs", "weights"])
def test_angles_of_another_shape_are_refused(
    ansatz: AbstractAnsatz, argument: str, run: str
) -> None:
    inputs, weights = arguments(ansatz)
    wrong = {"inputs": inputs, "weights": weights}
    # Neither as many inputs as it has, nor a number of sets of weights that divides the batch.
    shape = (BATCH, ansatz.n_inputs + 1) if argument == "inputs" else (2, *ansatz.weight_shape)
    for bad in (shape, (*shape, 7)):
        wrong[argument] = torch.zeros(bad, dtype=torch.float64)
        with pytest.raises(InvalidArgument, match=f"^{argument}="):
            resolve(run).evaluate(Circuit(ansatz), **wrong)
