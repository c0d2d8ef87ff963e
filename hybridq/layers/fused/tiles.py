"""The arithmetic of Fourier attention, tile by tile.

The backward pass computes cos s and sin s again, which costs less than the memory to keep them.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hybridq.circuits import FourierForm
from hybridq.layers.fused.series import Polynomials, backpropagate

__all__ = [
    "SavedWeights",
    "TileNumbers",
    "TileTensors",
    "backward_tiles",
    "forward_tiles",
    "free_space",
]

# Sizes of a tile, in scores. In between, the batch is cut in two or three parts.
_SMALLEST_TILE = 2**15
_LARGEST_TILE = 2**17

# Comparing 16 random bits decides whether a weight is dropped, so that the probability of dropping
# is rounded to a multiple of 1 / 65,536.
_DROPOUT_STEPS = 2**16


class TileTensors(NamedTuple):
    """The tensors that attention is differentiated towards, or the gradients towards them.

    Args:
        q: Queries, shape (batch, heads, length, head size).
        k: Keys, shape (batch, heads, keys, head size).
        v: Values, shape (batch, heads, keys, value size).
        coefficients: The Fourier coefficients of Phi, shape (heads, 2 D + 1).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    coefficients: Tensor


class TileNumbers(NamedTuple):
    """The numbers of attention.

    Args:
        scale: The factor of q k^T.
        frequency: The factor of the scaled score inside the series.
        dropout: The probability of dropping a weight.
    """

    scale: float
    frequency: float
    dropout: float


class SavedWeights(NamedTuple):
    """The tensors that the forward pass saves; empty ones if no gradient is wanted.

    Args:
        weights: The weights before dropout, shape (batch, heads, length, keys).
        kept: 1 where dropout keeps a weight, otherwise 0, as bytes, of the same shape; empty
            without dropout.
    """

    weights: Tensor
    kept: Tensor


class _Tile(NamedTuple):
    """A tile of the scores.

    Args:
        scores: The index of its scores: a slice of the batch, and perhaps of heads and rows.
        keys: The index of its keys: a slice of the batch, and perhaps of heads.
        heads: Its heads.
        is_first: Whether no tile with the same keys comes before it.
    """

    scores: tuple[slice, ...]
    keys: tuple[slice, ...]
    heads: slice
    is_first: bool


def forward_tiles(
    tensors: TileTensors,
    mask: Tensor | None,
    output: Tensor,
    saved: SavedWeights,
    numbers: TileNumbers,
) -> None:
    """Fill the output, and `saved` unless it is empty.

    Args:
        tensors: The tensors.
        mask: None, or a tensor added to the scores, shape (batch, heads, length, keys).
        output: Shape (batch, heads, length, value size).
        saved: Where the weights and the kept places are written.
        numbers: The numbers.
    """
    q, k, v, coefficients = tensors
    scale, frequency, dropout = numbers
    saves = saved.weights.numel() > 0
    polynomials = Polynomials(coefficients)
    for tile in _tiles(q, k, 2 if dropout else 3):
        queries = q[tile.scores]
        cos, sin, *work = _space(queries, k, 6 if saves else 7)
        if saves:
            scores = saved.weights[tile.scores]
        else:
            scores = work.pop().view(*queries.shape[:3], k.shape[2])
        flat = scores.flatten(2)  # the same scores, (batch, heads, rows * keys)
        torch.matmul(queries, k[tile.keys].transpose(-1, -2), out=scores).mul_(scale)
        _write_cos_sin(flat, frequency, cos, sin)
        flat += _of_heads(polynomials, coefficients, tile.heads)(cos, sin, work)
        if mask is not None:
            scores += mask[tile.scores]
        weights = torch.softmax(scores, -1, out=scores)
        if dropout:
            kept = _keep(weights, dropout)
            if saved.kept.numel():
                saved.kept[tile.scores] = kept
            weights = cos.view(scores.shape).copy_(kept).mul_(weights).mul_(_keep_scale(dropout))
        torch.matmul(weights, v[tile.keys], out=output[tile.scores])


def backward_tiles(
    gradient: Tensor, tensors: TileTensors, saved: SavedWeights, numbers: TileNumbers
) -> TileTensors:
    """Return the gradients of q, k, v and the coefficients.

    Args:
        gradient: dL/d(output), shape (batch, heads, length, value size).
        tensors: As in `forward_tiles`.
        saved: As `forward_tiles` filled it.
        numbers: As in `forward_tiles`.

    Returns:
        The gradients.
    """
    q, k, v, coefficients = tensors
    scale, frequency, dropout = numbers
    to_q = torch.empty_like(q, memory_format=torch.contiguous_format)
    to_k = torch.empty_like(k, memory_format=torch.contiguous_format)
    to_v = torch.empty_like(v, memory_format=torch.contiguous_format)
    to_coefficients = torch.zeros_like(coefficients)
    slopes = FourierForm.derivative(coefficients) * frequency
    polynomials = Polynomials(slopes)
    for tile in _tiles(q, k, 2 if dropout else 3):
        queries = q[tile.scores]
        keys = k[tile.keys]
        weights = saved.weights[tile.scores]
        to_output = gradient[tile.scores].contiguous()
        flat, cos, sin, to_angles, *work = _space(queries, k, 6)
        to_weights = flat.view(weights.shape)  # first the scores, then dL/d(weights)
        torch.matmul(queries, keys.transpose(-1, -2), out=to_weights).mul_(scale)
        _write_cos_sin(flat, frequency, cos, sin)
        torch.matmul(to_output, v[tile.keys].transpose(-1, -2), out=to_weights)
        dropped = weights
        if dropout:
            kept = to_angles.view(weights.shape).copy_(saved.kept[tile.scores])
            kept.mul_(_keep_scale(dropout))
            to_weights *= kept
            dropped = kept.mul_(weights)
        _gather(to_v, tile, dropped, to_output)
        along = to_weights.mul_(weights).sum(-1, keepdim=True)
        to_weights.addcmul_(weights, along, value=-1)  # the gradient of the logits s + Phi(s)
        to_angles.copy_(flat)
        slopes_of_heads = _of_heads(polynomials, slopes, tile.heads)
        to_coefficients[tile.heads] += backpropagate(
            flat, cos, sin, slopes_of_heads, to_angles, work
        )
        to_scores = to_angles.view(weights.shape).mul_(scale)
        torch.matmul(to_scores, keys, out=to_q[tile.scores])
        _gather(to_k, tile, to_scores, queries)
    return TileTensors(to_q, to_k, to_v, to_coefficients)


def _gather(target: Tensor, tile: _Tile, by_row: Tensor, rows: Tensor) -> None:
    """Write by_row^T rows for the keys of a tile, or add it to the part of an earlier tile."""
    keys = target[tile.keys]
    if tile.is_first:
        torch.matmul(by_row.transpose(-1, -2), rows, out=keys)
    else:
        keys += by_row.transpose(-1, -2) @ rows


def _write_cos_sin(scores: Tensor, frequency: float, cos: Tensor, sin: Tensor) -> None:
    """Write cos and sin of frequency * scores."""
    angles = scores if frequency == 1.0 else torch.mul(scores, frequency, out=cos)
    torch.sin(angles, out=sin)
    torch.cos(angles, out=cos)


def _of_heads(polynomials: Polynomials, coefficients: Tensor, heads: slice) -> Polynomials:
    return polynomials if heads == slice(None) else Polynomials(coefficients[heads])


def _kept_steps(dropout: float) -> int:
    """Return the probability of keeping, in steps; never all or none."""
    return min(max(round((1 - dropout) * _DROPOUT_STEPS), 1), _DROPOUT_STEPS - 1)


def _keep_scale(dropout: float) -> float:
    """Return the factor of a weight that is kept."""
    return _DROPOUT_STEPS / _kept_steps(dropout) if dropout else 1.0


def _keep(weights: Tensor, dropout: float) -> Tensor:
    """Return 1 where a weight is kept, otherwise 0: 16 random bits decide each place."""
    words = torch.empty((weights.numel() + 3) // 4, dtype=torch.int64, device=weights.device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: weights.numel()].view_as(weights)
    return bits.lt_(_kept_steps(dropout) - _DROPOUT_STEPS // 2)


def _tiles(q: Tensor, k: Tensor, parts: int) -> Iterator[_Tile]:
    """Cut the scores, shape (batch, heads, length, keys), into contiguous tiles.

    Fewer parts are faster, and take more space to work in. With dropout, plain attention takes more
    space too, so that fewer parts are fair.

    Args:
        q: Queries, shape (batch, heads, length, head size).
        k: Keys, shape (batch, heads, keys, head size).
        parts: The number of parts of the batch, unless tiles would be too small or too large.

    Yields:
        The tiles.
    """
    batch = q.shape[0]
    heads = max(1, q.shape[1])
    length = max(1, q.shape[2])
    keys = max(1, k.shape[2])
    scores = heads * length * keys  # of one item of the batch
    items_of_part = -(-batch // parts)
    size = min(_LARGEST_TILE, max(_SMALLEST_TILE, items_of_part * scores))
    if scores <= size:
        n_items = size // scores
        for first in range(0, batch, n_items):
            items = (slice(first, first + n_items),)
            yield _Tile(items, items, slice(None), is_first=True)
        return
    n_rows = min(length, max(1, size // keys))
    n_heads = max(1, size // (n_rows * keys))  # several heads only if their rows are whole
    for item in range(batch):
        for first_head in range(0, heads, n_heads):
            some_heads = slice(first_head, first_head + n_heads)
            place = (slice(item, item + 1), some_heads)
            for row in range(0, length, n_rows):
                scores_of_tile = (*place, slice(row, row + n_rows))
                yield _Tile(scores_of_tile, place, some_heads, is_first=row == 0)


_local = threading.local()


# Space made in inference mode could not be written to in training.
@torch.inference_mode(mode=False)
def _space(q: Tensor, k: Tensor, n: int) -> Sequence[Tensor]:
    """Return n tensors of shape (batch, heads, rows * keys) to work in.

    Their memory lives as long as the thread. The allocator would map a fresh block of this size
    anew each time, and touching its pages costs more than the arithmetic on it.
    """
    shape = (n, *q.shape[:2], q.shape[2] * k.shape[2])
    if q.device.type != "cpu":
        # There the allocator keeps its blocks, and streams must not share one.
        return q.new_empty(shape).unbind()
    size = math.prod(shape)
    key = (q.dtype, q.device)
    if getattr(_local, "key", None) != key or _local.space.numel() < size:
        _local.space = None  # The old space is given back before the new one is taken.
        _local.key = key
        _local.space = q.new_empty(size)
    return _local.space[:size].view(shape).unbind()  # type: ignore[no-any-return]


def free_space() -> None:
    """Give the calling thread's space back."""
    vars(_local).clear()
