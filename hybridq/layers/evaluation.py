"""The circuits of many layers, run together: one evaluation, and so one job on hardware, for each forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hybridq._torch import not_compiled
from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import Circuit
from hybridq.engine import MAX_QUBITS, evaluate, full_precision
from hybridq.engine.once import is_transformed
from hybridq.errors import InvalidArgument, NonAffineAngle
from hybridq.layers.fourier import FourierForm
from hybridq.layers.native_coefficients import (
    Parameters,
    has_native_coefficients,
    native_coefficients,
)
from hybridq.seeding import generator

if TYPE_CHECKING:
    from hybridq.layers.attention import QuantumAttention

__all__ = ["SampleCache", "evaluate_circuits", "evaluate_together", "to_backend", "varies"]


@dataclass(frozen=True)
class SampleCache:
    """What a layer's circuits last gave, and for which angles on which backend."""

    backend: AbstractBackend
    weights: Tensor
    samples: Tensor

    def holds_for(self, backend: AbstractBackend, weights: Tensor) -> bool:
        """Whether nothing has changed since."""
        same = (self.weights.dtype, self.weights.device) == (weights.dtype, weights.device)
        return self.backend is backend and same and torch.equal(self.weights, weights)


def evaluate_circuits(layers: "Sequence[QuantumAttention]") -> list[Tensor]:
    """Run the circuits of several layers, those with the same circuit and backend in one evaluation.

    In evaluation mode under `torch.no_grad()` or inference mode, a layer whose angles have not
    changed keeps its samples: evaluating a whole data set runs the circuits once, and on hardware
    every batch sees the same shots. Where torch.compile traces the backend, which is exact then,
    they run for each batch instead.

    Args:
        layers: The layers; their method is "fourier".

    Returns:
        For each layer the Fourier coefficients of gate * Phi, shape (num_heads, 2 D + 1).
    """
    if torch.compiler.is_compiling() and not all(layer.backend.traceable for layer in layers):
        found: list[Tensor] = _uncompiled(layers)
        return found
    return _evaluate(layers)


def _evaluate(layers: "Sequence[QuantumAttention]") -> list[Tensor]:
    if torch.is_grad_enabled() and not (torch.compiler.is_compiling() or is_transformed()):
        parameters = [layer.circuit_parameters for layer in layers]
        if all(map(has_native_coefficients, layers, parameters)):
            return _by_kernels(layers, parameters)
    weights = [layer.circuit_weights.weights() for layer in layers]
    samples: list[Tensor | None] = [
        _cached(layer, own) for layer, own in zip(layers, weights, strict=True)
    ]
    for group in _groups([i for i, known in enumerate(samples) if known is None], layers):
        first = layers[group[0]]
        joined = torch.cat([weights[i] for i in group]) if len(group) > 1 else weights[group[0]]
        found = _sample(first.options.circuit, first.backend, joined)
        parts = torch.split(found, [len(weights[i]) for i in group]) if len(group) > 1 else (found,)
        for i, own in zip(group, parts, strict=True):
            samples[i] = own
            if not (torch.is_grad_enabled() or layers[i].training or torch.compiler.is_compiling()):
                layers[i].cache = SampleCache(layers[i].backend, weights[i], own)
    return [
        _coefficients(layer, own)
        for layer, own in zip(layers, samples, strict=True)
        if own is not None
    ]


def _by_kernels(
    layers: "Sequence[QuantumAttention]", parameters: Sequence[Parameters]
) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    for group in _groups(range(len(layers)), layers):
        of_group = native_coefficients([layers[i] for i in group], [parameters[i] for i in group])
        found.update(zip(group, of_group, strict=True))
    return [found[i] for i in range(len(layers))]


@not_compiled
def _uncompiled(layers: "Sequence[QuantumAttention]") -> list[Tensor]:
    return _evaluate(layers)


@dataclass(frozen=True)
class _Handles:
    handles: list[RemovableHandle]

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


def evaluate_together(model: nn.Module) -> _Handles:
    """From now on, run the circuits of all quantum attention layers in a model in one evaluation per forward pass.

    Without it each layer runs its own circuits, with the same result. Calling it again, or on a
    part of the model, too, runs no circuit twice. Activation checkpointing without reentry refuses
    to work with it (`CheckpointError`), since a layer that is computed again in the backward pass
    runs its own circuits.

    Args:
        model: A model with any number of `QuantumAttention` layers.

    Returns:
        A handle whose `remove()` undoes it.

    Raises:
        InvalidArgument: If the model has no such layer.
    """
    _layers(model)
    return _Handles(
        [
            model.register_forward_pre_hook(_give),
            model.register_forward_hook(_forget, always_call=True),
        ]
    )


def _give(model: nn.Module, *_: Any) -> None:
    """Run the circuits of the layers that have no coefficients yet, for as long as this forward pass lasts."""
    layers = [
        layer
        for layer in _layers(model)
        if layer.options.method == "fourier" and layer.given_coefficients is None
    ]
    for layer, coefficients in zip(layers, evaluate_circuits(layers), strict=True):
        layer.given_coefficients, layer.given_by = coefficients, id(model)


def _forget(model: nn.Module, *_: Any) -> None:
    for layer in _layers(model):
        if layer.given_by == id(model):  # not what a model around this one has given
            layer.given_coefficients = layer.given_by = None


def to_backend(model: nn.Module, backend: str | AbstractBackend) -> nn.Module:
    """Run the circuits of all quantum attention layers of a model on one backend; the weights stay.

    Args:
        model: A model with any number of `QuantumAttention` layers.
        backend: A name, a name with options, or a backend.

    Returns:
        The model.

    Raises:
        InvalidArgument: If the model has no such layer.
        UnknownName: If there is no such backend.
    """
    resolved = resolve(backend)
    for layer in _layers(model):
        layer.to_backend(resolved)
    return model


def varies(circuit: Circuit) -> bool:
    """Whether the circuit's output depends on its input for some angles: otherwise softmax cancels it (SPEC A24).

    Tried on the state-vector engine at random angles and points; it costs nothing elsewhere. A
    circuit that the engine cannot run is taken to vary.
    """
    if circuit.n_qubits > MAX_QUBITS:
        return True
    random, cpu = generator(0, "varies"), torch.device("cpu")
    with cpu, torch.no_grad():  # whatever the default device is
        points = torch.randn(8, 1, dtype=torch.float64, generator=random)
        weights = torch.randn(circuit.weight_shape, dtype=torch.float64, generator=random)
        try:
            outputs = evaluate(circuit, points, weights)
        except NonAffineAngle:
            return True
    return bool((outputs - outputs[0]).abs().max() > 1e-9)


def _layers(model: nn.Module) -> "list[QuantumAttention]":
    from hybridq.layers.attention import QuantumAttention  # noqa: PLC0415 - which imports this file

    layers = [module for module in model.modules() if isinstance(module, QuantumAttention)]
    if not layers:
        raise InvalidArgument.of("model", type(model).__name__, "it has no QuantumAttention layer")
    return layers


def _cached(layer: "QuantumAttention", weights: Tensor) -> Tensor | None:
    # A compiled graph cannot ask whether two tensors are equal; there the circuits run again.
    if (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or layer.training
        or layer.cache is None
    ):
        return None
    return layer.cache.samples if layer.cache.holds_for(layer.backend, weights) else None


def _groups(indices: Sequence[int], layers: "Sequence[QuantumAttention]") -> list[list[int]]:
    """Group the layers that one evaluation can serve: backends that are equal, option by option, are one."""
    if len(indices) == 1:
        return [[*indices]]
    groups: list[tuple[tuple[Circuit, AbstractBackend, torch.dtype, torch.device], list[int]]] = []
    for i in indices:
        angles = layers[i].circuit_weights.angles
        key = (layers[i].options.circuit, layers[i].backend, angles.dtype, angles.device)
        group = next((members for known, members in groups if known == key), None)
        if group is None:
            groups.append((key, [i]))
        else:
            group.append(i)
    return [members for _, members in groups]


def _sample(circuit: Circuit, backend: AbstractBackend, weights: Tensor) -> Tensor:
    """The outputs at the sample points: weights (sets, *weight_shape) give (sets, n_samples, outputs)."""
    points = FourierForm.of(circuit).points(weights)
    n_sets, n_samples = len(weights), len(points)
    inputs = points.expand(n_sets, -1).reshape(-1, 1)
    with full_precision(weights.device):
        return backend.evaluate(circuit, inputs, weights).view(n_sets, n_samples, circuit.n_outputs)


def _coefficients(layer: "QuantumAttention", samples: Tensor) -> Tensor:
    readout = layer.circuit_weights.readout.to(samples)  # (sets, outputs)
    with full_precision(samples.device):
        weighted = (readout * layer.gate.to(samples).unsqueeze(1)).unsqueeze(2)
        phi = torch.bmm(samples, weighted).squeeze(2)  # (sets, samples)
        coefficients = FourierForm.of(layer.options.circuit).coefficients(phi)
    return (
        coefficients
        if len(coefficients) == layer.num_heads
        else coefficients.expand(layer.num_heads, -1)
    )
