"""What is compared: gates at certain angles, and what is read from the probabilities of the bit strings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pennylane as qml
import torch
from torch import Tensor, nn

from hybridq import catalogue
from hybridq.circuits import AbstractAnsatz, AbstractReadout, Circuit, ExpvalZ
from hybridq.comparison.models import TrainedModel
from hybridq.comparison.tapes import read_qnode
from hybridq.errors import InvalidArgument, NonAffineAngle

__all__ = ["Subject", "load_checkpoint", "make_subject"]

_MOST_QUBITS = 8  # of each point the covariances of all 2**n bit strings are kept


@dataclass(frozen=True, eq=False)
class Subject:
    """Points of one circuit, and the observables read from each.

    Args:
        kind: "circuit", "QNode" or "model".
        name: What a reader calls it.
        ansatz: The gates.
        inputs: Shape (points, n_inputs), radians, float64.
        weights: Shape `weight_shape` or (points, *weight_shape), radians, float64.
        matrix: The observables as a linear map of the probabilities, shape (observables,
            2**n_qubits).
        observables: The name of each observable.
        points: The name of each point.
        trained: The model whose circuits these are, or None.
    """

    kind: str
    name: str
    ansatz: AbstractAnsatz
    inputs: Tensor
    weights: Tensor
    matrix: Tensor
    observables: tuple[str, ...]
    points: tuple[str, ...]
    trained: TrainedModel | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.inputs):
            raise InvalidArgument.of(
                "inputs", tuple(self.inputs.shape), "there is no point to compare at"
            )
        if self.ansatz.n_qubits > _MOST_QUBITS:
            way_out = f"distributions of at most {_MOST_QUBITS} qubits are compared; choose a smaller circuit"
            raise InvalidArgument.of("n_qubits", self.ansatz.n_qubits, way_out)

    @property
    def circuit_hash(self) -> str:
        """The SHA-256 of the gates and of what is read."""
        try:
            gates = repr(Circuit(self.ansatz).trace().gates)
        except NonAffineAngle:
            gates = repr(self.ansatz)
        return hashlib.sha256(gates.encode() + self.matrix.numpy().tobytes()).hexdigest()

    @property
    def angles_hash(self) -> str:
        """The SHA-256 of the inputs and the weights."""
        parts = [
            repr(tuple(t.shape)).encode() + t.contiguous().numpy().tobytes()
            for t in (self.inputs, self.weights)
        ]
        return hashlib.sha256(b"".join(parts)).hexdigest()


def make_subject(subject: Any, arguments: Sequence[Any], loader: str) -> Subject:
    """Make the subject of what a user has.

    Args:
        subject: A `Circuit`, a QNode, a model, or the folder of a run.
        arguments: Inputs and weights of a circuit, the arguments of a QNode, the test split of a
            model; none of a run.
        loader: How the folder of a run is loaded, "package.module:function".

    Raises:
        InvalidArgument: If the subject is something else, or the arguments do not fit it.
    """
    if isinstance(subject, Circuit):
        return _of_circuit(subject, *_exactly(arguments, "inputs", "weights"))
    if isinstance(subject, qml.QNode):
        ansatz, angles, matrix, observables = read_qnode(subject, arguments)
        points = tuple(f"point {i}" for i in range(len(angles))) if len(angles) > 1 else ("",)
        return Subject(
            "QNode",
            subject.func.__name__,
            ansatz,
            angles,
            torch.empty(0).double(),
            matrix,
            observables,
            points,
        )
    if isinstance(subject, nn.Module):
        return _of_model(
            type(subject).__name__, TrainedModel.of(subject, *_exactly(arguments, "split"))
        )
    if isinstance(subject, str | Path):
        _exactly(arguments)
        model, data = load_checkpoint(Path(subject), loader)
        return _of_model(Path(subject).resolve().name, TrainedModel.of(model, data.test))
    way_out = (
        "give a Circuit, a QNode, a model with QuantumAttention layers, or the folder of a run"
    )
    raise InvalidArgument.of("subject", subject, way_out)


def load_checkpoint(path: Path, loader: str) -> tuple[nn.Module, Any]:
    """Load a run by the function that a string names.

    Args:
        path: The folder of the run.
        loader: "package.module:function"; called with the path, it returns the model and the data,
            whose `test` has `ids` and `labels`.

    Raises:
        InvalidArgument: If there is no such function.
    """
    if ":" not in loader:
        raise InvalidArgument.of("loader", loader, "write package.module:function")
    try:
        function = catalogue.load("backends", loader)
    except InvalidArgument as error:
        way_out = f"it cannot be imported ({error}). Start in the checkout that has it, or name a function of your own"
        raise InvalidArgument.of("loader", loader, way_out) from error
    model, data = function(path)
    return model, data


def _of_circuit(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Subject:
    if not circuit.readout.diagonal:
        way_out = (
            "amplitudes cannot be measured; compare a readout of probabilities, such as ExpvalZ()"
        )
        raise InvalidArgument.of("readout", circuit.readout, way_out)
    inputs, weights = (
        torch.as_tensor(angles).detach().to("cpu", torch.float64) for angles in (inputs, weights)
    )
    if inputs.ndim != 2:
        raise InvalidArgument.of(
            "inputs", tuple(inputs.shape), f"the shape must be (points, {circuit.n_inputs})"
        )
    matrix = circuit.readout.matrix(circuit.n_qubits)
    points = tuple(f"point {i}" for i in range(len(inputs))) if len(inputs) > 1 else ("",)
    name = f"{type(circuit.ansatz).__name__}, {circuit.n_qubits} qubits"
    return Subject(
        "circuit",
        name,
        circuit.ansatz,
        inputs,
        weights,
        matrix,
        _names(circuit.readout, matrix),
        points,
    )


def _of_model(name: str, trained: TrainedModel) -> Subject:
    circuit = trained.circuit
    inputs, weights = trained.points()
    matrix = circuit.readout.matrix(circuit.n_qubits)
    samples = trained.form.n_samples
    points = tuple(f"{label}, sample {j}" for label in trained.set_names for j in range(samples))
    names = _names(circuit.readout, matrix)
    return Subject("model", name, circuit.ansatz, inputs, weights, matrix, names, points, trained)


def _names(readout: AbstractReadout, matrix: Tensor) -> tuple[str, ...]:
    if isinstance(readout, ExpvalZ):
        return tuple(f"⟨Z{i}⟩" for i in range(len(matrix)))
    n_qubits = (matrix.shape[1] - 1).bit_length()
    if bool(((matrix == 0) | (matrix == 1)).all()) and bool((matrix.sum(1) == 1).all()):
        return tuple(f"P({int(row.argmax()):0{n_qubits}b})" for row in matrix)
    return tuple(f"output {i}" for i in range(len(matrix)))


def _exactly(arguments: Sequence[Any], *names: str) -> Sequence[Any]:
    if len(arguments) != len(names):
        wanted = " and ".join(names) or "nothing"
        way_out = f"after the backends give {wanted}"
        raise InvalidArgument.that("arguments", f"are {len(arguments)} in number", way_out)
    return arguments
