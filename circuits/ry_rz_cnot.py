"""The circuit of quantum attention: Hadamards, then layers of RY, RZ and CNOT."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pennylane as qml

from hybridq.circuits._ansatz import AbstractAnsatz
from hybridq.errors import InvalidArgument

__all__ = ["RyRzCnot"]

Pattern = Literal["chain", "ring", "brick"]
Encoding = Literal["every_layer", "first_layer", "none"]


@dataclass(frozen=True)
class RyRzCnot(AbstractAnsatz):
    """Hadamards, then layers of RY(theta + k s), RZ(phi) and CNOTs, for one input s.

    Args:
        n_qubits: The number of qubits n.
        n_layers: The number of layers, each with its own angles (SPEC A5).
        pattern: The CNOTs of a layer. "chain" has i -> i+1 for i = 0..n-2; "ring" adds n-1 -> 0;
            "brick" couples even pairs, then odd pairs (SPEC A4, A6, A7).
        encoding: Where s enters the RY angles: in "every_layer", only in the "first_layer", or in
            "none" (SPEC A3).
        frequencies: One factor k per qubit; an empty tuple means 1 for all. With integers, the
            output is a Fourier series in s.

    Raises:
        InvalidArgument: If a field has another value.

    Example:
        >>> RyRzCnot(n_qubits=2, n_layers=1).weight_shape
        (1, 2, 2)

    Differs from the paper: equation (5) as printed contains no score (`encoding="none"`), which
    makes the attention a no-op.

    Reference: arXiv 2511.01918, equation (5).
    """

    n_qubits: int = 4
    n_layers: int = 2
    pattern: Pattern = "chain"
    encoding: Encoding = "every_layer"
    frequencies: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for argument, value in (("n_qubits", self.n_qubits), ("n_layers", self.n_layers)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgument.of(argument, value, "give a positive integer")
        for argument, name, known in (
            ("pattern", self.pattern, get_args(Pattern)),
            ("encoding", self.encoding, get_args(Encoding)),
        ):
            if name not in known:
                raise InvalidArgument.of(
                    argument, name, f"choose one of {', '.join(map(repr, known))}"
                )
        if not isinstance(self.frequencies, Iterable):
            raise InvalidArgument.of(
                "frequencies", self.frequencies, "give a tuple of one factor for each qubit, or ()"
            )
        # A list cannot be hashed.
        object.__setattr__(self, "frequencies", tuple(self.frequencies))
        if self.frequencies and len(self.frequencies) != self.n_qubits:
            raise InvalidArgument.of(
                "frequencies",
                self.frequencies,
                f"give one factor for each of {self.n_qubits} qubits",
            )
        if not all(isinstance(k, int | float) and math.isfinite(k) for k in self.frequencies):
            raise InvalidArgument.of("frequencies", self.frequencies, "give finite numbers")

    @property
    def n_inputs(self) -> int:
        """One, the attention score."""
        return 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(n_layers, n_qubits, 2): theta and phi of each qubit in each layer."""
        return (self.n_layers, self.n_qubits, 2)

    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue the gates.

        Args:
            inputs: The score s, shape (..., 1), radians.
            weights: theta and phi, shape (..., n_layers, n_qubits, 2), radians.
        """
        for wire in range(self.n_qubits):
            qml.Hadamard(wire)
        for layer in range(self.n_layers):
            for wire in range(self.n_qubits):
                qml.RY(self._encode(inputs, weights[..., layer, wire, 0], layer, wire), wire)
                qml.RZ(weights[..., layer, wire, 1], wire)
            for control, target in self._couplings():
                qml.CNOT((control, target))

    def _encode(self, inputs: Any, theta: Any, layer: int, wire: int) -> Any:
        if self.encoding == "none" or (self.encoding == "first_layer" and layer > 0):
            return theta
        factor = self.frequencies[wire] if self.frequencies else 1
        return theta + factor * inputs[..., 0]

    def _couplings(self) -> Iterator[tuple[int, int]]:
        n = self.n_qubits
        if self.pattern == "brick":
            yield from ((i, i + 1) for start in (0, 1) for i in range(start, n - 1, 2))
            return
        yield from ((i, i + 1) for i in range(n - 1))
        if self.pattern == "ring" and n > 2:
            yield (n - 1, 0)
