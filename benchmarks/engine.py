"""The engine against PennyLane's default.qubit: `python -m benchmarks.engine`.

The circuit of quantum attention, <Z> of each wire; float32; gradients to inputs and weights by
hybridq's reversible adjoint, in compiled kernels and in torch, and by default.qubit's
backpropagation with broadcasting, all from a given gradient of the outputs, so that no sum is
timed. CPU time, one thread, interleaved medians. With weights of each point's own, every angle
differs from point to point, RZ included.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch

from benchmarks._measure import Row, interleaved, one_thread, peak_memory, show
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.engine import evaluate

MEMORY_BATCH = 262_144
PER_POINT = "weights of each point's own"


@dataclass(frozen=True)
class Case:
    """A row: a circuit, a batch, and the least ratio of default.qubit's time to each engine's."""

    n_qubits: int
    n_layers: int
    batch: int
    native_bar: int | None = None
    torch_bar: int | None = None
    repeats: int = 7
    own_weights: bool = False

    def title(self) -> str:
        """What was run."""
        own = f", {PER_POINT}" if self.own_weights else ""
        return f"{self.n_qubits} qubits, {self.n_layers} layers, batch {self.batch:,}{own}"


CASES = (
    Case(4, 2, 1, 100, repeats=21),
    Case(4, 2, 64, 100, repeats=21),
    Case(4, 2, 4096, 90, 5, repeats=15),
    Case(4, 2, 65536, 120, 5),
    Case(6, 4, 16384, 120, repeats=3),
    Case(16, 2, 1, 40, repeats=7),
    Case(16, 2, 16, 90, repeats=3),
    Case(4, 2, 4096, own_weights=True),
    Case(4, 2, 65536, own_weights=True, repeats=3),
)


def main() -> None:
    """Measure and print."""
    one_thread()
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    tensors, process = _memory(circuit)  # first, while nothing else has taken memory
    rows: list[Row] = []
    numbers: dict[str, Any] = {
        "seconds": {},
        "memory_bytes": {"tensors": tensors, "process": process},
    }
    for case in CASES:
        times = interleaved(_works(case), case.repeats)
        numbers["seconds"][case.title()] = times
        rows += [
            _row(case, times, "native", case.native_bar),
            _row(case, times, "torch", case.torch_bar),
        ]
    numbers["seconds_17_points"] = times = interleaved(_two_layers(), 21)
    rows.append(
        (
            "2 sets of weights x 17 points, native",
            f"{times['native'] * 1e3:.3f} ms",
            "",
            "",
            "<= 0.15 ms",
        )
    )
    numbers["two_threads"] = ratio = _two_threads(circuit)
    rows.append(
        ("batch 65,536, two threads against one, wall clock", "", "", f"{ratio:.2f}x", ">= 1.6x")
    )
    rows.append(
        (
            f"peak memory, batch {MEMORY_BATCH:,}, tensors",
            f"{tensors / 1e9:.3f} GB",
            "",
            "",
            "<= 0.06 GB",
        )
    )
    whole = f"peak memory, batch {MEMORY_BATCH:,}, whole process, imports included"
    rows.append((whole, f"{process / 1e9:.3f} GB", "", "", "<= 0.5 GB"))
    show(
        "engine",
        "Engine against default.qubit (broadcasting, backpropagation), forward + backward",
        rows,
        numbers,
    )


def _row(case: Case, times: dict[str, float], engine: str, bar: int | None) -> Row:
    ratio = times["default.qubit"] / times[engine]
    reference = f"{times['default.qubit'] * 1e3:.2f} ms"
    return (
        f"{case.title()}, {engine}",
        f"{times[engine] * 1e3:.3f} ms",
        reference,
        f"{ratio:.1f}x",
        f">= {bar}x" if bar else "",
    )


def _works(case: Case) -> dict[str, Callable[[], Any]]:
    circuit = Circuit(RyRzCnot(n_qubits=case.n_qubits, n_layers=case.n_layers))
    inputs, weights = _tensors(circuit, case.batch)
    if case.own_weights:
        weights = weights.detach().repeat(case.batch, 1, 1, 1).requires_grad_()
    node = circuit.qnode(qml.device("default.qubit", wires=circuit.n_qubits))

    def run(outputs: Callable[[], torch.Tensor]) -> Callable[[], Any]:
        gradient = torch.ones_like(outputs())  # float64 by default.qubit
        return lambda: torch.autograd.grad(outputs(), (inputs, weights), gradient)

    return {
        "native": run(lambda: evaluate(circuit, inputs, weights, "native")),
        "torch": run(lambda: evaluate(circuit, inputs, weights, "torch")),
        "default.qubit": run(lambda: circuit.readout.collect(node(inputs, weights))),
    }


def _two_layers() -> dict[str, Callable[[], Any]]:
    """The circuits of two layers of quantum attention: 17 points each."""
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    inputs, weights = (
        torch.linspace(0, 6, 17).repeat(2)[:, None],
        torch.randn(2, *circuit.weight_shape).requires_grad_(),
    )
    gradient = torch.ones(len(inputs), circuit.n_outputs)
    return {
        "native": lambda: torch.autograd.grad(
            evaluate(circuit, inputs, weights, "native"), weights, gradient
        )
    }


def _two_threads(circuit: Circuit) -> float:
    """By the clock on the wall, the shortest of many runs of each; without a sum, after which torch's own threads spin."""
    inputs, weights = _tensors(circuit, 65536)
    gradient = torch.ones(65536, circuit.n_outputs)
    shortest = {1: float("inf"), 2: float("inf")}
    for _ in range(60):
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            start = time.perf_counter()
            torch.autograd.grad(
                evaluate(circuit, inputs, weights, "native"), (inputs, weights), gradient
            )
            shortest[n_threads] = min(shortest[n_threads], time.perf_counter() - start)
    one_thread()
    return shortest[1] / shortest[2]


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
    whole = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )  # before the profiler, which takes memory too
    return peak_memory(work), float(whole)


if __name__ == "__main__":
    main()
