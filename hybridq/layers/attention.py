"""Attention with the call and the shapes of `nn.MultiheadAttention`, and a score of any kind."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridq.errors import InvalidArgument
from hybridq.layers.attending import attend
from hybridq.layers.scores import AbstractScore, ScoreFactory, make_score

__all__ = ["Attention"]

_KEYS_OF_TORCH = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}


class Attention(nn.Module):
    """Multi-head attention: softmax(logits + mask) v, where a score makes the logits.

    Parameters, call and shapes are those of `nn.MultiheadAttention`; its checkpoints load. Without
    a score the logits are q k^T / sqrt(d), computed in plain torch operations.

    Args:
        embed_dim: Size of the model, a multiple of `num_heads`.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight while training.
        bias: Whether the projections have biases.
        batch_first: Whether tensors are (batch, length, embed_dim) instead of
            (length, batch, embed_dim).
        score: None for plain attention; the name of a score, such as "elementwise"; a class of
            scores, or a function, called with the number of heads and the size of one; or a score.

    Raises:
        InvalidArgument: If `embed_dim` is not divisible by `num_heads`, `dropout` is not in [0, 1),
            or the score is for other heads.
        UnknownName: If there is no score of this name.

    Example:
        >>> layer = Attention(8, 2, batch_first=True, score="elementwise")
        >>> x = torch.randn(3, 5, 8)
        >>> output, _ = layer(x, x, x, need_weights=False)
        >>> output.shape
        torch.Size([3, 5, 8])
    """

    _qkv_same_embed_dim = False
    """Keeps `nn.TransformerEncoderLayer` from computing plain attention past this module."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        score: str | AbstractScore | ScoreFactory | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            reason = (
                f"it must be a positive multiple of num_heads={num_heads}; change one of the two"
            )
            raise InvalidArgument.of("embed_dim", embed_dim, reason)
        if not 0 <= dropout < 1:
            raise InvalidArgument.of("dropout", dropout, "give a probability in [0, 1)")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)
        # The score comes last, so that with a seed the projections start the same with every score.
        self.score = None if score is None else make_score(score, num_heads, self.head_dim)
        self.register_load_state_dict_pre_hook(_read_short_keys)  # type: ignore[no-untyped-call]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: Shape (length, batch, embed_dim), or (batch, length, embed_dim) if `batch_first`,
                or without a batch.
            key: The same with the number of keys as length.
            value: The shape of `key`.
            key_padding_mask: Shape (batch, keys): True hides a key; floats are added.
            need_weights: Whether to return the weights; False is faster.
            attn_mask: Shape (length, keys) or (batch * heads, length, keys): True hides a key;
                floats are added.
            average_attn_weights: Whether the returned weights are averaged over heads.
            is_causal: Whether each position sees only itself and earlier ones, whatever `attn_mask`
                says; it needs none.

        Returns:
            The output in the shape of `query`, and None or the weights: (batch, length, keys), or
            with heads (batch, heads, length, keys). Where all keys are hidden the weights are 0.

        Raises:
            InvalidArgument: If shapes or dtypes do not fit, or a mask holds integers.
        """
        self._check(query, key, value)
        batched = query.ndim == 3
        projected = self._project(query, key, value)
        q, k, v = (self._split(self._batch_first(x, batched=batched)) for x in projected)
        # Where causality is all that hides keys, no mask is made: the kernels know the diagonal.
        diagonal = 0 if is_causal and key_padding_mask is None and attn_mask is None else None
        needs_causal_mask = is_causal and diagonal is None
        mask, sees = _merge_masks(key_padding_mask, attn_mask, q, k, is_causal=needs_causal_mask)
        output, weights = attend(
            self.score,
            q,
            k,
            v,
            mask,
            scale=self.head_dim**-0.5,
            dropout=self.dropout if self.training else 0.0,
            diagonal=diagonal,
            need_weights=need_weights,
        )
        if sees is not None:
            output = output * sees
            weights = None if weights is None else weights * sees
        output = self.out_proj(output.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dtype = self.in_proj_weight.dtype
        for name, x in (("query", query), ("key", key), ("value", value)):
            if not isinstance(x, Tensor):
                raise InvalidArgument.of(name, type(x).__name__, "give a torch.Tensor")
            if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
                reason = f"the weights are {dtype}; convert one of the two"
                raise InvalidArgument.of(f"{name}.dtype", x.dtype, reason)
            if x.ndim != query.ndim or x.ndim not in (2, 3) or x.shape[-1] != self.embed_dim:
                order = "(batch, length, embed_dim)"
                if not self.batch_first:
                    order = "(length, batch, embed_dim)"
                reason = f"the shape must be {order} with embed_dim={self.embed_dim}"
                raise InvalidArgument.of(name, tuple(x.shape), reason)
        if key.shape != value.shape:
            reason = f"it must have the shape of key, {tuple(key.shape)}"
            raise InvalidArgument.of("value", tuple(value.shape), reason)
        batch = 0 if self.batch_first else 1
        if query.ndim == 3 and key.shape[batch] != query.shape[batch]:
            reason = f"its batch must be that of query, {tuple(query.shape)}"
            raise InvalidArgument.of("key", tuple(key.shape), reason)

    def _batch_first(self, x: Tensor, *, batched: bool) -> Tensor:
        if not batched:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        weights = self.in_proj_weight.chunk(3)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        inputs = (query, key, value)
        parts = zip(inputs, weights, biases, strict=True)
        return tuple(F.linear(x, weight, bias) for x, weight, bias in parts)

    def _split(self, x: Tensor) -> Tensor:
        """Split the heads: (batch, length, embed_dim) to (batch, heads, length, head size)."""
        return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


def _read_short_keys(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Read "gate" as "score.gate", and so on: the keys of `QuantumAttention` and of old runs."""
    score = module.score
    if not isinstance(score, AbstractScore):
        return
    for name in score.state_dict().keys() - _KEYS_OF_TORCH:
        if prefix + name in state_dict:
            state_dict[f"{prefix}score.{name}"] = state_dict.pop(prefix + name)


def _merge_masks(
    padding: Tensor | None, attention: Tensor | None, q: Tensor, k: Tensor, *, is_causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Merge masks into one that is added to the logits.

    Returns:
        The mask, and 1 for rows that see a key, otherwise 0. Both are broadcastable to the logits,
        and both are None if nothing is hidden.
    """
    batch, heads, length = q.shape[:3]
    keys = k.shape[2]
    masks = []
    if is_causal:
        future = torch.ones(length, keys, dtype=torch.bool, device=q.device).triu(1)
        masks.append(_additive(future, q))
    if padding is not None:
        if padding.shape not in ((batch, keys), (keys,)):
            reason = f"the shape must be {(batch, keys)}"
            raise InvalidArgument.of("key_padding_mask", tuple(padding.shape), reason)
        masks.append(_additive(padding, q).view(-1, 1, 1, keys))
    if attention is not None:
        by_head = (batch * heads, length, keys)
        if attention.shape not in ((length, keys), by_head):
            known = f"{(length, keys)} or (batch * heads, length, keys) = {by_head}"
            reason = f"the shape must be {known}"
            raise InvalidArgument.of("attn_mask", tuple(attention.shape), reason)
        shape = (1, 1, length, keys) if attention.ndim == 2 else (batch, heads, length, keys)
        masks.append(_additive(attention, q).view(shape))
    if not masks:
        return None, None
    merged = sum(masks[1:], masks[0])
    # Of a row that sees nothing softmax would give NaN, which a backward pass spreads everywhere.
    blind = merged.isneginf().all(-1, keepdim=True)
    return merged.masked_fill(blind, 0.0), 1 - blind.to(q.dtype)


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        reason = "give booleans, True to hide a key, or floats to add"
        raise InvalidArgument.of("mask.dtype", mask.dtype, reason)
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
    return mask.to(like.dtype)
