"""Plots as matplotlib figures, in a light and a dark theme. Nothing here touches pyplot."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridq.errors import require
from hybridq.study.sections import Curve, CurvePlot, Interval, IntervalPlot
from hybridq.study.statistics import summarize
from hybridq.study.theme import DASHES, LIGHT, MARKERS, Theme, style_axes

__all__ = ["draw"]


def draw(plot: CurvePlot | IntervalPlot, theme: Theme = LIGHT, with_title: bool = False) -> Any:
    """Draw a plot.

    Args:
        plot: What to draw.
        theme: In which colours.
        with_title: Whether the title stands above it, for a picture without a page around it.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    items = plot.curves if isinstance(plot, CurvePlot) else plot.intervals
    panels = list(dict.fromkeys(item.panel for item in items))
    labels = list(dict.fromkeys(item.label for item in items))
    height = (
        4.3
        if isinstance(plot, CurvePlot)
        else 1.25 + 0.42 * max(_count(items, panel) for panel in panels)
    )
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=(9.2, height + 0.4 * with_title), layout="constrained", facecolor=theme.background
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04)
    all_axes = figure.subplots(
        1, len(panels), sharex=True, sharey=isinstance(plot, CurvePlot), squeeze=False
    )[0]
    for index, (axes, panel) in enumerate(zip(all_axes, panels, strict=True)):
        style_axes(axes, theme)
        if panel:
            room = 24 if isinstance(plot, IntervalPlot) and plot.references else 9
            axes.set_title(
                panel, fontsize=11, color=theme.text, loc="left", fontweight="bold", pad=room
            )
        if isinstance(plot, CurvePlot):
            _curves(axes, plot, panel, labels, theme, is_first=index == 0)
        else:
            _intervals(axes, plot, panel, labels, theme)
            same_rows = _labels(plot, panel) == _labels(plot, panels[0])
            axes.tick_params(axis="y", labelleft=index == 0 or not same_rows)
    if isinstance(plot, CurvePlot):
        _legend(figure, all_axes, theme)
    if with_title:
        figure.suptitle(
            plot.title, fontsize=13, color=theme.text, fontweight="bold", x=0.012, ha="left"
        )
    return figure


def _curves(
    axes: Any, plot: CurvePlot, panel: str, labels: Sequence[str], theme: Theme, is_first: bool
) -> None:
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
        place = {
            "xy": (1, scale * value),
            "xycoords": axes.get_yaxis_transform(),
            "xytext": (-3, -4),
        }
        axes.annotate(
            name,
            **place,
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=9,
            color=theme.muted,
        )
    axes.set_xlabel(plot.x_label)
    axes.margins(x=0.02)
    if is_first:
        axes.set_ylabel(plot.y_label)
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
    marks = {
        "ms": 5,
        "mec": theme.background,
        "mew": 0.9,
        "markevery": (number * every // 6 % every, every),
    }
    axes.plot(curve.x, mean, color=colour, lw=2, label=curve.label, zorder=3, **style, **marks)


def _intervals(
    axes: Any, plot: IntervalPlot, panel: str, labels: Sequence[str], theme: Theme
) -> None:
    scale = 100.0 if plot.percent else 1.0
    rows = [row for row in plot.intervals if row.panel == panel]
    for position, row in enumerate(rows):
        _interval(axes, row, position, labels.index(row.label), plot, theme)
    for value, name in plot.references:
        axes.axvline(scale * value, color=theme.muted, lw=1, ls=(0, (2, 3)), zorder=1)
        place = {"xy": (scale * value, 1), "xycoords": axes.get_xaxis_transform(), "xytext": (0, 3)}
        axes.annotate(
            name,
            **place,
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=theme.muted,
        )
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
    missing = f"{summary.missing} of {summary.n + summary.missing} never" if summary.missing else ""
    if summary.mean is None:
        place = {"xy": (0.02, position), "xycoords": axes.get_yaxis_transform(), "va": "center"}
        axes.annotate(
            "never, in any seed", **place, fontsize=9.5, color=theme.muted, style="italic", bbox=box
        )
        return
    if summary.interval is not None:
        low, high = (scale * bound for bound in summary.interval)
        axes.plot(
            [low, high],
            [position, position],
            color=colour,
            lw=7,
            alpha=0.26,
            solid_capstyle="round",
            zorder=2,
        )
    seeds = [scale * value for value in row.values if value is not None]
    axes.plot(
        seeds,
        [position] * len(seeds),
        ls="",
        marker="o",
        ms=4.2,
        color=colour,
        alpha=0.55,
        mew=0,
        zorder=3,
    )
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(
        [scale * summary.mean],
        [position],
        marker=marker,
        ms=8,
        color=colour,
        mec=theme.background,
        mew=1.3,
        zorder=4,
    )
    text = f"{scale * summary.mean:.{plot.digits}f}{' %' * plot.percent}{', ' * bool(missing)}{missing}"
    place = {
        "xy": (scale * summary.mean, position),
        "xytext": (0, 8),
        "textcoords": "offset points",
    }
    axes.annotate(
        text,
        **place,
        ha="center",
        va="bottom",
        fontsize=8.5,
        color=theme.text,
        bbox=box,
        zorder=3.5,
    )


def _legend(figure: Any, all_axes: Sequence[Any], theme: Theme) -> None:
    handles = {
        label: line
        for axes in all_axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower left",
        ncols=max(
            1, min(len(handles), 4, int(8.8 / (0.85 + 0.073 * max(map(len, handles)))))
        ),  # inches
        frameon=False,
        fontsize=10,
        labelcolor=theme.text,
        handlelength=3.2,
        columnspacing=2,
    )


def _count(items: Sequence[Curve] | Sequence[Interval], panel: str) -> int:
    return sum(item.panel == panel for item in items)


def _labels(plot: IntervalPlot, panel: str) -> list[str]:
    return [row.label for row in plot.intervals if row.panel == panel]
