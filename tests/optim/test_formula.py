"""Every switch, on both paths, against the NumPy twin."""

import random
from collections.abc import Callable
from dataclasses import fields
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.optim import (
    AbstractPerturbation,
    Cosine,
    GaussianNoise,
    NoPerturbation,
    Place,
    Sign,
    Sine,
    SuperpositionalAdam,
    SuperpositionalOptions,
    UniformNoise,
)
from tests.optim._runs import assert_same, gradients, parameters
from tests.reference.superpositional import TwinGroup, sine, twin_step

FACTORS: list[tuple[AbstractPerturbation, Any]] = [
    (Sine(), sine),
    (Cosine(), lambda theta, *_: np.cos(np.pi * theta)),
    (Sign(), lambda theta, *_: np.sign(np.sin(np.pi * theta))),
    (NoPerturbation(), lambda theta, *_: 0 * theta),
]
COMBINATIONS = [
    combination
    for combination in product(
        ("normalized", "raw"),
        ("current", "m_hat"),
        ("update", "moments"),
        ("descent", "ascent"),
        ("eps_outside", "eps_inside"),
        ("corrected", "uncorrected"),
        ("decoupled", "l2"),
    )
    if combination[2:4] != ("moments", "ascent")
]
NAMES = ("scale", "raw_gradient", "acts_on", "bracket", "denominator", "bias_correction", "decay")
Step = Callable[[int, list[Parameter]], list[Tensor | None]]


def all_gradients(step: int, params: list[Parameter]) -> list[Tensor | None]:
    return list(gradients(step, params))


def some_gradients(step: int, params: list[Parameter]) -> list[Tensor | None]:
    """A parameter skips a step now and then, so that step counts differ."""
    return [None if (step + i) % 4 == 3 else grad for i, grad in enumerate(gradients(step, params))]


def ours(
    groups: list[dict[str, Any]], foreach: bool, give: Step = all_gradients, **defaults: Any
) -> list[Tensor]:
    params = parameters(torch.float64)
    halves = [params[:3], params[3:]] if len(groups) == 2 else [params]
    dicts = [{"params": half, **group} for half, group in zip(halves, groups, strict=True)]
    optimizer = SuperpositionalAdam(dicts, foreach=foreach, **defaults)
    for step in range(6):
        for param, grad in zip(params, give(step, params), strict=True):
            param.grad = grad
        optimizer.step()
    return [param.detach() for param in params]


def twins(
    groups: list[dict[str, Any]], give: Step = all_gradients, **defaults: Any
) -> list[Tensor]:
    params = parameters(torch.float64)
    arrays = [np.array(param.detach().numpy(), order="C") for param in params]
    halves = [arrays[:3], arrays[3:]] if len(groups) == 2 else [arrays]
    made = [
        TwinGroup(half, **{**defaults, **group}) for half, group in zip(halves, groups, strict=True)
    ]
    for step in range(6):
        row = [None if grad is None else grad.numpy() for grad in give(step, params)]
        twin_step(made, [row[:3], row[3:]] if len(groups) == 2 else [row])
    return [torch.from_numpy(array) for array in arrays]


def assert_close(left: list[Tensor], right: list[Tensor]) -> None:
    for a, b in zip(left, right, strict=True):
        # Six steps of a dozen roundings each in float64, seen through an ascent of 0.5 |g|.
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("values", COMBINATIONS, ids="-".join)
def test_every_combination_of_switches_follows_the_formula(values: tuple[Any, ...]) -> None:
    switches: dict[str, Any] = dict(zip(NAMES, values, strict=True))
    switches["bias_correction"] = switches["bias_correction"] == "corrected"
    numbers: dict[str, Any] = {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.3}
    foreach = ours([{}], True, options=SuperpositionalOptions(**switches), **numbers)
    assert_close(foreach, twins([{}], **switches, **numbers))
    assert_same(foreach, ours([{}], False, options=SuperpositionalOptions(**switches), **numbers))


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("entries", ["per_tensor", "global", "tensors", "all"])
@pytest.mark.parametrize("n_qubits", [1, 4, 6, 100])
@pytest.mark.parametrize("scale", ["normalized", "raw"])
def test_the_chosen_entries(entries: Any, n_qubits: int, scale: Any, foreach: bool) -> None:
    switches: dict[str, Any] = {"entries": entries, "n_qubits": n_qubits, "scale": scale}
    groups = [{}, {"lr": 0.05}]  # The choice goes across groups.
    options = SuperpositionalOptions(**switches)
    assert_close(
        ours(groups, foreach, some_gradients, options=options),
        twins(groups, some_gradients, **switches),
    )


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("acts_on", ["update", "moments"])
def test_a_mask(acts_on: Any, foreach: bool) -> None:
    masks: list[Tensor | None] = [param.detach() > 0 for param in parameters()]
    masks[1] = None
    masks[2] = torch.zeros(3, dtype=torch.bool)
    expected = twins(
        [{"mask": [None if m is None else m.numpy() for m in masks]}],
        entries="mask",
        acts_on=acts_on,
    )
    options = SuperpositionalOptions(entries="mask", acts_on=acts_on)
    assert_close(ours([{"mask": masks}], foreach, options=options), expected)


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize(
    ("perturbation", "factor"), FACTORS, ids=lambda value: getattr(value, "name", "")
)
def test_the_factors(perturbation: AbstractPerturbation, factor: Any, foreach: bool) -> None:
    assert_close(
        ours([{}], foreach, options=SuperpositionalOptions(perturbation=perturbation)),
        twins([{}], factor=factor),
    )


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize(
    "perturbation",
    [GaussianNoise(seed=3), UniformNoise(seed=3)],
    ids=lambda perturbation: perturbation.name,
)
def test_noise_is_that_of_its_step_group_and_tensor(
    perturbation: AbstractPerturbation, foreach: bool
) -> None:
    def factor(theta: Any, step: int, group: int, tensor: int) -> Any:
        count = min(4, theta.size)
        drawn = perturbation.factors(
            [torch.zeros(count, dtype=torch.float64)], step, [Place(group, tensor)]
        )
        full = np.zeros(theta.size)
        full[:count] = drawn.numpy()
        return full.reshape(theta.shape)

    groups: list[dict[str, Any]] = [{}, {}]
    weights = ours(
        groups, foreach, some_gradients, options=SuperpositionalOptions(perturbation=perturbation)
    )
    assert_close(weights, twins(groups, some_gradients, factor=factor))


@pytest.mark.parametrize("foreach", [True, False])
def test_each_group_has_its_own_strength_number_or_function(foreach: bool) -> None:
    def decaying(step: int) -> float:
        return 0.9 / step

    expected = twins([{"strength": decaying}, {"strength": lambda step: 0.2}], some_gradients)
    assert_close(
        ours([{"strength": decaying}, {"strength": 0.2}], foreach, some_gradients), expected
    )


@pytest.mark.parametrize("number", range(60))
def test_random_options_on_both_paths(number: int) -> None:
    draw = random.Random(number)  # noqa: S311
    perturbation, factor = draw.choice(FACTORS)
    strength = draw.uniform(0, 2)
    switches: dict[str, Any] = {
        "entries": draw.choice(["per_tensor", "global", "tensors", "all"]),
        "n_qubits": draw.randint(1, 12),
        "scale": draw.choice(["normalized", "raw"]),
        "raw_gradient": draw.choice(["current", "m_hat"]),
        "acts_on": draw.choice(["update", "moments"]),
        "denominator": draw.choice(["eps_outside", "eps_inside"]),
        "bias_correction": draw.choice([True, False]),
        "decay": draw.choice(["decoupled", "l2"]),
    }
    numbers: dict[str, Any] = {"lr": 0.02, "eps": 1e-3, "weight_decay": draw.choice([0.0, 0.2])}
    numbers["maximize"] = draw.choice([True, False])
    options = SuperpositionalOptions(perturbation=perturbation, **switches)
    foreach = ours([{}], True, some_gradients, options=options, strength=strength, **numbers)
    assert_same(
        foreach, ours([{}], False, some_gradients, options=options, strength=strength, **numbers)
    )
    assert_close(
        foreach,
        twins(
            [{}],
            some_gradients,
            factor=factor,
            strength=lambda step: strength,
            **switches,
            **numbers,
        ),
    )


def test_the_twin_knows_every_switch() -> None:
    known = {field.name for field in fields(TwinGroup)} | {"perturbation"}
    assert {field.name for field in fields(SuperpositionalOptions)} <= known
