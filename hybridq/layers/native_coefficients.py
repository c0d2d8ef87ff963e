"""The Fourier coefficients of layers by the compiled kernels, in one node of autograd's graph with its own backward pass.

The kernels run the 17 circuits of a head in microseconds. What is around them (angles put in order, readout, gate, Fourier
transform) are products of some dozens of numbers, which as nodes of the graph take several times as long. Here NumPy does
them, in less time than torch takes to dispatch them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hybridq.engine import MAX_QUBITS, full_precision, native
from hybridq.engine.once import differentiable_once
from hybridq.layers.fourier import LAYER_WAY_OUT, FourierForm

if TYPE_CHECKING:
    from hybridq.layers.attention import QuantumAttention

__all__ = ["has_native_coefficients", "native_coefficients"]

Layers = Sequence["QuantumAttention"]
Array = npt.NDArray[Any]


def has_native_coefficients(layer: "QuantumAttention") -> bool:
    """Whether `native_coefficients` takes a layer: its backend runs kernels, and its parameters are ordinary and learn."""
    angles, *_ = parameters = _parameters(layer)
    circuit = layer.options.circuit
    return (
        layer.backend.kernels(angles) is not None
        and circuit.n_qubits <= MAX_QUBITS
        and type(circuit.readout) in native.READOUTS
        and angles.requires_grad
        and all(type(x) in (Tensor, nn.Parameter) and x.dtype == angles.dtype for x in parameters)
    )


def native_coefficients(layers: Layers) -> Sequence[Tensor]:
    """The Fourier coefficients of gate * Phi, of layers with the same circuit on the same backend.

    Args:
        layers: The layers, each of which `has_native_coefficients`.

    Returns:
        For each layer shape (num_heads, 2 D + 1). Differentiable once, towards angles, readouts and gates.

    Raises:
        InvalidArgument: If an angle is NaN or infinite.
    """
    parameters = zip(*map(_parameters, layers), strict=True)
    found: Sequence[Tensor] = _Coefficients.apply(layers, *(x for kind in parameters for x in kind))  # type: ignore[no-untyped-call]
    return found


def _parameters(layer: "QuantumAttention") -> tuple[Tensor, Tensor, Tensor]:
    return layer.circuit_weights.angles, layer.circuit_weights.readout, layer.gate


@dataclass(frozen=True)
class _Known:
    """What the forward pass leaves for the backward pass."""

    pull_back: native.PullBack  # from dL/d(outputs) to dL/d(weights)
    samples: Array  # (sets, n_samples, outputs)
    readout: Array  # (sets, outputs)
    gate: Array  # (sets, 1)
    transform: Array  # (n_samples, 2 D + 1)


class _Coefficients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Layers, *parameters: Tensor) -> tuple[Tensor, ...]:
        n, circuit, backend = len(layers), layers[0].options.circuit, layers[0].backend
        arrays = [_array(x) for x in parameters]
        in_order = [layer.circuit_weights.in_order(own) for layer, own in zip(layers, arrays, strict=False)]
        weights, readout, gate = map(_joined, (in_order, arrays[n : 2 * n], arrays[2 * n :]))
        n_sets, angles = len(weights), torch.from_numpy(weights)
        inputs, transform = _constants(FourierForm.of(circuit), n_sets, angles.dtype)
        kernels = backend.kernels(angles)
        assert kernels is not None, "the caller has looked"  # noqa: S101
        outputs, pull_back = native.vjp(kernels, circuit, inputs, angles)
        backend.n_circuits_run += n_sets * len(transform)
        samples = outputs.numpy().reshape(n_sets, len(transform), -1)
        known = ctx.known = _Known(pull_back, samples, readout, gate[:, None], transform)
        ctx.layers = layers
        ctx.save_for_backward(*parameters)
        phi = (samples @ (readout * known.gate)[:, :, None])[:, :, 0]  # (sets, n_samples)
        found = torch.from_numpy(phi @ transform)
        return tuple(_for_heads(layer, own) for layer, own in zip(layers, _parts(found, layers), strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        sources = (*gradients, *ctx.saved_tensors)
        found = differentiable_once(lambda: _gradients(ctx.layers, ctx.known, gradients), sources, LAYER_WAY_OUT)
        return None, *found


def _gradients(layers: Layers, known: _Known, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Towards the angles of all layers, then their readouts, then their gates."""
    by_set = _joined([_of_sets(layer, _array(own)) for layer, own in zip(layers, gradients, strict=True)])
    to_phi = by_set @ known.transform.T  # (sets, n_samples)
    to_outputs = to_phi[:, :, None] * (known.readout * known.gate)[:, None]
    to_weights = known.pull_back(torch.from_numpy(to_outputs.reshape(-1, to_outputs.shape[2])))
    to_weighted = (to_phi[:, None] @ known.samples)[:, 0]  # (sets, outputs)
    to_readout = torch.from_numpy(to_weighted * known.gate)
    to_gate = torch.from_numpy((to_weighted * known.readout).sum(1))
    angles = [layer.circuit_weights.of_angles(own) for layer, own in zip(layers, _parts(to_weights, layers), strict=True)]
    return [*angles, *_parts(to_readout, layers), *_parts(to_gate, layers)]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().resolve_neg().numpy()


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _parts(tensor: Tensor, layers: Layers) -> Sequence[Tensor]:
    """By layer, what has a row for each set of angles."""
    return torch.split(tensor, [layer.circuit_weights.n_sets for layer in layers]) if len(layers) > 1 else (tensor,)


def _for_heads(layer: "QuantumAttention", coefficients: Tensor) -> Tensor:
    """One set of angles serves all heads."""
    return coefficients if coefficients.shape[0] == layer.num_heads else coefficients.expand(layer.num_heads, -1)


def _of_sets(layer: "QuantumAttention", gradient: Array) -> Array:
    return gradient if len(gradient) == layer.circuit_weights.n_sets else gradient.sum(0, keepdims=True)


@lru_cache(maxsize=64)
def _constants(form: FourierForm, n_sets: int, dtype: torch.dtype) -> tuple[Tensor, Array]:
    """The inputs of all circuits, (sets * n_samples, 1), and the Fourier transform, (n_samples, 2 D + 1)."""
    identity = torch.eye(form.n_samples, dtype=dtype, device="cpu")
    with full_precision(identity.device):
        return form.points(identity).repeat(n_sets)[:, None], form.coefficients(identity).numpy()
