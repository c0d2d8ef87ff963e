"""Circuits with free parameters, and their gradients by parameter shift.

A traced circuit is compiled once and run at many points. The shifted circuits of a whole batch are
one array of points, and one job.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hybridq.circuits import Circuit, Trace
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once

__all__ = [
    "Array",
    "ParametrisedCircuit",
    "PointRunner",
    "Structure",
    "evaluate_by_shifts",
    "parametrise",
    "wanted_rows",
]

Array = npt.NDArray[np.float64]
Structure = tuple[int, tuple[tuple[str, tuple[int, ...], float | None], ...]]
"""The number of qubits; then name, wires and constant angle of each gate."""

# exp(-i t P / 2): amplitudes go as cos(t/2) and sin(t/2).
_HALF_FREQUENCY = {"RX", "RY", "RZ"}
_DIAGONAL = {"RZ", "PhaseShift", "PauliZ", "S", "T", "CZ"}
_PERMUTATION = {"PauliX", "PauliY", "CNOT", "SWAP"}  # up to phases


@dataclass(frozen=True, eq=False)
class ParametrisedCircuit:
    """A traced circuit with K free parameters: the angles that depend on inputs or weights.

    They are t = A x + B w + c, for inputs x and weights w.

    Args:
        trace: The gates. A global phase is left out where probabilities are measured, since it does
            nothing there.
        diagonal: Whether probabilities are measured, not amplitudes.
        structure: The number of qubits, and the gates with constants as numbers and parameters as
            None; equal for circuits that need one compilation.
        a: A, shape (K, n_inputs).
        b: B, shape (K, n_weights).
        c: c, shape (K,), radians.
        names: The gate of each parameter.
        dead: The parameters that provably change no probability, as long as the gates carry no
            noise.
    """

    trace: Trace
    diagonal: bool
    structure: Structure
    a: Tensor
    b: Tensor
    c: Tensor
    names: tuple[str, ...]
    dead: frozenset[int]

    def angles(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """Compute t, shape (batch, K), in float64 on the CPU, differentiable."""
        x, w = inputs.to("cpu", torch.float64), weights.to("cpu", torch.float64)
        rows = len(x) if w.ndim > len(self.trace.weight_shape) else 1
        # (batch, K)
        return x @ self.a.T + w.reshape(rows, self.trace.n_weights) @ self.b.T + self.c

    def rules(self, rows: list[int]) -> tuple[list[int], Array, Array]:
        """Return the shift rules of parameters, f'(t) = sum_j factor_j f(t + shift_j).

        A probability has the frequencies 0 and 1 in every angle, and so has an amplitude in a
        phase. An amplitude has the frequency 1/2 in a rotation, for which one term is enough: d/dt
        cos(t/2) = cos((t + pi)/2) / 2, the same for sin.

        Args:
            rows: The parameters, whose rules follow one another.

        Returns:
            The parameter, the shift in radians and the factor of each term.
        """
        terms: list[tuple[int, float, float]] = []
        for row in rows:
            if not self.diagonal and self.names[row] in _HALF_FREQUENCY:
                terms.append((row, math.pi, 0.5))
            else:
                terms += [(row, math.pi / 2, 0.5), (row, -math.pi / 2, -0.5)]
        return (
            [t[0] for t in terms],
            np.array([t[1] for t in terms]),
            np.array([t[2] for t in terms]),
        )


@lru_cache(maxsize=256)
def parametrise(trace: Trace, diagonal: bool) -> ParametrisedCircuit:
    """Make the angles that depend on inputs or weights the parameters of a circuit.

    Args:
        trace: The traced circuit.
        diagonal: Whether probabilities are measured, not amplitudes.
    """
    gates = tuple(gate for gate in trace.gates if not (diagonal and gate.name == "GlobalPhase"))
    kept = Trace(trace.n_qubits, trace.n_inputs, trace.weight_shape, gates)
    live = [row for row, angle in enumerate(kept.angles) if angle.terms]
    a, b, c = (torch.from_numpy(part[live]) for part in kept.affine())
    names = tuple(gate.name for gate in gates if gate.angle is not None and gate.angle.terms)
    written = tuple(
        (g.name, g.wires, None if g.angle is None or g.angle.terms else g.angle.constant)
        for g in gates
    )
    dead = _dead(kept) if diagonal else frozenset()
    return ParametrisedCircuit(kept, diagonal, (trace.n_qubits, written), a, b, c, names, dead)


def _dead(trace: Trace) -> frozenset[int]:
    """Return the parameters of phases that change no probability.

    After them only phases and permutations of basis states follow on their wire.
    """
    free = sum(bool(angle.terms) for angle in trace.angles)
    # The wires on which another gate follows, looking back from the measurement.
    mixed: set[int] = set()
    dead = set()
    for gate in reversed(trace.gates):
        is_parameter = gate.angle is not None and bool(gate.angle.terms)
        free -= is_parameter
        if gate.name not in _DIAGONAL | _PERMUTATION or mixed.intersection(gate.wires):
            mixed.update(gate.wires)
        elif is_parameter:
            dead.add(free)
    return frozenset(dead)


PointRunner = Callable[[ParametrisedCircuit, Array], Array]
"""Runs a circuit at an array of parameters (points, K); returns the outputs (points, n_outputs)."""


def evaluate_by_shifts(
    circuit: Circuit,
    inputs: Tensor,
    weights: Tensor,
    run: PointRunner,
    noisy: bool,
) -> Tensor:
    """Evaluate a circuit, and its gradient if one is asked for, in one call of `run`.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Shape `weight_shape` or (batch, *weight_shape), radians.
        run: Runs the circuit at an array of parameters (points, K) and returns (points, n_outputs).
        noisy: Whether gates carry noise, so that no parameter can be known to be without effect.

    Returns:
        Shape (batch, n_outputs), the dtype and device of `inputs`; differentiable once.
    """
    parametrised, rows = wanted_rows(circuit, inputs, weights, noisy)
    angles = parametrised.angles(inputs, weights)
    outputs: Tensor = _ShiftRule.apply(angles, parametrised, rows, run)  # type: ignore[no-untyped-call]
    return outputs.to(inputs.device, inputs.dtype)


def wanted_rows(
    circuit: Circuit, inputs: Tensor, weights: Tensor, noisy: bool
) -> tuple[ParametrisedCircuit, list[int]]:
    """Return the parameters whose derivatives are asked for and are not known to be 0.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Shape `weight_shape` or (batch, *weight_shape), radians.
        noisy: Whether gates carry noise, so that no parameter can be known to be without effect.

    Returns:
        The parametrised circuit, and the numbers of these parameters.
    """
    parametrised = parametrise(circuit.trace(), circuit.readout.diagonal)
    wanted = torch.zeros(len(parametrised.names), dtype=torch.bool)
    if torch.is_grad_enabled():
        for tensor, factors in ((inputs, parametrised.a), (weights, parametrised.b)):
            if tensor.requires_grad:
                wanted |= factors.ne(0).any(1)
    skip = frozenset() if noisy else parametrised.dead
    return parametrised, [row for row in wanted.nonzero().flatten().tolist() if row not in skip]


class _ShiftRule(torch.autograd.Function):
    """Outputs and their Jacobian, measured together: a differentiated batch is one job, too."""

    @staticmethod
    def forward(
        ctx: Any,
        angles: Tensor,
        parametrised: ParametrisedCircuit,
        rows: list[int],
        run: PointRunner,
    ) -> Tensor:
        columns, shifts, factors = parametrised.rules(rows)
        batch, k = angles.shape
        centre = angles.detach().numpy()
        points = np.repeat(centre[:, None, :], 1 + len(columns), axis=1)  # (batch, 1 + terms, K)
        points[:, np.arange(1, 1 + len(columns)), columns] += shifts
        flat = torch.from_numpy(run(parametrised, points.reshape(batch * (1 + len(columns)), k)))
        outputs = flat.reshape(batch, 1 + len(columns), flat.shape[1])
        ctx.columns, ctx.k = torch.tensor(columns, dtype=torch.long), k
        terms = outputs[:, 1:] * torch.from_numpy(factors)[:, None]  # (batch, terms, n_outputs)
        ctx.save_for_backward(angles, terms)
        return outputs[:, 0].clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        angles, terms = ctx.saved_tensors

        def gradients() -> tuple[Tensor]:
            slopes = torch.einsum("bto,bo->bt", terms, grad_output)
            return (slopes.new_zeros(len(slopes), ctx.k).index_add(1, ctx.columns, slopes),)

        return (
            *differentiable_once(gradients, (grad_output, angles), ENGINE_WAY_OUT),
            *[None] * 3,  # for the arguments after the angles
        )
