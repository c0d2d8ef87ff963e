"""Random circuits and their NumPy reference.

Hypothesis draws the circuits gate by gate, so that it can shrink them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from hypothesis import strategies as st
from torch import Tensor

from hybridq.circuits import (
    AbstractAnsatz,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
)
from tests.reference.random_circuits import ONE_WIRE, ROTATIONS, TWO_WIRES
from tests.reference.statevector import Real, outputs_and_jacobian

READOUTS = {
    "expval_z": ExpvalZ(),
    "probabilities": Probabilities(),
    "first_probabilities": FirstProbabilities(),
    "real_amplitudes": RealAmplitudes(),
}
N_INPUTS = 2
N_WEIGHTS = 3
FACTORS = [0.0, 0.0, 1.0, -1.0, 2.0, -0.5]


class DrawnGate(NamedTuple):
    """A gate with its wires and its angle, an affine form of inputs and weights."""

    name: str
    wires: tuple[int, ...]
    factors: tuple[float, ...]  # of the inputs, then of the weights
    constant: float

    @property
    def rotates(self) -> bool:
        return self.name in ROTATIONS


@dataclass(frozen=True)
class Drawn(AbstractAnsatz):
    """Gates with affine angles, as drawn."""

    wires: int
    gates: tuple[DrawnGate, ...]

    @property
    def n_qubits(self) -> int:
        return self.wires

    @property
    def n_inputs(self) -> int:
        return N_INPUTS

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (N_WEIGHTS,)

    def apply(self, inputs: Any, weights: Any) -> None:
        for gate in self.gates:
            operation = getattr(qml, gate.name)
            if not gate.rotates:
                operation(wires=gate.wires)
                continue
            angle: Any = gate.constant
            for i, factor in enumerate(gate.factors):
                if factor:
                    symbol = inputs[..., i] if i < N_INPUTS else weights[..., i - N_INPUTS]
                    angle = angle + factor * symbol
            operation(angle, wires=gate.wires)

    def affine(self) -> tuple[Real, Real]:
        """The factors, shape (rotations, inputs and weights), and the constants of the angles."""
        rotations = [gate for gate in self.gates if gate.rotates]
        factors = np.array([gate.factors for gate in rotations])
        constants = np.array([gate.constant for gate in rotations])
        return factors.reshape(len(rotations), N_INPUTS + N_WEIGHTS), constants


@st.composite
def drawn_gates(draw: st.DrawFn, wires: int) -> DrawnGate:
    name = draw(st.sampled_from([*ONE_WIRE, *TWO_WIRES] if wires > 1 else ONE_WIRE))
    order = draw(st.permutations(range(wires)))
    places = tuple(order[: 2 if name in TWO_WIRES else 1])
    if name not in ROTATIONS:
        return DrawnGate(name, places, (), 0.0)
    factors = draw(st.tuples(*[st.sampled_from(FACTORS)] * (N_INPUTS + N_WEIGHTS)))
    constant = draw(st.sampled_from([0.0, 0.3, -1.7, np.pi / 2]))
    return DrawnGate(name, places, factors, constant)


@st.composite
def drawn_circuits(draw: st.DrawFn, max_wires: int = 6, max_gates: int = 14) -> Drawn:
    wires = draw(st.integers(1, max_wires))
    return Drawn(wires, tuple(draw(st.lists(drawn_gates(wires), max_size=max_gates))))


def points(
    batch: int, own_weights: bool, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Generic inputs and weights."""
    rng = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, N_INPUTS, generator=rng, dtype=torch.float64).to(dtype)
    shape = (batch, N_WEIGHTS) if own_weights else (N_WEIGHTS,)
    w = torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
    return x.requires_grad_(), w.requires_grad_()


def mix(outputs: Tensor) -> Tensor:
    """A generic cotangent."""
    return torch.linspace(-1.0, 1.3, outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)


def outputs_and_gradients(
    circuit: Circuit, evaluate: Any, x: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs, and both gradients of the mixed outputs, in float64."""
    outputs = evaluate(circuit, x, w)
    loss = (outputs * mix(outputs)).sum()
    # PennyLane's outputs may depend on neither of the two.
    loss = loss + 0 * x.sum() + 0 * w.sum()
    to_x, to_w = torch.autograd.grad(loss, (x, w))
    return outputs.detach().double(), to_x.double(), to_w.double()


def reference(ansatz: Drawn, kind: str, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same by NumPy."""
    factors, constants = ansatz.affine()
    variables = torch.cat((x, w.expand(len(x), N_WEIGHTS)), 1).detach().double().numpy()
    gates = [(gate.name, gate.wires) for gate in ansatz.gates]
    parts = [
        outputs_and_jacobian(gates, factors @ row + constants, ansatz.wires, kind)
        for row in variables
    ]
    n_outputs = READOUTS[kind].n_outputs(ansatz.wires)
    outputs = torch.from_numpy(np.array([y for y, _ in parts]).reshape(len(x), n_outputs))
    slopes = np.array([slopes_of_angles @ factors for _, slopes_of_angles in parts])
    jacobian = slopes.reshape(len(x), n_outputs, N_INPUTS + N_WEIGHTS)
    gradient = torch.einsum("bo,bov->bv", mix(outputs), torch.from_numpy(jacobian))
    to_x = gradient[:, :N_INPUTS]
    to_w = gradient[:, N_INPUTS:]
    return outputs, to_x, to_w if w.ndim == 2 else to_w.sum(0)
