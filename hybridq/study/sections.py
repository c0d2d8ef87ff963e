"""What a report is made of: plain data, one class per kind of section."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from hybridq.errors import InvalidArgument
from hybridq.study.figures import Curve, CurvePlot, Drawing, Interval, IntervalPlot
from hybridq.study.statistics import GroupDifference, Summary

__all__ = [
    "Badge",
    "Cell",
    "ClaimRow",
    "ClaimTable",
    "ClaimVerdict",
    "Column",
    "Curve",
    "CurvePlot",
    "DifferenceRow",
    "DifferenceTable",
    "Drawing",
    "Entry",
    "Facts",
    "Highlight",
    "Interval",
    "IntervalPlot",
    "Judgement",
    "Judgements",
    "Notes",
    "Report",
    "Section",
    "Table",
    "what_was_run",
]

ClaimVerdict = Literal["reproduced", "not reproduced", "not testable"]
Badge = Literal["good", "bad", "open"]  # how a judgement looks: green, red or grey


@dataclass(frozen=True)
class Entry:
    """A cell of a table that is text already, with small print below it.

    Args:
        text: What is read first, such as a number.
        note: The small print, such as an interval; a line break in it is kept.
    """

    text: str
    note: str = ""


Cell = str | int | float | Summary | Entry | None


@dataclass(frozen=True)
class ClaimRow:
    """One claim of a paper beside what came out here.

    Args:
        claim: The claim of the paper, in words.
        paper: The number of the paper, as printed.
        ours: Our number over the seeds, or a text.
        verdict: "reproduced", "not reproduced" or "not testable".
        control: The control that decides.
        reason: Why this verdict, in a sentence.
        digits: The decimals of our number.
        percent: Whether our number is a part of one, to be written in percent.

    Raises:
        InvalidArgument: If the verdict is another word.
    """

    claim: str
    paper: str
    ours: Summary | str
    verdict: ClaimVerdict
    control: str
    reason: str = ""
    digits: int = 2
    percent: bool = False

    def __post_init__(self) -> None:
        words = get_args(ClaimVerdict)
        if self.verdict not in words:
            reason = f"choose one of {', '.join(map(repr, words))}"
            raise InvalidArgument.of("verdict", self.verdict, reason)


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
    """A table of results.

    A cell is a text, a number, a `Summary`, an `Entry`, or None for an empty one.

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
                reason = f"the table {self.title!r} has {len(self.columns)} columns"
                raise InvalidArgument.of("rows", row, reason)


@dataclass(frozen=True)
class DifferenceRow:
    """One difference of two groups of seeds: its name, and the test."""

    label: str
    test: GroupDifference
    digits: int = 2
    percent: bool = False


@dataclass(frozen=True)
class DifferenceTable:
    """Differences of groups of seeds with intervals and p-values."""

    kind: ClassVar[str] = "differences"
    title: str
    rows: tuple[DifferenceRow, ...]
    caption: str = ""


@dataclass(frozen=True)
class Judgement:
    """What is said of one thing, in words.

    Args:
        label: The name of the thing that is judged.
        verdict: The judgement, in a word or two.
        badge: How the judgement looks: "good", "bad" or "open".
        sentences: Why. The first stands out.
    """

    label: str
    verdict: str
    badge: Badge
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Judgements:
    """A list of judgements, one below the other."""

    kind: ClassVar[str] = "judgements"
    title: str
    rows: tuple[Judgement, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values, such as what was run.

    `command` stands above them, ready to be copied.
    """

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


Section = (
    CurvePlot
    | IntervalPlot
    | Drawing
    | ClaimTable
    | Table
    | DifferenceTable
    | Judgements
    | Facts
    | Notes
)


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
        title: The question.
        lead: The answer, in two or three sentences.
        sections: What stands below, in this order.
        highlights: At most four numbers at the top.
        eyebrow: A short line above the title.
        closing: A sentence at the foot of the page, such as where all numbers are.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    highlights: tuple[Highlight, ...] = ()
    eyebrow: str = "hybridq experiment"
    closing: str = ""


def what_was_run(environment: Mapping[str, Any], details: Mapping[str, str] | None = None) -> Facts:
    """Turn the environment of a run into the section that says how to repeat the run.

    Args:
        environment: `Run.environment`.
        details: Further names and values, for example "seeds" and "data". They stand first.

    Returns:
        The section.
    """
    items = dict(details or {})
    if git := environment.get("git"):
        items["commit"] = git["commit"] + (" with uncommitted changes" if git["dirty"] else "")
    threads = environment["threads"]
    machine = [
        environment["cpu"],
        f"{environment['cores']} cores",
        f"{threads} thread{'s' if threads != 1 else ''}",
        *(environment.get("cuda") or []),
        environment["platform"],
    ]
    items["machine"] = ", ".join(machine)
    versions = (f"{name} {number}" for name, number in environment["versions"].items())
    items["versions"] = ", ".join([f"Python {environment['python']}", *versions])
    if "started" in environment:
        items["started"] = environment["started"].replace("T", " ").replace("+00:00", " UTC")
    return Facts("What was run", items, environment["command"])


def slug(title: str) -> str:
    """Turn a title into a file name and an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
