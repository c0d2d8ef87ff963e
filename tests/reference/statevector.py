"""An obvious state-vector simulator in NumPy, with nothing of hybridq.

It multiplies by a whole 2**n x 2**n matrix for one gate after the other.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Complex = npt.NDArray[np.complex128]
Real = npt.NDArray[np.float64]
NamedGate = tuple[str, tuple[int, ...]]

X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1]).astype(complex)
PAULI = {"RX": X, "RY": Y, "RZ": Z}
FIXED = {
    "Hadamard": (X + Z) / np.sqrt(2),
    "PauliX": X,
    "PauliY": Y,
    "PauliZ": Z,
    "S": np.diag([1, 1j]),
    "T": np.diag([1, np.exp(0.25j * np.pi)]),
    "CNOT": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=complex),
    "CZ": np.diag([1, 1, 1, -1]).astype(complex),
    "SWAP": np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=complex),
}


def rotation(name: str, angle: float) -> Complex:
    """Return the matrix of a rotation gate on its wires; of a global phase it is a number."""
    if name in PAULI:
        return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULI[name]
    if name == "PhaseShift":
        return np.diag([1, np.exp(1j * angle)])
    assert name == "GlobalPhase"
    return np.array([[np.exp(-1j * angle)]])


def rotation_slope(name: str, angle: float) -> Complex:
    """Return the derivative of `rotation` in the angle."""
    if name in PAULI:
        return -0.5j * PAULI[name] @ rotation(name, angle)
    if name == "PhaseShift":
        return np.diag([0, 1j * np.exp(1j * angle)])
    return -1j * rotation(name, angle)


def embed(matrix: Complex, wires: Sequence[int], n: int) -> Complex:
    """Write a gate as a matrix on all n wires; wire 0 is the leftmost bit."""
    full = np.zeros((2**n, 2**n), dtype=complex)
    for column in range(2**n):
        bits = [column >> (n - 1 - wire) & 1 for wire in range(n)]
        local = sum(bits[wire] << (len(wires) - 1 - i) for i, wire in enumerate(wires))
        for new in range(2 ** len(wires)):
            for i, wire in enumerate(wires):
                bits[wire] = new >> (len(wires) - 1 - i) & 1
            full[sum(bit << (n - 1 - wire) for wire, bit in enumerate(bits)), column] = matrix[
                new, local
            ]
    return full


def state(
    gates: Sequence[NamedGate], angles: Sequence[float], n: int, slope_of: int | None = None
) -> Complex:
    """Run gates on |0...0>; with `slope_of`, the derivative in that angle."""
    psi = np.zeros(2**n, dtype=complex)
    psi[0] = 1.0
    k = 0
    for name, wires in gates:
        if name in FIXED:
            matrix = FIXED[name]
        else:
            matrix = (rotation_slope if k == slope_of else rotation)(name, angles[k])
            k += 1
        psi = matrix[0, 0] * psi if name == "GlobalPhase" else embed(matrix, wires, n) @ psi
    return psi


def readout(kind: str, psi: Complex, slope: Complex | None = None) -> Real:
    """Measure a state, or the derivative of the measurement along `slope`.

    Args:
        kind: "expval_z", "probabilities", "first_probabilities" or "real_amplitudes" (the last two
            little-endian).
        psi: The state.
        slope: Its derivative.
    """
    n = len(psi).bit_length() - 1
    little = [int(format(k, f"0{n}b")[::-1], 2) for k in range(min(n, 2**n))]
    if kind == "real_amplitudes":
        return (psi if slope is None else slope).real[little]
    probabilities = abs(psi) ** 2 if slope is None else 2 * (psi.conj() * slope).real
    if kind == "probabilities":
        return probabilities
    if kind == "first_probabilities":
        return probabilities[little]
    assert kind == "expval_z"
    signs = [[1 - 2 * (k >> (n - 1 - wire) & 1) for k in range(2**n)] for wire in range(n)]
    return np.array(signs) @ probabilities


def outputs_and_jacobian(
    gates: Sequence[NamedGate], angles: Real, n: int, kind: str
) -> tuple[Real, Real]:
    """Return the outputs (outputs,), and their derivatives in each angle (outputs, angles)."""
    psi = state(gates, angles, n)
    columns = [readout(kind, psi, state(gates, angles, n, slope_of=k)) for k in range(len(angles))]
    outputs = readout(kind, psi)
    return outputs, np.array(columns).reshape(len(angles), len(outputs)).T
