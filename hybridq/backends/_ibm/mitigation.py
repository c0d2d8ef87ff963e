"""Error mitigation: options of the primitives, arrays of their results, outputs from the arrays."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hybridq.backends._core.contract import moments
from hybridq.backends._core.readout_errors import inverse_confusion
from hybridq.backends._core.shift import Array
from hybridq.backends._ibm.journal import Arrays
from hybridq.backends._ibm.m3 import quasi_probabilities
from hybridq.circuits import Circuit
from hybridq.errors import InvalidArgument, require

__all__ = ["Mitigation", "Observables", "z_strings"]

_NOISE_FACTORS = (1, 3, 5)


@dataclass(frozen=True)
class Mitigation:
    """Options against errors, as one job of the runtime takes them, and the arrays of its result.

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
        # The runtime's rule: at most 32 random circuits, of 64 shots at least.
        each = max(64, -(-shots // 32))
        if self.randomized and shots % each:
            step = 64 if shots <= 2048 else 32
            next_shots = -(-shots // step) * step
            way_out = (
                "twirling divides them between random circuits; the next that can be is "
                f"{next_shots}"
            )
            raise InvalidArgument.of("shots", shots, way_out)

    def options(self, shots: int, tag: str, seed: int) -> Any:
        """Return the options of the runtime's sampler or estimator.

        Args:
            shots: Shots per circuit.
            tag: The tag that the job carries.
            seed: The source of a local device's shots.
        """
        models = require("qiskit_ibm_runtime.options_models", "ibm")
        chosen = models.EstimatorOptions() if self.estimated else models.SamplerOptions()
        chosen.default_shots = shots
        chosen.environment.job_tags = [tag]
        chosen.twirling.enable_gates = self.twirling
        chosen.twirling.enable_measure = self.randomized
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
            return {
                "values": np.concatenate([_by_point(values) for values, _ in measured]),
                "errors": np.concatenate([_by_point(errors) for _, errors in measured]),
            }
        counts = [_counts(pub.data.c) for pub in result]
        if self.readout == "mthree":
            return {
                "counts": np.concatenate(counts[:-2]),
                "calibration": np.concatenate(counts[-2:]),
            }
        return {"counts": np.concatenate(counts)}


@dataclass(frozen=True)
class Observables:
    """The outputs of a circuit, from the arrays that a job measures.

    Args:
        circuit: The circuit.
        mitigation: The options against errors.
        shots: Shots per circuit.
    """

    circuit: Circuit
    mitigation: Mitigation
    shots: int

    @property
    def strings(self) -> list[int]:
        """The Z strings that the estimator measures; none for the sampler, which measures bits."""
        return z_strings(self._matrix)[0] if self.mitigation.estimated else []

    def values(self, arrays: Arrays) -> Array:
        """Return the outputs, shape (points, n_outputs)."""
        if self.mitigation.estimated:
            _, constant, coefficients = z_strings(self._matrix)
            outputs: Array = constant + arrays["values"] @ coefficients.T
            return outputs
        if self.mitigation.readout == "mthree":
            entries = quasi_probabilities(arrays["counts"], arrays["calibration"])
        else:
            entries = arrays["counts"] / self.shots
        selected: Array = self.circuit.readout.select(torch.from_numpy(entries), -1).numpy()
        return selected

    def covariances(self, arrays: Arrays) -> Tensor:
        """Return the covariances of the outputs, shape (points, n_outputs, n_outputs)."""
        if self.mitigation.estimated:
            coefficients = z_strings(self._matrix)[2]
            errors = np.hypot(arrays["errors"], 1 / self.shots)  # not 0 where all shots agree
            return torch.from_numpy((coefficients * errors[:, None, :] ** 2) @ coefficients.T)
        matrix = self._matrix
        if self.mitigation.readout == "mthree":
            matrix = matrix @ inverse_confusion(arrays["calibration"])
        frequencies = torch.from_numpy(arrays["counts"] / self.shots)
        return moments(frequencies, torch.from_numpy(matrix), self.shots)[1]

    @property
    def _matrix(self) -> Array:
        matrix: Array = self.circuit.readout.matrix(self.circuit.n_qubits).numpy()
        return matrix


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
        zeros, ones = pairs[:, :, 0], pairs[:, :, 1]
        transformed = np.stack([zeros + ones, zeros - ones], 2).reshape(matrix.shape)
    transformed = transformed / size
    strings = [string for string in range(1, size) if np.abs(transformed[:, string]).max() > 1e-12]
    return strings, transformed[:, 0], transformed[:, strings]


def _extrapolate(data: Any) -> tuple[Array, Array]:
    """Extrapolate to no noise, by the straight line through the values at each noise.

    The runtime takes the error from how far three points are from its line: a tenth of the shots'
    error where they happen to lie on it, and infinite where its fit does not converge.

    Returns:
        The line's values at noise 0, and the errors that the shots give them.
    """
    x = np.array(_NOISE_FACTORS, dtype=np.float64)
    share = 1 / len(x) - x.mean() * (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    values = np.asarray(data.evs_noise_factors)
    errors = np.asarray(data.ensemble_stds_noise_factors)
    return values @ share, np.sqrt(errors**2 @ share**2)


def _counts(bits: Any) -> npt.NDArray[np.uint32]:
    """Count the bit strings of each point."""
    packed = np.asarray(bits.array)
    # (points, shots, bytes), the highest byte first
    packed = packed.reshape(-1, *packed.shape[-2:]).astype(np.int64)
    numbers = packed @ (256 ** np.arange(packed.shape[-1])[::-1])
    size = 2**bits.num_bits
    return np.stack([np.bincount(row, minlength=size) for row in numbers]).astype(np.uint32)


def _by_point(array: Any) -> Array:
    """Turn (strings, ...points) into (points, strings)."""
    return np.asarray(array).reshape(len(array), -1).T
