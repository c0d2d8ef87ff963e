"""The score of quantum attention: s + gate * Phi(s), with Phi the output of a circuit at s."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hybridq.backends import AbstractBackend
from hybridq.circuits import Circuit, FourierForm
from hybridq.engine import MAX_QUBITS, evaluate
from hybridq.errors import InvalidArgument, NonAffineAngle, QuantumNoOpWarning
from hybridq.layers.circuit_module import CircuitRequest
from hybridq.layers.circuit_weights import CircuitWeights
from hybridq.layers.evaluation import coefficients_of
from hybridq.layers.fused.plain import scaled_scores
from hybridq.layers.fused.series import FourierSeries
from hybridq.layers.options import QuantumOptions
from hybridq.layers.scores._score import AbstractScore
from hybridq.seeding import generator

__all__ = ["Elementwise", "varies"]


class Elementwise(AbstractScore):
    """The scaled score s of a query and a key, with a circuit on top of it: s + gate * Phi(s).

    Phi is the readout of a circuit whose input is s. Because of its Fourier form a fixed number of
    circuits is enough: a circuit of 4 qubits and 2 layers runs 17 times for each set of angles and
    each step, whatever the batch and the length (SPEC section 2, F1).

    Args:
        num_heads: Number of heads.
        head_dim: Size of a head.
        options: The circuit and how it enters; by default `QuantumOptions.recommended()`.
        backend: Where the circuits run: a name, a name with options such as "aer:shots=4096", or a
            backend.

    Raises:
        InvalidArgument: If an argument does not fit.
        UnknownName: If there is no such backend.

    Warns:
        QuantumNoOpWarning: If Phi does not depend on the score, so that softmax cancels it
            (SPEC A24).

    Example:
        >>> score = Elementwise(num_heads=2, head_dim=4)
        >>> q, k = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 7, 4)
        >>> score.logits(q, k, scale=0.5).shape, score.n_circuits
        (torch.Size([1, 2, 5, 7]), 34)

    Reference: "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training",
        arXiv 2511.01918, equations (3) to (5).
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        options: QuantumOptions | None = None,
        backend: str | AbstractBackend = "statevector",
    ) -> None:
        super().__init__(num_heads, head_dim, backend)
        if not isinstance(options, QuantumOptions | None):
            raise InvalidArgument.of(
                "options", options, "give QuantumOptions(...), or None for the recommended ones"
            )
        self.options = options or QuantumOptions.recommended()
        n_sets = num_heads if self.options.sharing == "per_head" else 1
        trainable = self.options.trainable
        gates = torch.full((n_sets,), float(self.options.gate))
        self.gate = nn.Parameter(gates, requires_grad=trainable)
        self.frequency = nn.Parameter(torch.ones(())) if self.options.learn_frequency else None
        self.circuit_weights = CircuitWeights(self.options.circuit, n_sets, self.options.angle_std)
        self.circuit_weights.readout.requires_grad_(trainable)
        self._fundamental = FourierForm.fundamental(self.options.circuit)
        if not varies(self.options.circuit):
            warnings.warn(
                f"the output of {self.options.circuit} does not depend on the score, so softmax "
                "cancels it and this layer is plain attention. Choose encoding='every_layer' "
                "(QuantumOptions.recommended()).",
                QuantumNoOpWarning,
                stacklevel=2,
            )

    @property
    def n_circuits(self) -> int:
        """The number of circuits that one forward pass runs: samples times sets of angles.

        Raises:
            InvalidArgument: If the method is "per_score", which runs one circuit for every score.
        """
        if self.options.method == "per_score":
            reason = (
                "it runs a circuit for every score: batch * num_heads * length * keys; "
                "method='fourier' has a fixed number"
            )
            raise InvalidArgument.of("method", "per_score", reason)
        return FourierForm.of(self.options.circuit).n_samples * self.circuit_weights.n_sets

    def requests(self) -> Sequence[CircuitRequest] | None:
        """Return the samples of the Fourier form; None for the method "per_score"."""
        if self.options.method == "per_score":
            return None
        weights = self.circuit_weights.weights()
        readout = self.circuit_weights.readout.to(weights.dtype)
        return [CircuitRequest(self.options.circuit, weights, readout, self.gate.to(weights.dtype))]

    def coefficients(self) -> Tensor:
        """Return the Fourier coefficients of gate * Phi for each head.

        This runs `n_circuits` circuits. It runs none if results were given for this pass
        (`circuits_given`, `evaluate_together`), or if nothing has changed since the last pass in
        evaluation mode.

        Returns:
            Shape (num_heads, 2 D + 1), in the order of `FourierForm.coefficients`.
        """
        (coefficients,) = coefficients_of(self)
        if coefficients.shape[0] == self.num_heads:
            return coefficients
        return coefficients.expand(self.num_heads, -1)  # one set of angles serves all heads

    def series(self, scale: float) -> FourierSeries | None:
        """Return gate * Phi; None where it is no series in the score with a fixed frequency."""
        options = self.options
        is_learned = self.frequency is not None
        if options.method == "per_score" or options.argument == "tanh" or is_learned:
            return None
        factor = 1 / scale if options.argument == "raw" else 1.0
        return FourierSeries(self.coefficients(), self._fundamental * factor)

    def logits(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        """Return s + gate * Phi(argument of s), shape (batch, heads, length, keys)."""
        if self.options.method == "per_score":
            return self.per_pair(q, k, scale)
        scores = scaled_scores(q, k, scale)
        phi = FourierSeries(self.coefficients(), self._fundamental)
        return scores + phi(self._argument(scores, scale))

    def per_pair(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        """Return the same logits by one circuit for every score."""
        scores = scaled_scores(q, k, scale)
        angles = self._argument(scores, scale)
        weights = self.circuit_weights.weights()
        groups = angles.chunk(len(weights), 1)  # the heads of each set of angles
        readouts = self.circuit_weights.readout
        sets = zip(groups, weights, readouts, self.gate, strict=True)
        phis = []
        for group, angles_of_set, readout, gate in sets:
            inputs = group.reshape(-1, 1).to(angles_of_set.dtype)
            outputs = self.backend.evaluate(self.options.circuit, inputs, angles_of_set)
            phi = gate * (outputs * readout.to(outputs)).sum(-1)
            phis.append(phi.view(group.shape).to(scores.dtype))
        return scores + torch.cat(phis, 1)

    def _argument(self, scores: Tensor, scale: float) -> Tensor:
        """Return the circuit's input for each scaled score, in radians (SPEC A2)."""
        if self.options.argument == "raw":
            scores = scores / scale
        elif self.options.argument == "tanh":
            scores = math.pi * scores.tanh()
        return scores if self.frequency is None else scores * self.frequency


def varies(circuit: Circuit) -> bool:
    """Return whether the circuit's output depends on its input for some angles (SPEC A24).

    The state-vector engine tries this at random angles and points; no other backend runs anything.
    A circuit that the engine cannot run is taken to vary.

    Args:
        circuit: A circuit with one input.

    Returns:
        Whether its output varies.
    """
    if circuit.n_qubits > MAX_QUBITS:
        return True
    random = generator(0, "varies")
    with torch.device("cpu"), torch.no_grad():  # whatever the default device is
        points = torch.randn(8, 1, dtype=torch.float64, generator=random)
        weights = torch.randn(circuit.weight_shape, dtype=torch.float64, generator=random)
        try:
            outputs = evaluate(circuit, points, weights)
        except NonAffineAngle:
            return True
    return bool((outputs - outputs[0]).abs().max() > 1e-9)
