"""Pieces of the plots that metrics draw: panels of dots, colours, titles, legends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybridq.comparison.estimates import Estimate
from hybridq.study.plots import new_figure
from hybridq.study.theme import DASHES, MARKERS, Theme, style_axes

__all__ = ["Panel", "add_legend", "colour_of", "draw_panels", "line_style", "set_title"]


@dataclass(frozen=True)
class Panel:
    """A column of dots, one for each backend.

    Args:
        title: The quantity, with its unit.
        estimates: The numbers, one for each row; None where there is none.
        percent: Whether the numbers are parts of one, to be written in percent.
        level: A number to mark with a vertical line; None for no line.
    """

    title: str
    estimates: tuple[Estimate | None, ...]
    percent: bool = False
    level: float | None = None


def draw_panels(labels: Sequence[str], panels: Sequence[Panel], theme: Theme) -> Any:
    """Draw numbers with their intervals, side by side in panels.

    A number is a coloured dot, its interval a coloured line, and the number that shot noise alone
    gives a grey bar.

    Args:
        labels: The names of the rows.
        panels: The panels, each with one number for each row.
        theme: The colours.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    figure = new_figure(theme, 1.35 + 0.52 * len(labels))
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(columns, panels, strict=True):
        style_axes(axes, theme)
        scale = 100.0 if panel.percent else 1.0
        if panel.level is not None:
            axes.axvline(scale * panel.level, color=theme.muted, lw=1, ls=(0, (2, 3)), zorder=1)
        for row, estimate in enumerate(panel.estimates):
            if estimate is not None:
                _dot(axes, estimate, row, scale, theme)
        set_title(axes, panel.title, theme, pad=8)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelsize=9.5, labelcolor=theme.text)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=5)
        if panel.percent:
            axes.xaxis.set_major_formatter("{x:g} %")
    return figure


def _dot(axes: Any, estimate: Estimate, row: int, scale: float, theme: Theme) -> None:
    colour = colour_of(theme, row)
    if estimate.noise_floor is not None:
        floor = estimate.noise_floor
        bar = {"lw": 13, "alpha": 0.26, "solid_capstyle": "butt", "zorder": 2}
        ends = [scale * floor.low, scale * floor.high]
        axes.plot(ends, [row, row], color=theme.muted, **bar)
        mean = [scale * floor.mean] * 2
        axes.plot(mean, [row - 0.2, row + 0.2], color=theme.muted, lw=1.4, zorder=2)
    if estimate.interval is not None:
        bounds = [scale * bound for bound in estimate.interval]
        axes.plot(bounds, [row, row], color=colour, lw=2.6, zorder=3)
    style = {"marker": MARKERS[row % len(MARKERS)], "ms": 8, "mew": 1.3, "zorder": 4}
    axes.plot([scale * estimate.value], [row], color=colour, mec=theme.background, **style)


def set_title(axes: Any, title: str, theme: Theme, pad: float) -> None:
    """Write the title of a panel, `pad` points above it."""
    style = {"fontsize": 10.5, "fontweight": "bold", "color": theme.text}
    axes.set_title(title, loc="left", pad=pad, **style)


def colour_of(theme: Theme, number: int) -> str:
    """Return the colour of a backend by its number, the first after the reference being 0."""
    return theme.series[number % len(theme.series)]


def line_style(theme: Theme, number: int) -> dict[str, Any]:
    """Return the style of a backend's line by its number, for `axes.plot`."""
    dashes = DASHES[number % len(DASHES)]
    return {"color": colour_of(theme, number), "lw": 1.9, "ls": dashes, "zorder": 3}


def add_legend(figure: Any, axes: Any, theme: Theme) -> None:
    """Write the legend of a figure below it, from the lines of one of its axes."""
    handles, labels = axes.get_legend_handles_labels()
    # A column takes 0.85 inches and 0.073 for each letter; 8.8 inches are there.
    fitting = int(8.8 / (0.85 + 0.073 * max(map(len, labels))))
    columns = max(1, min(len(labels), 3, fitting))
    style = {"frameon": False, "fontsize": 9.5, "labelcolor": theme.text, "handlelength": 3.2}
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, **style)
