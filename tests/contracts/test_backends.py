"""Every backend through one suite, against whole-matrix NumPy. It asks `capabilities` first."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import (
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.errors import BackendUnavailable, InvalidArgument, UnknownName
from tests.contracts._backend_settings import FILES, SETTINGS, SHOTS, Setting
from tests.reference.random_circuits import RandomAnsatz
from tests.reference.statevector import Real, outputs_and_jacobian

READOUTS = {
    "expval_z": ExpvalZ(),
    "probabilities": Probabilities(),
    "first_probabilities": FirstProbabilities(),
    "real_amplitudes": RealAmplitudes(),
}
BATCH = 3
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)
every_file = pytest.mark.parametrize("setting", FILES, ids=str)
with_shots = pytest.mark.parametrize("setting", [s for s in SETTINGS if s.takes_shots], ids=str)


@pytest.fixture(params=[setting for setting in SETTINGS if setting.shots is None], ids=str)
def exact(request: pytest.FixtureRequest) -> AbstractBackend:
    backend: AbstractBackend = request.param.make()
    if not backend.capabilities.exact:
        pytest.skip("not exact by default")
    if backend.capabilities.noisy:
        pytest.skip("noisy by default, so that its results are not those of the circuit")
    return backend


@pytest.fixture(params=[setting for setting in SETTINGS if setting.shots is not None], ids=str)
def sampled(request: pytest.FixtureRequest) -> AbstractBackend:
    backend: AbstractBackend = request.param.make()
    assert not backend.capabilities.exact
    if backend.capabilities.noisy:
        pytest.skip("noisy by default, so that its results are not those of the circuit")
    return backend


def circuit_for(
    backend: AbstractBackend, seed: int, wires: int, kind: str = "expval_z"
) -> tuple[RandomAnsatz, Circuit]:
    """Draw a circuit that the backend can run, on as many qubits as it has at most."""
    capabilities = backend.capabilities
    if not READOUTS[kind].diagonal and not capabilities.amplitudes:
        pytest.skip("no amplitudes")
    ansatz = RandomAnsatz(seed=seed, wires=min(wires, capabilities.max_qubits))
    return ansatz, Circuit(ansatz, READOUTS[kind])


def arguments(
    ansatz: RandomAnsatz, per_point: bool, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(ansatz.seed)
    inputs = torch.randn(BATCH, ansatz.n_inputs, generator=rng, dtype=torch.float64)
    shape = (BATCH, *ansatz.weight_shape) if per_point else ansatz.weight_shape
    weights = torch.randn(shape, generator=rng, dtype=torch.float64)
    return inputs.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_()


def reference(
    ansatz: RandomAnsatz, kind: str, inputs: Tensor, weights: Tensor
) -> tuple[Real, Real, Real]:
    """Return outputs (batch, outputs), and each point's derivatives in inputs and weights."""
    a, b, _ = ansatz.affine
    x, w = inputs.detach().double().numpy(), weights.detach().double().numpy()
    w = np.broadcast_to(w, (BATCH, *ansatz.weight_shape))
    parts = [
        outputs_and_jacobian(ansatz.gates, ansatz.angles(*p), ansatz.wires, kind)
        for p in zip(x, w, strict=True)
    ]
    return (
        np.array([y for y, _ in parts]),
        np.array([j @ a for _, j in parts]),
        np.array([j @ b for _, j in parts]),
    )


def check_gradients(
    backend: AbstractBackend,
    ansatz: RandomAnsatz,
    kind: str,
    per_point: bool,
    limit: Callable[[Real], Real],
) -> None:
    if backend.capabilities.gradient == "spsa":
        pytest.skip("its gradients are estimates from random directions")
    inputs, weights = arguments(ansatz, per_point)
    _, slope_x, slope_w = reference(ansatz, kind, inputs, weights)
    outputs = backend.evaluate(Circuit(ansatz, READOUTS[kind]), inputs, weights)
    mix = torch.linspace(-1.0, 1.3, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
    try:
        (outputs * mix).sum().backward()
    except ValueError as error:
        # Only of default.qubit is it known that PennyLane differentiates a state there.
        pennylanes = (
            backend.capabilities.gradient == "pennylane" and backend.name != "default.qubit"
        )
        if not pennylanes or READOUTS[kind].diagonal:
            raise
        pytest.skip(f"PennyLane has no gradient of a state there, and says so: {error}")
    assert inputs.grad is not None
    assert weights.grad is not None
    grad_x = np.einsum("bo,boi->bi", mix, slope_x)
    grad_w = np.einsum("bo,bow->bw", mix, slope_w)
    if not per_point:
        grad_w = grad_w.sum(0)
    for got, want in ((inputs.grad, grad_x), (weights.grad, grad_w.reshape(weights.shape))):
        np.testing.assert_array_less(abs(got.numpy() - want), limit(want))


@pytest.mark.parametrize("n_qubits", range(1, 7))
@pytest.mark.parametrize("kind", READOUTS)
def test_outputs_agree_with_numpy(exact: AbstractBackend, n_qubits: int, kind: str) -> None:
    ansatz, circuit = circuit_for(exact, 10 + n_qubits, n_qubits, kind)
    inputs, weights = arguments(ansatz, per_point=n_qubits % 2 == 0)
    outputs = exact.evaluate(circuit, inputs, weights)
    assert outputs.dtype == torch.float64
    np.testing.assert_allclose(
        outputs.detach().numpy(), reference(ansatz, kind, inputs, weights)[0], atol=1e-10, rtol=0
    )


def test_a_set_of_weights_serves_points_in_a_row(exact: AbstractBackend) -> None:
    ansatz, circuit = circuit_for(exact, seed=1, wires=2)  # whose outputs are not 0
    inputs = torch.linspace(0, 1, 4 * ansatz.n_inputs).reshape(4, -1)
    weights = torch.randn(2, *ansatz.weight_shape, generator=torch.Generator().manual_seed(0))
    ours = exact.evaluate(circuit, inputs, weights)
    torch.testing.assert_close(
        ours, exact.evaluate(circuit, inputs, weights.repeat_interleave(2, 0))
    )
    others = exact.evaluate(circuit, inputs, weights.repeat(2, *[1] * (weights.ndim - 1)))
    assert (ours - others).abs().max() > 0.01


@pytest.mark.parametrize("n_qubits", range(1, 7))
@pytest.mark.parametrize("kind", READOUTS)
def test_gradients_agree_with_numpy(exact: AbstractBackend, n_qubits: int, kind: str) -> None:
    ansatz, _ = circuit_for(exact, 20 + n_qubits, n_qubits, kind)
    check_gradients(
        exact,
        ansatz,
        kind,
        per_point=n_qubits % 2 == 1,
        limit=lambda want: np.full_like(want, 1e-10),
    )


@pytest.mark.parametrize("n_qubits", [1, 4])
@pytest.mark.parametrize("kind", ["expval_z", "probabilities"])
def test_shots_agree_with_numpy(sampled: AbstractBackend, n_qubits: int, kind: str) -> None:
    ansatz, circuit = circuit_for(sampled, 30 + n_qubits, n_qubits, kind)
    inputs, weights = arguments(ansatz, per_point=False)
    expected = reference(ansatz, kind, inputs, weights)[0]
    with torch.no_grad():
        outputs = sampled.evaluate(circuit, inputs, weights).numpy()
    variance = 1 - expected**2 if kind == "expval_z" else expected * (1 - expected)
    np.testing.assert_array_less(
        abs(outputs - expected), 5 * np.sqrt(variance.clip(0) / SHOTS) + 1e-12
    )
    assert abs(outputs - expected).max() > 0, "no shot noise"


def test_gradients_of_shots_agree_with_numpy(sampled: AbstractBackend) -> None:
    ansatz, _ = circuit_for(sampled, seed=40, wires=3)
    a, b, _ = ansatz.affine
    # A slope is half the difference of two outputs, each of variance at most 1/shots; the mix
    # weighs outputs by at most 1.3, which for n outputs of the same shots adds up to a standard
    # deviation of at most 1.3 n.
    sigma = 1.3 * 3 * np.sqrt(0.5 / SHOTS)
    spread = sigma * max(
        np.sqrt((a**2).sum(0)).max(), np.sqrt((b**2).sum(0)).max() * np.sqrt(BATCH)
    )
    check_gradients(
        sampled,
        ansatz,
        "expval_z",
        per_point=False,
        limit=lambda want: np.full_like(want, 5 * spread),
    )


@every_setting
def test_float32(setting: Setting) -> None:
    backend = setting.make()
    ansatz, circuit = circuit_for(backend, seed=50, wires=3)
    inputs, weights = arguments(ansatz, per_point=False, dtype=torch.float32)
    outputs = backend.evaluate(circuit, inputs, weights)
    outputs.sum().backward()
    assert outputs.dtype == inputs.grad.dtype == weights.grad.dtype == torch.float32  # type: ignore[union-attr]
    if backend.capabilities.noisy:
        return
    # 40 gates of rounding 6e-8 each, on outputs of order 1.
    limit = 40 * 6e-8 if backend.capabilities.exact else 5 / np.sqrt(SHOTS)
    np.testing.assert_allclose(
        outputs.detach().numpy(),
        reference(ansatz, "expval_z", inputs, weights)[0],
        atol=limit,
        rtol=0,
    )


@every_setting
def test_one_argument_alone_can_require_a_gradient(setting: Setting) -> None:
    for number in (0, 1):
        backend = setting.make()
        ansatz, circuit = circuit_for(backend, seed=60, wires=2)
        tensors = [t.detach() for t in arguments(ansatz, per_point=True)]
        tensors[number].requires_grad_()
        backend.evaluate(circuit, *tensors).sum().backward()
        assert tensors[number].grad is not None
        assert tensors[number].grad.abs().sum() > 0  # type: ignore[union-attr]


@every_setting
def test_points_are_counted(setting: Setting) -> None:
    backend = setting.make()
    ansatz, circuit = circuit_for(backend, seed=70, wires=2)
    inputs, weights = (t.detach() for t in arguments(ansatz, per_point=False))
    backend.evaluate(circuit, inputs, weights)
    backend.evaluate(circuit, inputs, weights)
    assert backend.n_circuits_run == 2 * BATCH


@every_setting
@pytest.mark.parametrize("per_point", [False, True])
@pytest.mark.parametrize("kind", READOUTS)
def test_a_batch_of_no_points(setting: Setting, per_point: bool, kind: str) -> None:
    backend = setting.make()
    ansatz, circuit = circuit_for(backend, 75, 2, kind)
    inputs = torch.zeros(0, ansatz.n_inputs, dtype=torch.float64, requires_grad=True)
    shape = (0, *ansatz.weight_shape) if per_point else ansatz.weight_shape
    weights = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    outputs = backend.evaluate(circuit, inputs, weights)
    assert outputs.shape == (0, circuit.n_outputs)
    assert outputs.dtype == torch.float64
    outputs.sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.shape == inputs.shape
    assert weights.grad is not None
    assert torch.equal(weights.grad, torch.zeros_like(weights))
    assert backend.n_circuits_run == 0


@every_setting
def test_options_stay_what_was_checked(setting: Setting) -> None:
    backend = setting.make()
    ansatz, circuit = circuit_for(backend, seed=85, wires=2)
    options = {
        option.name: getattr(backend, option.name)
        for option in dataclasses.fields(backend)
        if option.init
    }
    for option, value in options.items():
        with pytest.raises(
            InvalidArgument, match=rf"{option}=.*make a new one: dataclasses\.replace"
        ):
            setattr(backend, option, value)
        with pytest.raises(InvalidArgument, match=option):
            delattr(backend, option)
    backend.n_circuits_run = 5
    for copied in (copy.copy(backend), copy.deepcopy(backend), dataclasses.replace(backend)):
        assert copied == backend
        for option, value in options.items():
            with pytest.raises(InvalidArgument, match="make a new one"):
                setattr(copied, option, value)
    backend.evaluate(circuit, *arguments(ansatz, per_point=False))
    assert backend.n_circuits_run > 5


@with_shots
def test_other_options_are_another_backend(setting: Setting) -> None:
    backend: Any = setting.make()
    sampled = dataclasses.replace(backend, shots=10)
    assert (backend.shots, sampled.shots) == (setting.shots, 10)
    assert sampled != backend
    with pytest.raises(InvalidArgument, match="shots=0"):
        dataclasses.replace(backend, shots=0)


@every_setting
def test_shifted_points_are_counted(setting: Setting) -> None:
    backend = setting.make()
    ansatz = RyRzCnot(n_qubits=2, n_layers=1)  # its two RZ angles change no probability
    if backend.capabilities.gradient != "parameter-shift" or backend.capabilities.max_qubits < 2:
        pytest.skip("no parameter shift, or not for two qubits")
    inputs, weights = torch.zeros(BATCH, 1), torch.zeros(ansatz.weight_shape, requires_grad=True)
    backend.evaluate(Circuit(ansatz), inputs, weights).sum().backward()
    # A backend may leave out the angles that change nothing.
    assert backend.n_circuits_run in {BATCH * (1 + 2 * live) for live in (2, 3, 4)}


def test_how_many_shifted_points_there_are() -> None:
    pytest.importorskip("qiskit_aer")
    ansatz = RyRzCnot(n_qubits=2, n_layers=1)  # its two RZ angles change no probability
    inputs, weights = torch.zeros(BATCH, 1), torch.zeros(ansatz.weight_shape, requires_grad=True)
    aer, pennylane = resolve("aer"), resolve("default.qubit:shots=10")
    for backend in (aer, pennylane):
        backend.evaluate(Circuit(ansatz), inputs, weights).sum().backward()
    assert aer.n_circuits_run == BATCH * (1 + 2 * 2)
    assert pennylane.n_circuits_run == BATCH * (1 + 2 * 4)


@every_setting
def test_provenance_is_json_and_names_the_options(setting: Setting) -> None:
    backend = setting.make()
    record = json.loads(json.dumps(backend.provenance()))
    assert record["backend"] == backend.name
    assert (record["shots"] is None) == backend.capabilities.exact
    assert setting.shots in (None, record["shots"])


@every_setting
@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))],  # noqa: S301 - of ours
    ids=["deepcopy", "pickle"],
)
def test_a_used_backend_can_be_copied(
    setting: Setting, clone: Callable[[AbstractBackend], AbstractBackend]
) -> None:
    backend = setting.make()
    ansatz, circuit = circuit_for(backend, seed=80, wires=2)
    inputs, weights = (t.detach() for t in arguments(ansatz, per_point=False))
    backend.evaluate(circuit, inputs, weights)
    copied = clone(backend)
    assert copied == backend
    outputs = copied.evaluate(circuit, inputs, weights)
    assert outputs.shape == (BATCH, circuit.n_outputs)


# The QNode of an exact PennyLane device is PennyLane's own.
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s in FILES or s.shots], ids=str)
@pytest.mark.parametrize("kind", ["expval_z", "probabilities", "real_amplitudes"])
def test_its_qnode_says_the_same(setting: Setting, kind: str) -> None:
    backend = setting.make()
    n_qubits = min(2, backend.capabilities.max_qubits)
    circuit = Circuit(RyRzCnot(n_qubits, n_layers=1), READOUTS[kind])
    if kind == "real_amplitudes" and not backend.capabilities.amplitudes:
        pytest.skip("no amplitudes")
    inputs = torch.linspace(-1, 2, 3, dtype=torch.float64)[:, None]
    weights = torch.linspace(0.1, 0.9, 2 * n_qubits, dtype=torch.float64)
    weights = weights.reshape(circuit.weight_shape).requires_grad_()
    node = circuit.qnode(backend)
    outputs = circuit.readout.collect(node(inputs, weights))
    assert outputs.shape == (3, circuit.n_outputs)
    if backend.capabilities.noisy:
        return
    expected = circuit.qnode("default.qubit")(inputs, weights.detach())
    limit = 1e-10 if backend.capabilities.exact else 5 / np.sqrt(SHOTS)
    torch.testing.assert_close(outputs, circuit.readout.collect(expected), atol=limit, rtol=0)


@every_setting
def test_not_a_number_is_refused(setting: Setting) -> None:
    backend, circuit = setting.make(), Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    inputs, weights = torch.zeros(3, 1), torch.zeros(circuit.weight_shape)
    inputs[1] = float("nan")
    with pytest.raises(InvalidArgument, match=r"inputs.*finite"):
        backend.evaluate(circuit, inputs, weights)
    weights[0, 0, 0] = float("inf")
    with pytest.raises(InvalidArgument, match=r"weights.*finite"):
        backend.evaluate(circuit, torch.zeros(3, 1), weights)
    assert backend.n_circuits_run == 0


@every_setting
@pytest.mark.parametrize(
    ("inputs", "weights", "argument"),
    [
        (torch.zeros(3), torch.zeros(1, 2, 2), "inputs"),
        (torch.zeros(3, 2), torch.zeros(1, 2, 2), "inputs"),
        (torch.zeros(3, 1), torch.zeros(2, 2), "weights"),
        (torch.zeros(3, 1), torch.zeros(2, 1, 2, 2), "weights"),
        (torch.zeros(3, 1), torch.zeros(1, 2, 2, dtype=torch.float64), "weights"),
        (torch.zeros(3, 1, dtype=torch.int64), torch.zeros(1, 2, 2), "inputs"),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(
    setting: Setting, inputs: Tensor, weights: Tensor, argument: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{argument}"):
        setting.make().evaluate(Circuit(RyRzCnot(n_qubits=2, n_layers=1)), inputs, weights)


@every_setting
def test_what_is_no_tensor_is_refused(setting: Setting) -> None:
    backend, weights = setting.make(), torch.zeros(1, 2, 2)
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    message = r"^inputs, weights are of the types {}: .*as_tensor"
    with pytest.raises(InvalidArgument, match=message.format("list and Tensor")):
        backend.evaluate(circuit, [[0.3]], weights)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=message.format("Tensor and ndarray")):
        backend.evaluate(circuit, torch.zeros(1, 1), weights.numpy())  # type: ignore[arg-type]


@every_setting
def test_too_many_qubits_are_refused(setting: Setting) -> None:
    backend = setting.make()
    circuit = Circuit(RyRzCnot(n_qubits=backend.capabilities.max_qubits + 1, n_layers=1))
    with pytest.raises(BackendUnavailable, match="at most"):
        backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape))


@every_setting
def test_amplitudes_are_refused_where_they_cannot_be_measured(setting: Setting) -> None:
    backend, circuit = setting.make(), Circuit(RyRzCnot(n_qubits=1, n_layers=1), RealAmplitudes())
    if backend.capabilities.amplitudes:
        pytest.skip("it has amplitudes")
    with pytest.raises(BackendUnavailable, match="amplitudes"):
        backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape))


def test_shots_bring_shot_noise_and_no_amplitudes(sampled: AbstractBackend) -> None:
    assert not sampled.capabilities.amplitudes


@with_shots
@pytest.mark.parametrize("shots", [0, -1])
def test_shots_must_be_positive(setting: Setting, shots: int) -> None:
    with pytest.raises(InvalidArgument, match="shots"):
        setting.make(shots=shots)


@every_file
def test_its_name_is_that_of_its_file(setting: Setting) -> None:
    backend = setting.make()
    assert backend.name == setting.name
    assert resolve(backend) is backend


def test_an_unknown_backend_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'statevector'"):
        resolve("statvector")
