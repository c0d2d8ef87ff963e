"""Bad input: an error of ours that names the argument, the value and the way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.errors import HybridqError, InvalidArgument, UnknownName
from hybridq.optim import (
    AbstractPerturbation,
    GaussianNoise,
    NoPerturbation,
    Place,
    SuperpositionalAdam,
    SuperpositionalOptions,
)
from hybridq.optim._perturbations import perturbation

NAN = float("nan")


def weights() -> list[Parameter]:
    return [Parameter(torch.ones(2))]


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("lr", -1.0, r"lr=-1.0: .*at least 0"),
        ("lr", NAN, r"lr=nan: .*finite"),
        ("lr", "fast", r"lr='fast'"),
        ("lr", torch.ones(2), r"lr=tensor.*one element"),
        ("eps", -1e-8, r"eps=-1e-08: .*at least 0"),
        ("betas", (1.0, 0.9), r"betas\[0\]=1.0: .*\[0, 1\)"),
        ("betas", (0.9, -0.1), r"betas\[1\]=-0.1"),
        ("betas", 0.9, r"betas=0.9: give two numbers"),
        ("weight_decay", -0.1, r"weight_decay=-0.1"),
        ("strength", -0.5, r"strength=-0.5: .*function of the step"),
        ("strength", NAN, r"strength=nan"),
        ("foreach", "yes", r"foreach='yes': give True, False or None"),
        ("maximize", "yes", r"maximize='yes': give True or False"),
        ("capturable", 1, r"capturable=1: give True or False"),
        ("differentiable", None, r"differentiable=None: give True or False"),
        ("check_finite", "always", r"check_finite='always': give True or False"),
        ("diagnose", 1, r"diagnose=1: give True or False"),
        ("options", "literal", r"options='literal': give a SuperpositionalOptions"),
    ],
)
def test_arguments(argument: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        SuperpositionalAdam(weights(), **{argument: value})
    if argument not in ("options", "diagnose"):
        with pytest.raises(InvalidArgument, match=says):
            SuperpositionalAdam([{"params": weights(), argument: value}])


def test_a_default_that_every_group_overrides() -> None:
    with pytest.raises(InvalidArgument, match=r"lr=-1.0"):
        SuperpositionalAdam([{"params": weights(), "lr": 0.1}], lr=-1.0)


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        (
            "entries",
            "first",
            r"entries='first': choose one of 'per_tensor', 'global', 'tensors', 'all', 'mask'",
        ),
        ("n_qubits", 0, r"n_qubits=0: give a positive integer"),
        ("n_qubits", True, r"n_qubits=True"),
        ("scale", "big", r"scale='big'.*'raw'"),
        ("raw_gradient", "v", r"raw_gradient='v'.*'m_hat'"),
        ("acts_on", "loss", r"acts_on='loss'.*'moments'"),
        ("bracket", "up", r"bracket='up'.*'ascent'"),
        ("denominator", "eps", r"denominator='eps'.*'eps_inside'"),
        ("decay", "none", r"decay='none'.*'l2'"),
        ("bias_correction", 1, r"bias_correction=1: give True or False"),
    ],
)
def test_options(argument: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        SuperpositionalOptions(**{argument: value})
    with pytest.raises(InvalidArgument, match=says):
        SuperpositionalAdam([{"params": weights(), argument: value}])


def test_an_ascent_of_the_moments() -> None:
    with pytest.raises(InvalidArgument, match=r"bracket='ascent': .*acts_on"):
        SuperpositionalOptions(bracket="ascent", acts_on="moments")


def test_perturbations() -> None:
    with pytest.raises(InvalidArgument, match=r"perturbation='sine': give a perturbation object"):
        SuperpositionalOptions(perturbation="sine")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match=r"unknown perturbation 'sinus'. Did you mean 'sine'"):
        SuperpositionalAdam([{"params": weights(), "perturbation": "sinus"}])
    with pytest.raises(InvalidArgument, match=r"seed=-1: give a non-negative integer"):
        GaussianNoise(seed=-1)
    with pytest.raises(InvalidArgument, match=r"perturbation=3: give a perturbation object"):
        perturbation(3)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Constant(AbstractPerturbation):
    name = "constant"
    value: float = 1.0

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        return torch.cat([torch.full_like(theta, self.value) for theta in thetas])


class Impostor(Constant):
    name = "sine"


def test_perturbations_of_one_name() -> None:
    with pytest.raises(InvalidArgument, match=r"the name 'sine' belongs to Sine\(seed=0\)"):
        SuperpositionalAdam(weights(), options=SuperpositionalOptions(perturbation=Impostor()))
    groups = [{"params": weights(), "perturbation": Constant(value=value)} for value in (1.0, 2.0)]
    with pytest.raises(
        InvalidArgument, match=r"the name 'constant' belongs to Constant\(seed=0, value=1.0\)"
    ):
        SuperpositionalAdam(groups)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (None, r"mask=None: give a list .* 1 parameters"),
        ([None, None], r"mask=\[None, None\]"),
        (
            [torch.ones(2)],
            r"mask\[0\] is a tensor of torch.float32, of shape \(2,\): give a bool tensor of shape",
        ),
        (
            [torch.ones(3, dtype=torch.bool)],
            r"mask\[0\] is a tensor of torch.bool, of shape \(3,\): ",
        ),
    ],
)
def test_masks(mask: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        SuperpositionalAdam([{"params": weights(), "entries": "mask", "mask": mask}])


@pytest.mark.parametrize("value", [-1.0, NAN, "strong", None])
def test_what_a_strength_function_returns(value: Any) -> None:
    params = weights()
    params[0].grad = torch.ones(2)
    with pytest.raises(InvalidArgument, match=r"strength=.* at step 1; it has to return"):
        SuperpositionalAdam(params, strength=lambda step: value).step()


def test_sparse_gradients() -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidArgument, match=r"sparse_coo.*sparse=False"):
        SuperpositionalAdam(table.parameters()).step()


def test_a_refused_group_leaves_the_optimizer_as_it_was() -> None:
    optimizer = SuperpositionalAdam(weights())
    with pytest.raises(InvalidArgument):
        optimizer.add_param_group({"params": weights(), "lr": -1.0})
    assert len(optimizer.param_groups) == 1


def test_a_parameter_in_two_groups_is_refused_by_torch() -> None:
    shared = weights()
    with pytest.raises(ValueError, match="more than one parameter group"):
        SuperpositionalAdam([{"params": shared}, {"params": shared}])


def test_they_are_errors_of_ours_and_value_errors() -> None:
    assert issubclass(InvalidArgument, HybridqError)
    assert issubclass(InvalidArgument, ValueError)


def test_a_group_may_give_an_object_or_a_name() -> None:
    groups = [
        {"params": weights(), "perturbation": NoPerturbation()},
        {"params": weights(), "perturbation": "gaussian_noise", "seed": 3},
    ]
    optimizer = SuperpositionalAdam(groups)
    assert [(group["perturbation"], group["seed"]) for group in optimizer.param_groups] == [
        ("none", 0),
        ("gaussian_noise", 3),
    ]
