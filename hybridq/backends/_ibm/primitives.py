"""The runtime's sampler and estimator: a compiled circuit becomes a job, and the job's result arrays.

The sampler serves all diagonal readouts with one set of shots. What only the estimator mitigates
(TREX, zero-noise extrapolation) is measured as expectation values of Z strings, all of them
diagonal, so of one set of shots again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hybridq.backends._core.shift import Array
from hybridq.backends._ibm.budget import Cost
from hybridq.backends._ibm.local import cut_device
from hybridq.backends._ibm.runtime import Runtime
from hybridq.backends._qiskit.translation import PhysicalCircuit, bindings
from hybridq.errors import InvalidArgument, require

__all__ = ["Mitigation", "Program", "z_strings"]

Arrays = dict[str, npt.NDArray[Any]]

_NOISE_FACTORS = (1, 3, 5)
_REP_DELAY = 250e-6  # IBM's default, for devices that do not say


@dataclass(frozen=True)
class Mitigation:
    """What is done against errors.

    Args:
        readout: Readout errors: "trex" by twirled readout, in the estimator; "mthree" by M3, from
            calibration circuits.
        twirling: Twirl gates and measurements.
        decoupling: Dynamical decoupling of idle qubits.
        zne: Zero-noise extrapolation, linear, from gates folded to 1, 3 and 5 times their noise.
    """

    readout: Literal["trex", "mthree"] | None
    twirling: bool
    decoupling: Literal["XX", "XpXm", "XY4"] | None
    zne: bool

    @property
    def estimated(self) -> bool:
        """Whether the estimator measures, not the sampler."""
        return self.zne or self.readout == "trex"

    @property
    def randomized(self) -> bool:
        """Whether shots are divided between random circuits. TREX needs twirled readout."""
        return self.twirling or self.readout == "trex"

    @property
    def factor(self) -> int:
        """Circuits that are run for one point."""
        return len(_NOISE_FACTORS) if self.zne else 1

    @property
    def calibrations(self) -> int:
        """Circuits that a job adds."""
        return {"trex": 1, "mthree": 2, None: 0}[self.readout]

    def check_shots(self, shots: int) -> None:
        """Refuse a number of shots that the runtime would round up.

        Raises:
            InvalidArgument: If it would.
        """
        each = max(
            64, -(-shots // 32)
        )  # the runtime's rule: at most 32 random circuits, of 64 shots at least
        if self.randomized and shots % each:
            step = 64 if shots <= 2048 else 32
            raise InvalidArgument.of(
                "shots",
                shots,
                f"twirling divides them between random circuits; the next that can be is {-(-shots // step) * step}",
            )

    def options(self, shots: int, tag: str, seed: int) -> Any:
        """The options of the primitive."""
        models = require("qiskit_ibm_runtime.options_models", "ibm")
        chosen = models.EstimatorOptions() if self.estimated else models.SamplerOptions()
        chosen.default_shots = shots
        chosen.environment.job_tags = [tag]
        chosen.twirling.enable_gates, chosen.twirling.enable_measure = (
            self.twirling,
            self.randomized,
        )
        chosen.simulator.seed_simulator = seed
        chosen.simulator.angle_decimals = 15  # the default rounds angles to 1e-5
        if self.decoupling is not None:
            chosen.dynamical_decoupling.enable = True
            chosen.dynamical_decoupling.sequence_type = self.decoupling
        if self.estimated:
            chosen.resilience_level = 0  # nothing but what follows
            chosen.resilience.measure_mitigation = self.readout == "trex"
            chosen.resilience.zne_mitigation = self.zne
            chosen.resilience.zne.noise_factors = list(_NOISE_FACTORS)
            chosen.resilience.zne.extrapolator = "fallback"  # none: `_extrapolate` does it
        return chosen

    def read(self, result: Any) -> Arrays:
        """Turn a job's result into arrays.

        Returns:
            Of the estimator "values" and "errors", shape (points, strings). Of the sampler
            "counts", shape (points, 2**n), wire 0 leftmost, and with M3 "calibration", the counts
            with all wires prepared in 0 and in 1, shape (2, 2**n).
        """
        if self.estimated:
            measured = [
                _extrapolate(pub.data) if self.zne else (pub.data.evs, pub.data.stds)
                for pub in result
            ]
            values, errors = (
                [np.asarray(part).reshape(len(part), -1).T for part in parts]
                for parts in zip(*measured, strict=True)
            )
            return {"values": np.concatenate(values), "errors": np.concatenate(errors)}
        counts = [_counts(pub.data.c) for pub in result]
        if self.readout == "mthree":
            return {
                "counts": np.concatenate(counts[:-2]),
                "calibration": np.concatenate(counts[-2:]),
            }
        return {"counts": np.concatenate(counts)}


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled circuit on a device.

    Args:
        runtime: The device.
        physical: The circuit, on the qubits that it uses.
        mitigation: What is done against errors.
    """

    runtime: Runtime
    physical: PhysicalCircuit
    mitigation: Mitigation

    def cost(self, shots: int) -> Cost:
        """What a point costs."""
        device, mitigation = self.runtime.device, self.mitigation
        circuit, target = self._circuit(measured=True)
        timeless = self.runtime.local and target.target.dt is None  # the ideal device
        duration = 0.0 if timeless else circuit.estimate_duration(target.target, unit="s")
        delay = getattr(device.configuration(), "default_rep_delay", _REP_DELAY)
        return Cost(shots, mitigation.factor, mitigation.calibrations, duration, delay)

    def send(self, points: Array, strings: Sequence[int], options: Any) -> Any:
        """Send one job.

        Args:
            points: Shape (points, K), radians.
            strings: For the estimator the Z strings to measure, each a mask of wires, wire 0 the
                highest bit.
            options: Of the primitive.

        Returns:
            The runtime's job.
        """
        circuit, device = self._circuit(measured=not self.mitigation.estimated)
        mode = device if self.runtime.local else self.runtime.channel_of_jobs
        binds = (
            [(bindings(self.physical, points),)] if self.physical.parameters else [()] * len(points)
        )
        if self.mitigation.estimated:
            module = require("qiskit_ibm_runtime.executor_estimator", "ibm")
            observables = [[self._observable(string, circuit.num_qubits)] for string in strings]
            return module.Estimator(mode=mode, options=options).run(
                [(circuit, observables, *bind) for bind in binds]
            )
        module = require("qiskit_ibm_runtime.executor_sampler", "ibm")
        pubs: list[Any] = [(circuit, *bind) for bind in binds]
        if self.mitigation.readout == "mthree":
            pubs += [(self._flat(flip),) for flip in (False, True)]
        return module.Sampler(mode=mode, options=options).run(pubs)

    def _circuit(self, measured: bool) -> tuple[Any, Any]:
        """The circuit as the device takes it, and the device: a local one is cut down to the qubits used."""
        physical, device = self.physical, self.runtime.device
        if self.runtime.local:
            circuit, qubits = physical.circuit.copy(), list(range(len(physical.physical)))
            cut = (
                cut_device(device, physical.physical) if device.name.startswith("fake_") else device
            )
        else:
            circuit, qubits, cut = self._blank(), list(physical.physical), device
            circuit.compose(physical.circuit, qubits=qubits, inplace=True)
        if measured:
            self._measure(circuit, qubits)
        return circuit, cut

    def _flat(self, flip: bool) -> Any:
        """A calibration circuit of M3: all wires in 0, or all in 1."""
        circuit = self._blank()
        qubits = (
            list(range(circuit.num_qubits)) if self.runtime.local else list(self.physical.physical)
        )
        if flip:
            circuit.x([qubits[qubit] for qubit in self.physical.wires])
        self._measure(circuit, qubits)
        return circuit

    def _blank(self) -> Any:
        width = (
            len(self.physical.physical) if self.runtime.local else self.runtime.device.num_qubits
        )
        return require("qiskit.circuit", "ibm").QuantumCircuit(width)

    def _measure(self, circuit: Any, qubits: Sequence[int]) -> None:
        bits = require("qiskit.circuit", "ibm").ClassicalRegister(len(self.physical.wires), "c")
        circuit.add_register(bits)
        circuit.measure([qubits[qubit] for qubit in self.physical.readout_order], bits)

    def _observable(self, string: int, width: int) -> Any:
        n = len(self.physical.wires)
        qubits = range(width) if self.runtime.local else self.physical.physical
        chosen = [
            qubits[self.physical.wires[wire]] for wire in range(n) if string >> (n - 1 - wire) & 1
        ]
        paulis = require("qiskit.quantum_info", "ibm").SparsePauliOp
        return paulis.from_sparse_list([("Z" * len(chosen), chosen, 1.0)], num_qubits=width)


def z_strings(matrix: Array) -> tuple[list[int], Array, Array]:
    """Write outputs R p as a constant and a sum of expectation values of Z strings.

    With H the Hadamard matrix (-1)^(s & x), the expectation values are z = H p, so that R p = (R H
    / 2^n) z.

    Args:
        matrix: R, shape (outputs, 2**n).

    Returns:
        The strings that occur, each a mask of wires, wire 0 the highest bit; the constant, shape
        (outputs,); and their coefficients, shape (outputs, strings).
    """
    size = matrix.shape[1]
    transformed = matrix.copy()
    for axis in range(size.bit_length() - 1):  # the fast transform
        pairs = transformed.reshape(len(matrix), -1, 2, 2**axis)
        transformed = np.stack(
            [pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2
        ).reshape(matrix.shape)
    transformed = transformed / size
    strings = [string for string in range(1, size) if np.abs(transformed[:, string]).max() > 1e-12]
    return strings, transformed[:, 0], transformed[:, strings]


def _extrapolate(data: Any) -> tuple[Array, Array]:
    """The straight line through the values at each noise, at noise 0, and the error that the shots give it.

    The runtime takes the error from how far three points are from its line: a tenth of the shots'
    error where they happen to lie on it, and infinite where its fit does not converge.
    """
    x = np.array(_NOISE_FACTORS, dtype=np.float64)
    share = 1 / len(x) - x.mean() * (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    values, errors = (
        np.asarray(data.evs_noise_factors),
        np.asarray(data.ensemble_stds_noise_factors),
    )
    return values @ share, np.sqrt(errors**2 @ share**2)


def _counts(bits: Any) -> npt.NDArray[np.uint32]:
    """Count the bit strings of each point."""
    packed = np.asarray(bits.array)
    packed = packed.reshape(-1, *packed.shape[-2:]).astype(
        np.int64
    )  # (points, shots, bytes), the highest byte first
    numbers = packed @ (256 ** np.arange(packed.shape[-1])[::-1])
    size = 2**bits.num_bits
    return np.stack([np.bincount(row, minlength=size) for row in numbers]).astype(np.uint32)
