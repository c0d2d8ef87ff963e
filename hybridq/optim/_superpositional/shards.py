"""Parameters as plain real tensors: the shard of a DTensor that lies on this rank, the two parts of a complex number."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hybridq.optim._parameters import is_sharded
from hybridq.optim._perturbations import Part

__all__ = ["Shard", "plain", "real_shape"]


def plain(tensor: Any, like: Any = None) -> Tensor:
    """The tensor, or what of it lies here, real: a view, so that writing to it writes to the tensor.

    Args:
        tensor: A parameter, its gradient or a part of its state.
        like: The parameter that a gradient belongs to. One that is laid out in another way is
            brought to its layout.
    """
    if is_sharded(tensor):
        if like is not None and tensor.placements != like.placements:
            tensor = tensor.redistribute(like.device_mesh, like.placements)
        tensor = tensor.to_local()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def real_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape, of all shards together; a complex entry counts as two, its real part first."""
    return (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)


@dataclass(frozen=True)
class Shard:
    """Which entries of a DTensor lie on this rank.

    Args:
        parameter: The DTensor.
    """

    parameter: Any

    def find(self, positions: Tensor) -> tuple[Tensor, Part]:
        """Look up entries that are chosen in the whole tensor.

        Args:
            positions: Row-major positions in the whole tensor, shape (entries,).

        Returns:
            Row-major positions in the shard of those that lie here, and which of the chosen they
            are.
        """
        shape = real_shape(self.parameter)
        rows = [self._rows(dim, shape) for dim in range(len(shape))]
        here = torch.ones_like(positions, dtype=torch.bool)
        local = torch.zeros_like(positions)
        for size, present, coordinates in zip(
            shape, rows, torch.unravel_index(positions, shape), strict=True
        ):
            places = torch.full((size,), -1)
            places[present] = torch.arange(len(present))
            here &= places[coordinates] >= 0
            local = local * len(present) + places[coordinates]
        return local[here], Part(len(positions), _picker(here.nonzero().reshape(-1)))

    def whole(self) -> Part:
        """The part of all entries that lies here; without an index, which would take more memory than the shard."""
        shape = real_shape(self.parameter)

        def pick(draw: Tensor) -> Tensor:
            return self._distributed(draw.reshape(shape), self.parameter.placements).reshape(-1)

        return Part(prod(shape), pick)

    def _rows(self, dim: int, shape: tuple[int, ...]) -> Tensor:
        """Which indices of one dimension lie here: each mesh dimension splits one dimension of the tensor."""
        from torch.distributed.tensor import Replicate  # noqa: PLC0415

        line = torch.arange(shape[dim]).reshape(
            [-1 if other == dim else 1 for other in range(len(shape))]
        )
        splits = [
            placement
            if not (placement.is_replicate() or placement.is_partial()) and placement.dim == dim
            else Replicate()
            for placement in self.parameter.placements
        ]
        return self._distributed(line, splits).reshape(-1)

    def _distributed(self, tensor: Tensor, placements: Any) -> Tensor:
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

        mesh = self.parameter.device_mesh
        # No rank sends anything: each has the whole and keeps its own.
        return distribute_tensor(tensor, mesh, placements, src_data_rank=None).to_local().cpu()


def _picker(index: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda draw: draw[index]
