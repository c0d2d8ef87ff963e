"""Further conventions that a torch user takes for granted.

They concern complex parameters, GradScaler, old checkpoints, NaN and records.
"""

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.errors import InvalidArgument
from hybridq.optim import (
    GaussianNoise,
    NoPerturbation,
    Sine,
    SuperpositionalAdam,
    SuperpositionalOptions,
    SuperpositionalRecord,
)
from tests.optim._runs import advance, assert_same, gradients, parameters

both_paths = pytest.mark.parametrize("foreach", [True, False])


def complex_tensors(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source, dtype=torch.complex128) for shape in shapes]


@both_paths
@pytest.mark.parametrize("entries", ["per_tensor", "global", "tensors", "all", "mask"])
@pytest.mark.parametrize("perturbed", [True, False])
def test_a_complex_parameter_is_its_two_real_parts(
    perturbed: bool, entries: Any, foreach: bool
) -> None:
    shapes = ((3, 2), (4,), ())
    whole = [Parameter(tensor) for tensor in complex_tensors(*shapes)]
    parts = [Parameter(torch.view_as_real(param.detach().clone())) for param in whole]
    masks = [torch.arange(param.numel()).reshape(param.shape) % 2 == 0 for param in whole]
    doubled = [torch.stack([mask, mask], -1) for mask in masks]
    perturbation = Sine() if perturbed else NoPerturbation()
    options = SuperpositionalOptions(entries=entries, n_qubits=3, perturbation=perturbation)
    common: dict[str, Any] = {
        "lr": 0.05,
        "weight_decay": 0.1,
        "options": options,
        "foreach": foreach,
    }
    ours = SuperpositionalAdam([{"params": whole, "mask": masks}], **common)
    twin = SuperpositionalAdam([{"params": parts, "mask": doubled}], **common)
    for step in range(5):
        grads = complex_tensors(*shapes, seed=step + 1)
        for param, part, grad in zip(whole, parts, grads, strict=True):
            param.grad = grad
            part.grad = torch.view_as_real(grad)
        ours.step()
        twin.step()
    assert_same(
        [torch.view_as_real(param.detach()) for param in whole], [part.detach() for part in parts]
    )


@both_paths
def test_complex_parameters_at_strength_0_are_those_of_torchs_adam(foreach: bool) -> None:
    runs = []
    for kind, extra in (
        (SuperpositionalAdam, {"strength": 0.0}),
        (torch.optim.AdamW, {"weight_decay": 0.0}),
    ):
        params = [Parameter(tensor) for tensor in complex_tensors((3, 2), (4,))]
        optimizer = kind(params, lr=0.05, foreach=foreach, **extra)  # type: ignore[arg-type]
        for step in range(5):
            grads = complex_tensors((3, 2), (4,), seed=step + 1)
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
            optimizer.step()
        runs.append([torch.view_as_real(param.detach()) for param in params])
        assert optimizer.state[params[0]]["exp_avg"].is_complex()
    assert_same(*runs)


def test_a_grad_scaler_unscales_and_skips() -> None:
    scaled, plain = Parameter(torch.tensor([0.5, -0.5])), Parameter(torch.tensor([0.5, -0.5]))
    ours, twin = (SuperpositionalAdam([param], lr=0.1) for param in (scaled, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, math.inf, 2.0):
        ours.zero_grad()
        torch.autograd.backward(scaler.scale((scaled * factor).sum()))
        scaler.unscale_(ours)
        torch.nn.utils.clip_grad_norm_([scaled], 1.0)
        scaler.step(ours)
        scaler.update()
        if math.isinf(factor):
            assert scaler.get_scale() == 512.0
            continue
        twin.zero_grad()
        torch.autograd.backward((plain * factor).sum())
        torch.nn.utils.clip_grad_norm_([plain], 1.0)
        twin.step()
    assert_same([scaled.detach()], [plain.detach()])
    assert ours.state[scaled]["step"].item() == 2


@pytest.mark.parametrize("capturable", [True, False])
def test_a_state_of_an_older_version_is_completed(capturable: bool) -> None:
    params, twins = parameters(), parameters()
    old = SuperpositionalAdam(params, lr=0.05)
    advance(old, params, 0, 3)
    state = copy.deepcopy(old.state_dict())
    for kept in state["state"].values():
        kept["step"] = kept["step"].item()  # Torch kept it so up to 1.11.
    for group in state["param_groups"]:
        for name in ("capturable", "differentiable", "check_finite", "acts_on"):
            del group[name]
    for twin, param in zip(twins, params, strict=True):
        twin.data.copy_(param.data)
    resumed = SuperpositionalAdam(twins, capturable=capturable)
    resumed.load_state_dict(state)
    assert all(isinstance(kept["step"], Tensor) for kept in resumed.state.values())
    assert resumed.param_groups[0]["capturable"] is capturable
    advance(old, params, 3, 6)
    advance(resumed, twins, 3, 6)
    for a, b in zip(params, twins, strict=True):
        torch.testing.assert_close(a, b)


def test_what_a_checkpoint_does_not_say_stays_as_each_group_has_it() -> None:
    params = parameters()
    groups: list[dict[str, Any]] = [
        {"params": params[:2], "strength": 0.3},
        {"params": params[2:], "entries": "all"},
    ]
    optimizer = SuperpositionalAdam(groups)
    adam = torch.optim.AdamW([{"params": params[:2]}, {"params": params[2:]}], lr=0.7)
    optimizer.load_state_dict(adam.state_dict())
    first, second = optimizer.param_groups
    assert (first["strength"], first["entries"], first["lr"]) == (0.3, "per_tensor", 0.7)
    assert (second["strength"], second["entries"], second["lr"]) == (0.5, "all", 0.7)


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_named_before_anything_changes(
    bad: float, dtype: torch.dtype, foreach: bool
) -> None:
    params = [Parameter(torch.ones(shape, dtype=dtype)) for shape in ((3,), (2, 2), (0,))]
    groups: list[dict[str, Any]] = [
        {"params": [("first", params[0])]},
        {"params": [("second", params[1]), ("empty", params[2])]},
    ]
    optimizer = SuperpositionalAdam(groups, check_finite=True, foreach=foreach)
    for param in params:
        param.grad = torch.ones_like(param)
    params[1].grad[0, 1] = bad  # type: ignore[index]
    with pytest.raises(
        InvalidArgument, match=r"params='second': its gradient has NaN or infinite entries"
    ):
        optimizer.step()
    assert not optimizer.state
    assert all(bool((param == 1).all()) for param in params)
    params[1].grad = None
    optimizer.step()


def test_large_gradients_whose_sum_overflows_are_finite() -> None:
    weight = Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 3e38)
    SuperpositionalAdam([weight], check_finite=True).step()


def test_an_error_in_a_later_group_leaves_the_first_as_it_was() -> None:
    first, second = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    groups: list[dict[str, Any]] = [
        {"params": [first]},
        {"params": [second], "strength": lambda step: -1.0},
    ]
    optimizer = SuperpositionalAdam(groups)
    first.grad, second.grad = torch.ones(2), torch.ones(2)
    with pytest.raises(InvalidArgument, match=r"strength=-1"):
        optimizer.step()
    assert first.tolist() == [1.0, 1.0]


@both_paths
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", ["normalized", "raw"])
def test_a_record_says_what_the_step_did(scale: Any, dtype: torch.dtype, foreach: bool) -> None:
    options = SuperpositionalOptions(scale=scale, n_qubits=3)
    values = torch.tensor([0.5, -0.25, 1 / 6, 0.7], dtype=torch.float64).to(dtype)
    weights = {watch: Parameter(values.clone()) for watch in (True, False)}
    common: dict[str, Any] = {
        "lr": 0.1,
        "betas": (0.0, 0.0),
        "eps": 0.0,
        "options": options,
        "foreach": foreach,
    }
    for watch, weight in weights.items():
        weight.grad = torch.full((4,), 2.0, dtype=dtype)
        optimizer = SuperpositionalAdam([weight], diagnose=watch, **common)
        optimizer.step()
        if watch:
            record = optimizer.diagnosis
        else:
            assert optimizer.diagnosis is None
    assert_same([weights[True].detach()], [weights[False].detach()])
    assert isinstance(record, SuperpositionalRecord)
    # Adam moves each weight by -0.1; Q adds -0.1 * 0.5 * sin * (1 or 2).
    sines = [math.sin(math.pi * value) for value in values[:3].tolist()]
    added = [-0.05 * (1 if scale == "normalized" else 2) * sine for sine in sines]
    moved = math.sqrt(sum((extra - 0.1) ** 2 for extra in [*added, 0.0]))
    close: dict[str, Any] = {"rel": 1e-9 if dtype == torch.float64 else 1e-6}
    assert dataclasses.asdict(record) == {
        "step": 1,
        "update_norm": pytest.approx(moved, **close),
        "q_share": pytest.approx(math.hypot(*added) / moved, **close),
        "n_perturbed": 3,
        "mean_factor": pytest.approx(sum(sines) / 3, **close),
        "longer": pytest.approx(2 / 3),  # The sine is positive in 2 of 3.
    }


def test_a_record_of_moments_compares_gradients() -> None:
    weight = Parameter(torch.tensor([0.5, 1.5], dtype=torch.float64))
    weight.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    options = SuperpositionalOptions(acts_on="moments", entries="all")
    optimizer = SuperpositionalAdam([weight], strength=0.5, options=options, diagnose=True)
    optimizer.step()
    record = optimizer.diagnosis
    assert record is not None
    assert record.q_share == pytest.approx(math.hypot(1.5, 2.0) / math.hypot(4.5, 2.0))
    assert (record.n_perturbed, record.longer, record.mean_factor) == (2, 0.5, 0.0)


def test_a_record_without_q_and_over_groups() -> None:
    params = parameters()
    groups = [
        {"params": params[:2], "strength": 0.0},
        {"params": params[2:], "perturbation": GaussianNoise(seed=1)},
    ]
    optimizer = SuperpositionalAdam(groups, diagnose=True)
    before = [param.detach().clone() for param in params]
    advance(optimizer, params, 0, 1)
    assert optimizer.diagnosis is not None
    changes = torch.cat([(p.detach() - b).reshape(-1) for p, b in zip(params, before, strict=True)])
    assert optimizer.diagnosis.update_norm == pytest.approx(
        changes.double().norm().item(), rel=1e-6
    )
    assert optimizer.diagnosis.n_perturbed == 3 + 4 + 4 + 4
    plain = SuperpositionalAdam(parameters(), strength=0.0, diagnose=True)
    advance(plain, plain.param_groups[0]["params"], 0, 2)
    record = plain.diagnosis
    assert record is not None
    assert (record.step, record.n_perturbed) == (2, 0)
    assert (record.q_share, record.mean_factor, record.longer) == (0.0, 0.0, 0.0)


@both_paths
def test_a_learning_rate_in_a_tensor_of_one_dimension(foreach: bool) -> None:
    params, twins = parameters(), parameters()
    ours = SuperpositionalAdam(
        params, lr=torch.tensor([0.05], dtype=torch.float64), weight_decay=0.1, foreach=foreach
    )
    twin = SuperpositionalAdam(twins, lr=0.05, weight_decay=0.1, foreach=foreach)
    advance(ours, params, 0, 3)
    advance(twin, twins, 0, 3)
    assert_same([p.detach() for p in params], [p.detach() for p in twins])


def test_hooks_may_change_the_gradients() -> None:
    params, twins = parameters(), parameters()
    ours, twin = SuperpositionalAdam(params, lr=0.1), SuperpositionalAdam(twins, lr=0.1)

    def halve(optimizer: Any, args: Any, kwargs: Any) -> None:
        for param in params:
            param.grad = None if param.grad is None else param.grad / 2

    handle = ours.register_step_pre_hook(halve)
    for step in range(3):
        for param, other, grad in zip(params, twins, gradients(step, params), strict=True):
            param.grad, other.grad = grad, grad / 2
        ours.step()
        twin.step()
    handle.remove()
    assert_same([p.detach() for p in params], [p.detach() for p in twins])
