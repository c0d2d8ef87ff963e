"""Compare the same circuits on several backends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hybridq import catalogue
from hybridq.backends import AbstractBackend
from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.deviations import holm
from hybridq.comparison.evidence import Evidence
from hybridq.comparison.listing import resolve_all
from hybridq.comparison.measuring import Measurement, measure
from hybridq.comparison.metrics import AbstractDistance, AbstractMetric
from hybridq.comparison.options import CompareOptions
from hybridq.comparison.result import Comparison
from hybridq.comparison.stored import StoredMeasurement, read_stored
from hybridq.comparison.subjects import Subject, make_subject
from hybridq.comparison.verdicts import Verdict, combined_p, kind_of
from hybridq.errors import InvalidArgument
from hybridq.study.environment import environment

__all__ = ["compare", "load_metrics"]


def compare(
    subject: Any,
    backends: str | Sequence[str | AbstractBackend],
    *arguments: Any,
    options: CompareOptions | None = None,
) -> Comparison:
    """Run the same circuits on several backends, and tell how the results differ.

    Each backend is evaluated once: as many circuits as there are points, and one job on hardware.
    Distributions, observables, Phi, logits and accuracy are all computed from the same shots.

    Args:
        subject: A `Circuit`, a QNode, a model with `QuantumAttention` layers, or the folder of a
            run.
        backends: One string, "statevector,aer:shots=4096,ibm:fake_torino", or a list of names and
            objects. The first is the reference; an exact one makes the sharpest tests.
        *arguments: The arguments of the subject. Of a circuit: inputs (points, n_inputs) and
            weights, radians. Of a QNode: those that it is called with. Of a model: the test split,
            with `ids` and `labels`. Of a run: none.
        options: Seeds, shots, stored records and metrics.

    Returns:
        The comparison; `write(folder)` writes its page.

    Raises:
        InvalidArgument: If an argument does not fit, or there are fewer than two backends.
        UnknownName: If there is no such backend or metric.
        BackendUnavailable: If a backend cannot run the circuits.
        CheckpointMismatch: If a stored record is of another circuit, or of other weights.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
        >>> inputs, weights = torch.zeros(3, 1), torch.ones(1, 2, 2)
        >>> comparison = compare(circuit, "statevector,default.qubit", inputs, weights)
        >>> comparison["default.qubit"].verdict.kind
        'equal'
    """
    chosen = options or CompareOptions()
    metrics = load_metrics(chosen.metrics)
    resolved = resolve_all(backends, chosen.shots)
    made = make_subject(subject, arguments, chosen.loader)
    stored = [entry for path in chosen.stored for entry in read_stored(path, made)]
    if len(resolved) + len(stored) < 2:
        reason = "give two at least, the first being the reference"
        raise InvalidArgument.of("backends", list(resolved), reason)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    results = _results(_Judging(made, metrics, chosen), resolved, stored, started)
    about = environment() | {"started": started}
    return Comparison(made, results, metrics, chosen.to_json(), about)


def _results(
    judging: "_Judging",
    backends: dict[str, AbstractBackend],
    stored: list[StoredMeasurement],
    now: str,
) -> tuple[BackendResult, ...]:
    """Measure all backends, and judge them and those that were stored."""
    with _progress() as progress:
        task = progress.add_task("", total=2 * len(backends) + len(stored))
        measured = []
        for label, backend in backends.items():
            progress.update(task, description=f"running {label}")
            measurement = measure(judging.subject, backend, label, now)
            measured.append(StoredMeasurement(measurement, ""))
            progress.advance(task)
        for entry in [*measured, *_distinct(stored)]:
            progress.update(task, description=f"comparing {entry.measurement.label}")
            judging.add(entry)
            progress.advance(task)
    return judging.results()


def load_metrics(
    extra: Sequence[str | AbstractMetric[Any]] = (),
) -> tuple[AbstractMetric[Any], ...]:
    """Make all metrics of hybridq, and those of a user.

    Args:
        extra: The user's metrics, as objects or as "package.module:Class".

    Returns:
        The metrics, in their order.

    Raises:
        InvalidArgument: If an object is no metric, or two metrics have one name.
        UnknownName: If there is no such metric.
    """
    room = "comparison.metrics"
    loaded = [_make(one) for one in [*catalogue.names(room), *extra]]
    names = [metric.name for metric in loaded]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument.of("metrics", name, "two metrics have this name; rename one")
    return tuple(sorted(loaded, key=lambda metric: (metric.order, metric.name)))


def _make(metric: str | AbstractMetric[Any]) -> AbstractMetric[Any]:
    made = catalogue.load("comparison.metrics", metric)() if isinstance(metric, str) else metric
    if not isinstance(made, AbstractMetric):
        reason = "this is no metric; derive it from hybridq.comparison.metrics.AbstractMetric"
        raise InvalidArgument.of("metrics", metric, reason)
    return made


class _Judging:
    """Computes all metrics of one measurement after the other, and then judges all of them.

    The first measurement is the reference. The verdicts wait for the last one, since a p-value is
    corrected for the number of backends.
    """

    def __init__(
        self,
        subject: Subject,
        metrics: Sequence[AbstractMetric[Any]],
        options: CompareOptions,
    ) -> None:
        self.subject = subject
        self.metrics = [metric for metric in metrics if metric.applies(subject)]
        self.options = options
        of_distributions = [one for one in self.metrics if isinstance(one, AbstractDistance)]
        self.statistics = {metric.name: metric.between for metric in of_distributions}
        self.entries: list[StoredMeasurement] = []
        self.evidence: list[Evidence] = []
        self.values: list[dict[str, Any]] = []

    def add(self, entry: StoredMeasurement) -> None:
        """Compute the metrics of one measurement."""
        reference = self.evidence[0] if self.evidence else None
        evidence = Evidence(
            self.subject,
            entry.measurement,
            reference,
            self.options.resamples,
            self.options.redraws,
            self.options.seed,
            self.statistics,
        )
        values = {}
        for metric in self.metrics:
            compute = metric.compute_reference if reference is None else metric.compute
            value = compute(evidence)
            if value is not None:
                values[metric.name] = value
        self.entries.append(entry)
        self.evidence.append(evidence)
        self.values.append(values)

    def results(self) -> tuple[BackendResult, ...]:
        """Judge all measurements."""
        corrected = _corrected([self.p_value(number) for number in range(1, len(self.entries))])
        verdicts = [_of_reference(self.entries[0].measurement)]
        for number, p in enumerate(corrected, start=1):
            verdicts.append(self.verdict(self.values[number], p))
        return tuple(
            BackendResult(entry.measurement, entry.file, verdict, values)
            for entry, verdict, values in zip(self.entries, verdicts, self.values, strict=True)
        )

    def p_value(self, number: int) -> float | None:
        """Return the p-value of all tests of one backend; None if both are exact."""
        mitigated = self.evidence[number].pair.mitigated
        values = self.values[number]
        tests: list[float] = []
        for metric in self.metrics:
            tests += metric.p_values(values[metric.name], mitigated=mitigated)
        return combined_p(tests)

    def verdict(self, values: dict[str, Any], p: float | None) -> Verdict:
        """Judge one backend by its values and its corrected p-value."""
        kind = kind_of(p, any(metric.differs(values[metric.name]) for metric in self.metrics))
        sentences = [
            sentence
            for metric in self.metrics
            for sentence in metric.sentences(values[metric.name], kind, self.subject)
        ]
        return Verdict(kind, tuple(sentences), p)


def _of_reference(reference: Measurement) -> Verdict:
    if reference.exact:
        quality = "exact"
    else:
        quality = f"{reference.shots:,} shots for each circuit, whose noise is part of each test"
    return Verdict("reference", (f"What the others are compared with: {quality}.",))


def _corrected(p_values: list[float | None]) -> list[float | None]:
    """Correct those that are not None by Holm's method."""
    known = [p for p in p_values if p is not None]
    corrected = iter(holm(np.array(known)).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def _distinct(stored: list[StoredMeasurement]) -> list[StoredMeasurement]:
    """Give records of the same backend and day labels of their own."""
    seen: dict[str, int] = {}
    distinct = []
    for entry in stored:
        label = entry.measurement.label
        count = seen[label] = seen.get(label, 0) + 1
        unique = label if count == 1 else f"{label} #{count}"
        distinct.append(replace(entry, measurement=replace(entry.measurement, label=unique)))
    return distinct


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
