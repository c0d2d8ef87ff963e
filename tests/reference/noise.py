"""An obvious density-matrix simulator in NumPy, with nothing of hybridq.

It multiplies whole matrices, and applies Kraus operators one by one.
"""

from collections.abc import Sequence

import numpy as np

from tests.reference.statevector import FIXED, PAULI, Complex, NamedGate, Real, embed, rotation


def kraus(depolarizing: float, damping: float) -> list[list[Complex]]:
    """Return the channels after a gate, in their order, as Kraus operators on one wire."""
    p, g = depolarizing, damping
    pauli = [
        np.sqrt(1 - p) * np.eye(2, dtype=complex),
        *(np.sqrt(p / 3) * matrix for matrix in PAULI.values()),
    ]
    decay = [
        np.diag([1, np.sqrt(1 - g)]).astype(complex),
        np.array([[0, np.sqrt(g)], [0, 0]], dtype=complex),
    ]
    return [pauli, decay]


def density(
    gates: Sequence[NamedGate], angles: Real, n: int, depolarizing: float, damping: float
) -> Complex:
    """Run noisy gates on |0...0>; a global phase is no gate here.

    Returns:
        The density matrix, shape (2**n, 2**n).
    """
    rho = np.zeros((2**n, 2**n), dtype=complex)
    rho[0, 0] = 1.0
    rest = iter(angles)
    for name, wires in gates:
        matrix = FIXED[name] if name in FIXED else rotation(name, next(rest))
        if name == "GlobalPhase":
            continue
        full = embed(matrix, wires, n)
        rho = full @ rho @ full.conj().T
        for wire in wires:
            for channel in kraus(depolarizing, damping):
                operators = [embed(operator, (wire,), n) for operator in channel]
                rho = sum((k @ rho @ k.conj().T for k in operators), np.zeros_like(rho))
    return rho


def read(rho: Complex, readout_error: float) -> Real:
    """Return the probability with which each bit string is read, whatever string it came from."""
    size = len(rho)
    n = size.bit_length() - 1
    flips = np.array([[(a ^ b).bit_count() for b in range(size)] for a in range(size)])
    chances: Real = readout_error**flips * (1 - readout_error) ** (n - flips)
    return chances @ rho.diagonal().real


def outputs(kind: str, probabilities: Real) -> Real:
    """Return <Z> of each wire ("expval_z"), or the probabilities ("probabilities")."""
    n = len(probabilities).bit_length() - 1
    if kind == "probabilities":
        return probabilities
    assert kind == "expval_z"
    signs = [[1 - 2 * (k >> (n - 1 - wire) & 1) for k in range(2**n)] for wire in range(n)]
    return np.array(signs) @ probabilities
