"""One suite for every file of circuits/readouts/: what holds for any readout, made by default."""

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridq import catalogue
from hybridq.backends import AbstractBackend, resolve
from hybridq.backends.statevector import Statevector
from hybridq.circuits import AbstractReadout, Circuit, Probabilities
from hybridq.errors import BackendUnavailable
from hybridq.native import kernels
from tests.contracts._backend_settings import FILES, SHOTS, Setting
from tests.reference import statevector
from tests.reference.random_circuits import RandomAnsatz

BATCH = 3
NAMES = catalogue.names("circuits.readouts")
ENGINES = ["torch"] if kernels() is None else ["torch", "native"]


@pytest.fixture(params=NAMES)
def readout(request: pytest.FixtureRequest) -> AbstractReadout:
    made: AbstractReadout = catalogue.load("circuits.readouts", request.param)()
    return made


def arguments(ansatz: RandomAnsatz) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(ansatz.seed)
    inputs = torch.randn(BATCH, ansatz.n_inputs, generator=rng, dtype=torch.float64)
    weights = torch.randn(ansatz.weight_shape, generator=rng, dtype=torch.float64)
    return inputs.requires_grad_(), weights.requires_grad_()


def entries(readout: AbstractReadout, ansatz: RandomAnsatz) -> Tensor:
    """Compute what `select` takes, by NumPy: probabilities or real parts, shape (batch, 2**n)."""
    inputs, weights = (angles.detach().numpy() for angles in arguments(ansatz))
    states = [
        statevector.state(ansatz.gates, ansatz.angles(point, weights), ansatz.wires)
        for point in inputs
    ]
    return torch.from_numpy(
        np.array([abs(psi) ** 2 if readout.diagonal else psi.real for psi in states])
    )


def test_it_is_an_immutable_value(readout: Any) -> None:
    assert isinstance(readout, AbstractReadout)
    assert dataclasses.is_dataclass(readout)
    assert readout == type(readout)()
    copies = {readout, type(readout)(), copy.deepcopy(readout), pickle.loads(pickle.dumps(readout))}  # noqa: S301
    assert len(copies) == 1
    for field in dataclasses.fields(readout):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(readout, field.name, getattr(readout, field.name))


def test_it_is_equal_to_no_other_readout(readout: AbstractReadout) -> None:
    others = [catalogue.load("circuits.readouts", name)() for name in NAMES]
    assert sum(readout == other for other in others) == 1
    assert readout != "readout"


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 5])
def test_select_is_the_matrix_along_any_dimension(readout: AbstractReadout, n_qubits: int) -> None:
    n_outputs = readout.n_outputs(n_qubits)
    assert type(n_outputs) is int
    assert n_outputs >= 1
    matrix = readout.matrix(n_qubits)
    assert matrix.shape == (n_outputs, 2**n_qubits)
    assert matrix.isfinite().all()
    assert matrix.any(), "every output is 0 for every state"
    rng = torch.Generator().manual_seed(n_qubits)
    values = torch.randn(2, 2**n_qubits, 3, generator=rng, dtype=torch.float64)
    before = values.clone()
    expected = torch.einsum("os,bsk->bok", matrix, values)
    for dim in (0, 1, 2, -1):
        moved = values.movedim(1, dim)
        torch.testing.assert_close(
            readout.select(moved, dim), expected.movedim(1, dim), atol=1e-12, rtol=0
        )
    assert torch.equal(values, before), "select changes its argument"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(readout: AbstractReadout, dtype: torch.dtype) -> None:
    assert readout.matrix(2, dtype).dtype == dtype
    assert readout.select(torch.ones(4, dtype=dtype), 0).dtype == dtype
    # The matrix may only be rounded: its entries are the same numbers.
    torch.testing.assert_close(readout.matrix(2, dtype).double(), readout.matrix(2))


def test_select_is_differentiable(readout: AbstractReadout) -> None:
    values = torch.rand(4, dtype=torch.float64, requires_grad=True)
    mix = torch.linspace(-1, 1.3, readout.n_outputs(2), dtype=torch.float64)
    (slopes,) = torch.autograd.grad(readout.select(values, 0) @ mix, values)
    torch.testing.assert_close(slopes, mix @ readout.matrix(2))


@pytest.mark.parametrize("n_qubits", [1, 2, 3])
def test_what_a_qnode_returns_is_what_select_says(readout: AbstractReadout, n_qubits: int) -> None:
    ansatz = RandomAnsatz(seed=10 + n_qubits, wires=n_qubits)
    inputs, weights = (angles.detach() for angles in arguments(ansatz))
    expected = readout.select(entries(readout, ansatz), -1)
    node = Circuit(ansatz, readout).qnode("default.qubit")
    batch = readout.collect(node(inputs, weights))
    torch.testing.assert_close(batch, expected, atol=1e-10, rtol=0)
    points = torch.stack([readout.collect(node(point, weights)) for point in inputs])
    torch.testing.assert_close(points, expected, atol=1e-10, rtol=0)


# Beyond 8 qubits the kernels run one circuit at a time, and a matrix may be too large.
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_qubits", [1, 3, 9])
def test_the_engine_agrees_with_pennylane(
    readout: AbstractReadout, engine: Any, n_qubits: int
) -> None:
    ansatz = RandomAnsatz(seed=20 + n_qubits, wires=n_qubits)
    circuit, results = Circuit(ansatz, readout), []
    for backend in (Statevector(engine), resolve("default.qubit")):
        inputs, weights = arguments(ansatz)
        outputs = backend.evaluate(circuit, inputs, weights)
        assert outputs.shape == (BATCH, circuit.n_outputs)
        mix = torch.linspace(-1, 1.3, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
        slopes = torch.autograd.grad((outputs * mix).sum(), (inputs, weights))
        results.append((outputs.detach(), *slopes))
    torch.testing.assert_close(*results, atol=1e-10, rtol=0)


@pytest.mark.parametrize("setting", FILES, ids=str)
def test_every_backend_runs_it_or_says_that_it_cannot(
    readout: AbstractReadout, setting: Setting
) -> None:
    backend: AbstractBackend = setting.make()
    capabilities = backend.capabilities
    ansatz = RandomAnsatz(seed=30, wires=min(2, capabilities.max_qubits))
    circuit = Circuit(ansatz, readout)
    inputs, weights = (angles.detach() for angles in arguments(ansatz))
    if not readout.diagonal and not capabilities.amplitudes:
        with pytest.raises(BackendUnavailable, match="amplitudes"):
            backend.evaluate(circuit, inputs, weights)
        return
    outputs = backend.evaluate(circuit, inputs, weights)
    assert outputs.shape == (BATCH, circuit.n_outputs)
    if capabilities.noisy:
        return
    values = entries(readout, ansatz)
    limit = torch.full_like(outputs, 1e-10)
    if not capabilities.exact:
        # A readout R of shots has the variance (R^2 p - (R p)^2) / shots.
        matrix = readout.matrix(circuit.n_qubits)
        variance = (values @ (matrix**2).mT - (values @ matrix.mT) ** 2) / SHOTS
        limit = 5 * variance.clamp(min=0).sqrt() + 1e-12
    assert ((outputs - readout.select(values, -1)).abs() <= limit).all()


def test_the_covariances_of_shots_are_those_of_its_matrix(readout: AbstractReadout) -> None:
    if not readout.diagonal:
        pytest.skip("no shots can be had of amplitudes")
    ansatz, matrix = RandomAnsatz(seed=40, wires=2), readout.matrix(2)
    inputs, weights = (angles.detach() for angles in arguments(ansatz))
    backend = resolve(f"default.qubit:shots={SHOTS},seed=2")
    means, covariances = backend.evaluate_with_covariances(
        Circuit(ansatz, readout), inputs, weights
    )
    twin = resolve(f"default.qubit:shots={SHOTS},seed=2")
    frequencies = twin.evaluate(Circuit(ansatz, Probabilities()), inputs, weights)
    torch.testing.assert_close(means, frequencies @ matrix.mT, atol=1e-12, rtol=0)
    assert covariances.shape == (BATCH, len(matrix), len(matrix))
