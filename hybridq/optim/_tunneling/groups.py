"""The keys that `QuantumTunneling` adds to the parameter groups of its base optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from hybridq.optim._checks import check_non_negative
from hybridq.optim._tunneling.options import TunnelingOptions

__all__ = ["PREFIX", "additions", "has_zero_rates", "values_of"]

PREFIX = "tunneling_"
_OF_A_GROUP = ("strength", "noise", "size", "tensors")


def values_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values under the keys that the wrapper has added, without the prefix."""
    return {
        key.removeprefix(PREFIX): value for key, value in group.items() if key.startswith(PREFIX)
    }


def additions(group: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys to add to a group, after a check.

    Args:
        group: The group. It may have values of its own for the strength, noise, size and tensors
            of its jumps, which win.
        values: The values of all other groups, without the prefix.

    Returns:
        The keys with the prefix, and their values.

    Raises:
        InvalidArgument: If a value is out of range.
    """
    merged = {PREFIX + name: value for name, value in values.items()}
    for name in _OF_A_GROUP:
        key = PREFIX + name
        if key in group:
            merged[key] = group[key]
    check_non_negative("strength", merged[PREFIX + "strength"])
    TunnelingOptions.of_group(merged, PREFIX)
    return merged


def has_zero_rates(groups: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether every learning rate is 0.

    This marks the step that torch.distributed.checkpoint takes to fill in an empty state. A
    learning rate on another device than the CPU is not read.
    """
    rates = [group.get("lr") for group in groups]
    return all((not isinstance(rate, Tensor) or rate.is_cpu) and rate == 0 for rate in rates)
