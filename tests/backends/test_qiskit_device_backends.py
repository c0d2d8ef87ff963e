"""The device `hybridq.qiskit` on fake devices, others' and IBM's, and PennyLane's own tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pennylane as qml
import pytest
import torch

from hybridq.backends._plugin.device import QiskitDevice
from hybridq.errors import BackendUnavailable, InvalidArgument, UnknownName

pytest.importorskip("qiskit_aer")
pytest.importorskip("qiskit_ibm_runtime")

from qiskit.providers import BackendV2, Options
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_ibm_runtime import IBMBackend
from qiskit_ibm_runtime.fake_provider import FakeTorino

from hybridq.backends.aer import Aer
from tests.backends._qiskit_nodes import MEASUREMENTS, SPINE, flat, node, spine, tensors
from tests.backends._stub_service import DEVICE, StubClient, StubService


class Vendor(BackendV2):
    """A device of another vendor, without errors, all qubits coupled; its jobs are counted."""

    def __init__(self, max_circuits: int | None = None) -> None:
        super().__init__(name="vendor")
        self._inner = AerSimulator(n_qubits=5, basis_gates=["rz", "sx", "x", "cz"])
        self._target = self._inner.target
        self._most = max_circuits
        self.sizes: list[int] = []

    @property
    def target(self) -> Any:
        return self._target

    @property
    def max_circuits(self) -> int | None:
        return self._most

    @classmethod
    def _default_options(cls) -> Any:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        self.sizes.append(len(run_input))
        return self._inner.run(run_input, **options)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What installing the distribution does: the entry point."""
    info = tmp_path / "hybridq_plugin-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hybridq-plugin\nVersion: 0\n")
    target = f"{QiskitDevice.__module__}:{QiskitDevice.__name__}"
    (info / "entry_points.txt").write_text(f"[pennylane.plugins]\nhybridq.qiskit = {target}\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        qml.refresh_devices()
        yield tmp_path
    qml.refresh_devices()


@pytest.mark.parametrize("given", ["name", "object"])
def test_a_fake_device_is_the_aer_backend_with_its_noise(given: str) -> None:
    inputs, weights = tensors(3)
    device = QiskitDevice(wires=4, backend="fake_torino" if given == "name" else FakeTorino())
    outputs = SPINE.readout.collect(spine(device)(inputs, weights))
    expected = Aer(noise="fake_torino").evaluate(SPINE, inputs, weights)
    assert torch.allclose(outputs, expected, rtol=0, atol=1e-10)
    ours, theirs = (
        torch.autograd.grad(values.sum(), (inputs, weights)) for values in (outputs, expected)
    )
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(ours, theirs, strict=True))
    assert (device.transpilations, device.jobs_run) == (1, 2)
    assert (
        device.n_circuits_run == 3 + 3 * 2 * 16
    )  # under noise no rotation is known to be without effect


def test_tapes_of_several_structures_are_one_job_of_a_device() -> None:
    vendor = Vendor()
    device = QiskitDevice(wires=3, backend=vendor)
    run = qml.set_shots(node(device, MEASUREMENTS["hamiltonian"], (0, 1, 2)), 4096)
    x = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    y = torch.tensor(0.7, dtype=torch.float64)
    values = run(x, y)
    assert vendor.sizes == [2 * 3]  # ZZ and X together, Y alone
    values.sum().backward()
    assert len(vendor.sizes) == 2
    assert (device.transpilations, device.jobs_run) == (2, 2)
    exact = node(qml.device("default.qubit"), MEASUREMENTS["hamiltonian"], (0, 1, 2))(x, y)
    assert ((values - exact).abs() <= 5 * (0.5 + 1.5 + 0.25) / 4096**0.5).all()


def test_a_device_that_takes_few_circuits_gets_more_jobs() -> None:
    vendor = Vendor(max_circuits=4)
    device, (inputs, weights) = QiskitDevice(wires=4, backend=vendor), tensors(10)
    outputs = SPINE.readout.collect(spine(device, 4096)(inputs, weights))
    assert vendor.sizes == [4, 4, 2]
    assert device.jobs_run == 3
    exact = SPINE.readout.collect(spine(QiskitDevice(wires=4))(inputs, weights))
    assert ((outputs - exact).abs() <= 5 / 4096**0.5).all()


def test_circuits_without_angles_on_a_device() -> None:
    @qml.set_shots(100)
    @qml.qnode(QiskitDevice(wires=["q", "p"], backend=Vendor()))
    def run() -> Any:
        qml.X("p")
        return qml.counts(wires=["q", "p"])

    assert run() == {"01": 100}


def test_an_ibm_device_gets_one_job_forward_and_one_backward(tmp_path: Path) -> None:
    client = StubClient(tmp_path)
    ibm = StubService(client).backend(DEVICE)
    assert isinstance(ibm, IBMBackend)
    device = QiskitDevice(wires=3, backend=ibm)
    run = qml.set_shots(node(device, MEASUREMENTS["expval"], (0, 1, 2)), 1000)
    x = torch.tensor([0.1, 0.9], dtype=torch.float64, requires_grad=True)
    y = torch.tensor(0.7, dtype=torch.float64)
    values = flat(run(x, y))
    assert len(client.submissions) == 1
    values.sum().backward()
    assert len(client.submissions) == device.jobs_run == 2
    assert device.transpilations == 1
    exact = flat(node(qml.device("default.qubit"), MEASUREMENTS["expval"], (0, 1, 2))(x, y))
    assert ((values - exact).abs() <= 0.2 + 5 / 1000**0.5).all()  # the device is noisy


def test_a_simulator_with_noise_is_sampled_like_a_device() -> None:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.2, 1), ["x"])
    device = QiskitDevice(wires=1, backend=AerSimulator(noise_model=model))

    @qml.qnode(device)
    def run() -> Any:
        qml.X(0)
        return qml.expval(qml.Z(0))

    assert abs(qml.set_shots(run, 20_000)() + 0.8) <= 5 / 20_000**0.5
    with pytest.raises(BackendUnavailable, match="shots=None"):
        run()


def test_points_have_streams_of_their_own() -> None:
    noisy = AerSimulator(noise_model=NoiseModel(["rz", "sx", "x", "cz"]))
    for backend in ("aer_simulator", noisy):
        run = qml.set_shots(
            node(QiskitDevice(wires=3, backend=backend), MEASUREMENTS["all probs"], (0, 1, 2)), 1000
        )
        rows = run(torch.full((4,), 0.5), torch.tensor(0.7))
        assert len({tuple(row.tolist()) for row in rows}) == 4


def test_options_of_the_given_simulator_count() -> None:
    single = QiskitDevice(wires=3, backend=AerSimulator(method="statevector", precision="single"))
    point = (torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    ours, exact = (
        flat(node(device, MEASUREMENTS["all probs"], (0, 1, 2))(*point))
        for device in (single, QiskitDevice(wires=3))
    )
    assert 0 < (ours - exact).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "fake_torin"}, UnknownName, "fake_torino"),
        ({"backend": 3}, InvalidArgument, "BackendV2"),
        ({"seed": -1}, InvalidArgument, "seed=-1"),
    ],
)
def test_options_that_cannot_be_used(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        QiskitDevice(wires=1, **options)


@pytest.mark.parametrize(
    ("options", "n_qubits", "message"),
    [
        ({"backend": Vendor()}, 6, "has 5 qubits"),
        ({"backend": "fake_manila"}, 6, "has 5 qubits"),
        ({}, 25, "at most 24 wires"),
        ({"backend": AerSimulator(method="stabilizer")}, 1, "Aer could not run"),
    ],
)
def test_circuits_that_cannot_be_run(options: dict[str, Any], n_qubits: int, message: str) -> None:
    @qml.set_shots(10)
    @qml.qnode(QiskitDevice(**options))
    def run() -> Any:
        for wire in range(n_qubits):
            qml.RX(0.3, wire)
        return qml.expval(qml.Z(0))

    with pytest.raises(BackendUnavailable, match=message):
        run()


def test_a_gpu_that_is_not_there() -> None:
    simulator = AerSimulator(device="GPU")
    if "GPU" in simulator.available_devices():
        pytest.skip("this Aer has a GPU")
    with pytest.raises(BackendUnavailable, match="runs on CPU only"):
        QiskitDevice(wires=1, backend=simulator)


def test_the_variance_of_a_sum_over_many_wires() -> None:
    every = qml.sum(*(qml.Z(wire) for wire in range(9)))
    with pytest.raises(InvalidArgument, match="at most 8 wires"):
        qml.QNode(lambda: qml.var(every), QiskitDevice(wires=9))()


def test_a_fake_device_has_no_state() -> None:
    with pytest.raises(qml.exceptions.DeviceError, match="not accepted"):
        qml.QNode(qml.state, QiskitDevice(wires=1, backend="fake_manila"))()


def test_the_entry_point(plugin: Path) -> None:
    device = qml.device("hybridq.qiskit", wires=4, backend="fake_torino", seed=3)
    assert isinstance(device, QiskitDevice)
    assert device.name == "hybridq.qiskit"


@pytest.mark.slow
@pytest.mark.parametrize("shots", ["None", "20000"])
def test_pennylanes_own_device_tests(plugin: Path, shots: str) -> None:
    pytest.importorskip("flaky")
    pytest.importorskip("pytest_mock")
    tests = Path(qml.__file__).parent / "devices" / "tests"
    path = os.pathsep.join([str(plugin), *filter(None, sys.path)])
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(tests),
        "--device=hybridq.qiskit",
        f"--shots={shots}",
        "--skip-ops",
    ]
    command += [
        "--no-flaky-report",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(tests / "pytest.ini"),
    ]
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(
        command, check=False, cwd=plugin, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]
