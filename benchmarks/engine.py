"""The engine against PennyLane's default.qubit: `python -m benchmarks.engine`.

The circuit of quantum attention, 4 qubits and 2 layers, <Z> of each wire; float32; gradients to inputs and weights by
hybridq's reversible adjoint and by default.qubit's backpropagation with broadcasting. CPU time, one thread, interleaved
medians.
"""

import resource
from collections.abc import Callable
from typing import Any

import pennylane as qml
import torch

from benchmarks._measure import Row, interleaved, one_thread, peak_memory, show
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.engine import evaluate

BARS = {1: None, 17: 8, 64: None, 4096: 5, 65536: 5}
MEMORY_BATCH, MEMORY_BAR = 262_144, 0.5e9


def main() -> None:
    """Measure and print."""
    one_thread()
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    tensors, process = _memory(circuit)  # first, while nothing else has taken memory
    rows: list[Row] = []
    numbers: dict[str, Any] = {"seconds": {}, "memory_bytes": {"tensors": tensors, "process": process}}
    for batch, bar in BARS.items():
        times = interleaved(_works(circuit, batch), repeats=31 if batch < 10_000 else 7)
        ratio = times["default.qubit"] / times["hybridq"]
        numbers["seconds"][batch] = times
        rows.append(_row(f"4 qubits, 2 layers, batch {batch:,}", times, ratio, "" if bar is None else f">= {bar}x"))
    times = interleaved(_works(Circuit(RyRzCnot(n_qubits=16, n_layers=2)), 1), repeats=5)
    numbers["seconds_16_qubits"] = times
    rows.append(_row("16 qubits, 2 layers, batch 1", times, times["default.qubit"] / times["hybridq"], ""))
    rows.append((f"peak memory, batch {MEMORY_BATCH:,}, tensors", f"{tensors / 1e9:.3f} GB", "", "", "<= 0.5 GB"))
    rows.append(
        (
            f"peak memory, batch {MEMORY_BATCH:,}, whole process, imports included",
            f"{process / 1e9:.3f} GB",
            "",
            "",
            "<= 0.5 GB",
        )
    )
    show("engine", "Engine against default.qubit (broadcasting, backpropagation), forward + backward", rows, numbers)


def _row(work: str, times: dict[str, float], ratio: float, bar: str) -> Row:
    return work, f"{times['hybridq'] * 1e3:.2f} ms", f"{times['default.qubit'] * 1e3:.2f} ms", f"{ratio:.1f}x", bar


def _works(circuit: Circuit, batch: int) -> dict[str, Callable[[], Any]]:
    inputs, weights = _tensors(circuit, batch)
    node = circuit.qnode(qml.device("default.qubit", wires=circuit.n_qubits))

    def ours() -> None:
        torch.autograd.grad(evaluate(circuit, inputs, weights).sum(), (inputs, weights))

    def reference() -> None:
        torch.autograd.grad(circuit.readout.collect(node(inputs, weights)).sum(), (inputs, weights))

    return {"hybridq": ours, "default.qubit": reference}


def _tensors(circuit: Circuit, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, 1, generator=random).requires_grad_()
    return inputs, torch.randn(circuit.weight_shape, generator=random).requires_grad_()


def _memory(circuit: Circuit) -> tuple[float, float]:
    """Peak of torch's tensors for one large batch, and of this whole process with its imports, bytes."""

    def work() -> None:
        inputs, weights = _tensors(circuit, MEMORY_BATCH)
        torch.autograd.grad(evaluate(circuit, inputs, weights).sum(), (inputs, weights))

    work()
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before the profiler, which takes memory too
    return peak_memory(work), float(whole)


if __name__ == "__main__":
    main()
