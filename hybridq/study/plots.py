"""Draw plots as matplotlib figures, in a light and a dark theme, without pyplot."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridq.errors import require
from hybridq.study.figures import Curve, CurvePlot, Drawing, Interval, IntervalPlot
from hybridq.study.statistics import summarize
from hybridq.study.theme import DASHES, LIGHT, MARKERS, Theme, style_axes

__all__ = ["draw", "new_figure"]

_WIDTH = 9.2  # inches
_TITLE_HEIGHT = 0.4  # inches


def draw(
    plot: CurvePlot | IntervalPlot | Drawing, theme: Theme = LIGHT, with_title: bool = False
) -> Any:
    """Draw a plot.

    Args:
        plot: The plot.
        theme: The colours.
        with_title: Whether the title stands above the plot, for a picture without a page around
            it.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    if isinstance(plot, Drawing):
        figure = plot.draw(theme)
    elif isinstance(plot, CurvePlot):
        figure = _draw_curves(plot, theme, with_title)
    else:
        figure = _draw_intervals(plot, theme, with_title)
    if with_title:
        style = {"fontsize": 13, "fontweight": "bold", "color": theme.text}
        figure.suptitle(plot.title, x=0.012, ha="left", **style)
    return figure


def new_figure(theme: Theme, height: float) -> Any:
    """Make an empty figure as wide as a page.

    Args:
        theme: The colours.
        height: The height in inches.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    make = require("matplotlib.figure", "experiments").Figure
    figure = make(figsize=(_WIDTH, height), layout="constrained", facecolor=theme.background)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04)
    return figure


def _draw_curves(plot: CurvePlot, theme: Theme, with_title: bool) -> Any:
    panels = list(dict.fromkeys(curve.panel for curve in plot.curves))
    labels = list(dict.fromkeys(curve.label for curve in plot.curves))
    figure = new_figure(theme, 4.3 + _TITLE_HEIGHT * with_title)
    columns = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, panel in zip(columns, panels, strict=True):
        style_axes(axes, theme)
        _panel_title(axes, panel, 9, theme)
        _curves(axes, plot, panel, labels, theme)
    columns[0].set_ylabel(plot.y_label)
    _legend(figure, columns, theme)
    return figure


def _draw_intervals(plot: IntervalPlot, theme: Theme, with_title: bool) -> Any:
    panels = list(dict.fromkeys(row.panel for row in plot.intervals))
    labels = list(dict.fromkeys(row.label for row in plot.intervals))
    rows = {panel: [row for row in plot.intervals if row.panel == panel] for panel in panels}
    height = 1.25 + 0.42 * max(map(len, rows.values()))
    figure = new_figure(theme, height + _TITLE_HEIGHT * with_title)
    columns = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    first = [row.label for row in rows[panels[0]]]
    for axes, panel in zip(columns, panels, strict=True):
        style_axes(axes, theme)
        _panel_title(axes, panel, 24 if plot.references else 9, theme)
        _intervals(axes, plot, rows[panel], labels, theme)
        same_rows = [row.label for row in rows[panel]] == first
        axes.tick_params(axis="y", labelleft=axes is columns[0] or not same_rows)
    return figure


def _panel_title(axes: Any, panel: str, pad: float, theme: Theme) -> None:
    if panel:
        style = {"fontsize": 11, "fontweight": "bold", "color": theme.text}
        axes.set_title(panel, loc="left", pad=pad, **style)


def _curves(axes: Any, plot: CurvePlot, panel: str, labels: Sequence[str], theme: Theme) -> None:
    scale = 100.0 if plot.percent else 1.0
    for curve in plot.curves:
        if curve.panel == panel:
            _curve(axes, curve, labels.index(curve.label), scale, theme)
    if plot.log_y:
        _log_scale(axes)
    if plot.y_range is not None:
        axes.set_ylim(*(scale * bound for bound in plot.y_range))
    if plot.level is not None:
        value, name = plot.level
        axes.axhline(scale * value, color=theme.muted, lw=1, ls=(0, (2, 3)), zorder=1)
        place = {"xy": (1, scale * value), "xycoords": axes.get_yaxis_transform()}
        offset = {"xytext": (-3, -4), "textcoords": "offset points"}
        style = {"ha": "right", "va": "top", "fontsize": 9, "color": theme.muted}
        axes.annotate(name, **place, **offset, **style)
    axes.set_xlabel(plot.x_label)
    axes.margins(x=0.02)
    if plot.percent:
        axes.yaxis.set_major_formatter("{x:g} %")


def _log_scale(axes: Any) -> None:
    ticker = require("matplotlib.ticker", "experiments")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _curve(axes: Any, curve: Curve, number: int, scale: float, theme: Theme) -> None:
    values = scale * np.asarray(curve.seeds, dtype=float)  # (seeds, points)
    mean = values.mean(axis=0)
    colour = theme.series[number % len(theme.series)]
    if len(values) > 1:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(curve.x, mean - sd, mean + sd, color=colour, alpha=0.16, lw=0, zorder=2)
    style = {"ls": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}
    every = max(1, math.ceil(len(mean) / 9))
    where = (number * every // 6 % every, every)
    marks = {"ms": 5, "mec": theme.background, "mew": 0.9, "markevery": where}
    axes.plot(curve.x, mean, color=colour, lw=2, label=curve.label, zorder=3, **style, **marks)


def _intervals(
    axes: Any, plot: IntervalPlot, rows: Sequence[Interval], labels: Sequence[str], theme: Theme
) -> None:
    scale = 100.0 if plot.percent else 1.0
    for position, row in enumerate(rows):
        _interval(axes, row, position, labels.index(row.label), plot, theme)
    for value, name in plot.references:
        axes.axvline(scale * value, color=theme.muted, lw=1, ls=(0, (2, 3)), zorder=1)
        place = {"xy": (scale * value, 1), "xycoords": axes.get_xaxis_transform()}
        offset = {"xytext": (0, 3), "textcoords": "offset points"}
        style = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": theme.muted}
        axes.annotate(name, **place, **offset, **style)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel(plot.x_label)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=10, labelcolor=theme.text)
    if plot.percent:
        axes.xaxis.set_major_formatter("{x:g} %")


def _interval(
    axes: Any, row: Interval, position: int, number: int, plot: IntervalPlot, theme: Theme
) -> None:
    summary = summarize(row.values)
    scale = 100.0 if plot.percent else 1.0
    colour = theme.series[number % len(theme.series)]
    box = {"boxstyle": "square,pad=0.1", "fc": theme.background, "ec": "none"}
    if summary.mean is None:
        place = {"xy": (0.02, position), "xycoords": axes.get_yaxis_transform(), "va": "center"}
        style = {"fontsize": 9.5, "color": theme.muted, "style": "italic", "bbox": box}
        axes.annotate("never, in any seed", **place, **style)
        return
    if summary.interval is not None:
        low, high = (scale * bound for bound in summary.interval)
        bar = {"lw": 7, "alpha": 0.26, "solid_capstyle": "round", "zorder": 2}
        axes.plot([low, high], [position, position], color=colour, **bar)
    seeds = [scale * value for value in row.values if value is not None]
    dots = {"ls": "", "marker": "o", "ms": 4.2, "alpha": 0.55, "mew": 0, "zorder": 3}
    axes.plot(seeds, [position] * len(seeds), color=colour, **dots)
    mean = scale * summary.mean
    marker = {"marker": MARKERS[number % len(MARKERS)], "ms": 8, "mew": 1.3, "zorder": 4}
    axes.plot([mean], [position], color=colour, mec=theme.background, **marker)
    text = f"{mean:.{plot.digits}f}{' %' if plot.percent else ''}"
    if summary.missing:
        text += f", {summary.missing} of {summary.n + summary.missing} never"
    place = {"xy": (mean, position), "xytext": (0, 8), "textcoords": "offset points"}
    style = {"fontsize": 8.5, "color": theme.text, "bbox": box, "zorder": 3.5}
    axes.annotate(text, ha="center", va="bottom", **place, **style)


def _legend(figure: Any, all_axes: Sequence[Any], theme: Theme) -> None:
    handles = {
        label: line
        for axes in all_axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    # A column takes 0.85 inches and 0.073 for each letter; 8.8 inches are there.
    fitting = int(8.8 / (0.85 + 0.073 * max(map(len, handles))))
    columns = max(1, min(len(handles), 4, fitting))
    style = {"frameon": False, "fontsize": 10, "labelcolor": theme.text}
    shape = {"ncols": columns, "handlelength": 3.2, "columnspacing": 2}
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", **style, **shape)
