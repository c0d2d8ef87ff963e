"""A step of each optimizer against torch's: `python -m benchmarks.optimizers`."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from benchmarks._measure import Output, Row, interleaved, one_thread, peak_memory, show
from experiments.shared.command_line import run
from hybridq.errors import DataNotFound, require
from hybridq.optim import (
    QIASO,
    QIASOOptions,
    QuantumTunneling,
    SuperpositionalAdam,
    SuperpositionalOptions,
)

# The shapes of stories15M.
LAYERS = 6
WIDTH = 288
INNER = 768
VOCABULARY = 32_000

N_SMALL = 2_000
SMALL = 64
K = 30  # candidates of QIASO
LR = 1e-5
STEPS = 5  # So a turn of any takes more than the 0.1 s up to which it would be repeated.

Params = list[nn.Parameter]
Works = Mapping[str, Callable[[], Any]]

ALL = replace(SuperpositionalOptions.recommended(), entries="all")
BARS = {
    "SuperpositionalAdam": "<= 1.25x",
    "SuperpositionalAdam, no perturbation": "<= 1.02x",
    "QuantumTunneling between jumps": "<= 1.01x",
}


def main(output: Output = None) -> None:
    """Measure a step of each optimizer against torch's.

    The parameters are those of a 15 M-parameter Llama, read from
    HYBRIDQ_DATA/models/stories15M (without it random ones of the same shapes; the title says
    which), in float32, and 2,000 tensors of 64 numbers. Gradients are made once, so that nothing
    but the step is timed. All optimizers of a table share parameters, gradients and moments;
    "again" is a second AdamW, which shows how far two measurements of the same differ. The times
    are interleaved medians of CPU time on one thread.

    The memory of QIASO is what a step with 30 candidates, one after the other, allocates at its
    peak, and the parameters themselves, in units of the parameters. The loss is a sum without
    activations: those are the model's, not the optimizer's.
    """
    one_thread()
    llama, origin = llama_tensors()
    small = list(torch.randn(N_SMALL, SMALL, generator=_random()))
    names = (f"Llama, {_count(llama) / 1e6:.1f} M", f"{N_SMALL:,} x {SMALL}")
    rows: list[Row] = []
    seconds: dict[str, Any] = {}
    for name, tensors in zip(names, (llama, small), strict=True):
        params = _params(tensors)
        for works, repeats in ((_foreach(params), 21), (_wrapped(params), 41), (_loops(params), 5)):
            rows += _table(name, works, repeats, seconds)
    rows += _table("dense network, 0.67 M", _qiaso(), 5, seconds, steps=1)
    numbers: dict[str, Any] = {"llama": origin, "seconds": seconds}
    rows.append(_memory(_params(llama), numbers))
    show("optimizers", f"One step of an optimizer ({origin})", rows, numbers, output)


def llama_tensors() -> tuple[list[Tensor], str]:
    """Load the parameters of stories15M in float32, and say where they are from.

    Returns:
        The tensors, and a sentence for the title.

    Raises:
        DataNotFound: If HYBRIDQ_DATA names a folder without them. A folder that was named is never
            replaced.
    """
    folder = os.environ.get("HYBRIDQ_DATA")
    if folder:
        path = Path(folder) / "models" / "stories15M" / "model.safetensors"
        if not path.is_file():
            raise DataNotFound(
                f"{str(path)!r} does not exist. Fetch it, or unset HYBRIDQ_DATA for random tensors "
                "of its shapes."
            )
        loaded = require("safetensors.torch", "dev").load_file(path)
        return [tensor.float() for tensor in loaded.values()], "Llama: the weights of stories15M"
    layer = [
        (WIDTH,),
        (WIDTH, INNER),
        (INNER, WIDTH),
        (INNER, WIDTH),
        (WIDTH,),
        *[(WIDTH, WIDTH)] * 4,
    ]
    shapes = [(VOCABULARY, WIDTH), *layer * LAYERS, (WIDTH,)]
    random = _random()
    tensors = [torch.randn(shape, generator=random) / math.sqrt(WIDTH) for shape in shapes]
    return tensors, "Llama: random, shaped as stories15M"


def _foreach(params: Params) -> Works:
    """Make the steps with foreach=True. In every table the others are compared with the first."""
    adam = partial(AdamW, params, lr=LR, foreach=True)
    ours = partial(SuperpositionalAdam, params, lr=LR, foreach=True)
    optimizers = {
        "AdamW": adam(),
        "AdamW again": adam(),
        "SuperpositionalAdam": ours(),
        "SuperpositionalAdam, no perturbation": ours(strength=0.0),
        "SuperpositionalAdam, entries='all'": ours(options=ALL),
    }
    return _sharing_moments(optimizers)


def _wrapped(params: Params) -> Works:
    """Make the steps of one base with and without the wrapper, which shares its state."""
    base = AdamW(params, lr=LR, foreach=True)
    return {
        "AdamW, bare": base.step,
        "QuantumTunneling between jumps": QuantumTunneling(base, 10, 0.1).step,
    }


def _loops(params: Params) -> Works:
    """Make the steps with foreach=False."""
    optimizers = {
        "AdamW, foreach=False": AdamW(params, lr=LR, foreach=False),
        "SuperpositionalAdam, foreach=False": SuperpositionalAdam(params, lr=LR, foreach=False),
    }
    return _sharing_moments(optimizers)


def _sharing_moments(optimizers: Mapping[str, Optimizer]) -> Works:
    """Let all work on the same moments.

    Where tensors lie in memory makes up to a tenth of the time of a step.
    """
    first = next(iter(optimizers.values()))
    first.step()
    for optimizer in optimizers.values():
        optimizer.state = first.state
    return {name: optimizer.step for name, optimizer in optimizers.items()}


def _qiaso() -> Works:
    """Make a step of QIASO, and the forward passes in it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )
    inputs = torch.randn(256, 784)
    labels = torch.randint(0, 10, (256,))
    optimizer = QIASO(model.parameters(), seed=0, options=QIASOOptions(n_candidates=K))

    @torch.no_grad()
    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(inputs), labels)

    return {
        f"{K} forward passes of 256": lambda: [loss() for _ in range(K)],
        "QIASO": lambda: optimizer.step(loss),
    }


def _memory(params: Params, numbers: dict[str, Any]) -> Row:
    optimizer = QIASO(params, seed=0, options=QIASOOptions(n_candidates=K))
    size = 4 * _count(params)  # bytes
    above = peak_memory(lambda: optimizer.step(lambda: sum(param.sum() for param in params)))
    numbers["memory_bytes"] = {"parameters": size, "QIASO step, above them": above}
    label = f"Llama: QIASO, K = {K}, a loop: parameters and peak of a step, against the parameters"
    whole = size + above
    return (
        label,
        f"{whole / 1e6:.1f} MB",
        f"{size / 1e6:.1f} MB",
        f"{whole / size:.2f}x",
        "<= 3x",
    )


def _params(tensors: Sequence[Tensor]) -> Params:
    random = _random()
    params = [nn.Parameter(tensor.clone()) for tensor in tensors]
    for param in params:
        param.grad = 1e-3 * torch.randn(param.shape, generator=random)
    return params


def _table(
    name: str, works: Works, repeats: int, seconds: dict[str, Any], steps: int = STEPS
) -> list[Row]:
    """Time the works in turn; a row for each against the first."""
    turns = interleaved(_repeated(works, steps), repeats)
    times = {work: time / steps for work, time in turns.items()}
    reference, *others = times
    seconds.setdefault(name, {}).update(times)
    return [
        (
            f"{name}: {other}, against {reference}",
            f"{times[other] * 1e3:.2f} ms",
            f"{times[reference] * 1e3:.2f} ms",
            f"{times[other] / times[reference]:.3f}x",
            BARS.get(other, ""),
        )
        for other in others
    ]


def _repeated(works: Works, steps: int) -> Works:
    """Make turns of several steps, because the second step in a row is faster than the first."""

    def turn(work: Callable[[], Any]) -> None:
        for _ in range(steps):
            work()

    return {name: partial(turn, work) for name, work in works.items()}


def _count(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


if __name__ == "__main__":
    run(main)
