"""How each optimizer of hybridq/optim is built and stepped in the tests that all of them share.

Nothing here names an optimizer. What a class offers is read from its constructor, and from two
attributes that it may have:

    trial_options    the arguments with which the tests make one, beside the parameters
    gradient_free    whether `step` takes losses from its closure and needs no gradients
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hybridq import catalogue

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
        options: The options that it offers, whether as arguments or as fields of its `options`.
    """

    name: str
    build: Callable[..., Optimizer]
    has_lr: bool = True
    needs_gradients: bool = True
    jumps: bool = False
    options: frozenset[str] = frozenset()

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


# An optimizer whose first argument is `base` goes through the suite around each of these.
_BASES: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=1e-3, momentum=0.5),
    "adam": partial(torch.optim.Adam, lr=1e-2),
}


def _recipes(name: str) -> list[Recipe]:
    kind = catalogue.load("optim", name)
    arguments = inspect.signature(kind).parameters
    trial = dict(getattr(kind, "trial_options", {}))
    fields = _fields(trial)
    wraps = next(iter(arguments)) == "base"
    if "lr" in arguments:
        trial = {"lr": 1e-2} | trial
    recipe = Recipe(
        name,
        partial(_build, kind, trial),
        has_lr=wraps or "lr" in arguments,
        needs_gradients=not getattr(kind, "gradient_free", False),
        options=frozenset({*arguments, *fields}),
    )
    if not wraps:
        return [recipe]
    return [
        dataclasses.replace(
            recipe, name=f"{name}-{label}", build=partial(_build_around, base, kind, trial)
        )
        for label, base in _BASES.items()
    ]


def _fields(trial: dict[str, Any]) -> set[str]:
    """List the choices that an optimizer takes together, in a dataclass called `options`."""
    return (
        {field.name for field in dataclasses.fields(trial["options"])}
        if "options" in trial
        else set()
    )


def _build(kind: type[Optimizer], trial: dict[str, Any], params: Any, **options: Any) -> Optimizer:
    chosen = {name: options.pop(name) for name in _fields(trial) & set(options)}
    arguments = trial | options
    if chosen:
        arguments["options"] = dataclasses.replace(trial["options"], **chosen)
    return kind(params, **arguments)


def _build_around(
    base: Callable[..., Optimizer],
    kind: type[Optimizer],
    trial: dict[str, Any],
    params: Any,
    **options: Any,
) -> Optimizer:
    """Give the wrapper its own options, and the base all others."""
    known = _fields(trial) | set(inspect.signature(kind).parameters)
    others = {name: options.pop(name) for name in set(options) - known}
    return _build(kind, trial, base(params, **others), **options)


RECIPES = [recipe for name in catalogue.names("optim") for recipe in _recipes(name)]
