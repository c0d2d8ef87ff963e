"""Qiskit Aer: exact or with shots, with the noise of a device or of stated size, on CPU or GPU."""

from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from hybridq.backends._core.contract import AbstractBackend, Capabilities, check_shots
from hybridq.backends._core.device import BackendDevice
from hybridq.backends._core.noise_levels import NoiseLevels
from hybridq.backends._core.shift import Array, ParametrisedCircuit, evaluate_by_shifts
from hybridq.backends._qiskit.device_noise import fake_device
from hybridq.backends._qiskit.simulator import NOISY_QUBITS, QUBITS, Simulator, chunked
from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument
from hybridq.seeding import derive

__all__ = ["Aer"]


@dataclass
class Aer(AbstractBackend):
    """Qiskit's simulator.

    A circuit structure is compiled once, and an evaluation is one job, with the points of its
    gradient.

    Shots are drawn from the exact distribution of the bits that are read, with gate noise by the
    density matrix and with readout error: each shot of a simulated device is an independent draw
    from it. One set of shots serves all outputs. Gradients are by parameter shift, which is exact
    under gate noise too: 2 circuits for each angle that depends on an argument which requires a
    gradient, and none for angles that provably change no probability.

    Args:
        shots: Shots per circuit; None means exact probabilities, under noise as well.
        noise: A fake IBM device of qiskit-ibm-runtime, for example "fake_torino"; None means none.
            The circuit is compiled for the device, and the noise model is cut down to the qubits
            used.
        processor: "CPU" or "GPU".
        seed: The source of the shots. Successive evaluations draw different ones; a run repeated
            from the start draws the same.
        initial_layout: The device's qubit of each wire; None lets Qiskit choose, independently of
            `seed`.
        depolarizing: After every gate, the probability p of a Pauli error on each of its wires:
            (1 - p) rho + p/3 (X rho X + Y rho Y + Z rho Z).
        damping: After that, the probability that an excited qubit decays.
        readout_error: The probability that a bit is read wrongly, the same for 0 and 1.

    Raises:
        InvalidArgument: If an option has a value that cannot be used, or there is the noise of a
            device and of stated size.
        UnknownName: If there is no such fake device.
        MissingExtra: If qiskit-aer, or with `noise` qiskit-ibm-runtime, is not installed.
        BackendUnavailable: If a GPU is asked for and this Aer has none.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1))
        >>> Aer().evaluate(circuit, torch.zeros(1, 1), torch.zeros(1, 1, 2)).abs() < 1e-6
        tensor([[True]])
    """

    distributions: ClassVar[tuple[str, ...]] = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime")
    extra: ClassVar[str | None] = "ibm"

    shots: int | None = None
    noise: str | None = None
    processor: Literal["CPU", "GPU"] = "CPU"
    seed: int = 0
    initial_layout: tuple[int, ...] | None = None
    depolarizing: float = 0.0
    damping: float = 0.0
    readout_error: float = 0.0
    jobs_run: int = field(default=0, init=False, repr=False, compare=False)
    _evaluations: int = field(default=0, init=False, repr=False, compare=False)
    _simulator: Simulator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_shots(self.shots)
        derive(self.seed)  # refuses what is no seed
        if self.processor not in ("CPU", "GPU"):
            raise InvalidArgument.of("processor", self.processor, "choose 'CPU' or 'GPU'")
        if self.initial_layout is not None and self.noise is None:
            way_out = "it needs a device; give noise= as well"
            raise InvalidArgument.of("initial_layout", self.initial_layout, way_out)
        if self.noise is not None:
            self._levels.refuse(f"noise={self.noise!r} has errors of its own; give one of the two")
        self._simulator = self._make_simulator()

    def __getstate__(self) -> dict[str, Any]:
        """Leave compiled circuits out of copies and pickles."""
        return {key: value for key, value in vars(self).items() if key != "_simulator"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._simulator = self._make_simulator()

    @property
    def name(self) -> str:
        """`aer`."""
        return "aer"

    @property
    def capabilities(self) -> Capabilities:
        """Up to 24 qubits; up to 12 with noise of the gates.

        The density matrix of n qubits has 4**n entries.
        """
        noisy = self.noise is not None or self._levels.acts
        return Capabilities(
            exact=self.shots is None,
            gradient="parameter-shift",
            max_qubits=NOISY_QUBITS if self._on_gates else QUBITS,
            amplitudes=self.shots is None and not noisy,
            noisy=noisy,
        )

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled: once per structure."""
        return self._simulator.transpilations

    def device(self, n_qubits: int) -> qml.devices.Device:
        """Return a PennyLane device that runs its tapes on this simulator."""
        return BackendDevice(self, n_qubits)

    def provenance(self) -> dict[str, Any]:
        """Return options and versions.

        With the noise of a device its calibration date is named, and the device's qubits of each
        compiled circuit.
        """
        used = [name for name in self.distributions if name != "qiskit-ibm-runtime" or self.noise]
        return {
            "backend": self.name,
            "shots": self.shots,
            "seed": self.seed,
            "processor": self.processor,
            "method": self._simulator.method,
            "noise": asdict(self._levels) if self._levels.acts else self.noise,
            "versions": {name: version(name) for name in used},
            **self._simulator.provenance(),
        }

    @property
    def _levels(self) -> NoiseLevels:
        return NoiseLevels(self.depolarizing, self.damping, self.readout_error)

    @property
    def _on_gates(self) -> bool:
        return self.noise is not None or self._levels.on_gates

    def _make_simulator(self) -> Simulator:
        device = None if self.noise is None else fake_device(self.noise)
        return Simulator(device, self.processor, self.initial_layout, self._levels)

    def _evaluate(self, circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
        self._evaluations += 1
        run = partial(self._run, circuit)
        return evaluate_by_shifts(circuit, inputs, weights, run, noisy=self._on_gates)

    def _run(self, circuit: Circuit, parametrised: ParametrisedCircuit, points: Array) -> Array:
        compiled = self._simulator.compiled(parametrised)
        rng = np.random.default_rng(derive(self.seed, "aer", self._evaluations))
        outputs = [np.empty((0, circuit.n_outputs))]
        for chunk in chunked(points, circuit.n_qubits):
            entries = compiled.run(chunk)  # (points, 2**n)
            self.jobs_run += 1
            self.n_circuits_run += len(chunk)
            if self.shots is not None:
                entries = rng.multinomial(self.shots, entries) / self.shots
            outputs.append(circuit.readout.select(torch.from_numpy(entries), -1).numpy())
        return np.concatenate(outputs)
