"""A report as one HTML page that needs nothing else, with its plots beside it as PNG files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybridq.errors import require
from hybridq.study.files import write_whole
from hybridq.study.page import data_uri, picture, render_page
from hybridq.study.plots import draw
from hybridq.study.sections import (
    Cell,
    CurvePlot,
    Drawing,
    Entry,
    IntervalPlot,
    Report,
    Section,
    slug,
)
from hybridq.study.statistics import GroupDifference, Summary
from hybridq.study.theme import DARK, LIGHT

__all__ = ["render_report", "write_report"]

_DASH = "\u2013"  # stands for an empty cell
_MINUS = "\u2212"


def write_report(report: Report, folder: str | Path, name: str = "report.html") -> Path:
    """Write the page and its plots.

    The page holds its style and its plots (as SVG, light and dark) and refuses to load anything
    from elsewhere.

    Args:
        report: The report.
        folder: The folder to write into; made if it is missing.
        name: The name of the page.

    Returns:
        The path of the page. Each plot lies beside it as a PNG named after its title.

    Raises:
        MissingExtra: If jinja2 or matplotlib is not installed.
    """
    page = render_report(report)  # before anything is written
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for anchor, section in zip(_anchors(report.sections), report.sections, strict=True):
        if isinstance(section, CurvePlot | IntervalPlot | Drawing):
            png = picture(draw(section, LIGHT, with_title=True), "png")
            write_whole(folder / f"{anchor}.png", png)
    write_whole(folder / name, page)
    return folder / name


def render_report(report: Report) -> str:
    """Make the page of a report, with its style and its plots inside.

    Args:
        report: The report.

    Returns:
        HTML that loads nothing.

    Raises:
        MissingExtra: If jinja2 or matplotlib is not installed.
    """
    require("jinja2", "experiments")  # before anything is drawn
    sections = list(zip(_anchors(report.sections), report.sections, strict=True))
    plots = {
        anchor: {"light": data_uri(draw(section, LIGHT)), "dark": data_uri(draw(section, DARK))}
        for anchor, section in sections
        if isinstance(section, CurvePlot | IntervalPlot | Drawing)
    }
    values = {"report": report, "sections": sections, "plots": plots}
    return render_page(_FILTERS, {"entry": lambda cell: isinstance(cell, Entry)}, values)


def _anchors(sections: Sequence[Section]) -> list[str]:
    anchors: list[str] = []
    for section in sections:
        base = anchor = slug(section.title)
        number = 2
        while anchor in anchors:
            anchor = f"{base}-{number}"
            number += 1
        anchors.append(anchor)
    return anchors


def _main(value: Cell, digits: int, percent: bool) -> str:
    """Write the part of a cell that is read first."""
    if isinstance(value, Summary):
        return value.text(digits, percent).partition(" [")[0].partition(" (")[0]
    if isinstance(value, float):
        return _number(value, digits, percent)
    return _DASH if value is None else str(value)


def _detail(value: Cell, digits: int, percent: bool) -> str:
    """Write the small print of a cell: the interval and the number of seeds."""
    if not isinstance(value, Summary):
        return ""
    parts = []
    if value.interval is not None:
        parts.append(f"95 %: {_span(value.interval, digits, percent)}")
    total = value.n + value.missing
    if value.missing:
        parts.append(f"{value.n} of {total} seeds")
    else:
        parts.append(f"{total} seeds" if total != 1 else "1 seed, no interval")
    return " \u00b7 ".join(parts)


def _number(value: float | None, digits: int, percent: bool, sign: bool = False) -> str:
    if value is None:
        return _DASH
    scaled = 100 * value if percent else value
    text = f"{scaled:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", _MINUS) + (" %" if percent else "")


def _span(interval: tuple[float, float] | None, digits: int, percent: bool) -> str:
    if interval is None:
        return _DASH
    scale = 100 if percent else 1
    return " to ".join(f"{scale * bound:.{digits}f}".replace("-", _MINUS) for bound in interval)


def _p_value(test: GroupDifference) -> str:
    if test.p is None:
        return _DASH
    return "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"


def _tight(sentence: str) -> str:
    """Keep a number on one line with its sign and its unit."""
    for sign in "=<±":
        sentence = sentence.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return sentence.replace(" %", "\u00a0%")


_FILTERS: dict[str, Callable[..., Any]] = {
    "main": _main,
    "detail": _detail,
    "number": _number,
    "span": _span,
    "p_value": _p_value,
    "tight": _tight,
}
