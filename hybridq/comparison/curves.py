"""Phi of a trained model over its period, and its Fourier coefficients, with shot errors."""

from dataclasses import dataclass

import numpy as np
import torch

from hybridq.comparison.deviations import Z95
from hybridq.comparison.distances import Distance, Resampling, distances, root_mean_square
from hybridq.comparison.measuring import Array, Measurement
from hybridq.comparison.models import TrainedModel
from hybridq.comparison.pairs import Pair
from hybridq.layers import series
from hybridq.layers.shot_noise import coefficient_errors, phi_errors

__all__ = ["PhiCurve", "curves", "phi_distances"]

_GRID = 145  # points over the period


@dataclass(frozen=True, eq=False)
class PhiCurve:
    """Phi of one set of angles.

    Args:
        name: The layer, and the head if it has angles of its own.
        scores: Attention scores over one period, radians, shape (grid,).
        values: Phi at these scores, gate included, shape (grid,).
        half_widths: Half the width of its 95 % band, at each score by itself, shape (grid,).
        coefficients: The Fourier coefficients (a_0, a_1..a_D, b_1..b_D), shape (2 D + 1,).
        coefficient_half_widths: Half the width of their 95 % intervals, the same shape.
    """

    name: str
    scores: Array
    values: Array
    half_widths: Array
    coefficients: Array
    coefficient_half_widths: Array


def curves(trained: TrainedModel, measurement: Measurement, matrix: Array) -> list[PhiCurve]:
    """Make Phi of all sets of angles from one measurement.

    Args:
        trained: The model.
        measurement: The measurement at the model's points.
        matrix: The outputs of its circuits, shape (outputs, 2**n).
    """
    form, readout = trained.form, trained.readout()
    samples, errors = _samples(measurement, matrix, readout.numpy(), form.n_samples)
    scores = torch.linspace(0, 2 * torch.pi / form.frequency, _GRID, dtype=torch.float64)
    coefficients = form.coefficients(torch.from_numpy(samples))  # (sets, samples)
    values = series(coefficients, (form.frequency * scores).expand(1, len(samples), -1))[0]
    made = []
    for number, name in enumerate(trained.set_names):
        of_set = torch.from_numpy(errors[number])
        band = Z95 * phi_errors(form, of_set, scores).numpy()
        bars = Z95 * coefficient_errors(form, of_set).numpy()
        made.append(
            PhiCurve(
                name,
                scores.numpy(),
                values[number].numpy(),
                band,
                coefficients[number].numpy(),
                bars,
            )
        )
    return made


def phi_distances(trained: TrainedModel, pair: Pair, resampling: Resampling) -> list[Distance]:
    """Compute the root mean square error of Phi over its period, for each set of angles.

    By Parseval's theorem it is that of the samples.
    """
    readout, n_samples = trained.readout().numpy(), trained.form.n_samples

    def errors(p: Array, q: Array) -> Array:
        outputs = (p - q) @ pair.matrix.T  # (..., points, outputs)
        by_set = outputs.reshape(*outputs.shape[:-2], len(readout), n_samples, -1)
        return root_mean_square((by_set * readout[:, None, :]).sum(-1))

    measured = errors(pair.backend.probabilities, pair.reference.probabilities)
    named = dict(zip(trained.set_names, measured.tolist(), strict=True))
    return distances(named, errors, pair, resampling)


def _samples(
    measurement: Measurement, matrix: Array, readout: Array, n_samples: int
) -> tuple[Array, Array]:
    """Return the samples of gate * Phi and their standard errors, shape (sets, samples) each."""
    outputs = measurement.outputs(matrix).reshape(len(readout), n_samples, -1)
    covariances = measurement.output_covariances(matrix).reshape(*outputs.shape, -1)
    variances = np.einsum("ko,kjop,kp->kj", readout, covariances, readout)
    return (outputs * readout[:, None, :]).sum(-1), np.sqrt(variances.clip(min=0))
