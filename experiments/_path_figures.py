"""Pictures of searches: paths on the surface, and the loss by the number of evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from experiments._searches import OPTIMUM, Trace, rastrigin
from hybridq.errors import require
from hybridq.study.theme import LIGHT

__all__ = ["Drawn", "clouds", "curves", "legend", "new_figure", "path", "surface"]

_TONES = ("#ffffff", "#e3e9f1", "#bccadb", "#93a5bf")
_STAR = "#f0c14b"


@dataclass(frozen=True)
class Drawn:
    """How a method looks in all panels of a figure.

    Args:
        label: In the legend.
        colour: Position in the theme's series.
        dashes: Line style.
    """

    label: str
    colour: int
    dashes: Any = "-"

    @property
    def style(self) -> dict[str, Any]:
        """Keywords for a line."""
        return {"color": LIGHT.series[self.colour], "ls": self.dashes}


def new_figure(title: str, seeds: int) -> tuple[Any, Any, Any]:
    """Make a figure with a square panel for the surface and one for the curves.

    Args:
        title: Above both.
        seeds: How many starts there are.

    Returns:
        The figure and both axes.
    """
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=(11, 5.9), layout="constrained", facecolor="white"
    )
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08, wspace=0.04)
    figure.suptitle(title, fontsize=13, color=LIGHT.text, fontweight="bold", x=0.012, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    captions = (
        "one of the starts",
        f"median of {seeds} starts; at the end, the middle half of them",
    )
    for axes, caption in zip((left, right), captions, strict=True):
        axes.set_title(caption, fontsize=10, color=LIGHT.muted, loc="left", pad=8)
        axes.tick_params(which="both", colors=LIGHT.muted, length=0, labelsize=9.5, pad=5)
        axes.xaxis.label.set(color=LIGHT.muted, fontsize=10)
        axes.yaxis.label.set(color=LIGHT.muted, fontsize=10)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(side == "bottom" and axes is right)
            axes.spines[side].set_color(LIGHT.grid)
    return figure, left, right


def surface(figure: Any, axes: Any, centre: Sequence[float], reach: float) -> None:
    """Draw the surface around a point, darker where the loss is higher, and its minimum if that is in sight."""
    colours = require("matplotlib.colors", "experiments")
    tones = colours.LinearSegmentedColormap.from_list("slate", _TONES)
    x, y = (np.linspace(middle - reach, middle + reach, 241) for middle in centre)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1))  # (241, 241, 2)
    filled = axes.contourf(x, y, rastrigin(grid).numpy(), levels=24, cmap=tones, zorder=0)
    bar = figure.colorbar(filled, ax=axes, shrink=0.7, pad=0.02, aspect=30)
    bar.outline.set(edgecolor=LIGHT.grid, linewidth=0.9)
    bar.locator = require("matplotlib.ticker", "experiments").MaxNLocator(6, integer=True)
    bar.update_ticks()
    bar.ax.tick_params(colors=LIGHT.muted, length=0, labelsize=9)
    bar.set_label("loss", color=LIGHT.muted, fontsize=10)
    axes.set_aspect("equal")
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="θ₁", ylabel="θ₂")
    if all(abs(at - middle) < reach for at, middle in zip(OPTIMUM, centre, strict=True)):
        axes.plot(
            *OPTIMUM,
            ls="",
            marker="*",
            ms=15,
            mfc=_STAR,
            mec=LIGHT.text,
            mew=0.9,
            label="global minimum",
            zorder=6,
        )


def path(axes: Any, trace: Trace, drawn: Drawn, collapses: bool = False) -> None:
    """Draw where a search went, from a ring to a square; jumps are dotted, with a triangle where they land.

    Args:
        axes: Where.
        trace: The search.
        drawn: How.
        collapses: Mark each point of the path as one.
    """
    effects = require("matplotlib.patheffects", "experiments")
    halo = [effects.Stroke(linewidth=4.4, foreground="white", alpha=0.8), effects.Normal()]
    points, colour, white = np.asarray(trace.path), drawn.style["color"], {"ls": "", "mec": "white"}
    leaps = sorted(trace.jumps + trace.returns)
    for first, last in pairwise([0, *(leap + 1 for leap in leaps), len(points)]):
        axes.plot(*points[first:last].T, lw=2, path_effects=halo, zorder=3, **drawn.style)
    for leap in leaps:
        axes.plot(*points[leap : leap + 2].T, lw=1.2, ls=(0, (1, 1.6)), color=colour, zorder=3.5)
    if trace.jumps:
        landed = points[[jump + 1 for jump in trace.jumps]]
        axes.plot(
            *landed.T,
            marker="^",
            ms=7.5,
            color=colour,
            label="where a jump landed",
            zorder=4.5,
            mew=1.1,
            **white,
        )
    if collapses:
        axes.plot(
            *points[1:-1].T,
            marker="o",
            ms=4,
            color=colour,
            label="centre after a collapse",
            zorder=4.2,
            mew=0.5,
            **white,
        )
    axes.plot(
        *points[0],
        ls="",
        marker="o",
        ms=8.5,
        mfc="white",
        mec=LIGHT.text,
        mew=1.6,
        label="start",
        zorder=5,
    )
    axes.plot(*points[-1], marker="s", ms=8, color=colour, zorder=5, mew=1.1, **white)
    axes.plot([], [], marker="s", ms=8, color=LIGHT.muted, mew=1.1, label="end", **white)


def clouds(axes: Any, trace: Trace, steps: Mapping[int, int]) -> None:
    """Draw the candidates of some steps, those that tunnelled as triangles.

    Args:
        axes: Where.
        trace: Of a QIASO search.
        steps: The steps, counted from 1, and the position of each one's colour in the theme's
            series. Those that a short search never came to are left out.
    """
    for step, colour in steps.items():
        if step > len(trace.clouds):
            break
        points, jumped = trace.clouds[step - 1], trace.tunnelled[step - 1]
        style = {"ls": "", "color": LIGHT.series[colour], "mec": "white", "mew": 0.7, "zorder": 4}
        axes.plot(*points[~jumped].T, marker="o", ms=6, label=f"candidates of step {step}", **style)
        axes.plot(*points[jumped].T, marker="^", ms=8, **style)
    axes.plot(
        [], [], ls="", marker="^", ms=8, color=LIGHT.muted, label="a candidate that tunnelled"
    )


def curves(
    axes: Any,
    runs: Mapping[Drawn, Sequence[Trace]],
    linear_below: float | None,
    lowest: bool = True,
) -> None:
    """Draw the loss by evaluations: the median over seeds, and at the end a bar over the middle half of them.

    Args:
        axes: Where.
        runs: The traces of all seeds, by how they are drawn.
        linear_below: The axis of the loss is logarithmic from here on; None for nowhere.
        lowest: The lowest loss so far, rather than that of each evaluation.
    """
    for number, (drawn, traces) in enumerate(runs.items()):
        losses = np.stack(
            [trace.best if lowest else np.asarray(trace.losses) for trace in traces]
        )  # (seeds, evaluations)
        low, middle, high = np.quantile(losses, (0.25, 0.5, 0.75), axis=0)
        steps = np.arange(1, len(middle) + 1)
        axes.plot(steps, middle, lw=2, zorder=3, label=drawn.label, **drawn.style)
        beside = steps[-1] * 1.17 ** (number + 1)
        axes.plot(
            [beside] * 2,
            [low[-1], high[-1]],
            lw=4.5,
            alpha=0.35,
            color=drawn.style["color"],
            solid_capstyle="butt",
        )
        axes.plot(
            [beside], [middle[-1]], ls="", marker="s", ms=4.5, color=drawn.style["color"], zorder=4
        )
    axes.set_xscale("log")
    if linear_below is not None:
        axes.set_yscale("symlog", linthresh=linear_below, linscale=0.6)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=LIGHT.grid, lw=0.9)
    axes.set(xlabel="evaluations of the loss", ylabel="lowest loss so far" if lowest else "loss")


def legend(figure: Any, all_axes: Sequence[Any], columns: int = 4) -> None:
    """Explain lines and markers below the panels."""
    found = {
        label: line
        for axes in all_axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=LIGHT.text,
        handlelength=3.0,
        columnspacing=2,
    )
