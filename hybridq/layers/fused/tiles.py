"""The arithmetic of Fourier attention, tile by tile.

The backward pass computes cos s and sin s again, which costs less than the memory to keep them.
"""

import math
import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hybridq.circuits import FourierForm
from hybridq.layers.fused.series import Polynomials, backpropagate

__all__ = ["backward_tiles", "forward_tiles", "free_space"]

_SMALLEST_TILE, _LARGEST_TILE = 2**15, 2**17  # scores; in between, the batch in two or three parts
_DROPOUT_STEPS = (
    2**16
)  # a place is dropped by comparing 16 random bits: probabilities are rounded to 1 / 65,536

Tile = tuple[slice, ...]  # of the batch, and perhaps of the heads and the rows
Tensors = tuple[Tensor, Tensor, Tensor, Tensor]  # q, k, v and the coefficients
Saved = tuple[Tensor, Tensor]  # the weights and the kept places; empty if no gradient is wanted
Numbers = tuple[float, float, float]  # scale, frequency and dropout


def forward_tiles(
    tensors: Tensors, mask: Tensor | None, output: Tensor, saved: Saved, numbers: Numbers
) -> None:
    """Fill the output, and `saved` unless it is empty.

    Args:
        tensors: q, k, v of shape (batch, heads, length or keys, size), and the coefficients (heads,
            2 D + 1).
        mask: None, or what is added to the scores, shape (batch, heads, length, keys).
        output: Shape (batch, heads, length, value size).
        saved: Each of shape (batch, heads, length, keys), or empty.
        numbers: The scale of q k^T, the factor of the score inside the series, and the probability
            of dropping.
    """
    q, k, v, coefficients = tensors
    scale, frequency, dropout = numbers
    polynomials = Polynomials(coefficients)
    for tile, keys, heads in _tiles(q, k, 2 if dropout else 3):
        part = q[tile]
        space = _space(part, k, 6 if saved[0].numel() else 7)
        scores = saved[0][tile] if saved[0].numel() else space[6].view(*part.shape[:3], k.shape[2])
        (cos, sin), work = space[:2], space[2:6]
        flat = scores.flatten(2)
        _scores(part, k[keys], (scale, frequency), (scores, flat, cos, sin))
        flat += _of_heads(polynomials, coefficients, heads)(cos, sin, work)
        if mask is not None:
            scores += mask[tile]
        weights = torch.softmax(scores, -1, out=scores)
        if dropout:
            kept = _keep(weights, dropout)
            if saved[1].numel():
                saved[1][tile] = kept
            weights = cos.view(scores.shape).copy_(kept).mul_(weights).mul_(_keep_scale(dropout))
        torch.matmul(weights, v[keys], out=output[tile])


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
    to_q, to_k, to_v = (
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)
    )
    to_coefficients = torch.zeros_like(coefficients)
    slopes = FourierForm.derivative(coefficients) * frequency
    polynomials = Polynomials(slopes)
    for tile, keys, heads in _tiles(q, k, 2 if dropout else 3):
        part, weights, to_output = q[tile], saved[0][tile], gradient[tile].contiguous()
        flat, cos, sin, to_angles, *work = _space(part, k, 6)
        to_weights = flat.view(weights.shape)
        _scores(part, k[keys], (scale, frequency), (to_weights, flat, cos, sin))
        torch.matmul(to_output, v[keys].transpose(-1, -2), out=to_weights)
        dropped = weights
        if dropout:
            kept = to_angles.view(weights.shape).copy_(saved[1][tile]).mul_(_keep_scale(dropout))
            to_weights *= kept
            dropped = kept.mul_(weights)
        _gather(to_v, tile, dropped, to_output)
        along = to_weights.mul_(weights).sum(-1, keepdim=True)
        to_weights.addcmul_(weights, along, value=-1)  # the gradient of the logits s + Phi(s)
        to_angles.copy_(flat)
        own = _of_heads(polynomials, slopes, heads)
        to_coefficients[heads] += backpropagate(flat, cos, sin, own, to_angles, work)
        to_scores = to_angles.view(weights.shape).mul_(scale)
        torch.matmul(to_scores, k[keys], out=to_q[tile])
        _gather(to_k, tile, to_scores, part)
    return to_q, to_k, to_v, to_coefficients


def _gather(target: Tensor, tile: Tile, by_row: Tensor, rows: Tensor) -> None:
    """Write by_row^T rows for the keys of a tile; rows that come later are added."""
    keys = target[tile[:2]]
    if len(tile) < 3 or tile[2].start == 0:
        torch.matmul(by_row.transpose(-1, -2), rows, out=keys)
    else:
        keys += by_row.transpose(-1, -2) @ rows


def _scores(q: Tensor, k: Tensor, factors: tuple[float, float], out: Sequence[Tensor]) -> None:
    """Write the scores scale * q k^T, seen in two shapes, and cos and sin of frequency * scores."""
    scale, frequency = factors
    scores, flat, cos, sin = out
    torch.matmul(q, k.transpose(-1, -2), out=scores).mul_(scale)
    angles = flat if frequency == 1.0 else torch.mul(flat, frequency, out=cos)
    torch.sin(angles, out=sin)
    torch.cos(angles, out=cos)


def _of_heads(polynomials: Polynomials, coefficients: Tensor, heads: slice) -> Polynomials:
    return polynomials if heads == slice(None) else Polynomials(coefficients[heads])


def _kept_steps(dropout: float) -> int:
    """The probability of keeping, in steps; never all or none."""
    return min(max(round((1 - dropout) * _DROPOUT_STEPS), 1), _DROPOUT_STEPS - 1)


def _keep_scale(dropout: float) -> float:
    """What a kept weight is multiplied by."""
    return _DROPOUT_STEPS / _kept_steps(dropout) if dropout else 1.0


def _keep(weights: Tensor, dropout: float) -> Tensor:
    """1 where a weight is kept, otherwise 0: 16 random bits decide each place."""
    words = torch.empty((weights.numel() + 3) // 4, dtype=torch.int64, device=weights.device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: weights.numel()].view_as(weights)
    return bits.lt_(_kept_steps(dropout) - _DROPOUT_STEPS // 2)


def _tiles(q: Tensor, k: Tensor, parts: int) -> Iterator[tuple[Tile, Tile, slice]]:
    """Cut (batch, heads, length, keys) scores into contiguous tiles: the indices of a tile, of its keys, and its heads.

    Fewer parts are faster, and take more space to work in: with dropout plain attention takes more,
    too.
    """
    batch, heads, length, keys = (
        q.shape[0],
        *(max(1, n) for n in (q.shape[1], q.shape[2], k.shape[2])),
    )
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, -(-batch // parts) * heads * length * keys))
    if heads * length * keys <= size:
        step = size // (heads * length * keys)
        yield from (
            ((slice(i, i + step),), (slice(i, i + step),), slice(None))
            for i in range(0, batch, step)
        )
        return
    rows = min(length, max(1, size // keys))
    step = max(1, size // (rows * keys))  # more than one head only if they are whole
    for i in range(batch):
        for j in range(0, heads, step):
            place = (slice(i, i + 1), slice(j, j + step))
            yield from (
                ((*place, slice(r, r + rows)), place, place[1]) for r in range(0, length, rows)
            )


_local = threading.local()


@torch.inference_mode(
    mode=False
)  # space made in inference mode could not be written to in training
def _space(q: Tensor, k: Tensor, n: int) -> Sequence[Tensor]:
    """Some n tensors of shape (batch, heads, rows * keys) to work in, which live as long as the thread.

    A fresh block of this size is mapped anew by the allocator, and touching its pages costs more
    than the arithmetic on it.
    """
    shape = (n, *q.shape[:2], q.shape[2] * k.shape[2])
    if (
        q.device.type != "cpu"
    ):  # there the allocator keeps its blocks, and streams must not share one
        return q.new_empty(shape).unbind()
    size, key = math.prod(shape), (q.dtype, q.device)
    if getattr(_local, "key", None) != key or _local.space.numel() < size:
        _local.space = None  # given back first
        _local.key, _local.space = key, q.new_empty(size)
    return _local.space[:size].view(shape).unbind()  # type: ignore[no-any-return]


def free_space() -> None:
    """Give the calling thread's space back."""
    vars(_local).clear()
