"""The results of one backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridq.comparison.measuring import Measurement
from hybridq.comparison.verdicts import Verdict
from hybridq.errors import UnknownName

__all__ = ["BackendResult"]


@dataclass(frozen=True, eq=False)
class BackendResult:
    """The measurement of one backend, its judgement, and the values of the metrics.

    Args:
        measurement: The measurement.
        stored: The name of the file that the measurement was read from; empty if it ran now.
        verdict: The judgement.
        values: The value of each metric that applies, by the metric's name.
    """

    measurement: Measurement
    stored: str
    verdict: Verdict
    values: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The backend, as the user wrote it."""
        return self.measurement.label

    def __getitem__(self, metric: str) -> Any:
        if metric not in self.values:
            raise UnknownName.among(f"metric of {self.label}", metric, self.values)
        return self.values[metric]
