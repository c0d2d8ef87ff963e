"""One evaluation of a subject on a backend: the record that all numbers are computed from."""

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hybridq.backends import AbstractBackend, moments
from hybridq.circuits import Circuit, Probabilities
from hybridq.comparison.subjects import Subject

__all__ = ["Array", "Cost", "Measurement", "measure"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """The cost of a measurement.

    Args:
        circuits: The number of circuits that ran.
        jobs: The number of jobs that were sent; None where the backend does not count them.
        transpilations: The number of compilations; None where the backend does not count them.
        seconds: The wall time in seconds.
        estimated_qpu_seconds: The QPU time in seconds by the backend's formula; of a simulated
            device the time that the real one would take. None where there is no device.
        qpu_seconds: The QPU time that was charged, in seconds; None where no QPU ran.
    """

    circuits: int
    jobs: int | None
    transpilations: int | None
    seconds: float
    estimated_qpu_seconds: float | None
    qpu_seconds: float | None


@dataclass(frozen=True, eq=False)
class Measurement:
    """The probabilities that a backend gave at all points of a subject.

    Args:
        label: The backend, as the user wrote it.
        provenance: The backend's description of itself.
        shots: The shots per circuit; None means exact.
        probabilities: The probabilities of the bit strings, shape (points, 2**n). Error mitigation
            may give some that are negative.
        covariances: The covariances of the probabilities, shape (points, 2**n, 2**n), where error
            mitigation reports its own; None where they follow from the shots, by `moments` of the
            backends.
        cost: The cost of the measurement.
        measured: The time of the measurement, in ISO format.
    """

    label: str
    provenance: dict[str, Any]
    shots: int | None
    probabilities: Array
    covariances: Array | None
    cost: Cost
    measured: str

    @property
    def exact(self) -> bool:
        """Whether it carries no shot noise."""
        return self.shots is None

    @cached_property
    def distributions(self) -> Array:
        """The probabilities; where some are negative, the nearest distribution."""
        return _nearest_distributions(self.probabilities)

    def outputs(self, matrix: Array) -> Array:
        """Return the observables, shape (points, observables)."""
        return self.probabilities @ matrix.T

    def output_covariances(self, matrix: Array) -> Array:
        """Return the covariances of the observables; 0 if exact.

        The shape is (points, observables, observables).
        """
        if self.shots is None:
            return np.zeros((len(self.probabilities), len(matrix), len(matrix)))
        if self.covariances is not None:
            return np.asarray(matrix @ self.covariances @ matrix.T)
        probabilities = torch.from_numpy(self.probabilities)
        _, covariances = moments(probabilities, torch.from_numpy(matrix), self.shots)
        return covariances.numpy()

    def inflation(self, matrix: Array) -> Array:
        """Return each observable's variance in units of that of plain shots, shape (observables,).

        It is 1 unless errors were mitigated, and mitigation cannot make it less. It belongs to the
        device and the observable, so that it is averaged over the points: the variance that is
        reported of one point is itself an estimate.
        """
        if self.covariances is None or self.shots is None:
            return np.ones(len(matrix))
        reported = np.diagonal(self.output_covariances(matrix), axis1=1, axis2=2).sum(0)
        of_one_shot = shot_covariances(self.distributions, matrix)
        plain = np.diagonal(of_one_shot, axis1=1, axis2=2).sum(0) / self.shots
        ratio: Array = np.divide(reported, plain, out=np.ones(len(matrix)), where=plain > 0)
        return ratio.clip(min=1.0)

    def effective_shots(self, matrix: Array) -> float | None:
        """Return the number of plain shots with the total variance of these observables.

        None means exact.
        """
        if self.shots is None:
            return None
        plain = np.diagonal(shot_covariances(self.distributions, matrix), axis1=1, axis2=2).sum(0)
        inflated = float((self.inflation(matrix) * plain).sum())
        return self.shots * float(plain.sum()) / inflated if inflated > 0 else float(self.shots)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, which `from_json` reads."""
        return {
            "label": self.label,
            "measured": self.measured,
            "provenance": self.provenance,
            "shots": self.shots,
            "cost": asdict(self.cost),
            "probabilities": self.probabilities.tolist(),
            "covariances": None if self.covariances is None else self.covariances.tolist(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], label: str) -> "Measurement":
        """Read a record that `to_json` wrote, under another label."""
        covariances = record["covariances"]
        return cls(
            label,
            record["provenance"],
            record["shots"],
            np.array(record["probabilities"], dtype=np.float64),
            None if covariances is None else np.array(covariances, dtype=np.float64),
            Cost(**record["cost"]),
            record["measured"],
        )


def measure(subject: Subject, backend: AbstractBackend, label: str, now: str) -> Measurement:
    """Run all circuits of a subject on a backend, in one evaluation.

    Args:
        subject: The subject. It has as many circuits as points, and each runs once.
        backend: The backend that runs them.
        label: The name of the backend.
        now: The time, in ISO format.

    Returns:
        The measurement.

    Raises:
        BackendUnavailable: If the backend cannot run them.
    """
    before, start = _counters(backend), time.perf_counter()
    circuit = Circuit(subject.ansatz, Probabilities())
    values, covariances = backend.evaluate_with_covariances(
        circuit, subject.inputs, subject.weights
    )
    seconds, after = time.perf_counter() - start, _counters(backend)
    spent = [None if b is None or a is None else b - a for a, b in zip(before, after, strict=True)]
    provenance = backend.provenance()
    shots = None if backend.capabilities.exact else provenance["shots"]
    eye = torch.eye(values.shape[1], dtype=values.dtype)
    mitigated = shots is not None and not torch.allclose(
        covariances, moments(values, eye, shots)[1], rtol=1e-6, atol=1e-12
    )
    qpu = spent[4] if backend.capabilities.costs_money else None
    cost = Cost(int(spent[0] or 0), _whole(spent[1]), _whole(spent[2]), seconds, spent[3], qpu)
    reported = covariances.numpy() if mitigated else None
    return Measurement(label, provenance, shots, values.numpy(), reported, cost, now)


def shot_covariances(probabilities: Array, matrix: Array) -> Array:
    """Return the covariances R (diag p - p p^T) R^T of one shot.

    Args:
        probabilities: The probabilities p, shape (points, 2**n).
        matrix: The observables R, shape (observables, 2**n).

    Returns:
        The covariances, shape (points, observables, observables).
    """
    means = probabilities @ matrix.T
    squares = (matrix * probabilities[:, None, :]) @ matrix.T
    return np.asarray(squares - means[:, :, None] * means[:, None, :])


def _counters(backend: AbstractBackend) -> list[float | None]:
    """Return circuits, jobs, transpilations, estimated and charged QPU seconds until now.

    None stands for a number that the backend does not count.
    """
    provenance = backend.provenance()
    return [
        backend.n_circuits_run,
        getattr(backend, "jobs_run", None),
        getattr(backend, "transpilations", None),
        provenance.get("estimated_qpu_seconds"),
        provenance.get("qpu_seconds"),
    ]


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _nearest_distributions(entries: Array) -> Array:
    """Return the nearest points of the simplex in the Euclidean norm.

    They are max(p + shift, 0), with the shift that makes the sum 1.
    """
    if (entries >= 0).all():
        return np.asarray(entries / entries.sum(1, keepdims=True))
    descending = -np.sort(-entries, axis=1)
    shifts = (1 - descending.cumsum(1)) / np.arange(1, entries.shape[1] + 1)
    kept = (descending + shifts > 0).sum(1)  # how many stay positive
    shift = shifts[np.arange(len(entries)), kept - 1]
    clipped = np.clip(entries + shift[:, None], 0, None)
    return np.asarray(clipped / clipped.sum(1, keepdims=True))
