"""The arithmetic of Fourier attention, tile by tile.

The backward pass computes cos s and sin s again, which costs less than the memory to keep them.
"""

import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hybridq.layers.fourier import Polynomials, coefficient_gradient, derivative

__all__ = ["backward_tiles", "forward_tiles"]

_SMALLEST_TILE, _LARGEST_TILE = 2**15, 2**17  # scores; in between, a quarter of them all: fast, and little space to work in
_DROPOUT_STEPS = 2**16  # a place is dropped by comparing 16 random bits: probabilities are rounded to 1 / 65,536

Tile = tuple[slice, slice, slice]  # of the batch, the heads and the rows
Tensors = tuple[Tensor, Tensor, Tensor, Tensor]  # q, k, v and the coefficients
Saved = tuple[Tensor, Tensor]  # the weights and the kept places; empty if no gradient is wanted
Numbers = tuple[float, float, float]  # scale, frequency and dropout


def forward_tiles(tensors: Tensors, mask: Tensor | None, output: Tensor, saved: Saved, numbers: Numbers) -> None:
    """Fill the output, and `saved` unless it is empty.

    Args:
        tensors: q, k, v of shape (batch, heads, length or keys, size), and the coefficients (heads, 2 D + 1).
        mask: None, or what is added to the scores, shape (batch, heads, length, keys).
        output: Shape (batch, heads, length, value size).
        saved: Each of shape (batch, heads, length, keys), or empty.
        numbers: The scale of q k^T, the factor of the score inside the series, and the probability of dropping.
    """
    q, k, v, coefficients = tensors
    scale, frequency, dropout = numbers
    polynomials = Polynomials(coefficients)
    for tile in _tiles(q, k):
        keys = tile[:2]
        scores, *scratch = _scratch(7, q[tile], k)
        cos, sin = _cos_sin(q[tile] * scale, k[keys], frequency, (scores, *scratch))
        scores.flatten(2).add_(polynomials.of_heads(tile[1])(cos, sin, [s.flatten(2) for s in scratch[2:]]))
        if mask is not None:
            scores += mask[tile]
        weights = torch.softmax(scores, -1, out=saved[0][tile] if saved[0].numel() else scores)
        if dropout:
            kept = _keep(weights, dropout)
            if saved[1].numel():
                saved[1][tile] = kept
            weights = scratch[0].copy_(kept).mul_(weights)
        torch.mul(weights @ v[keys], _keep_scale(dropout), out=output[tile])


def backward_tiles(gradient: Tensor, tensors: Tensors, saved: Saved, numbers: Numbers) -> Tensors:
    """The gradients of q, k, v and the coefficients.

    Args:
        gradient: dL/d(output), shape (batch, heads, length, value size).
        tensors: As in `forward_tiles`.
        saved: As it was filled.
        numbers: As in `forward_tiles`.

    Returns:
        Tensors of the shapes of `tensors`.
    """
    q, k, v, coefficients = tensors
    scale, frequency, dropout = numbers
    to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    to_coefficients = torch.zeros_like(coefficients)
    slopes, degree = Polynomials(derivative(coefficients)), coefficients.shape[1] // 2
    for tile in _tiles(q, k):
        keys = tile[:2]
        to_scores, *scratch = _scratch(7, q[tile], k)
        cos, sin = _cos_sin(q[tile] * scale, k[keys], frequency, (to_scores, *scratch))
        weights, to_output = saved[0][tile], gradient[tile] * _keep_scale(dropout)
        torch.matmul(to_output, v[keys].transpose(-1, -2), out=to_scores)
        dropped = weights
        if dropout:
            kept = scratch[2].copy_(saved[1][tile])
            to_scores *= kept
            dropped = kept.mul_(weights)
        to_v[keys] += dropped.transpose(-1, -2) @ to_output
        along = to_scores.mul_(weights).sum(-1, keepdim=True)
        to_scores.addcmul_(weights, along, value=-1)
        flat, space = to_scores.flatten(2), [s.flatten(2) for s in scratch[2:]]
        to_coefficients[tile[1]] += coefficient_gradient(flat, cos, sin, degree, space)
        flat.addcmul_(flat, slopes.of_heads(tile[1])(cos, sin, space), value=frequency)
        to_q[tile] = (to_scores @ k[keys]).mul_(scale)
        to_k[keys] += (to_scores.transpose(-1, -2) @ q[tile]).mul_(scale)
    return to_q, to_k, to_v, to_coefficients


def _cos_sin(q: Tensor, k: Tensor, frequency: float, scratch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Cos and sin of frequency * q k^T in the second and third tensor of the scratch, flat; the scores in the first."""
    scores, cos, sin = (s.flatten(2) for s in scratch[:3])  # (batch, heads, rows * keys)
    torch.matmul(q, k.transpose(-1, -2), out=scratch[0])
    angles = scores if frequency == 1.0 else torch.mul(scores, frequency, out=cos)
    torch.sin(angles, out=sin)
    return torch.cos(angles, out=cos), sin


def _keep_scale(dropout: float) -> float:
    """What a kept weight is multiplied by."""
    return _DROPOUT_STEPS / round((1 - dropout) * _DROPOUT_STEPS)


def _keep(weights: Tensor, dropout: float) -> Tensor:
    """1 where a weight is kept, otherwise 0: 16 random bits decide each place."""
    words = torch.empty((weights.numel() + 3) // 4, dtype=torch.int64, device=weights.device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: weights.numel()].view_as(weights)
    return bits.lt_(round((1 - dropout) * _DROPOUT_STEPS) - _DROPOUT_STEPS // 2)


def _tiles(q: Tensor, k: Tensor) -> Iterator[Tile]:
    """Cut (batch, heads, length, keys) scores into contiguous tiles."""
    batch, heads, length, keys = *q.shape[:3], max(1, k.shape[2])
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, batch * heads * length * keys // 4))
    rows = min(length, max(1, size // keys))
    n_heads = min(heads, max(1, size // (length * keys))) if rows == length else 1
    n_batch = max(1, size // (heads * length * keys)) if n_heads == heads else 1
    for i in range(0, batch, n_batch):
        for j in range(0, heads, n_heads):
            for r in range(0, length, max(1, rows)):
                yield slice(i, i + n_batch), slice(j, j + n_heads), slice(r, r + rows)


_local = threading.local()


def _scratch(n: int, q: Tensor, k: Tensor) -> Tensor:
    """Space for n tensors of scores of one tile, shape (n, batch, heads, rows, keys), that lives as long as the thread.

    A fresh block of this size is mapped anew by the allocator, and touching its pages costs more than the arithmetic on it.
    """
    shape = (n, *q.shape[:3], k.shape[2])
    size, key = n * q.shape[:3].numel() * k.shape[2], (q.dtype, q.device)
    if getattr(_local, "key", None) != key or _local.space.numel() < size:
        _local.space = None  # given back first
        _local.key, _local.space = key, q.new_empty(size)
    return _local.space[:size].view(shape)  # type: ignore[no-any-return]
