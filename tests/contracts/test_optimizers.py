"""One suite for every file of hybridq/optim: what torch demands of any optimizer.

The rest is demanded of those that offer it: an option `check_finite` or `diagnose`, a learning
rate, a momentum.
"""

import copy
import dataclasses
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from hybridq import catalogue
from hybridq.errors import HybridqError
from tests.contracts._optimizer_recipes import RECIPES, Recipe

Loss = Callable[[], Tensor]
Problem = Callable[[], tuple[list[Parameter], Loss]]


def quadratic() -> tuple[list[Parameter], Loss]:
    weight = Parameter(torch.tensor([1.5, -2.0, 0.3]))
    return [weight], lambda: torch.sum(torch.tensor([1.0, 4.0, 9.0]) * weight**2)


def rosenbrock() -> tuple[list[Parameter], Loss]:
    x, y = Parameter(torch.tensor(-1.0)), Parameter(torch.tensor(1.5))
    return [x, y], lambda: (1 - x) ** 2 + 100 * (y - x**2) ** 2


def network() -> tuple[list[Parameter], Loss]:
    source = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    for parameter in model.parameters():
        parameter.data.normal_(generator=source)
    inputs = torch.randn(32, 3, generator=source)
    return list(model.parameters()), lambda: nn.functional.mse_loss(
        model(inputs), inputs.sum(1, keepdim=True)
    )


def mixed_shapes() -> tuple[list[Parameter], Loss]:
    params = [
        Parameter(torch.tensor(1.0)),
        Parameter(torch.ones(1, 3)),
        Parameter(torch.ones(2, 3).t()),
        Parameter(torch.ones(5)),
    ]
    return params, lambda: torch.stack([(p**2).sum() for p in params]).sum()


def tied_weights() -> tuple[list[Parameter], Loss]:
    first, second, scale = (
        nn.Linear(2, 2, bias=False),
        nn.Linear(2, 2, bias=False),
        Parameter(torch.tensor(1.0)),
    )
    first.weight.data = torch.tensor([[0.5, 1.0], [-1.0, 0.5]])
    second.weight = first.weight
    params = [*nn.Sequential(first, second).parameters(), scale]
    return params, lambda: torch.sum((scale * second(first(torch.eye(2))) - torch.eye(2)) ** 2)


PROBLEMS = [quadratic, rosenbrock, network, mixed_shapes, tied_weights]
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.__name__)
every_optimizer = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
with_gradients = pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if r.needs_gradients], ids=lambda recipe: recipe.name
)
without_gradients = pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if not r.needs_gradients], ids=lambda recipe: recipe.name
)
with_lr = pytest.mark.parametrize(
    "recipe", [r for r in RECIPES if r.has_lr], ids=lambda recipe: recipe.name
)


def with_option(option: str) -> Any:
    """Take the optimizers that offer an option."""
    offering = [recipe for recipe in RECIPES if option in recipe.options]
    return pytest.mark.parametrize("recipe", offering, ids=lambda recipe: recipe.name)


def values(params: list[Parameter]) -> list[Tensor]:
    return [param.detach().clone() for param in params]


def same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """To the last bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def pickled(whole: Any) -> Any:
    return pickle.loads(pickle.dumps(whole))  # noqa: S301


@pytest.mark.parametrize("name", catalogue.names("optim"))
def test_it_is_an_optimizer_of_torch(name: str) -> None:
    assert issubclass(catalogue.load("optim", name), Optimizer)


@every_optimizer
def test_zero_grad_clears_gradients(recipe: Recipe) -> None:
    params, loss = quadratic()
    optimizer = recipe.build(params)
    loss().backward()  # type: ignore[no-untyped-call]
    optimizer.zero_grad(set_to_none=False)
    assert torch.equal(params[0].grad, torch.zeros(3))  # type: ignore[arg-type]
    optimizer.zero_grad()
    assert params[0].grad is None


@with_gradients
def test_a_closure_is_called_with_gradients_and_its_loss_is_returned(recipe: Recipe) -> None:
    params, loss = quadratic()
    optimizer: Any = recipe.build(params)
    before = loss().item()

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)  # fails where gradients are switched off
        return value

    with torch.no_grad():
        returned = optimizer.step(closure)
    assert float(torch.as_tensor(returned).detach()) == before
    assert loss().item() < before
    loss().backward()  # type: ignore[no-untyped-call]
    assert optimizer.step() is None


@every_optimizer
def test_parameters_are_needed(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"empty|params"):
        recipe.build([])


@every_optimizer
@every_problem
def test_200_steps_descend(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    before = loss().item()
    recipe.train(recipe.build(params), loss, 200)
    assert loss().item() < 0.5 * before


@every_optimizer
@every_problem
def test_it_is_repeatable_and_leaves_torchs_generator_alone(
    recipe: Recipe, problem: Problem
) -> None:
    results = []
    for seed in (0, 1):
        params, loss = problem()
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        recipe.train(recipe.build(params), loss, 10)
        assert torch.equal(torch.get_rng_state(), state)
        results.append(values(params))
    assert same(*results)


@every_optimizer
@every_problem
@pytest.mark.parametrize("steps", [0, 5, 8])
def test_a_run_resumed_from_a_file_continues_to_the_last_bit(
    recipe: Recipe, problem: Problem, steps: int
) -> None:
    whole, whole_loss = problem()
    recipe.train(recipe.build(whole), whole_loss, 12)
    params, loss = problem()
    first = recipe.build(params)
    recipe.train(first, loss, steps)
    state = through_a_file(first.state_dict())
    others, other_loss = problem()
    for other, param in zip(others, params, strict=True):
        other.data.copy_(param.detach())
    resumed = recipe.build(others)
    resumed.load_state_dict(state)
    recipe.train(resumed, other_loss, 12 - steps)
    assert same(whole, others)


@every_optimizer
@every_problem
def test_a_saved_state_is_not_changed_by_further_steps(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    optimizer = recipe.build(params)
    recipe.train(optimizer, loss, 2)
    state = through_a_file(optimizer.state_dict())
    continued = recipe.build(params)
    continued.load_state_dict(state)
    kept = copy.deepcopy(state["param_groups"])
    recipe.train(continued, loss, 6)
    assert state["param_groups"] == kept


@every_optimizer
@every_problem
@pytest.mark.parametrize("clone", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
def test_a_copy_has_the_same_state_and_groups(recipe: Recipe, problem: Problem, clone: Any) -> None:
    params, loss = problem()
    optimizer = recipe.build(params)
    recipe.train(optimizer, loss, 3)
    copied, twin = clone((params, optimizer))
    assert {name for name in vars(optimizer) if name[0] != "_"} == {
        name for name in vars(twin) if name[0] != "_"
    }
    for param, other in zip(params, copied, strict=True):
        param.grad, other.grad = torch.ones_like(param), torch.ones_like(other)
    for _ in range(5):
        if recipe.needs_gradients:
            optimizer.step()
            twin.step()
        else:  # the copy of a loss would still look at the parameters that it was made with
            optimizer.step(lambda: torch.stack([p.sum() for p in params]).sum())  # type: ignore[arg-type, return-value]
            twin.step(lambda: torch.stack([p.sum() for p in copied]).sum())
    assert same(params, copied)
    assert not same(params, problem()[0])


@with_gradients
@every_problem
@pytest.mark.parametrize("gradient", [None, 0.0])
def test_no_gradient_no_change(recipe: Recipe, problem: Problem, gradient: float | None) -> None:
    params, _ = problem()
    before = values(params)
    decay = {"weight_decay": 0.0} if "weight_decay" in recipe.options else {}
    optimizer = recipe.build(params, **decay)
    for _ in range(2):
        for param in params:
            param.grad = None if gradient is None else torch.full_like(param, gradient)
        optimizer.step()
    assert same(params, before)


@with_gradients
@every_problem
def test_a_gradient_that_is_none_stops_its_parameter_only(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    frozen, moving = problem()[0][0], params[1:]
    optimizer = recipe.build([frozen, *moving])
    before = frozen.detach().clone()
    for _ in range(2):
        recipe.step(optimizer, loss)
    assert frozen.grad is None
    assert torch.equal(frozen, before)
    assert all(not torch.equal(a, b) for a, b in zip(moving, problem()[0][1:], strict=True))


@with_option("check_finite")
@every_problem
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("named", [False, True])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_changes(
    recipe: Recipe, problem: Problem, bad: float, named: bool
) -> None:
    params, loss = problem()
    given = (
        [(f"weight.{number}", param) for number, param in enumerate(params)] if named else params
    )
    optimizer = recipe.build(given, check_finite=True)
    recipe.step(optimizer, loss)
    before, state = values(params), copy.deepcopy(optimizer.state_dict())
    for param in params:
        param.grad = torch.ones_like(param)
    params[-1].grad.view(-1)[0] = bad  # type: ignore[union-attr]
    last = len(params) - 1
    with pytest.raises(HybridqError, match=rf"weight\.{last}" if named else rf"\b{last}\b"):
        optimizer.step()
    assert same(params, before)
    torch.testing.assert_close(optimizer.state_dict()["state"], state["state"], rtol=0, atol=0)


@every_optimizer
@every_problem
def test_a_closure_that_fails_changes_nothing(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    optimizer: Any = recipe.build(params)
    recipe.step(optimizer, loss)
    before, state, evaluations = values(params), copy.deepcopy(optimizer.state_dict()), []
    last = 1 if recipe.needs_gradients else min(3, n_evaluations(recipe, problem))

    def closure() -> Tensor:
        evaluations.append(loss())
        if len(evaluations) == last:  # without gradients in the midst of the candidates
            raise ZeroDivisionError
        return evaluations[-1]

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert same(params, before)
    torch.testing.assert_close(optimizer.state_dict()["state"], state["state"], rtol=0, atol=0)


def n_evaluations(recipe: Recipe, problem: Problem) -> int:
    """Count how often a step calls its closure."""
    params, loss = problem()
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        return loss()

    optimizer: Any = recipe.build(params)
    optimizer.step(closure)
    return len(calls)


@without_gradients
@every_problem
def test_losses_that_are_never_finite_are_refused_and_nothing_changes(
    recipe: Recipe, problem: Problem
) -> None:
    params, loss = problem()
    optimizer: Any = recipe.build(params)
    before = values(params)
    with pytest.raises(HybridqError, match="loss"):
        optimizer.step(lambda: loss() * float("nan"))
    assert same(params, before)


@without_gradients
@every_problem
def test_parameters_stay_finite_where_some_losses_are_not(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    optimizer: Any = recipe.build(params)
    before, evaluations = values(params), []

    def now_and_then() -> Tensor:
        evaluations.append(loss())
        return evaluations[-1] * (float("nan") if len(evaluations) % 2 else 1.0)

    if n_evaluations(recipe, problem) < 3:
        pytest.skip("of so few candidates it may need all")
    optimizer.step(now_and_then)
    assert not same(params, before)
    assert all(bool(param.isfinite().all()) for param in params)


@with_lr
@every_problem
def test_a_group_has_its_own_learning_rate(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    groups = (
        [{"params": params[:1], "lr": 0.0}, {"params": params[1:]}]
        if len(params) > 1
        else [{"params": params, "lr": 0.0}]
    )
    optimizer = recipe.build(groups)
    before = values(params)
    recipe.train(optimizer, loss, 2)
    assert [torch.equal(a, b) for a, b in zip(params, before, strict=True)] == [True] + [False] * (
        len(params) - 1
    )


@every_optimizer
def test_a_group_can_be_added_later(recipe: Recipe) -> None:
    params, loss = mixed_shapes()
    optimizer = recipe.build(params[:2])
    recipe.train(optimizer, loss, 2)
    assert same(params[2:], mixed_shapes()[0][2:])
    optimizer.add_param_group({"params": params[2:]})
    assert len(optimizer.param_groups) == 2
    recipe.train(optimizer, loss, 6)
    assert not any(torch.equal(a, b) for a, b in zip(params, mixed_shapes()[0], strict=True))
    state = through_a_file(optimizer.state_dict())
    others, other_loss = mixed_shapes()
    for other, param in zip(others, params, strict=True):
        other.data.copy_(param.detach())
    resumed = recipe.build([{"params": others[:2]}, {"params": others[2:]}])
    resumed.load_state_dict(state)
    recipe.train(optimizer, loss, 6)
    recipe.train(resumed, other_loss, 6)
    assert same(params, others)


@every_optimizer
@every_problem
def test_hooks_are_called_once_a_step(recipe: Recipe, problem: Problem) -> None:
    params, loss = problem()
    optimizer = recipe.build(params)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda _, state: state | {"seen": True})
    recipe.train(optimizer, loss, 5)
    assert seen == ["before", "after"] * 5
    assert optimizer.state_dict()["seen"]


@with_lr
@every_problem
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda optimizer: StepLR(optimizer, 2, gamma=0.0), [1.0, 0.0, 0.0]),
        (lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, factor=0.5), [1.0, 0.5, 0.25]),
    ],
    ids=["step", "plateau"],
)
def test_a_scheduler_sets_the_learning_rate(
    recipe: Recipe, problem: Problem, schedule: Callable[[Optimizer], Any], expected: list[float]
) -> None:
    params, loss = problem()
    optimizer = recipe.build(params)
    start, scheduler, rates = optimizer.param_groups[0]["lr"], schedule(optimizer), []
    for _ in expected:
        recipe.step(optimizer, loss)
        scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
        rates.append(optimizer.param_groups[0]["lr"] / start)
    assert rates == expected
    if rates[-1] == 0:
        before = values(params)
        recipe.step(optimizer, loss)
        assert same(params, before)


@with_lr
def test_a_scheduler_of_the_momentum_finds_it(recipe: Recipe) -> None:
    params, loss = quadratic()
    optimizer = recipe.build(params)
    if not {"betas", "momentum"} & set(optimizer.param_groups[0]):
        pytest.skip("it has no momentum")
    scheduler = OneCycleLR(optimizer, max_lr=1e-2, total_steps=10)
    for _ in range(5):
        recipe.step(optimizer, loss)
        scheduler.step()
    group = optimizer.param_groups[0]
    momentum = group["betas"][0] if "betas" in group else group["momentum"]
    assert 0.85 <= momentum < 0.95


@with_option("diagnose")
@every_problem
def test_diagnostics_are_plain_numbers_and_off_unless_asked_for(
    recipe: Recipe, problem: Problem
) -> None:
    params, loss = problem()
    silent: Any = recipe.build(params)
    recipe.train(silent, loss, 5)
    assert silent.diagnosis is None
    others, other_loss = problem()
    asked: Any = recipe.build(others, diagnose=True)
    recipe.train(asked, other_loss, 5)
    assert same(params, others)
    fields = dataclasses.fields(asked.diagnosis)
    assert fields
    for field in fields:
        assert type(getattr(asked.diagnosis, field.name)) in (int, float, bool, type(None))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(asked.diagnosis, field.name, 0)


@every_optimizer
def test_it_can_be_printed(recipe: Recipe) -> None:
    assert "Parameter Group 0" in repr(recipe.build(quadratic()[0]))


@with_option("lr")
def test_a_negative_learning_rate_is_named(recipe: Recipe) -> None:
    # An error of hybridq says lr=-1.0, one of torch "Invalid learning rate".
    with pytest.raises(ValueError, match=r"^lr=|learning rate"):
        recipe.build(quadratic()[0], lr=-1.0)
