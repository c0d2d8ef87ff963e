"""Attention modules with the call and the shapes of `nn.MultiheadAttention`."""

import math
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridq.backends import AbstractBackend, resolve
from hybridq.errors import InvalidArgument, QuantumNoOpWarning
from hybridq.layers.circuit_weights import CircuitWeights
from hybridq.layers.evaluation import SampleCache, evaluate_circuits, varies
from hybridq.layers.fourier import FourierForm, series
from hybridq.layers.fused.attention import composed, fourier_attention
from hybridq.layers.options import QuantumOptions

__all__ = ["Attention", "QuantumAttention"]


class Attention(nn.Module):
    """Plain multi-head attention in eager torch: softmax(q k^T / sqrt(d) + mask) v.

    Parameters, call and shapes are those of `nn.MultiheadAttention`; its checkpoints load.

    Args:
        embed_dim: Size of the model, a multiple of `num_heads`.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight while training.
        bias: Whether the projections have biases.
        batch_first: Whether tensors are (batch, length, embed_dim) instead of (length, batch,
            embed_dim).

    Raises:
        InvalidArgument: If `embed_dim` is not divisible by `num_heads`, or `dropout` is not in [0,
            1).
    """

    _qkv_same_embed_dim = (
        False  # keeps `nn.TransformerEncoderLayer` from computing plain attention past this module
    )

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise InvalidArgument.of(
                "embed_dim",
                embed_dim,
                f"it must be a positive multiple of num_heads={num_heads}; change one of the two",
            )
        if not 0 <= dropout < 1:
            raise InvalidArgument.of("dropout", dropout, "give a probability in [0, 1)")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = (
            embed_dim,
            num_heads,
            dropout,
            batch_first,
        )
        self.head_dim = embed_dim // num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)

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
        q, k, v = (
            self._split(self._batch_first(x, batched=batched))
            for x in self._project(query, key, value)
        )
        alone = is_causal and key_padding_mask is None and attn_mask is None
        diagonal = 0 if alone and self._is_fused(need_weights=need_weights) else None
        mask, sees = _merge_masks(
            key_padding_mask, attn_mask, q, k, is_causal=is_causal and diagonal is None
        )
        output, weights = self._attend(q, k, v, mask, need_weights=need_weights, diagonal=diagonal)
        if sees is not None:
            output, weights = output * sees, None if weights is None else weights * sees
        output = self.out_proj(output.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _is_fused(self, *, need_weights: bool) -> bool:
        """Whether `_attend` takes a diagonal, so that is_causal needs no mask."""
        return False

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        *,
        need_weights: bool,
        diagonal: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        output, weights = composed(q, k, v, None, mask, scale=self.head_dim**-0.5, dropout=dropout)
        return output, weights if need_weights else None

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dtype = self.in_proj_weight.dtype
        for name, x in (("query", query), ("key", key), ("value", value)):
            if not isinstance(x, Tensor):
                raise InvalidArgument.of(name, type(x).__name__, "give a torch.Tensor")
            if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
                raise InvalidArgument.of(
                    f"{name}.dtype", x.dtype, f"the weights are {dtype}; convert one of the two"
                )
            if x.ndim != query.ndim or x.ndim not in (2, 3) or x.shape[-1] != self.embed_dim:
                shape = (
                    "(batch, length, embed_dim)"
                    if self.batch_first
                    else "(length, batch, embed_dim)"
                )
                raise InvalidArgument.of(
                    name,
                    tuple(x.shape),
                    f"the shape must be {shape} with embed_dim={self.embed_dim}",
                )
        if key.shape != value.shape:
            raise InvalidArgument.of(
                "value", tuple(value.shape), f"it must have the shape of key, {tuple(key.shape)}"
            )
        batch = 0 if self.batch_first else 1
        if query.ndim == 3 and key.shape[batch] != query.shape[batch]:
            raise InvalidArgument.of(
                "key", tuple(key.shape), f"its batch must be that of query, {tuple(query.shape)}"
            )

    def _batch_first(self, x: Tensor, *, batched: bool) -> Tensor:
        if not batched:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        parts = zip((query, key, value), self.in_proj_weight.chunk(3), biases, strict=True)
        return tuple(F.linear(x, weight, bias) for x, weight, bias in parts)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(
            1, 2
        )  # (batch, heads, length, head size)


class QuantumAttention(Attention):
    """Multi-head attention whose scores pass through a quantum circuit: softmax(s + gate * Phi(s) + mask) v.

    Phi is the readout of a circuit with the score s as its input. Its Fourier form makes it
    practical: 17 circuits for 4 qubits and 2 layers per set of angles and step, whatever the batch
    and the length.

    Args:
        embed_dim: Size of the model, a multiple of `num_heads`.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight while training.
        bias: Whether the projections have biases.
        batch_first: Whether tensors are (batch, length, embed_dim) instead of (length, batch,
            embed_dim).
        options: The circuit and how it enters; by default `QuantumOptions.recommended()`.
        backend: Where the circuits run: a name, a name with options such as "aer:shots=4096", or a
            backend.

    Raises:
        InvalidArgument: If an argument does not fit.
        UnknownName: If there is no such backend.

    Warns:
        QuantumNoOpWarning: If Phi does not depend on the score, so that softmax cancels it (SPEC
            A24).

    Example:
        >>> layer = QuantumAttention(8, 2, batch_first=True)
        >>> x = torch.randn(3, 5, 8)
        >>> output, _ = layer(x, x, x, need_weights=False)
        >>> output.shape, layer.n_circuits
        (torch.Size([3, 5, 8]), 34)

    Differs from the paper: as printed, equation (5) does not contain the score and the layer does
    nothing (SPEC A3); `QuantumOptions.literal()` is that reading.

    Reference: arXiv 2511.01918, equations (3) to (5).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        options: QuantumOptions | None = None,
        backend: str | AbstractBackend = "statevector",
    ) -> None:
        super().__init__(embed_dim, num_heads, dropout, bias, batch_first)
        if not isinstance(options, QuantumOptions | None):
            raise InvalidArgument.of(
                "options", options, "give QuantumOptions(...), or None for the recommended ones"
            )
        self.options = options or QuantumOptions.recommended()
        self.backend = resolve(backend)
        n_sets = num_heads if self.options.sharing == "per_head" else 1
        self.circuit_weights = CircuitWeights(self.options.circuit, n_sets, self.options.angle_std)
        self.circuit_weights.readout.requires_grad_(self.options.trainable)
        self.gate = nn.Parameter(
            torch.full((n_sets,), float(self.options.gate)), requires_grad=self.options.trainable
        )
        self.frequency = nn.Parameter(torch.ones(())) if self.options.learn_frequency else None
        self.fundamental = FourierForm.fundamental(self.options.circuit)
        self.given_coefficients: Tensor | None = (
            None  # put here by `evaluate_together` for one forward pass
        )
        self.given_by: int | None = None  # of the model
        self.cache: SampleCache | None = None
        if not varies(self.options.circuit):
            warnings.warn(
                f"the output of {self.options.circuit} does not depend on the score, so softmax cancels it and this layer "
                "is plain attention. Choose encoding='every_layer' (QuantumOptions.recommended()).",
                QuantumNoOpWarning,
                stacklevel=2,
            )

    @property
    def n_circuits(self) -> int:
        """Number of circuits that one forward pass runs: samples times sets of angles.

        Raises:
            InvalidArgument: If the method is "per_score", which runs one circuit for every score.
        """
        if self.options.method == "per_score":
            way_out = "it runs a circuit for every score: batch * num_heads * length * keys; method='fourier' has a fixed number"
            raise InvalidArgument.of("method", "per_score", way_out)
        return FourierForm.of(self.options.circuit).n_samples * self.circuit_weights.n_sets

    @property
    def circuit_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """What `coefficients` depends on: angles (sets, live angles), readouts (sets, outputs) and gates (sets,)."""
        return self.circuit_weights.angles, self.circuit_weights.readout, self.gate

    def to_backend(self, backend: str | AbstractBackend) -> "QuantumAttention":
        """Run the circuits elsewhere from now on; the weights stay.

        Args:
            backend: A name or a backend.

        Returns:
            This module.
        """
        self.backend = resolve(backend)
        return self

    def coefficients(self) -> Tensor:
        """The Fourier coefficients of gate * Phi for each head, shape (num_heads, 2 D + 1).

        Runs `n_circuits` circuits, unless `evaluate_together` has just run them, or nothing has
        changed since the last pass in evaluation mode.
        """
        given = self.given_coefficients
        return given if given is not None else evaluate_circuits([self])[0]

    def _is_fused(self, *, need_weights: bool) -> bool:
        options = self.options
        return (
            options.method == "fourier"
            and options.argument != "tanh"
            and self.frequency is None
            and not need_weights
        )

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        *,
        need_weights: bool,
        diagonal: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        scale, dropout = self.head_dim**-0.5, self.dropout if self.training else 0.0
        if self.options.method == "per_score":
            output, weights = composed(q, k, v, self._per_score, mask, scale=scale, dropout=dropout)
            return output, weights if need_weights else None
        coefficients = self.coefficients().to(torch.promote_types(q.dtype, torch.float32))
        fundamental = self.fundamental
        if not self._is_fused(need_weights=need_weights) or (
            mask is not None and mask.requires_grad
        ):
            phi = partial(self._series, coefficients, fundamental)
            output, weights = composed(q, k, v, phi, mask, scale=scale, dropout=dropout)
            return output, weights if need_weights else None
        factor = fundamental / scale if self.options.argument == "raw" else fundamental
        output = fourier_attention(
            q,
            k,
            v,
            coefficients,
            mask,
            scale=scale,
            frequency=factor,
            dropout=dropout,
            diagonal=diagonal,
        )
        return output, None

    def _argument(self, scores: Tensor) -> Tensor:
        """What the circuit sees of the scaled scores (SPEC A2)."""
        if self.options.argument == "raw":
            scores = scores * self.head_dim**0.5
        elif self.options.argument == "tanh":
            scores = math.pi * scores.tanh()
        return scores if self.frequency is None else scores * self.frequency

    def _series(self, coefficients: Tensor, fundamental: float, scores: Tensor) -> Tensor:
        angles = self._argument(scores.to(coefficients.dtype))
        phi: Tensor = series(coefficients, angles if fundamental == 1.0 else angles * fundamental)
        return phi.to(scores.dtype)

    def _per_score(self, scores: Tensor) -> Tensor:
        """The same as `_series`, by one circuit for every score."""
        angles, weights = self._argument(scores), self.circuit_weights.weights()
        groups = (
            angles.chunk(len(weights), 1) if len(weights) > 1 else (angles,)
        )  # by set of angles
        phis = []
        for group, own, readout, gate in zip(
            groups, weights, self.circuit_weights.readout, self.gate, strict=True
        ):
            outputs = self.backend.evaluate(
                self.options.circuit, group.reshape(-1, 1).to(own.dtype), own
            )
            phi = gate * (outputs * readout.to(outputs)).sum(-1)
            phis.append(phi.view(group.shape).to(scores.dtype))
        return torch.cat(phis, 1)


def _merge_masks(
    padding: Tensor | None, attention: Tensor | None, q: Tensor, k: Tensor, *, is_causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """One mask to add to the scores, and 1 for rows that see a key, otherwise 0; broadcastable to the scores."""
    batch, heads, length, keys = *q.shape[:3], k.shape[2]
    masks = []
    if is_causal:
        masks.append(
            _additive(torch.ones(length, keys, dtype=torch.bool, device=q.device).triu(1), q)
        )
    if padding is not None:
        if padding.shape not in ((batch, keys), (keys,)):
            raise InvalidArgument.of(
                "key_padding_mask", tuple(padding.shape), f"the shape must be {(batch, keys)}"
            )
        masks.append(_additive(padding, q).view(-1, 1, 1, keys))
    if attention is not None:
        if attention.shape not in ((length, keys), (batch * heads, length, keys)):
            known = f"{(length, keys)} or (batch * heads, length, keys) = {(batch * heads, length, keys)}"
            raise InvalidArgument.of(
                "attn_mask", tuple(attention.shape), f"the shape must be {known}"
            )
        shape = (1, 1, length, keys) if attention.ndim == 2 else (batch, heads, length, keys)
        masks.append(_additive(attention, q).view(shape))
    if not masks:
        return None, None
    merged = sum(masks[1:], masks[0])
    blind = merged.isneginf().all(
        -1, keepdim=True
    )  # softmax would give NaN, which a backward pass spreads everywhere
    return merged.masked_fill(blind, 0.0), 1 - blind.to(q.dtype)


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise InvalidArgument.of(
            "mask.dtype", mask.dtype, "give booleans, True to hide a key, or floats to add"
        )
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
    return mask.to(like.dtype)
