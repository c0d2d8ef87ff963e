"""What all optimizers ask of parameters: listed once, sharded or not, and with finite gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from hybridq.errors import InvalidArgument

__all__ = ["check_finite", "is_sharded", "once", "whole"]


def once(params: Any) -> Any:
    """The parameters of a group as a list, without what is listed twice (SPEC S9): torch would step it twice.

    Args:
        params: A tensor, or tensors with or without names. A set is returned as it is, for torch to
            refuse.
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
    """Whether it is a DTensor. A quick no for all others: torch.distributed.tensor takes a second to import."""
    if type(tensor) in (Tensor, Parameter):
        return False
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all ranks if it is sharded: then every rank has to call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def check_finite(groups: Sequence[Mapping[str, Any]], switch: str = "check_finite") -> None:
    """Refuse gradients with NaN or infinity, on all ranks if on one. It reads them once, and one answer on the host.

    Args:
        groups: Parameter groups.
        switch: The key of a group that says whether it is looked at.

    Raises:
        InvalidArgument: For the first such gradient, with the name of its parameter, or its place
            if it has none.
    """
    found = [
        (number, index, _values(param.grad))
        for number, group in enumerate(groups)
        if group[switch]
        for index, param in enumerate(group["params"])
        if param.grad is not None
    ]
    # A sum is finite only if all its terms are, and faster than a look at each; but it may
    # overflow.
    if not found or bool(
        torch.stack(
            [whole(grad.sum()).isfinite().to(found[0][2].device) for *_, grad in found]
        ).all()
    ):
        return
    for number, index, grad in found:
        if not bool(whole(grad.isfinite().all())):
            names = groups[number].get("param_names")
            shape = tuple(groups[number]["params"][index].shape)
            reason = (
                "its gradient has NaN or infinite entries; nothing was changed. Clip it, or lower "
                "the learning rate"
            )
            if names:
                raise InvalidArgument.of("params", names[index], reason)
            place = f"parameter {index} of group {number}, of shape {shape}"
            raise InvalidArgument.that("params", f"holds {place}", reason)


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad
