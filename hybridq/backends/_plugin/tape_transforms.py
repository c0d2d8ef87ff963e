"""Transforms of tapes for `hybridq.qiskit`: measurements in the Z basis, angles in rows."""

from typing import Any

import pennylane as qml

from hybridq.errors import InvalidArgument

__all__ = ["as_matrices", "broadcast_trained", "diagonalize"]

_MATRIX_WIRES = 8


@qml.transform  # type: ignore[untyped-decorator]
def as_matrices(tape: Any) -> tuple[list[Any], Any]:
    """Write observables as matrices where their terms cannot be measured one by one.

    These are sums, in all measurements but expectation values.
    """

    def rewritten(measurement: Any) -> Any:
        observable = measurement.obs
        split = isinstance(measurement, qml.measurements.ExpectationMP) or not _is_sum(observable)
        if split and not isinstance(observable, qml.SparseHamiltonian):
            return measurement
        if len(observable.wires) > _MATRIX_WIRES:
            way_out = f"it is measured in its own basis; that takes at most {_MATRIX_WIRES} wires"
            raise InvalidArgument.of("observable", observable, way_out)
        matrix = qml.matrix(observable, wire_order=observable.wires)
        return _with_observable(measurement, obs=qml.Hermitian(matrix, wires=observable.wires))

    measurements = [rewritten(measurement) for measurement in tape.measurements]
    return [tape.copy(measurements=measurements)], _only


def _is_sum(observable: Any) -> bool:
    return (
        observable is not None
        and observable.pauli_rep is not None
        and len(observable.pauli_rep) > 1
    )


@qml.transform  # type: ignore[untyped-decorator]
def diagonalize(tape: Any) -> tuple[list[Any], Any]:
    """Turn every observable into eigenvalues of basis states, by gates at the end.

    The observables of a tape have to commute.
    """
    observed = [m.obs for m in tape.measurements if m.obs is not None]
    if all(qml.pauli.is_pauli_word(observable) for observable in observed):
        gates, words = qml.pauli.diagonalize_qwc_pauli_words(observed) if observed else ([], [])
    else:
        wires = [wire for observable in observed for wire in observable.wires]
        if len(wires) > len(set(wires)):
            way_out = "these are measured at once only on different wires"
            raise InvalidArgument.of("measurements", observed, way_out)
        gates = [gate for observable in observed for gate in observable.diagonalizing_gates()]
        words = observed
    rest = iter(words)
    measurements = []
    for measurement in tape.measurements:
        if measurement.obs is None:
            measurements.append(measurement)
            continue
        word = next(rest)
        measurements.append(_with_observable(measurement, eigvals=word.eigvals(), wires=word.wires))
    operations = [*tape.operations, *gates]
    return [tape.copy(operations=operations, measurements=measurements)], _only


def _with_observable(measurement: Any, **observable: Any) -> Any:
    """Return the same measurement of another observable."""
    if isinstance(measurement, qml.measurements.CountsMP):
        observable["all_outcomes"] = measurement.all_outcomes
    return type(measurement)(**observable)


@qml.transform  # type: ignore[untyped-decorator]
def broadcast_trained(tape: Any) -> tuple[list[Any], Any]:
    """Give all trained angles of a broadcast tape one row for each of its points.

    PennyLane's torch interface takes the vector-Jacobian products of a tape in one shape only.
    """
    size = tape.batch_size
    if not size:
        return [tape], _only

    def expand(operation: Any) -> Any:
        if not operation.parameters or operation.batch_size is not None:
            return operation
        (angle,) = operation.parameters
        if not qml.math.requires_grad(angle):
            return operation
        return type(operation)(qml.math.stack([angle] * size), wires=operation.wires)

    return [tape.copy(operations=[expand(operation) for operation in tape.operations])], _only


def _only(results: Any) -> Any:
    """Return the result of the one tape that a transform made."""
    return results[0]
