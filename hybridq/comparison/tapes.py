"""Read the gates, the angles and the observables of a QNode."""

from collections.abc import Sequence
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends._core.device import TapeAnsatz
from hybridq.circuits import gates_of
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
        value = f"shots={tape.shots.total_shots}"
        raise InvalidArgument.of("qnode", value, "shots are an option of each backend here")
    tapes, _ = qml.transforms.broadcast_expand(_in_order(tape))
    gates = [
        [gate for operation in one.operations for gate in gates_of(operation)] for one in tapes
    ]
    structure = tuple((gate.name, gate.wires) for gate in gates[0])
    ansatz = TapeAnsatz(len(tape.wires), structure)
    angles = [[gate.angle.constant for gate in one if gate.angle is not None] for one in gates]
    rows, names = [], []
    for measurement, original in zip(tapes[0].measurements, tape.measurements, strict=True):
        block = _rows(measurement, len(tape.wires))
        rows.append(block)
        names += _names(original, len(block))
    return (
        ansatz,
        torch.tensor(angles, dtype=torch.float64).reshape(len(tapes), -1),
        torch.cat(rows),
        tuple(names),
    )


def _in_order(tape: Any) -> Any:
    """Return the same tape on the wires 0..n-1.

    Integers keep their order; other names come in the order of their first use.
    """
    wires = tape.wires.tolist()
    if all(isinstance(wire, int) for wire in wires):
        wires = sorted(wires)
    tapes, _ = qml.map_wires(tape, {wire: i for i, wire in enumerate(wires)})
    return tapes[0]


def _rows(measurement: Any, n_qubits: int) -> Tensor:
    """Return the measurement as rows of a matrix on the probabilities of all bit strings."""
    if type(measurement) is qml.measurements.ExpectationMP:
        return _expectation(measurement, n_qubits)
    diagonal = measurement.obs is None and measurement.eigvals() is None
    if type(measurement) is not qml.measurements.ProbabilityMP or not diagonal:
        way_out = (
            "measure qml.expval of products and sums of Z, or qml.probs of wires; nothing else can "
            "be compared"
        )
        raise InvalidArgument.of("measurement", measurement, way_out)
    wires = list(measurement.wires) or list(range(n_qubits))
    bits = _bits(n_qubits)[:, wires]  # (2**n, wires)
    numbers = (bits * 2 ** torch.arange(len(wires) - 1, -1, -1)).sum(1)
    return torch.nn.functional.one_hot(numbers, 2 ** len(wires)).T.double()


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
