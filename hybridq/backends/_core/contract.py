"""The one contract of all backends: where circuits run."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar, Literal

import pennylane as qml
import torch
from torch import Tensor

from hybridq.circuits import Circuit, FourierForm, Probabilities
from hybridq.engine import (
    check_arguments,
    check_coefficient_arguments,
    full_precision,
    not_finite,
)
from hybridq.errors import BackendUnavailable, InvalidArgument

__all__ = ["AbstractBackend", "Capabilities", "check_shots", "moments"]


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do, with its present options.

    Args:
        exact: Whether results carry no shot noise.
        gradient: How gradients are made.
        max_qubits: The largest number of qubits.
        amplitudes: Whether readouts that are not diagonal (real amplitudes) can be had.
        noisy: Whether a noise model acts on the gates or the readout.
        costs_money: Whether evaluating uses paid time.
    """

    exact: bool
    gradient: Literal["adjoint", "parameter-shift", "spsa", "pennylane"]
    max_qubits: int
    amplitudes: bool = True
    noisy: bool = False
    costs_money: bool = False


@dataclass
class AbstractBackend(ABC):
    """A place where circuits run.

    The fields of a backend are its options, and every option has a default that runs, unless
    `needs_shots`. The SDK is imported inside, when it is needed.

    A backend does exactly what was asked, or raises: it never runs another circuit instead. Its
    options stay what they were when they were checked; other options are another backend.
    `n_circuits_run` counts the circuits (points of inputs and weights) that were run, gradients
    included.
    """

    distributions: ClassVar[tuple[str, ...]] = ()
    """The distributions that it needs beyond hybridq's own, for `hybridq backends`."""
    extra: ClassVar[str | None] = None
    """The extra of hybridq-toolkit that installs them."""
    positional: ClassVar[str | None] = None
    """The option that may follow the name without being named, as in "ibm:fake_torino"."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Options under one name, which may follow it, as in "ibm:fake_torino+mitigated"."""

    trial_options: ClassVar[Mapping[str, Any]] = {}
    """The options with which the contract's tests make one.

    They replace defaults that need an account or spend money.
    """

    traceable: ClassVar[bool] = False
    """Whether torch.compile can trace `evaluate`; otherwise it breaks its graph there."""
    needs_shots: ClassVar[bool] = False
    """Whether it has no exact mode, so that `shots` has to be stated."""
    addresses_sets: ClassVar[bool] = False
    """Whether `_evaluate` takes fewer sets of weights than points.

    Otherwise each set is repeated for the points that it serves.
    """

    n_circuits_run: int = field(default=0, init=False, repr=False, compare=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            self._refuse_option(name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_option(name, vars(self).get(name))
        super().__delattr__(name)

    def _refuse_option(self, name: str, value: Any) -> None:
        if name in _options(type(self)):
            way_out = (
                "a backend keeps the options that it was made with, for what it ran is recorded "
                f"under them; make a new one: dataclasses.replace(backend, {name}=...)"
            )
            raise InvalidArgument.of(name, value, way_out)

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that `hybridq.backends.resolve` knows."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend can do with its present options."""

    @abstractmethod
    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return a PennyLane device that runs on this backend.

        Args:
            n_qubits: Number of wires.
        """

    @abstractmethod
    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Do what `evaluate` says, for arguments that were checked."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return what a record needs to say where a number came from.

        Returns:
            Name, options, versions, device, noise, seed and shots, as a dictionary of JSON values.
            It holds no secret.
        """

    def evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Run the circuit at a batch of points. Differentiable towards inputs and weights.

        Args:
            circuit: The circuit.
            inputs: Shape (batch, n_inputs), radians, floating point.
            weights: Shape `weight_shape`, or (sets, *weight_shape) where each set serves batch /
                sets points in a row, so that (batch, *weight_shape) are weights of each point's
                own; radians, same dtype.

        Returns:
            Shape (batch, n_outputs), same dtype and device as `inputs`. A batch of no points runs
            nothing.

        Raises:
            InvalidArgument: If a shape, dtype or value (NaN, infinity) does not fit.
            BackendUnavailable: If this backend cannot run this circuit.
        """
        weights = self._prepared(circuit, inputs, weights)
        if not len(inputs):  # nothing to run; the gradients are zeros
            return (inputs.sum() + weights.sum()).expand(0, circuit.n_outputs)
        return self._evaluate(circuit, inputs, weights)

    def coefficients(
        self, circuit: Circuit, weights: Tensor, readout: Tensor, gate: Tensor
    ) -> Tensor:
        """Return the Fourier coefficients of gate * (readout . outputs) as a series in the input.

        It runs 2 D + 1 circuits for each set of weights, in one evaluation, with D the degree of
        the series (SPEC section 2).

        Args:
            circuit: A circuit with one input.
            weights: Shape (sets, *weight_shape), radians, floating point.
            readout: The weight of each output, shape (sets, n_outputs), same dtype and device.
            gate: The factor of each set, shape (sets,), same dtype and device.

        Returns:
            Shape (sets, 2 D + 1), in the order of `FourierForm.coefficients`. Differentiable
            towards weights, readout and gate.

        Raises:
            UnsupportedEncoding: If the circuit has no Fourier form.
            InvalidArgument: If a shape, dtype, device or value does not fit.
            BackendUnavailable: If this backend cannot run this circuit.
        """
        check_coefficient_arguments(circuit, weights, readout, gate)
        form = FourierForm.of(circuit)
        with full_precision(weights.device):
            outputs = self.evaluate(circuit, form.inputs(weights), weights)
            return form.combine(outputs, readout, gate)

    @torch.no_grad()
    def evaluate_with_errors(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the circuit at a batch of points, with the standard errors of the shots.

        Args:
            circuit: The circuit.
            inputs: As `evaluate`.
            weights: As `evaluate`.

        Returns:
            The outputs and their standard errors, both of shape (batch, n_outputs); the errors are
            0 on an exact backend. Neither carries a gradient.

        Raises:
            InvalidArgument: As `evaluate`.
            BackendUnavailable: As `evaluate`.
        """
        values, covariances = self.evaluate_with_covariances(circuit, inputs, weights)
        return values, covariances.diagonal(dim1=1, dim2=2).sqrt()

    @torch.no_grad()
    def evaluate_with_covariances(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the circuit at a batch of points, with the covariances of its outputs.

        All outputs of a point come from the same shots. For outputs R p of the probabilities p,
        N shots give R (diag p - p p^T) R^T / N, in which the measured frequencies take the place
        of p.

        Args:
            circuit: The circuit.
            inputs: As `evaluate`.
            weights: As `evaluate`.

        Returns:
            The outputs, shape (batch, n_outputs), and their covariances, shape (batch, n_outputs,
            n_outputs).

        Raises:
            InvalidArgument: As `evaluate`.
            BackendUnavailable: As `evaluate`.
        """
        if self.capabilities.exact:
            values = self.evaluate(circuit, inputs, weights)
            return values, values.new_zeros(len(values), circuit.n_outputs, circuit.n_outputs)
        self._check(circuit, inputs, weights)
        frequencies = self.evaluate(Circuit(circuit.ansatz, Probabilities()), inputs, weights)
        matrix = circuit.readout.matrix(circuit.n_qubits, frequencies.dtype).to(frequencies.device)
        return moments(frequencies, matrix, self.provenance()["shots"])

    def _prepared(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """Check the arguments, and return the weights as `_evaluate` takes them."""
        self._check(circuit, inputs, weights)
        per_point = weights.ndim == len(circuit.weight_shape) or len(weights) in (0, len(inputs))
        if per_point or self.addresses_sets:
            return weights
        return weights.repeat_interleave(len(inputs) // len(weights), 0)

    def _check(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
        check_arguments(circuit, inputs, weights)
        if inputs.dtype not in (torch.float32, torch.float64):
            way_out = "angles are float32 or float64; convert with .float()"
            raise InvalidArgument.of("inputs.dtype", inputs.dtype, way_out)
        if not torch.compiler.is_compiling():
            for argument, angles in (("inputs", inputs), ("weights", weights)):
                # One reduction: a sum is finite only if no angle is NaN or infinite.
                if not math.isfinite(angles.detach().sum().item()):
                    raise not_finite(argument)
        if circuit.n_qubits > self.capabilities.max_qubits:
            raise BackendUnavailable(
                f"n_qubits={circuit.n_qubits}: backend {self.name!r} runs at most "
                f"{self.capabilities.max_qubits} qubits"
            )
        if not circuit.readout.diagonal and not self.capabilities.amplitudes:
            raise BackendUnavailable(
                f"readout={circuit.readout}: amplitudes cannot be measured on backend "
                f"{self.name!r} with these options; use a readout of probabilities, or an exact "
                "simulator"
            )


@lru_cache
def _options(kind: type[AbstractBackend]) -> frozenset[str]:
    return frozenset(option.name for option in fields(kind) if option.init)


def moments(frequencies: Tensor, matrix: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """Return the outputs R f and their covariances R (diag p - p p^T) R^T / shots.

    In p, the weight of one more shot is spread evenly over the states: an error is not 0 where all
    shots agree.

    Args:
        frequencies: f, the measured frequencies of the basis states, shape (batch, 2**n).
        matrix: R, shape (outputs, 2**n).
        shots: Shots per point.

    Returns:
        The outputs, shape (batch, outputs), and their covariances, shape (batch, outputs, outputs).
    """
    p = (shots * frequencies + 1 / frequencies.shape[1]) / (shots + 1)
    means = p @ matrix.mT  # (batch, outputs)
    squares = (matrix * p[:, None, :]) @ matrix.mT
    return frequencies @ matrix.mT, (squares - means[:, :, None] * means[:, None, :]) / shots


def check_shots(shots: int | None) -> None:
    """Refuse anything but None (exact) or a positive integer.

    Raises:
        InvalidArgument: Otherwise.
    """
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        way_out = "give a positive integer, or None for exact results"
        raise InvalidArgument.of("shots", shots, way_out)
