"""IBM's quantum computers, and local stand-ins for them, through qiskit-ibm-runtime."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend, Capabilities, check_shots
from hybridq.backends._core.device import BackendDevice
from hybridq.backends._core.shift import (
    Array,
    ParametrisedCircuit,
    PointRunner,
    evaluate_by_shifts,
    parametrise,
)
from hybridq.backends._core.spsa import evaluate_by_perturbations
from hybridq.backends._ibm.budget import JOB_EXECUTIONS, Estimate, points_per_job
from hybridq.backends._ibm.dispatcher import Dispatcher
from hybridq.backends._ibm.job import IbmJob, JobOptions, JobTarget
from hybridq.backends._ibm.journal import Arrays, Journal, JournalEntry, default_journal
from hybridq.backends._ibm.local import IDEAL, is_local, local_device
from hybridq.backends._ibm.m3 import mthree
from hybridq.backends._ibm.mitigation import Mitigation, Observables
from hybridq.backends._ibm.recovery import cancel_job, resume_job
from hybridq.backends._ibm.runtime import Mode, Runtime, check_account
from hybridq.backends._qiskit.simulator import NOISY_QUBITS
from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument, require
from hybridq.seeding import derive

__all__ = ["Ibm", "Journal", "JournalEntry", "cancel_job", "default_journal", "resume_job"]

_QUBITS = 16  # the counts of 2**16 bit strings are kept for each point


@dataclass
class Ibm(AbstractBackend):
    """An IBM QPU, or a local device that needs no account.

    An evaluation is one job, with the points of its gradient. One set of shots serves all outputs.
    The cost of an evaluation is known before: `estimate`.

    A job is written to a journal before it is sent: a process that is killed finds it again, and a
    job that was run is never paid for twice. Asking twice in one process draws new shots; a process
    that starts again is given the results that it was given before, unless the seed is another.

    The account comes from QISKIT_IBM_TOKEN or from Qiskit's account file, and is never an option.

    Args:
        device_name: "least_busy", the name of a device of the account, "fake_torino" and the like
            for a local simulation with a device's noise, or "aer_simulator" for one without noise.
        shots: Shots per circuit. There is no default, since it decides the cost.
        instance: The service instance, by its CRN or its name; None takes the account's.
        channel: "ibm_quantum_platform" or "ibm_cloud"; None takes the account's.
        mode: "job", "batch", or "session", which charges the time between its jobs, too. Without
            effect on a local device.
        readout_mitigation: Against readout errors: "trex" (twirled readout, in the runtime's
            estimator) or "mthree" (M3, with two calibration circuits in each job).
        twirling: Twirl gates and measurements.
        dynamical_decoupling: The sequence on idle qubits.
        zne: Zero-noise extrapolation: three times the circuits, in the runtime's estimator.
        gradient: "parameter-shift": exact, 2 circuits per angle. "spsa": an estimate from 2
            circuits per point.
        seed: The source of a local device's shots and of the signs of SPSA.
            Another seed asks for other results.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose by the calibration.
        max_qpu_seconds: The QPU seconds that all jobs of this journal may use, or without
            `journal` those of this object, before an evaluation is refused; jobs count as they are
            reported, and until then as estimated.
        journal: The file of the jobs. None means one for all of a user's runs, and none for a local
            device.
        optimization_level: Qiskit's, 0 to 3.

    Raises:
        InvalidArgument: If an option has a value that cannot be used.
        UnknownName: If there is no such fake device.
        MissingExtra: If qiskit-ibm-runtime, for a local device qiskit-aer, or for M3 mthree is not
            installed.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
        >>> backend = Ibm("aer_simulator", shots=1000)
        >>> backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(1, 1, 2)).abs() < 0.2
        tensor([[True]])
    """

    distributions: ClassVar[tuple[str, ...]] = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime")
    extra: ClassVar[str | None] = "ibm"
    positional: ClassVar[str | None] = "device_name"
    needs_shots: ClassVar[bool] = True
    trial_options: ClassVar[Mapping[str, Any]] = {"device_name": "aer_simulator"}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mitigated": {
            "readout_mitigation": "trex",
            "twirling": True,
            "dynamical_decoupling": "XpXm",
        }
    }

    device_name: str = "least_busy"
    shots: int | None = None
    instance: str | None = None
    channel: str | None = None
    mode: Mode = "job"
    readout_mitigation: Literal["trex", "mthree"] | None = None
    twirling: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    zne: bool = False
    gradient: Literal["parameter-shift", "spsa"] = "parameter-shift"
    seed: int = 0
    initial_layout: tuple[int, ...] | None = None
    max_qpu_seconds: float | None = None
    journal: Path | None = None
    optimization_level: int = 2
    jobs_run: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.shots is None:
            way_out = "say how many a circuit gets, for they decide the cost: shots=4096"
            raise InvalidArgument.of("shots", None, way_out)
        check_shots(self.shots)
        derive(self.seed)  # refuses what is no seed
        for option in ("mode", "readout_mitigation", "dynamical_decoupling", "gradient"):
            _check_choice(option, getattr(self, option))
        if self.optimization_level not in range(4):
            way_out = "choose 0, 1, 2 or 3"
            raise InvalidArgument.of("optimization_level", self.optimization_level, way_out)
        if self.max_qpu_seconds is not None and not self.max_qpu_seconds > 0:
            way_out = "give a positive number of seconds, or None"
            raise InvalidArgument.of("max_qpu_seconds", self.max_qpu_seconds, way_out)
        self._mitigation.check_shots(self.shots)
        if self.readout_mitigation == "mthree":
            if self.zne:
                way_out = "it needs the estimator, and M3 the sampler; choose 'trex'"
                raise InvalidArgument.of("zne", True, way_out)
            mthree()
        self._check_device()

    def _check_device(self) -> None:
        if not is_local(self.device_name):
            require("qiskit_ibm_runtime", "ibm")
            check_account(self.channel, self.instance)
            return
        local_device(self.device_name)
        if self.dynamical_decoupling is not None and not self._noisy:
            way_out = f"{IDEAL!r} has no gate times; name a fake device"
            raise InvalidArgument.of("dynamical_decoupling", self.dynamical_decoupling, way_out)

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections and compiled circuits out of copies and pickles."""
        connected = ("_target", "_dispatcher")
        return {name: value for name, value in vars(self).items() if name not in connected}

    @property
    def name(self) -> str:
        """`ibm`."""
        return "ibm"

    @property
    def capabilities(self) -> Capabilities:
        """Shots only. Up to 16 qubits, 12 where noise is simulated."""
        simulated = is_local(self.device_name) and self.device_name != IDEAL
        return Capabilities(
            exact=False,
            gradient=self.gradient,
            max_qubits=NOISY_QUBITS if simulated else _QUBITS,
            amplitudes=False,
            noisy=self._noisy,
            costs_money=not is_local(self.device_name),
        )

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled: once per structure."""
        return self._target.transpilations

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return a PennyLane device that runs its tapes here."""
        return BackendDevice(self, n_qubits)

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        observables = self._observables(circuit)

        def run(parametrised: ParametrisedCircuit, points: Array) -> Array:
            arrays = self._measure(circuit, parametrised, points)
            return np.concatenate([observables.values(of_job) for of_job in arrays])

        return self._differentiate(circuit, inputs, weights, run)

    def _differentiate(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor, run: PointRunner
    ) -> Tensor:
        """Evaluate a circuit by one call of `run`, which gets the points of the gradient, too."""
        if self.gradient == "spsa":
            return evaluate_by_perturbations(
                circuit, inputs, weights, run, seed=self.seed, shots=self._shots
            )
        return evaluate_by_shifts(circuit, inputs, weights, run, noisy=self._noisy)

    def _measure(
        self, circuit: Circuit, parametrised: ParametrisedCircuit, points: Array
    ) -> list[Arrays]:
        """Return the arrays of the jobs that measure a circuit at an array of points."""
        return self._dispatcher.results(self._jobs(circuit, parametrised, points), self._count)

    def _jobs(
        self, circuit: Circuit, parametrised: ParametrisedCircuit, points: Array
    ) -> list[IbmJob]:
        """Divide an array of points into jobs: one, unless IBM's limits ask for more."""
        mitigation = self._mitigation
        width = max(points.shape[1], 2**circuit.n_qubits)
        size = points_per_job(self._shots, mitigation.factor, mitigation.calibrations, width)
        if size == 0:
            way_out = f"one job may execute circuits {JOB_EXECUTIONS} times; ask for fewer"
            raise InvalidArgument.of("shots", self.shots, way_out)
        strings = self._observables(circuit).strings
        chunks = [points[start : start + size] for start in range(0, len(points), size)]
        return [
            IbmJob(self._target, parametrised, chunk, strings, number)
            for number, chunk in enumerate(chunks)
        ]

    def _count(self, job: IbmJob) -> None:
        self.jobs_run += 1
        self.n_circuits_run += len(job.points)

    def evaluate_with_covariances(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the circuit as `AbstractBackend.evaluate_with_covariances`.

        Of the estimator (TREX, zero-noise extrapolation) the errors are those that the runtime
        reports, and the Z strings of an output are taken to be independent. M3's errors are those
        of the shots, carried through its calibration.
        """
        weights = self._prepared(circuit, inputs, weights)
        if not len(inputs):
            return super().evaluate_with_covariances(circuit, inputs, weights)
        parametrised = parametrise(circuit.trace(), True)
        angles = parametrised.angles(inputs.detach(), weights.detach())
        arrays = self._measure(circuit, parametrised, angles.expand(len(inputs), -1).numpy())
        observables = self._observables(circuit)
        values = np.concatenate([observables.values(of_job) for of_job in arrays])
        covariances = torch.cat([observables.covariances(of_job) for of_job in arrays])
        return torch.from_numpy(values).to(inputs), covariances.to(inputs)

    def estimate(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor, gradients: bool | None = None
    ) -> Estimate:
        """Estimate the cost of `evaluate`. The device is asked for its times; nothing is sent.

        Args:
            circuit: The circuit.
            inputs: As `evaluate`.
            weights: As `evaluate`.
            gradients: Whether with the circuits of a gradient towards the weights; None means as
                `evaluate` would run now.

        Raises:
            InvalidArgument: As `evaluate`.
            BackendUnavailable: As `evaluate`.
        """
        weights = self._prepared(circuit, inputs, weights)
        jobs: list[IbmJob] = []

        def note(parametrised: ParametrisedCircuit, points: Array) -> Array:
            jobs.extend(self._jobs(circuit, parametrised, points))
            return np.zeros((len(points), circuit.n_outputs))

        with torch.set_grad_enabled(torch.is_grad_enabled() if gradients is None else gradients):
            chosen = weights if gradients is None else weights.detach().requires_grad_()
            self._differentiate(circuit, inputs, chosen, note)
        parametrised = parametrise(circuit.trace(), True)
        without_points = IbmJob(self._target, parametrised, np.empty((0, 0)), [], 0)
        cost = without_points.cost  # which compiles the circuit, and so chooses "least_busy"
        sizes = [len(job.points) for job in jobs]
        return Estimate.of(self._target.runtime.device.name, cost, sizes)

    def spent(self) -> float:
        """Return the QPU seconds so far: as IBM reports them, otherwise as estimated."""
        return self._dispatcher.spent()

    def close(self) -> None:
        """Close the batch or session.

        That happens when the process ends, too, but not when it is killed.
        """
        self._target.runtime.close()

    def provenance(self) -> dict[str, Any]:
        """Return options, versions, jobs and their QPU seconds.

        Once a circuit was compiled, the device and its calibration are named, too.
        """
        runtime, dispatcher = self._target.runtime, self._dispatcher
        jobs = [dispatcher.journal.get(tag) for tag in dispatcher.tags]
        used = [name for name in self.distributions if name != "qiskit-aer" or runtime.local]
        record = {
            "backend": self.name,
            **{name: getattr(self, name) for name in _RECORDED},
            "noise": self.device_name if runtime.local and self._noisy else None,
            "versions": {name: version(name) for name in used},
            "jobs": [job.job_id for job in jobs],
            "estimated_qpu_seconds": sum(job.estimated_seconds for job in jobs),
            "qpu_seconds": sum(job.used_seconds or 0.0 for job in jobs),
        }
        compiled = self._target.compiled.values()
        if compiled:
            properties = runtime.device.properties()
            date = None if properties is None else properties.last_update_date.isoformat()
            record["device"] = runtime.device.name
            record["calibration"] = date
            record["physical_qubits"] = [list(circuit.physical) for circuit in compiled]
        return record

    @cached_property
    def _target(self) -> JobTarget:
        runtime = Runtime(self.device_name, self.instance, self.channel, self.mode)
        options = JobOptions(
            self._shots, self.seed, self._mitigation, self.initial_layout, self.optimization_level
        )
        return JobTarget(runtime, options)

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        # Made when it is needed: a backend that only was made leaves no file.
        runtime = self._target.runtime
        path = self.journal or (None if runtime.local else default_journal())
        shared = self.journal is None
        return Dispatcher(runtime, Journal(path), self.max_qpu_seconds, shared)

    def _observables(self, circuit: Circuit) -> Observables:
        return Observables(circuit, self._mitigation, self._shots)

    @property
    def _mitigation(self) -> Mitigation:
        return Mitigation(
            self.readout_mitigation, self.twirling, self.dynamical_decoupling, self.zne
        )

    @property
    def _shots(self) -> int:
        assert self.shots is not None  # noqa: S101
        return self.shots

    @property
    def _noisy(self) -> bool:
        return self.device_name != IDEAL


# A path of this machine, and a limit that the numbers do not depend on.
_HIDDEN = ("journal", "max_qpu_seconds")
_RECORDED = tuple(
    option.name for option in fields(Ibm) if option.init and option.name not in _HIDDEN
)


def _check_choice(option: str, value: Any) -> None:
    choices = {
        choice
        for part in typing.get_args(typing.get_type_hints(Ibm)[option])
        for choice in _literals(part)
    }
    if value not in choices:
        raise InvalidArgument.of(option, value, f"choose one of {sorted(choices, key=str)}")


def _literals(hint: Any) -> tuple[Any, ...]:
    """Return the values of a part of a type: of a Literal, or of a Literal in a union."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return (None if hint is type(None) else hint,)
