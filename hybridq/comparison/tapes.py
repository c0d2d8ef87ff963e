"""Read a QNode: its gates, its angles and its observables."""

from collections.abc import Sequence
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends import TapeAnsatz, TapeReading, read_tape
from hybridq.errors import InvalidArgument

__all__ = ["read_qnode"]


def read_qnode(
    qnode: Any, arguments: Sequence[Any]
) -> tuple[TapeAnsatz, Tensor, Tensor, tuple[str, ...]]:
    """Read what a QNode does for certain arguments. Its own device runs nothing.

    Args:
        qnode: The QNode; it measures expectation values in the Z basis, or probabilities.
        arguments: The arguments of its call. Those with a batch dimension give several points.

    Returns:
        The gates, with their angles as inputs; the angles, shape (points, angles), radians; the
        observables as a linear map of the probabilities, shape (observables, 2**n); and their
        names.

    Raises:
        InvalidArgument: If it has another measurement, shots of its own, or a gate that is not of
            the base set.
    """
    tape = qml.workflow.construct_tape(qnode, level="top")(*arguments)
    if tape.shots:
        fault = f"has {tape.shots.total_shots} shots of its own"
        raise InvalidArgument.that("qnode", fault, "shots are an option of each backend here")
    n_qubits = len(tape.wires)
    tapes, _ = qml.transforms.broadcast_expand(_in_order(tape))
    readings = [read_tape(point, range(n_qubits)) for point in tapes]
    ansatz = TapeAnsatz(n_qubits, readings[0].gates)
    angles = torch.cat([torch.from_numpy(reading.angles) for reading in readings])
    rows, names = [], []
    for measurement, original in zip(readings[0].measurements, tape.measurements, strict=True):
        matrix = _rows(readings[0], measurement)
        rows.append(matrix)
        names += _names(original, len(matrix))
    return ansatz, angles, torch.cat(rows), tuple(names)


def _in_order(tape: Any) -> Any:
    """Return the same tape on the wires 0..n-1.

    Integers keep their order; other names come in the order of their first use.
    """
    wires = tape.wires.tolist()
    if all(isinstance(wire, int) for wire in wires):
        wires = sorted(wires)
    tapes, _ = qml.map_wires(tape, {wire: i for i, wire in enumerate(wires)})
    return tapes[0]


def _rows(reading: TapeReading, measurement: Any) -> Tensor:
    """Write a measurement as rows of a matrix on the probabilities of all bit strings."""
    n_qubits = len(reading.wires)
    if type(measurement) is qml.measurements.ExpectationMP:
        return _expectation(measurement, n_qubits)
    diagonal = measurement.obs is None and measurement.eigvals() is None
    if type(measurement) is not qml.measurements.ProbabilityMP or not diagonal:
        way_out = (
            "measure qml.expval of products and sums of Z, or qml.probs of wires; nothing else "
            "can be compared"
        )
        raise InvalidArgument.of("measurement", measurement, way_out)
    outcomes = torch.from_numpy(reading.outcomes(measurement, n_qubits))
    return torch.nn.functional.one_hot(outcomes, int(outcomes.max()) + 1).T.double()


def _expectation(measurement: Any, n_qubits: int) -> Tensor:
    words = None if measurement.obs is None else measurement.obs.pauli_rep
    if words is None or any(set(word.values()) - {"Z"} for word in words):
        way_out = (
            "only observables in the Z basis are compared; rotate with gates before the measurement"
        )
        raise InvalidArgument.of("measurement", measurement, way_out)
    signs = 1.0 - 2.0 * _bits(n_qubits).double()  # (2**n, n)
    terms = [float(factor) * signs[:, list(word)].prod(1) for word, factor in words.items()]
    return torch.stack(terms).sum(0)[None]


def _bits(n_qubits: int) -> Tensor:
    """Return the bits of 0..2**n - 1, wire 0 leftmost; shape (2**n, n)."""
    return (torch.arange(2**n_qubits)[:, None] >> torch.arange(n_qubits - 1, -1, -1)) & 1


def _names(measurement: Any, count: int) -> list[str]:
    if isinstance(measurement, qml.measurements.ExpectationMP):
        return [f"⟨{measurement.obs}⟩"]
    width = (count - 1).bit_length()
    wires = ",".join(map(str, measurement.wires))
    return [f"P({number:0{width}b}{f' on {wires}' if wires else ''})" for number in range(count)]
