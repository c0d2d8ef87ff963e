"""Tapes for `hybridq.qiskit`: to Z-basis measurements, to rows of angles of a circuit, and from shares to results."""

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
from hybridq.errors import InvalidArgument

__all__ = [
    "DIFFERENTIABLE",
    "NATIVE",
    "Shifts",
    "TapeCircuit",
    "as_circuit",
    "as_matrices",
    "broadcast_trained",
    "diagonalize",
    "results",
]

NATIVE = ROTATION_GATES | FIXED_GATES | WITHOUT_EFFECT
_MATRIX_WIRES = 8
DIFFERENTIABLE = (
    qml.measurements.ExpectationMP,
    qml.measurements.VarianceMP,
    qml.measurements.ProbabilityMP,
)


@qml.transform  # type: ignore[untyped-decorator]
def as_matrices(tape: Any) -> tuple[list[Any], Any]:
    """Write observables as matrices whose terms cannot be measured one by one: sums, in all but expectations."""

    def rewritten(measurement: Any) -> Any:
        observable = measurement.obs
        split = isinstance(measurement, qml.measurements.ExpectationMP) or not _is_sum(observable)
        if split and not isinstance(observable, qml.SparseHamiltonian):
            return measurement
        if len(observable.wires) > _MATRIX_WIRES:
            raise InvalidArgument.of(
                "observable",
                observable,
                f"it is measured in its own basis; that takes at most {_MATRIX_WIRES} wires",
            )
        matrix = qml.matrix(observable, wire_order=observable.wires)
        return _with_observable(measurement, obs=qml.Hermitian(matrix, wires=observable.wires))

    return [
        tape.copy(measurements=[rewritten(measurement) for measurement in tape.measurements])
    ], lambda batch: batch[0]


def _is_sum(observable: Any) -> bool:
    return (
        observable is not None
        and observable.pauli_rep is not None
        and len(observable.pauli_rep) > 1
    )


@qml.transform  # type: ignore[untyped-decorator]
def diagonalize(tape: Any) -> tuple[list[Any], Any]:
    """Turn every observable into eigenvalues of basis states, by gates at the end. Those of a tape have to commute."""
    observed = [m.obs for m in tape.measurements if m.obs is not None]
    if all(qml.pauli.is_pauli_word(observable) for observable in observed):
        gates, words = qml.pauli.diagonalize_qwc_pauli_words(observed) if observed else ([], [])
    else:
        wires = [wire for observable in observed for wire in observable.wires]
        if len(wires) > len(set(wires)):
            raise InvalidArgument.of(
                "measurements", observed, "these are measured at once only on different wires"
            )
        gates, words = (
            [gate for observable in observed for gate in observable.diagonalizing_gates()],
            observed,
        )
    rest = iter(words)
    measurements = [
        m
        if m.obs is None
        else _with_observable(m, eigvals=(word := next(rest)).eigvals(), wires=word.wires)
        for m in tape.measurements
    ]
    return [
        tape.copy(operations=[*tape.operations, *gates], measurements=measurements)
    ], lambda batch: batch[0]


def _with_observable(measurement: Any, **observable: Any) -> Any:
    """The same measurement of another observable."""
    every = (
        {"all_outcomes": measurement.all_outcomes}
        if isinstance(measurement, qml.measurements.CountsMP)
        else {}
    )
    return type(measurement)(**observable, **every)


@qml.transform  # type: ignore[untyped-decorator]
def broadcast_trained(tape: Any) -> tuple[list[Any], Any]:
    """Give all trained angles of a broadcast tape one row for each of its points.

    PennyLane's torch interface takes the vector-Jacobian products of a tape in one shape only.
    """
    size = tape.batch_size
    if not size:
        return [tape], lambda batch: batch[0]

    def expand(operation: Any) -> Any:
        if not (
            operation.parameters
            and qml.math.requires_grad(operation.parameters[0])
            and operation.batch_size is None
        ):
            return operation
        return type(operation)(
            qml.math.stack([operation.parameters[0]] * size), wires=operation.wires
        )

    return [
        tape.copy(operations=[expand(operation) for operation in tape.operations])
    ], lambda batch: batch[0]


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
        return _measured(
            circuit, np.abs(states) ** 2, lambda m, row: m.process_state(states[row], wires)
        )
    if not shots.has_partitioned_shots:
        return _sampled(circuit, rows, shots.total_shots, rng)
    left = np.rint(rows * shots.total_shots).astype(np.int64)
    parts = []
    for lower, upper in shots.bins():
        part = np.stack(
            [
                rng.multivariate_hypergeometric(row, upper - lower, method="marginals")
                for row in left
            ]
        )
        left = left - part
        parts.append(_sampled(circuit, part / (upper - lower), upper - lower, rng))
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
    """The result of each measurement: from the shares, or of each row by what `process` says."""
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
    """Shots as bits, shape (shots, n_qubits), in random order."""
    counts = np.rint(shares * shots).astype(np.int64)
    outcomes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return outcomes[:, None] >> np.arange(n_qubits)[::-1] & 1


def _value(circuit: TapeCircuit, measurement: Any, shares: Array) -> Array:
    """Expectation values and variances, shape (batch,), or probabilities, shape (batch, 2**k)."""
    outcomes = _outcomes(circuit, measurement, shares)
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        by_outcome = shares[
            :, np.argsort(outcomes, kind="stable")
        ]  # as many basis states for each outcome
        marginal: Array = by_outcome.reshape(len(shares), int(outcomes.max()) + 1, -1).sum(-1)
        return marginal
    e = _eigenvalues(measurement)[outcomes]
    mean: Array = shares @ e
    if isinstance(measurement, qml.measurements.VarianceMP):
        variance: Array = shares @ e**2 - mean**2
        return variance
    return mean


class Shifts:
    """The parameter-shift points of a tape's trainable parameters, and its vector-Jacobian product from their results.

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
        self._own = int(
            bool(rows)
            and any(isinstance(m, qml.measurements.VarianceMP) for m in circuit.tape.measurements)
        )
        self._circuit = circuit
        k = circuit.angles.shape[1]
        points = np.repeat(
            circuit.angles[:, None, :], self._own + len(rows) * 2, axis=1
        )  # (batch, own + terms, K)
        points[:, np.arange(self._own, points.shape[1]), self._columns] += shifts
        self.points = points.reshape(-1, k)

    def products(self, shares: Array, cotangents: Any) -> tuple[Array, ...]:
        """Contract.

        Args:
            shares: Of the outcomes at `points`, shape (points, 2**n).
            cotangents: As PennyLane gives them: one array for each measurement, or just one.

        Returns:
            One array for each trainable parameter, in its shape.
        """
        batch, k = self._circuit.angles.shape
        slopes = np.zeros((batch, k))
        if self._columns:
            rows = shares.reshape(batch, -1, shares.shape[1])  # (batch, own + terms, 2**n)
            gradient = _pull_back(self._circuit, rows[:, 0], cotangents)
            terms = np.einsum("bts,bs->bt", rows[:, self._own :], gradient) * self._factors
            np.add.at(slopes.T, self._columns, terms.T)
        parameters = zip(self._circuit.columns, self._circuit.tape.get_parameters(), strict=True)
        zero = np.zeros(batch)
        each = (
            (zero if column is None else slopes[:, column], np.ndim(value))
            for column, value in parameters
        )
        return tuple(slope if broadcast else slope.sum() for slope, broadcast in each)


def _pull_back(circuit: TapeCircuit, shares: Array, cotangents: Any) -> Array:
    """The gradient towards the shares, shape (batch, 2**n). Only that of a variance depends on them."""
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
