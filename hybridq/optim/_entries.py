"""Which entries of which tensors are perturbed (SPEC S6, S8, S9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument

__all__ = ["Slot", "check_masks", "slots"]


@dataclass(frozen=True)
class Slot:
    """The chosen entries of one tensor: the first `count` in row-major order, or those at `index`.

    Args:
        count: How many, at least 1.
        index: Row-major positions, shape (count,); None for the first ones.
    """

    count: int
    index: Tensor | None = None

    def view(self, tensor: Tensor) -> Tensor | None:
        """The entries as a view of shape (count,), or None if they do not lie side by side in memory."""
        if self.index is None and tensor.is_contiguous():
            return tensor.as_strided((self.count,), (1,))
        return None

    def take(self, tensor: Tensor) -> Tensor:
        """The entries, shape (count,): a view where there is one, else a copy."""
        view = self.view(tensor)
        return tensor.take(self._positions(tensor)) if view is None else view

    def add_(self, tensor: Tensor, delta: Tensor) -> None:
        """Add `delta`, shape (count,), to the entries."""
        view = self.view(tensor)
        if view is None:
            tensor.put_(self._positions(tensor), delta, accumulate=True)
        else:
            view.add_(delta)

    def _positions(self, tensor: Tensor) -> Tensor:
        if self.index is None:
            return torch.arange(self.count, device=tensor.device)
        return self.index.to(tensor.device)


def slots(groups: Sequence[Mapping[str, Any]]) -> list[list[Slot | None]]:
    """Find the slot of every parameter; None where nothing is perturbed.

    The choice depends on the order of groups and parameters and on their shapes, never on which of them has a gradient, so
    that it is fixed from construction on (SPEC S8). A group that is added later leaves the others' entries as they were.
    A second parameter with the same memory is not perturbed again (SPEC S9).

    Args:
        groups: The optimizer's parameter groups, with "entries", "n_qubits" and, for "mask", "mask".

    Returns:
        One list per group.
    """
    seen: set[tuple[Any, ...]] = set()
    n_entries = n_tensors = 0
    result: list[list[Slot | None]] = []
    for group in groups:
        row: list[Slot | None] = []
        for index, parameter in enumerate(group["params"]):
            memory = (parameter.device, parameter.data_ptr(), parameter.shape, parameter.stride())
            if parameter.numel() == 0 or (parameter.data_ptr() != 0 and memory in seen):
                row.append(None)
                continue
            seen.add(memory)
            row.append(_slot(group, index, n_entries, n_tensors))
            n_entries += parameter.numel()
            n_tensors += 1
        result.append(row)
    return result


def _slot(group: Mapping[str, Any], index: int, entries_before: int, tensors_before: int) -> Slot | None:
    """The slot of a group's parameter that comes after so many entries and tensors."""
    numel, n_qubits = group["params"][index].numel(), group["n_qubits"]
    match group["entries"]:
        case "mask":
            return _masked(group, index)
        case "per_tensor":
            count = min(n_qubits, numel)
        case "global":
            count = min(n_qubits - entries_before, numel)
        case "tensors":
            count = numel if tensors_before < n_qubits else 0
        case _:
            count = numel
    return Slot(count) if count > 0 else None


def _masked(group: Mapping[str, Any], index: int) -> Slot | None:
    parameter, mask = group["params"][index], group["mask"][index]
    if mask is None:
        return None
    positions = mask.reshape(-1).nonzero().reshape(-1).to(parameter.device)
    return Slot(len(positions), positions) if len(positions) else None


def check_masks(parameters: Sequence[Tensor], masks: object) -> None:
    """Refuse masks that do not fit.

    Args:
        parameters: The parameters of a group.
        masks: For each of them a bool tensor of its shape, or None to leave it alone.

    Raises:
        InvalidArgument: If there is not one mask per parameter, or one of them is no bool tensor of its parameter's shape.
    """
    if not isinstance(masks, (list, tuple)) or len(masks) != len(parameters):
        reason = f"give a list with one bool tensor or None for each of the {len(parameters)} parameters of the group"
        raise InvalidArgument.of("mask", masks, reason)
    for number, (mask, parameter) in enumerate(zip(masks, parameters, strict=True)):
        fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == parameter.shape
        if mask is not None and not fits:
            shown = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else mask
            raise InvalidArgument.of(
                f"mask[{number}]", shown, f"give a bool tensor of shape {tuple(parameter.shape)}, or None"
            )
