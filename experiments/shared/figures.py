"""How the figures of experiments look, in the colours of hybridq's pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridq.errors import require
from hybridq.study.theme import LIGHT

__all__ = ["legend_below", "new_figure", "plain_axes", "save_figures"]


def new_figure(title: str, size: tuple[float, float], gaps: tuple[float, float, float]) -> Any:
    """Make an empty figure with a title.

    Args:
        title: The text above all panels.
        size: Width and height, inches.
        gaps: Margin to the left and right of a panel and above and below it, inches, and the space
            between panels, as a part of a panel's width.

    Returns:
        The figure.
    """
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=size, layout="constrained", facecolor="white"
    )
    width, height, between = gaps
    figure.get_layout_engine().set(w_pad=width, h_pad=height, wspace=between)
    figure.suptitle(title, fontsize=13, color=LIGHT.text, fontweight="bold", x=0.012, ha="left")
    return figure


def plain_axes(axes: Any, *, bottom_line: bool) -> None:
    """Take frame and tick marks away from a panel.

    Args:
        axes: The panel.
        bottom_line: Whether the line below the panel stays.
    """
    axes.tick_params(which="both", colors=LIGHT.muted, length=0, labelsize=9.5, pad=5)
    axes.xaxis.label.set(color=LIGHT.muted, fontsize=10)
    axes.yaxis.label.set(color=LIGHT.muted, fontsize=10)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom" and bottom_line)
        axes.spines[side].set_color(LIGHT.grid)


def legend_below(
    figure: Any, panels: Sequence[Any], columns: int, title: str | None = None
) -> None:
    """Explain the lines and markers of all panels once, below them.

    Args:
        figure: The figure.
        panels: Its panels.
        columns: Number of columns of the legend.
        title: The title of the legend.
    """
    lines = {
        label: line
        for axes in panels
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend = figure.legend(
        list(lines.values()),
        list(lines),
        title=title,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=LIGHT.text,
        handlelength=3.2,
        columnspacing=2,
    )
    legend.get_title().set(color=LIGHT.muted, fontsize=10)


def save_figures(figures: Mapping[str, Any], folder: Path) -> None:
    """Write figures as PNG files that depend on nothing but the numbers.

    Args:
        figures: The figures by the names of their files, without ".png".
        folder: The folder to write into.
    """
    for name, figure in figures.items():
        # The version of matplotlib would be the file's "Software".
        figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})
