"""The kit for backends of one's own: it is public, and nothing outside reaches behind it."""

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml
import pytest
import torch
from torch import Tensor

import hybridq.backends
from hybridq.backends import (
    AbstractBackend,
    BackendDevice,
    Capabilities,
    ParametrisedCircuit,
    TapeAnsatz,
    check_shots,
    evaluate_by_shifts,
    read_tape,
    resolve,
)
from hybridq.circuits import Circuit, RyRzCnot

ROOT = Path(hybridq.__file__).parents[1]
OUTSIDE = [
    file
    for room in ("hybridq", "experiments", "benchmarks")
    for file in sorted((ROOT / room).rglob("*.py"))
    if (ROOT / "hybridq" / "backends") not in file.parents
]
Array = npt.NDArray[np.float64]


@dataclass
class Remote(AbstractBackend):
    """A backend as a newcomer writes it: it runs arrays of angles, and knows no gradients."""

    shots: int | None = None
    batches: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        check_shots(self.shots)

    @property
    def name(self) -> str:
        """`remote`."""
        return "remote"

    @property
    def capabilities(self) -> Capabilities:
        """Exact."""
        return Capabilities(exact=True, gradient="parameter-shift", max_qubits=4, amplitudes=False)

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return the kit's device."""
        return BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Return the name."""
        return {"backend": self.name, "shots": self.shots, "noise": None}

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        def run(parametrised: ParametrisedCircuit, points: Array) -> Array:
            self.batches.append(len(points))
            gates = tuple((gate.name, gate.wires) for gate in parametrised.trace.gates)
            elsewhere = Circuit(TapeAnsatz(circuit.n_qubits, gates), circuit.readout)
            angles = torch.from_numpy(points)
            with torch.no_grad():
                outputs = resolve("statevector").evaluate(elsewhere, angles, angles.new_empty(0))
            return outputs.numpy()

        return evaluate_by_shifts(circuit, inputs, weights, run, noisy=False)


def test_a_backend_from_the_kit() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    inputs = torch.tensor([[0.3], [1.2]], dtype=torch.float64)
    weights = torch.linspace(0.1, 0.9, 4, dtype=torch.float64).reshape(circuit.weight_shape)
    remote = Remote()
    gradients = []
    for backend in (remote, resolve("statevector")):
        trained = weights.clone().requires_grad_()
        outputs = backend.evaluate(circuit, inputs, trained)
        gradients.append(torch.autograd.grad(outputs.square().sum(), trained)[0])
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)
    assert len(remote.batches) == 1, "outputs and gradient are one batch"
    node = circuit.qnode(remote.device(2))
    values = torch.stack(list(node(inputs[0], weights)))
    torch.testing.assert_close(values, resolve("statevector").evaluate(circuit, inputs, weights)[0])


def test_a_tape_is_read_into_gates_angles_and_measurements() -> None:
    with qml.queuing.AnnotatedQueue() as queue:
        qml.Hadamard("b")
        qml.RX(np.array([0.1, 0.2]), "a")
        qml.Barrier(["a", "b"])
        qml.GlobalPhase(0.7)
        qml.RZ(0.3, "b")
        qml.probs(["b"])
    tape = qml.tape.QuantumScript.from_queue(queue)
    tape.trainable_params = [0, 2]
    reading = read_tape(tape, ("a", "b"), phases=False)
    assert reading.gates == (("Hadamard", (1,)), ("RX", (0,)), ("RZ", (1,)))
    np.testing.assert_array_equal(reading.angles, [[0.1, 0.3], [0.2, 0.3]])
    assert reading.columns == (0, None, 1)
    assert reading.trained_columns == (0, 1)
    np.testing.assert_array_equal(reading.outcomes(reading.measurements[0], 2), [0, 1, 0, 1])


def test_a_tape_with_other_operations_is_decomposed() -> None:
    with qml.queuing.AnnotatedQueue() as queue:
        qml.Rot(0.1, 0.2, 0.3, 0)
        qml.RY(0.4, 0)
    reading = read_tape(qml.tape.QuantumScript.from_queue(queue), range(1))
    assert [name for name, _ in reading.gates] == ["RZ", "RY", "RZ", "RY"]
    np.testing.assert_array_equal(reading.angles, [[0.1, 0.2, 0.3, 0.4]])
    assert reading.columns == (None, None, None, 3), "an angle of Rot is no angle of a base gate"


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_outside_imports_what_is_private_to_backends(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        assert not [name for name in modules if name.startswith("hybridq.backends._")]
