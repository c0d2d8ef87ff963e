"""Gradients with NaN or infinity, noticed before they do harm."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hybridq.errors import InvalidArgument
from hybridq.optim._shards import is_sharded

__all__ = ["check_finite"]


def check_finite(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse gradients with NaN or infinity. It reads all gradients once, and one answer for all of them on the host.

    Args:
        groups: Parameter groups; those whose "check_finite" is not set are passed over.

    Raises:
        InvalidArgument: For the first such gradient, with the name of its parameter, or its place if it has none.
    """
    found = [
        (number, index, param.grad)
        for number, group in enumerate(groups)
        if group["check_finite"]
        for index, param in enumerate(group["params"])
        if param.grad is not None and param.grad.layout is torch.strided
    ]
    # A sum is finite only if all its terms are, and faster than a look at each; but it may overflow.
    if not found or bool(torch.stack([_gathered(grad.sum()).isfinite().to(found[0][2].device) for *_, grad in found]).all()):
        return
    for number, index, grad in found:
        if not bool(_gathered(grad.isfinite().all())):
            names = groups[number].get("param_names")
            shown = names[index] if names else f"parameter {index} of group {number}, of shape {tuple(grad.shape)}"
            reason = "its gradient has NaN or infinite entries; nothing was changed. Clip it, or lower the learning rate"
            raise InvalidArgument.of("params", shown, reason)


def _gathered(number: Any) -> Any:
    """The number of all shards: the same on all ranks, so that all raise."""
    return number.full_tensor() if is_sharded(number) else number
