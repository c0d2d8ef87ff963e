"""The entries of each tensor that are perturbed (SPEC S6, S8, S9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._parameters import gathered, is_sharded
from hybridq.optim._perturbations import Part
from hybridq.optim._superpositional.shards import Shard, local_view, real_shape

__all__ = ["Slot", "check_masks", "slots"]


@dataclass(frozen=True)
class Slot:
    """The chosen entries of one tensor: the first `count` in row-major order, or those at `index`.

    Args:
        count: The number of entries, at least 1.
        index: Their row-major positions, shape (count,); None for the first ones.
        part: The part that these are of the tensor's chosen entries, if others lie on other ranks.
    """

    count: int
    index: Tensor | None = None
    part: Part | None = None

    def view(self, tensor: Tensor) -> Tensor | None:
        """Return the entries as a view of shape (count,).

        It is None if the entries do not lie side by side in memory.
        """
        if self.index is None and tensor.is_contiguous():
            return tensor.view(-1)[: self.count]
        return None

    def take(self, tensor: Tensor) -> Tensor:
        """Return the entries, shape (count,), as a view if there is one, else as a copy."""
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
    """Choose the entries of every parameter that are perturbed.

    The choice depends on the order of the groups and parameters and on their shapes. It does not
    depend on which of them has a gradient, so it is fixed from construction on. Nor does it depend
    on how a tensor is spread over ranks (SPEC S8). A group that is added later leaves the entries
    of the others as they were. A second parameter with the same memory is not perturbed again
    (SPEC S9). An entry of a complex parameter counts as two, its real part first.

    Args:
        groups: The optimizer's parameter groups, with the keys "entries" and "n_qubits", and with
            "mask" where "entries" is "mask".

    Returns:
        One list for each group, with a slot for each parameter; None where nothing is perturbed.
        The slot of a DTensor is that of the shard on this rank.
    """
    seen: set[tuple[Any, ...]] = set()
    n_entries = 0
    n_tensors = 0
    all_slots: list[list[Slot | None]] = []
    for group in groups:
        group_slots: list[Slot | None] = []
        all_slots.append(group_slots)
        for index, parameter in enumerate(group["params"]):
            memory = _memory(parameter)
            if parameter.numel() == 0 or memory in seen:
                group_slots.append(None)
                continue
            seen.add(memory)
            slot = _slot(group, index, n_entries, n_tensors)
            if slot is not None and is_sharded(parameter):
                slot = _slot_of_shard(slot, parameter)
            group_slots.append(slot)
            n_entries += prod(real_shape(parameter))
            n_tensors += 1
    return all_slots


def _memory(parameter: Tensor) -> tuple[Any, ...]:
    """Return a mark that two parameters with the same memory have in common."""
    # All ranks must agree, also where a shard is empty. Tensors without memory are at address 0.
    if is_sharded(parameter) or parameter.data_ptr() == 0:
        return (id(parameter),)
    return (parameter.device, parameter.data_ptr(), parameter.shape, parameter.stride())


def _slot(
    group: Mapping[str, Any], index: int, entries_before: int, tensors_before: int
) -> Slot | None:
    """Return the slot of a parameter, all shards together.

    Args:
        group: The parameter group.
        index: The position of the parameter in the group.
        entries_before: The number of entries of all parameters before it.
        tensors_before: The number of parameters before it.
    """
    numel = prod(real_shape(group["params"][index]))
    n_qubits = group["n_qubits"]
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
    parameter = group["params"][index]
    mask = group["mask"][index]
    if mask is None:
        return None
    mask = gathered(mask)
    if parameter.is_complex():
        mask = mask.unsqueeze(-1).expand(real_shape(parameter))
    positions = mask.reshape(-1).nonzero().reshape(-1).to(parameter.device)
    return Slot(len(positions), positions) if len(positions) else None


def _slot_of_shard(slot: Slot, parameter: Tensor) -> Slot | None:
    """Return the slot of the shard on this rank, from the slot of the whole DTensor."""
    shard = Shard(parameter)
    n_local = local_view(parameter.detach()).numel()
    if slot.index is None and slot.count == prod(real_shape(parameter)):
        return Slot(n_local, None, shard.whole()) if n_local else None
    chosen = torch.arange(slot.count) if slot.index is None else slot.index.cpu()
    positions, part = shard.find(chosen)
    if not len(positions):
        return None
    are_first = torch.equal(positions, torch.arange(len(positions)))
    index = None if are_first else positions.to(parameter.device)
    return Slot(len(positions), index, part)


def check_masks(parameters: Sequence[Tensor], masks: object) -> None:
    """Refuse masks that do not fit.

    Args:
        parameters: The parameters of a group.
        masks: For each of them a bool tensor of its shape, or None to leave it alone.

    Raises:
        InvalidArgument: If there is not one mask for each parameter.
        InvalidArgument: If a mask is no bool tensor of the shape of its parameter.
    """
    if not isinstance(masks, (list, tuple)) or len(masks) != len(parameters):
        reason = (
            f"give a list with one bool tensor or None for each of the {len(parameters)} "
            "parameters of the group"
        )
        raise InvalidArgument.of("mask", masks, reason)
    for number, (mask, parameter) in enumerate(zip(masks, parameters, strict=True)):
        if mask is None or _fits(mask, parameter):
            continue
        reason = f"give a bool tensor of shape {tuple(parameter.shape)}, or None"
        if not isinstance(mask, Tensor):
            raise InvalidArgument.of(f"mask[{number}]", mask, reason)
        fault = f"is a tensor of {mask.dtype}, of shape {tuple(mask.shape)}"
        raise InvalidArgument.that(f"mask[{number}]", fault, reason)


def _fits(mask: object, parameter: Tensor) -> bool:
    return isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == parameter.shape
