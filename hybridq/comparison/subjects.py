"""The subject of a comparison: gates at certain angles, and the observables that are read.

The observables are linear in the probabilities of the bit strings.
"""

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
from hybridq.errors import InvalidArgument, NonAffineAngle, UnknownName
from hybridq.study.runs import Run, RunLoader

__all__ = ["Subject", "load_checkpoint", "make_subject"]

_MOST_QUBITS = 8  # of each point the covariances of all 2**n bit strings are kept


@dataclass(frozen=True, eq=False)
class Subject:
    """Points of one circuit, and the observables read from each.

    Args:
        kind: "circuit", "QNode" or "model".
        name: The name for a reader.
        ansatz: The gates.
        inputs: The inputs, shape (points, n_inputs), radians, float64.
        weights: The weights, shape `weight_shape` or (points, *weight_shape), radians, float64.
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
            shape = tuple(self.inputs.shape)
            raise InvalidArgument.of("inputs", shape, "there is no point to compare at")
        if self.ansatz.n_qubits > _MOST_QUBITS:
            most = f"distributions of at most {_MOST_QUBITS} qubits are compared"
            way_out = f"{most}; choose a smaller circuit"
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


def make_subject(subject: Any, arguments: Sequence[Any], loader: str | None) -> Subject:
    """Make the subject of a comparison.

    Args:
        subject: A `Circuit`, a QNode, a model, or the folder of a run.
        arguments: Inputs and weights of a circuit, the arguments of a QNode, the test split of a
            model; none of a run.
        loader: The function that loads the folder of a run, "package.module:function"; None takes
            the one that the run's record names.

    Returns:
        The subject.

    Raises:
        InvalidArgument: If the subject is something else, or the arguments do not fit it.
    """
    if isinstance(subject, Circuit):
        return _of_circuit(subject, *_exactly(arguments, "inputs", "weights"))
    if isinstance(subject, qml.QNode):
        ansatz, angles, matrix, observables = read_qnode(subject, arguments)
        return Subject(
            kind="QNode",
            name=subject.func.__name__,
            ansatz=ansatz,
            inputs=angles,
            weights=torch.empty(0).double(),
            matrix=matrix,
            observables=observables,
            points=_numbered(len(angles)),
        )
    if isinstance(subject, nn.Module):
        (split,) = _exactly(arguments, "split")
        return _of_model(type(subject).__name__, TrainedModel.of(subject, split))
    if isinstance(subject, str | Path):
        _exactly(arguments)
        model, data = load_checkpoint(Path(subject), loader)
        return _of_model(Path(subject).resolve().name, TrainedModel.of(model, data.test))
    way_out = (
        "give a Circuit, a QNode, a model with QuantumAttention layers, or the folder of a run"
    )
    raise InvalidArgument.of("subject", subject, way_out)


def load_checkpoint(path: Path, loader: str | None = None) -> tuple[nn.Module, Any]:
    """Load the model and the data of a run.

    Args:
        path: The folder of the run.
        loader: The function that loads it, "package.module:function"; None takes the one that the
            run's record names. It is called with the path, and returns the model and the data,
            whose `test` has `ids` and `labels`.

    Returns:
        The model and the data.

    Raises:
        InvalidArgument: If there is no such function, or neither names one.
        DataNotFound: If no loader is given and the folder is no run.
    """
    named = Run.load(path).loader if loader is None else loader
    if named is None:
        way_out = (
            f"the record of the run {path.name!r} names no loader; give the function that loads "
            "it, --loader package.module:function"
        )
        raise InvalidArgument.of("loader", None, way_out)
    try:
        function = catalogue.load_object("loader", named)
    except UnknownName:
        raise
    except InvalidArgument as error:
        way_out = "Start where that module can be imported, or name another with --loader"
        raise InvalidArgument(f"{error}. {way_out}") from error
    if loader is None and not isinstance(function, RunLoader):
        way_out = (
            "the run's record names it, but it is not declared as a hybridq.study.runs.RunLoader; "
            "if you trust it, give it with --loader"
        )
        raise InvalidArgument.of("loader", named, way_out)
    model, data = function(path)
    return model, data


def _of_circuit(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Subject:
    if not circuit.readout.diagonal:
        measurable = "compare a readout of probabilities, such as ExpvalZ()"
        way_out = f"amplitudes cannot be measured; {measurable}"
        raise InvalidArgument.of("readout", circuit.readout, way_out)
    inputs = torch.as_tensor(inputs).detach().to("cpu", torch.float64)
    weights = torch.as_tensor(weights).detach().to("cpu", torch.float64)
    if inputs.ndim != 2:
        reason = f"the shape must be (points, {circuit.n_inputs})"
        raise InvalidArgument.of("inputs", tuple(inputs.shape), reason)
    matrix = circuit.readout.matrix(circuit.n_qubits)
    return Subject(
        kind="circuit",
        name=f"{type(circuit.ansatz).__name__}, {circuit.n_qubits} qubits",
        ansatz=circuit.ansatz,
        inputs=inputs,
        weights=weights,
        matrix=matrix,
        observables=_names(circuit.readout, matrix),
        points=_numbered(len(inputs)),
    )


def _of_model(name: str, trained: TrainedModel) -> Subject:
    circuit = trained.circuit
    inputs, weights = trained.points()
    matrix = circuit.readout.matrix(circuit.n_qubits)
    samples = trained.form.n_samples
    points = tuple(f"{label}, sample {j}" for label in trained.set_names for j in range(samples))
    names = _names(circuit.readout, matrix)
    return Subject("model", name, circuit.ansatz, inputs, weights, matrix, names, points, trained)


def _numbered(n_points: int) -> tuple[str, ...]:
    """Name points by their numbers; a single one needs no name."""
    return tuple(f"point {i}" for i in range(n_points)) if n_points > 1 else ("",)


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
