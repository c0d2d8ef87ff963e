"""The checks that pytorch-optimizer runs on all its optimizers (its tests/), run on ours.

Ours have their default options.
"""

import copy
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, SparseAdam

from hybridq.errors import HybridqError, InvalidArgument
from hybridq.optim.superpositional import SuperpositionalAdam
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions
from tests.contracts._optimizer_recipes import Recipe
from tests.optim.outside._defaults import every_default, with_gradients
from tests.optim.outside._problems import Regression, classifier

# What each needs to fall by a factor of 1.5: the learning rate, and how many steps.
PACE = {
    "superpositional": (1e-1, 20),
    "tunneling-sgd": (5e-1, 20),
    "tunneling-adamw": (1e-1, 20),
    "qiaso": (None, 100),
}


@every_default
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_classifier_converges(recipe: Recipe, dtype: torch.dtype) -> None:
    model, loss = classifier(dtype)
    lr, steps = PACE[recipe.name]
    optimizer: Any = recipe.build(model.parameters(), **{"lr": lr} if lr else {})
    before = loss().item()
    recipe.train(optimizer, loss, steps // 2)
    if recipe.jumps:
        optimizer.epoch_end()
    recipe.train(optimizer, loss, steps // 2)
    assert all(param.isfinite().all() and param.dtype == dtype for param in model.parameters())
    assert before > 1.5 * loss().item()


@with_gradients
def test_bfloat16_under_autocast(recipe: Recipe) -> None:
    model, loss = classifier(torch.float32)
    lr, steps = PACE[recipe.name]
    optimizer = recipe.build(model.parameters(), lr=lr)
    before = loss().item()
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss()
        torch.autograd.backward(value)
        optimizer.step()
    assert before > 1.5 * loss().item()


@every_default
def test_the_loss_of_a_closure_is_returned(recipe: Recipe) -> None:
    optimizer: Any = recipe.build([Parameter(torch.ones(1))])
    assert optimizer.step(lambda: 0.25) == pytest.approx(0.25)


@every_default
def test_frozen_parameters_and_gradients_with_a_graph(recipe: Recipe) -> None:
    params = [Parameter(torch.ones(1, 1), requires_grad=number % 2 == 0) for number in range(4)]
    groups = [{"params": params[:2]}, {"params": params[2:3]}, {"params": params[3:]}]
    optimizer: Any = recipe.build(groups)
    loss = (params[0] + params[2]).square().sum()
    params[0].grad, params[2].grad = torch.autograd.grad(
        loss, [params[0], params[2]], create_graph=True
    )
    optimizer.step(lambda: 0.1 + params[0].sum() ** 2)
    if recipe.jumps:
        assert optimizer.epoch_end()
    assert [bool(param != 1) for param in params] == [True, False, True, False]
    assert all(param.is_leaf and param.grad_fn is None for param in params)
    optimizer.zero_grad(set_to_none=True)
    assert [param.grad for param in params] == [None] * 4
    params[2].grad = torch.ones(1, 1)
    optimizer.zero_grad(set_to_none=False)
    assert params[2].grad == 0


@pytest.mark.parametrize("reset", ["clear", "scale"])
def test_sparse_gradients_are_the_business_of_the_base_optimizer(reset: Any) -> None:
    source = torch.Generator().manual_seed(0)
    start = torch.randn(5, 2, generator=source)
    dense, sparse = Parameter(start.clone()), Parameter(start.clone())
    options = TunnelingOptions(unit="step", reset=reset, check_finite=True)
    optimizers = [
        QuantumTunneling(SGD([param], lr=0.1, momentum=0.0), 2, 0.1, options)
        for param in (dense, sparse)
    ]
    for step in range(5):
        dense.grad = torch.randn(5, 2, generator=source)
        dense.grad[step] = 0.0
        sparse.grad = dense.grad.to_sparse()
        for optimizer in optimizers:
            optimizer.step()
        assert torch.equal(dense, sparse)


def test_a_base_for_sparse_gradients_jumps_too() -> None:
    weight = Parameter(torch.ones(5, 2))
    optimizer = QuantumTunneling(
        SparseAdam([weight], lr=0.1), 2, 0.1, TunnelingOptions(unit="step")
    )
    for _ in range(2):
        weight.grad = torch.sparse_coo_tensor(
            torch.tensor([[1]]), torch.ones(1, 2), (5, 2), check_invariants=True
        )
        optimizer.step()
    assert bool((weight != 1.0).all())  # A step moves one row, a jump all.
    assert not optimizer.state


def test_sparse_gradients_are_refused_by_name() -> None:
    weight = Parameter(torch.ones(5, 1))
    weight.grad = torch.ones(5, 1).to_sparse()
    optimizer = SuperpositionalAdam([weight])
    with pytest.raises(InvalidArgument, match="sparse"):
        optimizer.step(lambda: 0.1)
    assert weight.tolist() == [[1.0]] * 5


@every_default
def test_complex_parameters_work_or_are_refused_by_name(recipe: Recipe) -> None:
    weight = Parameter(torch.tensor([1 + 1j, 0.5 - 2j]))
    try:
        optimizer = recipe.build([weight], **{"lr": 0.1} if recipe.has_lr else {})
    except InvalidArgument as error:
        assert "complex" in str(error)  # noqa: PT017
        return
    recipe.train(optimizer, lambda: weight.abs().square().sum(), 20)
    assert (weight.detach().abs() < torch.tensor([1 + 1j, 0.5 - 2j]).abs()).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("lr", -1e-2),
        ("eps", -1e-6),
        ("weight_decay", -1e-3),
        ("betas", (-0.1, 0.1)),
        ("betas", (0.1, -0.1)),
        ("betas", (0.1, 1.0)),
    ],
)
def test_invalid_numbers_are_refused_before_the_parameters_are_looked_at(
    argument: str, value: Any
) -> None:
    nothing: Any = None
    with pytest.raises(HybridqError, match=argument):
        SuperpositionalAdam(nothing, **{argument: value})
    with pytest.raises(ValueError, match="Invalid"):  # These are torch's own words.
        QuantumTunneling(torch.optim.AdamW(nothing, **{argument: value}), 1, 0.1)


@pytest.mark.parametrize(("argument", "value"), [("interval", 0), ("strength", -0.1), ("seed", -1)])
def test_invalid_numbers_of_a_jump(argument: str, value: Any) -> None:
    options: dict[str, Any] = {"interval": 1, "strength": 0.1, argument: value}
    with pytest.raises(HybridqError, match=f"{argument}={value}"):
        QuantumTunneling(SGD([Parameter(torch.ones(1))]), **options)


def uneven(dtype: torch.dtype) -> list[Parameter]:
    """Shapes and dtypes that a foreach path has to sort."""
    other = torch.bfloat16 if dtype == torch.float32 else torch.float32
    made = [
        torch.full((2, 3), 0.5, dtype=dtype),
        torch.full((2,), 0.5, dtype=other),
        torch.tensor(0.5, dtype=dtype),
    ]
    return [
        Parameter(t)
        for t in (
            *made,
            torch.full((3, 2), 0.5, dtype=dtype).t(),
            torch.full((1,), 0.5, dtype=dtype),
        )
    ]


def give_gradients(params: list[Parameter], step: int) -> None:
    """Each parameter misses gradients of its own; the last one never has any."""
    missing = {1: step % 2 == 1, 3: step < 4, 4: True}
    for number, param in enumerate(params):
        if step in (0, 11) or missing.get(number, False):
            param.grad = None
        else:
            values = torch.arange(param.numel(), dtype=param.dtype).reshape(param.shape)
            param.grad = values * 0.1 + (0.25 if step % 2 else -0.35)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("foreach", [True, None])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_foreach_with_gradients_that_come_and_go(
    dtype: torch.dtype, foreach: bool | None, weight_decay: float
) -> None:
    sides = [uneven(dtype), uneven(dtype)]
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.6, 0.8), "weight_decay": weight_decay}
    optimizers = [
        SuperpositionalAdam(params, foreach=flag, **options)
        for params, flag in zip(sides, (foreach, False), strict=True)
    ]
    for step in range(12):
        for params, optimizer in zip(sides, optimizers, strict=True):
            give_gradients(params, step)
            optimizer.step()
        for left, right in zip(*sides, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=0)
            torch.testing.assert_close(
                optimizers[0].state.get(left, {}),
                optimizers[1].state.get(right, {}),
                rtol=0,
                atol=0,
            )
    assert sides[0][-1] not in optimizers[0].state
    assert not torch.equal(sides[0][0], uneven(dtype)[0])


def test_a_group_chooses_its_own_path() -> None:
    grouped, plain = ([Parameter(torch.full((3,), 0.2)) for _ in range(3)] for _ in range(2))
    groups = [
        {"params": [param], "foreach": choice}
        for param, choice in zip(grouped, (False, True, None), strict=True)
    ]
    optimizers = [
        SuperpositionalAdam(groups, foreach=False),
        SuperpositionalAdam(plain, foreach=False),
    ]
    assert [group["foreach"] for group in optimizers[0].param_groups] == [False, True, None]
    for param in (*grouped, *plain):
        param.grad = torch.ones(3)
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(grouped, plain, rtol=0, atol=0)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_checkpoint_of_one_path_continues_on_the_other(foreach: bool) -> None:
    problem, other = Regression(), Regression()
    optimizer = SuperpositionalAdam(problem.params, foreach=foreach)
    problem.advance(optimizer, 6)
    for theirs, ours in zip(other.params, problem.params, strict=True):
        theirs.data.copy_(ours.detach())
    loaded = SuperpositionalAdam(other.params)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    loaded.param_groups[0]["foreach"] = not foreach
    problem.advance(optimizer, 3)
    other.advance(loaded, 3)
    torch.testing.assert_close(problem.params, other.params, rtol=0, atol=0)
