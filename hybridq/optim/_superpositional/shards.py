"""Parameters as plain real tensors.

A DTensor becomes its shard on this rank, a complex number its real and its imaginary part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hybridq.optim._parameters import is_sharded
from hybridq.optim._perturbations import Part

__all__ = ["Shard", "local_view", "real_shape"]


def local_view(tensor: Any, like: Any = None) -> Tensor:
    """Return a tensor, or its shard on this rank, as a real view.

    Writing to the view writes to the tensor.

    Args:
        tensor: A parameter, its gradient or a part of its state.
        like: The parameter that a gradient belongs to. A gradient with another placement is brought
            to that of its parameter, and then it is no view.

    Returns:
        The view. A complex tensor gets a last dimension of 2, for its real and its imaginary part.
    """
    if is_sharded(tensor):
        if like is not None and tensor.placements != like.placements:
            tensor = tensor.redistribute(like.device_mesh, like.placements)
        tensor = tensor.to_local()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def real_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a whole tensor, in which a complex entry counts as two."""
    return (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)


@dataclass(frozen=True)
class Shard:
    """The entries of a DTensor that lie on this rank.

    Args:
        parameter: The DTensor.
    """

    parameter: Any

    def find(self, positions: Tensor) -> tuple[Tensor, Part]:
        """Look up entries that are chosen in the whole tensor.

        Args:
            positions: Row-major positions in the whole tensor, shape (entries,).

        Returns:
            The row-major positions in the shard of those entries that lie here, and their part of
            the chosen entries.
        """
        shape = real_shape(self.parameter)
        here = torch.ones_like(positions, dtype=torch.bool)
        local = torch.zeros_like(positions)
        for dim, coordinates in enumerate(torch.unravel_index(positions, shape)):
            present = self._rows(dim, shape)
            # For each index of this dimension, its position in the shard, or -1.
            places = torch.full((shape[dim],), -1)
            places[present] = torch.arange(len(present))
            here &= places[coordinates] >= 0
            local = local * len(present) + places[coordinates]
        return local[here], Part(len(positions), _picker(here.nonzero().reshape(-1)))

    def whole(self) -> Part:
        """Return the part of all entries that lies here.

        It has no index, which would take more memory than the shard.
        """
        shape = real_shape(self.parameter)

        def pick(draw: Tensor) -> Tensor:
            return self._distributed(draw.reshape(shape), self.parameter.placements).reshape(-1)

        return Part(prod(shape), pick)

    def _rows(self, dim: int, shape: tuple[int, ...]) -> Tensor:
        """Return the indices of one dimension that lie here.

        Each dimension of the mesh splits one dimension of the tensor.
        """
        from torch.distributed.tensor import Replicate  # noqa: PLC0415

        line_shape = [1] * len(shape)
        line_shape[dim] = -1
        line = torch.arange(shape[dim]).reshape(line_shape)
        placements = [
            placement if _splits(placement, dim) else Replicate()
            for placement in self.parameter.placements
        ]
        return self._distributed(line, placements).reshape(-1)

    def _distributed(self, tensor: Tensor, placements: Any) -> Tensor:
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

        mesh = self.parameter.device_mesh
        # With src_data_rank=None each rank cuts its own shard, and nothing is sent.
        return distribute_tensor(tensor, mesh, placements, src_data_rank=None).to_local().cpu()


def _splits(placement: Any, dim: int) -> bool:
    """Return whether a placement splits this dimension of a tensor."""
    if placement.is_replicate() or placement.is_partial():
        return False
    return bool(placement.dim == dim)


def _picker(index: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda draw: draw[index]
