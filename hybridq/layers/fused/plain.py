"""Attention in plain torch operations, for any logits.

Every step can be seen, and differentiated.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend_by_logits", "causal_mask", "composed", "repeat_heads", "scaled_scores"]


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Repeat each key head for the query heads that it serves.

    Args:
        x: Keys or values, shape (batch, key heads, keys, size).
        heads: Number of query heads, a multiple of the key heads.

    Returns:
        Shape (batch, heads, keys, size).
    """
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def scaled_scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return scale q k^T.

    Args:
        q: Shape (batch, heads, length, head size).
        k: Shape (batch, key heads, keys, head size).
        scale: The factor.

    Returns:
        Shape (batch, heads, length, keys).
    """
    return (q * scale) @ repeat_heads(k, q.shape[1]).transpose(-1, -2)


def causal_mask(length: int, keys: int, diagonal: int, like: Tensor) -> Tensor:
    """Return the mask with which row i sees the keys up to i + diagonal.

    Args:
        length: Number of rows.
        keys: Number of keys.
        diagonal: The offset: row i sees the keys 0 to i + diagonal.
        like: A tensor whose dtype and device the mask has.

    Returns:
        Shape (length, keys): 0, and -inf where a key is hidden.
    """
    hidden = torch.ones(length, keys, dtype=torch.bool, device=like.device).triu(diagonal + 1)
    return like.new_zeros(hidden.shape).masked_fill_(hidden, -math.inf)


def attend_by_logits(
    logits: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return softmax(logits + mask) v, and the weights.

    Args:
        logits: Shape (batch, heads, length, keys).
        v: Shape (batch, key heads, keys, value size).
        mask: None, or a tensor added to the logits; -inf hides a key.
        dropout: The probability of dropping a weight.

    Returns:
        The output, shape (batch, heads, length, value size), and the weights after dropout, of the
        shape of `logits`.
    """
    if mask is not None:
        logits = logits + mask
    weights = F.dropout(torch.softmax(logits, -1), dropout)
    return weights @ repeat_heads(v, logits.shape[1]), weights


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
    """Return softmax(s + phi(s) + mask) v for any function phi of the scaled scores s.

    Args:
        q: Shape (batch, heads, length, head size).
        k: Shape (batch, key heads, keys, head size).
        v: Shape (batch, key heads, keys, value size).
        phi: The function, or None for plain attention.
        mask: As `attend_by_logits`.
        scale: The factor of q k^T.
        dropout: The probability of dropping a weight.

    Returns:
        The output, shape (batch, heads, length, value size), and the weights after dropout, shape
        (batch, heads, length, keys).
    """
    scores = scaled_scores(q, k, scale)
    logits = scores if phi is None else scores + phi(scores)
    return attend_by_logits(logits, v, mask, dropout)
