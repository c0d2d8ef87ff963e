"""Gradients by simultaneous perturbation: two more circuits a point, however many angles."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybridq.backends._core.shift import ParametrisedCircuit, PointRunner, wanted_rows
from hybridq.circuits import Circuit
from hybridq.engine.once import ENGINE_WAY_OUT, differentiable_once
from hybridq.seeding import derive

__all__ = ["evaluate_by_perturbations", "spsa_step"]


def spsa_step(n_angles: int, shots: int) -> float:
    """Return the step c at which a slope's estimate has the smallest mean squared error.

    The slope along signs d is estimated by (f(t + c d) - f(t - c d)) / (2 c). Its bias is c^2 M / 6
    with M the third derivative along d, and the shots give it the variance 1 / (2 c^2 shots). A
    probability has the frequencies 0 and 1 in each of K angles, so that M is a sum of K^3 terms of
    size 1 at most, with random signs: M = K^(3/2). Squared bias and variance add up to least at c =
    (3 / (M sqrt(shots)))^(1/3).

    Args:
        n_angles: K.
        shots: Shots per circuit.

    Returns:
        The step in radians, at most pi / 2.
    """
    return min(math.pi / 2, float((3 / (max(1, n_angles) ** 1.5 * math.sqrt(shots))) ** (1 / 3)))


def evaluate_by_perturbations(
    circuit: Circuit,
    inputs: Tensor,
    weights: Tensor,
    run: PointRunner,
    seed: int,
    shots: int,
) -> Tensor:
    """Evaluate a circuit, and if asked for an estimate of its gradient, in one call of `run`.

    Each point has its own signs. In the Fourier form the 17 points of a set of weights thereby give
    17 independent estimates, which average out. The signs depend on the seed and the angles only: a
    run that starts again asks for the same circuits.

    Args:
        circuit: The circuit.
        inputs: Shape (batch, n_inputs), radians.
        weights: Shape `weight_shape` or (batch, *weight_shape), radians.
        run: Runs the circuit at an array of parameters (points, K) and returns (points, n_outputs).
        seed: The source of the signs.
        shots: Shots per circuit, which decide the size of the perturbation.

    Returns:
        Shape (batch, n_outputs), the dtype and device of `inputs`; differentiable once.
    """
    parametrised, rows = wanted_rows(circuit, inputs, weights, noisy=True)
    angles = parametrised.angles(inputs, weights)
    outputs: Tensor = _Perturbation.apply(angles, parametrised, rows, run, seed, shots)  # type: ignore[no-untyped-call]
    return outputs.to(inputs.device, inputs.dtype)


class _Perturbation(torch.autograd.Function):
    """Outputs and their slopes, measured together: a differentiated batch is one job, too."""

    @staticmethod
    def forward(
        ctx: Any,
        angles: Tensor,
        parametrised: ParametrisedCircuit,
        rows: list[int],
        run: PointRunner,
        seed: int,
        shots: int,
    ) -> Tensor:
        centre = angles.detach().numpy()
        step = spsa_step(len(rows), shots)
        rng = np.random.default_rng(
            [derive(seed, "spsa"), *np.frombuffer(centre.tobytes(), np.uint32)]
        )
        signs = np.zeros_like(centre)  # (batch, K)
        signs[:, rows] = rng.choice([-1.0, 1.0], (len(centre), len(rows)))
        moves = (0.0, step, -step) if rows else (0.0,)
        points = np.concatenate([centre + move * signs for move in moves])  # (moves * batch, K)
        outputs = torch.from_numpy(run(parametrised, points)).reshape(len(moves), len(centre), -1)
        slopes = (outputs[1] - outputs[2]) / (2 * step) if rows else torch.zeros_like(outputs[0])
        ctx.save_for_backward(angles, slopes, torch.from_numpy(signs))
        return outputs[0].clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        angles, slopes, signs = ctx.saved_tensors

        def gradients() -> tuple[Tensor]:
            return ((slopes * grad_output).sum(1, keepdim=True) * signs,)

        return (
            *differentiable_once(gradients, (grad_output, angles), ENGINE_WAY_OUT),
            *[None] * 5,  # for the arguments after the angles
        )
