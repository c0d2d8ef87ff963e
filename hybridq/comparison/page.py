"""The page of a comparison: one HTML file that needs nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from hybridq.comparison import plots
from hybridq.comparison.distances import Distance
from hybridq.comparison.plots import Dot, Panel
from hybridq.comparison.result import BackendResult, Comparison
from hybridq.comparison.tables import Table, cost_table, model_table, outlier_table, summary_table
from hybridq.comparison.texts import COEFFICIENTS, DISTANCES, METHODS, MODEL, OUTPUTS, PHI
from hybridq.comparison.verdicts import percent
from hybridq.errors import require
from hybridq.study.page import data_uri, render_page
from hybridq.study.sections import what_was_run
from hybridq.study.theme import DARK, LIGHT, Theme

__all__ = ["render"]

_LOOKS = {
    "reference": ("open", "○"),
    "equal": ("good", "✓"),
    "within shot noise": ("good", "✓"),
    "beyond shot noise": ("bad", "✕"),
    "different": ("bad", "✕"),
}


@dataclass(frozen=True)
class _Figure:
    anchor: str
    title: str
    caption: str
    alt: str
    light: str
    dark: str


def render(comparison: Comparison) -> str:
    """Write the page.

    Args:
        comparison: What was compared.

    Returns:
        HTML with its style and its plots, light and dark; it loads nothing.

    Raises:
        MissingExtra: If jinja2 or matplotlib is not installed.
    """
    values = {
        "comparison": comparison,
        "title": f"{comparison.subject.name}: {len(comparison.results)} backends",
        "lead": _lead(comparison),
        "tiles": _tiles(comparison),
        "looks": _LOOKS,
        "blocks": _blocks(comparison),
        "methods": METHODS,
        "facts": _facts(comparison),
        "command": comparison.environment["command"],
    }
    template = files("hybridq.comparison") / "page.html.j2"
    return render_page(template, {"breakable": _breakable, "tight": _tight}, values)


def _lead(comparison: Comparison) -> str:
    others, reference = comparison.others, comparison.reference.label
    beyond = [one.label for one in others if one.verdict.kind in ("beyond shot noise", "different")]
    circuits = len(comparison.subject.points)
    what = f"The same {circuits} circuit{'s' * (circuits > 1)}, with the same angles, on each backend, against `{reference}`."
    if not beyond:
        return f"{what} No backend deviates from it by more than shot noise."
    if len(beyond) == len(others):
        return f"{what} {'All' if len(others) > 1 else 'The other one does'} deviate{'' if len(others) > 1 else 's'}."
    names = " and ".join(f"`{name}`" for name in beyond)
    return f"{what} {len(beyond)} of {len(others)} deviate from it by more than shot noise explains: {names}."


def _tiles(comparison: Comparison) -> list[tuple[str, str, str]]:
    trained, others = comparison.subject.trained, comparison.others
    n_points, n_outputs = len(comparison.subject.points), len(comparison.subject.observables)
    layers = (
        f"{len(trained.modules)} layers"
        if trained is not None
        else f"{comparison.subject.ansatz.n_qubits} qubits"
    )
    noisy = sum(one.verdict.kind in ("beyond shot noise", "different") for one in others)
    jobs = [one.measurement.cost.jobs for one in others if one.measurement.cost.jobs is not None]
    tiles = [
        (
            f"{n_points}",
            f"circuit{'s' * (n_points > 1)} on each backend",
            f"{layers}, {n_outputs} outputs each",
        )
    ]
    tiles.append((f"{noisy} of {len(others)}", "deviate beyond shot noise", "5 % for all together"))
    if jobs:
        tiles.append(
            (
                f"{max(jobs)}",
                "job for each backend" if max(jobs) == 1 else "jobs for a backend, at most",
                "one evaluation",
            )
        )
    if trained is not None:
        accuracies = [one.paired.accuracy for one in comparison.results if one.paired is not None]
        span = percent(accuracies[0], 1)
        if len(set(accuracies)) > 1:
            span = f"{100 * min(accuracies):.1f} to {percent(max(accuracies), 1)}"
        tiles.append((span, "accuracy of the model", f"{len(trained.labels):,} test examples"))
    return tiles


def _blocks(comparison: Comparison) -> list[_Figure | Table]:
    """What stands below the verdicts, in this order."""
    others, trained = comparison.others, comparison.subject.trained
    labels = [one.label for one in others]
    blocks: list[_Figure | Table] = [summary_table(comparison)]
    blocks.append(_draw("Every output", OUTPUTS, partial(plots.deviations, comparison)))
    blocks.append(
        _draw(
            "Distributions of the bit strings",
            DISTANCES,
            partial(plots.dots, labels, _distance_panels(comparison)),
        )
    )
    if trained is not None:
        more = (
            ""
            if len(plots.shown_sets(comparison)) == len(trained.set_names)
            else " Shown are those with the largest errors."
        )
        blocks.append(_draw("Φ over its period", PHI + more, partial(plots.phi, comparison)))
        blocks.append(
            _draw(
                "Fourier coefficients", COEFFICIENTS + more, partial(plots.coefficients, comparison)
            )
        )
        blocks.append(
            _draw(
                "What becomes of the model",
                MODEL,
                partial(plots.dots, labels, _model_panels(comparison)),
            )
        )
        blocks.append(model_table(comparison))
    return [*blocks, outlier_table(comparison), cost_table(comparison)]


def _distance_panels(comparison: Comparison) -> list[Panel]:
    def panel(title: str, found: Callable[[BackendResult], Distance | None]) -> Panel:
        each = [found(one) for one in comparison.others]
        return Panel(
            title, tuple(None if d is None else Dot(d.value, d.interval, d.alone) for d in each)
        )

    return [
        panel("total variation distance", lambda one: one.total_variation),
        panel("Hellinger distance", lambda one: one.hellinger),
    ]


def _model_panels(comparison: Comparison) -> list[Panel]:
    paired = [one.paired for one in comparison.others]
    base = comparison.reference.paired
    logits = tuple(None if p is None else Dot(p.rms, p.rms_interval, p.rms_alone) for p in paired)
    accuracy = tuple(
        None if p is None else Dot(p.accuracy, p.interval, p.accuracy_alone) for p in paired
    )
    level = None if base is None else (base.accuracy, "reference")
    return [Panel("error of the logits, rms", logits), Panel("accuracy", accuracy, True, level)]


def _draw(title: str, caption: str, plot: Callable[[Theme], Any]) -> _Figure:
    light, dark = (data_uri(plot(theme)) for theme in (LIGHT, DARK))
    anchor = "-".join(title.lower().split())
    return _Figure(
        anchor,
        title,
        caption,
        f"{title}. {caption} The numbers are in the tables and in compare.json.",
        light,
        dark,
    )


def _facts(comparison: Comparison) -> dict[str, str]:
    subject, settings = comparison.subject, comparison.settings
    more = {
        "subject": f"{subject.kind} {subject.name}",
        "circuit": f"{subject.ansatz}",
        "hashes": f"circuit {subject.circuit_hash[:16]}, angles {subject.angles_hash[:16]}",
        "seed": f"{settings['seed']}; {settings['resamples']} draws of shots, {settings['redraws']} for the model",
    }
    for one in comparison.results:
        device = one.measurement.provenance.get("calibration")
        stored = f", from {one.stored}" if one.stored else ""
        calibration = f", calibrated {device[:10]}" if device else ""
        shots = "exact" if one.measurement.exact else f"{one.measurement.shots:,} shots"
        more[one.label] = (
            f"{shots}, measured {one.measurement.measured[:16].replace('T', ' ')} UTC{calibration}{stored}"
        )
    return dict(what_was_run(comparison.environment, more).items)


def _breakable(label: str) -> Any:
    """Let a backend's name go on in the next line before a preset and after a comma."""
    markupsafe = require("markupsafe", "experiments")
    return (
        markupsafe.escape(label)
        .replace(",", markupsafe.Markup(",<wbr>"))
        .replace("+", markupsafe.Markup("<wbr>+"))
    )


def _tight(sentence: str) -> str:
    """Keep a number with what it is a number of."""
    for sign in "=<±":
        sentence = sentence.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return sentence.replace(" %", "\u00a0%")
