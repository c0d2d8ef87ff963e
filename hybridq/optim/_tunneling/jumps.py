"""What a jump of `QuantumTunneling` does to parameters and to the state of the base optimizer."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.optim._parameters import gathered, is_sharded
from hybridq.seeding import generator

__all__ = ["Displacement", "copies", "displace", "put_back", "reset"]

Groups = Iterable[Mapping[str, Any]]


class Displacement(NamedTuple):
    """How far the tensors that jumped have moved, all of them together."""

    norm: float
    """The length of the jump."""
    relative: float
    """That length divided by the length of the tensors before the jump; 0 if they were zeros."""


def displace(groups: Groups, jump: int, measure: bool) -> Displacement | None:
    """Add noise to the parameters, in place.

    The noise is a pure function of (seed, jump, group, index). It is drawn on the CPU and is
    therefore the same on every rank and device (SPEC T13, T14). Sharded tensors are gathered, one
    at a time, so that the root mean square is that of the whole tensor to the last bit. Each rank
    keeps its shard of the result. Every rank has to call this.

    Args:
        groups: The parameter groups, with the keys that `QuantumTunneling` adds.
        jump: The number of the jump, counted from 1.
        measure: Whether to compute the displacement, for which the host waits for the GPU.

    Returns:
        The displacement, if it was asked for.
    """
    seen: set[Any] = set()
    moved = 0.0
    length = 0.0
    for number, group in enumerate(groups):
        for index, param in enumerate(group["params"]):
            memory = _memory(param)
            if memory in seen or not _takes_part(param, group):  # SPEC T16
                continue
            seen.add(memory)
            before = _entries(gathered(param.detach()))
            source = generator(group["tunneling_seed"], "tunneling", jump, number, index)
            delta = _noise(group["tunneling_noise"], before, source) * group["tunneling_strength"]
            if group["tunneling_size"] == "relative":  # SPEC T5
                delta *= before.square().mean().sqrt()
            if measure:
                moved += float(delta.double().square().sum())
                length += float(before.double().square().sum())
            _write(param, before + delta)
    if not measure:
        return None
    return Displacement(moved**0.5, (moved / length) ** 0.5 if length else 0.0)


def _takes_part(param: Tensor, group: Mapping[str, Any]) -> bool:
    """Return whether a tensor jumps (SPEC T6)."""
    if not param.requires_grad or param.numel() == 0 or group["tunneling_strength"] == 0:
        return False
    return group["tunneling_tensors"] == "all" or param.dim() >= 2


def _noise(kind: str, like: Tensor, source: torch.Generator) -> Tensor:
    """Draw noise of the shape, dtype and device of `like` (SPEC T4).

    It is drawn in float32, so that the numbers do not depend on the dtype.
    """
    noise = torch.empty(like.shape, dtype=torch.float32)
    match kind:
        case "uniform":
            noise.uniform_(-(3**0.5), 3**0.5, generator=source)  # The variance is 1.
        case "cauchy":
            noise.cauchy_(generator=source)
        case _:
            noise.normal_(generator=source)
    return noise.to(like.device, like.dtype)


def _entries(tensor: Tensor) -> Tensor:
    """Return the real numbers of a tensor, in at least float32.

    A complex tensor gets a last dimension of 2, for its real and its imaginary part.
    """
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _memory(param: Tensor) -> Any:
    """Return a mark that two tied parameters have in common.

    For a shard it is the object, because an empty shard has no address.
    """
    return id(param) if is_sharded(param) else (param.device, param.data_ptr())


def _write(param: Any, entries: Tensor) -> None:
    """Copy entries, as `_entries` made them, into a parameter or its shard."""
    values = torch.view_as_complex(entries) if param.is_complex() else entries
    if is_sharded(param):
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - see is_sharded

        # With src_data_rank=None each rank cuts its own shard, and nothing is sent.
        values = distribute_tensor(
            values.to(param.dtype), param.device_mesh, param.placements, src_data_rank=None
        )
    param.detach().copy_(values)


def reset(state: dict[Any, Any], how: str, factor: float) -> None:
    """Treat the base optimizer's state after a jump (SPEC T8).

    Args:
        state: The state of each parameter.
        how: "clear", "keep" or "scale".
        factor: The factor for "scale".
    """
    if how == "clear":
        state.clear()
    elif how == "scale":
        for values in state.values():
            for value in values.values():
                if isinstance(value, Tensor) and _is_moment(value):
                    value.mul_(factor)


def _is_moment(value: Tensor) -> bool:
    """Return whether a tensor of the state is a moment, and not a count."""
    return value.dim() > 0 and (value.is_floating_point() or value.is_complex())


def copies(params: Iterable[Tensor]) -> list[Tensor]:
    """Copy tensors. Shards stay shards."""
    return [param.detach().clone() for param in params]


def put_back(params: Iterable[Tensor], kept: Iterable[Tensor]) -> None:
    """Write the copies that `copies` made back into their tensors."""
    for param, value in zip(params, kept, strict=True):
        param.detach().copy_(value)
