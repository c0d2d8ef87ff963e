"""Bad input: an error of ours that names the argument, the value and the way out."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from hybridq.errors import InvalidArgument
from hybridq.optim.tunneling import QuantumTunneling, TunnelingOptions

NAN = float("nan")


def sgd(**of_the_group: Any) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [Parameter(torch.ones(2, 2))], **of_the_group}], lr=0.1)


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        (
            "base",
            torch.optim.SGD,
            r"base=<class .*SGD.*>: give an optimizer, such as torch.optim.Adam\(",
        ),
        ("base", [Parameter(torch.ones(1))], r"base=\[(?s:.*)give an optimizer"),
        ("interval", 0, r"interval=0: give a positive integer"),
        ("interval", 2.5, r"interval=2.5: give a positive integer"),
        ("interval", True, r"interval=True"),
        ("strength", -0.1, r"strength=-0.1: give a finite number, at least 0"),
        ("strength", NAN, r"strength=nan"),
        ("strength", "big", r"strength='big'"),
        ("options", "literal", r"options='literal': give a TunnelingOptions"),
        ("total", 0, r"total=0: give a positive integer"),
        ("seed", -1, r"seed=-1: give a non-negative integer"),
        (
            "options",
            TunnelingOptions(revert_after=5),
            r"revert_after=5: the next jump, after 5 epochs, comes first",
        ),
    ],
)
def test_arguments(argument: str, value: Any, says: str) -> None:
    base = sgd()
    with pytest.raises(InvalidArgument, match=says):
        QuantumTunneling(**{"base": base, "interval": 5, "strength": 0.1} | {argument: value})
    assert not any("tunneling" in key for key in base.param_groups[0])  # It is as it was.


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("unit", "batch", r"unit='batch': choose one of 'epoch', 'step'"),
        ("trigger", "luck", r"trigger='luck': choose one of 'interval', 'plateau'"),
        ("mode", "best", r"mode='best'.*'max'"),
        ("revert_after", 0, r"revert_after=0: give a positive integer"),
        ("jump_at_end", 1, r"jump_at_end=1: give True or False"),
        ("noise", "pink", r"noise='pink'.*'cauchy'"),
        ("size", "big", r"size='big'.*'absolute'"),
        ("tensors", "weights", r"tensors='weights'.*'matrices'"),
        ("reset", None, r"reset=None.*'scale'"),
        ("reset_factor", -1.0, r"reset_factor=-1.0: give a finite number"),
        ("check_finite", "yes", r"check_finite='yes': give True or False"),
    ],
)
def test_options(argument: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        TunnelingOptions(**{argument: value})


@pytest.mark.parametrize("options", [{"trigger": "plateau"}, {"revert_after": 2}])
def test_steps_have_no_metric(options: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidArgument,
        match=r"unit='step': a plateau and revert_after need the metric of an epoch",
    ):
        TunnelingOptions(unit="step", **options)


@pytest.mark.parametrize(
    ("key", "value"), [("tunneling_strength", -1.0), ("tunneling_noise", "pink")]
)
def test_groups(key: str, value: Any) -> None:
    says = f"{key.removeprefix('tunneling_')}={value!r}"
    with pytest.raises(InvalidArgument, match=says):
        QuantumTunneling(sgd(**{key: value}), 5, 0.1)
    optimizer = QuantumTunneling(sgd(), 5, 0.1)
    with pytest.raises(InvalidArgument, match=says):
        optimizer.add_param_group({"params": [Parameter(torch.ones(1))], key: value})
    assert len(optimizer.param_groups) == 1


def test_wrapping_twice() -> None:
    base = sgd()
    optimizer = QuantumTunneling(base, 5, 0.1)
    with pytest.raises(
        InvalidArgument, match=r"base='QuantumTunneling': it is in a QuantumTunneling already"
    ):
        QuantumTunneling(optimizer, 5, 0.1)
    with pytest.raises(InvalidArgument, match=r"base='SGD': it is in a QuantumTunneling already"):
        QuantumTunneling(base, 5, 0.1)


@pytest.mark.parametrize("metric", [None, "low", True])
@pytest.mark.parametrize(
    "options", [TunnelingOptions(trigger="plateau"), TunnelingOptions(revert_after=2)]
)
def test_a_metric_that_is_needed(options: TunnelingOptions, metric: Any) -> None:
    optimizer = QuantumTunneling(sgd(), 5, 0.1, options, diagnose=True)
    with pytest.raises(
        InvalidArgument,
        match=rf"metric={metric!r}: a plateau and revert_after compare it.*give the loss",
    ):
        optimizer.epoch_end(metric)
    assert optimizer.diagnosis is None  # The epoch has not been counted.
    optimizer.epoch_end(torch.tensor(1.0))  # type: ignore[arg-type]
    assert optimizer.diagnosis is not None
    assert optimizer.diagnosis.epoch == 1
