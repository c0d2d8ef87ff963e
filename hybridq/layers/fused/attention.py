"""softmax(s + Phi(s) + mask) v with s = scale q k^T: attention whose scores pass through a Fourier series.

Two routes with the same result. `composed` is the formula in plain torch, for any function of the
scores; it returns the weights. `fourier_attention` is a pair of torch operators (torch.compile sees
each as one node) that walk over tiles of scores which stay in the cache, work in place, and save
for the backward pass only the weights, and the dropped places as bytes.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridq._torch import constant_in_graphs
from hybridq.engine import Engine, choose, full_precision
from hybridq.engine.once import is_transformed, no_second_derivative, refuse_transforms
from hybridq.errors import InvalidArgument
from hybridq.layers.fourier import LAYER_WAY_OUT
from hybridq.layers.fused.native_attention import attend_by_kernels
from hybridq.layers.fused.tiles import backward_tiles, forward_tiles
from hybridq.native.attention import MOST_DEGREE, AttentionNumbers, AttentionTensors

__all__ = ["composed", "fourier_attention"]


def fourier_attention(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor | None,
    mask: Tensor | None = None,
    *,
    scale: float,
    frequency: float = 1.0,
    dropout: float = 0.0,
    diagonal: int | None = None,
    engine: Engine = "auto",
) -> Tensor:
    """Attention with Phi(frequency * s) added to the scaled scores s, before the mask (SPEC A2, A16).

    Args:
        q: Shape (batch, heads, length, head size). Half precision is computed in float32.
        k: Shape (batch, key heads, keys, head size); each key head serves heads / key heads
            neighbouring heads.
        v: Shape (batch, key heads, keys, value size).
        coefficients: Shape (heads, 2 D + 1): the Fourier coefficients of Phi, gate included; None
            for plain attention.
        mask: None, or a tensor added to the scores, broadcastable to (batch, heads, length, keys);
            -inf hides a key.
        scale: The factor of q k^T, usually 1 / sqrt(head size).
        frequency: The factor of s inside the series.
        dropout: The probability of dropping a weight; random bits come from torch's global
            generator.
        diagonal: None, or row i sees the keys up to i + diagonal only: 0 is causal, keys - length
            is for cached decoding.
        engine: "native" for the compiled kernels, "torch" for the tiles in torch, "auto" for the
            former where they are.

    Returns:
        Shape (batch, heads, length, value size), dtype of q. Differentiable once towards q, k, v
        and the coefficients.

    Raises:
        InvalidArgument: If shapes or devices do not fit, the mask does not hold floats or wants a
            gradient (`composed` gives one), or `dropout` is not in [0, 1).
        BackendUnavailable: If the engine is "native" and there are no kernels, or the tensors are
            not on the CPU; inside of torch.func (vmap, grad, jvp), but for plain attention by
            "auto" or "torch".
    """
    _check(q, k, v, coefficients, mask, dropout)
    for name, x in (("k", k), ("v", v), ("coefficients", coefficients), ("mask", mask)):
        if x is not None and x.device != q.device:
            raise InvalidArgument.of(
                name, f"on {x.device}", f"q is on {q.device}; move one of them"
            )
    if torch.is_grad_enabled() and mask is not None and mask.requires_grad:
        raise InvalidArgument("mask: it gets no gradient here; detach it, or use `composed`")
    dtype = torch.promote_types(q.dtype, torch.float32)
    inputs = AttentionTensors(q, k, v, coefficients, mask)
    if any(x is not None and x.dtype != dtype for x in inputs):
        inputs = AttentionTensors(*(None if x is None else x.to(dtype) for x in inputs))  # type: ignore[arg-type]
    settings = AttentionNumbers(scale, frequency, dropout, diagonal)
    degree = 0 if coefficients is None else coefficients.shape[1] // 2
    something = q.numel() and k.numel() and v.numel()  # to compute
    if coefficients is not None or engine == "native":
        refuse_transforms("`composed` can be transformed, and plain attention")
    if _is_native(engine, q.device.type, degree) and something and not is_transformed():
        output = attend_by_kernels(inputs, settings)
        return output if output.dtype == q.dtype else output.to(q.dtype)
    return _by_torch(inputs, settings).to(q.dtype)


@constant_in_graphs
def _is_native(engine: Engine, device: str, degree: int) -> bool:
    if choose(engine, torch.device(device)) is None:
        return False
    if engine == "native" and degree > MOST_DEGREE:
        way_out = f"engine='native' has room for {MOST_DEGREE}; use 'auto'"
        raise InvalidArgument.of("coefficients", f"of degree {degree}", way_out)
    return degree <= MOST_DEGREE


def _by_torch(inputs: AttentionTensors, settings: AttentionNumbers) -> Tensor:
    q, k, v, coefficients, mask = inputs
    scale, frequency, dropout, diagonal = settings
    if k.shape[1] < q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    if diagonal is not None:
        hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(
            diagonal + 1
        )
        causal = q.new_zeros(hidden.shape).masked_fill_(hidden, -math.inf)
        mask = causal if mask is None else mask + causal
    if coefficients is None:
        return composed(q, k, v, None, mask, scale=scale, dropout=dropout)[0]
    tensors = [x.contiguous() for x in (q, k, v, coefficients)]
    save = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    with full_precision(q.device):
        output: Tensor = _forward(*tensors, mask, [scale, frequency, dropout], save)[0]
    return output


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor | None,
    mask: Tensor | None,
    dropout: float,
) -> None:
    if q.ndim != 4:
        raise InvalidArgument.of(
            "q", tuple(q.shape), "the shape must be (batch, heads, length, head size)"
        )
    batch, heads, length, size = q.shape
    if (
        k.ndim != 4
        or (k.shape[0], k.shape[3]) != (batch, size)
        or (k.shape[1] != heads and (not k.shape[1] or heads % k.shape[1]))
    ):
        reason = f"the shape must be ({batch}, {heads}, keys, {size}), to fit q, or have a divisor of {heads} heads"
        raise InvalidArgument.of("k", tuple(k.shape), reason)
    if v.ndim != 4 or v.shape[:3] != k.shape[:3]:
        raise InvalidArgument.of(
            "v",
            tuple(v.shape),
            f"the shape must be ({', '.join(map(str, k.shape[:3]))}, value size)",
        )
    fits = coefficients is None or (
        coefficients.ndim == 2 and len(coefficients) == heads and coefficients.shape[1] % 2
    )
    if coefficients is not None and not fits:
        raise InvalidArgument.of(
            "coefficients",
            tuple(coefficients.shape),
            f"the shape must be ({heads}, 2 * degree + 1)",
        )
    if not 0 <= dropout < 1:
        raise InvalidArgument.of("dropout", dropout, "give a probability in [0, 1)")
    if mask is None:
        return
    if not mask.is_floating_point():
        raise InvalidArgument.of(
            "mask.dtype", mask.dtype, "it is added to the scores: give floats, -inf to hide a key"
        )
    scores = (batch, heads, length, k.shape[2])
    fits = mask.ndim <= 4 and all(
        n in (1, m) for n, m in zip(reversed(mask.shape), reversed(scores), strict=False)
    )
    if not fits:
        raise InvalidArgument.of("mask", tuple(mask.shape), f"it must be broadcastable to {scores}")


def composed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    phi: Callable[[Tensor], Tensor] | None,
    mask: Tensor | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """softmax(s + phi(s) + mask) v in plain torch, for any function phi of the scaled scores.

    Args:
        q: Shape (batch, heads, length, head size).
        k: Shape (batch, heads, keys, head size).
        v: Shape (batch, heads, keys, value size).
        phi: The function, or None for plain attention.
        mask: As in `fourier_attention`.
        scale: The factor of q k^T.
        dropout: The probability of dropping a weight.

    Returns:
        The output, shape (batch, heads, length, value size), and the weights after dropout, (batch,
        heads, length, keys).
    """
    scores = (q * scale) @ k.transpose(-1, -2)
    logits = scores if phi is None else scores + phi(scores)
    if mask is not None:
        logits = logits + mask
    weights = F.dropout(torch.softmax(logits, -1), dropout)
    return weights @ v, weights


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
    """The output, and what the backward pass needs: weights and kept places, empty unless `save`."""
    scale, frequency, dropout = numbers
    output = q.new_empty((*q.shape[:3], v.shape[3]))
    saved = _space(q, k, dropout, save=save)
    added = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])
    forward_tiles((q, k, v, coefficients), added, output, saved, (scale, frequency, dropout))
    return output, *saved


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
    """The gradients of q, k, v and the coefficients."""
    scale, frequency, dropout = numbers
    tensors = (q, k, v, coefficients)
    return backward_tiles(gradient, tensors, (saved[0], saved[1]), (scale, frequency, dropout))


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
    return q.new_empty((*q.shape[:3], v.shape[3])), *_space(q, k, numbers[2], save=save)


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


def _space(q: Tensor, k: Tensor, dropout: float, *, save: bool) -> tuple[Tensor, Tensor]:
    """Room for the weights and the kept places."""
    shape = (*q.shape[:3], k.shape[2]) if save else (0,)
    return q.new_empty(shape), q.new_empty(shape if dropout else (0,), dtype=torch.uint8)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, coefficients, _, numbers, _ = inputs
    ctx.save_for_backward(q, k, v, coefficients, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.numbers = numbers


def _gradients(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if gradient is None:  # what follows has no gradient
        return (None,) * 7
    q, k, v, coefficients, *saved = ctx.saved_tensors
    with full_precision(gradient.device):
        found = _backward(gradient, q, k, v, coefficients, saved, ctx.numbers)
    return *found, None, None, None


def _no_gradients(*_: Any) -> None:
    raise no_second_derivative(LAYER_WAY_OUT)


_forward.register_autograd(_gradients, setup_context=_setup)
_backward.register_autograd(_no_gradients)
