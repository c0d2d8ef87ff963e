"""What every metric offers: its value, and how the value is shown everywhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from hybridq.comparison.backend_result import BackendResult
from hybridq.comparison.estimates import Estimate
from hybridq.comparison.evidence import Evidence
from hybridq.comparison.notation import DASH, interval, percent
from hybridq.comparison.subjects import Subject
from hybridq.comparison.verdicts import Kind
from hybridq.study.sections import Drawing, Entry, Highlight, Table

__all__ = ["MODEL", "NUMBERS", "AbstractMetric", "Part"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Part:
    """A part of the page: one table and one plot, which its metrics share.

    Args:
        table: The title of the table.
        table_caption: What the reader should know of the table.
        plot: The title of the plot.
        plot_caption: What the reader can see in the plot.
    """

    table: str
    table_caption: str
    plot: str
    plot_caption: str


NUMBERS = Part(
    table="The numbers",
    table_caption=(
        "In small print the 95 % intervals: of the largest deviation, and of what is left of each "
        "distance without the shots. After `shots`: what shots alone give on average."
    ),
    plot="Distributions of the bit strings",
    plot_caption=(
        "Dots: as measured, the mean over the circuits. Grey bars: what shots alone give, in 95 % "
        "of simulated repetitions. Coloured lines: 95 % intervals of what is left without the "
        "shots; they lie left of the dots, and reach 0 where shots explain all."
    ),
)
MODEL = Part(
    table="Accuracy and logits",
    table_caption=(
        "Accuracy with Wilson's interval for new examples. The difference is of the same examples "
        "(Agresti and Min's interval for matched pairs, McNemar's exact test), so it is known far "
        "better than either accuracy. After `shots`: what shots alone give."
    ),
    plot="What becomes of the model",
    plot_caption="Grey bars: what shots alone give.",
)


class AbstractMetric(ABC, Generic[Value]):
    """One quantity that is computed for each backend.

    A subclass needs `name`, `title`, `order`, `compute` and `estimate`. Everything else has a
    default that shows the estimate. The value is whatever `compute` returns, for example a float
    or a dataclass.

    Attributes:
        name: The key of the value in a result and in compare.json.
        title: The heading of the panel, and of the column of the table.
        order: The place among all metrics; small numbers come first.
        unit: The unit, which is written after the title; empty for a pure number.
        part: The part of the page in which the metric is shown.
        percent: Whether the estimate is a part of one, to be written in percent.
        has_panel: Whether the plot of the part has a panel of this metric.
        caption: What the plot's caption says of this panel.
        console: The heading of the column in the console; None takes the title, "" has no column.
        is_of_one_backend: Whether the estimate says something of one backend alone, as an accuracy
            does, so that it is shown of the reference, too.
        explanation: Paragraphs for the section "How to read this".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int]
    unit: ClassVar[str] = ""
    part: ClassVar[Part] = NUMBERS
    percent: ClassVar[bool] = False
    has_panel: ClassVar[bool] = True
    caption: ClassVar[str] = ""
    console: ClassVar[str | None] = None
    is_of_one_backend: ClassVar[bool] = False
    explanation: ClassVar[tuple[str, ...]] = ()

    # The value.

    def applies(self, subject: Subject) -> bool:
        """Tell whether the metric can be computed for a subject, such as only for models."""
        del subject
        return True

    @abstractmethod
    def compute(self, evidence: Evidence) -> Value:
        """Compute the value of a backend, with its interval and what shot noise alone gives.

        Args:
            evidence: The measurements of the backend and of the reference. No circuit is run.

        Returns:
            The value. It must turn into JSON by `to_json`.
        """

    def compute_reference(self, evidence: Evidence) -> Value | None:
        """Compute the value of the reference itself, for a metric that says something of one."""
        del evidence
        return None

    @abstractmethod
    def estimate(self, value: Value) -> Estimate | None:
        """Return the one number that stands for a value; None where there is none."""

    # The verdict.

    def p_values(self, value: Value, *, mitigated: bool) -> tuple[float, ...]:
        """Return the p-values of tests against shot noise that the verdict should look at.

        Args:
            value: The value.
            mitigated: Whether errors were mitigated, so that the noise is known roughly only.
        """
        del value, mitigated
        return ()

    def differs(self, value: Value) -> bool:
        """Tell whether exact results differ by more than rounding."""
        del value
        return False

    def sentences(self, value: Value, kind: Kind, subject: Subject) -> tuple[str, ...]:
        """Return the sentences that the verdict says of a value, on the page and in the console."""
        del value, kind, subject
        return ()

    # The tables, the plots, compare.json and the console.

    def heading(self) -> str:
        """Return the title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def columns(self) -> tuple[str, ...]:
        """Return the headings of the columns of the table."""
        return (self.heading(),)

    def cells(self, value: Value) -> tuple[Entry, ...]:
        """Return the cells of a row of the table, one for each column."""
        return (self.entry(self.estimate(value)),)

    def entry(self, estimate: Estimate | None, name: str = "") -> Entry:
        """Return a cell with a number; below it a name, the interval, and what shots alone give."""
        if estimate is None:
            return Entry(DASH)
        notes = [name] if name else []
        if estimate.interval is not None:
            unit = " %" if self.percent else ""
            digits, scale = (1, 100) if self.percent else (4, 1)
            notes.append(interval(estimate.interval, digits, scale, unit))
        if estimate.noise_floor is not None:
            notes.append(f"shots: {self.write(estimate.noise_floor.mean)}")
        return Entry(self.write(estimate.value), "\n".join(notes))

    def write(self, number: float) -> str:
        """Write a number of this metric."""
        return percent(number, 2) if self.percent else f"{number:.4f}"

    def console_heading(self) -> str:
        """Return the heading of the column in the console; empty for no column."""
        return self.heading() if self.console is None else self.console

    def console_text(self, value: Value) -> str:
        """Return what the column of the console says of a value."""
        estimate = self.estimate(value)
        return "" if estimate is None else self.write(estimate.value)

    def figures(self, subject: Subject, results: Sequence[BackendResult]) -> tuple[Drawing, ...]:
        """Return plots of the metric's own, which stand in its part of the page.

        Args:
            subject: The subject.
            results: The results; the first is the reference.
        """
        del subject, results
        return ()

    def details(self, subject: Subject, results: Sequence[BackendResult]) -> tuple[Table, ...]:
        """Return tables of the metric's own, which stand near the end of the page.

        Args:
            subject: The subject.
            results: The results; the first is the reference.
        """
        del subject, results
        return ()

    def highlights(self, results: Sequence[BackendResult]) -> tuple[Highlight, ...]:
        """Return numbers of the metric that stand at the top of the page.

        Args:
            results: The results; the first is the reference.
        """
        del results
        return ()

    def to_json(self, value: Value | None) -> dict[str, Any]:
        """Return what compare.json says of a value, by key.

        Metrics may share a key if they say different things under it, each in a dictionary.

        Args:
            value: The value; None where the metric does not apply.
        """
        return {self.name: value}
