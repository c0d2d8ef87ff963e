"""Optimizers for torch, one file each, and the perturbations that they apply."""

from hybridq.optim._perturbations import (
    AbstractPerturbation,
    Cosine,
    GaussianNoise,
    NoPerturbation,
    Place,
    Sign,
    Sine,
    UniformNoise,
)
from hybridq.optim.superpositional import SuperpositionalAdam, SuperpositionalOptions

__all__ = [
    "AbstractPerturbation",
    "Cosine",
    "GaussianNoise",
    "NoPerturbation",
    "Place",
    "Sign",
    "Sine",
    "SuperpositionalAdam",
    "SuperpositionalOptions",
    "UniformNoise",
]
