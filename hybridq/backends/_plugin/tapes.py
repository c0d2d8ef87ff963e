"""Tapes for `hybridq.qiskit`: to circuits and rows of angles, and from shares to results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pennylane as qml

from hybridq.backends._core.shift import Array, ParametrisedCircuit, parametrise
from hybridq.backends._core.tapes import (
    WITHOUT_EFFECT,
    Gates,
    Indices,
    TapeReading,
    read_tape,
)
from hybridq.circuits import Gate, Trace
from hybridq.circuits._angle import symbols
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES

__all__ = [
    "DIFFERENTIABLE",
    "NATIVE",
    "Shifts",
    "TapeCircuit",
    "as_circuit",
    "results",
]

NATIVE = ROTATION_GATES | FIXED_GATES | WITHOUT_EFFECT
DIFFERENTIABLE = (
    qml.measurements.ExpectationMP,
    qml.measurements.VarianceMP,
    qml.measurements.ProbabilityMP,
)


@dataclass(frozen=True, eq=False)
class TapeCircuit:
    """A tape as a parametrised circuit and rows of its angles.

    A tape that measures the state ends with a global phase of its own, the last angle: a backend
    gives real parts.

    Args:
        tape: The tape, of native gates and measurements of basis states.
        reading: Its gates and angles.
        parametrised: Its circuit. Tapes of one structure share it.
        angles: Shape (batch, K), radians; a tape that is not broadcast has one row.
    """

    tape: Any
    reading: TapeReading
    parametrised: ParametrisedCircuit
    angles: Array

    @property
    def columns(self) -> tuple[int | None, ...]:
        """The column of each trained parameter; None for one that changes no probability."""
        return self.reading.trained_columns

    @property
    def order(self) -> tuple[Any, ...]:
        """The wires, leftmost bit first."""
        return self.reading.wires

    @property
    def points(self) -> Array:
        """The rows to run, shape (points, K), radians."""
        if self.parametrised.diagonal:
            return self.angles
        turned = self.angles.copy()
        turned[:, -1] = np.pi / 2  # the imaginary part of z is the real part of exp(-i pi/2) z
        return np.concatenate([self.angles, turned])


def as_circuit(tape: Any, wires: Sequence[Any] | None) -> TapeCircuit:
    """Read a tape.

    Args:
        tape: As `TapeCircuit` says.
        wires: The device's wires in order, or None.
    """
    known = [wire for wire in wires or () if wire in tape.wires]
    order = (*known, *(wire for wire in tape.wires if wire not in known))
    amplitudes = any(_needs_state(m, bool(tape.shots)) for m in tape.measurements)
    reading = read_tape(tape, order, phases=amplitudes)
    gates, angles = reading.gates, reading.angles
    if amplitudes:
        gates = (*gates, ("GlobalPhase", ()))
        angles = np.concatenate([angles, np.zeros((len(angles), 1))], axis=1)
    parametrised = _parametrised(max(1, len(order)), gates, not amplitudes)
    return TapeCircuit(tape, reading, parametrised, angles)


def _needs_state(measurement: Any, shots: bool) -> bool:
    return not shots and not isinstance(measurement, DIFFERENTIABLE)


@lru_cache(maxsize=1024)
def _parametrised(n_qubits: int, gates: Gates, diagonal: bool) -> ParametrisedCircuit:
    count = sum(name in ROTATION_GATES for name, _ in gates)
    angles = iter(symbols("x", (count,)))
    traced = (
        Gate(name, wires, next(angles) if name in ROTATION_GATES else None) for name, wires in gates
    )
    return parametrise(Trace(n_qubits, count, (0,), tuple(traced)), diagonal)


def results(circuit: TapeCircuit, rows: Array, rng: np.random.Generator) -> Any:
    """Turn what the backend gave into what PennyLane expects of a tape.

    Args:
        circuit: The tape.
        rows: Shares of the outcomes at `circuit.points`, shape (batch, 2**n); for a state the real
            parts of its amplitudes.
        rng: The source of the order of the shots.
    """
    shots, batch = circuit.tape.shots, len(circuit.angles)
    if not circuit.parametrised.diagonal:
        states = rows[:batch] + 1j * rows[batch:]
        wires = qml.wires.Wires(circuit.order)
        shares = np.abs(states) ** 2
        return _measured(circuit, shares, lambda m, row: m.process_state(states[row], wires))
    if not shots.has_partitioned_shots:
        return _sampled(circuit, rows, shots.total_shots, rng)
    left = np.rint(rows * shots.total_shots).astype(np.int64)
    parts = []
    for lower, upper in shots.bins():
        size = upper - lower
        draws = [rng.multivariate_hypergeometric(row, size, method="marginals") for row in left]
        part = np.stack(draws)
        left = left - part
        parts.append(_sampled(circuit, part / size, size, rng))
    return tuple(parts)


def _sampled(
    circuit: TapeCircuit, shares: Array, shots: int | None, rng: np.random.Generator
) -> Any:
    wires = qml.wires.Wires(circuit.order)

    @lru_cache
    def samples(row: int) -> Indices:
        return _samples(shares[row], shots or 0, len(wires), rng)

    return _measured(circuit, shares, lambda m, row: m.process_samples(samples(row), wires))


def _measured(circuit: TapeCircuit, shares: Array, process: Callable[[Any, int], Any]) -> Any:
    """Return the result of each measurement: from the shares, or row by row by `process`."""
    values = []
    for measurement in circuit.tape.measurements:
        rows: Any
        if isinstance(measurement, DIFFERENTIABLE):
            rows = _value(circuit, measurement, shares)
        else:
            rows = [process(measurement, row) for row in range(len(shares))]
            rows = rows if isinstance(rows[0], dict) else np.stack(rows)
        values.append(rows if circuit.tape.batch_size else rows[0])
    return values[0] if len(values) == 1 else tuple(values)


def _samples(shares: Array, shots: int, n_qubits: int, rng: np.random.Generator) -> Indices:
    """Write shots as bits, shape (shots, n_qubits), in random order."""
    counts = np.rint(shares * shots).astype(np.int64)
    outcomes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return outcomes[:, None] >> np.arange(n_qubits)[::-1] & 1


def _value(circuit: TapeCircuit, measurement: Any, shares: Array) -> Array:
    """Return expectation values or variances, shape (batch,), or probabilities (batch, 2**k)."""
    outcomes = _outcomes(circuit, measurement, shares)
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        # There are as many basis states for each outcome.
        by_outcome = shares[:, np.argsort(outcomes, kind="stable")]
        marginal: Array = by_outcome.reshape(len(shares), int(outcomes.max()) + 1, -1).sum(-1)
        return marginal
    e = _eigenvalues(measurement)[outcomes]
    mean: Array = shares @ e
    if isinstance(measurement, qml.measurements.VarianceMP):
        variance: Array = shares @ e**2 - mean**2
        return variance
    return mean


class Shifts:
    """The parameter-shift points of a tape's trained parameters.

    From their results follows the tape's vector-Jacobian product.

    Args:
        circuit: The tape.
        noisy: Whether gates may carry noise, so that no parameter can be known to be without
            effect.
    """

    def __init__(self, circuit: TapeCircuit, noisy: bool) -> None:
        parametrised = circuit.parametrised
        skip = frozenset() if noisy else parametrised.dead
        rows = sorted({column for column in circuit.columns if column is not None} - skip)
        self._columns, shifts, self._factors = parametrised.rules(rows)
        # A variance has <e>^2 in it, so that its gradient depends on the shares at the angles
        # themselves.
        self._unshifted = int(
            bool(rows)
            and any(isinstance(m, qml.measurements.VarianceMP) for m in circuit.tape.measurements)
        )
        self._circuit = circuit
        k = circuit.angles.shape[1]
        points = np.repeat(
            circuit.angles[:, None, :], self._unshifted + len(rows) * 2, axis=1
        )  # (batch, unshifted + terms, K)
        points[:, np.arange(self._unshifted, points.shape[1]), self._columns] += shifts
        self.points = points.reshape(-1, k)

    def products(self, shares: Array, cotangents: Any) -> tuple[Array, ...]:
        """Return the vector-Jacobian product.

        Args:
            shares: Of the outcomes at `points`, shape (points, 2**n).
            cotangents: As PennyLane gives them: one array for each measurement, or just one.

        Returns:
            One array for each trainable parameter, in its shape.
        """
        batch, k = self._circuit.angles.shape
        slopes = np.zeros((batch, k))
        if self._columns:
            rows = shares.reshape(batch, -1, shares.shape[1])  # (batch, unshifted + terms, 2**n)
            gradient = _pull_back(self._circuit, rows[:, 0], cotangents)
            terms = np.einsum("bts,bs->bt", rows[:, self._unshifted :], gradient) * self._factors
            np.add.at(slopes.T, self._columns, terms.T)
        parameters = zip(self._circuit.columns, self._circuit.tape.get_parameters(), strict=True)
        zero = np.zeros(batch)
        each = (
            (zero if column is None else slopes[:, column], np.ndim(value))
            for column, value in parameters
        )
        return tuple(slope if broadcast else slope.sum() for slope, broadcast in each)


def _pull_back(circuit: TapeCircuit, shares: Array, cotangents: Any) -> Array:
    """Return the gradient towards the shares, shape (batch, 2**n).

    Only the gradient of a variance depends on the shares.
    """
    measurements = circuit.tape.measurements
    gradient = np.zeros_like(shares)
    for measurement, given in zip(
        measurements, cotangents if len(measurements) > 1 else (cotangents,), strict=True
    ):
        outcomes = _outcomes(circuit, measurement, shares)
        dy = np.asarray(given, dtype=np.float64).reshape(len(shares), -1)
        if isinstance(measurement, qml.measurements.ProbabilityMP):
            gradient += dy[:, outcomes]
        elif isinstance(measurement, qml.measurements.VarianceMP):
            e = _eigenvalues(measurement)[outcomes]
            gradient += dy * (e**2 - 2 * (shares @ e)[:, None] * e)  # d(<e^2> - <e>^2)
        else:
            gradient += dy * _eigenvalues(measurement)[outcomes]
    return gradient


def _eigenvalues(measurement: Any) -> Array:
    return np.asarray(measurement.eigvals(), dtype=np.float64)


def _outcomes(circuit: TapeCircuit, measurement: Any, shares: Array) -> Indices:
    """Return of each basis state which outcome it is of a measurement, shape (2**n,)."""
    n_qubits = (shares.shape[1] - 1).bit_length()
    return circuit.reading.outcomes(measurement, n_qubits)
