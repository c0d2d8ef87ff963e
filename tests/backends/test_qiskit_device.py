"""The device `hybridq.qiskit` against PennyLane's own simulator, with its jobs counted."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from hybridq.backends._plugin.device import QiskitDevice
from tests.backends._qiskit_nodes import HERMITIAN, MEASUREMENTS, SPINE, flat, node, spine, tensors

pytest.importorskip("qiskit_aer")
pytest.importorskip("qiskit_ibm_runtime")


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("wires", [(0, 1, 2), ("b", 7, "a")], ids=str)
@pytest.mark.parametrize("batch", [None, 3])
def test_values_and_gradients_are_those_of_default_qubit(
    name: str, wires: Any, batch: int | None
) -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(
        [batch] if batch else [], generator=random, dtype=torch.float64
    ).requires_grad_()
    y = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)  # shared by the batch
    results = []
    for device in (QiskitDevice(wires=wires), qml.device("default.qubit", wires=wires)):
        values = flat(node(device, MEASUREMENTS[name], wires)(x, y))
        weights = torch.linspace(1, 2, len(values), dtype=torch.float64)
        results.append((values.detach(), *torch.autograd.grad((values * weights).sum(), (x, y))))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_a_sparse_hamiltonian_is_its_matrix() -> None:
    matrix = np.kron(HERMITIAN, HERMITIAN)
    x, y = (
        torch.tensor([0.2, 0.5], dtype=torch.float64, requires_grad=True),
        torch.tensor(0.7, dtype=torch.float64),
    )
    results = []
    for device, observable in (
        (QiskitDevice(wires=3), qml.SparseHamiltonian(csr_matrix(matrix), wires=[2, 0])),
        (qml.device("default.qubit", wires=3), qml.Hermitian(matrix, wires=[2, 0])),
    ):
        values = node(device, lambda _, o=observable: qml.expval(o), (0, 1, 2))(x, y)
        results.append((values, *torch.autograd.grad(values.sum(), x)))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize(
    "measure",
    [qml.state, lambda: qml.purity(wires=[0]), lambda: (qml.state(), qml.expval(qml.Z(0)))],
)
def test_aer_has_the_state(measure: Callable[[], Any], batch: int | None) -> None:
    x = torch.linspace(0.1, 0.9, batch or 1, dtype=torch.float64)
    x = x if batch else x[0]
    device = QiskitDevice(wires=3)
    ours, theirs = (
        node(d, lambda _: measure(), (0, 1, 2))(x, torch.tensor(0.7))
        for d in (device, qml.device("default.qubit", wires=3))
    )
    assert torch.allclose(
        flat(ours).to(torch.complex128), flat(theirs).to(torch.complex128), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("shots", [None, 512])
def test_one_transpilation_a_job_forward_and_a_job_backward(shots: int | None) -> None:
    device, (inputs, weights) = QiskitDevice(wires=4), tensors(5)
    with qml.Tracker(device) as tracker:
        for _ in range(3):
            outputs = SPINE.readout.collect(spine(device, shots)(inputs, weights))
            outputs.sum().backward()
    points = 5 * (
        1 + 2 * 12
    )  # 16 rotations, of which the last four RZ change no probability of a noiseless circuit
    assert (device.transpilations, device.jobs_run, device.n_circuits_run) == (1, 6, 3 * points)
    assert tracker.history["transpilations"] == [1, 0, 0, 0, 0, 0]
    assert tracker.history["jobs"] == [1] * 6
    assert tracker.history["circuits"] == [5, 5 * 24] * 3
    assert tracker.totals["shots"] == 3 * points * (shots or 0)
    assert (tracker.totals["batches"], tracker.totals["vjp_batches"]) == (3, 3)


def test_only_trained_angles_are_shifted() -> None:
    device, (inputs, weights) = QiskitDevice(wires=4), tensors(5)
    fixed = weights.detach().clone()

    @qml.qnode(device, interface="torch")
    def run(last: Tensor) -> Any:
        SPINE.ansatz.apply(inputs.detach(), fixed)
        qml.RX(last, 3)
        return qml.expval(qml.Z(3))

    run(torch.tensor(0.2, dtype=torch.float64, requires_grad=True)).sum().backward()
    assert device.n_circuits_run == 5 + 5 * 2


def test_shots_lie_within_five_sigma_and_follow_the_seed() -> None:
    inputs, weights = tensors(17)
    exact = SPINE.readout.collect(spine(QiskitDevice(wires=4))(inputs, weights))
    device = QiskitDevice(wires=4, seed=1)
    first, second = (SPINE.readout.collect(spine(device, 4096)(inputs, weights)) for _ in range(2))
    assert ((first - exact).abs() <= 5 / 4096**0.5).all()
    assert not torch.equal(first, second)
    assert torch.equal(
        first, SPINE.readout.collect(spine(QiskitDevice(wires=4, seed=1), 4096)(inputs, weights))
    )
    assert not torch.equal(
        first, SPINE.readout.collect(spine(QiskitDevice(wires=4, seed=2), 4096)(inputs, weights))
    )


def test_gradients_on_shots_lie_within_five_sigma() -> None:
    inputs, weights = tensors(17)
    slopes = []
    for shots in (None, 4096):
        outputs = SPINE.readout.collect(spine(QiskitDevice(wires=4), shots)(inputs, weights))[:, 0]
        slopes.append(torch.autograd.grad(outputs.sum(), weights)[0])
    # A slope is (f(+) - f(-)) / 2, of variance at most 1 / (2 shots); 17 of them are summed.
    assert ((slopes[0] - slopes[1]).abs() <= 5 * (17 / 2 / 4096) ** 0.5).all()
    assert not torch.equal(slopes[0], slopes[1])


def test_samples_and_counts_are_the_same_shots_in_any_order_of_wires() -> None:
    @qml.set_shots(500)
    @qml.qnode(QiskitDevice(wires=["a", "b", "c"]))
    def run(x: Any) -> Any:
        qml.X("a")
        qml.RY(x, "b")
        return (
            qml.sample(wires=["b", "a", "c"]),
            qml.counts(wires=["b", "a"]),
            qml.counts(qml.Z("b")),
            qml.expval(qml.Z("b")),
        )

    bits, counts, of_z, mean = run(1.2)
    assert bits.shape == (500, 3)
    assert (bits[:, 1] == 1).all()
    assert not bits[:, 2].any()
    ones = int(bits[:, 0].sum())
    assert counts == {"01": 500 - ones, "11": ones}
    assert {float(value): count for value, count in of_z.items()} == {1.0: 500 - ones, -1.0: ones}
    assert mean == pytest.approx(1 - 2 * ones / 500)
    assert not (np.diff(bits[:, 0]) >= 0).all()  # shuffled


def test_broadcast_samples_and_counts() -> None:
    @qml.set_shots(50)
    @qml.qnode(QiskitDevice(wires=2))
    def run(x: Any) -> Any:
        qml.RX(x, 0)
        return qml.sample(wires=[0, 1]), qml.counts(wires=[0])

    bits, counts = run(np.array([0.0, np.pi, 1.0]))
    assert bits.shape == (3, 50, 2)
    assert counts[:2] == [{"0": 50}, {"1": 50}]


def test_a_vector_of_shots_divides_one_set_of_shots() -> None:
    device = QiskitDevice(wires=1)

    @qml.set_shots([10, 10, 1000])
    @qml.qnode(device, interface="torch")
    def run(x: Any) -> Any:
        qml.RX(x, 0)
        return qml.expval(qml.Z(0)), qml.counts(wires=[0])

    parts = run(torch.tensor(1.0, requires_grad=True))
    assert [sum(counts.values()) for _, counts in parts] == [10, 10, 1000]
    for (mean, counts), shots in zip(parts, (10, 10, 1000), strict=True):
        assert float(mean.detach()) == pytest.approx(
            (counts.get("0", 0) - counts.get("1", 0)) / shots
        )
    assert device.jobs_run == 1


@pytest.mark.parametrize("interface", ["torch", "autograd"])
def test_gradients_of_shots_in_parts_are_left_to_pennylane(interface: str) -> None:
    def run(x: Any) -> Any:
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    node = qml.set_shots(
        qml.QNode(run, QiskitDevice(wires=1), interface=interface), [20_000, 20_000]
    )
    if interface == "torch":
        x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        slope = torch.autograd.grad(sum(node(x)), x)[0]
    else:
        slope = qml.grad(lambda x: sum(node(x)))(qml.numpy.array(1.0, requires_grad=True))
    assert abs(float(slope) + 2 * np.sin(1.0)) <= 5 * (2 / 2 / 20_000) ** 0.5


@pytest.mark.parametrize("backend", ["aer_simulator", "fake_manila"])
def test_copies_and_pickles_run(backend: str) -> None:
    device = QiskitDevice(wires=3, backend=backend, seed=2)
    expected = node(device, MEASUREMENTS["all probs"], (0, 1, 2))(
        torch.tensor(0.3), torch.tensor(0.7)
    )
    for other in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):  # noqa: S301
        again = node(other, MEASUREMENTS["all probs"], (0, 1, 2))(
            torch.tensor(0.3), torch.tensor(0.7)
        )
        assert torch.equal(again, expected)
        assert (other.seed, other.jobs_run) == (2, 1)


def test_measurements_within_a_circuit_are_deferred() -> None:
    @qml.qnode(QiskitDevice(wires=3))
    def run(x: Any) -> Any:
        qml.RX(x, 0)
        qml.cond(qml.measure(0), qml.X)(1)
        return qml.expval(qml.Z(1))

    assert run(0.8) == pytest.approx(np.cos(0.8))


@pytest.mark.parametrize("backend", ["aer_simulator", "fake_manila"])
def test_a_layer_behind_a_trainable_layer_in_batches(backend: str) -> None:
    def layer(device: Any) -> torch.nn.Module:
        def run(inputs: Any, weights: Any) -> Any:
            qml.AngleEmbedding(inputs, wires=range(3))
            qml.StronglyEntanglingLayers(weights, wires=range(3))
            return [qml.expval(qml.Z(wire)) for wire in range(3)]

        shape = {"weights": (1, 3, 3)}
        torch.manual_seed(0)
        quantum = qml.qnn.TorchLayer(qml.QNode(run, device), shape)
        return torch.nn.Sequential(torch.nn.Linear(4, 3), quantum, torch.nn.Linear(3, 1))

    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    device = QiskitDevice(wires=3, backend=backend)
    ours, theirs = layer(device), layer(qml.device("default.qubit", wires=3))
    for model in (ours, theirs):
        model(x).square().sum().backward()
    assert (device.transpilations, device.jobs_run) == (1, 2)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        close = torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-5)
        assert close == (backend == "aer_simulator"), name  # the noise is felt in every gradient
