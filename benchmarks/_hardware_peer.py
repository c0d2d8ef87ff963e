"""The part of `benchmarks.hardware` that runs in the environment of PennyLane-Qiskit.

It measures one forward and one backward pass, and prints them as JSON.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any
from unittest import mock

import pennylane as qml
import torch
from qiskit.transpiler import PassManager
from qiskit_aer import AerSimulator

from hybridq.circuits import Circuit, RyRzCnot


def main(device_name: str, batch: int, shots: int) -> None:
    """Measure a device of PennyLane-Qiskit."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"backend": AerSimulator()} if device_name == "qiskit.remote" else {}
    device = qml.device(device_name, wires=4, **options)
    _step(device, 2, shots)  # imports and first calls
    counts = {"transpilations": 0, "jobs": 0}
    run_aer, run_passes = AerSimulator.run, PassManager.run

    def counted_job(self: Any, *args: Any, **options: Any) -> Any:
        counts["jobs"] += 1
        return run_aer(self, *args, **options)

    def counted_passes(self: Any, circuits: Any, *args: Any, **options: Any) -> Any:
        counts["transpilations"] += len(circuits) if isinstance(circuits, list) else 1
        return run_passes(self, circuits, *args, **options)

    with (
        mock.patch.object(AerSimulator, "run", counted_job),
        mock.patch.object(PassManager, "run", counted_passes),
    ):
        start, wall = time.process_time(), time.perf_counter()
        gradients = _step(device, batch, shots)
        seconds, wall = time.process_time() - start, time.perf_counter() - wall
    versions = {
        name: version(name)
        for name in ("pennylane", "pennylane-qiskit", "qiskit", "qiskit-aer", "torch")
    }
    record = {
        "seconds": seconds,
        "wall_seconds": wall,
        **counts,
        "gradients": gradients,
        "versions": versions,
    }
    print(json.dumps(record))


def _step(device: Any, batch: int, shots: int) -> list[float]:
    """Run forward and backward, and return the gradient towards the weights."""
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 1, generator=random, dtype=torch.float64).requires_grad_()
    weights = torch.randn(
        circuit.weight_shape, generator=random, dtype=torch.float64
    ).requires_grad_()

    def run(inputs: torch.Tensor, weights: torch.Tensor) -> Any:
        circuit.ansatz.apply(inputs, weights)
        return circuit.readout.measure(4)

    node = qml.transforms.broadcast_expand(qml.set_shots(qml.QNode(run, device), shots))
    outputs = circuit.readout.collect(node(inputs, weights))
    _, gradient = torch.autograd.grad(outputs.sum(), (inputs, weights))
    return [float(entry) for entry in gradient.flatten()]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
