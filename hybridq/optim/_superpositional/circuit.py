"""The sine as the measurement of a circuit, instead of a formula."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, pi
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import AbstractAnsatz, Circuit
from hybridq.errors import InvalidArgument
from hybridq.optim._checks import check_flag, check_positive_integer
from hybridq.optim._perturbations import AbstractPerturbation, Place

__all__ = ["CircuitPerturbation", "SineAnsatz"]


@dataclass(frozen=True)
class SineAnsatz(AbstractAnsatz):
    """H and RY(x_i) on each wire, with a chain of CNOTs behind them if `entangled`.

        <Z_i> = -sin(x_i)                          without the chain
        <Z_i> = product of -sin(x_j), j = 0..i     with it

    Args:
        wires: The number of wires n, at least 1.
        entangled: Whether CNOTs i -> i+1 follow, for i = 0..n-2.

    Raises:
        InvalidArgument: If `wires` is no positive integer.
        InvalidArgument: If `entangled` is neither True nor False.

    Example:
        >>> print(Circuit(SineAnsatz(wires=2, entangled=True)).draw())
        0: ──H──RY(x0)─╭●─┤  <Z>
        1: ──H──RY(x1)─╰X─┤  <Z>
    """

    wires: int = 4
    entangled: bool = False

    def __post_init__(self) -> None:
        check_positive_integer("wires", self.wires)
        check_flag("entangled", self.entangled)

    @property
    def n_qubits(self) -> int:
        """The number of wires."""
        return self.wires

    @property
    def n_inputs(self) -> int:
        """The number of inputs, one for each wire."""
        return self.wires

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weights, of which there are none."""
        return (0,)

    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue the gates.

        Args:
            inputs: The angles x, shape (..., wires), in radians.
            weights: Shape (0,); they are not used.
        """
        del weights
        for wire in range(self.wires):
            qml.Hadamard(wire)
            qml.RY(inputs[..., wire], wire)
        for wire in range(self.wires - 1 if self.entangled else 0):
            qml.CNOT((wire, wire + 1))


@dataclass(frozen=True)
class CircuitPerturbation(AbstractPerturbation):
    """The factor f_i = -<Z_i> of a circuit with the inputs pi * theta_i (SPEC S14).

    It runs on any backend, with or without shots. With `SineAnsatz()` it is the sine of `Sine()`.
    With `SineAnsatz(entangled=True)`, which has CNOTs as the paper's circuit has, it is
    (-1)^i sin(pi theta_0) ... sin(pi theta_i) for the entries i of a circuit.

    Each step runs ceil(entries / n) circuits of n wires for every tensor with entries to perturb.
    Each circuit takes n entries. Wires that are left over get theta = 0. Up to 32,768 entries go to
    the backend in one call. `n_circuits_run` counts the circuits.

    A checkpoint holds the name only: build the optimizer with the same perturbation again before
    loading.

    Args:
        circuit: A circuit with one input for each output and no weights.
        backend: A backend, or its name.
        seed: It has no meaning here, because a backend with shots has a seed of its own.

    Raises:
        InvalidArgument: If `circuit` is no circuit of this kind.
        UnknownName: If no backend has this name.

    Example:
        >>> perturbation = CircuitPerturbation(Circuit(SineAnsatz(wires=2)))
        >>> perturbation.factors([torch.tensor([0.5, -0.5, 1 / 6])], 1, [Place(0, 0)])
        tensor([ 1.0000, -1.0000,  0.5000])
        >>> perturbation.n_circuits_run
        2

    Reference: arXiv 2511.01918, equations (2) and (5). A. E. Pamuk, E. K. Özdemir and Ş. T.
    Kocabay, "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training",
    2025.
    """

    name = "circuit"
    circuit: Circuit = field(default_factory=lambda: Circuit(SineAnsatz()))
    backend: str | AbstractBackend = "statevector"
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.circuit, Circuit):
            raise InvalidArgument.of(
                "circuit", self.circuit, "give a Circuit, such as Circuit(SineAnsatz())"
            )
        if self.circuit.n_inputs != self.circuit.n_outputs or 0 not in self.circuit.weight_shape:
            reason = (
                "it must have one input per output and no weights, as Circuit(SineAnsatz()) has"
            )
            raise InvalidArgument.of("circuit", self.circuit, reason)
        # The backend is made once, because it counts its circuits.
        object.__setattr__(self, "backend", resolve(self.backend))

    @property
    def n_circuits_run(self) -> int:
        """The number of circuits that the backend has run, for whatever purpose."""
        return resolve(self.backend).n_circuits_run

    def factors(self, thetas: Sequence[Tensor], step: int, places: Sequence[Place]) -> Tensor:
        """Run the circuits of all tensors as one batch.

        Args:
            thetas: The chosen entries of each tensor, shape (entries,), in half turns.
            step: It is not used.
            places: The place of each tensor.

        Returns:
            The factors, shape (all entries,).

        Raises:
            InvalidArgument: If a tensor is sharded.
        """
        del step
        if any(place.part is not None for place in places):
            reason = (
                "a circuit needs all its entries on one rank; use Sine() where tensors are sharded"
            )
            raise InvalidArgument.of("perturbation", self, reason)
        rows = torch.cat([self._rows(theta.detach()) for theta in thetas])  # (circuits, wires)
        weights = rows.new_zeros(self.circuit.weight_shape)
        outputs = resolve(self.backend).evaluate(self.circuit, pi * rows, weights)
        return torch.cat(list(self._entries(-outputs.detach(), thetas)))

    def _rows(self, theta: Tensor) -> Tensor:
        """Return the entries of a tensor, one row for each of its circuits, (circuits, wires)."""
        wires = self.circuit.n_inputs
        rows = theta.new_zeros(ceil(len(theta) / wires) * wires)
        rows[: len(theta)] = theta
        return rows.reshape(-1, wires)

    def _entries(self, outputs: Tensor, thetas: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the outputs of each tensor, without those of wires that were left over."""
        first = 0
        for theta in thetas:
            last = first + ceil(len(theta) / self.circuit.n_inputs)
            yield outputs[first:last].reshape(-1)[: len(theta)]
            first = last
