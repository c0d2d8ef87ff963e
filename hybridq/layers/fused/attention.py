"""Attention whose scores pass through a Fourier series: softmax(s + Phi(s) + mask) v.

Here s = scale q k^T. The compiled kernels or tiles in torch do the work; `fused.plain.composed` is
the same formula in plain torch operations.
"""

import torch
from torch import Tensor

from hybridq._torch import constant_in_graphs, is_transformed
from hybridq.engine import Engine, choose
from hybridq.engine.once import refuse_transforms
from hybridq.errors import InvalidArgument
from hybridq.layers.fused.native_attention import attend_by_kernels
from hybridq.layers.fused.torch_attention import torch_attention
from hybridq.native.attention import MOST_DEGREE, AttentionNumbers, AttentionTensors

__all__ = ["fourier_attention"]


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
    tensors = AttentionTensors(q, k, v, coefficients, mask)
    if any(x is not None and x.dtype != dtype for x in tensors):
        tensors = AttentionTensors(*(None if x is None else x.to(dtype) for x in tensors))  # type: ignore[arg-type]
    numbers = AttentionNumbers(scale, frequency, dropout, diagonal)
    degree = 0 if coefficients is None else coefficients.shape[1] // 2
    something = q.numel() and k.numel() and v.numel()  # to compute
    if coefficients is not None or engine == "native":
        refuse_transforms("`composed` can be transformed, and plain attention")
    if _is_native(engine, q.device.type, degree) and something and not is_transformed():
        output = attend_by_kernels(tensors, numbers)
        return output if output.dtype == q.dtype else output.to(q.dtype)
    return torch_attention(tensors, numbers).to(q.dtype)


@constant_in_graphs
def _is_native(engine: Engine, device: str, degree: int) -> bool:
    if choose(engine, torch.device(device)) is None:
        return False
    if engine == "native" and degree > MOST_DEGREE:
        way_out = f"engine='native' has room for {MOST_DEGREE}; use 'auto'"
        raise InvalidArgument.of("coefficients", f"of degree {degree}", way_out)
    return degree <= MOST_DEGREE


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
