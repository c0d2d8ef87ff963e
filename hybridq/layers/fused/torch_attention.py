"""Fused attention in torch: tiles of scores that stay in the cache, worked on in place.

A pair of torch operators (torch.compile sees each as one node) walks over the tiles. For the
backward pass they save only the weights, and the dropped places as bytes.
"""

from typing import Any

import torch
from torch import Tensor

from hybridq.engine import full_precision
from hybridq.engine.once import no_second_derivative
from hybridq.layers.fused.plain import causal_mask, composed, repeat_heads
from hybridq.layers.fused.series import LAYER_WAY_OUT
from hybridq.layers.fused.tiles import (
    SavedWeights,
    TileNumbers,
    TileTensors,
    backward_tiles,
    forward_tiles,
)
from hybridq.native.attention import AttentionNumbers, AttentionTensors

__all__ = ["torch_attention"]


def torch_attention(tensors: AttentionTensors, numbers: AttentionNumbers) -> Tensor:
    """Return the output of attention, as `fourier_attention` describes it.

    Args:
        tensors: The tensors, of one dtype, float32 or float64, on one device.
        numbers: The numbers.

    Returns:
        Shape (batch, heads, length, value size).
    """
    q, k, v, coefficients, mask = tensors
    scale, frequency, dropout, diagonal = numbers
    if diagonal is not None:
        causal = causal_mask(q.shape[2], k.shape[2], diagonal, q)
        mask = causal if mask is None else mask + causal
    if coefficients is None:
        return composed(q, k, v, None, mask, scale=scale, dropout=dropout)[0]
    k = repeat_heads(k, q.shape[1])
    v = repeat_heads(v, q.shape[1])
    dense = [x.contiguous() for x in (q, k, v, coefficients)]
    save = torch.is_grad_enabled() and any(x.requires_grad for x in dense)
    with full_precision(q.device):
        output: Tensor = _forward(*dense, mask, [scale, frequency, dropout], save)[0]
    return output


@torch.library.custom_op(
    "hybridq::fourier_attention", mutates_args=(), tags=torch.Tag.nondeterministic_seeded
)
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor,
    mask: Tensor | None,
    numbers: list[float],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and the weights and kept places, both empty unless `save`."""
    named_numbers = TileNumbers(*numbers)
    tensors = TileTensors(q, k, v, coefficients)
    output = q.new_empty((*q.shape[:3], v.shape[3]))
    saved = _empty_saved(q, k, named_numbers.dropout, save=save)
    added = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])
    forward_tiles(tensors, added, output, saved, named_numbers)
    return output, saved.weights, saved.kept


@torch.library.custom_op("hybridq::fourier_attention_backward", mutates_args=())
def _backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor,
    saved: list[Tensor],
    numbers: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and the coefficients."""
    tensors = TileTensors(q, k, v, coefficients)
    return backward_tiles(gradient, tensors, SavedWeights(*saved), TileNumbers(*numbers))


@_forward.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor,
    mask: Tensor | None,
    numbers: list[float],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    output = q.new_empty((*q.shape[:3], v.shape[3]))
    dropout = TileNumbers(*numbers).dropout
    saved = _empty_saved(q, k, dropout, save=save)
    return output, saved.weights, saved.kept


@_backward.register_fake
def _(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor,
    saved: list[Tensor],
    numbers: list[float],
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(x) for x in (q, k, v, coefficients))


def _empty_saved(q: Tensor, k: Tensor, dropout: float, *, save: bool) -> SavedWeights:
    """Make room for the weights and the kept places."""
    shape = (*q.shape[:3], k.shape[2]) if save else (0,)
    weights = q.new_empty(shape)
    kept = q.new_empty(shape if dropout else (0,), dtype=torch.uint8)
    return SavedWeights(weights, kept)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, coefficients, _, numbers, _ = inputs
    ctx.save_for_backward(q, k, v, coefficients, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.numbers = numbers


def _gradients(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if gradient is None:  # the loss does not depend on the output
        return (None,) * 7
    q, k, v, coefficients, *saved = ctx.saved_tensors
    with full_precision(gradient.device):
        gradients = _backward(gradient, q, k, v, coefficients, saved, ctx.numbers)
    return *gradients, None, None, None


def _no_gradients(*_: Any) -> None:
    raise no_second_derivative(LAYER_WAY_OUT)


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_gradients)
