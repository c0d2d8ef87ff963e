"""The checks that torch runs on all its optimizers (its test/test_optim.py), run on ours.

They are fed by torch's OptimizerInfo.
"""

import io
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from hybridq.optim.tunneling import QuantumTunneling

pytest.importorskip(
    "expecttest", reason="torch.testing._internal needs it; it is in the extra [dev]"
)

from torch.testing._internal.common_optimizers import OptimizerErrorEnum, OptimizerInfo
from torch.testing._internal.common_utils import TestCase

from tests.optim.outside._infos import INFOS, build, configurations, inputs
from tests.optim.outside._problems import Regression


def assert_equal(left: Any, right: Any) -> None:
    """To the last bit; for tensors, numbers and containers of them."""
    case: Any = TestCase
    case().assertEqual(left, right, rtol=0, atol=0)  # noqa: PT009 - it compares strings and None inside a state, too


def without_names(state: dict[str, Any]) -> dict[str, Any]:
    groups = [
        {key: value for key, value in group.items() if key != "param_names"}
        for group in state["param_groups"]
    ]
    return state | {"param_groups": groups}


def right_way(kwargs: dict[str, Any], before: float, after: float) -> bool:
    return after > before if kwargs.get("maximize", False) else after < before


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_the_infos_leave_the_exclusive_flags_to_the_tests(info: OptimizerInfo) -> None:
    given = info.optim_inputs_func(device="cpu")
    assert given
    assert not any({"foreach", "fused", "differentiable"} & set(each.kwargs) for each in given)


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_errors(info: OptimizerInfo) -> None:
    errors = info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
    assert errors
    for error in errors:
        given = error.optimizer_error_input
        assert error.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
        with pytest.raises(error.error_type, match=error.error_regex):  # Warnings count.
            build(info, given.params, given.kwargs)


@pytest.mark.parametrize("contiguous", [True, False])
@configurations("differentiable")
def test_20_steps_go_the_right_way(
    info: OptimizerInfo, kwargs: dict[str, Any], contiguous: bool
) -> None:
    problem = Regression(contiguous=contiguous)
    before = problem.loss().item()
    problem.advance(build(info, problem.params, kwargs), 20)
    assert right_way(kwargs, before, problem.loss().item())


@configurations("differentiable", only=lambda info: info.scheduler_inputs)
def test_20_scheduled_steps_go_the_right_way(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    for schedulers in info.scheduler_inputs:
        problem = Regression()
        before = problem.loss().item()
        groups = [{"params": [problem.weight]}, {"params": [problem.bias], "lr": 0.01}]
        optimizer = build(info, groups, kwargs)
        started = [scheduler(optimizer) for scheduler in schedulers]
        for _ in range(20):
            problem.advance(optimizer)
            for scheduler in started:
                scheduler.step(
                    *([problem.loss().item()] if isinstance(scheduler, ReduceLROnPlateau) else [])
                )
        assert right_way(kwargs, before, problem.loss().item())


@pytest.mark.parametrize("dims", [0, 1, 2])
@configurations("differentiable", only=lambda info: info.scheduler_inputs)
def test_a_tensor_learning_rate_is_like_a_number(
    info: OptimizerInfo, kwargs: dict[str, Any], dims: int
) -> None:
    plain, tensor = Regression(), Regression()
    options = deepcopy(kwargs) | {"lr": 1e-3}
    numbers = build(info, plain.params, options)
    options["lr"] = torch.tensor(1e-3, dtype=torch.float64).reshape([1] * dims)
    try:
        optimizer = build(info, tensor.params, options)
    except ValueError as error:  # This is torch's answer for foreach.
        assert "lr as a Tensor is not supported" in str(error)  # noqa: PT017
        return
    for _ in range(5):
        plain.advance(numbers)
        tensor.advance(optimizer)
        torch.testing.assert_close(plain.params, tensor.params)


@configurations("differentiable", only=lambda info: info.supports_complex)
def test_complex_parameters_are_pairs_of_real_ones(
    info: OptimizerInfo, kwargs: dict[str, Any]
) -> None:
    source = torch.Generator().manual_seed(0)
    shapes = [((10, 5), torch.complex64), ((10,), torch.complex64), ((10, 5), torch.float32)]
    params = [
        Parameter(torch.randn(shape, dtype=dtype, generator=source)) for shape, dtype in shapes
    ]
    pairs = [
        Parameter(torch.view_as_real(p.detach()).clone() if p.is_complex() else p.detach().clone())
        for p in params
    ]
    optimizer, real = build(info, params, kwargs), build(info, pairs, kwargs)
    for _ in range(4):
        for param, pair in zip(params, pairs, strict=True):
            pair.grad = torch.randn(pair.shape, generator=source)
            if param.is_complex():
                param.grad = torch.view_as_complex(pair.grad)
            else:
                param.grad = pair.grad.clone()
        optimizer.step()
        real.step()
        for param, pair in zip(params, pairs, strict=True):
            torch.testing.assert_close(
                torch.view_as_real(param) if param.is_complex() else param, pair
            )


def sigmoid_network(dtype: torch.dtype) -> tuple[nn.Sequential, list[Tensor], Tensor]:
    """A network, its parameters and one without elements, and an input."""
    source = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid()).to(dtype)
    for param in model.parameters():
        param.data.normal_(generator=source)
    empty = torch.empty((0, 3), dtype=dtype, requires_grad=True)
    empty.grad = torch.zeros_like(empty)
    return (
        model,
        [*model.parameters(), empty],
        torch.linspace(0.1, 0.6, 6, dtype=dtype).reshape(3, 2),
    )


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@configurations("foreach", "differentiable", only=lambda info: "foreach" in info.supported_impls)
def test_foreach_is_the_loop(
    info: OptimizerInfo, kwargs: dict[str, Any], dtype: torch.dtype, default: torch.dtype
) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        sides = [sigmoid_network(dtype) for _ in range(2)]
        optimizers = [
            build(info, params, kwargs | {"foreach": foreach})
            for (_, params, _), foreach in zip(sides, (False, True), strict=True)
        ]
        for step in range(7):
            for (model, _, x), optimizer in zip(sides, optimizers, strict=True):
                for param in model.parameters():
                    param.grad = None
                # A frozen layer falls behind in its count of steps.
                model[2].requires_grad_(step not in (3, 4))
                if step != 2:  # In step 2 nothing has a gradient.
                    torch.autograd.backward(model(x).sum())
                optimizer.step()
            (_, left, _), (_, right, _) = sides
            torch.testing.assert_close(left, right)
            for one, other in zip(left, right, strict=True):
                states = [
                    side.state[param] for side, param in zip(optimizers, (one, other), strict=True)
                ]
                assert states[0].keys() == states[1].keys()
                for key in states[0]:
                    torch.testing.assert_close(states[0][key], states[1][key])
    finally:
        torch.set_default_dtype(before)


@configurations("differentiable", only=lambda info: not info.step_requires_closure)
def test_the_weight_decay_of_a_group(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    problem = Regression()
    before = problem.loss().item()
    groups = [
        {"params": [problem.weight], **deepcopy(kwargs)},
        {"params": [problem.bias], **kwargs, "weight_decay": 0.0},
    ]
    problem.advance(build(info, groups, {}), 20)
    assert right_way(kwargs, before, problem.loss().item())


@configurations("differentiable", only=lambda info: not info.step_requires_closure)
def test_the_learning_rate_of_a_group(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    problem, still = Regression(), Parameter(torch.ones(2))
    before = problem.loss().item()
    options = {"lr": 1e-3} | deepcopy(kwargs)
    groups = [{"params": problem.params, **options}, {"params": [still]}]
    optimizer = build(info, groups, {"lr": 1e-28})
    # A jump does not ask for the learning rate.
    optimizer.param_groups[1]["tunneling_strength"] = 0.0
    for _ in range(20):
        still.grad = torch.ones(2)
        problem.advance(optimizer)
    assert right_way(kwargs, before, problem.loss().item())
    assert still.tolist() == [1.0, 1.0]


@configurations(only=lambda info: not info.step_requires_closure)
def test_nothing_happens_without_gradients(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    params = [torch.ones(2, 3), torch.empty(0)]
    optimizer = build(info, params, kwargs)
    assert float(optimizer.step(lambda: torch.tensor(1.0))) == pytest.approx(1.0)
    assert_equal(params, [torch.ones(2, 3), torch.empty(0)])


@pytest.mark.parametrize("shape", [(5, 1), (), (0,)])
@configurations(only=lambda info: not info.step_requires_closure)
def test_nothing_happens_at_gradients_of_zero(
    info: OptimizerInfo, kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    leaf = torch.ones(shape, requires_grad=True)
    param = leaf.clone() if kwargs.get("differentiable", False) else leaf
    optimizer = build(info, [param], kwargs | {"weight_decay": 0.0})
    if not param.is_leaf:
        param.retain_grad()
    param.grad = torch.zeros(shape)
    optimizer.step()
    assert_equal(param.detach(), torch.ones(shape))


@configurations()
def test_it_can_be_printed(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    assert info.name in repr(build(info, Regression().params, kwargs))


@configurations("differentiable", only=lambda info: not info.step_requires_closure)
def test_the_state_is_not_empty_and_counts_the_steps(
    info: OptimizerInfo, kwargs: dict[str, Any]
) -> None:
    problem = Regression()
    optimizer = build(info, problem.params, kwargs)
    problem.advance(optimizer, 2)
    plain_sgd = optimizer.param_groups[0].get("momentum") == 0
    assert bool(optimizer.state_dict()["state"]) is not plain_sgd
    assert all(state for state in optimizer.state.values())
    assert all(float(state["step"]) == 2 for state in optimizer.state.values() if "step" in state)
    assert all(
        state["step"].dtype == torch.float32
        for state in optimizer.state.values()
        if "step" in state
    )


@pytest.mark.parametrize("names", [(False, False), (False, True), (True, False)])
@configurations("differentiable")
def test_a_loaded_state_continues_alike(
    info: OptimizerInfo, kwargs: dict[str, Any], names: tuple[bool, bool]
) -> None:
    problem, other = Regression(), Regression()
    optimizer = build(info, problem.named(names[0]), kwargs)
    problem.advance(optimizer, 10)
    for theirs, ours in zip(other.params, problem.params, strict=True):
        theirs.data.copy_(ours.detach())
    loaded = build(info, other.named(names[1]), kwargs)
    loaded.load_state_dict(deepcopy(optimizer.state_dict()))
    if any(names):
        assert loaded.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    for _ in range(10):
        problem.advance(optimizer)
        other.advance(loaded)
        assert_equal(problem.values(), other.values())
    assert_equal(without_names(optimizer.state_dict()), without_names(loaded.state_dict()))
    # A checkpoint gives the same number to the same parameter.
    loaded.param_groups.extend(loaded.param_groups)
    assert_equal(
        without_names(optimizer.state_dict())["param_groups"][-1],
        without_names(loaded.state_dict())["param_groups"][-1],
    )


@pytest.mark.parametrize("names", [False, True])
@configurations("differentiable")
def test_a_state_survives_a_file(info: OptimizerInfo, kwargs: dict[str, Any], names: bool) -> None:
    problem = Regression()
    optimizer = build(info, problem.named(names), kwargs)
    problem.advance(optimizer, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    for weights_only in (False, True):
        file.seek(0)
        assert_equal(torch.load(file, weights_only=weights_only), optimizer.state_dict())


@configurations("differentiable")
def test_a_state_of_an_older_version_loads(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    problem = Regression()
    optimizer = build(info, problem.params, kwargs)
    problem.advance(optimizer, 3)
    older = deepcopy(optimizer.state_dict())
    for group in older["param_groups"]:
        for flag in info.not_og_supported_flags:
            group.pop(flag, None)
    for state in older["state"].values():
        if "step" in state:
            state["step"] = float(state["step"])
    before = problem.values()
    optimizer.load_state_dict(older)
    problem.advance(optimizer, 2)
    assert all(not torch.equal(a, b) for a, b in zip(before, problem.params, strict=True))


def note(optimizer: Optimizer) -> None:
    state: dict[Any, Any] = optimizer.state
    state["noted"] = 1


def take_note(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return state | {"noted": state["state"].pop("noted", None)}


@configurations()
def test_state_dict_hooks(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    optimizer = build(info, Regression().params, kwargs)
    optimizer.register_state_dict_post_hook(take_note)
    assert optimizer.state_dict()["noted"] is None
    optimizer.register_state_dict_pre_hook(note)
    assert optimizer.state_dict()["noted"] == 1


@configurations()
def test_load_state_dict_hooks(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    optimizer = build(info, Regression().params, kwargs)
    state = optimizer.state_dict()
    seen = []

    def change(_: Optimizer, loaded: dict[str, Any]) -> None:
        loaded["param_groups"][0]["note"] = "changed"

    def replace(_: Optimizer, loaded: dict[str, Any]) -> dict[str, Any]:
        return loaded | {
            "param_groups": [group | {"note": "replaced"} for group in loaded["param_groups"]]
        }

    optimizer.register_load_state_dict_post_hook(
        lambda opt: seen.append(opt.param_groups[0].get("note"))
    )
    optimizer.load_state_dict(state)
    optimizer.register_load_state_dict_pre_hook(change)
    optimizer.load_state_dict(state)
    handle = optimizer.register_load_state_dict_pre_hook(replace, prepend=True)
    optimizer.load_state_dict(state)
    handle.remove()
    optimizer.register_load_state_dict_pre_hook(replace)
    optimizer.load_state_dict(state)
    assert seen == [None, "changed", "changed", "replaced"]


@configurations()
def test_step_hooks(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    params = [torch.ones(2, requires_grad=True)]
    optimizer, peer = build(info, params, kwargs), SGD(params)
    seen: list[int] = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: seen.append(0)),
        register_optimizer_step_post_hook(lambda *_: seen.append(3)),
        optimizer.register_step_pre_hook(lambda *_: seen.append(1)),
        optimizer.register_step_post_hook(lambda *_: seen.append(2)),
    ]
    try:
        optimizer.step(lambda: 1.0)
        # The hooks of all optimizers see the step of the one inside a QuantumTunneling, too: it is
        # one of all.
        expected = [0, 1, 0, 3, 2, 3] if isinstance(optimizer, QuantumTunneling) else [0, 1, 2, 3]
        assert seen == expected
        peer.step()
        assert seen == [*expected, 0, 3]
        seen.clear()
    finally:
        for handle in handles:
            handle.remove()
    optimizer.step(lambda: 1.0)
    assert not seen


@configurations("differentiable")
def test_a_deep_copy_has_all_public_attributes(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    problem = Regression()
    optimizer = build(info, problem.params, kwargs)
    problem.advance(optimizer, 3)
    public = {name for name in vars(optimizer) if not name.startswith("_")}
    assert public == {name for name in vars(deepcopy(optimizer)) if not name.startswith("_")}
    assert_equal(optimizer.state_dict(), deepcopy(optimizer).state_dict())


@pytest.mark.parametrize(
    "info", [i for i in INFOS if "differentiable" in i.supported_impls], ids=lambda info: info.name
)
def test_a_differentiable_step_has_the_right_gradients(info: OptimizerInfo) -> None:
    source = torch.Generator().manual_seed(0)
    tensors = [
        torch.rand(6, dtype=torch.float64, generator=source).requires_grad_() for _ in range(4)
    ]

    def stepped(
        theta: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, lr: Tensor
    ) -> tuple[Tensor, ...]:
        param = theta.clone()
        param.grad = grad
        optimizer = build(info, [param], {"weight_decay": 0.1, "differentiable": True})
        moments = {"exp_avg": exp_avg.clone(), "exp_avg_sq": exp_avg_sq.clone()}
        optimizer.param_groups[0]["lr"] = lr
        optimizer.state[param].update(moments | {"step": torch.tensor(10.0)})
        optimizer.step()
        return param, optimizer.state[param]["exp_avg"], optimizer.state[param]["exp_avg_sq"]

    lr = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stepped, [*tensors, lr])


@pytest.mark.gpu
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_on_cuda(info: OptimizerInfo) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for given in inputs(info, "differentiable", device="cuda"):  # They include capturable ones.
        problem, on_cpu = Regression(device="cuda"), Regression()
        before = problem.loss().item()
        optimizer = build(info, problem.params, given.kwargs)
        problem.advance(optimizer, 20)
        assert right_way(given.kwargs, before, problem.loss().item())
        if not given.kwargs.get("capturable", False):
            peer = build(info, on_cpu.params, given.kwargs)
            on_cpu.advance(peer, 10)
            optimizer.load_state_dict(peer.state_dict())
            for there, here in zip(problem.params, on_cpu.params, strict=True):
                there.data.copy_(here.detach())
            problem.advance(optimizer, 5)
            on_cpu.advance(peer, 5)
            torch.testing.assert_close([p.detach().cpu() for p in problem.params], on_cpu.values())
