"""What QIASO's candidates are made of: plain numbers, and the parameters that they move."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import CheckpointMismatch, InvalidArgument

__all__ = ["Best", "Block", "Candidate", "Jump", "Layout", "check_parameter", "check_shapes"]

_ENTRIES = 2**18  # in a block: 1 MB of float32, whatever the sizes of the tensors


@dataclass(frozen=True)
class Candidate:
    """A point in the space of the weights: the centre, with one unit of it moved.

    Args:
        index: Which of the K.
        unit: Which unit of the parameters differs from the centre: 0 if the unit is the whole
            vector.
        before_jump: Whether its last jump is left out, to be compared with the candidate that has
            it.
    """

    index: int
    unit: int = 0
    before_jump: bool = False


@dataclass(frozen=True)
class Jump:
    """The jumps of one step.

    Args:
        step: After which step; it names the noise.
        sizes: What multiplies epsilon, 0 for who did not jump, shape (units, K).
    """

    step: int
    sizes: Tensor


@dataclass(frozen=True)
class Best:
    """What a search has found.

    Args:
        deploy: The weights to deploy, one tensor per parameter that moves: where a collapse would
            put the centre now.
        seen: Those of the candidate with the lowest loss so far; None without `keep_best`, and
            before the first step.
        loss: Its loss. Of losses on different minibatches the lowest is that of the easiest batch:
            deploy the centre then.
        step: The step in which it was evaluated; 0 before the first.
    """

    deploy: list[Tensor]
    seen: list[Tensor] | None
    loss: float
    step: int


@dataclass(frozen=True)
class Block:
    """Entries of some parameters of one group, laid end to end in row-major order: what is drawn at a time.

    Args:
        number: Its place among all; it names the noise.
        group: The parameter group.
        pieces: Which entries: the number of the parameter, the first entry, and the one after the
            last.
        units: The unit of each entry, shape (entries,); None if there is only one.
    """

    number: int
    group: Mapping[str, Any]
    pieces: list[tuple[int, int, int]]
    units: Tensor | None

    def holds(self, unit: int) -> bool:
        """Whether it has an entry of the unit."""
        return self.units is None or int(self.units[0]) <= unit <= int(self.units[-1])

    def read(self, tensors: Sequence[Tensor]) -> Tensor:
        """A copy of the entries of `tensors`, shape (entries,)."""
        return torch.cat(
            [
                tensors[number].detach().reshape(-1)[start:stop]
                for number, start, stop in self.pieces
            ]
        )

    def write(self, tensors: Sequence[Tensor], entries: Tensor) -> None:
        """Put `entries`, shape (entries,), into `tensors`."""
        parts = torch.split(entries, [stop - start for _, start, stop in self.pieces])
        for (number, start, stop), part in zip(self.pieces, parts, strict=True):
            tensor = tensors[number].detach()
            flat = tensor.reshape(-1)  # a view, if the tensor is contiguous
            flat[start:stop] = part
            if not tensor.is_contiguous():
                tensor.copy_(flat.view(tensor.shape))


@dataclass(frozen=True)
class Layout:
    """The parameters that move: the trainable ones, and those that share their memory once.

    Args:
        params: The parameters, in order.
        blocks: All their entries.
        n_units: How many units there are.
    """

    params: list[Tensor]
    blocks: list[Block]
    n_units: int

    @classmethod
    def of(cls, groups: Sequence[Mapping[str, Any]], unit: str) -> "Layout":
        """Lay out the parameters of all groups in units: "whole", "tensor" or "coordinate".

        Raises:
            InvalidArgument: If none of them is trainable.
        """
        found = _moving(groups)
        if not found:
            fault = "holds no parameter that requires a gradient"
            way_out = "set requires_grad=True on what shall move"
            raise InvalidArgument.that("params", fault, way_out)
        blocks: list[Block] = []
        first = 0
        for group, pieces in _cut(found):
            entries = sum(stop - start for _, start, stop in pieces)
            units = None
            if unit == "coordinate":
                units = torch.arange(first, first + entries)
            elif unit == "tensor":
                units = torch.cat(
                    [torch.full((stop - start,), number) for number, start, stop in pieces]
                )
            blocks.append(Block(len(blocks), group, pieces, units))
            first += entries
        n_units = {"whole": 1, "tensor": len(found), "coordinate": first}[unit]
        return cls([param for _, param in found], blocks, n_units)

    @property
    def shapes(self) -> list[list[int]]:
        """The shapes of the parameters."""
        return [list(param.shape) for param in self.params]


def _moving(groups: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Tensor]]:
    found = []
    seen: set[tuple[Any, ...]] = set()
    for group in groups:
        for param in group["params"]:
            memory = (param.device, param.data_ptr(), param.shape, param.stride())
            if param.requires_grad and param.numel() > 0 and memory not in seen:
                seen.add(memory)
                found.append((group, param))
    return found


def _cut(
    found: Sequence[tuple[Mapping[str, Any], Tensor]],
) -> Iterator[tuple[Mapping[str, Any], list[tuple[int, int, int]]]]:
    """Cut the parameters into blocks of one group, device and dtype: the group, and the pieces."""
    pieces: list[tuple[int, int, int]] = []
    for number, (group, param) in enumerate(found):
        before, other = found[number - 1] if number else (group, param)
        if pieces and (
            before is not group or other.device != param.device or other.dtype != param.dtype
        ):
            yield before, pieces
            pieces = []
        start = 0
        while start < param.numel():
            room = _ENTRIES - sum(stop - start for _, start, stop in pieces)
            stop = min(start + room, param.numel())
            pieces.append((number, start, stop))
            if stop - start == room:
                yield group, pieces
                pieces = []
            start = stop
    if pieces:
        yield found[-1][0], pieces


def check_parameter(item: Any, number: int) -> None:
    """Refuse a parameter that cannot be searched.

    Args:
        item: What the user listed: a parameter, or its name and the parameter.
        number: Its number among all.

    Raises:
        InvalidArgument: If it is complex or not finite.
    """
    name, param = item if isinstance(item, tuple) else (f"parameter {number}", item)
    if not isinstance(param, Tensor):
        return  # which torch refuses
    if param.is_complex():
        reason = "complex parameters are not supported; optimize torch.view_as_real of them"
        raise InvalidArgument.that("params", f"holds {name} of {param.dtype}", reason)
    if param.requires_grad and not param.is_meta and not bool(param.isfinite().all()):
        raise InvalidArgument.of(
            "params",
            name,
            "it has NaN or infinite entries, around which there is nothing to search",
        )


def check_shapes(saved: Sequence[Sequence[int]], own: Sequence[Sequence[int]]) -> None:
    """Refuse the checkpoint of another model.

    Args:
        saved: The shapes of its parameters.
        own: Those here.

    Raises:
        CheckpointMismatch: If they differ.
    """
    for number, (theirs, ours) in enumerate(zip(saved, own, strict=False)):
        if list(theirs) != list(ours):
            shapes = f"{tuple(theirs)}, here {tuple(ours)}"
            raise CheckpointMismatch(
                f"trainable parameter {number} has the shape {shapes}; load one of the same model"
            )
    if len(saved) != len(own):
        numbers = f"{len(saved)} trainable parameters, here {len(own)}"
        raise CheckpointMismatch(f"the checkpoint is of {numbers}; freeze the same ones")
