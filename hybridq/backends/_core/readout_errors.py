"""Readout errors of each wire, measured with two calibration circuits, and their inverse."""

import numpy as np

from hybridq.backends._core.shift import Array

__all__ = ["confusion", "inverse_confusion"]


def confusion(calibration: Array) -> list[Array]:
    """Return the readout error of each wire, A[read, prepared], shape (2, 2).

    Args:
        calibration: Counts or frequencies with all wires prepared in 0, and in 1; shape (2, 2**n),
            wire 0 leftmost.
    """
    n = (calibration.shape[1] - 1).bit_length()
    frequencies = (calibration / calibration.sum(1, keepdims=True)).reshape(2, *[2] * n)
    others = [tuple(axis + 1 for axis in range(n) if axis != wire) for wire in range(n)]
    return [frequencies.sum(axes).T for axes in others]


def inverse_confusion(calibration: Array) -> Array:
    """Return the matrix (2**n, 2**n) that undoes the readout errors of all wires.

    Multiplied with measured frequencies it gives an estimate of the probabilities; it carries the
    errors of the shots over in the same way.

    Args:
        calibration: As `confusion`.
    """
    inverse: Array = np.ones((1, 1))
    for matrix in confusion(calibration):
        inverse = np.kron(inverse, np.linalg.inv(matrix))
    return inverse
