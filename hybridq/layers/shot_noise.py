"""The noise of shots: standard errors of Fourier coefficients and of Phi.

Each sample y_j of Phi comes from another circuit, so the errors sigma_j are independent.
Coefficients and Phi(s) are linear in them, so that with their weights w_j(s) the standard error of
Phi(s) is sqrt(sum_j w_j(s)^2 sigma_j^2). With equal errors that is sigma itself at every s (SPEC
section 2).
"""

import torch
from torch import Tensor

from hybridq.backends import AbstractBackend
from hybridq.circuits import Circuit, FourierForm
from hybridq.layers.fused.series import series

__all__ = ["coefficient_errors", "derivative_errors", "phi_errors", "sample_phi"]


def sample_phi(
    circuit: Circuit, backend: AbstractBackend, weights: Tensor, readout: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample Phi at the points of the Fourier form, with the errors of the shots.

    The outputs of one circuit come from the same shots: for readout weights r and covariances C,
    the variance is r C r. It runs 2 D + 1 circuits in one evaluation.

    Args:
        circuit: A circuit of one input, with D the degree of its series.
        backend: Where it runs.
        weights: The circuit's weights, radians.
        readout: The readout weights r, shape (n_outputs,).

    Returns:
        The samples of Phi and their standard errors, both of shape (2 D + 1,).

    Raises:
        UnsupportedEncoding: If the circuit has no Fourier form.
    """
    inputs = FourierForm.of(circuit).points(weights)[:, None]
    values, covariances = backend.evaluate_with_covariances(circuit, inputs, weights)
    return values @ readout, (covariances @ readout @ readout).sqrt()


def coefficient_errors(form: FourierForm, errors: Tensor) -> Tensor:
    """Return the standard errors of the coefficients, in the order of `FourierForm.coefficients`.

    Args:
        form: The Fourier form.
        errors: The standard errors of its samples, shape (..., 2 D + 1).

    Returns:
        Shape (..., 2 D + 1). The errors of different coefficients are not independent; for those of
        Phi use `phi_errors`.
    """
    return (errors.square() @ _transform(form, errors).square()).sqrt()


def phi_errors(form: FourierForm, errors: Tensor, scores: Tensor) -> Tensor:
    """Return the standard error of Phi at scores: the half-width of its band.

    Args:
        form: The Fourier form.
        errors: The standard errors of its samples, shape (2 D + 1,).
        scores: Any shape, radians.

    Returns:
        The shape of `scores`.
    """
    return _spread(_transform(form, errors), form, errors, scores)


def derivative_errors(form: FourierForm, errors: Tensor, scores: Tensor) -> Tensor:
    """Return the standard error of dPhi/ds at scores.

    The gradient towards the scores inherits this error.

    Args:
        form: The Fourier form.
        errors: The standard errors of its samples, shape (2 D + 1,).
        scores: Any shape, radians.

    Returns:
        The shape of `scores`.
    """
    slopes = FourierForm.derivative(_transform(form, errors))
    return form.frequency * _spread(slopes, form, errors, scores)


def _transform(form: FourierForm, like: Tensor) -> Tensor:
    """Return the coefficients that each sample alone gives, shape (samples, 2 D + 1)."""
    return form.coefficients(torch.eye(form.n_samples, dtype=like.dtype, device=like.device))


def _spread(coefficients: Tensor, form: FourierForm, errors: Tensor, scores: Tensor) -> Tensor:
    """Return the standard error at the scores of the series that the samples add up to.

    Args:
        coefficients: Those of the series of each sample alone, shape (samples, 2 D + 1).
        form: The Fourier form.
        errors: The standard errors of the samples, shape (samples,).
        scores: Any shape, radians.

    Returns:
        The shape of `scores`.
    """
    angles = (form.frequency * scores.flatten()).expand(1, form.n_samples, -1)
    shares = series(coefficients, angles)[0]  # (samples, scores)
    spread: Tensor = (errors.square() @ shares.square()).sqrt().reshape(scores.shape)
    return spread
