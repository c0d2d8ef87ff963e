"""The Fourier coefficients of layers by the compiled kernels: a call forward, a call backward, one node of autograd's graph.

The kernels run the 17 circuits of a head in microseconds, and with them the products by readout,
gate and Fourier transform: of some dozens of numbers each, these would take ten times as long as
nodes of the graph.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit
from hybridq.engine import MAX_QUBITS, full_precision
from hybridq.engine.compiled import circuit_kernel
from hybridq.engine.once import differentiable_once, save_tensors, saved_tensors
from hybridq.engine.packing import READOUTS
from hybridq.layers.circuit_weights import live_weights
from hybridq.layers.fourier import LAYER_WAY_OUT, FourierForm
from hybridq.native import Kernels
from hybridq.native.circuits import (
    CircuitKernel,
    SeriesArguments,
    call_backward,
    call_forward,
)

if TYPE_CHECKING:
    from hybridq.layers.attention import QuantumAttention

__all__ = ["has_native_coefficients", "native_coefficients"]

Layers = Sequence["QuantumAttention"]
Parameters = tuple[Tensor, Tensor, Tensor]  # `QuantumAttention.circuit_parameters`

_ORDINARY = {Tensor, nn.Parameter}


def has_native_coefficients(layer: "QuantumAttention", parameters: Parameters) -> bool:
    """Whether `native_coefficients` takes a layer: its backend runs kernels, and its parameters are ordinary and learn.

    Angles that change nothing (`CircuitWeights.frozen`) are not looked at.
    """
    angles, readout, gate = parameters
    return (
        layer.backend.kernels(angles) is not None
        and (angles.shape, readout.shape, gate.shape)
        == _shapes(layer.options.circuit, layer.circuit_weights.n_sets)
        and angles.requires_grad
        and {type(angles), type(readout), type(gate)} <= _ORDINARY
        and angles.dtype == readout.dtype == gate.dtype
        and angles.device == readout.device == gate.device
        and not (angles.is_neg() or readout.is_neg() or gate.is_neg())
    )


@lru_cache(maxsize=64)
def _shapes(circuit: Circuit, n_sets: int) -> tuple[tuple[int, ...], ...] | None:
    """Of angles, readouts and gates; None for a circuit that the kernels do not run."""
    if circuit.n_qubits > MAX_QUBITS or type(circuit.readout) not in READOUTS:
        return None
    return (n_sets, len(live_weights(circuit))), (n_sets, circuit.n_outputs), (n_sets,)


def native_coefficients(layers: Layers, parameters: Sequence[Parameters]) -> Sequence[Tensor]:
    """The Fourier coefficients of gate * Phi, of layers with the same circuit on the same backend.

    Args:
        layers: The layers, each of which `has_native_coefficients`.
        parameters: Of each layer.

    Returns:
        For each layer shape (num_heads, 2 D + 1). Differentiable once, towards angles, readouts and
        gates.

    Raises:
        InvalidArgument: If an angle is NaN or infinite.
    """
    found: Sequence[Tensor] = _Coefficients.apply(layers, *(x for own in parameters for x in own))  # type: ignore[no-untyped-call]
    return found


class _Circuits(NamedTuple):
    """The circuits of all sets of angles.

    Args:
        settings: What the kernels need for them.
        inputs: Shape (sets * samples, 1).
        transform: From the samples of a set to its coefficients, shape (samples, 2 D + 1).
    """

    settings: CircuitKernel
    inputs: Tensor
    transform: Tensor


@lru_cache(maxsize=64)
def _circuits(kernels: Kernels, circuit: Circuit, n_sets: int, dtype: torch.dtype) -> _Circuits:
    form, live = FourierForm.of(circuit), tuple(live_weights(circuit))
    identity = torch.eye(form.n_samples, dtype=dtype, device="cpu")
    with full_precision(identity.device):
        inputs, transform = (
            form.points(identity).repeat(n_sets)[:, None],
            form.coefficients(identity),
        )
    return _Circuits(circuit_kernel(kernels, dtype, circuit, n_sets > 1, live), inputs, transform)


class _Coefficients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Layers, *parameters: Tensor) -> tuple[Tensor, ...]:
        angles, readout, gate = _joined(parameters)
        backend, circuit = layers[0].backend, layers[0].options.circuit
        kernels = backend.kernels(angles)
        assert kernels is not None, "the caller has looked"  # noqa: S101
        settings, inputs, transform = circuits = _circuits(
            kernels, circuit, len(angles), angles.dtype
        )
        coefficients = angles.new_zeros((len(angles), len(transform)))
        outputs = call_forward(
            settings, inputs, angles, SeriesArguments(readout, gate, transform, coefficients)
        )
        backend.n_circuits_run += len(inputs)
        ctx.layers, ctx.circuits, ctx.outputs = layers, circuits, outputs
        save_tensors(ctx, *parameters)
        ctx.set_materialize_grads(False)
        return tuple(
            _for_heads(layer, own)
            for layer, own in zip(layers, _parts(coefficients, layers), strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        parameters = saved_tensors(ctx)
        sources = [x for x in (*gradients, *parameters) if x is not None]
        found = differentiable_once(
            lambda: _gradients(ctx, parameters, gradients), sources, LAYER_WAY_OUT
        )
        return None, *found


def _gradients(
    ctx: Any, parameters: tuple[Tensor, ...], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Towards the parameters; None for those of a layer that was not used."""
    layers, (settings, inputs, transform), outputs = ctx.layers, ctx.circuits, ctx.outputs
    angles, readout, gate = _joined(parameters)
    by_set = [_of_sets(layer, own, transform) for layer, own in zip(layers, gradients, strict=True)]
    to_coefficients = torch.cat(by_set) if len(by_set) > 1 else by_set[0].contiguous()
    to_readout, to_gate = torch.zeros_like(readout), torch.zeros_like(gate)
    series = SeriesArguments(readout, gate, transform, to_coefficients, to_readout, to_gate)
    _, to_angles = call_backward(
        settings, inputs, angles, torch.empty_like(outputs), outputs, series
    )
    of_layers = zip(
        gradients, *(_parts(x, layers) for x in (to_angles, to_readout, to_gate)), strict=True
    )
    return [None if gradient is None else x for gradient, *found in of_layers for x in found]


def _joined(parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """The angles, readouts and gates of all layers, contiguous."""
    if len(parameters) == 3:
        return [x.contiguous() for x in parameters]
    return [torch.cat(parameters[i::3]) for i in range(3)]


def _parts(joined: Tensor, layers: Layers) -> list[Tensor]:
    """By layer, what has a row for each set of angles; no views, so that each can be changed in place."""
    if len(layers) == 1:
        return [joined]
    return [
        own.clone()
        for own in torch.split(joined, [layer.circuit_weights.n_sets for layer in layers])
    ]


def _for_heads(layer: "QuantumAttention", coefficients: Tensor) -> Tensor:
    """One set of angles serves all heads."""
    return (
        coefficients
        if len(coefficients) == layer.num_heads
        else coefficients.expand(layer.num_heads, -1)
    )


def _of_sets(layer: "QuantumAttention", gradient: Tensor | None, transform: Tensor) -> Tensor:
    n_sets = layer.circuit_weights.n_sets
    if gradient is None:
        return transform.new_zeros((n_sets, len(transform)))
    return gradient.resolve_neg() if len(gradient) == n_sets else gradient.sum(0, keepdim=True)
