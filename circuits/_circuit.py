"""A circuit: an ansatz and what is measured after it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pennylane as qml

from hybridq.circuits._ansatz import AbstractAnsatz
from hybridq.circuits._draw import draw_figure, draw_text
from hybridq.circuits._trace import Trace, trace_ansatz
from hybridq.circuits.readouts._readout import AbstractReadout
from hybridq.circuits.readouts.expval_z import ExpvalZ
from hybridq.errors import InvalidArgument, UnsupportedEncoding

__all__ = ["Circuit"]


@dataclass(frozen=True)
class Circuit:
    """An ansatz joined with a readout.

    Args:
        ansatz: The gates.
        readout: The measurement; by default <Z> of each wire.

    Raises:
        InvalidArgument: If one of them is a name or a class in place of an object, or cannot be
            hashed.

    Example:
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
        >>> print(circuit.draw())
        0: ──H──RY(w0+x0)──RZ(w1)─╭●─┤  <Z>
        1: ──H──RY(w2+x0)──RZ(w3)─╰X─┤  <Z>
    """

    ansatz: AbstractAnsatz
    readout: AbstractReadout = ExpvalZ()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        _check_part("ansatz", self.ansatz, AbstractAnsatz)
        _check_part("readout", self.readout, AbstractReadout)

    @property
    def n_qubits(self) -> int:
        """The number of wires."""
        return self.ansatz.n_qubits

    @property
    def n_inputs(self) -> int:
        """The number of inputs of one circuit."""
        return self.ansatz.n_inputs

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weights of one circuit."""
        return self.ansatz.weight_shape

    @property
    def n_outputs(self) -> int:
        """The number of outputs of one circuit."""
        return self.readout.n_outputs(self.n_qubits)

    def trace(self) -> Trace:
        """Trace the gates with symbolic angles, once, and keep them.

        Returns:
            The trace; equal ansaetze share one.

        Raises:
            NonAffineAngle: If an angle is not of the form a*x + b*w + c.
        """
        return _trace(self.ansatz)

    def qnode(self, backend: Any = "statevector") -> Callable[[Any, Any], Any]:
        """Make a `qml.QNode` of this circuit.

        Args:
            backend: A backend's name or object, any PennyLane device's name, or a PennyLane device.

        Returns:
            A QNode called as `qnode(inputs, weights)`, with the torch interface; inputs (batch,
            n_inputs) or (n_inputs,), weights of `weight_shape`, both in radians. It returns
            PennyLane's own results, which `readout.collect` turns into a tensor.

        Raises:
            UnknownName: If no backend or PennyLane device has this name.
        """
        device = backend
        if not isinstance(backend, qml.devices.Device):
            # Backends live a floor above circuits, so they are looked up by name.
            resolve = importlib.import_module("hybridq.backends").resolve
            device = resolve(backend).device(self.n_qubits)

        @qml.qnode(device, interface="torch")  # type: ignore[untyped-decorator]
        def node(inputs: Any, weights: Any) -> Any:
            self.ansatz.apply(inputs, weights)
            return self.readout.measure(self.n_qubits)

        return node  # type: ignore[no-any-return]

    def fourier_degree(self) -> int:
        """Return the degree of the output as a trigonometric series in the one input.

        A rotation by a*s contributes the frequencies -a, 0, a to an expectation value, so the
        degree is the sum of |a|. A real amplitude is a series in s/2: a rotation contributes -a and
        a there, a phase shift 0 and 2a. A global phase changes nothing but amplitudes.

        Returns:
            The degree; 0 if the input does not appear.

        Raises:
            UnsupportedEncoding: If there is more than one input, or a factor a is not an integer.
        """
        if self.n_inputs != 1:
            reason = "the Fourier form needs a circuit with one input"
            raise UnsupportedEncoding(f"n_inputs={self.n_inputs}: {reason}")
        # How often the factor of an angle counts, for gates other than rotations.
        if self.readout.diagonal:
            counts = {"PhaseShift": 1, "GlobalPhase": 0}
        else:
            counts = {"PhaseShift": 2, "GlobalPhase": 2}
        degree = 0.0
        for gate in self.trace().gates:
            factor = gate.angle.terms.get(("x", 0), 0.0) if gate.angle is not None else 0.0
            contribution = counts.get(gate.name, 1) * abs(factor)
            if not contribution.is_integer():
                raise UnsupportedEncoding(
                    f"frequencies: the factor {factor:g} of the input is not an integer, so the "
                    "output is not a trigonometric polynomial in it. Use integer factors (one "
                    "common factor can be learned outside the circuit), or evaluate every score "
                    "with method='per_score'."
                )
            degree += contribution
        return round(degree)

    def draw(self) -> str:
        """Draw the circuit as text.

        Returns:
            One line per wire, as PennyLane draws it. In angles, x are the inputs and w the weights,
            by their flat index.

        Raises:
            NonAffineAngle: If the circuit cannot be traced.
        """
        return draw_text(self.trace(), self.readout)

    def draw_figure(self) -> Any:
        """Draw the circuit as a matplotlib figure.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtra: If matplotlib is not installed.
        """
        return draw_figure(self.trace(), self.readout)


def _check_part(argument: str, part: Any, base: type) -> None:
    if isinstance(part, str) and argument == "ansatz":
        reason = (
            f"give an object; hybridq.catalogue.load('circuits', {part!r})() makes one of a name"
        )
        raise InvalidArgument.of(argument, part, reason)
    if isinstance(part, type) and issubclass(part, base):
        raise InvalidArgument.of(
            argument, part, f"this is the class; give an object of it, {part.__name__}(...)"
        )
    if not isinstance(part, base):
        raise InvalidArgument.of(
            argument,
            part,
            f"give an object of a class derived from hybridq.circuits.{base.__name__}",
        )
    try:
        hash(part)
    except TypeError as error:
        way_out = "write @dataclass(frozen=True), and tuples in place of lists"
        reason = f"it cannot be hashed ({error}); {way_out}"
        raise InvalidArgument.of(argument, part, reason) from error


@lru_cache(maxsize=256)
def _trace(ansatz: AbstractAnsatz) -> Trace:
    return trace_ansatz(ansatz)
