"""Each observable's deviation from the reference, and a test of all of them against shot noise.

The intervals use the errors that were measured. The tests use the errors that shots would have if
there were no difference: at a point with the common probabilities p and N shots, the outputs R p
have the covariances R (diag p - p p^T) R^T / N. So an outcome that is rare and was never seen does
not count as known without an error.
"""

from dataclasses import dataclass

import numpy as np
import scipy.stats

from hybridq.comparison.measuring import Array, Measurement, shot_covariances
from hybridq.comparison.pairs import Pair

__all__ = ["Z95", "Deviations", "deviations", "holm"]

Z95 = float(scipy.stats.norm.ppf(0.975))
_ROUNDING = 1e-9
_NEGLIGIBLE = 1e-10  # of the largest eigenvalue: a combination of outputs that cannot vary


@dataclass(frozen=True, eq=False)
class Deviations:
    """Outputs of a backend minus those of the reference.

    Args:
        values: The deviations, shape (points, observables).
        errors: Their standard errors, the same shape; 0 if both are exact.
        z: The deviations in standard errors of the null hypothesis; NaN if both are exact.
        p_holm: The two-sided p-values, by Holm's method for all of them together; NaN if both are
            exact.
        chi2: The sum over the points of d^T C^-1 d; None if both are exact.
        degrees: The degrees of freedom of chi2, which are the ranks of C.
        p: The probability of a chi2 at least as large if there is no difference; None if both are
            exact.
    """

    values: Array
    errors: Array
    z: Array
    p_holm: Array
    chi2: float | None
    degrees: int
    p: float | None

    @property
    def largest(self) -> tuple[int, int]:
        """The point and the observable of the largest deviation."""
        point, observable = np.unravel_index(int(np.abs(self.values).argmax()), self.values.shape)
        return int(point), int(observable)

    @property
    def n_significant(self) -> int:
        """The number of single observables that deviate, at 5 % for all of them together."""
        return int((self.p_holm < 0.05).sum())

    @property
    def is_rounding(self) -> bool:
        """Whether nothing deviates by more than rounding does."""
        return bool(np.abs(self.values).max() < _ROUNDING)


def deviations(pair: Pair) -> Deviations:
    """Compare the observables of a backend with those of the reference."""
    backend, reference, matrix = pair.backend, pair.reference, pair.matrix
    values = backend.outputs(matrix) - reference.outputs(matrix)
    measured = backend.output_covariances(matrix) + reference.output_covariances(matrix)
    errors = np.sqrt(np.diagonal(measured, axis1=1, axis2=2).clip(min=0))
    if pair.exact:
        unknown = np.full_like(values, np.nan)
        return Deviations(values, errors, unknown, unknown, None, 0, None)
    null = _null_covariances(backend, pair) + _null_covariances(reference, pair)
    spread = np.sqrt(np.diagonal(null, axis1=1, axis2=2))
    z = np.divide(values, spread, out=_beyond(values), where=spread > 0)
    p_holm = holm(2 * scipy.stats.norm.sf(np.abs(z)).ravel()).reshape(z.shape)
    chi2, degrees = _chi_square(values, null)
    if not degrees or np.isinf(chi2):  # nothing can vary, or an output that cannot vary did
        p = float(chi2 == 0)
    else:
        p = float(scipy.stats.chi2.sf(chi2, degrees))
    return Deviations(values, errors, z, p_holm, chi2, degrees, p)


def holm(p: Array) -> Array:
    """Adjust p-values for many tests (Holm 1979).

    The chance of any false alarm among them then stays below the level.

    Args:
        p: The p-values, shape (tests,).

    Returns:
        The adjusted p-values, the same shape.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03]))
        array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(scaled).clip(max=1.0)
    return adjusted


def _null_covariances(measurement: Measurement, pair: Pair) -> Array:
    """Return the covariances of the outputs if the probabilities are the common ones.

    The shape is (points, observables, observables).
    """
    n_outputs = len(pair.matrix)
    if measurement.shots is None:
        return np.zeros((len(pair.common), n_outputs, n_outputs))
    # With error mitigation the correlations are those of the shots, and the variances are inflated.
    factors = np.sqrt(measurement.inflation(pair.matrix))
    of_shots = shot_covariances(pair.common, pair.matrix) / measurement.shots
    return np.asarray(of_shots * np.outer(factors, factors))


def _chi_square(values: Array, null: Array) -> tuple[float, int]:
    """Sum d^T C^-1 d over the points, in the directions in which C allows anything to vary."""
    # (points, observables) and (points, observables, observables)
    eigenvalues, vectors = np.linalg.eigh(null)
    along = (values[:, None, :] @ vectors)[:, 0]
    free = eigenvalues > _NEGLIGIBLE * eigenvalues[:, -1:].clip(min=1e-300)
    squares = np.divide(along**2, eigenvalues, out=np.abs(_beyond(along)), where=free)
    return float(squares.sum()), int(free.sum())


def _beyond(values: Array) -> Array:
    """Return z where nothing can vary: infinite for a deviation, 0 without one."""
    return np.where(np.abs(values) > _ROUNDING, np.copysign(np.inf, values), 0.0)
