"""IBM's quantum computers, and local stand-ins for them, through qiskit-ibm-runtime."""

import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend, Capabilities, check_shots, moments
from hybridq.backends._core.device import BackendDevice
from hybridq.backends._core.shift import (
    Array,
    Parametrised,
    Structure,
    evaluate_by_shifts,
    parametrise,
)
from hybridq.backends._core.spsa import evaluate_by_perturbations
from hybridq.backends._ibm.budget import JOB_EXECUTIONS, Estimate, points_per_job
from hybridq.backends._ibm.journal import Arrays, Journal, default_journal
from hybridq.backends._ibm.local import BASIS, IDEAL, is_local, local_device
from hybridq.backends._ibm.m3 import inverse_confusion, mthree, quasi_probabilities
from hybridq.backends._ibm.primitives import Mitigation, Program, z_strings
from hybridq.backends._ibm.runs import Plan, Request, Runs
from hybridq.backends._ibm.runtime import Mode, Runtime, check_account
from hybridq.backends._qiskit.compiler import Compiler
from hybridq.backends._qiskit.simulator import NOISY_QUBITS
from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument, require
from hybridq.seeding import derive

__all__ = ["Ibm"]

_QUBITS = 16  # the counts of 2**16 bit strings are kept for each point


@dataclass
class Ibm(AbstractBackend):
    """An IBM QPU, or a local device that needs no account. An evaluation is one job, with its gradient points.

    One set of shots serves all outputs. What an evaluation costs is known before: `estimate`. A job
    is written to a journal before it is sent: a process that is killed finds it again, and what was
    run once is never paid for twice. Asking twice in one process draws new shots; a process that
    starts again is given the results that it was given before, unless the seed is another.

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
        seed: The source of what is random here: a local device's shots, and the signs of SPSA.
            Another seed asks for other results.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose by the calibration.
        max_qpu_seconds: What all jobs of this journal may use, or without `journal` those of this
            object, before an evaluation is refused; jobs count as they are reported, and until then
            as estimated.
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
    _compiler: Compiler | None = field(default=None, init=False, repr=False, compare=False)
    _programs: dict[Structure, Program] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.shots is None:
            raise InvalidArgument.of(
                "shots", None, "say how many a circuit gets, for they decide the cost: shots=4096"
            )
        check_shots(self.shots)
        derive(self.seed)  # refuses what is no seed
        for option in ("mode", "readout_mitigation", "dynamical_decoupling", "gradient"):
            _check_choice(option, getattr(self, option))
        if self.optimization_level not in range(4):
            raise InvalidArgument.of(
                "optimization_level", self.optimization_level, "choose 0, 1, 2 or 3"
            )
        if self.max_qpu_seconds is not None and not self.max_qpu_seconds > 0:
            raise InvalidArgument.of(
                "max_qpu_seconds",
                self.max_qpu_seconds,
                "give a positive number of seconds, or None",
            )
        self._mitigation.check_shots(self.shots)
        if self.readout_mitigation == "mthree":
            if self.zne:
                raise InvalidArgument.of(
                    "zne", True, "it needs the estimator, and M3 the sampler; choose 'trex'"
                )
            mthree()
        self._check_device()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles (of a model that holds a backend) leave connections and compiled circuits behind."""
        return {
            key: value
            for key, value in vars(self).items()
            if key not in ("_runs", "_compiler", "_programs")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _compiler=None, _programs={})

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
        return 0 if self._compiler is None else self._compiler.transpilations

    def device(self, n_qubits: int) -> qml.devices.Device:
        """A PennyLane device that runs its tapes here."""
        return BackendDevice(self, n_qubits)

    def close(self) -> None:
        """Close the batch or session. That happens when the process ends, too, but not when it is killed."""
        self._runs.runtime.close()

    def spent(self) -> float:
        """QPU seconds so far: as IBM reports them, and as estimated for jobs whose usage is not known yet."""
        return self._runs.spent()

    def estimate(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor, gradients: bool | None = None
    ) -> Estimate:
        """What `evaluate` will cost. It asks the device for its times and sends nothing.

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
        sizes: list[int] = []

        def count(form: Parametrised, points: Array) -> Array:
            sizes.extend(len(chunk) for chunk in self._chunks(circuit, points))
            return np.zeros((len(points), circuit.n_outputs))

        with torch.set_grad_enabled(torch.is_grad_enabled() if gradients is None else gradients):
            chosen = weights if gradients is None else weights.detach().requires_grad_()
            self._differentiate(circuit, inputs, chosen, count)
        program = self._program(parametrise(circuit.trace(), True))
        return Estimate.of(program.runtime.device.name, program.cost(self._shots), sizes)

    def evaluate_with_covariances(
        self, circuit: Circuit, inputs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `AbstractBackend.evaluate_with_covariances`.

        Of the estimator (TREX, zero-noise extrapolation) the errors are those that the runtime
        reports, and the Z strings of an output are taken to be independent. M3's errors are those
        of the shots, carried through its calibration.
        """
        weights = self._prepared(circuit, inputs, weights)
        if not len(inputs):
            return super().evaluate_with_covariances(circuit, inputs, weights)
        form = parametrise(circuit.trace(), True)
        points = form.angles(inputs.detach(), weights.detach()).expand(len(inputs), -1).numpy()
        arrays = self._arrays(circuit, form, points)
        values = torch.from_numpy(
            np.concatenate([self._outputs(circuit, chunk) for chunk in arrays])
        )
        covariances = torch.cat([self._covariances(circuit, chunk) for chunk in arrays])
        return values.to(inputs.device, inputs.dtype), covariances.to(inputs.device, inputs.dtype)

    def provenance(self) -> dict[str, Any]:
        """Options, versions, jobs and their QPU seconds; once something has run, the device and its calibration."""
        runtime, jobs = self._runs.runtime, [self._runs.journal.get(tag) for tag in self._runs.tags]
        record = {
            "backend": self.name,
            **{name: getattr(self, name) for name in _RECORDED},
            "noise": self.device_name if runtime.local and self._noisy else None,
            "versions": {
                name: version(name)
                for name in self.distributions
                if name != "qiskit-aer" or runtime.local
            },
            "jobs": [job.job_id for job in jobs],
            "estimated_qpu_seconds": sum(job.estimated_seconds for job in jobs),
            "qpu_seconds": sum(job.used_seconds or 0.0 for job in jobs),
        }
        if self._programs:
            properties = runtime.device.properties()
            record |= {
                "device": runtime.device.name,
                "calibration": None
                if properties is None
                else properties.last_update_date.isoformat(),
                "physical_qubits": [
                    list(program.physical.physical) for program in self._programs.values()
                ],
            }
        return record

    @property
    def _shots(self) -> int:
        assert self.shots is not None  # noqa: S101
        return self.shots

    @property
    def _noisy(self) -> bool:
        return self.device_name != IDEAL

    @property
    def _mitigation(self) -> Mitigation:
        return Mitigation(
            self.readout_mitigation, self.twirling, self.dynamical_decoupling, self.zne
        )

    def _check_device(self) -> None:
        if not is_local(self.device_name):
            require("qiskit_ibm_runtime", "ibm")
            check_account(self.channel, self.instance)
            return
        local_device(self.device_name)
        if self.dynamical_decoupling is not None and not self._noisy:
            raise InvalidArgument.of(
                "dynamical_decoupling",
                self.dynamical_decoupling,
                f"{IDEAL!r} has no gate times; name a fake device",
            )

    @cached_property
    def _runs(self) -> Runs:  # when it is needed: a backend that only was made leaves no file
        runtime = Runtime(self.device_name, self.instance, self.channel, self.mode)
        path = self.journal or (None if runtime.local else default_journal())
        return Runs(runtime, Journal(path), self.max_qpu_seconds, shared=self.journal is None)

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        def run(form: Parametrised, points: Array) -> Array:
            return np.concatenate(
                [self._outputs(circuit, arrays) for arrays in self._arrays(circuit, form, points)]
            )

        return self._differentiate(circuit, inputs, weights, run)

    def _differentiate(
        self,
        circuit: Circuit,
        inputs: Tensor,
        weights: Tensor,
        run: Callable[[Parametrised, Array], Array],
    ) -> Tensor:
        if self.gradient == "spsa":
            return evaluate_by_perturbations(
                circuit, inputs, weights, run, (self.seed, self._shots)
            )
        return evaluate_by_shifts(circuit, inputs, weights, run, noisy=self._noisy)

    def _arrays(self, circuit: Circuit, form: Parametrised, points: Array) -> list[Arrays]:
        """What is measured at an array of points, chunk by chunk: one job, unless IBM's limits ask for more."""
        strings = z_strings(self._matrix(circuit))[0] if self._mitigation.estimated else []
        chunks = self._chunks(circuit, points)

        def plan(number: int) -> Plan:
            program = self._program(form)

            def send(tag: str, key: str) -> Any:
                seed = derive(self.seed, "ibm", key)
                return program.send(
                    chunks[number], strings, self._mitigation.options(self._shots, tag, seed)
                )

            return Plan(
                program.cost(self._shots).seconds(len(chunks[number])), send, self._mitigation.read
            )

        def sent(number: int) -> None:
            self.jobs_run += 1
            self.n_circuits_run += len(chunks[number])

        requests = [
            self._request(form, chunk, number, strings) for number, chunk in enumerate(chunks)
        ]
        return self._runs.results(requests, plan, sent)

    def _request(
        self, form: Parametrised, points: Array, number: int, strings: list[int]
    ) -> Request:
        options = {name: getattr(self, name) for name in _CONTENT} | {
            "strings": strings,
            "chunk": number,
        }
        columns = {
            "device": self.device_name,
            "instance": self.instance,
            "channel": self.channel,
            "circuit_hash": _hash(repr(form.structure).encode()),
            "parameters_hash": _hash(repr(points.shape).encode() + points.tobytes()),
            "circuits": len(points),
            "shots": self._shots,
            "options": json.dumps(options),
        }
        same = [
            columns[name]
            for name in ("device", "circuit_hash", "parameters_hash", "shots", "options")
        ]
        return Request(_hash(json.dumps(same).encode()), columns)

    def _chunks(self, circuit: Circuit, points: Array) -> list[Array]:
        mitigation = self._mitigation
        width = max(points.shape[1], 2**circuit.n_qubits)
        size = points_per_job(self._shots, mitigation.factor, mitigation.calibrations, width)
        if size == 0:
            raise InvalidArgument.of(
                "shots",
                self.shots,
                f"one job may execute circuits {JOB_EXECUTIONS} times; ask for fewer",
            )
        return [points[start : start + size] for start in range(0, len(points), size)]

    def _program(self, form: Parametrised) -> Program:
        """The compiled circuit of a structure; it is compiled when it is first needed."""
        runtime = self._runs.runtime
        runtime.n_qubits = max(runtime.n_qubits, form.trace.n_qubits)
        if form.structure not in self._programs:
            most = getattr(runtime.device.configuration(), "max_shots", None)
            if most is not None and self._shots > most:
                raise InvalidArgument.of(
                    "shots",
                    self.shots,
                    f"{runtime.device.name!r} takes at most {most} for a circuit",
                )
            if self._compiler is None:
                target = runtime.device if self._noisy else None
                self._compiler = Compiler(
                    target, self.initial_layout, self.optimization_level, basis=BASIS
                )
            self._programs[form.structure] = Program(
                runtime, self._compiler.compile(form), self._mitigation
            )
        return self._programs[form.structure]

    def _matrix(self, circuit: Circuit) -> Array:
        matrix: Array = circuit.readout.matrix(circuit.n_qubits).numpy()
        return matrix

    def _outputs(self, circuit: Circuit, arrays: Arrays) -> Array:
        """The outputs, shape (points, n_outputs)."""
        if self._mitigation.estimated:
            _, constant, coefficients = z_strings(self._matrix(circuit))
            outputs: Array = constant + arrays["values"] @ coefficients.T
            return outputs
        if self.readout_mitigation == "mthree":
            entries = quasi_probabilities(arrays["counts"], arrays["calibration"])
        else:
            entries = arrays["counts"] / self._shots
        selected: Array = circuit.readout.select(torch.from_numpy(entries), -1).numpy()
        return selected

    def _covariances(self, circuit: Circuit, arrays: Arrays) -> Tensor:
        """The covariances of the outputs, shape (points, n_outputs, n_outputs)."""
        if self._mitigation.estimated:
            coefficients = z_strings(self._matrix(circuit))[2]
            errors = np.hypot(arrays["errors"], 1 / self._shots)  # not 0 where all shots agree
            return torch.from_numpy((coefficients * errors[:, None, :] ** 2) @ coefficients.T)
        matrix = self._matrix(circuit)
        if self.readout_mitigation == "mthree":
            matrix = matrix @ inverse_confusion(arrays["calibration"])
        return moments(
            torch.from_numpy(arrays["counts"] / self._shots), torch.from_numpy(matrix), self._shots
        )[1]


_HIDDEN = (
    "journal",
    "max_qpu_seconds",
)  # a path of this machine, and what is not about the numbers
_RECORDED = tuple(
    option.name for option in fields(Ibm) if option.init and option.name not in _HIDDEN
)
_CONTENT = (
    "seed",
    "readout_mitigation",
    "twirling",
    "dynamical_decoupling",
    "zne",
    "initial_layout",
    "optimization_level",
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
    """What a part of a type stands for: a value of a Literal, or the values of a Literal in a union."""
    return (
        typing.get_args(hint)
        if typing.get_origin(hint) is Literal
        else (None if hint is type(None) else hint,)
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
