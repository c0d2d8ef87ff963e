"""hybridq's optimizers, described as torch describes its own to its tests.

Torch does it in `torch.testing._internal.common_optimizers`.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerInfo,
    OptimizerInput,
    _get_optim_inputs_including_global_cliquey_kwargs,
    get_error_inputs_for_all_optims,
    optim_error_inputs_func_adam,
    optim_error_inputs_func_sgd,
    optim_inputs_func_adam,
    optim_inputs_func_sgd,
)

from hybridq.optim.qiaso import QIASO, QIASOOptions
from hybridq.optim.superpositional import SuperpositionalAdam
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions

__all__ = ["INFOS", "build", "configurations", "inputs"]


def _torchs_errors(device: Any, dtype: Any) -> list[ErrorOptimizerInput]:
    """Return the errors that torch asks of all optimizers.

    A parameter that is listed twice is none of them, because it counts once with ours (SPEC S9).
    """
    errors: list[Any] = get_error_inputs_for_all_optims(device, dtype)  # type: ignore[no-untyped-call]
    # A learning rate of two numbers is refused in our own words, which are below.
    return [
        each
        for each in errors
        if each.error_type is not UserWarning and "Tensor lr" not in each.error_regex
    ]


def _inputs(kwargs: dict[str, dict[str, Any]]) -> list[OptimizerInput]:
    """What torch wants of a configuration: no parameters, the arguments, and a description."""
    nothing: Any = None
    return [OptimizerInput(nothing, options, desc) for desc, options in kwargs.items()]


def _our_errors(wrong: list[tuple[dict[str, Any], str]]) -> list[ErrorOptimizerInput]:
    kind: Any = ErrorOptimizerInput
    given = _inputs({says: kwargs for kwargs, says in wrong})
    return [kind(each, error_type=ValueError, error_regex=each.desc) for each in given]


def _superpositional_inputs(device: Any, dtype: Any = None) -> list[OptimizerInput]:
    kwargs: dict[str, dict[str, Any]] = {
        "default": {},
        "non-default lr": {"lr": 0.01},
        "nonzero weight_decay": {"weight_decay": 0.1},
        "maximize": {"weight_decay": 0.1, "maximize": True},
        "strong": {"strength": 0.9, "betas": (0.8, 0.95)},
        "no perturbation": {"strength": 0.0},
    }
    if torch.device(device).type != "cpu":
        kwargs |= {
            "capturable": {"capturable": True},
            "tensor lr, capturable": {
                "lr": torch.tensor(0.001),
                "weight_decay": 0.1,
                "capturable": True,
            },
        }
    return _inputs(kwargs)


def _superpositional_errors(device: Any, dtype: Any) -> list[ErrorOptimizerInput]:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"lr": torch.tensor([0.001, 0.001])}, "lr=.*one element"),
        ({"lr": -1.0}, r"lr=-1\.0"),
        ({"betas": (1.0, 0.0)}, r"betas\[0\]=1\.0"),
        ({"betas": (0.0, 1.0)}, r"betas\[1\]=1\.0"),
        ({"eps": -1.0}, r"eps=-1\.0"),
        ({"weight_decay": -1.0}, r"weight_decay=-1\.0"),
        ({"strength": -1.0}, r"strength=-1\.0"),
    ]
    return _torchs_errors(device, dtype) + _our_errors(wrong)


def _qiaso_inputs(device: Any, dtype: Any = None) -> list[OptimizerInput]:
    kwargs: dict[str, dict[str, Any]] = {
        "default": {"seed": 0},
        "best": {
            "seed": 3,
            "options": QIASOOptions(n_candidates=10, collapse_to="argmax", keep_best=True),
        },
        "raw": {
            "seed": 1,
            "options": QIASOOptions(n_candidates=10, losses="raw", eta=20.0),
            "diagnose": True,
        },
    }
    return _inputs(kwargs)


def _qiaso_errors(device: Any, dtype: Any) -> list[ErrorOptimizerInput]:
    ours = _torchs_errors(device, dtype)
    for error in ours:
        error.optimizer_error_input.kwargs = {"seed": 0}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0, "options": "literal"}, "options='literal'"),
        ({"seed": 0, "barrier": -1.0}, r"barrier=-1\.0"),
    ]
    return ours + _our_errors(wrong)


class TunnelingAdam(QuantumTunneling):
    """Torch's Adam with a jump of every tensor after every third step.

    Torch asks the same of it as of its own Adam.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        switches = TunnelingOptions(unit="step", tensors="all")
        super().__init__(torch.optim.Adam(params, **options), 3, 0.001, switches)


class TunnelingSGD(QuantumTunneling):
    """The same around torch's SGD."""

    def __init__(self, params: Any, **options: Any) -> None:
        switches = TunnelingOptions(unit="step", tensors="all")
        super().__init__(torch.optim.SGD(params, **options), 3, 0.001, switches)


def _described(kind: Any, **what: Any) -> OptimizerInfo:
    """torch's annotation says that `kind` is an instance."""
    return OptimizerInfo(kind, **what)


INFOS = [
    _described(
        SuperpositionalAdam,
        optim_inputs_func=_superpositional_inputs,
        optim_error_inputs_func=_superpositional_errors,
        supported_impls=("foreach", "differentiable"),
        not_og_supported_flags=("foreach", "differentiable", "maximize", "capturable"),
        has_capturable_arg=True,
    ),
    _described(
        TunnelingAdam,
        optim_inputs_func=optim_inputs_func_adam,
        optim_error_inputs_func=optim_error_inputs_func_adam,
        supported_impls=("foreach",),
        has_capturable_arg=True,
    ),
    _described(
        TunnelingSGD,
        optim_inputs_func=optim_inputs_func_sgd,
        optim_error_inputs_func=optim_error_inputs_func_sgd,
        supported_impls=("foreach",),
    ),
    _described(
        QIASO,
        optim_inputs_func=_qiaso_inputs,
        optim_error_inputs_func=_qiaso_errors,
        scheduler_inputs=(),  # It has no learning rate.
        supported_impls=(),
        not_og_supported_flags=(),
        supports_complex=False,
        step_requires_closure=True,
    ),
]


def build(info: OptimizerInfo, params: Any, kwargs: dict[str, Any]) -> Any:
    """Make the optimizer of a configuration, which stays as it is."""
    kind: Any = info.optim_cls
    return kind(params, **deepcopy(kwargs))


def inputs(info: OptimizerInfo, *skip: str, device: str = "cpu") -> list[OptimizerInput]:
    """Return all configurations of an optimizer: with a loop, with foreach and so on."""
    made: list[OptimizerInput] = _get_optim_inputs_including_global_cliquey_kwargs(
        device, torch.float32, info, skip
    )
    return made


def configurations(
    *skip: str, only: Callable[[OptimizerInfo], bool] = lambda info: True
) -> pytest.MarkDecorator:
    """Run a test over optimizers, in all configurations.

    Args:
        skip: Flags; configurations with one of them are left out.
        only: Says whether an optimizer takes part.
    """
    cases = [
        pytest.param(info, deepcopy(given.kwargs), id=f"{info.name}-{given.desc}")
        for info in INFOS
        if only(info)
        for given in inputs(info, *skip)
    ]
    return pytest.mark.parametrize(("info", "kwargs"), cases)
