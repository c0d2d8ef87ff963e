"""How the losses of many candidates are computed: in a loop, with vmap, or on several ranks.

The statistics of batch norm stay as they are meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from hybridq.errors import InvalidArgument
from hybridq.optim._checks import check_positive_integer
from hybridq.optim._qiaso.candidates import Candidate

__all__ = [
    "LossesOf",
    "ModelLoss",
    "batch_statistics",
    "check_evaluator",
    "check_loss",
    "looped_losses",
    "losses_in_parts",
    "losses_over_ranks",
    "parameter_names",
    "told_losses",
    "vmapped_losses",
]

ModelLoss = Callable[[Callable[..., Any], Any], Tensor]
LossesOf = Callable[[Sequence[Candidate]], Tensor]
"""Computes the losses of some candidates, shape (candidates,)."""
Visit = Callable[[Candidate], None]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norm use the statistics of the batch, and keep the running ones (SPEC Q32).

    The running statistics belong to the weights of the centre, not to those of a candidate. No
    layer changes its mode. If the model has dropout, put it into `eval()`: the noise of dropout
    would drown the differences between losses.

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
    flags = [layer.track_running_stats for layer in layers]
    means = [layer.running_mean for layer in layers]
    variances = [layer.running_var for layer in layers]
    try:
        for layer in layers:
            # Without running statistics, torch takes those of the batch in either mode.
            layer.track_running_stats = False
            layer.running_mean = None
            layer.running_var = None
        yield
    finally:
        for layer, flag, mean, variance in zip(layers, flags, means, variances, strict=True):
            layer.track_running_stats = flag
            layer.running_mean = mean
            layer.running_var = variance


def looped_losses(
    closure: Callable[[], float | Tensor],
    candidates: Sequence[Candidate],
    visiting: AbstractContextManager[Visit],
    device: torch.device,
) -> Tensor:
    """Compute the losses of candidates one after the other.

    Args:
        closure: Returns the loss of the model as it stands.
        candidates: The candidates.
        visiting: Gives the function that puts the parameters at a candidate.
        device: The device that collects the losses.

    Returns:
        The losses, shape (candidates,), float64.

    Raises:
        InvalidArgument: If `closure` returns no real number.
    """
    losses = torch.zeros(len(candidates), dtype=torch.float64, device=device)
    with torch.no_grad(), visiting as visit:
        for number, candidate in enumerate(candidates):
            visit(candidate)
            loss = closure()
            check_loss(loss)
            losses[number] = loss
    return losses


def vmapped_losses(
    model: nn.Module, loss: ModelLoss, batch: Any, weights: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """Compute the losses of several candidates at once.

    Args:
        model: The model.
        loss: Takes a callable that stands for the model, and the batch.
        batch: The batch.
        weights: The parameters of each candidate, by name.

    Returns:
        The losses, shape (candidates,).

    Raises:
        InvalidArgument: If `loss` returns no real number.
    """
    stacked = {name: torch.stack([candidate[name] for candidate in weights]) for name in weights[0]}

    def loss_of_one(parameters: dict[str, Tensor]) -> Tensor:
        def call(*args: Any, **kwargs: Any) -> Any:
            return functional_call(model, parameters, args, kwargs)

        value = loss(call, batch)
        check_loss(value)
        return value

    losses: Tensor = vmap(loss_of_one, randomness="same")(stacked)
    return losses.reshape(-1)


def losses_over_ranks(candidates: Sequence[Candidate], losses_of: LossesOf) -> Tensor:
    """Let each rank of `torch.distributed` compute its share of the losses (SPEC Q39).

    Only the losses cross the wire. Each rank adds zeros to the losses of the others, so that they
    arrive to the last bit.

    Args:
        candidates: All candidates, the same on every rank.
        losses_of: Computes the losses of some of them, float64.

    Returns:
        The losses of all of them, shape (candidates,), float64.
    """
    share = slice(dist.get_rank(), None, dist.get_world_size())
    ours = losses_of(candidates[share])
    losses = torch.zeros(len(candidates), dtype=torch.float64, device=ours.device)
    losses[share] = ours
    dist.all_reduce(losses)
    return losses


def losses_in_parts(candidates: Sequence[Candidate], size: int, losses_of: LossesOf) -> Tensor:
    """Compute the losses of at most `size` candidates at a time.

    Args:
        candidates: The candidates.
        size: The largest number of candidates at a time.
        losses_of: Computes the losses of some of them.

    Returns:
        The losses of all of them, shape (candidates,).
    """
    parts = [candidates[first : first + size] for first in range(0, len(candidates), size)]
    return torch.cat([losses_of(part) for part in parts]) if parts else torch.zeros(0)


def parameter_names(model: nn.Module, params: Sequence[Tensor]) -> list[str]:
    """Return the names that parameters have in a model.

    Args:
        model: The model.
        params: Parameters of it.

    Returns:
        A name for each.

    Raises:
        InvalidArgument: If one of them is not a parameter of the model.
    """
    names = {id(param): name for name, param in model.named_parameters()}
    for number, param in enumerate(params):
        if id(param) not in names:
            reason = (
                "vmap needs to know it by name, but it is no parameter of the model; use the loop"
            )
            fault = f"holds trainable parameter {number}, of shape {tuple(param.shape)}"
            raise InvalidArgument.that("params", fault, reason)
    return [names[id(param)] for param in params]


def check_evaluator(evaluator: str, n_parallel: int) -> None:
    """Refuse arguments of `QIASO.evaluate` that are out of range.

    Args:
        evaluator: The way to evaluate.
        n_parallel: The number of candidates at a time.

    Raises:
        InvalidArgument: If `evaluator` is unknown.
        InvalidArgument: If `n_parallel` is no positive integer.
    """
    if evaluator not in ("auto", "loop", "vmap"):
        raise InvalidArgument.of("evaluator", evaluator, "choose one of 'auto', 'loop', 'vmap'")
    check_positive_integer("n_parallel", n_parallel)


def told_losses(losses: Sequence[float] | Tensor, n_candidates: int) -> Tensor:
    """Read the losses that the user told the search.

    Args:
        losses: One loss for each candidate.
        n_candidates: The number of candidates.

    Returns:
        The losses, shape (candidates,), float64, on the CPU.

    Raises:
        InvalidArgument: If there are fewer or too many.
    """
    told = torch.as_tensor(losses, dtype=torch.float64).detach().to("cpu").reshape(-1)
    if len(told) != n_candidates:
        reason = (
            f"there are {len(told)} of them; give one for each of the {n_candidates} candidates "
            "that ask() returns"
        )
        raise InvalidArgument.of("losses", losses, reason)
    return told


def check_loss(value: object) -> None:
    """Refuse a value that is no loss.

    Args:
        value: The value that a closure returned.

    Raises:
        InvalidArgument: If it is neither a real number nor a tensor of one.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            fault = f"returned a tensor of {value.dtype}, of shape {tuple(value.shape)}"
            reason = "it has to return one real number; take the mean over the batch"
            raise InvalidArgument.that("closure", fault, reason)
    elif not isinstance(value, (int, float)):
        reason = "it has to return the loss, a number or a tensor of one"
        raise InvalidArgument.of("closure", value, reason)
