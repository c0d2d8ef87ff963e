"""Quantum attention against plain attention: `python -m benchmarks.attention`."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from benchmarks._measure import Output, Row, interleaved, one_thread, peak_memory, show
from experiments.shared.classifier import TextClassifier
from experiments.shared.command_line import run
from hybridq.layers import Attention, QuantumAttention, QuantumOptions, fourier_attention
from hybridq.layers.fused.plain import attend_by_logits, composed
from hybridq.layers.fused.tiles import free_space
from hybridq.layers.options import Sharing

SHAPES = (
    (32, 4, 32, 16),
    (32, 4, 128, 16),
    (8, 8, 256, 64),
    (1, 32, 1024, 64),
)  # batch, heads, length, head size
Shape = tuple[int, int, int, int]
Work = Callable[[], Any]


def main(
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="measure torch.compile, too")
    ] = True,
    output: Output = None,
) -> None:
    """Measure quantum attention against plain attention.

    Three things are measured: whole training steps of SPGD's Table II model (batch 32, length 32,
    dropout 0.1, Adam); the attention alone, from q, k, v of shape (batch, heads, length, head size)
    to the output, without and with the circuits, and the module with its projections; and one
    circuit for every score.

    "Plain" is the same without the circuit, in eager torch; "sdpa" is torch's
    scaled_dot_product_attention; "torch" is ours without the compiled kernels. The times are
    interleaved medians of CPU time on one thread, in float32; memory is the peak of torch's tensors
    over forward and backward. Attention is differentiated by torch.autograd.grad from a gradient of
    its output, so that no sum and no accumulation is timed with it.
    """
    one_thread()
    torch.manual_seed(0)
    numbers: dict[str, Any] = {}
    rows = _steps(numbers, compiled=compiled)
    for dropout in (0.1, 0.0):
        for shape in SHAPES:
            rows += _layer(shape, dropout, numbers)
    rows += _per_score(SHAPES[0], "module", 7, numbers)
    rows += _per_score(SHAPES[0], "per_head", 7, numbers)
    show("attention", "Quantum attention against plain attention", rows, numbers, output)


def _steps(numbers: dict[str, Any], *, compiled: bool) -> list[Row]:
    """Measure whole training steps."""
    plain, quantum, sdpa = (
        TextClassifier(500, 4, score=score) for score in (None, "elementwise", None)
    )
    for layer in sdpa.modules():
        if isinstance(layer, Attention):
            layer.__class__ = _SdpaAttention
    works = {
        "plain": _step(plain, plain),
        "sdpa": _step(sdpa, sdpa),
        "quantum": _step(quantum, quantum),
    }
    if compiled:
        works |= {
            f"compiled {name}": _step(model, torch.compile(model))
            for name, model in (("plain", plain), ("quantum", quantum))
        }
    times = interleaved(works, repeats=61, warm_up=4)
    numbers["step_seconds"] = times
    eager = "Table II step, eager, against"
    rows = [
        _row(f"{eager} plain eager", times["quantum"], times["plain"], "<= 1.75x"),
        _row(f"{eager} sdpa", times["quantum"], times["sdpa"], "<= 1.10x"),
    ]
    if compiled:
        ours = times["compiled quantum"]
        label = "Table II step, compiled, against"
        rows += [
            _row(f"{label} plain compiled", ours, times["compiled plain"], "<= 1.5x"),
            _row(f"{label} plain eager", ours, times["plain"], ""),
        ]
    return rows


class _SdpaAttention(Attention):
    """Plain attention by torch's own operator, which returns no weights."""

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        *,
        need_weights: bool,
        diagonal: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, mask, dropout), None


def _step(model: nn.Module, call: Callable[[Tensor], Tensor]) -> Work:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ids = torch.randint(1, 500, (32, 32))
    labels = torch.randint(0, 4, (32,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(call(ids), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _layer(shape: Shape, dropout: float, numbers: dict[str, Any]) -> list[Row]:
    """Measure time and memory of the attention alone and of the module with its projections."""
    batch, heads, length, size = shape
    label = f"{shape}, dropout {dropout:g}"
    q, k, v = qkv = _qkv(shape)
    circuit = _module(shape, dropout)
    fixed = circuit.coefficients().detach().requires_grad_()
    attend = partial(fourier_attention, q, k, v, scale=size**-0.5, dropout=dropout)
    core = {
        "series": _pass(lambda: attend(fixed), *qkv, fixed),
        "no series": _pass(lambda: attend(None), *qkv),
        "torch": _pass(lambda: attend(fixed, engine="torch"), *qkv, fixed),
        "quantum": _pass(lambda: attend(circuit.coefficients()), *qkv, *circuit.circuit_parameters),
        "plain": _pass(lambda: composed(q, k, v, None, scale=size**-0.5, dropout=dropout)[0], *qkv),
        "sdpa": _pass(lambda: F.scaled_dot_product_attention(q, k, v, dropout_p=dropout), *qkv),
    }
    x = torch.randn(batch, length, heads * size, requires_grad=True)
    plain = Attention(heads * size, heads, dropout, batch_first=True)
    module = {"quantum": _layer_pass(_module(shape, dropout), x), "plain": _layer_pass(plain, x)}
    repeats = 31 if length == 32 else 9
    rows: list[Row] = []
    for name, works in ((f"attention {label}", core), (f"module {label}", module)):
        times = interleaved(works, repeats)
        free_space()
        memory = {kind: peak_memory(work) for kind, work in works.items()}
        numbers[name] = {"seconds": times, "memory_bytes": memory}
        if "series" in times:
            rows += _kernel(name, times, memory)
        against = [kind for kind in ("plain", "sdpa") if kind in times]
        rows += [
            _row(f"{name}, against {kind}", times["quantum"], times[kind], "") for kind in against
        ]
        rows.append(_memory(f"{name}, memory", memory["quantum"], memory["plain"], "<= 1.5x"))
    return rows


def _kernel(name: str, times: dict[str, float], memory: dict[str, float]) -> list[Row]:
    """Compare the attention alone, without its circuits, with torch's own kernel."""
    return [
        _row(f"{name}, series alone, against sdpa", times["series"], times["sdpa"], "<= 1.2x"),
        _row(f"{name}, without the series, against sdpa", times["no series"], times["sdpa"], ""),
        _row(f"{name}, series alone, against engine='torch'", times["series"], times["torch"], ""),
        _memory(
            f"{name}, series alone, memory against sdpa",
            memory["series"],
            memory["sdpa"],
            "<= 1.0x",
        ),
    ]


def _per_score(shape: Shape, sharing: Sharing, repeats: int, numbers: dict[str, Any]) -> list[Row]:
    """Measure the Fourier form against one circuit for every score.

    One call runs the circuits of all heads that share angles; otherwise there is a call per head.
    On both sides the row of the Fourier form is what attention takes less what the same attention
    takes without circuits and series. The next rows are the whole of both, and the reference
    against torch's own attention, which has no circuits, no series and no dropout: no way to run
    the circuits could do better than that.
    """
    qkv = _qkv(shape)
    scale = shape[3] ** -0.5
    fast = _module(shape, 0.1, QuantumOptions(sharing=sharing))
    works = {
        "fourier": _pass(partial(_fourier, fast, qkv, scale), *qkv, *fast.circuit_parameters),
        "fourier, no circuits": _pass(
            lambda: fourier_attention(*qkv, None, scale=scale, dropout=0.1), *qkv
        ),
        "no circuits": _pass(lambda: composed(*qkv, None, scale=scale, dropout=0.1)[0], *qkv),
        "sdpa": _pass(lambda: F.scaled_dot_product_attention(*qkv), *qkv),
    }
    for backend in ("statevector", "default.qubit"):
        slow = _module(shape, 0.1, QuantumOptions(sharing=sharing, method="per_score"), backend)
        works[backend] = _pass(
            partial(_one_by_one, slow, qkv, scale), *qkv, *slow.circuit_parameters
        )
    times = interleaved(works, repeats)
    numbers[f"per score {shape}, angles {sharing}, seconds"] = times
    rows: list[Row] = []
    for backend, bar in (("statevector", ""), ("default.qubit", ">= 2000x")):
        label = f"{shape}, angles {sharing}, a circuit per score on {backend}"
        ours = times["fourier"] - times["fourier, no circuits"]
        theirs = times[backend] - times["no circuits"]
        rows.append(_times(f"Fourier form {label}", ours, theirs, bar))
        rows.append(_times(f"whole attention {label}", times["fourier"], times[backend], ""))
        rows.append(_times(f"sdpa without circuits {label}", times["sdpa"], times[backend], ""))
    return rows


def _fourier(module: QuantumAttention, qkv: tuple[Tensor, Tensor, Tensor], scale: float) -> Tensor:
    return fourier_attention(*qkv, module.coefficients(), scale=scale, dropout=0.1)


def _one_by_one(
    module: QuantumAttention, qkv: tuple[Tensor, Tensor, Tensor], scale: float
) -> Tensor:
    q, k, v = qkv
    logits = module.score.per_pair(q, k, scale)
    return attend_by_logits(logits, v, dropout=0.1)[0]


def _qkv(shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    return q, k, v


def _module(
    shape: Shape,
    dropout: float,
    options: QuantumOptions | None = None,
    backend: str = "statevector",
) -> QuantumAttention:
    _, heads, _, size = shape
    return QuantumAttention(
        heads * size, heads, dropout, batch_first=True, options=options, backend=backend
    )


def _pass(attend: Callable[[], Tensor], *sources: Tensor) -> Work:
    """Make the work of a forward pass, and of a backward pass towards the sources."""
    gradient = torch.randn_like(attend())
    return lambda: torch.autograd.grad(attend(), sources, gradient)


def _layer_pass(layer: nn.Module, x: Tensor) -> Work:
    return _pass(lambda: layer(x, x, x, need_weights=False)[0], x, *layer.parameters())


def _row(work: str, ours: float, reference: float, bar: str) -> Row:
    return work, _milliseconds(ours), _milliseconds(reference), f"{ours / reference:.2f}x", bar


def _times(work: str, ours: float, reference: float, bar: str) -> Row:
    return work, _milliseconds(ours), _milliseconds(reference), f"{reference / ours:.0f}x", bar


def _memory(work: str, ours: float, reference: float, bar: str) -> Row:
    return work, _megabytes(ours), _megabytes(reference), f"{ours / reference:.2f}x", bar


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    run(main)
