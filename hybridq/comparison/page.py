"""The page of a comparison, made of the sections that all pages are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.metrics import AbstractMetric, Part
from hybridq.comparison.plots import Panel, draw_panels
from hybridq.comparison.subjects import Subject
from hybridq.comparison.tables import cost_table, metric_table
from hybridq.study.sections import (
    Drawing,
    Facts,
    Highlight,
    Judgement,
    Judgements,
    Notes,
    Report,
    Section,
    what_was_run,
)

__all__ = ["make_report"]

_INTRODUCTION = (
    "Every backend ran the same circuits with the same angles, each circuit once. All numbers of a "
    "backend on this page come from that one set of shots."
)
_MITIGATION = (
    "**Error mitigation** returns estimates whose variance it reports itself; negative "
    "probabilities are replaced by the nearest distribution where a distance needs one. Its noise "
    "is taken as that of fewer shots."
)


def make_report(
    subject: Subject,
    results: Sequence[BackendResult],
    metrics: Sequence[AbstractMetric[Any]],
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Report:
    """Make the page.

    Args:
        subject: The circuits that were compared.
        results: The results; the first is the reference.
        metrics: The metrics that apply to the subject, in their order.
        settings: Seeds, resamples, shots and prices.
        environment: Versions, machine, commit and command.

    Returns:
        The report, for `render_report`.
    """
    judgements = tuple(
        Judgement(one.label, one.verdict.kind, one.verdict.badge, one.verdict.sentences)
        for one in results
    )
    explanations = [text for metric in metrics for text in metric.explanation]
    sections: list[Section] = [Judgements("Verdicts", judgements)]
    for part in dict.fromkeys(metric.part for metric in metrics):
        members = [metric for metric in metrics if metric.part == part]
        sections += _part(part, members, subject, results)
    sections += [table for metric in metrics for table in metric.details(subject, results)]
    sections += [
        cost_table(results, settings["price_per_minute"]),
        Notes("How to read this", (_INTRODUCTION, *explanations, _MITIGATION)),
        _facts(subject, results, settings, environment),
    ]
    from_metrics = [one for metric in metrics for one in metric.highlights(results)]
    return Report(
        title=f"{subject.name}: {len(results)} backends",
        lead=_lead(subject, results),
        sections=tuple(sections),
        highlights=(*_highlights(subject, results), *from_metrics),
        eyebrow="hybridq compare",
        closing="compare.json beside it holds all numbers.",
    )


def _part(
    part: Part,
    metrics: Sequence[AbstractMetric[Any]],
    subject: Subject,
    results: Sequence[BackendResult],
) -> list[Section]:
    """Make the table of a part, the plots of its metrics, and where the first needs it a panel."""
    sections: list[Section] = [metric_table(part, metrics, results)]
    with_panel = [metric for metric in metrics if metric.has_panel]
    for metric in metrics:
        if with_panel and metric is with_panel[0]:
            sections.append(_panels(part, with_panel, results))
        for drawing in metric.figures(subject, results):
            sections.append(_described(drawing))
    return sections


def _panels(
    part: Part, metrics: Sequence[AbstractMetric[Any]], results: Sequence[BackendResult]
) -> Drawing:
    """Make the plot that the metrics of a part share: a panel for each."""
    labels = [one.label for one in results[1:]]
    panels = [_panel(metric, results) for metric in metrics]
    caption = " ".join([part.plot_caption, *(one.caption for one in metrics if one.caption)])
    drawing = Drawing(part.plot, lambda theme: draw_panels(labels, panels, theme), caption)
    return _described(drawing)


def _panel(metric: AbstractMetric[Any], results: Sequence[BackendResult]) -> Panel:
    estimates = tuple(metric.estimate(one[metric.name]) for one in results[1:])
    level = None
    if metric.is_of_one_backend:
        reference = metric.estimate(results[0][metric.name])
        level = None if reference is None else reference.value
    return Panel(metric.heading(), estimates, metric.percent, level)


def _described(drawing: Drawing) -> Drawing:
    """Add the text for a reader who cannot see the plot."""
    where = "The numbers are in the tables and in compare.json."
    description = drawing.description or f"{drawing.title}. {drawing.caption} {where}"
    return Drawing(drawing.title, drawing.draw, drawing.caption, description)


def _lead(subject: Subject, results: Sequence[BackendResult]) -> str:
    others = results[1:]
    beyond = [one.label for one in others if one.verdict.deviates]
    n_points = len(subject.points)
    circuits = f"The same {n_points} circuit{'s' if n_points > 1 else ''}"
    setting = f"{circuits}, with the same angles, on each backend, against `{results[0].label}`."
    if not beyond:
        answer = "No backend deviates from it by more than shot noise."
    elif len(beyond) == len(others):
        answer = "All deviate." if len(others) > 1 else "The other one deviates."
    else:
        names = " and ".join(f"`{name}`" for name in beyond)
        count = f"{len(beyond)} of {len(others)}"
        answer = f"{count} deviate from it by more than shot noise explains: {names}."
    return f"{setting} {answer}"


def _highlights(subject: Subject, results: Sequence[BackendResult]) -> list[Highlight]:
    trained, others = subject.trained, results[1:]
    n_points = len(subject.points)
    if trained is None:
        size = f"{subject.ansatz.n_qubits} qubits"
    else:
        size = f"{len(trained.modules)} layers"
    circuits = f"circuit{'s' if n_points > 1 else ''} on each backend"
    detail = f"{size}, {len(subject.observables)} outputs each"
    deviating = f"{sum(one.verdict.deviates for one in others)} of {len(others)}"
    highlights = [
        Highlight(f"{n_points}", circuits, detail),
        Highlight(deviating, "deviate beyond shot noise", "5 % for all together"),
    ]
    jobs = [one.measurement.cost.jobs for one in others if one.measurement.cost.jobs is not None]
    if jobs:
        label = "job for each backend" if max(jobs) == 1 else "jobs for a backend, at most"
        highlights.append(Highlight(f"{max(jobs)}", label, "one evaluation"))
    return highlights


def _facts(
    subject: Subject,
    results: Sequence[BackendResult],
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Facts:
    hashes = f"circuit {subject.circuit_hash[:16]}, angles {subject.angles_hash[:16]}"
    draws = f"{settings['resamples']} draws of shots, {settings['redraws']} for the model"
    details = {
        "subject": f"{subject.kind} {subject.name}",
        "circuit": f"{subject.ansatz}",
        "hashes": hashes,
        "seed": f"{settings['seed']}; {draws}",
    }
    for one in results:
        measurement = one.measurement
        shots = "exact" if measurement.exact else f"{measurement.shots:,} shots"
        when = measurement.measured[:16].replace("T", " ")
        parts = [shots, f"measured {when} UTC"]
        if calibration := measurement.provenance.get("calibration"):
            parts.append(f"calibrated {calibration[:10]}")
        if one.stored:
            parts.append(f"from {one.stored}")
        details[one.label] = ", ".join(parts)
    return what_was_run(environment, details)
