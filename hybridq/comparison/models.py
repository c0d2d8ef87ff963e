"""A trained model whose scores are given the results of their circuits, so that none is run."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit, FourierForm
from hybridq.errors import InvalidArgument
from hybridq.layers import (
    AbstractCircuitModule,
    CircuitRequest,
    circuit_modules,
    circuits_given,
)

__all__ = ["TrainedModel"]

_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and what it is tested on.

    Args:
        model: The model.
        modules: Its modules that run circuits, all of them the same circuit.
        ids: What the model is called with, shape (examples, ...).
        labels: The classes, shape (examples,).
    """

    model: nn.Module
    modules: tuple[AbstractCircuitModule, ...]
    ids: Tensor
    labels: Tensor

    @classmethod
    def of(cls, model: nn.Module, split: Any) -> "TrainedModel":
        """Find the modules of a model that run circuits.

        Args:
            model: The model.
            split: The test examples, with `ids` and `labels`.

        Raises:
            InvalidArgument: If there are none, they have several circuits, their circuits depend on
                the data, or amplitudes are read from them.
        """
        name = type(model).__name__
        modules = tuple(circuit_modules(model))
        for module in modules:
            if not module.requests():
                reason = (
                    f"{type(module).__name__} has no fixed set of circuits, for example one for "
                    "every score; compare a model with method='fourier'"
                )
                raise InvalidArgument.of("model", name, reason)
        trained = cls(model, modules, split.ids, split.labels)
        circuits = {request.circuit for request in trained._requests()}
        if len(circuits) > 1:
            reason = "its layers have different circuits; compare models with one circuit"
            raise InvalidArgument.of("model", name, reason)
        if not trained.circuit.readout.diagonal:
            reason = (
                "amplitudes cannot be measured; compare a model whose readout is one of "
                "probabilities"
            )
            raise InvalidArgument.of("readout", trained.circuit.readout, reason)
        return trained

    def _requests(self) -> list[CircuitRequest]:
        """Return the requests of all modules, in their order."""
        return [request for module in self.modules for request in module.requests() or ()]

    @property
    def circuit(self) -> Circuit:
        """The circuit of all modules."""
        return self._requests()[0].circuit

    @property
    def form(self) -> FourierForm:
        """Where the circuit is sampled."""
        return FourierForm.of(self.circuit)

    @property
    def set_names(self) -> tuple[str, ...]:
        """The name of each set of angles: a layer, or a head of one."""
        names = []
        for number, module in enumerate(self.modules, start=1):
            n_sets = sum(len(request.weights) for request in module.requests() or ())
            layer = f"layer {number}"
            names += [layer] if n_sets == 1 else [f"{layer}, head {i + 1}" for i in range(n_sets)]
        return tuple(names)

    @torch.no_grad()
    def points(self) -> tuple[Tensor, Tensor]:
        """Return the points of all circuits, set after set.

        Returns:
            Inputs, shape (points, 1), and weights, shape (points, *weight_shape); float64, radians.
        """
        requests = self._requests()
        weights = torch.cat([request.weights for request in requests]).to("cpu", torch.float64)
        inputs = self.form.inputs(weights)
        return inputs, weights.repeat_interleave(self.form.n_samples, 0)

    @torch.no_grad()
    def readout(self) -> Tensor:
        """Return what makes gate * Phi of the outputs of a circuit, for each set of angles.

        Returns:
            Shape (sets, outputs), float64.
        """
        rows = [request.gate[:, None] * request.readout for request in self._requests()]
        return torch.cat(rows).to("cpu", torch.float64)

    @torch.no_grad()
    def logits(self, outputs: Tensor) -> Tensor:
        """Run the model on its test examples, on given outputs of its circuits.

        Args:
            outputs: Shape (points, outputs).

        Returns:
            Shape (examples, classes), float64 on the CPU.
        """
        was_training = self.model.training
        device = next(self.model.parameters()).device
        self.model.eval()
        try:
            with circuits_given(self._results(outputs)):
                batches = torch.split(self.ids, _BATCH)
                logits = [self.model(ids.to(device)).to("cpu", torch.float64) for ids in batches]
        finally:
            self.model.train(was_training)
        return torch.cat(logits)

    def _results(self, outputs: Tensor) -> dict[AbstractCircuitModule, list[Tensor]]:
        """Return the Fourier coefficients of each module's requests, from outputs of circuits."""
        results: dict[AbstractCircuitModule, list[Tensor]] = {}
        first = 0
        for module in self.modules:
            results[module] = []
            for request in module.requests() or ():
                last = first + len(request.weights) * self.form.n_samples
                samples = outputs[first:last].to(request.weights)
                coefficients = self.form.combine(samples, request.readout, request.gate)
                results[module].append(coefficients)
                first = last
        return results
