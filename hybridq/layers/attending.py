"""The output of attention from queries, keys, values and a score, by the fastest way."""

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridq.layers.fused.attention import fourier_attention
from hybridq.layers.fused.plain import attend_by_logits, causal_mask, repeat_heads, scaled_scores
from hybridq.layers.fused.series import FourierSeries
from hybridq.layers.scores import AbstractScore

__all__ = ["attend"]


def attend(  # noqa: PLR0913 - the arguments of attention itself
    score: AbstractScore | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
    diagonal: int | None = None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return softmax(logits + mask) v, where a score makes the logits of queries and keys.

    The way depends on the methods of the score. A fused kernel serves a Fourier series, and torch's
    own attention serves features of each token. Plain torch operations serve everything else,
    weights that are to be returned, and a mask that wants a gradient.

    Args:
        score: The score; None for plain attention, logits scale q k^T.
        q: Shape (batch, heads, length, head size).
        k: Shape (batch, key heads, keys, head size); each key head serves heads / key heads
            neighbouring heads.
        v: Shape (batch, key heads, keys, value size).
        mask: None, or a tensor added to the logits, broadcastable to (batch, heads, length, keys);
            -inf hides a key (SPEC A16).
        scale: The factor of q k^T, usually 1 / sqrt(head size).
        dropout: The probability of dropping a weight.
        diagonal: None, or row i sees the keys up to i + diagonal only: 0 is causal.
        need_weights: Whether to return the weights.

    Returns:
        The output, shape (batch, heads, length, value size), and None or the weights, shape
        (batch, heads, length, keys).

    Raises:
        InvalidArgument: If shapes, dtypes or devices do not fit.
    """
    if score is not None and not need_weights and (mask is None or not mask.requires_grad):
        series = score.series(scale)
        if series is not None:
            output = _attend_by_series(
                series, q, k, v, mask, scale=scale, dropout=dropout, diagonal=diagonal
            )
            return output, None
    if diagonal is not None:
        mask = _add_causal_mask(mask, q, k, diagonal)
    features = None if score is None or need_weights else score.features(q, k, scale)
    if features is not None:
        return _attend_by_features(*features, v, mask, dropout), None
    logits = scaled_scores(q, k, scale) if score is None else score.logits(q, k, scale)
    output, weights = attend_by_logits(logits, v, mask, dropout)
    return output, weights if need_weights else None


def _attend_by_series(
    series: FourierSeries,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    dropout: float,
    diagonal: int | None,
) -> Tensor:
    return fourier_attention(
        q,
        k,
        v,
        series.coefficients.to(torch.promote_types(q.dtype, torch.float32)),
        mask,
        scale=scale,
        frequency=series.frequency,
        dropout=dropout,
        diagonal=diagonal,
    )


def _add_causal_mask(mask: Tensor | None, q: Tensor, k: Tensor, diagonal: int) -> Tensor:
    causal = causal_mask(q.shape[2], k.shape[2], diagonal, q)
    return causal if mask is None else mask + causal


def _attend_by_features(
    of_queries: Tensor, of_keys: Tensor, v: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    heads = of_queries.shape[1]
    of_keys = repeat_heads(of_keys, heads)
    v = repeat_heads(v, heads)
    return F.scaled_dot_product_attention(of_queries, of_keys, v, mask, dropout, scale=1.0)
