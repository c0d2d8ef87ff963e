"""Tapes for `hybridq.qiskit`: to Z-basis measurements, to rows of angles of a circuit, and from shares to results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml

from hybridq.backends._core.shift import Array, Parametrised, parametrise
from hybridq.circuits import Gate, Trace
from hybridq.circuits._angle import symbols
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES
from hybridq.errors import InvalidArgument

__all__ = [
    "DIFFERENTIABLE",
    "NATIVE",
    "Reading",
    "Shifts",
    "as_matrices",
    "broadcast_trained",
    "diagonalize",
    "read",
    "results",
]

_WITHOUT_EFFECT = frozenset({"GlobalPhase", "Identity", "Barrier", "WireCut", "Snapshot"})
"""Operations that change no probability."""
NATIVE = ROTATION_GATES | FIXED_GATES | _WITHOUT_EFFECT
_MATRIX_WIRES = 8
DIFFERENTIABLE = (
    qml.measurements.ExpectationMP,
    qml.measurements.VarianceMP,
    qml.measurements.ProbabilityMP,
)
Indices = npt.NDArray[np.int64]


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
class Reading:
    """A tape as a circuit and rows of its angles.

    A tape that measures the state ends with a global phase of its own, the last angle: a backend
    gives real parts.

    Args:
        tape: The tape, of native gates and measurements of basis states.
        form: Its circuit. Tapes of one structure share it.
        angles: Shape (batch, K), radians; a tape that is not broadcast has one row.
        columns: For each trainable parameter of the tape its column; None for one that changes no
            probability.
        order: The wires, leftmost bit first.
    """

    tape: Any
    form: Parametrised
    angles: Array
    columns: tuple[int | None, ...]
    order: tuple[Any, ...]

    @property
    def points(self) -> Array:
        """The rows to run, shape (points, K), radians."""
        if self.form.diagonal:
            return self.angles
        turned = self.angles.copy()
        turned[:, -1] = np.pi / 2  # the imaginary part of z is the real part of exp(-i pi/2) z
        return np.concatenate([self.angles, turned])


def read(tape: Any, wires: Sequence[Any] | None) -> Reading:
    """Read a tape.

    Args:
        tape: As `Reading` says.
        wires: The device's wires in order, or None.
    """
    known = [wire for wire in wires or () if wire in tape.wires]
    order = (*known, *(wire for wire in tape.wires if wire not in known))
    number = {wire: i for i, wire in enumerate(order)}
    amplitudes = any(_needs_state(m, bool(tape.shots)) for m in tape.measurements)
    without_effect = _WITHOUT_EFFECT - {"GlobalPhase"} if amplitudes else _WITHOUT_EFFECT
    gates: list[tuple[str, tuple[int, ...]]] = []
    angles: list[Array] = []
    columns: list[int | None] = []
    for operation in tape.operations:
        kept = operation.name not in without_effect
        if operation.parameters:
            columns.append(len(angles) if kept else None)
        if kept and operation.parameters:
            angles.append(np.asarray(operation.parameters[0], dtype=np.float64))
        if kept:
            gates.append((operation.name, tuple(number[wire] for wire in operation.wires)))
    if amplitudes:
        gates.append(("GlobalPhase", ()))
        angles.append(np.zeros(()))
    batch = tape.batch_size or 1
    rows = np.empty((batch, len(angles)))
    for column, angle in enumerate(angles):
        rows[:, column] = angle
    trainable = tuple(columns[parameter] for parameter in tape.trainable_params)
    return Reading(
        tape, _form(max(1, len(order)), tuple(gates), not amplitudes), rows, trainable, order
    )


def _needs_state(measurement: Any, shots: bool) -> bool:
    return not shots and not isinstance(measurement, DIFFERENTIABLE)


@lru_cache(maxsize=1024)
def _form(
    n_qubits: int, gates: tuple[tuple[str, tuple[int, ...]], ...], diagonal: bool
) -> Parametrised:
    count = sum(name in ROTATION_GATES for name, _ in gates)
    angles = iter(symbols("x", (count,)))
    traced = (
        Gate(name, wires, next(angles) if name in ROTATION_GATES else None) for name, wires in gates
    )
    return parametrise(Trace(n_qubits, count, (0,), tuple(traced)), diagonal)


def results(reading: Reading, rows: Array, rng: np.random.Generator) -> Any:
    """Turn what the backend gave into what PennyLane expects of a tape.

    Args:
        reading: The tape.
        rows: Shares of the outcomes at `reading.points`, shape (batch, 2**n); for a state the real
            parts of its amplitudes.
        rng: The source of the order of the shots.
    """
    shots, batch = reading.tape.shots, len(reading.angles)
    if not reading.form.diagonal:
        states = rows[:batch] + 1j * rows[batch:]
        wires = qml.wires.Wires(reading.order)
        return _measured(
            reading, np.abs(states) ** 2, lambda m, row: m.process_state(states[row], wires)
        )
    if not shots.has_partitioned_shots:
        return _sampled(reading, rows, shots.total_shots, rng)
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
        parts.append(_sampled(reading, part / (upper - lower), upper - lower, rng))
    return tuple(parts)


def _sampled(reading: Reading, shares: Array, shots: int | None, rng: np.random.Generator) -> Any:
    wires = qml.wires.Wires(reading.order)

    @lru_cache
    def samples(row: int) -> Indices:
        return _samples(shares[row], shots or 0, len(wires), rng)

    return _measured(reading, shares, lambda m, row: m.process_samples(samples(row), wires))


def _measured(reading: Reading, shares: Array, process: Callable[[Any, int], Any]) -> Any:
    """The result of each measurement: from the shares, or of each row by what `process` says."""
    values = []
    for measurement in reading.tape.measurements:
        rows: Any
        if isinstance(measurement, DIFFERENTIABLE):
            rows = _value(measurement, shares, reading.order)
        else:
            rows = [process(measurement, row) for row in range(len(shares))]
            rows = rows if isinstance(rows[0], dict) else np.stack(rows)
        values.append(rows if reading.tape.batch_size else rows[0])
    return values[0] if len(values) == 1 else tuple(values)


def _samples(shares: Array, shots: int, n_qubits: int, rng: np.random.Generator) -> Indices:
    """Shots as bits, shape (shots, n_qubits), in random order."""
    counts = np.rint(shares * shots).astype(np.int64)
    outcomes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return outcomes[:, None] >> np.arange(n_qubits)[::-1] & 1


def _value(measurement: Any, shares: Array, order: tuple[Any, ...]) -> Array:
    """Expectation values and variances, shape (batch,), or probabilities, shape (batch, 2**k)."""
    outcomes = _outcomes(measurement, shares, order)
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
        reading: The tape.
        noisy: Whether gates may carry noise, so that no parameter can be known to be without
            effect.
    """

    def __init__(self, reading: Reading, noisy: bool) -> None:
        form = reading.form
        skip = frozenset() if noisy else form.dead
        rows = sorted({column for column in reading.columns if column is not None} - skip)
        self._columns, shifts, self._factors = form.rules(rows)
        # A variance has <e>^2 in it, so that its gradient depends on the shares at the angles
        # themselves.
        self._own = int(
            bool(rows)
            and any(isinstance(m, qml.measurements.VarianceMP) for m in reading.tape.measurements)
        )
        self._reading = reading
        k = reading.angles.shape[1]
        points = np.repeat(
            reading.angles[:, None, :], self._own + len(rows) * 2, axis=1
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
        batch, k = self._reading.angles.shape
        slopes = np.zeros((batch, k))
        if self._columns:
            rows = shares.reshape(batch, -1, shares.shape[1])  # (batch, own + terms, 2**n)
            gradient = _pull_back(self._reading, rows[:, 0], cotangents)
            terms = np.einsum("bts,bs->bt", rows[:, self._own :], gradient) * self._factors
            np.add.at(slopes.T, self._columns, terms.T)
        parameters = zip(self._reading.columns, self._reading.tape.get_parameters(), strict=True)
        zero = np.zeros(batch)
        each = (
            (zero if column is None else slopes[:, column], np.ndim(value))
            for column, value in parameters
        )
        return tuple(slope if broadcast else slope.sum() for slope, broadcast in each)


def _pull_back(reading: Reading, shares: Array, cotangents: Any) -> Array:
    """The gradient towards the shares, shape (batch, 2**n). Only that of a variance depends on them."""
    measurements = reading.tape.measurements
    gradient = np.zeros_like(shares)
    for measurement, given in zip(
        measurements, cotangents if len(measurements) > 1 else (cotangents,), strict=True
    ):
        outcomes = _outcomes(measurement, shares, reading.order)
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


def _outcomes(measurement: Any, shares: Array, order: tuple[Any, ...]) -> Indices:
    """For each basis state the outcome that it is of the measurement, shape (2**n,)."""
    n_qubits = (shares.shape[1] - 1).bit_length()
    return _bits(n_qubits, tuple(order.index(wire) for wire in measurement.wires or order))


@lru_cache(maxsize=256)
def _bits(n_qubits: int, positions: tuple[int, ...]) -> Indices:
    states, outcomes = np.arange(2**n_qubits), np.zeros(2**n_qubits, dtype=np.int64)
    for position in positions:
        outcomes = outcomes << 1 | states >> (n_qubits - 1 - position) & 1
    return outcomes
