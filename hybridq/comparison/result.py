"""The result of a comparison, and how it is written and read again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridq import __version__
from hybridq.comparison.accuracy import Paired
from hybridq.comparison.curves import Curve
from hybridq.comparison.deviations import Deviations
from hybridq.comparison.distances import Distance
from hybridq.comparison.measuring import Array, Measurement
from hybridq.comparison.subjects import Subject
from hybridq.comparison.verdicts import Verdict
from hybridq.errors import CheckpointMismatch, DataCorrupted, DataNotFound
from hybridq.study.files import to_plain, write_whole

__all__ = ["BackendResult", "Comparison", "read_stored"]

_FORMAT, _VERSION = "hybridq.compare", 1


@dataclass(frozen=True, eq=False)
class BackendResult:
    """All that is said of one backend.

    Args:
        measurement: What was measured.
        stored: The name of the file that it was read from; empty if it was run now.
        verdict: The judgement.
        deviations: Of the observables; None of the reference, as the following.
        total_variation: The mean over the points.
        hellinger: The mean over the points.
        phi: The root mean square error of Phi over its period, for each set of angles; empty
            without a model.
        curves: Phi and its coefficients; empty without a model.
        paired: Logits and accuracy; None without a model.
    """

    measurement: Measurement
    stored: str
    verdict: Verdict
    deviations: Deviations | None = None
    total_variation: Distance | None = None
    hellinger: Distance | None = None
    phi: tuple[Distance, ...] = ()
    curves: tuple[Curve, ...] = ()
    paired: Paired | None = None

    @property
    def label(self) -> str:
        """The backend, as it was written."""
        return self.measurement.label


@dataclass(frozen=True, eq=False)
class Comparison:
    """The same circuits on several backends.

    Args:
        subject: What was compared.
        results: One for each backend; the first is the reference.
        settings: Seeds, resamples, shots and prices.
        environment: Versions, machine, commit and command.
    """

    subject: Subject
    results: tuple[BackendResult, ...]
    settings: dict[str, Any]
    environment: dict[str, Any]

    @property
    def reference(self) -> BackendResult:
        """What the others are compared with."""
        return self.results[0]

    @property
    def others(self) -> tuple[BackendResult, ...]:
        """All but the reference."""
        return self.results[1:]

    def __getitem__(self, label: str) -> BackendResult:
        return next(result for result in self.results if result.label == label)

    def to_json(self) -> dict[str, Any]:
        """The record: plain JSON values, with all that was measured, so that it can be compared again."""
        subject = self.subject
        about = {
            "kind": subject.kind,
            "name": subject.name,
            "ansatz": str(subject.ansatz),
            "circuit_hash": subject.circuit_hash,
            "angles_hash": subject.angles_hash,
            "points": list(subject.points),
            "observables": list(subject.observables),
        }
        record: dict[str, Any] = to_plain(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "hybridq": __version__,
                "environment": self.environment,
                "settings": self.settings,
                "subject": about,
                "backends": [result.measurement.to_json() for result in self.results],
                "results": {result.label: _numbers(result) for result in self.results},
            }
        )
        return record

    def write(self, folder: str | Path) -> Path:
        """Write compare.json and the page compare.html.

        Args:
            folder: Where; made if it is missing.

        Returns:
            The path of the page.

        Raises:
            MissingExtra: If jinja2 or matplotlib is not installed; compare.json is written even so.
        """
        from hybridq.comparison.page import render  # noqa: PLC0415 - which needs matplotlib

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(
            folder / "compare.json",
            json.dumps(self.to_json(), allow_nan=False, ensure_ascii=False) + "\n",
        )
        write_whole(folder / "compare.html", render(self))
        return folder / "compare.html"


def read_stored(path: str | Path, subject: Subject) -> list[tuple[Measurement, str]]:
    """Read what an earlier comparison measured.

    Args:
        path: Its compare.json.
        subject: What is compared now; the circuit and its angles must be the same.

    Returns:
        The measurements, under their labels and the day, each with the file's name.

    Raises:
        DataNotFound: If there is no such file.
        DataCorrupted: If it holds no comparison.
        CheckpointMismatch: If it was measured with other gates or angles.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(
            f"stored={str(path)!r}: there is no such file; give the compare.json of a comparison"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["format"], record["version"]) != (_FORMAT, _VERSION):
            found = f"{record['format']} {record['version']}"
            raise DataCorrupted(
                f"stored={str(path)!r}: this is {found}; {_FORMAT} {_VERSION} can be read"
            )
        _check_hashes(path, record["subject"], subject)
        measurements = [
            Measurement.from_json(one, f"{one['label']} ({one['measured'][:10]})")
            for one in record["backends"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataCorrupted | CheckpointMismatch):
            raise
        raise DataCorrupted(
            f"stored={str(path)!r}: this is no record of a comparison ({error!r})"
        ) from error
    shape = (len(subject.inputs), 2**subject.ansatz.n_qubits)
    for one in measurements:
        if one.probabilities.shape != shape or not np.isfinite(one.probabilities).all():
            raise DataCorrupted(
                f"stored={str(path)!r}: {one.label} has {one.probabilities.shape} numbers, not {shape}"
            )
    return [(one, path.name) for one in measurements]


def _check_hashes(path: Path, stored: dict[str, Any], subject: Subject) -> None:
    for key, what in (
        ("circuit_hash", "another circuit"),
        ("angles_hash", "other inputs or weights"),
    ):
        if stored[key] != getattr(subject, key):
            raise CheckpointMismatch(
                f"stored={str(path)!r}: it was measured with {what} than {subject.name!r} has now "
                f"({key} {stored[key][:12]} and {getattr(subject, key)[:12]}); compare it with the checkpoint it came from"
            )


def _numbers(result: BackendResult) -> dict[str, Any]:
    """What was computed, without what belongs to plots only."""
    found = result.deviations
    coefficients = {
        curve.name: {
            "coefficients": curve.coefficients,
            "half_widths_95": curve.coefficient_half_widths,
        }
        for curve in result.curves
    }
    numbers: dict[str, Any] = {
        "verdict": result.verdict,
        "stored": result.stored,
        "fourier": coefficients,
    }
    if found is not None:
        numbers["deviations"] = {
            "values": found.values,
            "standard_errors": found.errors,
            "z": _or_null(found.z),
            "p_holm": _or_null(found.p_holm),
            "chi2": found.chi2,
            "degrees_of_freedom": found.degrees,
            "p": found.p,
        }
    numbers |= {
        "total_variation": result.total_variation,
        "hellinger": result.hellinger,
        "phi_rms": list(result.phi),
    }
    return numbers | {"model": result.paired}


def _or_null(values: Array) -> list[Any]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]
