"""Readout errors undone by M3 (the package mthree), from two calibration circuits of the same job."""

import importlib
from types import ModuleType

import numpy as np

from hybridq.backends._core.shift import Array
from hybridq.errors import MissingExtra

__all__ = ["confusion", "inverse_confusion", "mthree", "quasi_probabilities"]


def mthree() -> ModuleType:
    """Import M3, which no extra of ours brings: it is compiled when it is installed.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        return importlib.import_module("mthree")
    except ModuleNotFoundError as error:
        message = "readout_mitigation='mthree': mthree is not installed. Install it with: pip install mthree"
        raise MissingExtra(message, name=error.name) from error


def confusion(calibration: Array) -> list[Array]:
    """The readout error of each wire, A[read, prepared], from the counts with all wires in 0 and all wires in 1.

    Args:
        calibration: Shape (2, 2**n), wire 0 leftmost.
    """
    n = (calibration.shape[1] - 1).bit_length()
    frequencies = (calibration / calibration.sum(1, keepdims=True)).reshape(2, *[2] * n)
    others = [tuple(axis + 1 for axis in range(n) if axis != wire) for wire in range(n)]
    return [frequencies.sum(axes).T for axes in others]


def inverse_confusion(calibration: Array) -> Array:
    """The matrix (2**n, 2**n) that undoes the readout errors of all wires: what carries the errors of the shots over."""
    inverse: Array = np.ones((1, 1))
    for matrix in confusion(calibration):
        inverse = np.kron(inverse, np.linalg.inv(matrix))
    return inverse


def quasi_probabilities(counts: Array, calibration: Array) -> Array:
    """Undo the readout errors in the subspace of the bit strings that were seen.

    Args:
        counts: Shape (points, 2**n), wire 0 leftmost.
        calibration: Shape (2, 2**n).

    Returns:
        Shape (points, 2**n); entries may be negative.

    Raises:
        MissingExtra: If mthree is not installed.
    """
    mitigator = mthree().M3Mitigation()
    mitigator.cals_from_matrices([matrix.astype(np.float32) for matrix in confusion(calibration)])
    n = (counts.shape[1] - 1).bit_length()
    wires = list(range(n))[::-1]  # M3's first qubit is the rightmost bit
    result = np.zeros(counts.shape)
    for row, numbers in zip(result, counts, strict=True):
        seen = {format(state, f"0{n}b"): int(numbers[state]) for state in np.flatnonzero(numbers)}
        for state, probability in mitigator.apply_correction(seen, wires).items():
            row[int(state, 2)] = probability
    return result
