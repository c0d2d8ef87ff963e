"""The optimizers of SPGD's experiments, each a torch optimizer with the paper's learning rate."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from hybridq.optim import SuperpositionalAdam, SuperpositionalOptions

__all__ = ["OPTIMIZERS", "Choice"]

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Choice:
    """An optimizer of an experiment.

    Args:
        label: The name on the page.
        make: Makes the optimizer from the parameters of a model.
    """

    label: str
    make: Callable[[Iterable[nn.Parameter]], Optimizer]


def _superpositional(
    options: SuperpositionalOptions, strength: float
) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    def make(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return SuperpositionalAdam(parameters, lr=LEARNING_RATE, strength=strength, options=options)

    return make


_RECOMMENDED = SuperpositionalOptions.recommended()
_LITERAL = SuperpositionalOptions.literal()

OPTIMIZERS = {
    "adam": Choice("Adam", lambda parameters: torch.optim.Adam(parameters, lr=LEARNING_RATE)),
    "adam-uncorrected": Choice("Adam, no bias correction", _superpositional(_LITERAL, 0.0)),
    "spgd-0.1": Choice("SPGD, λ 0.1", _superpositional(_RECOMMENDED, 0.1)),
    "spgd-0.5": Choice("SPGD, λ 0.5", _superpositional(_RECOMMENDED, 0.5)),
    "spgd-literal-0.1": Choice("SPGD as printed, λ 0.1", _superpositional(_LITERAL, 0.1)),
    "spgd-literal-0.5": Choice("SPGD as printed, λ 0.5", _superpositional(_LITERAL, 0.5)),
    "spgd-moments-0.5": Choice(
        "SPGD in the moments, λ 0.5",
        _superpositional(replace(_RECOMMENDED, acts_on="moments"), 0.5),
    ),
}
