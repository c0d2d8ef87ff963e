"""Checks of parameters that all optimizers share, and views of sharded ones."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.errors import InvalidArgument

__all__ = ["check_finite", "gathered", "is_sharded", "without_duplicates"]


def without_duplicates(params: Any) -> Any:
    """Return the parameters of a group as a list in which each one stands once (SPEC S9).

    Torch would step a parameter twice that is listed twice.

    Args:
        params: A tensor, or several tensors, with names or without. A set is returned as it is,
            because torch refuses sets with a message of its own.

    Returns:
        The list, or the set.
    """
    if isinstance(params, set):
        return params
    seen: set[int] = set()
    kept = []
    for item in [params] if isinstance(params, Tensor) else params:
        mark = id(item[1]) if isinstance(item, tuple) else id(item)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor.

    For ordinary tensors the answer comes without importing torch.distributed.tensor, which takes
    a second.
    """
    if type(tensor) in (Tensor, Parameter):
        return False
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    return isinstance(tensor, DTensor)


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor, gathered from all ranks if it is sharded. Then every rank has to call."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


class _Gradient(NamedTuple):
    """A gradient that is checked, and whose it is."""

    group: int
    """The position of its parameter group."""
    parameter: int
    """The position of its parameter in the group."""
    values: Tensor
    """Its entries; of a sparse gradient those that are stored."""


def check_finite(groups: Sequence[Mapping[str, Any]], switch: str = "check_finite") -> None:
    """Refuse gradients with NaN or infinity, on all ranks if on one.

    All gradients are read once, and the host waits for one answer.

    Args:
        groups: Parameter groups.
        switch: The key under which a group says whether its gradients are checked.

    Raises:
        InvalidArgument: For the first gradient that is not finite. The message has the name of
            its parameter, or its position if it has no name.
    """
    gradients = [
        _Gradient(number, index, _values(param.grad))
        for number, group in enumerate(groups)
        if group[switch]
        for index, param in enumerate(group["params"])
        if param.grad is not None
    ]
    if not gradients or _have_finite_sums(gradients):
        return
    for gradient in gradients:
        if not bool(gathered(gradient.values.isfinite().all())):
            reason = (
                "its gradient has NaN or infinite entries; nothing was changed. Clip it, or lower "
                "the learning rate"
            )
            raise _not_finite(groups, gradient, reason)


def _have_finite_sums(gradients: Sequence[_Gradient]) -> bool:
    """Return whether the sum of every gradient is finite.

    A sum is finite only if all its terms are, and is computed faster than a look at each term. It
    may overflow, though, so a sum that is not finite proves nothing.
    """
    device = gradients[0].values.device
    flags = [gathered(gradient.values.sum()).isfinite().to(device) for gradient in gradients]
    return bool(torch.stack(flags).all())


def _not_finite(
    groups: Sequence[Mapping[str, Any]], gradient: _Gradient, reason: str
) -> InvalidArgument:
    """Return the error that names the gradient's parameter, or its position and shape."""
    group = groups[gradient.group]
    names = group.get("param_names")
    if names:
        return InvalidArgument.of("params", names[gradient.parameter], reason)
    shape = tuple(group["params"][gradient.parameter].shape)
    place = f"parameter {gradient.parameter} of group {gradient.group}, of shape {shape}"
    return InvalidArgument.that("params", f"holds {place}", reason)


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad
