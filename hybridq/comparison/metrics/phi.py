"""The error of Phi, the function that a trained circuit adds to attention scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.curves import PhiCurve, curves, phi_distances
from hybridq.comparison.distances import Distance
from hybridq.comparison.estimates import Estimate
from hybridq.comparison.evidence import Evidence
from hybridq.comparison.metrics._metric import AbstractMetric
from hybridq.comparison.plots import add_legend, colour_of, line_style, set_title
from hybridq.comparison.subjects import Subject
from hybridq.study.plots import new_figure
from hybridq.study.sections import Drawing, Entry
from hybridq.study.theme import MARKERS, Theme, style_axes

__all__ = ["Phi", "PhiErrors"]

_MOST_SETS = 4  # columns that can still be read
_DASHED = (0, (2, 2))


@dataclass(frozen=True, eq=False)
class PhiErrors:
    """Phi of all sets of angles on one backend.

    Args:
        curves: Phi and its Fourier coefficients, for each set of angles.
        distances: The root mean square error of Phi over its period, for each set of angles;
            empty for the reference.
    """

    curves: tuple[PhiCurve, ...]
    distances: tuple[Distance, ...] = ()

    def curve(self, name: str) -> PhiCurve:
        """Return the curve of one set of angles."""
        return next(curve for curve in self.curves if curve.name == name)


class Phi(AbstractMetric[PhiErrors]):
    """The root mean square error of Phi over its period, in radians of the attention score."""

    name = "phi"
    title = "error of Φ, rms"
    order = 40
    has_panel = False
    console = "error of Φ"
    explanation = (
        "**Φ**: what the circuit adds to an attention score s, a periodic function of s. The model "
        "uses nothing else of the circuit. Bands are pointwise 95 %.",
    )

    def applies(self, subject: Subject) -> bool:
        """Tell whether there is a model."""
        return subject.trained is not None

    def compute(self, evidence: Evidence) -> PhiErrors:
        """Compute Phi and its errors from the outputs of the circuits."""
        apart = phi_distances(evidence.trained, evidence.pair, evidence.resampling())
        return PhiErrors(self.compute_reference(evidence).curves, tuple(apart))

    def compute_reference(self, evidence: Evidence) -> PhiErrors:
        """Compute Phi of the reference."""
        made = curves(evidence.trained, evidence.measurement, evidence.pair.matrix)
        return PhiErrors(tuple(made))

    def estimate(self, value: PhiErrors) -> Estimate | None:
        """Return the largest error of all sets of angles."""
        return _worst(value).estimate if value.distances else None

    def cells(self, value: PhiErrors) -> tuple[Entry, ...]:
        """Return the largest error, with the set of angles that has it."""
        return (self.entry(self.estimate(value), _worst(value).name),)

    def figures(self, subject: Subject, results: Sequence[BackendResult]) -> tuple[Drawing, ...]:
        """Return Phi over its period, and the errors of its Fourier coefficients."""
        shown = _shown_sets(self.name, results)
        n_sets = 0 if subject.trained is None else len(subject.trained.set_names)
        fewer = "" if len(shown) == n_sets else " Shown are those with the largest errors."
        curves_caption = (
            "Above, what the circuits add to an attention score; below, its error. Bands: 95 %, "
            f"from the shots. Dashed: the reference.{fewer}"
        )
        coefficients_caption = (
            "The error of each coefficient of Φ, with its 95 % interval: a0 is the mean; ak and bk "
            f"belong to the harmonic of frequency k.{fewer}"
        )
        phis = {one.label: one[self.name] for one in results}
        return (
            Drawing(
                "Φ over its period",
                lambda theme: _draw_curves(shown, phis, theme),
                curves_caption,
            ),
            Drawing(
                "Fourier coefficients",
                lambda theme: _draw_coefficients(shown, phis, theme),
                coefficients_caption,
            ),
        )

    def to_json(self, value: PhiErrors | None) -> dict[str, Any]:
        """Return the Fourier coefficients and the errors."""
        made = PhiErrors(()) if value is None else value
        coefficients = {
            curve.name: {
                "coefficients": curve.coefficients,
                "half_widths_95": curve.coefficient_half_widths,
            }
            for curve in made.curves
        }
        return {"fourier": coefficients, "phi_rms": list(made.distances)}


def _worst(value: PhiErrors) -> Distance:
    return max(value.distances, key=lambda distance: distance.value)


def _shown_sets(metric: str, results: Sequence[BackendResult]) -> list[str]:
    """Choose the sets of angles that are drawn: all, or those of the largest errors."""
    errors = [[distance.value for distance in one[metric].distances] for one in results[1:]]
    largest = np.max(errors, axis=0)  # (sets,)
    chosen = sorted(np.argsort(-largest, kind="stable")[:_MOST_SETS])
    return [results[0][metric].curves[number].name for number in chosen]


def _draw_curves(names: Sequence[str], phis: dict[str, PhiErrors], theme: Theme) -> Any:
    """Draw Phi of each set of angles over its period with 95 % bands; below it the error."""
    figure = new_figure(theme, 5.4)
    shape = {"sharex": True, "sharey": "row", "squeeze": False, "height_ratios": (3, 2)}
    grid = figure.subplots(2, len(names), **shape)
    for (above, below), name in zip(grid.T, names, strict=True):
        style_axes(above, theme)
        style_axes(below, theme)
        (reference, base), *others = [(label, phi.curve(name)) for label, phi in phis.items()]
        for number, (label, curve) in enumerate(others):
            style = line_style(theme, number) | {"label": label}
            _line_with_band(above, curve, curve.values, style)
            _line_with_band(below, curve, curve.values - base.values, style)
        dashed = {"color": theme.text, "lw": 1.6, "ls": _DASHED, "zorder": 5}
        above.plot(base.scores, base.values, label=f"{reference} (reference)", **dashed)
        band = {"color": theme.muted, "alpha": 0.2, "lw": 0}
        below.fill_between(base.scores, -base.half_widths, base.half_widths, **band)
        below.axhline(0, **dashed)
        set_title(above, name, theme, pad=8)
        period = base.scores[-1]
        ticks = [0, period / 2, period]
        below.set_xticks(ticks, ["0", _radians(period / 2), _radians(period)])
        below.set_xlabel("attention score s, one period, radians")
    grid[0, 0].set_ylabel("gate · Φ(s)")
    grid[1, 0].set_ylabel("error of Φ")
    add_legend(figure, grid[0, 0], theme)
    return figure


def _line_with_band(axes: Any, curve: PhiCurve, values: Any, style: dict[str, Any]) -> None:
    low = values - curve.half_widths
    high = values + curve.half_widths
    axes.fill_between(curve.scores, low, high, color=style["color"], alpha=0.16, lw=0)
    axes.plot(curve.scores, values, **style)


def _draw_coefficients(names: Sequence[str], phis: dict[str, PhiErrors], theme: Theme) -> Any:
    """Draw the error of each Fourier coefficient with its 95 % interval."""
    figure = new_figure(theme, 1.2 + 2.1 * len(names))
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(rows, names, strict=True):
        style_axes(axes, theme)
        (_, base), *others = [(label, phi.curve(name)) for label, phi in phis.items()]
        x = np.arange(len(base.coefficients))
        axes.axhline(0, color=theme.muted, lw=1, zorder=1)
        for number, (label, curve) in enumerate(others):
            colour = colour_of(theme, number)
            place = x + 0.6 * ((number + 0.5) / len(others) - 0.5)
            error = curve.coefficients - base.coefficients
            half = curve.coefficient_half_widths
            bars = {"color": colour, "lw": 1.6, "alpha": 0.45, "zorder": 2}
            axes.vlines(place, error - half, error + half, **bars)
            dots = {"ls": "", "marker": MARKERS[number % len(MARKERS)], "ms": 4.5, "mew": 0}
            axes.plot(place, error, color=colour, label=label, zorder=3, **dots)
        degree = len(x) // 2
        harmonics = [f"${kind}_{{{k}}}$" for kind in "ab" for k in range(1, degree + 1)]
        axes.set_xticks(x, ["$a_{0}$", *harmonics])
        axes.grid(visible=False, axis="x")
        set_title(axes, name, theme, pad=6)
        axes.set_ylabel("error")
    add_legend(figure, rows[0], theme)
    return figure


def _radians(value: float) -> str:
    multiple = round(value / np.pi, 6)
    return "π" if multiple == 1 else f"{multiple:g}π"
