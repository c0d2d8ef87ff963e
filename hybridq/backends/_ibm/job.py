"""One job at IBM, from what it asks for to the arrays that come back.

The sampler serves all diagonal readouts with one set of shots. What only the estimator mitigates
(TREX, zero-noise extrapolation) is measured as expectation values of Z strings, all of them
diagonal, so of one set of shots again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hybridq.backends._core.shift import Array, ParametrisedCircuit, Structure
from hybridq.backends._ibm.budget import Cost
from hybridq.backends._ibm.journal import Arrays
from hybridq.backends._ibm.local import BASIS, IDEAL, cut_device
from hybridq.backends._ibm.mitigation import Mitigation
from hybridq.backends._ibm.runtime import Runtime
from hybridq.backends._qiskit.compilation import Compiler, PhysicalCircuit, bindings
from hybridq.errors import InvalidArgument, require
from hybridq.seeding import derive

__all__ = ["IbmJob", "JobOptions", "JobTarget"]

_REP_DELAY = 250e-6  # seconds; IBM's default, for devices that do not say


@dataclass(frozen=True)
class JobOptions:
    """The options of a backend that the numbers of its jobs depend on.

    Args:
        shots: Shots per circuit.
        seed: The source of a local device's shots. Another seed asks for other results.
        mitigation: The options against errors.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose.
        optimization_level: Qiskit's, 0 to 3.
    """

    shots: int
    seed: int
    mitigation: Mitigation
    initial_layout: tuple[int, ...] | None
    optimization_level: int

    def to_json(self, strings: list[int], number: int) -> str:
        """Write the options of one job for the journal. Keys of journals depend on this text.

        Args:
            strings: The Z strings that the job measures.
            number: The number of the job in its evaluation.
        """
        options = {
            "seed": self.seed,
            "readout_mitigation": self.mitigation.readout,
            "twirling": self.mitigation.twirling,
            "dynamical_decoupling": self.mitigation.decoupling,
            "zne": self.mitigation.zne,
            "initial_layout": self.initial_layout,
            "optimization_level": self.optimization_level,
            "strings": strings,
            "chunk": number,
        }
        return json.dumps(options)


@dataclass(eq=False)
class JobTarget:
    """Where the jobs of a backend go: a device, and the circuits that were compiled for it.

    Args:
        runtime: The device. It is asked for when a circuit is first compiled.
        options: The options of the jobs.
        compiled: The compiled circuits, by structure.
    """

    runtime: Runtime
    options: JobOptions
    compiled: dict[Structure, PhysicalCircuit] = field(default_factory=dict, init=False)
    _compiler: Compiler | None = field(default=None, init=False)

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled: once per structure."""
        return 0 if self._compiler is None else self._compiler.transpilations

    def compile(self, parametrised: ParametrisedCircuit) -> PhysicalCircuit:
        """Return the compiled circuit of a structure; it is compiled when it is first asked for.

        Raises:
            InvalidArgument: If the device does not take so many shots, or the layout does not fit.
            BackendUnavailable: If there is no such device here, or the circuit does not fit it.
        """
        runtime = self.runtime
        runtime.n_qubits = max(runtime.n_qubits, parametrised.trace.n_qubits)
        if parametrised.structure not in self.compiled:
            self._check_shots()
            if self._compiler is None:
                noisy = runtime.name != IDEAL
                self._compiler = Compiler(
                    runtime.device if noisy else None,
                    self.options.initial_layout,
                    self.options.optimization_level,
                    basis=BASIS,
                )
            self.compiled[parametrised.structure] = self._compiler.compile(parametrised)
        return self.compiled[parametrised.structure]

    def _check_shots(self) -> None:
        device = self.runtime.device
        most = getattr(device.configuration(), "max_shots", None)
        if most is not None and self.options.shots > most:
            way_out = f"{device.name!r} takes at most {most} for a circuit"
            raise InvalidArgument.of("shots", self.options.shots, way_out)


@dataclass(eq=False)
class IbmJob:
    """One job: a circuit at an array of points.

    Nothing is compiled and the network is not asked before `cost` or `send`: a job whose result is
    in the journal needs no account.

    Args:
        target: Where it goes.
        parametrised: The circuit.
        points: Its angles, shape (points, K), radians.
        strings: For the estimator the Z strings to measure, each a mask of wires, wire 0 the
            highest bit.
        number: The number of the job in its evaluation, of which IBM's limits may make several.
    """

    target: JobTarget
    parametrised: ParametrisedCircuit
    points: Array
    strings: list[int]
    number: int

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The row of the journal that asks for it, without the estimate."""
        runtime, options = self.target.runtime, self.target.options
        return {
            "device": runtime.name,
            "instance": runtime.instance,
            "channel": runtime.channel,
            "circuit_hash": _hash(repr(self.parametrised.structure).encode()),
            "parameters_hash": _hash(repr(self.points.shape).encode() + self.points.tobytes()),
            "circuits": len(self.points),
            "shots": options.shots,
            "options": options.to_json(self.strings, self.number),
        }

    @cached_property
    def content(self) -> str:
        """The hash of everything that its numbers depend on."""
        names = ("device", "circuit_hash", "parameters_hash", "shots", "options")
        return _hash(json.dumps([self.columns[name] for name in names]).encode())

    @cached_property
    def physical(self) -> PhysicalCircuit:
        """The compiled circuit."""
        return self.target.compile(self.parametrised)

    @property
    def cost(self) -> Cost:
        """The cost of one of its points."""
        # Compiled first: "least_busy" takes a device that has as many qubits as the circuit.
        circuit, run_on = self._circuit(measured=True)
        device = self.target.runtime.device
        mitigation = self._mitigation
        timeless = self._local and run_on.target.dt is None  # the ideal device
        duration = 0.0 if timeless else circuit.estimate_duration(run_on.target, unit="s")
        delay = getattr(device.configuration(), "default_rep_delay", _REP_DELAY)
        shots = self.target.options.shots
        return Cost(shots, mitigation.factor, mitigation.calibrations, duration, delay)

    @property
    def seconds(self) -> float:
        """The QPU seconds of the whole job, as estimated before it is sent."""
        return self.cost.seconds(len(self.points))

    def send(self, tag: str, key: str) -> Any:
        """Send it.

        Args:
            tag: The tag that it carries, by which it is found again.
            key: Its key in the journal, from which a local device's shots are drawn.

        Returns:
            The runtime's job.
        """
        options = self.target.options
        seed = derive(options.seed, "ibm", key)
        primitive_options = self._mitigation.options(options.shots, tag, seed)
        circuit, device = self._circuit(measured=not self._mitigation.estimated)
        mode = device if self._local else self.target.runtime.channel_of_jobs
        if self._mitigation.estimated:
            module = require("qiskit_ibm_runtime.executor_estimator", "ibm")
            estimator = module.Estimator(mode=mode, options=primitive_options)
            observables = [[self._observable(z, circuit.num_qubits)] for z in self.strings]
            return estimator.run([(circuit, observables, *bind) for bind in self._bindings()])
        module = require("qiskit_ibm_runtime.executor_sampler", "ibm")
        pubs: list[Any] = [(circuit, *bind) for bind in self._bindings()]
        if self._mitigation.readout == "mthree":
            pubs += [(self._calibration(flip),) for flip in (False, True)]
        return module.Sampler(mode=mode, options=primitive_options).run(pubs)

    def read(self, result: Any) -> Arrays:
        """Turn the result of the runtime's job into the arrays of `Mitigation.read`."""
        return self._mitigation.read(result)

    @property
    def _mitigation(self) -> Mitigation:
        return self.target.options.mitigation

    @property
    def _local(self) -> bool:
        return self.target.runtime.local

    def _bindings(self) -> Sequence[tuple[Any, ...]]:
        """Return the angles of each PUB; without parameters, one PUB for each point."""
        if self.physical.parameters:
            return [(bindings(self.physical, self.points),)]
        return [()] * len(self.points)

    def _circuit(self, measured: bool) -> tuple[Any, Any]:
        """Return the circuit as the device takes it, and the device.

        A local device is cut down to the qubits that the circuit uses.

        Args:
            measured: Whether the wires are measured at the end.
        """
        physical = self.physical
        device = self.target.runtime.device
        if self._local:
            circuit = physical.circuit.copy()
            if device.name.startswith("fake_"):
                device = cut_device(device, physical.physical)
        else:
            circuit = self._blank()
            circuit.compose(physical.circuit, qubits=self._qubits, inplace=True)
        if measured:
            self._measure(circuit, self._qubits)
        return circuit, device

    def _calibration(self, flip: bool) -> Any:
        """Return a calibration circuit of M3: all wires in 0, or all in 1."""
        circuit = self._blank()
        if flip:
            circuit.x([self._qubits[qubit] for qubit in self.physical.wires])
        self._measure(circuit, self._qubits)
        return circuit

    @property
    def _qubits(self) -> list[int]:
        """The number, on the device that runs it, of each qubit of the compiled circuit."""
        physical = self.physical.physical
        return list(range(len(physical))) if self._local else list(physical)

    def _blank(self) -> Any:
        width = len(self._qubits) if self._local else self.target.runtime.device.num_qubits
        return require("qiskit.circuit", "ibm").QuantumCircuit(width)

    def _measure(self, circuit: Any, qubits: Sequence[int]) -> None:
        bits = require("qiskit.circuit", "ibm").ClassicalRegister(len(self.physical.wires), "c")
        circuit.add_register(bits)
        circuit.measure([qubits[qubit] for qubit in self.physical.readout_order], bits)

    def _observable(self, string: int, width: int) -> Any:
        n = len(self.physical.wires)
        chosen = [
            self._qubits[self.physical.wires[wire]]
            for wire in range(n)
            if string >> (n - 1 - wire) & 1
        ]
        paulis = require("qiskit.quantum_info", "ibm").SparsePauliOp
        return paulis.from_sparse_list([("Z" * len(chosen), chosen, 1.0)], num_qubits=width)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
