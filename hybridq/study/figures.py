"""The plots that a report can hold: plain data, drawn by `hybridq.study.plots`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hybridq.errors import InvalidArgument
from hybridq.study.statistics import summarize
from hybridq.study.theme import Theme

__all__ = ["Curve", "CurvePlot", "Drawing", "Interval", "IntervalPlot"]


@dataclass(frozen=True)
class Curve:
    """One line of a plot: several seeds of the same experiment.

    Args:
        label: The name in the legend. The same label has the same colour everywhere in a plot.
        x: The positions, the same for all seeds.
        seeds: One row of values per seed, each as long as `x`.
        panel: The panel of the plot. Panels stand side by side and share their axes.

    Raises:
        InvalidArgument: If there are no seeds, or a row has another length than `x`.
    """

    label: str
    x: tuple[float, ...]
    seeds: tuple[tuple[float, ...], ...]
    panel: str = ""

    def __post_init__(self) -> None:
        if not self.seeds or not self.x:
            reason = f"the curve {self.label!r} needs at least one seed and one point"
            raise InvalidArgument.of("seeds", self.seeds, reason)
        for values in self.seeds:
            if len(values) != len(self.x):
                reason = f"{self.label!r} has {len(self.x)} positions"
                raise InvalidArgument.of("seeds", f"{len(values)} values", reason)


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: a number for each seed.

    Args:
        label: The name of the row. The same label has the same colour everywhere in a plot.
        values: One number per seed; None where a seed has none, such as a level never reached.
        panel: The panel of the plot.
    """

    label: str
    values: tuple[float | None, ...]
    panel: str = ""


@dataclass(frozen=True)
class CurvePlot:
    """Learning curves: the mean of the seeds as a line, one standard deviation as a band.

    Args:
        title: The heading, and the name of the PNG.
        curves: The lines.
        x_label: The quantity on the horizontal axis, with its unit.
        y_label: The quantity on the vertical axis, with its unit.
        caption: What the reader can see in the plot.
        percent: Whether the values are parts of one, to be written in percent.
        level: A value to mark with a horizontal line, and its name.
        log_y: Whether the vertical axis is logarithmic.
        y_range: The lowest and the highest value to show; None shows all.
        alt: The text for a reader who cannot see the plot; made from the curves if empty.

    Raises:
        InvalidArgument: If there are no curves.
    """

    kind: ClassVar[str] = "plot"
    title: str
    curves: tuple[Curve, ...]
    x_label: str = "epoch"
    y_label: str = ""
    caption: str = ""
    percent: bool = False
    level: tuple[float, str] | None = None
    log_y: bool = False
    y_range: tuple[float, float] | None = None
    alt: str = ""

    def __post_init__(self) -> None:
        if not self.curves:
            reason = f"the plot {self.title!r} needs at least one"
            raise InvalidArgument.of("curves", self.curves, reason)

    @property
    def description(self) -> str:
        """The text for a reader who cannot see the plot."""
        if self.alt:
            return self.alt
        ends = "; ".join(self._end(curve) for curve in self.curves)
        return f"{self.title}: {self.y_label} against {self.x_label}. {ends}."

    def _end(self, curve: Curve) -> str:
        last = summarize([values[-1] for values in curve.seeds])
        return f"{_named(curve)} ends at {last.text(3, self.percent)}"


@dataclass(frozen=True)
class IntervalPlot:
    """Means with their 95 % intervals, and each seed as a dot.

    Args:
        title: The heading, and the name of the PNG.
        intervals: The rows, from the top down.
        x_label: The quantity on the horizontal axis, with its unit.
        caption: What the reader can see in the plot.
        references: Values to mark with a vertical line, and the name of each.
        percent: Whether the values are parts of one, to be written in percent.
        digits: The decimals of the means.
        alt: The text for a reader who cannot see the plot; made from the rows if empty.

    Raises:
        InvalidArgument: If there are no rows.
    """

    kind: ClassVar[str] = "plot"
    title: str
    intervals: tuple[Interval, ...]
    x_label: str = ""
    caption: str = ""
    references: tuple[tuple[float, str], ...] = ()
    percent: bool = False
    digits: int = 2
    alt: str = ""

    def __post_init__(self) -> None:
        if not self.intervals:
            reason = f"the plot {self.title!r} needs at least one"
            raise InvalidArgument.of("intervals", self.intervals, reason)

    @property
    def description(self) -> str:
        """The text for a reader who cannot see the plot."""
        if self.alt:
            return self.alt
        rows = "; ".join(self._row(row) for row in self.intervals)
        return f"{self.title}, {self.x_label}: {rows}."

    def _row(self, row: Interval) -> str:
        return f"{_named(row)} {summarize(row.values).text(self.digits, self.percent)}"


@dataclass(frozen=True)
class Drawing:
    """A plot that its author draws with matplotlib.

    Args:
        title: The heading.
        draw: The function that makes the `matplotlib.figure.Figure` in the colours of a theme. It
            is called once for the light and once for the dark page.
        caption: What the reader can see in the plot.
        description: The text for a reader who cannot see the plot.
    """

    kind: ClassVar[str] = "plot"
    title: str
    draw: Callable[[Theme], Any]
    caption: str = ""
    description: str = ""


def _named(item: Curve | Interval) -> str:
    return f"{item.label} ({item.panel})" if item.panel else item.label
