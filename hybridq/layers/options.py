"""The choices of quantum attention, in one place."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from hybridq.circuits import Circuit, RealAmplitudes, RyRzCnot
from hybridq.errors import InvalidArgument

__all__ = ["QuantumOptions"]

Argument = Literal["scaled", "raw", "tanh"]
Sharing = Literal["per_head", "module"]
Method = Literal["fourier", "per_score"]


@dataclass(frozen=True)
class QuantumOptions:
    """The way in which the circuit enters the scores: s + gate * Phi(frequency * argument(s)).

    Args:
        circuit: Ansatz and readout (SPEC A3 to A10).
        argument: The input of the circuit: the "scaled" score q.k/sqrt(d), the "raw" score q.k, or
            "tanh": pi tanh of the scaled score (SPEC A2).
        sharing: One set of angles "per_head", or one for the whole "module" (SPEC A12).
        gate: Where the learnable weight on Phi starts: 1 from scratch, 0 inside a pretrained model
            (SPEC A14).
        trainable: Whether readout weights and gate are learned; the angles always are.
        learn_frequency: Whether one common factor of the score, which starts at 1, is learned.
        angle_std: The angles start as N(0, angle_std^2), radians (SPEC A13).
        method: "fourier" samples the circuit at 2 D + 1 points and evaluates the series at the
            scores, exactly. "per_score" runs one circuit for every score: it is the slow oracle,
            and the only way for encodings without a Fourier form.

    Raises:
        InvalidArgument: If a field has another value than these.
        UnsupportedEncoding: If the method is "fourier" and the circuit has no Fourier form.
    """

    circuit: Circuit = Circuit(RyRzCnot())  # noqa: RUF009 - frozen
    argument: Argument = "scaled"
    sharing: Sharing = "per_head"
    gate: float = 1.0
    trainable: bool = True
    learn_frequency: bool = False
    angle_std: float = 0.1
    method: Method = "fourier"

    def __post_init__(self) -> None:
        if not isinstance(self.circuit, Circuit):
            raise InvalidArgument.of(
                "circuit", self.circuit, "give a Circuit, for example Circuit(RyRzCnot(n_qubits=4))"
            )
        _check_choice("argument", self.argument, get_args(Argument))
        _check_choice("sharing", self.sharing, get_args(Sharing))
        _check_choice("method", self.method, get_args(Method))
        if not _is_finite(self.gate):
            reason = "give a finite number; 1 from scratch, 0 inside a pretrained model"
            raise InvalidArgument.of("gate", self.gate, reason)
        if not _is_finite(self.angle_std) or self.angle_std < 0:
            reason = "give a standard deviation in radians, finite, 0 or more"
            raise InvalidArgument.of("angle_std", self.angle_std, reason)
        if self.circuit.n_inputs != 1:
            reason = "attention needs a circuit with one input, the score"
            raise InvalidArgument.of("circuit", self.circuit, reason)
        if self.method == "fourier":
            self.circuit.fourier_degree()

    @classmethod
    def recommended(cls) -> "QuantumOptions":
        """Return the defaults.

        These are 4 qubits and 2 layers, the scaled score in every RY, <Z> of every qubit with
        learnable weights, and angles for each head.
        """
        return cls()

    @classmethod
    def literal(cls, *, encoding: Literal["none", "every_layer"] = "none") -> "QuantumOptions":
        """Return the options as the paper prints them, faults included.

        The real amplitudes are summed, no gate is learned, and the score is not in the circuit.

        Args:
            encoding: "none" is equation (5), which softmax cancels. "every_layer" puts the raw
                score into the circuit, as the paper's text says.

        Returns:
            The options.
        """
        circuit = Circuit(RyRzCnot(encoding=encoding), RealAmplitudes())
        return cls(circuit=circuit, argument="raw", sharing="module", trainable=False)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        names = ", ".join(map(repr, choices))
        raise InvalidArgument.of(name, value, f"choose one of {names}")


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
