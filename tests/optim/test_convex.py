"""Convex losses, on which no weight should climb (SPEC S12).

With `raw` scaling at lambda = 0.5 weights do climb, and these tests show why.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.optim.superpositional import SuperpositionalAdam, SuperpositionalOptions

STRENGTH = 0.5
LR = 2.5e-3
STEPS = 1200
# One problem per coordinate: curvature / 2 * theta^2, from a start where the sine is -1, between
# its zeros, or 1.
CASES = list(itertools.product([10.0, 100.0], [1.5, 1.2, 3.4, -1.5, -0.5, 0.3]))
CURVATURES, STARTS = torch.tensor(CASES, dtype=torch.float64).T
UPHILL = torch.sin(math.pi * STARTS) < 0  # Here Q points away from the minimum.

SCALES = {
    "normalized": SuperpositionalOptions(entries="all"),
    "raw": SuperpositionalOptions(entries="all", scale="raw"),
    "literal": SuperpositionalOptions(entries="all", scale="raw", bias_correction=False),
}


def losses_of(
    name: str, clip: float | None = None, strength: float = STRENGTH
) -> tuple[Tensor, Tensor]:
    """The loss of each problem at each step, shape (STEPS + 1, problems), and the final thetas."""
    theta = Parameter(STARTS.clone())
    optimizer = SuperpositionalAdam([theta], lr=LR, strength=strength, options=SCALES[name])
    losses = []
    for _ in range(STEPS):
        losses.append(CURVATURES / 2 * theta.detach() ** 2)
        theta.grad = CURVATURES * theta.detach()
        if clip is not None:  # Each problem has a norm of its own.
            theta.grad = theta.grad.clamp(-clip, clip)
        optimizer.step()
    return torch.stack([*losses, CURVATURES / 2 * theta.detach() ** 2]), theta.detach()


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9])
def test_normalized_never_rises_above_its_start_and_arrives(strength: float) -> None:
    losses, _ = losses_of("normalized", strength=strength)
    assert bool((losses <= losses[0]).all())
    assert bool((losses[-1] < 0.5 * losses[0]).all())


@pytest.mark.parametrize("name", ["raw", "literal"])
def test_raw_climbs_where_the_sine_is_negative_and_stays_up(name: str) -> None:
    losses, theta = losses_of(name)
    steep = CURVATURES == 100
    climbed = losses[-1][steep] > losses[0][steep]
    assert climbed.tolist() == UPHILL[steep].tolist()
    # The reason: Adam's step is about 1 and points to the minimum, lambda Q may be anything. They
    # cancel where 1 + lambda sin(pi theta) |g| = 0, on a slope, just before an integer; there it
    # comes to rest.
    stuck = theta[steep][climbed]
    adam = 1.0 if SCALES[name].bias_correction else (1 - 0.999**STEPS) ** -0.5
    balance = adam + STRENGTH * torch.sin(math.pi * stuck) * (100 * stuck).abs()
    assert bool((balance.abs() < 0.05).all())
    assert bool(((stuck - stuck.round()).abs() < 0.01).all())


@pytest.mark.parametrize("name", ["raw", "literal"])
def test_clipping_at_1_keeps_raw_down(name: str) -> None:
    # |g| <= 1 leaves lambda |Q| <= 1/2, which is less than Adam's step.
    losses, _ = losses_of(name, clip=1.0)
    assert bool((losses <= losses[0]).all())
    assert bool((losses[-1] < 0.5 * losses[0]).all())


@pytest.mark.parametrize("gradient", [1.0, 1.9, 2.1, 150.0])
def test_the_first_raw_step_climbs_if_lambda_times_g_exceeds_1(gradient: float) -> None:
    theta = Parameter(torch.tensor([1.5], dtype=torch.float64))  # The sine is -1.
    theta.grad = torch.full_like(theta, gradient)
    SuperpositionalAdam([theta], lr=LR, eps=0.0, strength=STRENGTH, options=SCALES["raw"]).step()
    moved = theta.item() - 1.5
    assert moved == pytest.approx(-LR * (1 - STRENGTH * gradient), abs=1e-15)
    assert (moved > 0) is (gradient > 2)


@pytest.mark.parametrize(
    ("name", "clip", "climbs"),
    [
        ("raw", None, True),
        ("literal", None, True),
        ("raw", 1.0, False),
        ("literal", 1.0, False),
        ("normalized", None, False),
    ],
)
def test_a_convex_problem_of_many_dimensions(name: str, clip: float | None, climbs: bool) -> None:
    source = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(20, 20, generator=source, dtype=torch.float64)).Q
    hessian = basis @ torch.diag(torch.logspace(0, 2, 20, dtype=torch.float64)) @ basis.T
    theta = Parameter(1.5 + 0.1 * torch.randn(20, generator=source, dtype=torch.float64))
    optimizer = SuperpositionalAdam([theta], lr=LR, strength=STRENGTH, options=SCALES[name])
    losses = []
    for _ in range(600):
        optimizer.zero_grad()
        loss = theta @ hessian @ theta / 2
        losses.append(loss.item())
        torch.autograd.backward(loss)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([theta], clip)
        optimizer.step()
    assert (max(losses) > 1.01 * losses[0]) is climbs
    assert climbs or losses[-1] < 0.5 * losses[0]
