"""Optimizers for torch, one file each, and the perturbations that they apply."""

import importlib
from typing import TYPE_CHECKING, Any

from hybridq.optim._batch_norm import recalibrate_batch_norm
from hybridq.optim._perturbations import (
    AbstractPerturbation,
    Cosine,
    GaussianNoise,
    NoPerturbation,
    Part,
    Place,
    Sign,
    Sine,
    UniformNoise,
)
from hybridq.optim.qiaso import (
    QIASO,
    Best,
    Candidate,
    QIASOOptions,
    QIASORecord,
    batch_statistics,
    cumulative_escape_probability,
    escape_probability,
)
from hybridq.optim.superpositional import (
    SuperpositionalAdam,
    SuperpositionalOptions,
    SuperpositionalRecord,
)
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions, TunnelingRecord

if TYPE_CHECKING:
    from hybridq.optim._superpositional.circuit import CircuitPerturbation, SineAnsatz

__all__ = [
    "QIASO",
    "AbstractPerturbation",
    "Best",
    "Candidate",
    "CircuitPerturbation",
    "Cosine",
    "GaussianNoise",
    "NoPerturbation",
    "Part",
    "Place",
    "QIASOOptions",
    "QIASORecord",
    "QuantumTunneling",
    "Sign",
    "Sine",
    "SineAnsatz",
    "SuperpositionalAdam",
    "SuperpositionalOptions",
    "SuperpositionalRecord",
    "TunnelingOptions",
    "TunnelingRecord",
    "UniformNoise",
    "batch_statistics",
    "cumulative_escape_probability",
    "escape_probability",
    "recalibrate_batch_norm",
]


def __getattr__(name: str) -> Any:
    """Load the circuits when one of them is first named, because importing PennyLane is slow."""
    if name in ("CircuitPerturbation", "SineAnsatz"):
        return getattr(importlib.import_module("hybridq.optim._superpositional.circuit"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
