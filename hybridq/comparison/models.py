"""A trained model whose attention is given the samples of its circuits, so that none is run."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument
from hybridq.layers import FourierForm, QuantumAttention
from hybridq.layers.evaluation import SampleCache

__all__ = ["TrainedModel"]

_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and what it is tested on.

    Args:
        model: The model.
        layers: Its quantum attention layers, all with one circuit.
        ids: What the model is called with, shape (examples, ...).
        labels: The classes, shape (examples,).
    """

    model: nn.Module
    layers: tuple[QuantumAttention, ...]
    ids: Tensor
    labels: Tensor

    @classmethod
    def of(cls, model: nn.Module, split: Any) -> "TrainedModel":
        """Find the layers.

        Raises:
            InvalidArgument: If there are none, they have several circuits, or one runs a circuit
                for every score.
        """
        layers = tuple(module for module in model.modules() if isinstance(module, QuantumAttention))
        if not layers:
            raise InvalidArgument.of(
                "model", type(model).__name__, "it has no QuantumAttention layer"
            )
        circuits = {layer.options.circuit for layer in layers}
        if len(circuits) > 1:
            way_out = (
                "its layers have different circuits; compare models whose layers share one circuit"
            )
            raise InvalidArgument.of("model", type(model).__name__, way_out)
        if any(layer.options.method == "per_score" for layer in layers):
            way_out = (
                "a circuit for every score is no fixed set of circuits; compare a model with "
                "method='fourier'"
            )
            raise InvalidArgument.of("method", "per_score", way_out)
        if not layers[0].options.circuit.readout.diagonal:
            way_out = (
                "amplitudes cannot be measured; compare a model whose readout is one of "
                "probabilities"
            )
            raise InvalidArgument.of("readout", layers[0].options.circuit.readout, way_out)
        return cls(model, layers, split.ids, split.labels)

    @property
    def circuit(self) -> Circuit:
        """The circuit of all layers."""
        return self.layers[0].options.circuit

    @property
    def form(self) -> FourierForm:
        """Where the circuit is sampled."""
        return FourierForm.of(self.circuit)

    @property
    def set_names(self) -> tuple[str, ...]:
        """The name of each set of angles: a layer, or a head of one."""
        names = []
        for number, layer in enumerate(self.layers, start=1):
            sets = layer.circuit_weights.n_sets
            names += [
                f"layer {number}" if sets == 1 else f"layer {number}, head {head}"
                for head in range(1, sets + 1)
            ]
        return tuple(names)

    @torch.no_grad()
    def points(self) -> tuple[Tensor, Tensor]:
        """Return the inputs and the weights of all circuits, set after set.

        Both are float64 and in radians: inputs (points, 1), weights (points, *weight_shape).
        """
        weights = torch.cat([layer.circuit_weights.weights() for layer in self.layers]).to(
            "cpu", torch.float64
        )
        samples = self.form.points(weights)
        inputs = samples.repeat(len(weights))[:, None]
        return inputs, weights.repeat_interleave(len(samples), 0)

    @torch.no_grad()
    def readout(self) -> Tensor:
        """Return the weights that make gate * Phi of a circuit's outputs.

        The shape is (sets, outputs), float64.
        """
        rows = [layer.gate[:, None] * layer.circuit_weights.readout for layer in self.layers]
        return torch.cat(rows).to("cpu", torch.float64)

    @torch.no_grad()
    def logits(self, outputs: Tensor) -> Tensor:
        """Run the model on its test examples, on given outputs of its circuits.

        Args:
            outputs: Shape (points, outputs).

        Returns:
            Shape (examples, classes), float64 on the CPU.
        """
        was_training, caches = self.model.training, [layer.cache for layer in self.layers]
        samples = outputs.view(
            -1, self.form.n_samples, outputs.shape[-1]
        )  # (sets, samples, outputs)
        parts = torch.split(samples, [layer.circuit_weights.n_sets for layer in self.layers])
        self.model.eval()
        try:
            for layer, part in zip(self.layers, parts, strict=True):
                weights = layer.circuit_weights.weights()
                layer.cache = SampleCache(layer.backend, weights, part.to(weights))
            device = next(self.model.parameters()).device
            logits = [
                self.model(ids.to(device)).to("cpu", torch.float64)
                for ids in torch.split(self.ids, _BATCH)
            ]
        finally:
            self.model.train(was_training)
            for layer, cache in zip(self.layers, caches, strict=True):
                layer.cache = cache
        return torch.cat(logits)
