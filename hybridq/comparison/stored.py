"""The measurements of an earlier comparison, read from its compare.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridq.comparison.measuring import Measurement
from hybridq.comparison.subjects import Subject
from hybridq.errors import CheckpointMismatch, DataCorrupted, DataNotFound

__all__ = ["FORMAT", "VERSION", "StoredMeasurement", "read_stored"]

FORMAT = "hybridq.compare"
VERSION = 1


@dataclass(frozen=True, eq=False)
class StoredMeasurement:
    """A measurement, and the file that it was read from.

    Args:
        measurement: The measurement.
        file: The name of the file; empty for a measurement that was made now.
    """

    measurement: Measurement
    file: str


def read_stored(path: str | Path, subject: Subject) -> list[StoredMeasurement]:
    """Read the measurements of an earlier comparison.

    Args:
        path: Its compare.json.
        subject: The subject that is compared now; the circuit and its angles must be the same.

    Returns:
        The measurements, labelled with the backend and the day.

    Raises:
        DataNotFound: If there is no such file.
        DataCorrupted: If it holds no comparison.
        CheckpointMismatch: If it was measured with other gates or angles.
    """
    path = Path(path)
    named = f"stored={str(path)!r}"
    if not path.is_file():
        raise DataNotFound(f"{named}: there is no such file; give the compare.json of a comparison")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_format(named, record)
        _check_hashes(named, record["subject"], subject)
        measurements = [
            Measurement.from_json(one, f"{one['label']} ({one['measured'][:10]})")
            for one in record["backends"]
        ]
    except (DataCorrupted, CheckpointMismatch):
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupted(f"{named}: this is no record of a comparison ({error!r})") from error
    shape = (len(subject.inputs), 2**subject.ansatz.n_qubits)
    for one in measurements:
        if one.probabilities.shape != shape or not np.isfinite(one.probabilities).all():
            numbers = f"{one.probabilities.shape} numbers, not {shape}"
            raise DataCorrupted(f"{named}: {one.label} has {numbers}")
    return [StoredMeasurement(one, path.name) for one in measurements]


def _check_format(named: str, record: dict[str, Any]) -> None:
    written, version = record["format"], record["version"]
    if (written, version) != (FORMAT, VERSION):
        readable = f"{FORMAT} {VERSION} can be read"
        raise DataCorrupted(f"{named}: this is {written} {version}; {readable}")


def _check_hashes(named: str, stored: dict[str, Any], subject: Subject) -> None:
    kinds = {"circuit_hash": "another circuit", "angles_hash": "other inputs or weights"}
    now = {"circuit_hash": subject.circuit_hash, "angles_hash": subject.angles_hash}
    for key, kind in kinds.items():
        if stored[key] != now[key]:
            raise CheckpointMismatch(
                f"{named}: it was measured with {kind} than {subject.name!r} has now "
                f"({key} {stored[key][:12]} and {now[key][:12]}); "
                "compare it with the checkpoint that it came from"
            )
