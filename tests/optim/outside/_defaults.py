"""hybridq's optimizers with their default options.

They are for the checks of other packages that have many optimizers.
"""

from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from hybridq.optim.qiaso import QIASO
from hybridq.optim.superpositional import SuperpositionalAdam
from hybridq.optim.tunneling import QuantumTunneling
from tests.contracts._optimizer_recipes import Recipe

__all__ = ["DEFAULTS", "every_default", "with_gradients"]


def _tunneling(name: str, base: type[Optimizer]) -> Recipe:
    """Jump at every `epoch_end`, by a tenth of the size of a matrix."""

    def build(params: Any, **options: Any) -> Optimizer:
        return QuantumTunneling(base(params, **options), interval=1, strength=0.1)

    return Recipe(f"tunneling-{name}", build, jumps=True)


DEFAULTS = [
    Recipe("superpositional", SuperpositionalAdam),
    _tunneling("sgd", torch.optim.SGD),
    _tunneling("adamw", torch.optim.AdamW),
    Recipe(
        "qiaso",
        lambda params, **options: QIASO(params, seed=0, **options),
        has_lr=False,
        needs_gradients=False,
    ),
]

every_default = pytest.mark.parametrize("recipe", DEFAULTS, ids=lambda recipe: recipe.name)
with_gradients = pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in DEFAULTS if recipe.needs_gradients],
    ids=lambda recipe: recipe.name,
)
