"""What a report is made of: plain data, one class per kind of section."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from hybridq.errors import InvalidArgument
from hybridq.study.statistics import Comparison, Summary, summarize

__all__ = [
    "Cell",
    "ClaimRow",
    "ClaimTable",
    "Column",
    "ComparisonRow",
    "ComparisonTable",
    "Curve",
    "CurvePlot",
    "Facts",
    "Highlight",
    "Interval",
    "IntervalPlot",
    "Notes",
    "Report",
    "Section",
    "Table",
    "Verdict",
    "what_was_run",
]

Verdict = Literal["reproduced", "not reproduced", "not testable"]
Cell = str | int | float | Summary | None


@dataclass(frozen=True)
class Curve:
    """One line of a plot: several seeds of the same thing.

    Args:
        label: Its name in the legend; the same label has the same colour everywhere in a plot.
        x: The positions, the same for all seeds.
        seeds: One row of values per seed, each as long as `x`.
        panel: Which panel of the plot; panels stand side by side with common axes.

    Raises:
        InvalidArgument: If there are no seeds, or a row has another length than `x`.
    """

    label: str
    x: tuple[float, ...]
    seeds: tuple[tuple[float, ...], ...]
    panel: str = ""

    def __post_init__(self) -> None:
        if not self.seeds or not self.x:
            raise InvalidArgument.of(
                "seeds",
                self.seeds,
                f"the curve {self.label!r} needs at least one seed and one point",
            )
        for values in self.seeds:
            if len(values) != len(self.x):
                fault = f"holds a curve of {len(values)} values"
                way_out = f"{self.label!r} has {len(self.x)} positions; give a value for each"
                raise InvalidArgument.that("seeds", fault, way_out)


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: a number for each seed.

    Args:
        label: Its name; the same label has the same colour everywhere in a plot.
        values: One number per seed; None where a seed has none, such as a level never reached.
        panel: Which panel of the plot.
    """

    label: str
    values: tuple[float | None, ...]
    panel: str = ""


@dataclass(frozen=True)
class CurvePlot:
    """Learning curves: the mean of the seeds as a line, one standard deviation either way as a band.

    Args:
        title: The heading, and the name of the PNG.
        curves: The lines.
        x_label: What is on the horizontal axis, with its unit.
        y_label: What is on the vertical axis, with its unit.
        caption: What to see in it.
        percent: Whether the values are parts of one, to be written in percent.
        level: A value to mark with a horizontal line, and how it is called.
        log_y: Whether the vertical axis is logarithmic.
        y_range: Lowest and highest value to show; None shows all.
        alt: What a reader who cannot see the plot is told; made from the curves if empty.
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
            raise InvalidArgument.of(
                "curves", self.curves, f"the plot {self.title!r} needs at least one"
            )

    @property
    def description(self) -> str:
        """The text for a reader who cannot see the plot."""
        ends = (
            f"{_named(curve)} ends at {summarize([values[-1] for values in curve.seeds]).text(3, self.percent)}"
            for curve in self.curves
        )
        return (
            self.alt or f"{self.title}: {self.y_label} against {self.x_label}. {'; '.join(ends)}."
        )


@dataclass(frozen=True)
class IntervalPlot:
    """Means with their 95 % intervals, and each seed as a dot.

    Args:
        title: The heading, and the name of the PNG.
        intervals: The rows, from the top down.
        x_label: What is on the horizontal axis, with its unit.
        caption: What to see in it.
        references: Values to mark with a vertical line, and how each is called.
        percent: Whether the values are parts of one, to be written in percent.
        digits: Decimals of the means.
        alt: What a reader who cannot see the plot is told; made from the rows if empty.
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
            raise InvalidArgument.of(
                "intervals", self.intervals, f"the plot {self.title!r} needs at least one"
            )

    @property
    def description(self) -> str:
        """The text for a reader who cannot see the plot."""
        rows = (
            f"{_named(row)} {summarize(row.values).text(self.digits, self.percent)}"
            for row in self.intervals
        )
        return self.alt or f"{self.title}, {self.x_label}: {'; '.join(rows)}."


@dataclass(frozen=True)
class ClaimRow:
    """One claim of a paper beside what came out here.

    Args:
        claim: What the paper says, in words.
        paper: Its number, as printed.
        ours: Our number over the seeds, or a text.
        verdict: "reproduced", "not reproduced" or "not testable".
        control: The control that decides.
        reason: Why this verdict, in a sentence.
        digits: Decimals of our number.
        percent: Whether our number is a part of one, to be written in percent.

    Raises:
        InvalidArgument: If the verdict is another word.
    """

    claim: str
    paper: str
    ours: Summary | str
    verdict: Verdict
    control: str
    reason: str = ""
    digits: int = 2
    percent: bool = False

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise InvalidArgument.of(
                "verdict", self.verdict, f"choose one of {', '.join(map(repr, get_args(Verdict)))}"
            )


@dataclass(frozen=True)
class ClaimTable:
    """The table paper | ours | verdict."""

    kind: ClassVar[str] = "claims"
    title: str
    rows: tuple[ClaimRow, ...]
    caption: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table, and how its numbers are written."""

    title: str
    digits: int = 2
    percent: bool = False


@dataclass(frozen=True)
class Table:
    """A table of results; a cell is a text, a number, a `Summary`, or None for an empty one.

    Raises:
        InvalidArgument: If a row has another number of cells than there are columns.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InvalidArgument.of(
                    "rows", row, f"the table {self.title!r} has {len(self.columns)} columns"
                )


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison: what is compared, and the test."""

    label: str
    test: Comparison
    digits: int = 2
    percent: bool = False


@dataclass(frozen=True)
class ComparisonTable:
    """Differences with intervals and p-values."""

    kind: ClassVar[str] = "comparisons"
    title: str
    rows: tuple[ComparisonRow, ...]
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values, such as what was run; `command` stands above them, ready to be copied."""

    kind: ClassVar[str] = "facts"
    title: str
    items: Mapping[str, str]
    command: str = ""


@dataclass(frozen=True)
class Notes:
    """Paragraphs of text; `words in backticks` are set as code."""

    kind: ClassVar[str] = "notes"
    title: str
    paragraphs: tuple[str, ...]


Section = CurvePlot | IntervalPlot | ClaimTable | Table | ComparisonTable | Facts | Notes


@dataclass(frozen=True)
class Highlight:
    """A number at the top of the page: its value, what it is, and a detail."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """A page.

    Args:
        title: What was asked.
        lead: The answer, in two or three sentences.
        sections: What stands below, in this order.
        highlights: At most four numbers at the top.
        eyebrow: A short line above the title.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    highlights: tuple[Highlight, ...] = ()
    eyebrow: str = "hybridq experiment"


def what_was_run(environment: Mapping[str, Any], more: Mapping[str, str] | None = None) -> Facts:
    """Turn the environment of a run into the section that says how to repeat it.

    Args:
        environment: `Run.environment`.
        more: What else to name, for example "seeds" and "data"; stands first.

    Returns:
        The section.
    """
    git = environment.get("git")
    items = dict(more or {})
    if git:
        items["commit"] = git["commit"] + (" with uncommitted changes" if git["dirty"] else "")
    cuda = f", {', '.join(environment['cuda'])}" if environment.get("cuda") else ""
    threads = f"{environment['threads']} thread{'s' if environment['threads'] != 1 else ''}"
    items["machine"] = (
        f"{environment['cpu']}, {environment['cores']} cores, {threads}{cuda}, {environment['platform']}"
    )
    versions = (f"{name} {number}" for name, number in environment["versions"].items())
    items["versions"] = ", ".join([f"Python {environment['python']}", *versions])
    if "started" in environment:
        items["started"] = environment["started"].replace("T", " ").replace("+00:00", " UTC")
    return Facts("What was run", items, environment["command"])


def slug(title: str) -> str:
    """Turn a title into a file name and an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _named(item: Curve | Interval) -> str:
    return f"{item.label} ({item.panel})" if item.panel else item.label
