"""Guards for autograd functions that are differentiable once.

Three things raise an error instead of giving a wrong answer: a second derivative, which would
silently be zero; a transform of torch.func; and a backward pass over tensors that have changed
since the forward pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hybridq._torch import is_transformed
from hybridq.errors import InvalidArgument, NotDifferentiable

__all__ = [
    "differentiable_once",
    "no_second_derivative",
    "refuse_transforms",
    "save_tensors",
    "saved_tensors",
]

ENGINE_WAY_OUT = "backend='default.qubit' has second derivatives"
Gradients = Sequence[Tensor | None]


def differentiable_once(
    compute: Callable[[], Gradients], sources: Sequence[Tensor], way_out: str
) -> tuple[Tensor | None, ...]:
    """Compute the gradients inside a backward pass, and refuse to differentiate them again.

    `once_differentiable` of torch raises only where the incoming gradient has a gradient itself,
    which it has not after `outputs.sum()`.

    Args:
        compute: Computes the gradients, outside of autograd.
        sources: The tensors that the gradients depend on: the incoming gradient and the saved ones.
        way_out: What a user can do instead, for the message.

    Returns:
        The gradients. With `create_graph=True` they are part of the graph, whose backward pass
        raises `NotDifferentiable`.
    """
    if not torch.is_grad_enabled():  # no create_graph
        return tuple(compute())
    with torch.no_grad():
        gradients = compute()
    present = [gradient for gradient in gradients if gradient is not None]
    refusing = iter(_Once.apply(way_out, len(sources), *sources, *present))  # type: ignore[no-untyped-call]
    return tuple(None if gradient is None else next(refusing) for gradient in gradients)


def save_tensors(ctx: Any, *tensors: Tensor | None) -> None:
    """Save tensors for `saved_tensors`, as `ctx.save_for_backward` does.

    Args:
        ctx: The context of an autograd function.
        *tensors: The tensors.
    """
    ctx.save_for_backward(*tensors)
    ctx.kinds = _kinds(tensors)


def saved_tensors(ctx: Any) -> tuple[Any, ...]:
    """Return the tensors that `save_tensors` saved, for kernels that read memory by its address.

    Args:
        ctx: The context of an autograd function.

    Returns:
        The tensors.

    Raises:
        InvalidArgument: If a tensor was converted or resized in the meantime by `.data`, which
            autograd does not notice.
    """
    tensors: tuple[Any, ...] = ctx.saved_tensors
    if _kinds(tensors) != ctx.kinds:
        way_out = "run the backward pass first, or the forward pass again"
        fault = "were converted or resized between the forward and the backward pass"
        raise InvalidArgument.that("tensors", fault, way_out)
    return tensors


def _kinds(tensors: Sequence[Tensor | None]) -> list[tuple[torch.Size, torch.dtype] | None]:
    return [None if x is None else (x.shape, x.dtype) for x in tensors]


def no_second_derivative(way_out: str) -> NotDifferentiable:
    """Return the error of a second derivative."""
    return NotDifferentiable(
        f"second derivatives: this operation is differentiable once; {way_out}."
    )


def refuse_transforms(way_out: str) -> None:
    """Raise inside of torch.func.

    Args:
        way_out: What a user can do instead, for the message.

    Raises:
        NotDifferentiable: If `is_transformed()`.
    """
    if is_transformed():
        raise NotDifferentiable(
            f"torch.func: vmap, grad, jvp and the like cannot transform this operation; {way_out}."
        )


class _Once(torch.autograd.Function):
    """The identity on gradients; its own backward pass raises."""

    @staticmethod
    def forward(ctx: Any, way_out: str, n_sources: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.way_out = way_out
        return tuple(tensor.view_as(tensor) for tensor in tensors[n_sources:])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise no_second_derivative(ctx.way_out)
