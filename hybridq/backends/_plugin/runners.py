"""Rows of angles on a Qiskit backend: what `hybridq.qiskit` runs on.

Simulators give distributions, devices give shots.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridq.backends._core.shift import Array, ParametrisedCircuit, Structure
from hybridq.backends._ibm.budget import points_per_job
from hybridq.backends._ibm.local import local_device
from hybridq.backends._ibm.mitigation import Mitigation
from hybridq.backends._ibm.runtime import clean, patiently
from hybridq.backends._qiskit.compilation import Compiler, PhysicalCircuit, bindings
from hybridq.backends._qiskit.simulator import QUBITS, AerCircuit, Simulator, chunked
from hybridq.errors import BackendUnavailable, InvalidArgument, require

__all__ = ["AbstractRunner", "Work", "make_runner"]

Work = Sequence[tuple[ParametrisedCircuit, Array]]
"""Circuits, and of each the rows of its angles, shape (points, K), radians."""

_PLAIN = Mitigation(None, False, None, False)


@dataclass(eq=False)
class AbstractRunner(ABC):
    """A Qiskit backend, the circuits compiled for it, and what it has run.

    `jobs_run` counts its jobs, and `n_circuits_run` the rows of angles.

    Args:
        exact: Whether `shots=None` can be had.
        noisy: Whether gates may carry noise, so that no angle can be known to be without effect,
            and there is no state.
    """

    exact: bool
    noisy: bool
    jobs_run: int = field(default=0, init=False)
    n_circuits_run: int = field(default=0, init=False)

    @property
    @abstractmethod
    def transpilations(self) -> int:
        """How often a circuit was compiled: once per structure."""

    def run(self, work: Work, shots: int | None, rng: np.random.Generator) -> list[Array]:
        """Run circuits.

        A device runs them in one job, unless there are more rows than a job may have; Aer runs one
        job for each.

        Args:
            work: The circuits and their angles.
            shots: Shots per row; None means exact.
            rng: The source of the shots, where they are drawn here.

        Returns:
            For each circuit the share of each outcome, or real parts of amplitudes; shape (points,
            2**n), wire 0 leftmost.

        Raises:
            BackendUnavailable: If a circuit does not fit the backend, or the backend fails.
        """
        for parametrised, points in work:
            if parametrised.trace.n_qubits > QUBITS:
                raise BackendUnavailable(
                    f"n_qubits={parametrised.trace.n_qubits}: results are kept as 2**n shares; use "
                    f"at most {QUBITS} wires"
                )
            self.n_circuits_run += len(points)
        return self._run(work, shots, rng)

    @abstractmethod
    def _run(self, work: Work, shots: int | None, rng: np.random.Generator) -> list[Array]:
        """Do what `run` says."""


@dataclass(eq=False)
class _Simulated(AbstractRunner):
    """Exact distributions by Aer, from which shots are drawn.

    Args:
        exact: As in `AbstractRunner`.
        noisy: As in `AbstractRunner`.
        circuits: The compiled circuits.
    """

    circuits: "_AerCircuits | Simulator"

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled."""
        return self.circuits.transpilations

    def _run(self, work: Work, shots: int | None, rng: np.random.Generator) -> list[Array]:
        shares = []
        for parametrised, points in work:
            circuit = self.circuits.compiled(parametrised)
            chunks = [circuit.run(chunk) for chunk in chunked(points, parametrised.trace.n_qubits)]
            self.jobs_run += len(chunks)
            exact = np.concatenate([np.empty((0, 2**parametrised.trace.n_qubits)), *chunks])
            shares.append(exact if shots is None else rng.multinomial(shots, exact) / shots)
        return shares


@dataclass(eq=False)
class _AerCircuits:
    """Circuits on an `AerSimulator` without noise, with the options that it was made with.

    Args:
        simulator: The simulator.
    """

    simulator: Any
    _compiler: Compiler = field(default_factory=lambda: Compiler(None, None), init=False)
    _circuits: dict[tuple[Structure, bool], AerCircuit] = field(default_factory=dict, init=False)

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled."""
        return self._compiler.transpilations

    def compiled(self, parametrised: ParametrisedCircuit) -> AerCircuit:
        """Return the circuit of a structure, compiled when it is first asked for."""
        key = (parametrised.structure, parametrised.diagonal)
        if key not in self._circuits:
            physical = self._compiler.compile(parametrised)
            self._circuits[key] = AerCircuit(
                physical,
                parametrised.diagonal,
                physical.saving(parametrised.diagonal),
                self.simulator,
                [],
            )
        return self._circuits[key]


@dataclass(eq=False)
class _Sampled(AbstractRunner):
    """Shots of a device, by IBM's sampler on an IBM device and by Qiskit's own on any other.

    Args:
        exact: As in `AbstractRunner`.
        noisy: As in `AbstractRunner`.
        device: The `BackendV2`.
        ibm: Whether it is a device of IBM's service.
    """

    device: Any
    ibm: bool
    _compiler: Compiler = field(init=False)
    _circuits: dict[Structure, tuple[PhysicalCircuit, Any]] = field(
        default_factory=dict, init=False
    )

    def __post_init__(self) -> None:
        self._compiler = Compiler(self.device, None)

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled."""
        return self._compiler.transpilations

    def _run(self, work: Work, shots: int | None, rng: np.random.Generator) -> list[Array]:
        assert shots is not None  # noqa: S101
        rows = [[np.empty((0, 2**parametrised.trace.n_qubits))] for parametrised, _ in work]
        for job in _jobs(work, self._size(work, shots)):
            self.jobs_run += 1
            pubs: list[Any] = []
            for number, points in job:
                pubs += self._pubs(work[number][0], points)
            counts = self._counts(pubs, shots, int(rng.integers(2**31)))
            for number, points in job:
                rows[number].append(counts[: len(points)] / shots)
                counts = counts[len(points) :]
        return [np.concatenate(parts) for parts in rows]

    def _size(self, work: Work, shots: int) -> int:
        if not self.ibm:
            return self.device.max_circuits or sum(len(points) for _, points in work)
        widths = [max(points.shape[1], 2**circuit.trace.n_qubits) for circuit, points in work]
        return points_per_job(shots, 1, 0, max(widths))

    def _pubs(self, parametrised: ParametrisedCircuit, points: Array) -> list[Any]:
        if parametrised.structure not in self._circuits:
            self._circuits[parametrised.structure] = self._measured(parametrised)
        physical, circuit = self._circuits[parametrised.structure]
        if physical.parameters:
            return [(circuit, bindings(physical, points))]
        return [(circuit,)] * len(points)

    def _measured(self, parametrised: ParametrisedCircuit) -> tuple[PhysicalCircuit, Any]:
        qiskit = require("qiskit.circuit", "ibm")
        physical = self._compiler.compile(parametrised)
        bits = qiskit.ClassicalRegister(parametrised.trace.n_qubits, "c")
        circuit = qiskit.QuantumCircuit(self.device.num_qubits)
        circuit.add_register(bits)
        circuit.compose(physical.circuit, qubits=physical.physical, inplace=True)
        circuit.measure([physical.physical[qubit] for qubit in physical.readout_order], bits)
        return physical, circuit

    def _counts(self, pubs: list[Any], shots: int, seed: int) -> Array:
        try:
            if self.ibm:
                module = require("qiskit_ibm_runtime.executor_sampler", "ibm")
                options = _PLAIN.options(shots, "hybridq", seed)
                sampler = module.Sampler(mode=self.device, options=options)
                job = sampler.run(pubs)
                result = patiently(job.result, f"waiting for job {job.job_id()}")
            else:
                sampler = require("qiskit.primitives", "ibm").BackendSamplerV2(backend=self.device)
                result = sampler.run(pubs, shots=shots).result()
        except require("qiskit.exceptions", "ibm").QiskitError as error:
            raise BackendUnavailable(
                f"backend={self.device.name!r}: it did not run the circuits: {clean(error)}"
            ) from None
        return _PLAIN.read(result)["counts"]


def _jobs(work: Work, size: int) -> Iterator[list[tuple[int, Array]]]:
    """Fill jobs of at most `size` rows.

    Yields:
        Of each job, the numbers of its circuits, and some of the rows of each.
    """
    job: list[tuple[int, Array]] = []
    room = size
    for number, (_, points) in enumerate(work):
        start = 0
        while start < len(points):
            if room == 0:
                yield job
                job, room = [], size
            part = points[start : start + room]
            job.append((number, part))
            start, room = start + len(part), room - len(part)
    if job:
        yield job


def make_runner(backend: Any) -> AbstractRunner:
    """Make the runner of a backend.

    Args:
        backend: A Qiskit `BackendV2`, or the name of a local one: "aer_simulator" or a fake device
            such as "fake_torino".

    Raises:
        InvalidArgument: If it is neither.
        UnknownName: If there is no such fake device.
        MissingExtra: If Qiskit, Aer or the runtime is not installed.
        BackendUnavailable: If an `AerSimulator` is to run on a GPU and this Aer has none.
    """
    if isinstance(backend, str):
        backend = local_device(backend)
    if not isinstance(backend, require("qiskit.providers", "ibm").BackendV2):
        way_out = "give a Qiskit BackendV2, 'aer_simulator', or a fake device such as 'fake_torino'"
        raise InvalidArgument.of("backend", backend, way_out)
    for make in (_aer, _ibm):
        if (runner := make(backend)) is not None:
            return runner
    return _Sampled(False, True, backend, ibm=False)


def _aer(backend: Any) -> AbstractRunner | None:
    if not isinstance(backend, require("qiskit_aer", "ibm").AerSimulator):
        return None
    processors = backend.available_devices()
    if backend.options.device not in processors:
        raise BackendUnavailable(
            f"backend={backend!r}: it asks for {backend.options.device!r}; this Qiskit Aer runs on "
            f"{', '.join(processors)} only"
        )
    if backend.options.noise_model is not None:
        # It is sampled like a device: its statevector method would give one trajectory for the
        # distribution.
        return None
    return _Simulated(True, False, _AerCircuits(backend))


def _ibm(backend: Any) -> AbstractRunner | None:
    fake = require("qiskit_ibm_runtime.fake_provider.fake_backend", "ibm").FakeBackendV2
    if isinstance(backend, fake):
        return _Simulated(True, True, Simulator(backend, "CPU", None))
    if isinstance(backend, require("qiskit_ibm_runtime", "ibm").IBMBackend):
        return _Sampled(False, True, backend, ibm=True)
    return None
