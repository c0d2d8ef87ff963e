"""Attention whose scores pass through a Fourier series: softmax(s + Phi(s) + mask) v.

Here s = scale q k^T. The compiled kernels or tiles in torch do the work; `fused.plain.composed` is
the same formula in plain torch operations.
"""

from collections.abc import Sequence

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
    """Return softmax(s + Phi(frequency * s) + mask) v, where s = scale q k^T (SPEC A2, A16).

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
            kernels where there are any.

    Returns:
        Shape (batch, heads, length, value size), dtype of q. Differentiable once towards q, k, v
        and the coefficients.

    Raises:
        InvalidArgument: If shapes or devices do not fit, the mask does not hold floats or wants a
            gradient (`composed` gives one), or `dropout` is not in [0, 1).
        BackendUnavailable: If the engine is "native" and there are no kernels, or the tensors are
            not on the CPU.
        NotDifferentiable: Inside of torch.func (vmap, grad, jvp), except for plain attention by
            "auto" or "torch"; and where a second derivative is asked for.
    """
    _check(q, k, v, coefficients, mask, dropout)
    _check_devices(q, k, v, coefficients, mask)
    if torch.is_grad_enabled() and mask is not None and mask.requires_grad:
        raise InvalidArgument("mask: it gets no gradient here; detach it, or use `composed`")
    dtype = torch.promote_types(q.dtype, torch.float32)
    tensors = AttentionTensors(q, k, v, coefficients, mask)
    if any(x is not None and x.dtype != dtype for x in tensors):
        tensors = AttentionTensors(*(None if x is None else x.to(dtype) for x in tensors))  # type: ignore[arg-type]
    numbers = AttentionNumbers(scale, frequency, dropout, diagonal)
    degree = 0 if coefficients is None else coefficients.shape[1] // 2
    is_empty = not (q.numel() and k.numel() and v.numel())
    if coefficients is not None or engine == "native":
        refuse_transforms("`composed` can be transformed, and plain attention")
    if _is_native(engine, q.device.type, degree) and not is_empty and not is_transformed():
        output = attend_by_kernels(tensors, numbers)
        return output if output.dtype == q.dtype else output.to(q.dtype)
    return torch_attention(tensors, numbers).to(q.dtype)


@constant_in_graphs
def _is_native(engine: Engine, device: str, degree: int) -> bool:
    if choose(engine, torch.device(device)) is None:
        return False
    if engine == "native" and degree > MOST_DEGREE:
        way_out = f"engine='native' has room for {MOST_DEGREE}; use 'auto'"
        raise InvalidArgument.that("coefficients", f"are of degree {degree}", way_out)
    return degree <= MOST_DEGREE


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coefficients: Tensor | None,
    mask: Tensor | None,
    dropout: float,
) -> None:
    _check_shapes(q, k, v)
    batch, heads, length, _ = q.shape
    if coefficients is not None and not _are_coefficients(coefficients, heads):
        reason = f"the shape must be ({heads}, 2 * degree + 1)"
        raise InvalidArgument.of("coefficients", tuple(coefficients.shape), reason)
    if not 0 <= dropout < 1:
        raise InvalidArgument.of("dropout", dropout, "give a probability in [0, 1)")
    if mask is None:
        return
    if not mask.is_floating_point():
        reason = "it is added to the scores: give floats, -inf to hide a key"
        raise InvalidArgument.of("mask.dtype", mask.dtype, reason)
    scores = (batch, heads, length, k.shape[2])
    if not _is_broadcastable(mask.shape, scores):
        raise InvalidArgument.of("mask", tuple(mask.shape), f"it must be broadcastable to {scores}")


def _check_devices(
    q: Tensor, k: Tensor, v: Tensor, coefficients: Tensor | None, mask: Tensor | None
) -> None:
    tensors = {"k": k, "v": v, "coefficients": coefficients, "mask": mask}
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != q.device:
            reason = f"q is on {q.device}; move one of them"
            raise InvalidArgument.that(name, f"is on {tensor.device}", reason)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 4:
        reason = "the shape must be (batch, heads, length, head size)"
        raise InvalidArgument.of("q", tuple(q.shape), reason)
    batch, heads, _, size = q.shape
    if not _are_keys(k, batch, heads, size):
        shape = f"({batch}, {heads}, keys, {size})"
        reason = f"the shape must be {shape}, to fit q, or have a divisor of {heads} heads"
        raise InvalidArgument.of("k", tuple(k.shape), reason)
    if v.ndim != 4 or v.shape[:3] != k.shape[:3]:
        shape_of_keys = ", ".join(map(str, k.shape[:3]))
        reason = f"the shape must be ({shape_of_keys}, value size)"
        raise InvalidArgument.of("v", tuple(v.shape), reason)


def _are_keys(k: Tensor, batch: int, heads: int, size: int) -> bool:
    if k.ndim != 4 or (k.shape[0], k.shape[3]) != (batch, size):
        return False
    key_heads = k.shape[1]
    return key_heads == heads or (key_heads > 0 and heads % key_heads == 0)


def _are_coefficients(coefficients: Tensor, heads: int) -> bool:
    return (
        coefficients.ndim == 2 and coefficients.shape[0] == heads and coefficients.shape[1] % 2 == 1
    )


def _is_broadcastable(shape: Sequence[int], target: Sequence[int]) -> bool:
    if len(shape) > len(target):
        return False
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return all(size in (1, wanted) for size, wanted in aligned)
