"""The result of a comparison, and how it is written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridq import __version__
from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.metrics import AbstractMetric
from hybridq.comparison.page import make_report
from hybridq.comparison.stored import FORMAT, VERSION
from hybridq.comparison.subjects import Subject
from hybridq.study.files import to_plain, write_whole
from hybridq.study.report import render_report

__all__ = ["Comparison"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The same circuits on several backends.

    Args:
        subject: The circuits that were compared.
        results: One result for each backend; the first is the reference.
        metrics: All metrics, in their order.
        settings: Seeds, resamples, shots and prices.
        environment: Versions, machine, commit and command.
    """

    subject: Subject
    results: tuple[BackendResult, ...]
    metrics: tuple[AbstractMetric[Any], ...]
    settings: dict[str, Any]
    environment: dict[str, Any]

    @property
    def reference(self) -> BackendResult:
        """The result that the others are compared with."""
        return self.results[0]

    @property
    def others(self) -> tuple[BackendResult, ...]:
        """All results but the reference's."""
        return self.results[1:]

    @property
    def shown_metrics(self) -> tuple[AbstractMetric[Any], ...]:
        """The metrics that apply to the subject, in their order."""
        return tuple(metric for metric in self.metrics if metric.applies(self.subject))

    def __getitem__(self, label: str) -> BackendResult:
        return next(result for result in self.results if result.label == label)

    def to_json(self) -> dict[str, Any]:
        """Return the record: plain JSON values, with all measurements.

        The backends can be compared again from it.
        """
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
                "format": FORMAT,
                "version": VERSION,
                "hybridq": __version__,
                "environment": self.environment,
                "settings": self.settings,
                "subject": about,
                "backends": [result.measurement.to_json() for result in self.results],
                "results": {result.label: self._numbers(result) for result in self.results},
            }
        )
        return record

    def write(self, folder: str | Path) -> Path:
        """Write compare.json and the page compare.html.

        Args:
            folder: The folder to write into; made if it is missing.

        Returns:
            The path of the page.

        Raises:
            MissingExtra: If jinja2 or matplotlib is not installed; compare.json is written even so.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = json.dumps(self.to_json(), allow_nan=False, ensure_ascii=False)
        write_whole(folder / "compare.json", record + "\n")
        report = make_report(
            self.subject, self.results, self.shown_metrics, self.settings, self.environment
        )
        write_whole(folder / "compare.html", render_report(report))
        return folder / "compare.html"

    def _numbers(self, result: BackendResult) -> dict[str, Any]:
        """Return all values of one backend; dictionaries under the same key become one."""
        numbers: dict[str, Any] = {"verdict": result.verdict, "stored": result.stored}
        for metric in self.metrics:
            for key, value in metric.to_json(result.values.get(metric.name)).items():
                before = numbers.get(key)
                if isinstance(before, dict) and isinstance(value, dict):
                    numbers[key] = before | value
                else:
                    numbers[key] = value
        return numbers
