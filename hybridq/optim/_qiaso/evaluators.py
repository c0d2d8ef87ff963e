"""How the losses of many candidates are found: with vmap, on several ranks, and without harm to batch norm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from hybridq.errors import InvalidArgument

__all__ = ["ModelLoss", "batch_statistics", "check_scalar", "over_ranks", "vmapped_losses"]

T = TypeVar("T")
ModelLoss = Callable[[Callable[..., Any], Any], Tensor]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let every batch-norm layer use the statistics of the batch, and leave its running statistics alone (SPEC Q32).

    The running statistics belong to the weights of the centre, not to those of a candidate. No
    layer's mode changes: put the model into `eval()` if it has dropout, whose noise would drown the
    differences between losses.

    Args:
        model: The model.

    Yields:
        Nothing.

    Example:
        >>> layer = nn.BatchNorm1d(1)
        >>> with batch_statistics(layer):
        ...     layer(torch.tensor([[1.0], [3.0]])).tolist()
        [[-0.99999...], [0.99999...]]
        >>> layer.running_mean
        tensor([0.])
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [
        (layer.track_running_stats, layer.running_mean, layer.running_var) for layer in layers
    ]
    try:
        for layer in layers:
            # Without running statistics, torch takes those of the batch in either mode.
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
        yield
    finally:
        for layer, (track, mean, var) in zip(layers, before, strict=True):
            layer.track_running_stats, layer.running_mean, layer.running_var = track, mean, var


def vmapped_losses(
    model: nn.Module, loss: ModelLoss, batch: Any, weights: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """The losses of several candidates at once.

    Args:
        model: The model.
        loss: Takes a callable that stands for the model, and the batch.
        batch: The batch.
        weights: For each candidate its parameters by name.

    Returns:
        Shape (candidates,).
    """
    stacked = {name: torch.stack([candidate[name] for candidate in weights]) for name in weights[0]}

    def of_one(parameters: dict[str, Tensor]) -> Tensor:
        value = loss(
            lambda *args, **kwargs: functional_call(model, parameters, args, kwargs), batch
        )
        check_scalar(value)
        return value

    losses: Tensor = vmap(of_one, randomness="same")(stacked)
    return losses.reshape(-1)


def over_ranks(candidates: Sequence[T], losses_of: Callable[[Sequence[T]], Tensor]) -> Tensor:
    """Let each rank of `torch.distributed` find its share of the losses; only they cross the wire (SPEC Q39).

    Args:
        candidates: All candidates, the same on every rank.
        losses_of: Finds the losses of some of them, float64.

    Returns:
        The losses of all of them, to the last bit what `losses_of` finds for each: the others add
        zeros.
    """
    share = slice(dist.get_rank(), None, dist.get_world_size())
    found = losses_of(candidates[share])
    losses = torch.zeros(len(candidates), dtype=torch.float64, device=found.device)
    losses[share] = found
    dist.all_reduce(losses)
    return losses


def in_parts(
    candidates: Sequence[T], size: int, losses_of: Callable[[Sequence[T]], Tensor]
) -> Tensor:
    """Find the losses of at most `size` candidates at a time."""
    parts = [candidates[first : first + size] for first in range(0, len(candidates), size)]
    return torch.cat([losses_of(part) for part in parts]) if parts else torch.zeros(0)


def parameter_names(model: nn.Module, params: Sequence[Tensor]) -> list[str]:
    """The names that the parameters have in the model.

    Args:
        model: The model.
        params: Parameters of it.

    Returns:
        A name for each.

    Raises:
        InvalidArgument: If one of them is not a parameter of the model.
    """
    known = {id(param): name for name, param in model.named_parameters()}
    for number, param in enumerate(params):
        if id(param) not in known:
            reason = (
                "vmap needs to know it by name, but it is no parameter of the model; use the loop"
            )
            fault = f"holds trainable parameter {number}, of shape {tuple(param.shape)}"
            raise InvalidArgument.that("params", fault, reason)
    return [known[id(param)] for param in params]


def check_evaluator(evaluator: str, n_parallel: int) -> None:
    """Refuse what is no way to evaluate.

    Args:
        evaluator: The way.
        n_parallel: How many candidates at a time.

    Raises:
        InvalidArgument: If `evaluator` is unknown, or `n_parallel` no positive integer.
    """
    if evaluator not in ("auto", "loop", "vmap"):
        raise InvalidArgument.of("evaluator", evaluator, "choose one of 'auto', 'loop', 'vmap'")
    if isinstance(n_parallel, bool) or not isinstance(n_parallel, int) or n_parallel < 1:
        raise InvalidArgument.of("n_parallel", n_parallel, "give a positive integer")


def as_numbers(losses: Sequence[float] | Tensor, n_candidates: int) -> Tensor:
    """Read the losses that were told.

    Args:
        losses: One for each candidate.
        n_candidates: How many there are.

    Returns:
        Shape (candidates,), float64, on the CPU.

    Raises:
        InvalidArgument: If there are more or fewer.
    """
    told = torch.as_tensor(losses, dtype=torch.float64).detach().to("cpu").reshape(-1)
    if len(told) != n_candidates:
        reason = f"there are {len(told)} of them; give one for each of the {n_candidates} candidates that ask() returns"
        raise InvalidArgument.of("losses", losses, reason)
    return told


def check_scalar(value: object) -> None:
    """Refuse what is no loss.

    Args:
        value: What a closure returned.

    Raises:
        InvalidArgument: If it is no real number and no tensor of one.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            fault = f"returned a tensor of {value.dtype}, of shape {tuple(value.shape)}"
            way_out = "it has to return one real number; take the mean over the batch"
            raise InvalidArgument.that("closure", fault, way_out)
    elif not isinstance(value, (int, float)):
        raise InvalidArgument.of(
            "closure", value, "it has to return the loss, a number or a tensor of one"
        )
