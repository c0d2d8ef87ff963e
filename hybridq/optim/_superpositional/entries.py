"""Which entries of which tensors are perturbed (SPEC S6, S8, S9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._parameters import is_sharded
from hybridq.optim._perturbations import Part
from hybridq.optim._superpositional.shards import Shard, plain, real_shape

__all__ = ["Slot", "check_masks", "slots"]


@dataclass(frozen=True)
class Slot:
    """The chosen entries of one tensor: the first `count` in row-major order, or those at `index`.

    Args:
        count: How many, at least 1.
        index: Row-major positions, shape (count,); None for the first ones.
        part: Which of the tensor's chosen entries these are, if others lie on other ranks.
    """

    count: int
    index: Tensor | None = None
    part: Part | None = None

    def view(self, tensor: Tensor) -> Tensor | None:
        """The entries as a view of shape (count,), or None if they do not lie side by side in memory."""
        if self.index is None and tensor.is_contiguous():
            return tensor.view(-1)[: self.count]
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

    The choice depends on the order of groups and parameters and on their shapes, never on which of
    them has a gradient, so that it is fixed from construction on, nor on how a tensor is spread
    over ranks (SPEC S8). A group that is added later leaves the others' entries as they were. A
    second parameter with the same memory is not perturbed again (SPEC S9). An entry of a complex
    parameter counts as two, its real part first.

    Args:
        groups: The optimizer's parameter groups, with "entries", "n_qubits" and, for "mask",
            "mask".

    Returns:
        One list per group. The slots of a DTensor are those of the shard on this rank.
    """
    seen: set[tuple[Any, ...]] = set()
    n_entries = n_tensors = 0
    result: list[list[Slot | None]] = []
    for group in groups:
        row: list[Slot | None] = []
        for index, parameter in enumerate(group["params"]):
            memory = _memory(parameter)
            if parameter.numel() == 0 or memory in seen:
                row.append(None)
                continue
            seen.add(memory)
            slot = _slot(group, index, n_entries, n_tensors)
            row.append(
                _here(slot, parameter) if slot is not None and is_sharded(parameter) else slot
            )
            n_entries += prod(real_shape(parameter))
            n_tensors += 1
        result.append(row)
    return result


def _memory(parameter: Tensor) -> tuple[Any, ...]:
    """What two parameters with the same memory have in common."""
    # All ranks must agree, also where a shard is empty, and tensors without memory of their own are
    # at address 0.
    if is_sharded(parameter) or parameter.data_ptr() == 0:
        return (id(parameter),)
    return (parameter.device, parameter.data_ptr(), parameter.shape, parameter.stride())


def _slot(
    group: Mapping[str, Any], index: int, entries_before: int, tensors_before: int
) -> Slot | None:
    """The slot of a group's parameter that comes after so many entries and tensors, all shards together."""
    numel, n_qubits = prod(real_shape(group["params"][index])), group["n_qubits"]
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
    mask = mask.full_tensor() if is_sharded(mask) else mask
    mask = mask.unsqueeze(-1).expand(real_shape(parameter)) if parameter.is_complex() else mask
    positions = mask.reshape(-1).nonzero().reshape(-1).to(parameter.device)
    return Slot(len(positions), positions) if len(positions) else None


def _here(slot: Slot, parameter: Tensor) -> Slot | None:
    """What of a DTensor's slot lies on this rank."""
    shard, n_local = Shard(parameter), plain(parameter.detach()).numel()
    if slot.index is None and slot.count == prod(real_shape(parameter)):
        return Slot(n_local, None, shard.whole()) if n_local else None
    chosen = torch.arange(slot.count) if slot.index is None else slot.index.cpu()
    positions, part = shard.find(chosen)
    if not len(positions):
        return None
    first = torch.equal(positions, torch.arange(len(positions)))
    return Slot(len(positions), None if first else positions.to(parameter.device), part)


def check_masks(parameters: Sequence[Tensor], masks: object) -> None:
    """Refuse masks that do not fit.

    Args:
        parameters: The parameters of a group.
        masks: For each of them a bool tensor of its shape, or None to leave it alone.

    Raises:
        InvalidArgument: If there is not one mask per parameter, or one of them is no bool tensor of
            its parameter's shape.
    """
    if not isinstance(masks, (list, tuple)) or len(masks) != len(parameters):
        reason = f"give a list with one bool tensor or None for each of the {len(parameters)} parameters of the group"
        raise InvalidArgument.of("mask", masks, reason)
    for number, (mask, parameter) in enumerate(zip(masks, parameters, strict=True)):
        fits = (
            isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == parameter.shape
        )
        if mask is not None and not fits:
            way_out = f"give a bool tensor of shape {tuple(parameter.shape)}, or None"
            if not isinstance(mask, Tensor):
                raise InvalidArgument.of(f"mask[{number}]", mask, way_out)
            fault = f"is a tensor of {mask.dtype}, of shape {tuple(mask.shape)}"
            raise InvalidArgument.that(f"mask[{number}]", fault, way_out)
