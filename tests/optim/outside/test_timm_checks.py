"""The checks that timm runs on all its optimizers (its tests/test_optim.py), run on ours.

Ours have their default options.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from tests.contracts._optimizer_recipes import Recipe
from tests.optim.outside._defaults import every_default, with_gradients
from tests.optim.outside._problems import Regression, rosenbrock

Listing = Callable[[Regression, str], tuple[Any, dict[str, Any]]]

# The four ways to hand over parameters: what comes first, and the further arguments.
LISTINGS: dict[str, Listing] = {
    "list": lambda problem, rate: (problem.params, {}),
    "two groups": lambda problem, rate: (
        [{"params": [problem.weight]}, {"params": [problem.bias], rate: 3e-3}],
        {},
    ),
    "one tensor": lambda problem, rate: ([{"params": problem.bias, rate: 3e-3}], {}),
    "generator": lambda problem, rate: (iter(problem.params), {rate: 3e-3} if rate == "lr" else {}),
}


def epoch(recipe: Recipe, optimizer: Any) -> None:
    """The end of an epoch, for those that count them."""
    if recipe.jumps:
        optimizer.epoch_end()


@every_default
@pytest.mark.parametrize(
    ("listing", "contiguous"),
    [("list", False), ("two groups", True), ("one tensor", False), ("generator", True)],
)
def test_200_steps_descend(recipe: Recipe, listing: str, contiguous: bool) -> None:
    problem = Regression(contiguous=contiguous)
    groups, options = LISTINGS[listing](problem, "lr" if recipe.has_lr else "sigma")
    optimizer = recipe.build(groups, **options)
    before, given = problem.loss().item(), problem.values()
    for number in range(200):
        problem.advance(optimizer)
        if number in (50, 100):
            epoch(recipe, optimizer)
    assert problem.loss().item() < before
    moved = [not torch.equal(a, b) for a, b in zip(given, problem.params, strict=True)]
    assert moved == ([False, True] if listing == "one tensor" else [True, True])


@pytest.mark.parametrize("listing", ["list", "two groups"])
@with_gradients
def test_200_scheduled_steps_descend(recipe: Recipe, listing: str) -> None:
    problem = Regression()
    groups, options = LISTINGS[listing](problem, "lr")
    optimizer: Optimizer = recipe.build(groups, **options)
    scheduler = CosineAnnealingLR(optimizer, 200)
    before = problem.loss().item()
    for number in range(200):
        problem.advance(optimizer)
        scheduler.step()
        if number in (50, 100):
            epoch(recipe, optimizer)
    assert problem.loss().item() < before
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


@with_gradients
def test_coordinate_descent_on_rosenbrocks_valley_comes_nearer(recipe: Recipe) -> None:
    point, minimum = Parameter(torch.tensor([1.5, 1.5])), torch.ones(2)
    optimizer = recipe.build([point], lr=1e-3 if "sgd" in recipe.name else 5e-2)
    for number in range(1000):
        optimizer.zero_grad()
        torch.autograd.backward(rosenbrock(point))
        assert point.grad is not None
        point.grad[number % 2] = 0.0
        optimizer.step()
        if number in (250, 500):
            epoch(recipe, optimizer)
    assert point.detach().dist(minimum) < torch.tensor([1.5, 1.5]).dist(minimum)
    assert rosenbrock(point) < 0.01 * rosenbrock(torch.tensor([1.5, 1.5]))


@every_default
def test_each_of_20_steps_on_a_network_descends(recipe: Recipe) -> None:
    weights = [
        [[-0.2, -0.5], [-0.1, -0.3], [-0.3, 0.7]],
        [-0.1, -0.3, 0.7],
        [[-0.1, -0.4, -0.3]],
        [-0.1],
    ]
    model = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
    for param, values in zip(model.parameters(), weights, strict=True):
        param.data = torch.tensor(values)
    inputs = torch.linspace(0.1, 0.6, 6).reshape(3, 2)
    optimizer = recipe.build(model.parameters(), **{"lr": 1e-2} if recipe.has_lr else {})
    losses = []
    for _ in range(20):
        losses.append(model(inputs).sum().item())
        recipe.step(optimizer, lambda: model(inputs).sum())
    if recipe.needs_gradients:
        assert losses == sorted(losses, reverse=True)
        assert len(set(losses)) == 20
    assert losses[-1] < losses[0]
