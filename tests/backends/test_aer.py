"""Aer's own: one compilation, one job, noise cut to the qubits used, streams of shots."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from hybridq.backends._qiskit.device_noise import confuse, noise_model
from hybridq.backends.aer import Aer
from hybridq.circuits import AbstractAnsatz, Circuit, Probabilities, RealAmplitudes, RyRzCnot
from hybridq.errors import BackendUnavailable, InvalidArgument, UnknownName

pytest.importorskip("qiskit_aer")

NOISE = "fake_torino"


def points(n: int) -> Tensor:
    return torch.linspace(0, 2 * np.pi, n + 1, dtype=torch.float64)[:n, None]


def weights_of(circuit: Circuit, seed: int = 0) -> Tensor:
    return torch.randn(
        circuit.weight_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@dataclass(frozen=True)
class Flips(AbstractAnsatz):
    """Nothing but X gates, so that any other outcome is an error of the gates or of the readout."""

    n_qubits: int = 2
    n_inputs: int = 0
    weight_shape: tuple[int, ...] = (0,)

    def apply(self, inputs: Any, weights: Any) -> None:
        for wire in range(self.n_qubits):
            qml.X(wire)


@dataclass(frozen=True)
class Turn(AbstractAnsatz):
    """One rotation on the first of some wires."""

    wires: int
    n_inputs: int = 1
    weight_shape: tuple[int, ...] = (0,)

    @property
    def n_qubits(self) -> int:
        return self.wires

    def apply(self, inputs: Any, weights: Any) -> None:
        qml.RY(inputs[..., 0], 0)


@pytest.mark.parametrize("backend", [Aer(), Aer(shots=64), Aer(noise=NOISE)], ids=repr)
def test_one_compilation_and_one_job_per_evaluation(backend: Aer) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=2))
    for seed in range(3):
        weights = weights_of(circuit, seed).requires_grad_()
        backend.evaluate(circuit, points(17), weights).sum().backward()
    assert backend.transpilations == 1
    assert backend.jobs_run == 3
    live = 8 if backend.noise else 6  # without noise the last two RZ change no probability
    assert backend.n_circuits_run == 3 * 17 * (1 + 2 * live)


def test_only_the_shifts_that_are_needed_are_run() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=2))
    backend = Aer()
    backend.evaluate(circuit, points(5), weights_of(circuit))
    assert backend.n_circuits_run == 5
    backend.evaluate(circuit, points(5).requires_grad_(), weights_of(circuit))
    assert backend.n_circuits_run == 5 + 5 * (1 + 2 * 4)  # the input is in the four RY angles
    with torch.no_grad():
        backend.evaluate(circuit, points(5).requires_grad_(), weights_of(circuit))
    assert backend.n_circuits_run == 5 + 5 * (1 + 2 * 4) + 5


def test_a_large_batch_is_cut_into_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
    expected = Aer().evaluate(circuit, points(10), weights_of(circuit))
    monkeypatch.setattr("hybridq.backends._qiskit.simulator._POINTS", 4)
    backend = Aer()
    torch.testing.assert_close(
        backend.evaluate(circuit, points(10), weights_of(circuit)), expected, atol=0, rtol=0
    )
    assert backend.jobs_run == 3
    assert backend.transpilations == 1


def test_qnodes_of_one_structure_are_compiled_once_and_gradients_are_one_job() -> None:
    backend, circuit = Aer(), Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    node = circuit.qnode(backend)
    for seed in range(3):
        weights = weights_of(circuit, seed).requires_grad_()
        circuit.readout.collect(node(points(1)[0], weights)).sum().backward()
    assert backend.transpilations == 1
    assert backend.jobs_run == 2 * 3
    before = backend.n_circuits_run
    node(points(1)[0], weights_of(circuit).requires_grad_())
    assert backend.n_circuits_run == before + 1, "a gradient is not computed before it is asked for"


@pytest.mark.parametrize("pattern", ["chain", "ring"])
def test_noise_cut_down_is_the_noise_of_the_whole_device(pattern: Any) -> None:
    """The reference: Qiskit's density matrix of the compiled circuit with the whole noise model."""
    from qiskit_aer import AerSimulator  # noqa: PLC0415
    from qiskit_aer.noise import NoiseModel  # noqa: PLC0415
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2  # noqa: PLC0415

    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2, pattern=pattern), Probabilities())
    backend = Aer(noise="fake_manila", initial_layout=(1, 2, 3))
    got = backend.evaluate(circuit, points(1), weights_of(circuit)).numpy()[0]
    (program,) = backend._simulator._circuits.values()
    whole = _on_the_device(program.physical, 5)
    whole.measure_all()
    angles = circuit.trace().affine()[1] @ weights_of(circuit).flatten().numpy()  # the input is 0
    bound = whole.assign_parameters(dict(zip(program.physical.parameters, angles, strict=True)))
    model = NoiseModel.from_backend(FakeManilaV2())
    shots = 200_000
    counts = (
        AerSimulator(noise_model=model, method="density_matrix")
        .run(bound, shots=shots, seed_simulator=5)
        .result()
    )
    expected = np.zeros(8)
    for bits, count in counts.get_counts().items():
        measured = bits[::-1]  # Qiskit's qubit 0 is its rightmost bit
        wires = [measured[program.physical.physical[q]] for q in program.physical.wires]
        expected[int("".join(wires), 2)] += count / shots
    np.testing.assert_array_less(abs(got - expected), 5 * np.sqrt(got * (1 - got) / shots))


def _on_the_device(physical: Any, n_qubits: int) -> Any:
    from qiskit import QuantumCircuit  # noqa: PLC0415

    circuit = QuantumCircuit(n_qubits)
    return circuit.compose(physical.circuit, qubits=list(physical.physical))


@pytest.mark.parametrize(
    ("device", "qubits"), [("FakeManilaV2", (3, 2)), ("FakeCairoV2", (18, 15, 12))]
)
def test_noise_cut_down_has_the_same_errors(device: str, qubits: tuple[int, ...]) -> None:
    from qiskit_aer.noise import NoiseModel  # noqa: PLC0415
    from qiskit_ibm_runtime import fake_provider  # noqa: PLC0415

    backend = vars(fake_provider)[device]()

    def errors(model: Any) -> set[str]:
        gates = [
            error
            for error in model.to_dict()["errors"]
            if set(error["operations"]) <= {"cx", "sx", "x", "measure"}
        ]
        return {
            f"{error['operations']} {sorted(error['gate_qubits'])} {_rounded(error)}"
            for error in gates
        }

    number = {qubit: i for i, qubit in enumerate(qubits)}
    whole = NoiseModel.from_backend(backend)
    kept = whole.to_dict()
    kept["errors"] = [e for e in kept["errors"] if number.keys() >= set(e["gate_qubits"][0])]
    for error in kept["errors"]:
        error["gate_qubits"] = [tuple(number[q] for q in error["gate_qubits"][0])]
    expected = errors(_Dict(kept))
    assert len(expected) >= 3 * len(qubits)
    assert errors(noise_model(backend.target, qubits)) == expected


@dataclass
class _Dict:
    content: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.content


def _rounded(error: dict[str, Any]) -> list[float]:
    return np.round(np.ravel(error["probabilities"]), 9).tolist()


def test_a_readout_error_that_is_not_symmetric() -> None:
    prepared = np.array([[0.0, 0.0, 1.0, 0.0]])  # |10>, wire 0 leftmost
    matrices = [
        np.array([[0.9, 0.1], [0.3, 0.7]]),
        np.array([[0.8, 0.2], [0.4, 0.6]]),
    ]  # [prepared, read]
    np.testing.assert_allclose(
        confuse(prepared, matrices), [[0.3 * 0.8, 0.3 * 0.2, 0.7 * 0.8, 0.7 * 0.2]], atol=1e-15
    )


def test_the_same_gates_on_more_qubits_are_another_structure() -> None:
    backend = Aer()
    for n_qubits in (1, 2):
        circuit = Circuit(Turn(n_qubits))
        assert backend.evaluate(circuit, points(2), torch.zeros(0, dtype=torch.float64)).shape == (
            2,
            n_qubits,
        )
    assert backend.transpilations == 2


def test_a_qnode_returns_the_complex_state() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=2), RealAmplitudes())
    arguments = points(3)[1], weights_of(circuit)
    got, expected = (circuit.qnode(backend)(*arguments) for backend in (Aer(), "default.qubit"))
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_a_qnode_of_other_operations_and_measurements() -> None:
    def function(angle: Any) -> Any:
        qml.Rot(angle, 0.2, 0.3, wires=0)
        qml.IsingXX(0.4, wires=[0, 1])
        qml.CRY(angle, wires=[1, 2])
        several = qml.expval(0.3 * qml.Z(0) + qml.X(1) @ qml.Y(2)), qml.expval(qml.X(0) @ qml.Z(2))
        return *several, qml.expval(qml.Y(0)), qml.probs(wires=[2, 0])

    got, expected = (
        np.concatenate([np.ravel(r) for r in qml.QNode(function, device)(0.7)])
        for device in (Aer().device(3), qml.device("default.qubit", wires=3, seed=0))
    )
    np.testing.assert_allclose(got, expected, atol=1e-10, rtol=0)


def test_gradients_of_a_qnode_of_a_batch_are_one_job_and_pennylanes() -> None:
    def function(inputs: Tensor, weights: Tensor) -> Any:
        qml.RY(inputs, wires=0)
        qml.Barrier(wires=[0, 1])
        qml.CRX(weights[0], wires=[0, 1])
        qml.RY(0.3, wires=1)
        qml.PhaseShift(weights[1], wires=1)
        qml.Hadamard(1)
        return qml.probs(wires=[1]), qml.expval(qml.Z(0) @ qml.Z(1)), qml.expval(qml.X(0))

    backend = Aer()
    gradients = []
    for device in (backend.device(2), qml.device("default.qubit", wires=2, seed=0)):
        inputs = points(5).flatten().requires_grad_()
        weights = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)
        outputs = torch.cat(
            [
                r.reshape(5, -1)
                for r in qml.QNode(function, device, interface="torch")(inputs, weights)
            ],
            1,
        )
        (
            outputs
            * torch.linspace(-1, 2, outputs.numel(), dtype=torch.float64).reshape(outputs.shape)
        ).sum().backward()
        gradients.append((outputs.detach(), inputs.grad, weights.grad))
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    assert backend.transpilations == 2  # <X> is measured after a Hadamard: another structure
    assert backend.jobs_run == 4  # forward and backward, for each of the two


def test_parameter_shift_by_pennylane_agrees_too() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    gradients = []
    for diff_method in ("device", "parameter-shift"):
        weights = weights_of(circuit).requires_grad_()
        node = circuit.qnode(Aer()).update(diff_method=diff_method)
        circuit.readout.collect(node(points(3)[1], weights)).sum().backward()
        gradients.append(weights.grad)
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)


def test_a_qnode_refuses_what_is_not_its_own() -> None:
    device = Aer().device(2)
    with pytest.raises(BackendUnavailable, match=r"Aer\(shots="):
        qml.set_shots(qml.QNode(lambda: qml.probs(wires=[0]), device), 10)()
    with pytest.raises(BackendUnavailable, match=r"qml\.expval, qml\.probs and qml\.state"):
        qml.QNode(lambda: qml.var(qml.Z(0)), device)()


def test_readout_error_is_there() -> None:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2  # noqa: PLC0415

    backend = Aer(noise="fake_manila", initial_layout=(1, 2))
    z = backend.evaluate(
        Circuit(Flips()),
        torch.zeros(1, 0, dtype=torch.float64),
        torch.zeros(0, dtype=torch.float64),
    )
    target = FakeManilaV2().target
    for wire, qubit in enumerate((1, 2)):
        error = target["measure"][(qubit,)]
        flip = getattr(error, "prob_meas0_prep1", error.error)
        # <Z> = -1 + 2 P(read 0); the X gate's own error is 20 to 100 times smaller and also pushes
        # <Z> up.
        assert -1 + 2 * flip - 1e-9 < z[0, wire].item() < -1 + 2 * flip + 0.1 * flip


def test_gradients_under_noise_agree_with_differences() -> None:
    backend, circuit = Aer(noise=NOISE), Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    inputs, weights = points(3)[1:2].requires_grad_(), weights_of(circuit).requires_grad_()
    backend.evaluate(circuit, inputs, weights)[0, 0].backward()
    step = 1e-4
    for index in np.ndindex(*circuit.weight_shape):
        shift = torch.zeros_like(weights)
        shift[index] = step
        with torch.no_grad():
            up, down = (
                backend.evaluate(circuit, inputs, weights + s * shift)[0, 0].item() for s in (1, -1)
            )
        # Central differences of a function with |f'''| <= 1: step**2 / 6 and rounding 1e-15 / step.
        assert abs(weights.grad[index].item() - (up - down) / (2 * step)) < step**2 / 6 + 1e-10  # type: ignore[index]


def test_shots_under_noise_have_the_noisy_mean() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1), Probabilities())
    exact = Aer(noise=NOISE).evaluate(circuit, points(5), weights_of(circuit))
    shots = 10_000
    sampled = Aer(noise=NOISE, shots=shots).evaluate(circuit, points(5), weights_of(circuit))
    assert bool(((sampled - exact).abs() < 5 * (exact * (1 - exact) / shots).sqrt()).all())
    assert not torch.equal(sampled, exact)
    torch.testing.assert_close(sampled * shots, (sampled * shots).round(), atol=1e-9, rtol=0)


def test_equal_points_get_different_shots() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=1), Probabilities())
    outputs = Aer(shots=100).evaluate(circuit, torch.zeros(20, 1), torch.ones(circuit.weight_shape))
    assert len({tuple(row) for row in outputs.tolist()}) > 10


def test_a_run_is_reproducible_and_its_evaluations_differ() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=1))

    def run(seed: int) -> list[Tensor]:
        backend = Aer(shots=100, seed=seed)
        return [backend.evaluate(circuit, points(4), weights_of(circuit)) for _ in range(2)]

    first, second = run(3), run(3)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], run(4)[0])


def test_an_empty_batch_and_a_circuit_without_parameters() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    assert Aer().evaluate(circuit, torch.zeros(0, 1), torch.zeros(circuit.weight_shape)).shape == (
        0,
        2,
    )
    z = Aer().evaluate(Circuit(Flips()), torch.zeros(3, 0), torch.zeros(0))
    torch.testing.assert_close(z, -torch.ones(3, 2), atol=0, rtol=0)


def test_a_missing_gpu_is_found_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit_aer import AerSimulator  # noqa: PLC0415

    monkeypatch.setattr(AerSimulator, "available_devices", lambda self: ("CPU",))
    with pytest.raises(BackendUnavailable, match=r"qiskit-aer-gpu"):
        Aer(processor="GPU")


@pytest.mark.gpu
def test_gpu_agrees_with_cpu() -> None:
    from qiskit_aer import AerSimulator  # noqa: PLC0415

    if "GPU" not in AerSimulator().available_devices():
        pytest.skip("this Aer has no GPU")
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=2))
    results = [
        Aer(processor=p).evaluate(circuit, points(5), weights_of(circuit)) for p in ("CPU", "GPU")
    ]  # type: ignore[arg-type]
    torch.testing.assert_close(*results, atol=1e-10, rtol=0)


def test_an_unknown_fake_device_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'fake_torino'"):
        Aer(noise="fake_tornio")


def test_options_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="processor"):
        Aer(processor="TPU")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="seed"):
        Aer(seed=-1)
    with pytest.raises(InvalidArgument, match="initial_layout"):
        Aer(initial_layout=(0, 1))
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    for layout in ((0,), (0, 0), (0, 999)):
        with pytest.raises(InvalidArgument, match="initial_layout"):
            Aer(noise=NOISE, initial_layout=layout).evaluate(
                circuit, torch.zeros(1, 1), torch.zeros(1, 2, 2)
            )


def test_a_circuit_that_does_not_fit_the_device_is_refused() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=6, n_layers=1))
    with pytest.raises(BackendUnavailable, match="has 5 qubits"):
        Aer(noise="fake_manila").evaluate(
            circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape)
        )


def test_provenance_says_which_calibration_and_qubits() -> None:
    backend, circuit = (
        Aer(noise=NOISE, shots=8, seed=2, initial_layout=(4, 5)),
        Circuit(RyRzCnot(2, 1)),
    )
    backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape))
    record = backend.provenance()
    assert record["calibration"].startswith("20")
    assert record["physical_qubits"] == [[4, 5]]
    assert (record["noise"], record["shots"], record["seed"]) == (NOISE, 8, 2)
    assert set(record["versions"]) == {"qiskit", "qiskit-aer", "qiskit-ibm-runtime"}
