"""Noise of stated size, on every backend that takes it, against density matrices in NumPy."""

import dataclasses
import json
import pickle

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from hybridq import catalogue
from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import Circuit, ExpvalZ, Probabilities, RealAmplitudes, RyRzCnot
from hybridq.errors import BackendUnavailable, InvalidArgument
from hybridq.layers import FourierForm, series
from tests.reference.noise import density, outputs, read
from tests.reference.random_circuits import RandomAnsatz
from tests.reference.statevector import Real

pytest.importorskip("qiskit_aer")

OPTIONS = ("depolarizing", "damping", "readout_error")
OWN = [
    name
    for name in catalogue.names("backends")
    if hasattr(catalogue.load("backends", name), OPTIONS[0])
]
NAMES = [*OWN, "default.mixed"]
LEVELS = [
    (0.03, 0.0, 0.0),
    (0.0, 0.05, 0.0),
    (0.0, 0.0, 0.04),
    (0.02, 0.07, 0.03),
    (0.75, 0.0, 0.0),
    (1.0, 1.0, 1.0),
]
READOUTS = {"expval_z": ExpvalZ(), "probabilities": Probabilities()}
BATCH = 3


def make(name: str, levels: tuple[float, ...], *more: str) -> AbstractBackend:
    options = [f"{option}={level}" for option, level in zip(OPTIONS, levels, strict=True) if level]
    return resolve(f"{name}:{','.join([*options, *more])}")


def arguments(ansatz: RandomAnsatz) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(ansatz.seed)
    inputs = torch.randn(BATCH, ansatz.n_inputs, generator=rng, dtype=torch.float64)
    return inputs, torch.randn(ansatz.weight_shape, generator=rng, dtype=torch.float64)


def reference(
    ansatz: RandomAnsatz,
    kind: str,
    inputs: Tensor,
    weights: Tensor,
    levels: tuple[float, float, float],
) -> Real:
    rows = [ansatz.angles(x, weights.detach().numpy()) for x in inputs.detach().numpy()]
    states = [density(ansatz.gates, angles, ansatz.wires, *levels[:2]) for angles in rows]
    return np.array([outputs(kind, read(state, levels[2])) for state in states])


def points(n: int, offset: float = 0.0) -> Tensor:
    return offset + torch.linspace(0, 2 * np.pi, n + 1, dtype=torch.float64)[:n, None]


def weights_of(circuit: Circuit) -> Tensor:
    return torch.randn(
        circuit.weight_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def test_aer_takes_noise_of_stated_size() -> None:
    assert OWN == ["aer"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    ("n_qubits", "kind"), [(1, "expval_z"), (2, "probabilities"), (3, "expval_z")]
)
def test_outputs_agree_with_numpy(
    name: str, levels: tuple[float, float, float], n_qubits: int, kind: str
) -> None:
    ansatz = RandomAnsatz(seed=100 + n_qubits, wires=n_qubits)
    inputs, weights = arguments(ansatz)
    found = make(name, levels).evaluate(Circuit(ansatz, READOUTS[kind]), inputs, weights)
    expected = reference(ansatz, kind, inputs, weights, levels)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "levels", [(0.03, 0.0, 0.0), (0.0, 0.05, 0.0), (0.0, 0.0, 0.04), (0.02, 0.07, 0.03)]
)
def test_outputs_and_gradients_agree_between_the_executors(levels: tuple[float, ...]) -> None:
    ansatz = RandomAnsatz(seed=110, wires=3)
    found = []
    for name in NAMES:
        inputs, weights = (tensor.requires_grad_() for tensor in arguments(ansatz))
        values = make(name, levels).evaluate(Circuit(ansatz), inputs, weights)
        mix = torch.linspace(-1.0, 1.3, values.numel(), dtype=torch.float64).reshape(values.shape)
        (values * mix).sum().backward()
        found.append((values.detach(), inputs.grad, weights.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_shots_have_the_noisy_mean(name: str) -> None:
    ansatz, levels, shots = RandomAnsatz(seed=120, wires=2), (0.05, 0.05, 0.1), 4096
    inputs, weights = arguments(ansatz)
    expected = reference(ansatz, "probabilities", inputs, weights, levels)
    backend = make(name, levels, f"shots={shots}", "seed=5")
    found = backend.evaluate(Circuit(ansatz, Probabilities()), inputs, weights).numpy()
    np.testing.assert_array_less(
        abs(found - expected), 5 * np.sqrt(expected * (1 - expected) / shots) + 1e-12
    )
    assert abs(found - expected).max() > 0, "no shot noise"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", [1, 3])
def test_depolarising_shrinks_one_qubit_by_the_same_factor_at_every_gate(
    name: str, layers: int
) -> None:
    circuit, p = Circuit(RyRzCnot(n_qubits=1, n_layers=layers)), 0.06
    ideal = resolve("statevector").evaluate(circuit, points(5, 0.3), weights_of(circuit))
    noisy = make(name, (p, 0.0, 0.0)).evaluate(circuit, points(5, 0.3), weights_of(circuit))
    gates = 1 + 2 * layers  # H, and RY and RZ of each layer
    torch.testing.assert_close(noisy, (1 - 4 * p / 3) ** gates * ideal, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_readout_error_shrinks_z_by_what_it_says(name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=1))
    ideal = resolve("statevector").evaluate(circuit, points(5, 0.3), weights_of(circuit))
    noisy = make(name, (0.0, 0.0, 0.1)).evaluate(circuit, points(5, 0.3), weights_of(circuit))
    torch.testing.assert_close(noisy, 0.8 * ideal, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [(0.02, 0.0, 0.0), (0.0, 0.05, 0.0), (0.02, 0.03, 0.04)])
def test_the_fourier_form_is_exact_under_noise(name: str, levels: tuple[float, ...]) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    form, backend, weights = FourierForm.of(circuit), make(name, levels), weights_of(circuit)
    between = points(23, 0.1)

    def from_samples(form: FourierForm) -> Tensor:
        samples = backend.evaluate(
            circuit, form.points(weights)[:, None], weights
        )  # (2 D + 1, outputs)
        return series(form.coefficients(samples.T), between.T.expand(1, circuit.n_outputs, -1))[0].T

    direct = backend.evaluate(circuit, between, weights)
    assert form.n_samples == 17
    torch.testing.assert_close(from_samples(form), direct, atol=1e-10, rtol=0)
    assert (from_samples(FourierForm(7)) - direct).abs().max() > 1e-6, (
        "15 samples are too few, also under noise"
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_noise_is_no_noise(name: str) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    backend = resolve(f"{name}:depolarizing=0,damping=0.0,readout_error=0")
    ideal = resolve("statevector").evaluate(circuit, points(5, 0.3), weights_of(circuit))
    found = backend.evaluate(circuit, points(5, 0.3), weights_of(circuit))
    torch.testing.assert_close(found, ideal, atol=1e-10, rtol=0)
    assert not backend.capabilities.noisy
    assert backend.provenance()["noise"] is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("more", [(), ("shots=4096",)])
def test_its_qnode_has_the_noise_too(name: str, more: tuple[str, ...]) -> None:
    backend, circuit = (
        make(name, (0.05, 0.1, 0.1), *more),
        Circuit(RyRzCnot(n_qubits=2, n_layers=1)),
    )
    weights = weights_of(circuit)
    found = circuit.readout.collect(circuit.qnode(backend)(points(3), weights))
    exact = make(name, (0.05, 0.1, 0.1)).evaluate(circuit, points(3), weights)
    torch.testing.assert_close(found, exact, atol=5 / np.sqrt(4096) if more else 1e-10, rtol=0)


def test_an_operation_of_several_gates_has_the_noise_of_each() -> None:
    @dataclasses.dataclass(frozen=True)
    class Rotates(RyRzCnot):
        def apply(self, inputs: Tensor, weights: Tensor) -> None:
            qml.Rot(inputs[..., 0], weights[..., 0, 0, 0], weights[..., 0, 0, 1], wires=0)
            qml.Identity(1)
            qml.Barrier(wires=[0, 1])
            qml.CRY(inputs[..., 0], wires=[0, 1])

    circuit = Circuit(Rotates(n_qubits=2, n_layers=1))
    aer, mixed = (
        make(name, (0.05, 0.1, 0.02)).evaluate(circuit, points(4), weights_of(circuit))
        for name in NAMES
    )
    torch.testing.assert_close(aer, mixed, atol=1e-10, rtol=0)


def test_readout_errors_alone_cost_no_density_matrix_and_no_shifts() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))  # its two RZ angles change no probability
    for levels, method, live, most in (
        ((0, 0, 0.1), "statevector", 2, 24),
        ((0.1, 0, 0), "density_matrix", 4, 12),
    ):
        backend = make("aer", levels)
        backend.evaluate(circuit, points(3), weights_of(circuit).requires_grad_())
        assert backend.n_circuits_run == 3 * (1 + 2 * live)
        assert backend.provenance()["method"] == method
        assert backend.provenance()["noise"] is not None
        assert backend.capabilities.noisy
        assert backend.capabilities.max_qubits == most


@pytest.mark.parametrize("name", NAMES)
def test_records_copies_and_capabilities_know_the_noise(name: str) -> None:
    backend, circuit = make(name, (0.01, 0.0, 0.02)), Circuit(RyRzCnot(n_qubits=1, n_layers=1))
    record = json.loads(json.dumps(backend.provenance()))
    assert record["noise"] == {"depolarizing": 0.01, "damping": 0.0, "readout_error": 0.02}
    assert backend.capabilities.noisy
    expected = backend.evaluate(circuit, points(3), weights_of(circuit))
    copied = pickle.loads(pickle.dumps(backend))  # noqa: S301
    assert copied == backend
    assert copied != resolve(name)
    assert torch.equal(copied.evaluate(circuit, points(3), weights_of(circuit)), expected)
    with pytest.raises(BackendUnavailable, match="amplitudes"):
        backend.evaluate(Circuit(circuit.ansatz, RealAmplitudes()), points(3), weights_of(circuit))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("level", ["-0.1", "1.5", "nan", "inf"])
def test_what_is_no_probability_is_refused(name: str, option: str, level: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"{option}={level}: .*from 0 to 1"):
        resolve(f"{name}:{option}={level}")
    with pytest.raises(InvalidArgument, match=option):
        dataclasses.replace(resolve(name), **{option: True})  # type: ignore[arg-type]


def test_noise_where_it_cannot_be_is_refused() -> None:
    for name in ("default.qubit", "lightning.qubit"):
        with pytest.raises(
            InvalidArgument, match=r"damping=0\.1: .*take 'default\.mixed', or backend 'aer'"
        ):
            resolve(f"{name}:damping=0.1")
    with pytest.raises(
        InvalidArgument, match=r"readout_error=0\.1: noise='fake_manila' has errors of its own"
    ):
        resolve("aer:noise=fake_manila,readout_error=0.1")


def test_density_matrices_have_no_amplitudes() -> None:
    with pytest.raises(BackendUnavailable, match="amplitudes"):
        resolve("default.mixed").evaluate(
            Circuit(RyRzCnot(2, 1), RealAmplitudes()), torch.zeros(1, 1), torch.zeros(1, 2, 2)
        )
