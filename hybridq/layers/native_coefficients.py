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
        and all(type(x) in (Tensor, nn.Parameter) for x in parameters)
        and all(x.dtype == angles.dtype for x in (*parameters, layer.circuit_weights.frozen))
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
    """What the forward pass leaves for the backward pass, beside the parameters."""

    pull_back: native.PullBack  # from dL/d(outputs) to dL/d(weights)
    samples: Array  # (sets, n_samples, outputs)
    transform: Array  # (n_samples, 2 D + 1)


class _Coefficients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Layers, *parameters: Tensor) -> tuple[Tensor, ...]:
        n, circuit, backend = len(layers), layers[0].options.circuit, layers[0].backend
        in_order = [layer.circuit_weights.in_order(_array(own)) for layer, own in zip(layers, parameters[:n], strict=True)]
        n_sets, angles = sum(map(len, in_order)), torch.from_numpy(_joined(in_order))
        inputs, transform = _constants(FourierForm.of(circuit), n_sets, angles.dtype)
        kernels = backend.kernels(angles)
        assert kernels is not None, "the caller has looked"  # noqa: S101
        outputs, pull_back = native.vjp(kernels, circuit, inputs, angles)
        backend.n_circuits_run += n_sets * len(transform)
        samples = outputs.numpy().reshape(n_sets, len(transform), -1)
        ctx.layers, ctx.known = layers, _Known(pull_back, samples, transform)
        ctx.save_for_backward(*parameters)
        ctx.set_materialize_grads(False)
        readout, gate = _readout_and_gate(parameters)
        with _silent():
            phi = (samples @ (readout * gate)[:, :, None])[:, :, 0]  # (sets, n_samples)
            found = _parts(phi @ transform, layers)
        return tuple(_for_heads(layer, own) for layer, own in zip(layers, found, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        parameters = ctx.saved_tensors
        sources = [x for x in (*gradients, *parameters) if x is not None]
        found = differentiable_once(lambda: _gradients(ctx, parameters, gradients), sources, LAYER_WAY_OUT)
        return None, *found


def _gradients(ctx: Any, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Towards the angles of all layers, then their readouts, then their gates; None for a layer that was not used."""
    layers, known, (readout, gate) = ctx.layers, ctx.known, _readout_and_gate(parameters)
    with _silent():
        by_set = _joined([_of_sets(layer, own, known) for layer, own in zip(layers, gradients, strict=True)])
        to_phi = by_set @ known.transform.T  # (sets, n_samples)
        to_outputs = to_phi[:, :, None] * (readout * gate)[:, None]
        to_weighted = (to_phi[:, None] @ known.samples)[:, 0]  # (sets, outputs)
        to_readout, to_gate = to_weighted * gate, (to_weighted * readout).sum(1)
    to_weights = known.pull_back(torch.from_numpy(to_outputs.reshape(-1, to_outputs.shape[2]))).numpy()
    angles = [layer.circuit_weights.to_angles(own) for layer, own in zip(layers, _parts(to_weights, layers), strict=True)]
    found = [angles, _parts(to_readout, layers), _parts(to_gate, layers)]
    return [None if g is None else torch.from_numpy(own) for kind in found for g, own in zip(gradients, kind, strict=True)]


def _silent() -> np.errstate:
    """As in torch, what is not finite is no warning."""
    return np.errstate(all="ignore")


def _readout_and_gate(parameters: Sequence[Tensor]) -> tuple[Array, Array]:
    """Of all layers, shapes (sets, outputs) and (sets, 1)."""
    arrays, n = [_array(x) for x in parameters], len(parameters) // 3
    return _joined(arrays[n : 2 * n]), _joined(arrays[2 * n :])[:, None]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().resolve_neg().numpy()


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _parts(array: Array, layers: Layers) -> Sequence[Array]:
    """By layer, what has a row for each set of angles."""
    if len(layers) == 1:
        return (array,)
    return np.split(array, np.cumsum([layer.circuit_weights.n_sets for layer in layers])[:-1])


def _for_heads(layer: "QuantumAttention", coefficients: Array) -> Tensor:
    """One set of angles serves all heads."""
    found = torch.from_numpy(coefficients)
    return found if len(coefficients) == layer.num_heads else found.expand(layer.num_heads, -1)


def _of_sets(layer: "QuantumAttention", gradient: Tensor | None, known: _Known) -> Array:
    n_sets = layer.circuit_weights.n_sets
    if gradient is None:
        return np.zeros((n_sets, known.transform.shape[1]), known.transform.dtype)
    array = _array(gradient)
    return array if len(array) == n_sets else array.sum(0, keepdims=True)


@lru_cache(maxsize=64)
def _constants(form: FourierForm, n_sets: int, dtype: torch.dtype) -> tuple[Tensor, Array]:
    """The inputs of all circuits, (sets * n_samples, 1), and the Fourier transform, (n_samples, 2 D + 1)."""
    identity = torch.eye(form.n_samples, dtype=dtype, device="cpu")
    with full_precision(identity.device):
        return form.points(identity).repeat(n_sets)[:, None], form.coefficients(identity).numpy()
