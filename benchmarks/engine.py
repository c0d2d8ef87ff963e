"""The engine against PennyLane's default.qubit: `python -m benchmarks.engine`."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pennylane as qml
import torch

from benchmarks._measure import Output, Row, interleaved, one_thread, peak_memory, show
from experiments.shared.command_line import run
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.engine import evaluate

MEMORY_BATCH = 262_144
PER_POINT = "weights of each point's own"


@dataclass(frozen=True)
class Case:
    """A circuit, a batch, and the least ratio of default.qubit's time to each engine's.

    Args:
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        batch: Number of points.
        native_bar: The least ratio for the compiled kernels; None where there is none.
        torch_bar: The least ratio for the engine in torch.
        repeats: Number of turns that are measured.
        own_weights: Whether each point has weights of its own.
    """

    n_qubits: int
    n_layers: int
    batch: int
    native_bar: int | None = None
    torch_bar: int | None = None
    repeats: int = 7
    own_weights: bool = False

    def title(self) -> str:
        """Say what is run."""
        weights = f", {PER_POINT}" if self.own_weights else ""
        return f"{self.n_qubits} qubits, {self.n_layers} layers, batch {self.batch:,}{weights}"


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


def main(output: Output = None) -> None:
    """Measure the engine against PennyLane's default.qubit.

    The circuit is that of quantum attention, with `<Z>` of each wire, in float32. The gradients to
    inputs and weights are those of hybridq's reversible adjoint, in compiled kernels and in torch,
    and of default.qubit's backpropagation with broadcasting. All start from a given gradient of the
    outputs, so that no sum is timed. The times are interleaved medians of CPU time on one thread.
    With weights of each point's own, every angle differs from point to point, RZ included.
    """
    one_thread()
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    tensors, process = _memory(circuit)  # This comes first, while nothing else has taken memory.
    rows: list[Row] = []
    seconds: dict[str, Any] = {}
    for case in CASES:
        times = seconds[case.title()] = interleaved(_works(case), case.repeats)
        rows.append(_row(case, times, "native", case.native_bar))
        rows.append(_row(case, times, "torch", case.torch_bar))
    times = interleaved(_two_layers(), 21)
    ratio = _two_threads(circuit)
    label = f"peak memory, batch {MEMORY_BATCH:,}"
    rows += [
        _limit("2 sets of weights x 17 points, native", times["native"] * 1e3, "ms", 0.15),
        ("batch 65,536, two threads against one, wall clock", "", "", f"{ratio:.2f}x", ">= 1.6x"),
        _limit(f"{label}, tensors", tensors / 1e9, "GB", 0.06),
        _limit(f"{label}, whole process, imports included", process / 1e9, "GB", 0.5),
    ]
    numbers = {
        "seconds": seconds,
        "memory_bytes": {"tensors": tensors, "process": process},
        "seconds_17_points": times,
        "two_threads": ratio,
    }
    title = "Engine against default.qubit (broadcasting, backpropagation), forward + backward"
    show("engine", title, rows, numbers, output)


def _limit(work: str, value: float, unit: str, most: float) -> Row:
    return work, f"{value:.3f} {unit}", "", "", f"<= {most:g} {unit}"


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

    def backward(outputs: Callable[[], torch.Tensor]) -> Callable[[], Any]:
        gradient = torch.ones_like(outputs())  # float64 by default.qubit
        return lambda: torch.autograd.grad(outputs(), (inputs, weights), gradient)

    return {
        "native": backward(lambda: evaluate(circuit, inputs, weights, "native")),
        "torch": backward(lambda: evaluate(circuit, inputs, weights, "torch")),
        "default.qubit": backward(lambda: circuit.readout.collect(node(inputs, weights))),
    }


def _two_layers() -> dict[str, Callable[[], Any]]:
    """Make the work of the circuits of two layers of quantum attention: 17 points each."""
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2))
    inputs = torch.linspace(0, 6, 17).repeat(2)[:, None]
    weights = torch.randn(2, *circuit.weight_shape).requires_grad_()
    gradient = torch.ones(len(inputs), circuit.n_outputs)
    return {
        "native": lambda: torch.autograd.grad(
            evaluate(circuit, inputs, weights, "native"), weights, gradient
        )
    }


def _two_threads(circuit: Circuit) -> float:
    """Return how many times faster two threads are than one, by the clock on the wall.

    It takes the shortest of many runs of each. There is no sum, because torch's own threads spin
    after one.
    """
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
    """Return the peak of torch's tensors for one large batch, and that of this whole process.

    Both are in bytes; the process has its imports in it.
    """

    def work() -> None:
        inputs, weights = _tensors(circuit, MEMORY_BATCH)
        torch.autograd.grad(evaluate(circuit, inputs, weights).sum(), (inputs, weights))

    work()
    # The process is read before the profiler runs, which takes memory, too.
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak_memory(work), float(process)


if __name__ == "__main__":
    run(main)
