"""SPSA: two circuits more for a point, and the gradient on average."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridq.backends._core.shift import Array, ParametrisedCircuit
from hybridq.backends._core.spsa import evaluate_by_perturbations, spsa_step
from hybridq.backends.statevector import Statevector
from hybridq.circuits import Circuit, RyRzCnot

CIRCUIT = Circuit(RyRzCnot(n_qubits=2, n_layers=2))


class Exact:
    """Runs circuits without shots, by the engine, and counts them."""

    points = 0

    def __call__(self, parametrised: ParametrisedCircuit, points: Array) -> Array:
        from hybridq.backends import TapeAnsatz  # noqa: PLC0415

        self.points += len(points)
        gates = tuple((gate.name, gate.wires) for gate in parametrised.trace.gates)
        circuit = Circuit(TapeAnsatz(parametrised.trace.n_qubits, gates))
        with torch.no_grad():
            outputs: Array = (
                Statevector()
                .evaluate(circuit, torch.from_numpy(points), torch.empty(0).double())
                .numpy()
            )
        return outputs


def estimate(weights: Tensor, seed: int, shots: int = 10**9) -> tuple[Tensor, Tensor]:
    weights = weights.clone().requires_grad_()
    inputs = torch.tensor([[0.4]], dtype=torch.float64)
    outputs = evaluate_by_perturbations(CIRCUIT, inputs, weights, Exact(), seed, shots)
    return outputs.detach(), torch.autograd.grad(outputs[0, 0], weights)[0]


def test_the_mean_of_estimates_is_the_gradient() -> None:
    weights = torch.linspace(0.1, 1.3, 8, dtype=torch.float64).reshape(CIRCUIT.weight_shape)
    exact = weights.clone().requires_grad_()
    outputs = Statevector().evaluate(CIRCUIT, torch.tensor([[0.4]], dtype=torch.float64), exact)
    (gradient,) = torch.autograd.grad(outputs[0, 0], exact)
    found = [estimate(weights, seed) for seed in range(400)]
    torch.testing.assert_close(found[0][0], outputs.detach(), atol=1e-12, rtol=0)
    estimates = torch.stack([g for _, g in found])
    step = spsa_step(8, 10**9)
    bias = step**2 / 6 * 8**3
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert bool(((estimates.mean(0) - gradient).abs() < 5 * error + bias).all())
    assert gradient.abs().max() > 0.3
    assert estimates.std(0).max() > 0.05, "one estimate is not the gradient"


def test_two_circuits_for_a_point_whatever_the_number_of_angles() -> None:
    for layers in (1, 3):
        circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=layers))
        weights, run = torch.zeros(circuit.weight_shape, requires_grad=True), Exact()
        evaluate_by_perturbations(circuit, torch.zeros(5, 1), weights, run, seed=0, shots=100)
        assert run.points == 5 * 3
        with torch.no_grad():
            evaluate_by_perturbations(circuit, torch.zeros(5, 1), weights, run, seed=0, shots=100)
        assert run.points == 5 * 3 + 5


def test_signs_come_from_seed_and_angles() -> None:
    weights = torch.ones(CIRCUIT.weight_shape, dtype=torch.float64)
    first, same, other, elsewhere = (
        estimate(w, s)[1]
        for w, s in ((weights, 1), (weights, 1), (weights, 2), (1.01 * weights, 1))
    )
    assert torch.equal(first, same)
    assert not torch.equal(first.sign(), other.sign()) or not torch.allclose(first, other)
    assert not torch.allclose(first, elsewhere, atol=0.05)


def test_only_angles_whose_slope_is_asked_for_are_moved() -> None:
    inputs = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    seen: list[Any] = []

    def run(parametrised: ParametrisedCircuit, points: Array) -> Array:
        seen.append(points)
        return np.zeros((len(points), 2))

    evaluate_by_perturbations(
        CIRCUIT,
        inputs,
        torch.zeros(CIRCUIT.weight_shape, dtype=torch.float64),
        run,
        seed=0,
        shots=100,
    )
    moved = (seen[0] != 0).any(0)
    assert moved.sum() == 4, "the input is in the four RY angles"


@pytest.mark.parametrize(("n_angles", "shots"), [(4, 100), (16, 4096), (64, 10**6)])
def test_the_step_is_where_squared_bias_and_variance_add_up_to_least(
    n_angles: int, shots: int
) -> None:
    def error(c: float) -> float:
        return (c**2 * n_angles**1.5 / 6) ** 2 + 1 / (2 * c**2 * shots)

    best = spsa_step(n_angles, shots)
    assert error(best) < min(error(0.97 * best), error(1.03 * best))
    assert spsa_step(1, 1) <= math.pi / 2
