"""Compare the same circuits on several backends."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor

from hybridq.backends import AbstractBackend
from hybridq.comparison.accuracy import Paired, judge, logits_of, shot_noise_alone
from hybridq.comparison.curves import curves, phi_distances
from hybridq.comparison.deviations import deviations, holm
from hybridq.comparison.distances import Distance, distances, hellinger, total_variation
from hybridq.comparison.listing import resolve_all
from hybridq.comparison.measuring import Array, Measurement, measure
from hybridq.comparison.result import BackendResult, Comparison, read_stored
from hybridq.comparison.subjects import Subject, make_subject
from hybridq.comparison.verdicts import Verdict, combined_p, verdict
from hybridq.errors import InvalidArgument
from hybridq.seeding import derive
from hybridq.study.environment import environment

__all__ = ["CompareOptions", "compare"]


@dataclass(frozen=True)
class CompareOptions:
    """How to compare.

    Args:
        shots: The shots of backends that need them and name none; None takes the number that
            another backend names.
        seed: The source of what is drawn here. The shots are drawn by each backend's own seed.
        resamples: How many times shots are drawn to find what shot noise alone gives.
        redraws: The same for a model, which is run on its whole test set for each.
        stored: Records of earlier comparisons, compare.json, whose backends are compared again;
            nothing is run for them.
        loader: What loads the folder of a run, "package.module:function".
        price_per_minute: What a minute of QPU time costs in your plan, in any currency; None shows
            seconds only.

    Raises:
        InvalidArgument: If a number is out of range.
    """

    shots: int | None = None
    seed: int = 0
    resamples: int = 1000
    redraws: int = 20
    stored: tuple[str | Path, ...] = ()
    loader: str = "experiments.evaluate:load_run"
    price_per_minute: float | None = None

    def __post_init__(self) -> None:
        derive(self.seed)  # refuses what is no seed
        if self.shots is not None and (isinstance(self.shots, bool) or self.shots < 1):
            raise InvalidArgument.of("shots", self.shots, "give a positive integer, or None")
        if self.resamples < 100:
            raise InvalidArgument.of(
                "resamples", self.resamples, "quantiles of 2.5 % need 100 at least"
            )
        if self.redraws < 2:
            raise InvalidArgument.of("redraws", self.redraws, "give 2 at least")
        if self.price_per_minute is not None and not self.price_per_minute >= 0:
            raise InvalidArgument.of(
                "price_per_minute", self.price_per_minute, "give a number, or None"
            )


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
        *arguments: Of a circuit: inputs (points, n_inputs) and weights, radians. Of a QNode: what
            it is called with. Of a model: the test split, with `ids` and `labels`. Of a run:
            nothing.
        options: Seeds, shots and stored records.

    Returns:
        The comparison; `write(folder)` writes its page.

    Raises:
        InvalidArgument: If something does not fit, or there are fewer than two backends.
        UnknownName: If there is no such backend.
        BackendUnavailable: If a backend cannot run the circuits.
        CheckpointMismatch: If a stored record is of another circuit, or of other weights.

    Example:
        >>> import torch
        >>> from hybridq.circuits import Circuit, RyRzCnot
        >>> circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
        >>> found = compare(circuit, "statevector,default.qubit", torch.zeros(3, 1), torch.ones(1, 2, 2))
        >>> found["default.qubit"].verdict.kind
        'equal'
    """
    chosen = options or CompareOptions()
    resolved = resolve_all(backends, chosen.shots)
    what = make_subject(subject, arguments, chosen.loader)
    stored = [entry for path in chosen.stored for entry in read_stored(path, what)]
    if len(resolved) + len(stored) < 2:
        raise InvalidArgument.of(
            "backends", list(resolved), "give two at least, the first being the reference"
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    with _progress() as progress:
        task = progress.add_task("", total=2 * len(resolved) + len(stored))
        measured = []
        for label, backend in resolved.items():
            progress.update(task, description=f"running {label}")
            measured.append((measure(what, backend, label, when), ""))
            progress.advance(task)
        results = _judge(what, [*measured, *_distinct(stored)], chosen, (progress, task))
    settings = {key: value for key, value in asdict(chosen).items() if key != "stored"}
    settings["stored"] = [Path(path).name for path in chosen.stored]
    return Comparison(what, results, settings, environment() | {"started": when})


def _judge(
    subject: Subject,
    measured: list[tuple[Measurement, str]],
    options: CompareOptions,
    bar: tuple[Progress, TaskID],
) -> tuple[BackendResult, ...]:
    """Compare all measurements with the first."""
    progress, task = bar
    matrix: Array = subject.matrix.numpy()
    (reference, _), others = measured[0], measured[1:]
    found = [deviations(backend, reference, matrix) for backend, _ in others]
    apart = [_apart((backend, reference), matrix, options) for backend, _ in others]
    p_values = _corrected(
        [
            combined_p(one, tv, backend.covariances is not None)
            for one, (tv, _), (backend, _) in zip(found, apart, others, strict=True)
        ]
    )
    logits = None if subject.trained is None else logits_of(subject.trained, reference, matrix)
    results = [_reference(subject, measured[0], logits, options)]
    progress.advance(task)
    for number, (backend, stored) in enumerate(others):
        progress.update(task, description=f"comparing {backend.label}")
        pair, seed = (backend, reference), derive(options.seed, "compare", backend.label)
        paired = None if logits is None else _pair(subject, pair, logits, options, seed)
        judged = verdict(
            found[number],
            p_values[number],
            (subject.points, subject.observables),
            apart[number][0],
            paired,
        )
        phi = (
            ()
            if subject.trained is None
            else phi_distances(subject.trained, pair, matrix, options.resamples, seed)
        )
        lines = () if subject.trained is None else curves(subject.trained, backend, matrix)
        results.append(
            BackendResult(
                backend,
                stored,
                judged,
                found[number],
                *apart[number],
                tuple(phi),
                tuple(lines),
                paired,
            )
        )
        progress.advance(task)
    return tuple(results)


def _apart(
    pair: tuple[Measurement, Measurement], matrix: Array, options: CompareOptions
) -> tuple[Distance, Distance]:
    """Mean total variation and Hellinger distance."""
    found = _both(pair[0].distributions, pair[1].distributions).tolist()
    measured = dict(zip(("total variation", "Hellinger"), found, strict=True))
    seed = derive(options.seed, "compare", pair[0].label, "distributions")
    tv, hell = distances(measured, _both, pair, matrix, options.resamples, seed)
    return tv, hell


def _corrected(p_values: list[float | None]) -> list[float | None]:
    """Holm's correction of those that are not None."""
    known = [p for p in p_values if p is not None]
    corrected = iter(holm(np.array(known)).tolist())
    return [None if p is None else next(corrected) for p in p_values]


def _reference(
    subject: Subject,
    measured: tuple[Measurement, str],
    logits: Tensor | None,
    options: CompareOptions,
) -> BackendResult:
    reference, stored = measured
    what = (
        "exact"
        if reference.exact
        else f"{reference.shots:,} shots for each circuit, whose noise is part of each test"
    )
    judged = Verdict("reference", (f"What the others are compared with: {what}.",))
    if subject.trained is None or logits is None:
        return BackendResult(reference, stored, judged)
    lines = curves(subject.trained, reference, subject.matrix.numpy())
    paired = judge(subject.trained.labels, logits, logits, None, (options.resamples, options.seed))
    return BackendResult(reference, stored, judged, curves=tuple(lines), paired=paired)


def _pair(
    subject: Subject,
    pair: tuple[Measurement, Measurement],
    logits: Tensor,
    options: CompareOptions,
    seed: int,
) -> Paired:
    assert subject.trained is not None  # noqa: S101
    matrix: Array = subject.matrix.numpy()
    alone = shot_noise_alone(subject.trained, pair, matrix, options.redraws, derive(seed, "model"))
    ours = logits_of(subject.trained, pair[0], matrix)
    return judge(subject.trained.labels, ours, logits, alone, (options.resamples, seed))


def _both(p: Array, q: Array) -> Array:
    """Mean total variation and Hellinger distance over the points, shape (..., 2)."""
    return np.stack([total_variation(p, q).mean(-1), hellinger(p, q).mean(-1)], -1)


def _distinct(stored: list[tuple[Measurement, str]]) -> list[tuple[Measurement, str]]:
    """Records of one backend and day under labels of their own."""
    seen: dict[str, int] = {}
    distinct = []
    for measurement, name in stored:
        count = seen[measurement.label] = seen.get(measurement.label, 0) + 1
        label = measurement.label if count == 1 else f"{measurement.label} #{count}"
        distinct.append((replace(measurement, label=label), name))
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
