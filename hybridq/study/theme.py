"""The look of every plot: a light and a dark theme, dashes and markers."""

from dataclasses import dataclass
from typing import Any

__all__ = ["DARK", "DASHES", "LIGHT", "MARKERS", "Theme", "style_axes"]

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.4)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (2.2, 2.2)),
    (0, (9, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Theme:
    """The colours of a plot.

    The colours of `series` are safe for the common colour blindnesses. Dashes and markers differ as
    well, so that no line is known by its colour alone.
    """

    text: str
    muted: str
    grid: str
    background: str
    series: tuple[str, ...]


# After Okabe and Ito 2008, without their yellow, which is too pale on white.
_ON_WHITE = ("#0072b2", "#d55e00", "#009e73", "#b8508f", "#b07800", "#4d5a70", "#6a51a3", "#7a2e1d")
_ON_DARK = ("#58b4f0", "#ff9148", "#2fc99a", "#ec94c8", "#f0c14b", "#aab6cc", "#b8a6ff", "#f5b8a0")
LIGHT = Theme("#1d2330", "#5d6679", "#e3e7ee", "#ffffff", _ON_WHITE)
DARK = Theme("#e9edf5", "#9aa5b8", "#2c3546", "#171d29", _ON_DARK)


def style_axes(axes: Any, theme: Theme) -> None:
    """Give the axes of a plot their colours, a quiet grid and no frame.

    Args:
        axes: `matplotlib.axes.Axes`.
        theme: The colours.
    """
    axes.set_facecolor(theme.background)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=theme.grid, lw=0.9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.grid)
    axes.tick_params(colors=theme.muted, length=0, labelsize=9.5, pad=5)
    axes.xaxis.label.set(color=theme.muted, fontsize=10)
    axes.yaxis.label.set(color=theme.muted, fontsize=10)
