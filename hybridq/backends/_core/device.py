"""A PennyLane device that runs its tapes on a backend of hybridq: what makes `circuit.qnode("aer")` a real QNode."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pennylane as qml
import torch
from pennylane.devices import ExecutionConfig
from pennylane.devices import preprocess as checks
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend
from hybridq.circuits import (
    AbstractAnsatz,
    AbstractReadout,
    Circuit,
    Probabilities,
    RealAmplitudes,
    gates_of,
)
from hybridq.circuits._trace import FIXED_GATES, ROTATION_GATES
from hybridq.errors import BackendUnavailable

__all__ = ["BackendDevice", "TapeAnsatz"]

_NATIVE = ROTATION_GATES | FIXED_GATES | {"Identity", "Barrier", "WireCut"}
Gates = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class TapeAnsatz(AbstractAnsatz):
    """The gates of a tape with their angles as inputs, so that tapes of one structure are one circuit.

    Args:
        wires: Number of wires.
        gates: Name and wires of each gate.
    """

    wires: int
    gates: Gates

    @property
    def n_qubits(self) -> int:
        """Number of wires."""
        return self.wires

    @property
    def n_inputs(self) -> int:
        """Number of angles."""
        return sum(name in ROTATION_GATES for name, _ in self.gates)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """No weights."""
        return (0,)

    def apply(self, inputs: Any, weights: Any) -> None:
        """Queue the gates."""
        column = 0
        for name, wires in self.gates:
            if name in ROTATION_GATES:
                getattr(qml, name)(inputs[..., column], wires=wires)
                column += 1
            else:
                getattr(qml, name)(wires=wires)


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
        """First derivatives of probabilities and expectation values; others are left to PennyLane."""
        if execution_config is not None and execution_config.gradient_method not in (
            "device",
            "best",
        ):
            return False
        return circuit is None or not _has_state(circuit)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """Bring tapes to the base gates, one point each, measured in the Z basis."""
        program = qml.CompilePipeline()
        program.add_transform(checks.validate_device_wires, wires=self.wires, name=self.name)
        program.add_transform(qml.transforms.split_non_commuting)
        program.add_transform(qml.transforms.diagonalize_measurements)
        program.add_transform(
            checks.decompose,
            target_gates=_NATIVE,
            stopping_condition=lambda operation: operation.name in _NATIVE,
            skip_initial_state_prep=False,
            name=self.name,
        )
        program.add_transform(qml.transforms.broadcast_expand)
        return program

    def execute(
        self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Run tapes, those of one structure together.

        Raises:
            BackendUnavailable: If the QNode sets shots, or measures what this backend cannot.
        """
        results: list[Any] = [None] * len(circuits)
        for ansatz, states, angles, numbers in self._groups(circuits):
            entries = (
                self._states(ansatz, angles)
                if states
                else self._evaluate(ansatz, Probabilities(), angles)
            )
            for row, number in zip(entries, numbers, strict=True):
                results[number] = _unpack(
                    [_measure(m, row).numpy() for m in circuits[number].measurements]
                )
        return tuple(results)

    @torch.enable_grad()  # PennyLane calls this in a backward pass
    def compute_derivatives(
        self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Jacobians of tapes in their trainable parameters, by the backend's own gradients.

        Raises:
            BackendUnavailable: As `execute`.
        """
        results: list[Any] = [None] * len(circuits)
        for ansatz, _, angles, numbers in self._groups(circuits):
            angles.requires_grad_()
            tapes = [circuits[number] for number in numbers]
            entries = self._evaluate(ansatz, Probabilities(), angles)
            values = [
                [_measure(m, row) for m in t.measurements]
                for t, row in zip(tapes, entries, strict=True)
            ]
            flat = [torch.cat([value.flatten() for value in row]) for row in values]
            # Points do not depend on each other: one backward pass gives the slopes of the v-th
            # value of all of them.
            slopes = [
                torch.autograd.grad(
                    torch.stack([row[v] for row in flat if v < len(row)]).sum(),
                    angles,
                    retain_graph=True,
                )[0]
                for v in range(max(map(len, flat)))
            ]
            jacobians = torch.stack(slopes, 1)  # (tapes, values, angles)
            for tape, shapes, jacobian, number in zip(
                tapes, values, jacobians, numbers, strict=True
            ):
                parts = jacobian[: sum(v.numel() for v in shapes)].split(
                    [v.numel() for v in shapes]
                )
                results[number] = _unpack(
                    [
                        _unpack(
                            [part[:, k].reshape(value.shape).numpy() for k in tape.trainable_params]
                        )
                        for part, value in zip(parts, shapes, strict=True)
                    ]
                )
        return tuple(results)

    def _groups(
        self, circuits: Sequence[Any]
    ) -> Iterator[tuple[TapeAnsatz, bool, Tensor, list[int]]]:
        """Tapes of one structure: their circuit, whether they measure the state, their angles and their numbers."""
        groups: dict[tuple[Gates, bool], list[int]] = defaultdict(list)
        angles = []
        for number, tape in enumerate(circuits):
            if tape.shots:
                raise BackendUnavailable(
                    f"shots={tape.shots.total_shots}: set them on the backend, as in Aer(shots=...)"
                )
            gates = [gate for operation in tape.operations for gate in gates_of(operation)]
            angles.append([gate.angle.constant for gate in gates if gate.angle is not None])
            groups[tuple((gate.name, gate.wires) for gate in gates), _has_state(tape)].append(
                number
            )
        for (structure, states), numbers in groups.items():
            ansatz = TapeAnsatz(len(self.wires), structure)
            rows = torch.tensor([angles[number] for number in numbers], dtype=torch.float64)
            yield ansatz, states, rows.reshape(len(numbers), ansatz.n_inputs), numbers

    def _states(self, ansatz: TapeAnsatz, angles: Tensor) -> Tensor:
        readout = RealAmplitudes(2**ansatz.n_qubits, "big")
        # The imaginary part of z is the real part of exp(-i pi/2) z.
        turned = TapeAnsatz(ansatz.wires, (*ansatz.gates, ("GlobalPhase", ())))
        quarter = angles.new_full((len(angles), 1), torch.pi / 2)
        imaginary = self._evaluate(turned, readout, torch.cat([angles, quarter], 1))
        return torch.complex(self._evaluate(ansatz, readout, angles), imaginary)

    def _evaluate(self, ansatz: TapeAnsatz, readout: AbstractReadout, angles: Tensor) -> Tensor:
        return self.backend.evaluate(Circuit(ansatz, readout), angles, angles.new_empty(0))


def _has_state(tape: Any) -> bool:
    return any(isinstance(m, qml.measurements.StateMP) for m in tape.measurements)


def _unpack(values: list[Any]) -> Any:
    """What PennyLane wants: one value by itself, several as a tuple."""
    return values[0] if len(values) == 1 else tuple(values)


def _measure(measurement: Any, entries: Tensor) -> Tensor:
    """Read one measurement from a state or from the probabilities of the basis states, shape (2**n,)."""
    if isinstance(measurement, qml.measurements.StateMP):
        return entries
    n_qubits = (len(entries) - 1).bit_length()
    wires = list(measurement.wires) or list(range(n_qubits))
    rest = [wire for wire in range(n_qubits) if wire not in wires]
    marginal = (
        entries.reshape([2] * n_qubits).permute(*wires, *rest).reshape(2 ** len(wires), -1).sum(1)
    )
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        return marginal
    if isinstance(measurement, qml.measurements.ExpectationMP):
        return torch.dot(torch.as_tensor(measurement.eigvals(), dtype=marginal.dtype), marginal)
    raise BackendUnavailable(
        f"{measurement}: this device measures qml.expval, qml.probs and qml.state"
    )
