"""`qml.device("hybridq.qiskit")`: a Qiskit backend as a PennyLane device with its own gradients."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices import preprocess as checks
from pennylane.devices.modifiers import single_tape_support

from hybridq.backends._core.shift import Array, ParametrisedCircuit
from hybridq.backends._plugin.runners import make_runner
from hybridq.backends._plugin.tape_transforms import as_matrices, broadcast_trained, diagonalize
from hybridq.backends._plugin.tapes import (
    DIFFERENTIABLE,
    NATIVE,
    Shifts,
    TapeCircuit,
    as_circuit,
    results,
)
from hybridq.errors import BackendUnavailable
from hybridq.seeding import derive

__all__ = ["QiskitDevice"]

_Structures = dict[ParametrisedCircuit, list[int]]
"""The numbers of the tapes of each structure."""


@single_tape_support
class QiskitDevice(qml.devices.Device):  # type: ignore[misc]
    """A PennyLane device on any Qiskit backend.

    A circuit structure is compiled once, and the tapes that share it are one circuit with an array
    of angles, broadcast inputs included. All tapes that PennyLane hands over at a time are one job;
    on Aer and fake devices one for each structure. A backward pass is one job, too, of the
    parameter-shift points of all trained angles, f'(t) = (f(t + pi/2) - f(t - pi/2)) / 2: two
    circuits for each angle and input. PennyLane's Jacobians of several outputs are one backward
    pass for each output.

    `qml.Tracker` counts transpilations, jobs and circuits; so do the device's own `transpilations`,
    `jobs_run` and `n_circuits_run`. An IBM device spends QPU time without the budget and the
    journal of the backend "ibm".

    Args:
        wires: Number of wires, or their labels; None takes those of the circuit.
        shots: Shots of QNodes that set none; None means exact. PennyLane prefers `qml.set_shots` on
            the QNode.
        backend: A Qiskit `BackendV2`, or a local one by name: "aer_simulator", or a fake IBM device
            such as "fake_torino". Aer without a noise model and fake devices give exact results
            (under noise up to 12 qubits); others need shots.
        seed: The source of the shots of Aer and of fake devices, which are drawn from the exact
            distribution, and of their order. Other backends have randomness of their own.

    Raises:
        InvalidArgument: If `backend` or `seed` cannot be used.
        UnknownName: If there is no fake device of this name.
        MissingExtra: If Qiskit, Aer or the runtime is not installed.
        BackendUnavailable: If an `AerSimulator` is to run on a GPU and this Aer has none.

    Example:
        >>> device = QiskitDevice(wires=1)
        >>> node = qml.QNode(lambda angle: (qml.RX(angle, 0), qml.expval(qml.Z(0)))[1], device)
        >>> round(float(node(np.pi / 3)), 6)
        0.5
    """

    name = "hybridq.qiskit"

    def __init__(
        self, wires: Any = None, shots: Any = None, backend: Any = "aer_simulator", seed: int = 0
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        derive(seed)  # refuses what is no seed
        self.backend, self.seed = backend, seed
        self._runner = make_runner(backend)
        self._runs = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave compiled circuits and counts out of copies and pickles."""
        return {name: value for name, value in vars(self).items() if name != "_runner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _runner=make_runner(state["backend"]))

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled: once per structure."""
        return self._runner.transpilations

    @property
    def jobs_run(self) -> int:
        """Jobs so far."""
        return self._runner.jobs_run

    @property
    def n_circuits_run(self) -> int:
        """Circuits with angles so far, those of gradients included."""
        return self._runner.n_circuits_run

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: Any = None
    ) -> ExecutionConfig:
        """Differentiate by `compute_vjp`, when asked to or left to choose."""
        config = config or ExecutionConfig()
        if not self.supports_derivatives(config, circuit):
            return config
        return replace(
            config,
            gradient_method="device",
            use_device_gradient=True,
            use_device_jacobian_product=True,
            grad_on_execution=False,
        )

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: Any = None
    ) -> bool:
        """Tell whether a tape has derivatives here; others are left to PennyLane.

        They are first derivatives of expectation values, variances and probabilities towards
        angles.
        """
        if execution_config is not None and execution_config.gradient_method not in (
            "device",
            "best",
        ):
            return False
        if circuit is None:
            return True
        differentiable = all(
            isinstance(m, DIFFERENTIABLE) and not _is_trained(m) for m in circuit.measurements
        )
        return differentiable and not circuit.shots.has_partitioned_shots

    def supports_vjp(
        self, execution_config: ExecutionConfig | None = None, circuit: Any = None
    ) -> bool:
        """Tell the same as `supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """Bring tapes to the base gates, measured in the Z basis.

        A tape that PennyLane's checks refuse raises PennyLane's error.
        """
        has_state = self._runner.exact and not self._runner.noisy
        state = qml.measurements.StateMeasurement if has_state else DIFFERENTIABLE
        pipeline = qml.CompilePipeline()
        pipeline.add_transform(checks.validate_device_wires, wires=self.wires, name=self.name)
        pipeline.add_transform(
            checks.validate_measurements,
            analytic_measurements=lambda m: isinstance(m, state),
            sample_measurements=lambda m: isinstance(m, qml.measurements.SampleMeasurement),
            name=self.name,
        )
        pipeline.add_transform(qml.defer_measurements, allow_postselect=False)
        pipeline.add_transform(as_matrices)
        pipeline.add_transform(qml.transforms.split_non_commuting)
        pipeline.add_transform(diagonalize)
        pipeline.add_transform(
            checks.decompose,
            target_gates=NATIVE,
            stopping_condition=lambda operation: operation.name in NATIVE,
            skip_initial_state_prep=False,
            device_wires=self.wires,
            name=self.name,
        )
        pipeline.add_transform(
            checks.device_resolve_dynamic_wires, wires=self.wires, allow_resets=False
        )
        pipeline.add_transform(broadcast_trained)
        return pipeline

    def execute(
        self, circuits: Sequence[Any], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Run tapes.

        Raises:
            BackendUnavailable: If shots are needed and there are none, or the backend fails.
        """
        tapes = [as_circuit(tape, self.wires) for tape in circuits]
        shares, rng = self._shares(tapes, [tape.points for tape in tapes], "batches")
        return tuple(results(tape, rows, rng) for tape, rows in zip(tapes, shares, strict=True))

    def compute_vjp(
        self,
        circuits: Sequence[Any],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """Return vector-Jacobian products of tapes, from their parameter-shift points.

        Args:
            circuits: The tapes.
            cotangents: For each tape the weights of its results, in their shapes.
            execution_config: Not used.

        Returns:
            For each tape one array for each trainable parameter, in the parameter's shape.

        Raises:
            BackendUnavailable: As `execute`.
        """
        tapes = [as_circuit(tape, self.wires) for tape in circuits]
        shifts = [Shifts(tape, self._runner.noisy) for tape in tapes]
        shares, _ = self._shares(tapes, [shift.points for shift in shifts], "vjp_batches")
        return tuple(
            shift.products(rows, given)
            for shift, rows, given in zip(shifts, shares, cotangents, strict=True)
        )

    def _shares(
        self, tapes: Sequence[TapeCircuit], points: Sequence[Array], kind: str
    ) -> tuple[list[Array], np.random.Generator]:
        """Run tapes, those of one structure and number of shots together.

        Args:
            tapes: The tapes.
            points: The rows of angles of each tape.
            kind: PennyLane's name of what the tracker counts.

        Returns:
            Of each tape the shares of the outcomes at its points, (points, 2**n); and the source
            of randomness.
        """
        self._runs += 1
        before = self._counts()
        rng = np.random.default_rng(derive(self.seed, "qiskit", self._runs))
        groups: dict[int | None, _Structures] = defaultdict(lambda: defaultdict(list))
        for number, tape in enumerate(tapes):
            groups[tape.tape.shots.total_shots][tape.parametrised].append(number)
        if None in groups and not self._runner.exact:
            raise BackendUnavailable(
                f"shots=None: backend={self.backend!r} has no exact results. Give shots, as in "
                "qml.set_shots(qnode, shots=1024), or take backend='aer_simulator' or a fake device"
            )
        shares: dict[int, Array] = {}
        for shots, structures in groups.items():
            work = [
                (parametrised, np.concatenate([points[number] for number in numbers]))
                for parametrised, numbers in structures.items()
            ]
            rows_of_each = self._runner.run(work, shots, rng)
            for numbers, rows in zip(structures.values(), rows_of_each, strict=True):
                ends = np.cumsum([len(points[number]) for number in numbers])
                shares.update(zip(numbers, np.split(rows, ends[:-1]), strict=True))
        self._track(tapes, points, kind, before)
        return [shares[number] for number in range(len(tapes))], rng

    def _track(
        self,
        tapes: Sequence[TapeCircuit],
        points: Sequence[Array],
        kind: str,
        before: dict[str, int],
    ) -> None:
        """Tell `qml.Tracker` what was run since the counts were `before`."""
        if not self.tracker.active:
            return
        shots = sum(
            len(rows) * (tape.tape.shots.total_shots or 0)
            for tape, rows in zip(tapes, points, strict=True)
        )
        new = {name: count - before[name] for name, count in self._counts().items()}
        self.tracker.update(**{kind: 1}, **new, executions=new["circuits"], shots=shots)
        self.tracker.record()

    def _counts(self) -> dict[str, int]:
        return {
            "transpilations": self.transpilations,
            "jobs": self.jobs_run,
            "circuits": self.n_circuits_run,
        }


def _is_trained(measurement: Any) -> bool:
    """Tell whether an observable has trained parameters that PennyLane leaves in the circuit."""
    observable = measurement.obs
    expected = isinstance(measurement, qml.measurements.ExpectationMP)
    if observable is None or (expected and observable.pauli_rep is not None):
        return False
    return any(qml.math.requires_grad(parameter) for parameter in observable.data)
