"""SPEC section 6: where SuperpositionalAdam must equal something that is known already."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.optim import NoPerturbation, SuperpositionalAdam, SuperpositionalOptions
from tests.optim._runs import SHAPES, STEPS, advance, assert_same, gradients, parameters, run

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_strength_0_is_torchs_adam_at_every_step(
    decay: Any, maximize: bool, weight_decay: float, dtype: torch.dtype, foreach: bool
) -> None:
    kind = torch.optim.Adam if decay == "l2" else torch.optim.AdamW
    theirs, ours = parameters(dtype), parameters(dtype)
    common: dict[str, Any] = {
        "lr": 0.03,
        "betas": (0.8, 0.95),
        "weight_decay": weight_decay,
        "foreach": foreach,
    }
    peer = kind(theirs, maximize=maximize, **common)
    options = SuperpositionalOptions(decay=decay)
    optimizer = SuperpositionalAdam(
        ours, strength=0.0, options=options, maximize=maximize, **common
    )
    for step in range(STEPS):
        advance(peer, theirs, step, step + 1)
        advance(optimizer, ours, step, step + 1)
        assert_same([p.detach() for p in theirs], [p.detach() for p in ours])


def test_no_perturbation_is_strength_0() -> None:
    options = SuperpositionalOptions(perturbation=NoPerturbation(), entries="all")
    assert_same(
        run(lambda p: SuperpositionalAdam(p, strength=0.7, options=options)),
        run(torch.optim.Adam),
    )


@pytest.mark.parametrize("foreach", [True, False])
def test_literal_at_strength_0_is_adam_without_bias_correction(foreach: bool) -> None:
    # beta^t is 0 at t = infinity, and there torch's own Adam has nothing to correct.
    def adam(params: list[Parameter]) -> torch.optim.Optimizer:
        peer = torch.optim.Adam(params, lr=0.01, foreach=foreach)
        for param in params:
            peer.state[param] = {
                "step": torch.tensor(float("inf")),
                "exp_avg": torch.zeros_like(param),
                "exp_avg_sq": torch.zeros_like(param),
            }
        return peer

    options = SuperpositionalOptions.literal()
    ours = run(
        lambda p: SuperpositionalAdam(p, lr=0.01, strength=0.0, options=options, foreach=foreach)
    )
    assert_same(ours, run(adam))


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_adam_in_float32_rounded_after_each_step(
    dtype: torch.dtype, foreach: bool
) -> None:
    ours = parameters(dtype)
    optimizer = SuperpositionalAdam(ours, lr=0.01, strength=0.0, foreach=foreach)
    theirs = [Parameter(p.detach().float()) for p in parameters(dtype)]
    peer = torch.optim.Adam(theirs, lr=0.01, foreach=foreach)
    for step in range(STEPS):
        for mine, yours, grad in zip(ours, theirs, gradients(step, ours), strict=True):
            mine.grad, yours.grad = grad, grad.float()
        optimizer.step()
        peer.step()
        for yours in theirs:
            yours.data = yours.data.to(dtype).float()
        assert_same([p.detach().float() for p in ours], [p.detach() for p in theirs])
    assert all(optimizer.state[p]["exp_avg"].dtype == torch.float32 for p in ours)


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("acts_on", ["update", "moments"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32_and_rounded_once(
    dtype: torch.dtype, acts_on: Any, foreach: bool
) -> None:
    def stepped(to: torch.dtype) -> Tensor:
        weight = Parameter(torch.linspace(-2, 2, 1001).to(dtype).to(to))
        weight.grad = torch.linspace(1, 3, 1001).to(dtype).to(to)
        options = SuperpositionalOptions(entries="all", acts_on=acts_on)
        SuperpositionalAdam(
            [weight], lr=0.1, eps=0.5, weight_decay=0.1, options=options, foreach=foreach
        ).step()
        return weight.detach()

    assert torch.equal(stepped(dtype), stepped(torch.float32).to(dtype))


@pytest.mark.parametrize("preset", ["recommended", "literal"])
def test_zero_gradient_zero_q(preset: str) -> None:
    params = parameters()
    before = [param.detach().clone() for param in params]
    optimizer = SuperpositionalAdam(
        params, lr=0.1, strength=0.9, options=getattr(SuperpositionalOptions, preset)()
    )
    for _ in range(3):
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer.step()
    assert_same([param.detach() for param in params], before)


def test_normalized_steps_are_adams_times_1_plus_lambda_sine() -> None:
    theirs, ours = parameters(torch.float64), parameters(torch.float64)
    peer = torch.optim.Adam(theirs, lr=0.01)
    optimizer = SuperpositionalAdam(
        ours, lr=0.01, strength=0.5, options=SuperpositionalOptions(entries="all")
    )
    for step in range(STEPS):
        before = [param.detach().clone() for param in ours]
        for mine, yours in zip(ours, theirs, strict=True):
            yours.data.copy_(mine.detach())
        advance(peer, theirs, step, step + 1)
        advance(optimizer, ours, step, step + 1)
        for start, yours, mine in zip(before, theirs, ours, strict=True):
            expected = (yours - start) * (1 + 0.5 * torch.sin(torch.pi * start))
            # Both differences lose what is below an ulp of the weight.
            assert torch.allclose(mine - start, expected, rtol=1e-10, atol=1e-14)


def test_normalized_is_invariant_to_the_scale_of_the_loss() -> None:
    def scaled(by: float) -> list[Tensor]:
        params = parameters(torch.float64)
        optimizer = SuperpositionalAdam(params, lr=0.01, eps=0.0)
        for step in range(STEPS):
            for param, grad in zip(params, gradients(step, params), strict=True):
                param.grad = grad * by
            optimizer.step()
        return [param.detach() for param in params]

    assert_same(scaled(1.0), scaled(2.0**10))  # A power of 2 keeps every mantissa.


def climbs(options: SuperpositionalOptions, clip: float | None = None) -> bool:
    """Whether the convex loss 50 theta^2 is larger after 5 steps from 1.5, where the sine is -1."""
    weight = Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimizer = SuperpositionalAdam([weight], lr=1e-3, strength=0.5, options=options)
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward((50 * weight**2).sum())
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([weight], clip)
        optimizer.step()
    return abs(weight.item()) > 1.5


def test_raw_at_lambda_one_half_climbs_on_a_convex_loss_and_normalized_does_not() -> None:
    # The known fault of the paper's equation (2): g = 150 there, so lambda Q = -75 against Adam's
    # step of +1.
    assert climbs(SuperpositionalOptions.literal())
    assert climbs(SuperpositionalOptions(scale="raw"))
    assert not climbs(SuperpositionalOptions(scale="raw"), clip=1.0)
    assert not climbs(SuperpositionalOptions.recommended())


def test_an_ascent_does_not_know_the_learning_rate() -> None:
    def moved(lr: float) -> Tensor:
        weight = Parameter(torch.tensor([0.5], dtype=torch.float64))
        weight.grad = torch.ones_like(weight)
        options = SuperpositionalOptions(bracket="ascent", scale="raw")
        SuperpositionalAdam([weight], lr=lr, strength=0.25, options=options).step()
        return weight.detach() - 0.5

    assert torch.allclose(moved(0.0), torch.tensor([0.25], dtype=torch.float64))


def test_global_entries_touch_n_numbers_of_the_model() -> None:
    options = SuperpositionalOptions(entries="global", n_qubits=4)
    ours = run(lambda p: SuperpositionalAdam(p, options=options))
    theirs = run(torch.optim.Adam)
    different = torch.cat([(a != b).reshape(-1) for a, b in zip(ours, theirs, strict=True)])
    assert different.nonzero().reshape(-1).tolist() == [0, 1, 2, 3]
    assert len(different) == sum(torch.Size(shape).numel() for shape in SHAPES)
