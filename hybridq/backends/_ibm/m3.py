"""Readout errors undone by M3 (the package mthree), from two calibration circuits of a job."""

import importlib
from types import ModuleType

import numpy as np

from hybridq.backends._core.readout_errors import confusion
from hybridq.backends._core.shift import Array
from hybridq.errors import MissingExtra

__all__ = ["mthree", "quasi_probabilities"]


def mthree() -> ModuleType:
    """Import M3, which no extra of ours brings: it is compiled when it is installed.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        return importlib.import_module("mthree")
    except ModuleNotFoundError as error:
        message = (
            "readout_mitigation='mthree': mthree is not installed. "
            "Install it with: pip install mthree"
        )
        raise MissingExtra(message, name=error.name) from error


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
