"""The parameters that `QIASO` moves, cut into blocks whose noise is drawn at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import CheckpointMismatch, InvalidArgument

__all__ = ["Block", "Layout", "Piece", "check_parameter", "check_shapes"]

# The largest number of entries in a block: 1 MB of float32, whatever the sizes of the tensors.
_ENTRIES = 2**18


class Piece(NamedTuple):
    """A run of entries of one parameter, in row-major order."""

    number: int
    """The number of the parameter among those that move."""
    start: int
    """The first entry."""
    stop: int
    """The entry after the last one."""


@dataclass(frozen=True)
class Block:
    """Entries of some parameters of one group, laid end to end. Their noise is drawn at once.

    Args:
        number: Its number among all blocks. The noise depends on it.
        group: The parameter group.
        pieces: The entries, in row-major order.
        units: The number of the unit of each entry, shape (entries,). None if there is only one
            unit.
    """

    number: int
    group: Mapping[str, Any]
    pieces: list[Piece]
    units: Tensor | None

    @property
    def n_entries(self) -> int:
        """The number of entries."""
        return _n_entries(self.pieces)

    def holds(self, unit: int) -> bool:
        """Return whether one of the entries belongs to the unit."""
        return self.units is None or int(self.units[0]) <= unit <= int(self.units[-1])

    def read(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copy the entries of the block out of `tensors`, shape (entries,).

        Args:
            tensors: One tensor for each parameter that moves.
        """
        parts = [
            tensors[number].detach().reshape(-1)[start:stop] for number, start, stop in self.pieces
        ]
        return torch.cat(parts)

    def write(self, tensors: Sequence[Tensor], entries: Tensor) -> None:
        """Copy the entries of the block into `tensors`.

        Args:
            tensors: One tensor for each parameter that moves.
            entries: The entries, shape (entries,).
        """
        parts = torch.split(entries, [stop - start for _, start, stop in self.pieces])
        for (number, start, stop), part in zip(self.pieces, parts, strict=True):
            tensor = tensors[number].detach()
            flat = tensor.reshape(-1)  # This is a view if the tensor is contiguous, else a copy.
            flat[start:stop] = part
            if not tensor.is_contiguous():
                tensor.copy_(flat.view(tensor.shape))


@dataclass(frozen=True)
class Layout:
    """The parameters that move: the trainable ones, of those that share their memory the first.

    Args:
        params: The parameters, in order.
        blocks: The blocks with all their entries.
        n_units: The number of units.
    """

    params: list[Tensor]
    blocks: list[Block]
    n_units: int

    @classmethod
    def of(cls, groups: Sequence[Mapping[str, Any]], unit: str) -> "Layout":
        """Lay out the parameters of all groups.

        Args:
            groups: The parameter groups.
            unit: The unit of a candidate: "whole", "tensor" or "coordinate".

        Returns:
            The layout.

        Raises:
            InvalidArgument: If no parameter is trainable.
        """
        moving = _moving(groups)
        if not moving:
            reason = "set requires_grad=True on what shall move"
            raise InvalidArgument.of("params", "none that requires a gradient", reason)
        blocks: list[Block] = []
        first = 0
        for section in _sections(moving):
            units = _units(section.pieces, first, unit)
            block = Block(len(blocks), section.group, section.pieces, units)
            blocks.append(block)
            first += block.n_entries
        n_units = {"whole": 1, "tensor": len(moving), "coordinate": first}[unit]
        return cls([member.param for member in moving], blocks, n_units)

    @property
    def shapes(self) -> list[list[int]]:
        """The shapes of the parameters."""
        return [list(param.shape) for param in self.params]


class _Moving(NamedTuple):
    """A parameter that moves, and its group."""

    group: Mapping[str, Any]
    param: Tensor


class _Section(NamedTuple):
    """The pieces of a block, and their group."""

    group: Mapping[str, Any]
    pieces: list[Piece]


def _moving(groups: Sequence[Mapping[str, Any]]) -> list[_Moving]:
    """Return the trainable parameters with entries, of those that share their memory the first."""
    moving = []
    seen: set[tuple[Any, ...]] = set()
    for group in groups:
        for param in group["params"]:
            memory = (param.device, param.data_ptr(), param.shape, param.stride())
            if param.requires_grad and param.numel() > 0 and memory not in seen:
                seen.add(memory)
                moving.append(_Moving(group, param))
    return moving


def _sections(moving: Sequence[_Moving]) -> Iterator[_Section]:
    """Cut the parameters into sections, each of one group, device and dtype."""
    pieces: list[Piece] = []
    previous = moving[0]
    for number, member in enumerate(moving):
        if pieces and not _alike(previous, member):
            yield _Section(previous.group, pieces)
            pieces = []
        previous = member
        start = 0
        while start < member.param.numel():
            room = _ENTRIES - _n_entries(pieces)
            stop = min(start + room, member.param.numel())
            pieces.append(Piece(number, start, stop))
            if stop - start == room:
                yield _Section(member.group, pieces)
                pieces = []
            start = stop
    if pieces:
        yield _Section(previous.group, pieces)


def _alike(one: _Moving, other: _Moving) -> bool:
    """Return whether two parameters may lie in the same block."""
    return (
        one.group is other.group
        and one.param.device == other.param.device
        and one.param.dtype == other.param.dtype
    )


def _n_entries(pieces: Sequence[Piece]) -> int:
    return sum(stop - start for _, start, stop in pieces)


def _units(pieces: Sequence[Piece], first: int, unit: str) -> Tensor | None:
    """Return the number of the unit of each entry, shape (entries,), or None if there is only one.

    Args:
        pieces: The pieces of a block.
        first: The number of entries in all blocks before it.
        unit: "whole", "tensor" or "coordinate".
    """
    if unit == "coordinate":
        return torch.arange(first, first + _n_entries(pieces))
    if unit == "tensor":
        return torch.cat([torch.full((stop - start,), number) for number, start, stop in pieces])
    return None


def check_parameter(item: Any, number: int) -> None:
    """Refuse a parameter that cannot be searched.

    Args:
        item: A parameter as the user listed it: alone, or a tuple of its name and itself.
        number: Its number among all parameters.

    Raises:
        InvalidArgument: If it is complex.
        InvalidArgument: If it has NaN or infinite entries.
    """
    name, param = item if isinstance(item, tuple) else (f"parameter {number}", item)
    if not isinstance(param, Tensor):
        return  # Torch refuses it with a message of its own.
    if param.is_complex():
        reason = "complex parameters are not supported; optimize torch.view_as_real of them"
        raise InvalidArgument.of("params", f"{name}, {param.dtype}", reason)
    if param.requires_grad and not param.is_meta and not bool(param.isfinite().all()):
        reason = "it has NaN or infinite entries, around which there is nothing to search"
        raise InvalidArgument.of("params", name, reason)


def check_shapes(saved: Sequence[Sequence[int]], shapes: Sequence[Sequence[int]]) -> None:
    """Refuse the checkpoint of another model.

    Args:
        saved: The shapes of the parameters in the checkpoint.
        shapes: The shapes of the parameters here.

    Raises:
        CheckpointMismatch: If a shape differs.
        CheckpointMismatch: If the numbers of parameters differ.
    """
    for number, (theirs, ours) in enumerate(zip(saved, shapes, strict=False)):
        if list(theirs) != list(ours):
            both = f"{tuple(theirs)}, here {tuple(ours)}"
            raise CheckpointMismatch(
                f"trainable parameter {number} has the shape {both}; load one of the same model"
            )
    if len(saved) != len(shapes):
        numbers = f"{len(saved)} trainable parameters, here {len(shapes)}"
        raise CheckpointMismatch(f"the checkpoint is of {numbers}; freeze the same ones")
