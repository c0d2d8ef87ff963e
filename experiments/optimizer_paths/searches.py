"""A surface with many minima, the ways to search it, and the record of a search."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hybridq.optim import QIASO, QIASOOptions, QuantumTunneling
from hybridq.seeding import generator

__all__ = [
    "OPTIMUM",
    "REACH",
    "Make",
    "Trace",
    "descend",
    "random_search",
    "rastrigin",
    "restarted",
    "start_of",
    "superpose",
]

OPTIMUM = (1.3, -0.8)
REACH = 4.0  # Starts and random points are drawn from [-4, 4]^2.

Make = Callable[[list[nn.Parameter]], Optimizer]


@dataclass
class Trace:
    """What one search did.

    Args:
        losses: The loss of each evaluation, in order.
        path: The points where the search was, or the centres of its candidates, the start included.
        jumps: Positions in `path` from which the next one was reached by a jump.
        returns: The same for jumps that were taken back.
        clouds: The candidates around each position of `path` but the last, of shape (K, 2).
        tunnelled: Which of the candidates had tunnelled, of shape (K,).
    """

    losses: list[float] = field(default_factory=list)
    path: list[Sequence[float]] = field(default_factory=list)
    jumps: list[int] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)
    clouds: list[np.ndarray] = field(default_factory=list)
    tunnelled: list[np.ndarray] = field(default_factory=list)

    @property
    def best(self) -> np.ndarray:
        """The lowest loss so far, shape (evaluations,)."""
        return np.minimum.accumulate(np.asarray(self.losses))


def rastrigin(points: Tensor) -> Tensor:
    """Evaluate sum_i (z_i^2 - 10 cos(2 pi z_i) + 10) with z = x - OPTIMUM.

    The optimum lies away from 0, where sin(pi theta) vanishes and where a search that shrinks its
    weights would end.

    Args:
        points: Shape (..., 2).

    Returns:
        Losses, shape (...); 0 at OPTIMUM, a local minimum about every 1 in both directions.
    """
    z = points - torch.tensor(OPTIMUM, dtype=points.dtype)
    return (z.square() - 10 * torch.cos(2 * math.pi * z) + 10).sum(-1)


def start_of(seed: int) -> Tensor:
    """Draw the point from which every search of a seed begins.

    Args:
        seed: A non-negative integer.

    Returns:
        A point, uniform on [-REACH, REACH]^2, shape (2,), float64.
    """
    return _uniform(generator(seed, "start"), ())


def descend(
    make: Make, start: Tensor, evaluations: int, epoch: int = 100, clip: float | None = None
) -> Trace:
    """Follow gradients. A gradient counts as one evaluation, although its backward pass costs more.

    Args:
        make: Makes the optimizer.
        start: The first point, shape (2,).
        evaluations: Number of evaluations of the loss.
        epoch: Number of steps of an epoch. At its end `QuantumTunneling` is told the loss, which is
            one evaluation more.
        clip: The largest norm of a gradient; None for no limit.

    Returns:
        What the search did.
    """
    trace = Trace(path=[start.tolist()])
    # Shape (1, 2), so that a rule for matrices only applies to it, too.
    point = nn.Parameter(start[None].clone())
    optimizer = make([point])
    steps = 0
    while len(trace.losses) < evaluations:
        optimizer.zero_grad()
        loss = rastrigin(point).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        trace.losses.append(loss.item())
        if clip is not None:
            nn.utils.clip_grad_norm_([point], clip)
        optimizer.step()
        trace.path.append(point.detach()[0].tolist())
        steps += 1
        if (
            isinstance(optimizer, QuantumTunneling)
            and steps % epoch == 0
            and len(trace.losses) < evaluations
        ):
            _end_epoch(optimizer, point, trace)
    return trace


def _end_epoch(optimizer: QuantumTunneling, point: Tensor, trace: Trace) -> None:
    loss = float(rastrigin(point.detach()))
    trace.losses.append(loss)
    if optimizer.epoch_end(loss):
        reverted = optimizer.diagnosis is not None and optimizer.diagnosis.reverted
        (trace.returns if reverted else trace.jumps).append(len(trace.path) - 1)
        trace.path.append(point.detach()[0].tolist())


def restarted(make: Make, seed: int, evaluations: int, every: int) -> Trace:
    """Follow gradients, and go on from a new random point every so many steps."""
    trace = Trace()
    source = generator(seed, "restarts")
    start = start_of(seed)
    while len(trace.losses) < evaluations:
        part = descend(make, start, min(every, evaluations - len(trace.losses)))
        trace.losses += part.losses
        trace.path += part.path
        start = _uniform(source, ())
    return trace


def random_search(seed: int, evaluations: int) -> Trace:
    """Evaluate uniform random points."""
    points = _uniform(generator(seed, "random search"), (evaluations,))
    return Trace(losses=rastrigin(points).tolist(), path=points.tolist())


def _uniform(source: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    return REACH * (2 * torch.rand(*shape, 2, generator=source, dtype=torch.float64) - 1)


def superpose(options: QIASOOptions, seed: int, evaluations: int) -> Trace:
    """Search with candidates; each step is an epoch, and the path is that of the centre."""
    point = nn.Parameter(start_of(seed))
    optimizer = QIASO([point], seed=seed, options=options)
    trace = Trace(path=[point.tolist()])
    while len(trace.losses) < evaluations:
        candidates = optimizer.ask()
        here = torch.stack([optimizer.weights(candidate)[0] for candidate in candidates])  # (K, 2)
        stayed = torch.stack(
            [optimizer.weights(replace(candidate, before_jump=True))[0] for candidate in candidates]
        )
        trace.clouds.append(here.numpy())
        trace.tunnelled.append((here != stayed).any(1).numpy())
        losses = rastrigin(here)
        trace.losses += losses.tolist()
        optimizer.tell(losses)
        optimizer.epoch_end()
        trace.path.append(point.tolist())
    del trace.losses[evaluations:]
    return trace
