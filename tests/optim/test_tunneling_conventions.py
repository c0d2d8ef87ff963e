"""QuantumTunneling as a torch optimizer.

The tests concern checkpoints, schedulers, hooks, scalers, closures, copies and compilation.
"""

import copy
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim import SuperpositionalAdam
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions
from tests.optim._runs import STEPS, advance, assert_same, parameters

OPTIONS = {
    "recommended": TunnelingOptions(),
    "literal": TunnelingOptions.literal(),
    "steps": TunnelingOptions(unit="step", reset="scale"),
    "plateau": TunnelingOptions(trigger="plateau", revert_after=2),
}
BASES: dict[str, Any] = {
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.02),
    "SGD": lambda params: torch.optim.SGD(params, lr=0.02, momentum=0.9),
    "SuperpositionalAdam": lambda params: SuperpositionalAdam(params, lr=0.02),
}


def wrap(
    params: list[Parameter], base: str = "AdamW", options: str = "recommended", **arguments: Any
) -> QuantumTunneling:
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    return QuantumTunneling(BASES[base](groups), 3, 0.2, OPTIONS[options], seed=3, **arguments)


def train(
    optimizer: QuantumTunneling, params: list[Parameter], first: int = 0, last: int = STEPS
) -> None:
    """An epoch is a step, and the metric stays as it is."""
    for step in range(first, last):
        advance(optimizer, params, step, step + 1)
        optimizer.epoch_end(1.0)


def values(params: list[Parameter]) -> list[Tensor]:
    return [param.detach().clone() for param in params]


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [0, 4, 6])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("base", BASES)
def test_a_run_resumed_from_a_file_continues_to_the_last_bit(
    base: str, options: str, stop: int
) -> None:
    whole, params = parameters(), parameters()
    train(wrap(whole, base, options), whole)
    first = wrap(params, base, options)
    train(first, params, 0, stop)
    state = through_a_file(first.state_dict())
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    resumed = QuantumTunneling(BASES[base](groups), 17, 9.0)  # The checkpoint knows the rest.
    resumed.load_state_dict(state)
    train(resumed, params, stop)
    assert_same(values(whole), values(params))
    assert resumed.options == OPTIONS[options]


def test_a_run_with_another_seed_or_without_its_count_would_differ() -> None:
    whole, params = parameters(), parameters()
    train(wrap(whole), whole)
    first = wrap(params)
    train(first, params, 0, 4)
    state = through_a_file(first.state_dict())
    for group in state["param_groups"]:
        group["tunneling_jumps"] = 0
    resumed = wrap(params)
    resumed.load_state_dict(state)
    train(resumed, params, 4)
    assert not torch.equal(whole[3], params[3])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])  # noqa: S301
@pytest.mark.parametrize("options", OPTIONS)
def test_a_copy_continues_alike(options: str, clone: Any) -> None:
    params = parameters()
    optimizer = wrap(params, options=options, diagnose=True)
    train(optimizer, params, 0, 4)
    copied, twin = clone((params, optimizer))
    train(optimizer, params, 4, 8)
    train(twin, copied, 4, 8)
    assert_same(values(params), values(copied))
    assert twin.diagnosis == optimizer.diagnosis
    assert twin.param_groups[0]["params"][0] is copied[0]


def test_it_is_an_optimizer_that_shares_all_with_its_base() -> None:
    params = parameters()
    base = torch.optim.AdamW(params, lr=0.5)
    optimizer = QuantumTunneling(base, 1, 0.1)
    assert isinstance(optimizer, Optimizer)
    base.load_state_dict(base.state_dict())  # This replaces both.
    assert optimizer.param_groups is base.param_groups
    assert optimizer.state is base.state
    assert optimizer.defaults is base.defaults
    assert "lr: 0.5" in repr(optimizer)


@pytest.mark.parametrize("around", ["wrapper", "base"])
def test_a_scheduler_sees_the_groups(around: str) -> None:
    def run(kind: str) -> list[Tensor]:
        params = parameters()
        base = torch.optim.AdamW(params, lr=0.1)
        optimizer = base if kind == "plain" else QuantumTunneling(base, 1, 0.1)
        seen_by = base if around == "base" else optimizer
        scheduler = torch.optim.lr_scheduler.OneCycleLR(seen_by, max_lr=0.1, total_steps=STEPS)
        for step in range(STEPS - 1):
            advance(optimizer, params, step, step + 1)
            scheduler.step()
        return values(params)

    assert_same(run("plain"), run("wrapped"))


def test_hooks() -> None:
    params = parameters()
    optimizer = wrap(params)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda which, *_: seen.append(("before", which)))
    optimizer.register_step_post_hook(lambda which, *_: seen.append(("after", which)))
    advance(optimizer, params, 0, 1)
    assert seen == [("before", optimizer), ("after", optimizer)]
    seen.clear()
    optimizer.register_state_dict_pre_hook(lambda _: seen.append("saving"))
    optimizer.register_state_dict_post_hook(lambda _, state: seen.append(sorted(state)))
    optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.append(sorted(state)))
    optimizer.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["saving", ["param_groups", "state"], ["param_groups", "state"], "loaded"]


def test_a_closure_is_the_bases() -> None:
    def run(optimizer: Optimizer, weight: Parameter) -> list[float]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = ((weight - torch.tensor([1.0, -2.0])) ** 4).sum()
            torch.autograd.backward(loss)
            return loss

        with torch.no_grad():
            return [float(optimizer.step(closure)) for _ in range(3)]  # type: ignore[arg-type]

    ours, theirs = Parameter(torch.zeros(2)), Parameter(torch.zeros(2))
    assert run(QuantumTunneling(torch.optim.LBFGS([ours]), 1, 0.1), ours) == run(
        torch.optim.LBFGS([theirs]), theirs
    )
    assert torch.equal(ours, theirs)


def test_lbfgs_survives_a_jump() -> None:
    weight = Parameter(torch.ones(2, 2))
    optimizer = QuantumTunneling(torch.optim.LBFGS([weight]), 1, 0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        torch.autograd.backward(loss)
        return loss

    for _ in range(3):
        optimizer.step(closure)
        optimizer.epoch_end()
    optimizer.step(closure)
    assert weight.abs().max() < 1e-3


@pytest.mark.parametrize("overflow", [False, True])
def test_a_grad_scaler_unscales_and_skips(overflow: bool) -> None:
    weight, plain = Parameter(torch.ones(2, 2)), Parameter(torch.ones(2, 2))
    options = TunnelingOptions(unit="step")
    optimizer = QuantumTunneling(torch.optim.SGD([weight], lr=0.1), 2, 0.1, options, diagnose=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale((weight**2).sum()).backward()
    if overflow:
        assert weight.grad is not None
        weight.grad[0, 0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    torch.autograd.backward((plain**2).sum())
    torch.optim.SGD([plain], lr=0.1).step()
    assert torch.equal(weight, torch.ones(2, 2) if overflow else plain)
    assert (optimizer.diagnosis is None) == overflow  # A skipped step does not count.


def test_what_accelerate_does_to_an_optimizer() -> None:
    # accelerate.optimizer.AcceleratedOptimizer, which is not a dependency: the state is moved and
    # loaded back before any step, zero_grad is asked for its arguments, `step` is replaced on the
    # instance to see whether the scaler called it.
    params, plain = parameters(), parameters()
    optimizer, expected = wrap(params), wrap(plain)
    optimizer.load_state_dict(optimizer.state_dict())
    assert "set_to_none" in inspect.signature(optimizer.zero_grad).parameters
    original, called = optimizer.step, []

    def patched(*args: Any, **kwargs: Any) -> Any:
        called.append(args)
        return original(*args, **kwargs)

    optimizer.step = patched  # type: ignore[method-assign]
    train(optimizer, params)
    train(expected, plain)
    assert len(called) == STEPS
    assert_same(values(params), values(plain))
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer.zero_grad(set_to_none=False)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in params)
    # With sharding it puts other parameters into the groups.
    replaced = [Parameter(param.detach().clone()) for param in params]
    mapping = dict(zip(params, replaced, strict=True))
    for group in optimizer.param_groups:
        group["params"] = [mapping[param] for param in group["params"]]
    before = values(params)
    optimizer.jump()
    assert_same(before, values(params))
    assert not torch.equal(replaced[3], params[3])


def test_a_step_that_fills_in_an_empty_state_does_not_count() -> None:
    # What torch.distributed.checkpoint does before it saves or loads.
    params = parameters()
    optimizer = QuantumTunneling(
        torch.optim.AdamW(params, lr=0.0), 1, 0.1, TunnelingOptions(unit="step"), diagnose=True
    )
    before = values(params)
    advance(optimizer, params, 0, 1)
    assert_same(before, values(params))
    assert optimizer.diagnosis is None
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
    advance(optimizer, params, 0, 1)
    assert optimizer.diagnosis is not None
    assert optimizer.diagnosis.jumped


def test_a_group_added_later_jumps_and_reverts_too() -> None:
    params = parameters()
    options = TunnelingOptions(revert_after=1)
    optimizer = QuantumTunneling(torch.optim.SGD(params[:3], lr=0.1), 2, 0.3, options)
    optimizer.epoch_end(1.0)
    optimizer.add_param_group({"params": params[3:], "lr": 0.2})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
    before = values(params)
    optimizer.epoch_end(1.0)
    assert not torch.equal(before[3], params[3])
    optimizer.epoch_end(1.0)
    assert_same(before, values(params))


def test_a_checkpoint_of_something_else_is_refused() -> None:
    params = parameters()
    adam = torch.optim.AdamW(params)
    advance(adam, params, 0, 2)
    optimizer = QuantumTunneling(torch.optim.AdamW(params), 3, 0.2)
    with pytest.raises(
        CheckpointMismatch, match=r"group 0 has no tunneling_base.*load it into that before"
    ):
        optimizer.load_state_dict(adam.state_dict())
    other = QuantumTunneling(torch.optim.SGD(params), 3, 0.2)
    with pytest.raises(CheckpointMismatch, match=r"around AdamW, here around SGD; wrap the same"):
        other.load_state_dict(optimizer.state_dict())
    short = QuantumTunneling(torch.optim.AdamW(params[:2]), 3, 0.2)
    with pytest.raises(ValueError, match="doesn't match the size"):
        short.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_named_before_anything_changes(
    value: float, named: bool
) -> None:
    model = nn.Linear(2, 2)
    params: Any = model.named_parameters() if named else model.parameters()
    options = TunnelingOptions(check_finite=True)
    optimizer = QuantumTunneling(torch.optim.AdamW(params), 1, 0.1, options)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.tensor([1.0, value])
    before = values(list(model.parameters()))
    says = "params='bias'" if named else r"params holds parameter 1 of group 0, of shape \(2,\): "
    with pytest.raises(InvalidArgument, match=says):
        optimizer.step()

    def closure() -> float:
        return 0.0

    with pytest.raises(InvalidArgument, match=says):
        optimizer.step(closure)
    assert_same(before, values(list(model.parameters())))
    assert len(optimizer.state) == 0
    model.bias.grad[1] = 0.0
    optimizer.step()
    assert len(optimizer.state) == 2


def test_a_sparse_gradient_is_checked() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = QuantumTunneling(
        torch.optim.SparseAdam(table.parameters()), 1, 0.1, TunnelingOptions(check_finite=True)
    )
    torch.autograd.backward(table(torch.tensor([1, 1, 3])).sum())
    optimizer.step()
    torch.autograd.backward(table(torch.tensor([2])).sum() * float("nan"))
    with pytest.raises(InvalidArgument, match="parameter 0"):
        optimizer.step()


def test_without_the_check_a_nan_goes_where_the_base_lets_it_go() -> None:
    weight = Parameter(torch.ones(2))
    weight.grad = torch.tensor([float("nan"), 1.0])
    QuantumTunneling(torch.optim.AdamW([weight]), 1, 0.1).step()
    assert weight.isnan().tolist() == [True, False]


@pytest.mark.slow
# Torch's compiler uses what torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("unit", ["epoch", "step"])
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_step_equals_the_eager_one(backend: str, unit: Any) -> None:
    torch.compiler.reset()
    results = []
    for compiled in (False, True):
        params = parameters()
        base = torch.optim.SGD(params, lr=0.1, momentum=0.9)
        optimizer = QuantumTunneling(base, 3, 0.1, TunnelingOptions(unit=unit))
        step = torch.compile(optimizer.step, backend=backend) if compiled else optimizer.step
        optimizer.step = step  # type: ignore[method-assign]
        train(optimizer, params, 0, 8)
        results.append(values(params))
    # Inductor may fuse a multiplication and an addition, which rounds once rather than twice.
    tolerance = 0.0 if backend == "eager" else 10 * torch.finfo(torch.float32).eps
    for eager, other in zip(*results, strict=True):
        torch.testing.assert_close(eager, other, rtol=tolerance, atol=tolerance)
