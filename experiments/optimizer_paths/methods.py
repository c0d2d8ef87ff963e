"""The searches that are compared, all with the same starts, seeds and number of evaluations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from experiments.optimizer_paths.searches import (
    REACH,
    Make,
    Trace,
    descend,
    random_search,
    rastrigin,
    restarted,
    start_of,
    superpose,
)
from hybridq.errors import require
from hybridq.optim import (
    QIASOOptions,
    QuantumTunneling,
    SuperpositionalAdam,
    SuperpositionalOptions,
    TunnelingOptions,
)
from hybridq.seeding import derive

__all__ = ["ADAM_LR", "EPOCH", "LEAP", "METHODS", "SGD_LR", "SPREAD", "Method"]

ADAM_LR = 0.01
SGD_LR = 0.002  # SGD diverges above 2 / 397, where 397 is the largest curvature.
EPOCH = 75  # Steps; Adam settles in them.
LEAP = 0.8  # The minima are 1 apart.
# Candidates that see several minima at first, one in the end, and jump by about one.
SPREAD = {"sigma_start": 1.0, "sigma": 1.0, "sigma_decay": 0.95, "epsilon": 1.0}


@dataclass(frozen=True)
class Method:
    """A search.

    Args:
        label: The name in tables.
        search: Runs the search for a seed and a number of evaluations.
    """

    label: str
    search: Callable[[int, int], Trace]


def _descent(label: str, make: Make, clip: float | None = None) -> Method:
    return Method(
        label, lambda seed, evaluations: descend(make, start_of(seed), evaluations, clip=clip)
    )


def _superpositional(
    label: str,
    strength: float,
    options: SuperpositionalOptions | None = None,
    clip: float | None = None,
) -> Method:
    def make(params: list[nn.Parameter]) -> Optimizer:
        return SuperpositionalAdam(params, lr=ADAM_LR, strength=strength, options=options)

    return _descent(label, make, clip)


def _tunneling(
    label: str, base: Make, strength: float = LEAP, interval: int = 1, **switches: Any
) -> Method:
    options = replace(TunnelingOptions.recommended(), **{"size": "absolute"} | switches)

    def search(seed: int, evaluations: int) -> Trace:
        def make(params: list[nn.Parameter]) -> Optimizer:
            return QuantumTunneling(
                base(params), interval, strength, options, seed=derive(seed, "jumps"), diagnose=True
            )

        return descend(make, start_of(seed), evaluations, EPOCH)

    return Method(label, search)


def _qiaso(label: str, options: QIASOOptions, **switches: Any) -> Method:
    changed = replace(options, **switches)
    return Method(label, lambda seed, evaluations: superpose(changed, seed, evaluations))


def _cma(seed: int, evaluations: int) -> Trace:
    """Search by CMA-ES of the package cmaes, with as many candidates a step as QIASO."""
    optimizer = require("cmaes", "experiments").CMA(
        mean=start_of(seed).numpy(),
        sigma=SPREAD["sigma"],
        population_size=30,
        seed=derive(seed, "cma"),
    )
    trace = Trace(path=[optimizer.mean.tolist()])
    while len(trace.losses) < evaluations:
        points = np.stack([optimizer.ask() for _ in range(30)])
        losses = rastrigin(torch.from_numpy(points)).tolist()
        optimizer.tell(list(zip(points, losses, strict=True)))
        trace.losses += losses
        trace.path.append(optimizer.mean.tolist())
    del trace.losses[evaluations:]
    return trace


def _adam(params: list[nn.Parameter]) -> Optimizer:
    return torch.optim.Adam(params, lr=ADAM_LR)


def _sgd(params: list[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(params, lr=SGD_LR)


_PRINTED = SuperpositionalOptions.literal()
_SUPERPOSITION = QIASOOptions.recommended()
_SUPERPOSITION_PRINTED = QIASOOptions.literal()

METHODS = {
    "adam": _descent("Adam", _adam),
    "adam-restarted": Method(
        "Adam, a new random start every epoch",
        lambda seed, evaluations: restarted(_adam, seed, evaluations, EPOCH),
    ),
    "random-search": Method(f"random search in [-{REACH:g}, {REACH:g}]²", random_search),
    "spgd-0.5": _superpositional("SPGD, λ 0.5", 0.5),
    "spgd-0.9": _superpositional("SPGD, λ 0.9", 0.9),
    "spgd-2": _superpositional("SPGD, λ 2", 2.0),
    "spgd-printed-0.5": _superpositional("SPGD as printed, λ 0.5, not clipped", 0.5, _PRINTED),
    "spgd-printed-0.5-clipped": _superpositional(
        "SPGD as printed, λ 0.5, gradients clipped at 1", 0.5, _PRINTED, 1.0
    ),
    "tunneling-adam": _tunneling("Tunneling around Adam", _adam),
    "tunneling-adam-reverting": _tunneling(
        "Tunneling around Adam, taken back if no better", _adam, interval=2, revert_after=1
    ),
    "tunneling-sgd": _tunneling("Tunneling around SGD", _sgd),
    "tunneling-noise-only": _tunneling("Tunneling around Adam, noise only", _adam, reset="keep"),
    "tunneling-reset-only": _tunneling("Tunneling around Adam, reset only", _adam, strength=0.0),
    "tunneling-default": _tunneling(
        "Tunneling around Adam, 0.1 times the rms", _adam, strength=0.1, size="relative"
    ),
    "qiaso": _qiaso("QIASO, mean", _SUPERPOSITION, **SPREAD),
    "qiaso-argmax": _qiaso("QIASO, argmax", _SUPERPOSITION, **SPREAD, collapse_to="argmax"),
    "qiaso-no-tunnelling": _qiaso(
        "QIASO, mean, no tunnelling", _SUPERPOSITION, **SPREAD, tunnel_probability=0.0
    ),
    "qiaso-printed": _qiaso("QIASO as printed", _SUPERPOSITION_PRINTED, **SPREAD),
    "qiaso-default": _qiaso("QIASO, mean, sizes 0.02", _SUPERPOSITION),
    "cma-es": Method("CMA-ES", _cma),
}
