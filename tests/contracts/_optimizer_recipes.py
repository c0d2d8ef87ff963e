"""How each optimizer of hybridq/optim is built and stepped in the tests that all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hybridq import catalogue
from hybridq.optim.qiaso import QIASO, QIASOOptions
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """One optimizer in one setting.

    Args:
        name: What the test is called.
        build: Takes parameters or groups of them, and options that the optimizer understands.
        has_lr: Whether its groups have a learning rate.
        needs_gradients: Whether a step uses gradients; if not, it takes a closure that evaluates
            the loss.
        jumps: Whether it moves parameters that have no gradient, too.
    """

    name: str
    build: Callable[..., Optimizer]
    has_lr: bool = True
    needs_gradients: bool = True
    jumps: bool = False

    def step(self, optimizer: Optimizer, loss: Callable[[], Tensor]) -> None:
        """Do one step of an ordinary training loop."""
        if not self.needs_gradients:
            optimizer.step(loss)  # type: ignore[arg-type]
            return
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        optimizer.step()

    def train(self, optimizer: Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
        """Do some steps."""
        for _ in range(steps):
            self.step(optimizer, loss)


def _plain(name: str) -> Recipe:
    """What a file needs if it says nothing else: `Class(params, lr=...)`, stepped with gradients."""

    def build(params: Any, **options: Any) -> Optimizer:
        optimizer: Optimizer = catalogue.load("optim", name)(params, **{"lr": 1e-2} | options)
        return optimizer

    return Recipe(name, build)


def _tunneling(name: str, base: type[Optimizer], **base_options: Any) -> Recipe:
    """A jump of every tensor at every third step, so that each test of a few steps has some."""

    def build(
        params: Any, check_finite: bool = False, diagnose: bool = False, **options: Any
    ) -> Optimizer:
        switches = TunnelingOptions(unit="step", tensors="all", check_finite=check_finite)
        return QuantumTunneling(
            base(params, **base_options | options), 3, 0.001, switches, diagnose=diagnose
        )

    return Recipe(f"tunneling-{name}", build, jumps=True)


def _qiaso(params: Any, **options: Any) -> Optimizer:
    """Fewer candidates than the default of 30, to be quick."""
    return QIASO(params, seed=0, options=QIASOOptions(n_candidates=10), **options)


# The files that are not plain, with all the settings they are tested in.
_OTHERS = {
    "tunneling": [
        _tunneling("sgd", torch.optim.SGD, lr=1e-3, momentum=0.5),
        _tunneling("adam", torch.optim.Adam, lr=1e-2),
    ],
    "qiaso": [Recipe("qiaso", _qiaso, has_lr=False, needs_gradients=False)],
}

RECIPES = [
    recipe for name in catalogue.names("optim") for recipe in _OTHERS.get(name, [_plain(name)])
]
