"""The parts of a figure of searches: the surface, a path on it, and the loss by evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from experiments.optimizer_paths.searches import OPTIMUM, Trace, rastrigin
from experiments.shared.figures import new_figure, plain_axes
from hybridq.errors import require
from hybridq.study.theme import LIGHT

__all__ = ["Look", "draw_candidates", "draw_losses", "draw_path", "draw_surface", "two_panels"]

_TONES = ("#ffffff", "#e3e9f1", "#bccadb", "#93a5bf")
_STAR = "#f0c14b"
_DOTS = (0, (1, 1.6))


@dataclass(frozen=True)
class Look:
    """How a method looks in all panels of a figure.

    Args:
        label: The name in the legend.
        colour: Position in the theme's series.
        dashes: Line style.
    """

    label: str
    colour: int
    dashes: Any = "-"

    @property
    def style(self) -> dict[str, Any]:
        """The keywords for a line."""
        return {"color": LIGHT.series[self.colour], "ls": self.dashes}


def two_panels(title: str, seeds: int) -> tuple[Any, Any, Any]:
    """Make a figure with a square panel for the surface and one for the losses.

    Args:
        title: The text above both.
        seeds: Number of starts.

    Returns:
        The figure and both axes.
    """
    figure = new_figure(title, size=(11, 5.9), gaps=(0.1, 0.08, 0.04))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    captions = (
        "one of the starts",
        f"median of {seeds} starts; at the end, the middle half of them",
    )
    for axes, caption in zip((left, right), captions, strict=True):
        axes.set_title(caption, fontsize=10, color=LIGHT.muted, loc="left", pad=8)
        plain_axes(axes, bottom_line=axes is right)
    return figure, left, right


def draw_surface(figure: Any, axes: Any, centre: Sequence[float], reach: float) -> None:
    """Draw the surface around a point, darker where the loss is higher.

    Its global minimum gets a star, if that is in sight.

    Args:
        figure: The figure, which gets a bar of the tones.
        axes: The panel.
        centre: The point in the middle, shape (2,).
        reach: Half the length of a side.
    """
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
        star = {"marker": "*", "ms": 15, "mfc": _STAR, "mec": LIGHT.text, "mew": 0.9}
        axes.plot(*OPTIMUM, ls="", label="global minimum", zorder=6, **star)


def draw_path(axes: Any, trace: Trace, look: Look, collapses: bool = False) -> None:
    """Draw where a search went, from a ring to a square.

    Jumps are dotted lines, with a triangle where they land.

    Args:
        axes: The panel.
        trace: The search.
        look: How the method looks.
        collapses: Whether each point of the path is marked as a collapse of the candidates.
    """
    effects = require("matplotlib.patheffects", "experiments")
    halo = [effects.Stroke(linewidth=4.4, foreground="white", alpha=0.8), effects.Normal()]
    points = np.asarray(trace.path)  # (steps + 1, 2)
    leaps = sorted(trace.jumps + trace.returns)
    for first, last in pairwise([0, *(leap + 1 for leap in leaps), len(points)]):
        axes.plot(*points[first:last].T, lw=2, path_effects=halo, zorder=3, **look.style)
    marks = {"ls": "", "mec": "white", "color": look.style["color"]}
    for leap in leaps:
        leap_line = {"lw": 1.2, "ls": _DOTS, "color": marks["color"]}
        axes.plot(*points[leap : leap + 2].T, zorder=3.5, **leap_line)
    if trace.jumps:
        landed = points[[jump + 1 for jump in trace.jumps]]
        triangle = {"marker": "^", "ms": 7.5, "mew": 1.1, **marks}
        axes.plot(*landed.T, label="where a jump landed", zorder=4.5, **triangle)
    if collapses:
        dot = {"marker": "o", "ms": 4, "mew": 0.5, **marks}
        axes.plot(*points[1:-1].T, label="centre after a collapse", zorder=4.2, **dot)
    ring = {"ls": "", "marker": "o", "ms": 8.5, "mfc": "white", "mec": LIGHT.text, "mew": 1.6}
    axes.plot(*points[0], label="start", zorder=5, **ring)
    square = {"marker": "s", "ms": 8, "mew": 1.1, **marks}
    axes.plot(*points[-1], zorder=5, **square)
    # In the legend the square is grey, because all methods share it.
    axes.plot([], [], label="end", **(square | {"color": LIGHT.muted}))


def draw_candidates(axes: Any, trace: Trace, colours: Mapping[int, int]) -> None:
    """Draw the candidates of some steps, those that tunnelled as triangles.

    Args:
        axes: The panel.
        trace: A search by QIASO.
        colours: The steps, counted from 1, and the position of each one's colour in the theme's
            series. Steps that a short search never came to are left out.
    """
    for step, colour in colours.items():
        if step > len(trace.clouds):
            break
        points = trace.clouds[step - 1]
        jumped = trace.tunnelled[step - 1]
        style = {"ls": "", "color": LIGHT.series[colour], "mec": "white", "mew": 0.7, "zorder": 4}
        axes.plot(*points[~jumped].T, marker="o", ms=6, label=f"candidates of step {step}", **style)
        axes.plot(*points[jumped].T, marker="^", ms=8, **style)
    triangle = {"ls": "", "marker": "^", "ms": 8, "color": LIGHT.muted}
    axes.plot([], [], label="a candidate that tunnelled", **triangle)


def draw_losses(
    axes: Any,
    traces: Mapping[Look, Sequence[Trace]],
    linear_below: float | None,
    lowest: bool = True,
) -> None:
    """Draw the loss by evaluations: the median of the seeds, and at the end their middle half.

    Args:
        axes: The panel.
        traces: The searches of all seeds, by how the method looks.
        linear_below: The axis of the loss is logarithmic from here on; None for nowhere.
        lowest: Whether to draw the lowest loss so far, rather than that of each evaluation.
    """
    for number, (look, of_seeds) in enumerate(traces.items()):
        losses = np.stack(
            [trace.best if lowest else np.asarray(trace.losses) for trace in of_seeds]
        )  # (seeds, evaluations)
        low, middle, high = np.quantile(losses, (0.25, 0.5, 0.75), axis=0)
        steps = np.arange(1, len(middle) + 1)
        axes.plot(steps, middle, lw=2, zorder=3, label=look.label, **look.style)
        # The middle half of each method stands a little further to the right.
        x = steps[-1] * 1.17 ** (number + 1)
        bar = {"lw": 4.5, "alpha": 0.35, "solid_capstyle": "butt"}
        axes.plot([x] * 2, [low[-1], high[-1]], color=look.style["color"], **bar)
        square = {"ls": "", "marker": "s", "ms": 4.5}
        axes.plot([x], [middle[-1]], color=look.style["color"], zorder=4, **square)
    axes.set_xscale("log")
    if linear_below is not None:
        axes.set_yscale("symlog", linthresh=linear_below, linscale=0.6)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=LIGHT.grid, lw=0.9)
    axes.set(xlabel="evaluations of the loss", ylabel="lowest loss so far" if lowest else "loss")
