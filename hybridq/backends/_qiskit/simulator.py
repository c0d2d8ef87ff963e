"""Aer itself: compiling a circuit structure once, and running it at many parameters in one job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridq.backends._core.noise_levels import NoiseLevels
from hybridq.backends._core.shift import Array, ParametrisedCircuit, Structure
from hybridq.backends._qiskit.compilation import (
    Compiler,
    PhysicalCircuit,
    bindings,
    order_amplitudes,
)
from hybridq.backends._qiskit.device_noise import confuse, confusion_matrices, noise_model
from hybridq.errors import BackendUnavailable, require

__all__ = ["NOISY_QUBITS", "QUBITS", "AerCircuit", "Simulator", "chunked"]

QUBITS = 24
NOISY_QUBITS = 12  # a density matrix of 256 MB
_POINTS = 8000  # a job: Aer's cost per point grows beyond
_NUMBERS = 2**24  # a job's results: 128 MB


def chunked(points: Array, n_qubits: int) -> list[Array]:
    """Split an array of points into jobs: one, unless there are too many points or results."""
    size = min(_POINTS, max(1, _NUMBERS >> n_qubits))
    return [points[start : start + size] for start in range(0, len(points), size)]


@dataclass(frozen=True, eq=False)
class AerCircuit:
    """A compiled circuit that saves what is measured.

    Args:
        physical: The compiled circuit.
        diagonal: Whether it saves probabilities, not amplitudes.
        saving: The circuit with its save instruction.
        simulator: The `AerSimulator`, with the noise model of the qubits used.
        confusion: For each wire the readout error; empty without noise.
    """

    physical: PhysicalCircuit
    diagonal: bool
    saving: Any
    simulator: Any
    confusion: Sequence[Array]

    def run(self, points: Array) -> Array:
        """Run one job.

        Args:
            points: Shape (points, K), radians.

        Returns:
            Probabilities of the bits that are read, or real parts of amplitudes; shape (points,
            2**n), wire 0 leftmost.

        Raises:
            BackendUnavailable: If Aer reports a failure.
        """
        binds = [bindings(self.physical, points)] if self.physical.parameters else None
        # Binding at run time saves Aer one copy of the circuit per point.
        job = self.simulator.run(
            [self.saving], parameter_binds=binds, shots=1, runtime_parameter_bind_enable=bool(binds)
        )
        result = job.result()
        if not result.success:
            raise BackendUnavailable(f"Aer could not run the circuit: {result.status}")
        if not self.diagonal:
            states = np.stack([np.asarray(point.data.statevector) for point in result.results])
            entries = np.ascontiguousarray(order_amplitudes(self.physical, states).real)
        else:
            entries = np.stack([point.data.probabilities for point in result.results])
            entries = confuse(entries, self.confusion) if self.confusion else entries
            # Rounding leaves numbers such as -1e-18, which would stop the sampler.
            entries = entries.clip(min=0.0)
            entries /= entries.sum(1, keepdims=True)
        # Without parameters there is one result for all points.
        return entries if binds else np.repeat(entries, len(points), axis=0)


@dataclass(eq=False)
class Simulator:
    """The compiled circuits of one backend.

    Args:
        device: The IBM device whose gates, qubits and noise are simulated; None for an ideal
            simulator.
        processor: "CPU" or "GPU".
        initial_layout: The device's qubit of each wire; None lets Qiskit choose.
        levels: The noise where there is no device.

    Raises:
        MissingExtra: If qiskit-aer is not installed.
        BackendUnavailable: If a GPU is asked for and this Aer has none.
    """

    device: Any
    processor: str
    initial_layout: tuple[int, ...] | None
    levels: NoiseLevels = field(default_factory=NoiseLevels)
    _compiler: Compiler = field(init=False)
    _circuits: dict[tuple[Structure, bool], AerCircuit] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._compiler = Compiler(self.device, self.initial_layout)
        aer = require("qiskit_aer", "ibm")
        if self.processor != "GPU":
            return
        # A GPU simulator that cannot run is made without complaint and fails only when it runs.
        processors = aer.AerSimulator().available_devices()
        if "GPU" not in processors:
            raise BackendUnavailable(
                f"processor='GPU': this Qiskit Aer runs on {', '.join(processors)} only. On a "
                "Linux machine with a CUDA device, replace it: pip uninstall qiskit-aer && "
                "pip install 'hybridq-toolkit[gpu]' (which brings qiskit-aer-gpu)"
            )

    @property
    def transpilations(self) -> int:
        """How often a circuit was compiled."""
        return self._compiler.transpilations

    @property
    def method(self) -> str:
        """How Aer simulates: noise of gates takes density matrices."""
        noiseless = self.device is None and not self.levels.on_gates
        return "statevector" if noiseless else "density_matrix"

    def compiled(self, parametrised: ParametrisedCircuit) -> AerCircuit:
        """Return the compiled circuit of a structure; it is compiled when it is first asked for.

        Raises:
            BackendUnavailable: If the circuit does not fit the device, or is too large to be
                simulated with noise.
        """
        key = (parametrised.structure, parametrised.diagonal)
        if key not in self._circuits:
            self._circuits[key] = self._compile(parametrised)
        return self._circuits[key]

    def provenance(self) -> dict[str, Any]:
        """Return the date of the calibration, and the device's qubits of each compiled circuit."""
        if self.device is None:
            return {}
        return {
            "calibration": self.device.properties().last_update_date.isoformat(),
            "physical_qubits": [
                list(circuit.physical.physical) for circuit in self._circuits.values()
            ],
        }

    def _compile(self, parametrised: ParametrisedCircuit) -> AerCircuit:
        aer = require("qiskit_aer", "ibm")
        diagonal = parametrised.diagonal
        physical = self._compiler.compile(parametrised)
        saving = physical.saving(diagonal)
        if self.device is None:
            options = {"method": self.method, "device": self.processor}
            if self.levels.on_gates:
                options["noise_model"] = self.levels.aer_model(physical.circuit)
            confusion = self.levels.confusion(parametrised.trace.n_qubits)
            simulator = aer.AerSimulator(**options)
            return AerCircuit(physical, diagonal, saving, simulator, confusion)
        if len(physical.physical) > NOISY_QUBITS:
            raise BackendUnavailable(
                f"n_qubits={parametrised.trace.n_qubits}: compiled for {self.device.name!r} the "
                f"circuit uses {len(physical.physical)} qubits; at most {NOISY_QUBITS} can be "
                "simulated with noise"
            )
        model = noise_model(self.device.target, physical.physical)
        simulator = aer.AerSimulator(method=self.method, device=self.processor, noise_model=model)
        confusion = confusion_matrices(model, physical.wires)
        return AerCircuit(physical, diagonal, saving, simulator, confusion)
