"""One suite for every file of hybridq/optim: what holds for any optimizer that is stepped with gradients."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from hybridq import catalogue

OPTIMIZERS = catalogue.names("optim")
Problem = tuple[list[Parameter], Callable[[], Tensor]]


def quadratic() -> Problem:
    weight = Parameter(torch.tensor([1.5, -2.0, 0.3]))
    return [weight], lambda: torch.sum(torch.tensor([1.0, 4.0, 9.0]) * weight**2)


def rosenbrock() -> Problem:
    x, y = Parameter(torch.tensor(-1.0)), Parameter(torch.tensor(1.5))
    return [x, y], lambda: (1 - x) ** 2 + 100 * (y - x**2) ** 2


def network() -> Problem:
    source = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    for parameter in model.parameters():
        parameter.data.normal_(generator=source)
    inputs = torch.randn(32, 3, generator=source)
    return list(model.parameters()), lambda: nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))


def mixed_shapes() -> Problem:
    params = [
        Parameter(torch.tensor(1.0)),
        Parameter(torch.ones(1, 3)),
        Parameter(torch.ones(2, 3).t()),
        Parameter(torch.ones(5)),
    ]
    return params, lambda: torch.stack([(p**2).sum() for p in params]).sum()


def tied_weights() -> Problem:
    weight, scale = Parameter(torch.tensor([[0.5, 1.0], [-1.0, 0.5]])), Parameter(torch.tensor(1.0))
    return [weight, scale], lambda: torch.sum((scale * weight @ weight - torch.eye(2)) ** 2)


PROBLEMS = [quadratic, rosenbrock, network, mixed_shapes, tied_weights]
every_case = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.__name__)
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def build(name: str, params: Any) -> Optimizer:
    optimizer: Optimizer = catalogue.load("optim", name)(params, lr=1e-2)
    return optimizer


def train(optimizer: Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        optimizer.step()


@every_optimizer
@every_case
def test_200_steps_descend(name: str, problem: Callable[[], Problem]) -> None:
    params, loss = problem()
    before = loss().item()
    train(build(name, params), loss, 200)
    assert loss().item() < 0.5 * before


@every_optimizer
@every_case
def test_it_is_repeatable_to_the_last_bit(name: str, problem: Callable[[], Problem]) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        params, loss = problem()
        train(build(name, params), loss, 10)
        results.append(params)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_optimizer
@every_case
def test_a_resumed_run_continues_to_the_last_bit(name: str, problem: Callable[[], Problem]) -> None:
    whole, whole_loss = problem()
    train(build(name, whole), whole_loss, 12)
    params, loss = problem()
    first = build(name, params)
    train(first, loss, 5)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = build(name, params)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(resumed, loss, 7)
    assert all(torch.equal(a, b) for a, b in zip(whole, params, strict=True))


@every_optimizer
def test_a_saved_state_is_not_changed_by_further_steps(name: str) -> None:
    params, loss = quadratic()
    optimizer = build(name, params)
    train(optimizer, loss, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    other_params, other_loss = quadratic()
    other = build(name, other_params)
    other.load_state_dict(saved)
    kept = copy.deepcopy(saved["param_groups"])
    train(other, other_loss, 3)
    assert saved["param_groups"] == kept


@every_optimizer
def test_no_gradient_no_change(name: str) -> None:
    params, _ = mixed_shapes()
    before = [param.detach().clone() for param in params]
    build(name, params).step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


@every_optimizer
def test_a_group_has_its_own_learning_rate(name: str) -> None:
    params, loss = mixed_shapes()
    optimizer = build(name, [{"params": params[:2], "lr": 0.0}, {"params": params[2:]}])
    before = [param.detach().clone() for param in params]
    train(optimizer, loss, 3)
    assert [torch.equal(a, b) for a, b in zip(params, before, strict=True)] == [True, True, False, False]


@every_optimizer
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_bad_learning_rate_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="lr="):
        catalogue.load("optim", name)(quadratic()[0], lr=value)
