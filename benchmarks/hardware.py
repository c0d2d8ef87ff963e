"""The device `hybridq.qiskit` against PennyLane-Qiskit: `python -m benchmarks.hardware PYTHON`.

One QNode, forward and backward: the circuit of quantum attention, 4 qubits and 2 layers, <Z> of
each wire, batch 32, 1,024 shots on Aer, gradients to inputs and weights by parameter shift. CPU
time, one thread. A step of hybridq is the median of several, after a first one that is reported by
itself, with its transpilation; a step of a peer takes minutes and is measured once, after a warm-up
with batch 2. Transpilations (runs of a pass manager) and jobs (runs of Aer) are those of one step;
of hybridq's, of the first.

PennyLane-Qiskit 0.45 cannot be installed beside the current qiskit-aer, so it has an environment of
its own:

    python3 -m venv peers
    peers/bin/pip install torch==2.13.0 pennylane==0.45.1 pennylane-qiskit==0.45.0
    OMP_NUM_THREADS=1 python -m benchmarks.hardware peers/bin/python
"""

import json
import subprocess
import sys
import time
from typing import Any

import pennylane as qml
import torch

from benchmarks._measure import Row, interleaved, one_thread, show
from hybridq.circuits import Circuit, RyRzCnot

BARS = {"qiskit.aer": 100, "qiskit.remote": 40}
BATCH, SHOTS = 32, 1024


def main(peers_python: str) -> None:
    """Measure and print."""
    one_thread()
    ours = _ours()
    peers = {name: _peer(peers_python, name) for name in BARS}
    exact = torch.tensor(_step(qml.device("default.qubit", wires=4), None))
    for measured in (ours, *peers.values()):
        errors = torch.tensor(measured.pop("gradients")) - exact
        measured["gradient_error"] = float(errors.abs().max())
    rows: list[Row] = []
    for name, bar in BARS.items():
        ratio = peers[name]["seconds"] / ours["seconds"]
        label = f"{name}, batch {BATCH}, {SHOTS:,} shots"
        seconds = _pair("{:.3g} s", ours, peers[name], "seconds")
        rows.append((label, *seconds, f"{ratio:.0f}x", f">= {bar}x"))
    for count in ("transpilations", "jobs"):
        for name in BARS:
            rows.append((f"{count}, {name}", *_pair("{:,}", ours, peers[name], count), "", ""))
    for name in BARS:
        errors_of_both = _pair("{:.2g}", ours, peers[name], "gradient_error")
        rows.append((f"largest error of the gradient, {name}", *errors_of_both, "", ""))
    title = "hybridq.qiskit against PennyLane-Qiskit on Aer"
    show("hardware", title, rows, {"hybridq.qiskit": ours, **peers})


def _pair(layout: str, ours: dict[str, Any], peer: dict[str, Any], key: str) -> tuple[str, str]:
    """Write a number of ours and of a peer's by a format string."""
    return layout.format(ours[key]), layout.format(peer[key])


def _ours() -> dict[str, Any]:
    _step(qml.device("hybridq.qiskit", wires=4), SHOTS, batch=2)  # imports and first calls
    device = qml.device("hybridq.qiskit", wires=4)
    start = time.process_time()
    gradients = _step(device, SHOTS)
    record = {
        "first_seconds": time.process_time() - start,
        "transpilations": device.transpilations,
        "jobs": device.jobs_run,
    }
    times = interleaved({"hybridq.qiskit": lambda: _step(device, SHOTS)}, repeats=15)
    return {"seconds": times["hybridq.qiskit"], **record, "gradients": gradients}


def _peer(python: str, name: str) -> dict[str, Any]:
    command = [python, "-m", "benchmarks._hardware_peer", name, str(BATCH), str(SHOTS)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    record: dict[str, Any] = json.loads(output.splitlines()[-1])
    return record


def _step(device: Any, shots: int | None, batch: int = BATCH) -> list[float]:
    """Run forward and backward, and return the gradient towards the weights."""
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 1, generator=random, dtype=torch.float64).requires_grad_()
    weights = torch.randn(
        circuit.weight_shape, generator=random, dtype=torch.float64
    ).requires_grad_()
    node = qml.set_shots(circuit.qnode(device), shots)
    outputs = circuit.readout.collect(node(inputs, weights))
    _, gradient = torch.autograd.grad(outputs.sum(), (inputs, weights))
    return [float(entry) for entry in gradient.flatten()]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
