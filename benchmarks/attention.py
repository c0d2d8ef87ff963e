"""Quantum attention against plain attention: `python -m benchmarks.attention [--no-compile]`.

Whole training steps of SPGD's Table II model (batch 32, length 32, dropout 0.1, Adam), the layer alone, and one circuit for
every score on default.qubit. "Plain" is the same layer without the circuit, in eager torch. CPU time, one thread, float32,
interleaved medians; memory is the peak of torch's tensors over forward and backward.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._measure import Row, interleaved, one_thread, peak_memory, show
from experiments.classifier import TextClassifier
from hybridq.layers import Attention, QuantumAttention, QuantumOptions
from hybridq.layers.tiles import free_space

SHAPES = ((32, 4, 32, 16), (32, 4, 128, 16), (8, 8, 256, 64))  # batch, heads, length, head size
Work = Callable[[], Any]


def main() -> None:
    """Measure and print."""
    one_thread()
    torch.manual_seed(0)
    numbers: dict[str, Any] = {}
    rows = _steps(numbers, compiled="--no-compile" not in sys.argv)
    for dropout in (0.1, 0.0):
        for shape in SHAPES:
            rows += _layer(shape, dropout, numbers)
    rows += _per_score(numbers)
    show("attention", "Quantum attention against plain attention", rows, numbers)


def _steps(numbers: dict[str, Any], *, compiled: bool) -> list[Row]:
    """Whole training steps."""
    plain, quantum = (TextClassifier(500, 4, quantum=choice) for choice in (None, QuantumOptions()))
    works = {"plain": _step(plain, plain), "quantum": _step(quantum, quantum)}
    if compiled:
        works |= {
            f"compiled {name}": _step(model, torch.compile(model))
            for name, model in (("plain", plain), ("quantum", quantum))
        }
    times = interleaved(works, repeats=61, warm_up=4)
    numbers["step_seconds"] = times
    rows = [_row("Table II step, eager, against plain eager", times["quantum"], times["plain"], "<= 1.75x")]
    if compiled:
        ours = times["compiled quantum"]
        rows.append(_row("Table II step, compiled, against plain compiled", ours, times["compiled plain"], "<= 1.5x"))
        rows.append(_row("Table II step, compiled, against plain eager", ours, times["plain"], ""))
    return rows


def _step(model: nn.Module, call: Callable[[Tensor], Tensor]) -> Work:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ids, labels = torch.randint(1, 500, (32, 32)), torch.randint(0, 4, (32,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(call(ids), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _layer(shape: tuple[int, int, int, int], dropout: float, numbers: dict[str, Any]) -> list[Row]:
    """The layer alone, time and memory."""
    batch, heads, length, size = shape
    x = torch.randn(batch, length, heads * size, requires_grad=True)
    plain = Attention(heads * size, heads, dropout, batch_first=True)
    fused = nn.MultiheadAttention(heads * size, heads, dropout, batch_first=True)  # scaled_dot_product_attention
    works = {
        name: _pass(layer, x) for name, layer in (("plain", plain), ("sdpa", fused), ("quantum", _quantum(shape, dropout)))
    }
    times = interleaved(works, repeats=31 if length == 32 else 9)
    free_space()
    memory = {name: peak_memory(work) for name, work in works.items()}
    label = f"layer {shape}, dropout {dropout:g}"
    numbers[label] = {"seconds": times, "memory_bytes": memory}
    ratio = memory["quantum"] / memory["plain"]
    return [
        _row(f"{label}, against plain", times["quantum"], times["plain"], ""),
        _row(f"{label}, against scaled_dot_product", times["quantum"], times["sdpa"], ""),
        (f"{label}, memory", _megabytes(memory["quantum"]), _megabytes(memory["plain"]), f"{ratio:.2f}x", "<= 1.5x"),
    ]


def _per_score(numbers: dict[str, Any]) -> list[Row]:
    """One circuit for every score: all in one call with a copy of its head's angles beside each, or a call per head."""
    shape = SHAPES[0]
    x = torch.randn(shape[0], shape[2], shape[1] * shape[3], requires_grad=True)
    by_head = QuantumOptions(method="per_score")
    layers = {
        "the engine, a call per head": _quantum(shape, 0.1, by_head),
        "default.qubit, a call per head": _quantum(shape, 0.1, by_head, "default.qubit"),
        "default.qubit, one call": _OneCall(shape[1] * shape[3], shape[1], 0.1, True, True, by_head, "default.qubit"),
    }
    works = {"fourier": _pass(_quantum(shape, 0.1), x)} | {name: _pass(layer, x) for name, layer in layers.items()}
    times = interleaved(works, repeats=5)
    numbers["per_score_seconds"] = times
    rows: list[Row] = []
    for name in layers:
        label = f"layer {shape}, one circuit per score on {name}"
        ratio, bar = times[name] / times["fourier"], ">= 300x" if name.startswith("default") else ""
        rows.append((label, _milliseconds(times["fourier"]), _milliseconds(times[name]), f"{ratio:.0f}x", bar))
    return rows


class _OneCall(QuantumAttention):
    """Every score's circuit in one evaluation, the angles of its head beside each score."""

    def _per_score(self, scores: Tensor) -> Tensor:
        shape, weights = scores.shape, self.circuit_weights.weights()  # (batch, heads, length, keys), (heads, ...)
        own = weights.view(1, shape[1], 1, 1, -1).expand(*shape, -1).reshape(-1, *weights.shape[1:])
        outputs = self.backend.evaluate(self.options.circuit, scores.reshape(-1, 1), own).view(*shape, -1)
        readout = self.circuit_weights.readout.view(1, shape[1], 1, 1, -1)
        return (outputs * readout).sum(-1) * self.gate.view(1, -1, 1, 1)


def _quantum(
    shape: tuple[int, int, int, int], dropout: float, options: QuantumOptions | None = None, backend: str = "statevector"
) -> QuantumAttention:
    _, heads, _, size = shape
    return QuantumAttention(heads * size, heads, dropout, batch_first=True, options=options, backend=backend)


def _pass(layer: nn.Module, x: Tensor) -> Work:
    def work() -> None:
        layer(x, x, x, need_weights=False)[0].sum().backward()

    return work


def _row(work: str, ours: float, reference: float, bar: str) -> Row:
    return work, _milliseconds(ours), _milliseconds(reference), f"{ours / reference:.2f}x", bar


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
