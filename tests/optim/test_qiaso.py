"""QIASO against its twin, its identities, and what it finds on functions whose minimum is known."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.optim._qiaso.superposition import (
    effective_sample_size,
    entropy,
    expectation,
    mirror_step,
    z_scores,
)
from hybridq.optim.qiaso import (
    QIASO,
    QIASOOptions,
    cumulative_escape_probability,
    escape_probability,
)
from hybridq.seeding import generator
from tests.reference.qiaso import Array, Twin

SEED = 3
SHAPES = ((2, 3), (), (4,))  # 11 numbers
OPTIONS: dict[str, QIASOOptions] = {
    "recommended": QIASOOptions.recommended(),
    "literal": QIASOOptions.literal(),
    "argmax": QIASOOptions(collapse_to="argmax"),
    "raw": QIASOOptions(losses="raw", eta=0.1, collapse_when="epoch"),
    "ess": QIASOOptions(collapse_when="ess", eta=0.3, tunnel_probability=1.0),
    "memoryless": QIASOOptions(prior="uniform", collapse_when="epoch"),
    "temperature": QIASOOptions(
        temperature=2.0, temperature_decay=0.7, sigma_decay=0.8, tunnel_decay=0.5
    ),
    "no tunnelling": QIASOOptions(tunnel_probability=0.0),
    "all tunnel": QIASOOptions(tunnel_probability=1.0, tunnel_best=True, collapse_when="epoch"),
    "printed": QIASOOptions(
        jump_size="printed", gamma=3.0, alpha=0.5, tunnel_probability=0.8, collapse_when="ess"
    ),
    "corrected": QIASOOptions(jump_size="corrected", gamma=3.0, alpha=0.5, tunnel_probability=0.8),
    "if better": QIASOOptions(accept="if_better", collapse_when="epoch", tunnel_probability=0.7),
    "greedy": QIASOOptions(
        1, collapse_when="epoch", accept="if_better", tunnel_best=True, tunnel_probability=1.0
    ),
    "tensor": QIASOOptions(unit="tensor", n_candidates=5),
    "tensor, epochs": QIASOOptions(
        unit="tensor",
        n_candidates=5,
        collapse_when="epoch",
        accept="if_better",
        collapse_to="argmax",
    ),
    "coordinate": QIASOOptions(unit="coordinate", n_candidates=5),
    "coordinate, epochs": QIASOOptions(
        unit="coordinate", n_candidates=4, collapse_when="ess", accept="if_better"
    ),
}


def rugged(x: Tensor) -> Tensor:
    """A function with many minima, not separable, whose value at 0 is not the lowest."""
    target = torch.linspace(-1, 1, len(x), dtype=x.dtype)
    return (
        ((x - target) ** 2).sum()
        + 0.3 * torch.cos(5 * x).sum()
        + 0.1 * x.prod()
        + 0.2 * x[0] * x[-1]
    )


def start() -> list[Parameter]:
    source = torch.Generator().manual_seed(0)
    return [
        Parameter(torch.randn(shape, generator=source, dtype=torch.float64)) for shape in SHAPES
    ]


def flat(params: list[Parameter]) -> Tensor:
    return torch.cat([param.reshape(-1) for param in params])


def twin_of(params: list[Parameter], options: QIASOOptions) -> Twin:
    centre = flat(params).detach().numpy().copy()
    owners = {
        "whole": [0] * len(centre),
        "tensor": [number for number, param in enumerate(params) for _ in range(param.numel())],
        "coordinate": list(range(len(centre))),
    }
    n_units = max(owners[options.unit]) + 1

    def noise(kind: str, number: int, k: int) -> Array:
        drawn = torch.empty(len(centre), dtype=torch.float64).normal_(
            generator=generator(SEED, kind, number, k, 0)
        )
        return np.asarray(drawn)

    def coin(step: int, unit: int, k: int) -> float:
        tossed = torch.rand(
            n_units,
            options.n_candidates,
            generator=generator(SEED, "coins", step),
            dtype=torch.float64,
        )
        return tossed[unit, k].item()

    return Twin(centre, owners[options.unit], options, noise, coin)


@pytest.mark.parametrize("name", OPTIONS)
def test_it_does_what_the_twin_does(name: str) -> None:
    options = OPTIONS[name]
    params = start()
    twin = twin_of(params, options)
    optimizer = QIASO(params, SEED, options)
    for step in range(1, 9):
        optimizer.step(lambda: rugged(flat(params)))
        twin.step(lambda x: float(rugged(torch.from_numpy(x))))
        if step % 3 == 0:
            optimizer.epoch_end()
            twin.epoch_end()
        assert np.allclose(flat(params).detach(), twin.centre, rtol=0, atol=1e-10)
        for candidate in optimizer.ask():
            if not candidate.before_jump:
                expected = twin.point(candidate.unit, twin.w[candidate.index])
                point = torch.cat([weights.reshape(-1) for weights in optimizer.weights(candidate)])
                assert np.allclose(point, expected, rtol=0, atol=1e-10)


def tables() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(5)
    losses = torch.randn(4, 30, generator=source, dtype=torch.float64) * 3 + 7
    return torch.randn(4, 30, generator=source, dtype=torch.float64).log_softmax(1), losses


@pytest.mark.parametrize("eta", [1e-3, 1.0, 20.0, 1e6])
def test_probabilities_add_up_to_one(eta: float) -> None:
    log_p = mirror_step(*tables(), eta)
    assert torch.allclose(
        log_p.exp().sum(1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("eta", [0.1, 1.0, 5.0])
def test_the_loss_falls_by_exactly_the_two_divergences(eta: float) -> None:
    before, losses = tables()
    after = mirror_step(before, losses, eta)

    def divergence(q: Tensor, p: Tensor) -> Tensor:
        return (q.exp() * (q - p)).sum(1, keepdim=True)

    fall = eta * (expectation(before, losses) - expectation(after, losses))
    both = divergence(after, before) + divergence(before, after)
    assert torch.allclose(fall, both, rtol=1e-10, atol=0)
    assert bool((fall > 0).all())


def test_a_constant_in_the_loss_changes_nothing() -> None:
    before, losses = tables()
    for shift in (1.0, -100.0, 1e4):
        assert torch.allclose(
            mirror_step(before, losses + shift, 2.0),
            mirror_step(before, losses, 2.0),
            rtol=0,
            atol=1e-9,
        )
        assert torch.allclose(z_scores(losses + shift), z_scores(losses), rtol=0, atol=1e-9)


def test_a_factor_of_the_loss_changes_nothing_when_it_is_z_scored() -> None:
    _, losses = tables()
    assert torch.allclose(z_scores(1e-6 * losses), z_scores(losses), rtol=0, atol=1e-9)
    assert torch.allclose(z_scores(losses).mean(1), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(
        z_scores(losses).std(1, correction=0), torch.ones(4, dtype=torch.float64), atol=1e-12
    )


def test_a_uniform_prior_gives_the_gibbs_distribution() -> None:
    _, losses = tables()
    prior = torch.full_like(losses, -math.log(30))
    assert torch.allclose(
        mirror_step(prior, losses, 3.0).exp(), (-3.0 * losses).softmax(1), rtol=1e-12, atol=0
    )


def test_a_large_eta_leaves_the_minimisers_in_the_ratio_of_their_prior() -> None:
    losses = torch.tensor([[1.0, 3.0, 1.0, 2.0]], dtype=torch.float64)
    prior = torch.tensor([[0.3, 0.4, 0.1, 0.2]], dtype=torch.float64)
    limit = torch.tensor([[0.75, 0.0, 0.25, 0.0]], dtype=torch.float64)
    assert torch.allclose(mirror_step(prior.log(), losses, 1e9).exp(), limit, rtol=0, atol=1e-12)


def test_extreme_losses_do_not_overflow() -> None:
    losses = torch.tensor([[1e300, -1e300, math.inf, math.nan, -math.inf]], dtype=torch.float64)
    prior = torch.full_like(losses, -math.log(5))
    assert mirror_step(prior, losses, 1.0).exp().tolist() == [[0.0, 1.0, 0.0, 0.0, 0.0]]
    assert expectation(mirror_step(prior, losses, 1.0), losses).item() == -1e300
    equal = torch.full((1, 30), 0.1, dtype=torch.float64)
    p = mirror_step(torch.zeros_like(equal), z_scores(equal), 20.0).exp()
    assert torch.allclose(p, torch.full_like(p, 1 / 30), rtol=1e-12)


def test_effective_sample_size_and_entropy_at_both_ends() -> None:
    uniform = torch.full((2, 8), -math.log(8), dtype=torch.float64)
    certain = torch.tensor([[0.0, -math.inf, -math.inf]], dtype=torch.float64)
    assert effective_sample_size(uniform) == pytest.approx(8, rel=1e-12)
    assert entropy(uniform) == pytest.approx(math.log(8), rel=1e-12)
    assert (effective_sample_size(certain), entropy(certain)) == (1.0, 0.0)


def test_the_escape_probability_is_the_tail_of_the_noise() -> None:
    source = torch.Generator().manual_seed(1)
    noise = torch.empty(200_000, dtype=torch.float64).normal_(generator=source)
    drawn = noise * 0.02 * 1.5
    for barrier in (0.0, 0.02, 0.05):
        p = escape_probability(barrier, 0.02, sigma=1.5)
        sigma = math.sqrt(p * (1 - p) / 200_000)
        assert abs((drawn >= barrier).double().mean().item() - p) < 5 * sigma
    bound = 1 - math.exp(-(0.1**2) / (2 * 0.02**2))
    assert escape_probability(0.1, 0.02) < 1e-6 < bound - 0.99  # (69) is false
    assert escape_probability(0.02, 0.0) == 0.0


def test_the_cumulative_escape_probability_is_a_product() -> None:
    chances = [0.3 * 0.995**t for t in range(50)]
    product = 1 - math.prod(1 - p * 0.1587 for p in chances)
    assert cumulative_escape_probability(0.1587, chances) == pytest.approx(product, rel=1e-12)
    # Not lost in 1 - 1.
    assert cumulative_escape_probability(1e-30, [1.0, 1.0]) == pytest.approx(2e-30, rel=1e-9)
    assert cumulative_escape_probability(1.0, [0.5, 1.0]) == 1.0
    assert cumulative_escape_probability(0.5, []) == 0.0


def search(loss: Callable[[Tensor], Tensor], at: list[float], steps: int, **options: Any) -> Tensor:
    weight = Parameter(torch.tensor(at, dtype=torch.float64))
    optimizer = QIASO([weight], 0, QIASOOptions(**options))
    for _ in range(steps):
        optimizer.step(lambda: loss(weight))
        optimizer.epoch_end()
    return weight.detach()


def test_it_descends_on_a_sphere_to_the_size_of_its_noise() -> None:
    target = torch.tensor([0.3, -0.7, 1.1, 0.5], dtype=torch.float64)
    point = search(lambda x: ((x - target) ** 2).sum(), [0.0] * 4, 150)
    assert (point - target).norm() < 0.02  # sigma


def test_one_coordinate_at_a_time_it_solves_a_separable_function_with_many_minima() -> None:
    target = torch.tensor([0.8, -1.3, 2.1], dtype=torch.float64)

    def rastrigin(x: Tensor) -> Tensor:
        z = x - target
        return (z**2 - 10 * torch.cos(2 * math.pi * z) + 10).sum()

    wide = {
        "sigma_start": 2.0,
        "sigma": 1.0,
        "sigma_decay": 0.9,
        "epsilon": 0.0,
        "losses": "raw",
        "eta": 5.0,
    }
    assert rastrigin(search(rastrigin, [4.0] * 3, 40, unit="coordinate", **wide)) < 0.01
    # The lowest of the other minima has 0.995.
    assert rastrigin(search(rastrigin, [4.0] * 3, 40, **wide)) > 0.99


def test_losses_that_are_not_finite_have_no_part_in_the_mean() -> None:
    def cliff(x: Tensor) -> Tensor:
        return torch.where(x.sum() > 0.01, torch.nan, (x**2).sum())

    weight = Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = QIASO([weight], 0)
    alive = [
        w
        for candidate in optimizer.ask()
        for w in optimizer.weights(candidate)
        if not w.sum() > 0.01
    ]
    assert 0 < len(alive) < 30
    losses = torch.stack([cliff(w) for w in alive])
    p = (-(losses - losses.mean()) / losses.std(correction=0)).softmax(0)
    optimizer.step(lambda: cliff(weight))
    assert torch.allclose(weight.detach(), p @ torch.stack(alive), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_an_argmax_collapse_puts_the_parameters_at_the_best_candidate_to_the_last_bit(
    dtype: torch.dtype,
) -> None:
    weight = Parameter(torch.linspace(-1, 1, 50).to(dtype))
    optimizer = QIASO([weight], 0, QIASOOptions(collapse_to="argmax", sigma_start=0.5))
    for _ in range(3):
        points = [optimizer.weights(candidate)[0] for candidate in optimizer.ask()]
        best = min(points, key=lambda w: w.float().square().sum().item())
        optimizer.step(lambda: weight.float().square().sum())
        assert torch.equal(weight, best)


def test_presets() -> None:
    assert QIASOOptions() == QIASOOptions.recommended()
    different = {
        field.name: getattr(QIASOOptions.literal(), field.name)
        for field in dataclasses.fields(QIASOOptions)
        if getattr(QIASOOptions.literal(), field.name) != getattr(QIASOOptions(), field.name)
    }
    assert different == {
        "eta": 20.0,
        "losses": "raw",
        "collapse_to": "argmax",
        "collapse_when": "epoch",
        "tunnel_probability": 1.0,
    }
