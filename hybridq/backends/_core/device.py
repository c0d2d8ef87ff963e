"""A PennyLane device that runs its tapes on a backend of hybridq.

It makes `circuit.qnode("aer")` a real QNode.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.devices import ExecutionConfig
from pennylane.devices import preprocess as checks
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend
from hybridq.backends._core.tapes import Gates, TapeAnsatz, TapeReading, read_tape
from hybridq.circuits import AbstractReadout, Circuit, Probabilities, RealAmplitudes
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES
from hybridq.errors import BackendUnavailable

__all__ = ["BackendDevice"]

_NATIVE = ROTATION_GATES | FIXED_GATES | {"Identity", "Barrier", "WireCut"}


@simulator_tracking
@single_tape_support
class BackendDevice(qml.devices.Device):  # type: ignore[misc]
    """A PennyLane device on a backend, with the backend's own gradients.

    Tapes of one structure are evaluated as one batch, and so are their gradients: on a backend that
    differentiates by parameter shift, the shifted circuits of all tapes are one job.

    Args:
        backend: The backend. Shots are its option, not the QNode's.
        n_qubits: Number of wires, 0..n_qubits-1.
    """

    def __init__(self, backend: AbstractBackend, n_qubits: int) -> None:
        super().__init__(wires=range(n_qubits))
        self.backend = backend

    @property
    def name(self) -> str:
        """The backend's name with "hybridq." before it."""
        return f"hybridq.{self.backend.name}"

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: Any = None
    ) -> ExecutionConfig:
        """Differentiate with `compute_derivatives`, when asked to and not before."""
        config = config or ExecutionConfig()
        if not self.supports_derivatives(config, circuit):
            return config
        return replace(
            config, gradient_method="device", use_device_gradient=True, grad_on_execution=False
        )

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: Any = None
    ) -> bool:
        """Tell whether a tape has derivatives here; others are left to PennyLane.

        They are first derivatives of probabilities and expectation values.
        """
        if execution_config is not None and execution_config.gradient_method not in (
            "device",
            "best",
        ):
            return False
        return circuit is None or not _has_state(circuit)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """Bring tapes to the base gates, one point each, measured in the Z basis."""
        pipeline = qml.CompilePipeline()
        pipeline.add_transform(checks.validate_device_wires, wires=self.wires, name=self.name)
        pipeline.add_transform(qml.transforms.split_non_commuting)
        pipeline.add_transform(qml.transforms.diagonalize_measurements)
        pipeline.add_transform(
            checks.decompose,
            target_gates=_NATIVE,
            stopping_condition=lambda operation: operation.name in _NATIVE,
            skip_initial_state_prep=False,
            name=self.name,
        )
        pipeline.add_transform(qml.transforms.broadcast_expand)
        return pipeline

    def execute(
        self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Run tapes, those of one structure together.

        Raises:
            BackendUnavailable: If the QNode sets shots, or measures what this backend cannot.
        """
        results: list[Any] = [None] * len(circuits)
        for group in self._groups(circuits):
            if group.states:
                entries = self._states(group.ansatz, group.angles)
            else:
                entries = self._evaluate(group.ansatz, Probabilities(), group.angles)
            for number, reading, row in zip(group.numbers, group.readings, entries, strict=True):
                values = [_measure(reading, measured, row) for measured in reading.measurements]
                results[number] = _unpack([value.numpy() for value in values])
        return tuple(results)

    @torch.enable_grad()  # PennyLane calls this in a backward pass
    def compute_derivatives(
        self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Return Jacobians of tapes in their trainable parameters, by the backend's own gradients.

        Raises:
            BackendUnavailable: As `execute`.
        """
        results: list[Any] = [None] * len(circuits)
        for group in self._groups(circuits):
            angles = group.angles.requires_grad_()
            entries = self._evaluate(group.ansatz, Probabilities(), angles)
            values = [
                [_measure(reading, measured, row) for measured in reading.measurements]
                for reading, row in zip(group.readings, entries, strict=True)
            ]
            jacobians = _jacobians(values, angles)  # (tapes, values, angles)
            for number, reading, shapes, jacobian in zip(
                group.numbers, group.readings, values, jacobians, strict=True
            ):
                results[number] = _by_parameter(reading, shapes, jacobian)
        return tuple(results)

    def _groups(self, circuits: Sequence[Any]) -> Iterator["_TapeGroup"]:
        """Put tapes of one structure together."""
        groups: dict[tuple[Gates, bool], _TapeGroup] = {}
        for number, tape in enumerate(circuits):
            if tape.shots:
                raise BackendUnavailable(
                    f"shots={tape.shots.total_shots}: set them on the backend, as in Aer(shots=...)"
                )
            reading = read_tape(tape, range(len(self.wires)))
            states = _has_state(tape)
            if (reading.gates, states) not in groups:
                ansatz = TapeAnsatz(len(self.wires), reading.gates)
                groups[reading.gates, states] = _TapeGroup(ansatz, states)
            group = groups[reading.gates, states]
            group.numbers.append(number)
            group.readings.append(reading)
        yield from groups.values()

    def _states(self, ansatz: TapeAnsatz, angles: Tensor) -> Tensor:
        readout = RealAmplitudes(2**ansatz.n_qubits, "big")
        # The imaginary part of z is the real part of exp(-i pi/2) z.
        turned = TapeAnsatz(ansatz.wires, (*ansatz.gates, ("GlobalPhase", ())))
        quarter = angles.new_full((len(angles), 1), torch.pi / 2)
        imaginary = self._evaluate(turned, readout, torch.cat([angles, quarter], 1))
        return torch.complex(self._evaluate(ansatz, readout, angles), imaginary)

    def _evaluate(self, ansatz: TapeAnsatz, readout: AbstractReadout, angles: Tensor) -> Tensor:
        return self.backend.evaluate(Circuit(ansatz, readout), angles, angles.new_empty(0))


@dataclass(eq=False)
class _TapeGroup:
    """Tapes of one structure.

    Args:
        ansatz: Their gates.
        states: Whether they measure the state.
        numbers: Their numbers among the tapes that PennyLane handed over.
        readings: The tapes.
    """

    ansatz: TapeAnsatz
    states: bool
    numbers: list[int] = field(default_factory=list)
    readings: list[TapeReading] = field(default_factory=list)

    @property
    def angles(self) -> Tensor:
        """The angles of all tapes, shape (tapes, K), radians."""
        return torch.from_numpy(np.concatenate([reading.angles for reading in self.readings]))


def _has_state(tape: Any) -> bool:
    return any(isinstance(m, qml.measurements.StateMP) for m in tape.measurements)


def _jacobians(values: list[list[Tensor]], angles: Tensor) -> Tensor:
    """Differentiate the values of all tapes.

    Args:
        values: The results of each tape's measurements.
        angles: Shape (tapes, K).

    Returns:
        Shape (tapes, values, K); a tape with fewer values than another has zeros at its end.
    """
    flat = [torch.cat([value.flatten() for value in row]) for row in values]
    # Points do not depend on each other: one backward pass gives the slopes of the v-th value of
    # all of them.
    slopes = []
    for v in range(max(map(len, flat))):
        total = torch.stack([row[v] for row in flat if v < len(row)]).sum()
        slopes.append(torch.autograd.grad(total, angles, retain_graph=True)[0])
    return torch.stack(slopes, 1)


def _by_parameter(reading: TapeReading, values: list[Tensor], jacobian: Tensor) -> Any:
    """Arrange a tape's Jacobian as PennyLane wants it: by measurement, then by parameter.

    Args:
        reading: The tape.
        values: The results of its measurements, for their shapes.
        jacobian: Shape (values or more, K).
    """
    sizes = [value.numel() for value in values]
    parts = torch.split(jacobian[: sum(sizes)], sizes)
    columns = [column for column in reading.trained_columns if column is not None]
    return _unpack(
        [
            _unpack([part[:, column].reshape(value.shape).numpy() for column in columns])
            for part, value in zip(parts, values, strict=True)
        ]
    )


def _unpack(values: list[Any]) -> Any:
    """Return what PennyLane wants: one value by itself, several as a tuple."""
    return values[0] if len(values) == 1 else tuple(values)


def _measure(reading: TapeReading, measurement: Any, entries: Tensor) -> Tensor:
    """Take one measurement from a state, or from the probabilities of the basis states.

    Args:
        reading: The tape.
        measurement: One of its measurements.
        entries: Shape (2**n,).
    """
    if isinstance(measurement, qml.measurements.StateMP):
        return entries
    outcomes = torch.from_numpy(reading.outcomes(measurement, len(reading.wires)))
    marginal = entries.new_zeros(int(outcomes.max()) + 1).index_add(0, outcomes, entries)
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        return marginal
    if isinstance(measurement, qml.measurements.ExpectationMP):
        return torch.dot(torch.as_tensor(measurement.eigvals(), dtype=marginal.dtype), marginal)
    raise BackendUnavailable(
        f"{measurement}: this device measures qml.expval, qml.probs and qml.state"
    )
