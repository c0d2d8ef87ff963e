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
from hybridq.errors import InvalidArgument

BATCH = 3


@pytest.fixture(params=catalogue.names("circuits"))
def ansatz(request: pytest.FixtureRequest) -> AbstractAnsatz:
    made: AbstractAnsatz = catalogue.load("circuits", request.param)()
    return made


def arguments(ansatz: AbstractAnsatz, per_point: bool = False) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(BATCH, ansatz.n_inputs, generator=rng, dtype=torch.float64)
    shape = (BATCH, *ansatz.weight_shape) if per_point else ansatz.weight_shape
    return inputs.requires_grad_(), torch.randn(
        shape, generator=rng, dtype=torch.float64
    ).requires_grad_()


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


def test_every_weight_and_input_is_in_some_angle(ansatz: AbstractAnsatz) -> None:
    trace = Circuit(ansatz).trace()
    assert (trace.n_qubits, trace.n_inputs, trace.weight_shape) == (
        ansatz.n_qubits,
        ansatz.n_inputs,
        ansatz.weight_shape,
    )
    a, b, c = trace.affine()
    assert np.isfinite(np.concatenate([a, b, c[:, None]], 1)).all()
    assert a.any(0).all(), "an input changes nothing"
    assert b.any(0).all(), "a weight changes nothing"


@pytest.mark.parametrize("per_point", [False, True])
@pytest.mark.parametrize(
    "readout", [Probabilities(), RealAmplitudes()], ids=["probabilities", "real_amplitudes"]
)
def test_its_trace_says_what_its_qnode_says(
    ansatz: AbstractAnsatz, readout: Any, per_point: bool
) -> None:
    circuit = Circuit(ansatz, readout)
    results = []
    for run in ("statevector", "default.qubit"):
        inputs, weights = arguments(ansatz, per_point)
        outputs = resolve(run).evaluate(circuit, inputs, weights)
        mix = torch.linspace(-1, 1.3, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
        results.append(
            (outputs.detach(), *torch.autograd.grad((outputs * mix).sum(), (inputs, weights)))
        )
    torch.testing.assert_close(*results, atol=1e-10, rtol=0)


def test_its_qnode_takes_a_batch_or_a_point(ansatz: AbstractAnsatz) -> None:
    circuit = Circuit(ansatz, Probabilities())
    node = circuit.qnode("default.qubit")
    inputs, weights = (t.detach() for t in arguments(ansatz))
    points = torch.stack([circuit.readout.collect(node(x, weights)) for x in inputs])
    torch.testing.assert_close(
        circuit.readout.collect(node(inputs, weights)), points, atol=1e-10, rtol=0
    )


def test_it_is_an_ordinary_template_without_measurements(ansatz: AbstractAnsatz) -> None:
    inputs, weights = arguments(ansatz)
    with qml.queuing.AnnotatedQueue() as queue:
        ansatz.apply(inputs, weights)
    tape = qml.tape.QuantumScript.from_queue(queue)
    assert tape.operations
    assert not tape.measurements
    assert set(tape.wires) <= set(range(ansatz.n_qubits))


def test_it_can_be_drawn(ansatz: AbstractAnsatz) -> None:
    lines = Circuit(ansatz).draw().splitlines()
    assert [line.split(":")[0] for line in lines] == [str(wire) for wire in range(ansatz.n_qubits)]


def test_a_size_that_is_none_is_named(ansatz: Any) -> None:
    for field in dataclasses.fields(ansatz):
        if field.name.startswith("n_"):
            for value in (0, -1, 1.5, "2", None):
                with pytest.raises(InvalidArgument, match=f"^{field.name}="):
                    dataclasses.replace(ansatz, **{field.name: value})


@pytest.mark.parametrize("argument", ["inputs", "weights"])
def test_angles_of_another_shape_are_refused(ansatz: AbstractAnsatz, argument: str) -> None:
    inputs, weights = arguments(ansatz)
    wrong = {"inputs": inputs, "weights": weights}
    wrong[argument] = torch.zeros(2, 2, 2, 2, 2, 7, dtype=torch.float64)
    with pytest.raises(InvalidArgument, match=f"^{argument}="):
        resolve("statevector").evaluate(Circuit(ansatz), **wrong)
