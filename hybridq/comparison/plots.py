"""The plots of a comparison, as matplotlib figures in a light and a dark theme."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridq.comparison.deviations import Z95
from hybridq.comparison.distances import Alone
from hybridq.comparison.result import BackendResult, Comparison
from hybridq.errors import require
from hybridq.study.theme import DASHES, MARKERS, Theme, style_axes

__all__ = ["Dot", "Panel", "coefficients", "deviations", "dots", "phi"]

_MOST_SETS = 4  # columns that can still be read


@dataclass(frozen=True)
class Dot:
    """A number with its interval, beside what shot noise alone gives.

    Args:
        value: The number.
        interval: Its 95 % interval, or None.
        alone: What shot noise alone gives, or None.
    """

    value: float
    interval: tuple[float, float] | None
    alone: Alone | None


@dataclass(frozen=True)
class Panel:
    """A column of dots: one for each backend.

    Args:
        title: What the numbers are.
        dots: One for each row; None where there is none.
        percent: Whether they are parts of one.
        level: A number to mark with a line, and its name.
    """

    title: str
    dots: tuple[Dot | None, ...]
    percent: bool = False
    level: tuple[float, str] | None = None


def deviations(comparison: Comparison, theme: Theme) -> Any:
    """Every observable's deviation with its 95 % interval, one panel for each backend."""
    results = [one for one in comparison.others if one.deviations is not None]
    figure = _figure(theme, 0.75 + 1.75 * len(results))
    rows = figure.subplots(len(results), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    observables = len(comparison.subject.observables)
    for number, (axes, one) in enumerate(zip(rows, results, strict=True)):
        style_axes(axes, theme)
        found, colour = one.deviations, _colour(theme, number)
        assert found is not None  # noqa: S101
        flat, errors = found.values.ravel(), Z95 * found.errors.ravel()
        x, beyond = np.arange(flat.size), np.nan_to_num(found.p_holm.ravel(), nan=1.0) < 0.05
        axes.axhline(0, color=theme.muted, lw=1, zorder=1)
        _boundaries(axes, comparison, observables, theme)
        axes.vlines(x, flat - errors, flat + errors, color=colour, lw=1.1, alpha=0.45, zorder=2)
        axes.plot(x, flat, ls="", marker="o", ms=3, color=colour, mew=0, zorder=3)
        axes.plot(
            x[beyond],
            flat[beyond],
            ls="",
            marker="D",
            ms=6.5,
            color=colour,
            mec=theme.text,
            mew=1,
            zorder=4,
        )
        axes.set_title(
            one.label, fontsize=10.5, color=theme.text, loc="left", fontweight="bold", pad=6
        )
        axes.grid(visible=False, axis="x")
    rows[-1].set_xlabel("output: the observables of each circuit, circuit after circuit")
    if len(comparison.subject.points) * observables <= 16:
        names = [
            f"{name} {point}".strip()
            for point in comparison.subject.points
            for name in comparison.subject.observables
        ]
        rows[-1].set_xticks(
            range(len(names)),
            names,
            rotation=40 if len(names) > 8 else 0,
            ha="right" if len(names) > 8 else "center",
        )
    figure.supylabel("deviation from the reference", fontsize=10, color=theme.muted)
    return figure


def dots(labels: Sequence[str], panels: Sequence[Panel], theme: Theme) -> Any:
    """Numbers with intervals as coloured dots, and as grey bars what shot noise alone gives."""
    figure = _figure(theme, 1.35 + 0.52 * len(labels))
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(columns, panels, strict=True):
        style_axes(axes, theme)
        scale = 100.0 if panel.percent else 1.0
        if panel.level is not None:
            axes.axvline(scale * panel.level[0], color=theme.muted, lw=1, ls=(0, (2, 3)), zorder=1)
        for row, dot in enumerate(panel.dots):
            if dot is not None:
                _dot(axes, dot, row, scale, theme)
        axes.set_title(
            panel.title, fontsize=10.5, color=theme.text, loc="left", fontweight="bold", pad=8
        )
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelsize=9.5, labelcolor=theme.text)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=5)
        if panel.percent:
            axes.xaxis.set_major_formatter("{x:g} %")
    return figure


def phi(comparison: Comparison, theme: Theme) -> Any:
    """Phi of each set of angles over its period with 95 % bands; below it the error."""
    shown = shown_sets(comparison)
    figure = _figure(theme, 5.4)
    grid = figure.subplots(
        2, len(shown), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
    )
    for column, name in enumerate(shown):
        base = _curve(comparison.reference, name)
        for axes in grid[:, column]:
            style_axes(axes, theme)
        for number, one in enumerate(comparison.others):
            curve, style = _curve(one, name), _line(theme, number, one.label)
            band = {"color": style["color"], "alpha": 0.16, "lw": 0}
            for axes, values in (
                (grid[0, column], curve.values),
                (grid[1, column], curve.values - base.values),
            ):
                axes.fill_between(
                    curve.scores, values - curve.half_widths, values + curve.half_widths, **band
                )
                axes.plot(curve.scores, values, **style)
        reference = {"color": theme.text, "lw": 1.6, "ls": (0, (2, 2)), "zorder": 5}
        grid[0, column].plot(
            base.scores, base.values, label=f"{comparison.reference.label} (reference)", **reference
        )
        grid[1, column].fill_between(
            base.scores, -base.half_widths, base.half_widths, color=theme.muted, alpha=0.2, lw=0
        )
        grid[1, column].axhline(0, **reference)
        grid[0, column].set_title(
            name, fontsize=10.5, color=theme.text, loc="left", fontweight="bold", pad=8
        )
        period = base.scores[-1]
        grid[1, column].set_xticks(
            [0, period / 2, period], ["0", _radians(period / 2), _radians(period)]
        )
        grid[1, column].set_xlabel("attention score s, one period, radians")
    grid[0, 0].set_ylabel("gate · Φ(s)")
    grid[1, 0].set_ylabel("error of Φ")
    _legend(figure, grid[0, 0], theme)
    return figure


def coefficients(comparison: Comparison, theme: Theme) -> Any:
    """The error of each Fourier coefficient with its 95 % interval."""
    shown = shown_sets(comparison)
    figure = _figure(theme, 1.2 + 2.1 * len(shown))
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(rows, shown, strict=True):
        style_axes(axes, theme)
        base = _curve(comparison.reference, name)
        x = np.arange(len(base.coefficients))
        axes.axhline(0, color=theme.muted, lw=1, zorder=1)
        for number, one in enumerate(comparison.others):
            curve, colour = _curve(one, name), _colour(theme, number)
            place = x + 0.6 * ((number + 0.5) / len(comparison.others) - 0.5)
            error, half = curve.coefficients - base.coefficients, curve.coefficient_half_widths
            axes.vlines(
                place, error - half, error + half, color=colour, lw=1.6, alpha=0.45, zorder=2
            )
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(
                place,
                error,
                ls="",
                marker=marker,
                ms=4.5,
                color=colour,
                mew=0,
                label=one.label,
                zorder=3,
            )
        degree = len(x) // 2
        names = ["$a_{0}$", *(f"${kind}_{{{k}}}$" for kind in "ab" for k in range(1, degree + 1))]
        axes.set_xticks(x, names)
        axes.grid(visible=False, axis="x")
        axes.set_title(name, fontsize=10.5, color=theme.text, loc="left", fontweight="bold", pad=6)
        axes.set_ylabel("error")
    _legend(figure, rows[0], theme)
    return figure


def shown_sets(comparison: Comparison) -> list[str]:
    """The sets of angles that are drawn: all, or those of the largest errors, in their order."""
    names = [curve.name for curve in comparison.reference.curves]
    worst: Callable[[int], float] = lambda i: -max(one.phi[i].value for one in comparison.others)  # noqa: E731
    return [names[i] for i in sorted(sorted(range(len(names)), key=worst)[:_MOST_SETS])]


def _figure(theme: Theme, height: float) -> Any:
    make = require("matplotlib.figure", "experiments").Figure
    figure = make(figsize=(9.2, height), layout="constrained", facecolor=theme.background)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04)
    return figure


def _dot(axes: Any, dot: Dot, row: int, scale: float, theme: Theme) -> None:
    colour = _colour(theme, row)
    if dot.alone is not None:
        low, high = scale * dot.alone.low, scale * dot.alone.high
        axes.plot(
            [low, high],
            [row, row],
            color=theme.muted,
            lw=13,
            alpha=0.26,
            solid_capstyle="butt",
            zorder=2,
        )
        axes.plot(
            [scale * dot.alone.mean] * 2,
            [row - 0.2, row + 0.2],
            color=theme.muted,
            lw=1.4,
            zorder=2,
        )
    if dot.interval is not None:
        axes.plot(
            [scale * bound for bound in dot.interval], [row, row], color=colour, lw=2.6, zorder=3
        )
    marker = MARKERS[row % len(MARKERS)]
    axes.plot(
        [scale * dot.value],
        [row],
        marker=marker,
        ms=8,
        color=colour,
        mec=theme.background,
        mew=1.3,
        zorder=4,
    )


def _boundaries(axes: Any, comparison: Comparison, observables: int, theme: Theme) -> None:
    """Where the circuits of one set of angles end."""
    trained = comparison.subject.trained
    if trained is None:
        return
    width = trained.form.n_samples * observables
    for number, name in enumerate(trained.set_names):
        if number:
            axes.axvline(number * width - 0.5, color=theme.muted, lw=0.8, ls=(0, (2, 3)), zorder=1)
        if len(trained.set_names) <= 2 * _MOST_SETS:
            place = {
                "xy": (number * width, 1),
                "xycoords": axes.get_xaxis_transform(),
                "xytext": (0, -3),
            }
            axes.annotate(
                name, **place, textcoords="offset points", va="top", fontsize=8.5, color=theme.muted
            )


def _curve(result: BackendResult, name: str) -> Any:
    return next(curve for curve in result.curves if curve.name == name)


def _colour(theme: Theme, number: int) -> str:
    return theme.series[number % len(theme.series)]


def _line(theme: Theme, number: int, label: str) -> dict[str, Any]:
    dashes = DASHES[number % len(DASHES)]
    return {"color": _colour(theme, number), "lw": 1.9, "ls": dashes, "label": label, "zorder": 3}


def _radians(value: float) -> str:
    multiple = round(value / np.pi, 6)
    return "π" if multiple == 1 else f"{multiple:g}π"


def _legend(figure: Any, axes: Any, theme: Theme) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(len(labels), 3, int(8.8 / (0.85 + 0.073 * max(map(len, labels))))))
    style = {"frameon": False, "fontsize": 9.5, "labelcolor": theme.text, "handlelength": 3.2}
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, **style)
