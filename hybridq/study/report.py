"""A report as one HTML page that needs nothing else, with its plots beside it as PNG files."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from hybridq.errors import require
from hybridq.study.files import write_whole
from hybridq.study.page import data_uri, picture, render_page
from hybridq.study.plots import draw
from hybridq.study.sections import (
    Cell,
    CurvePlot,
    IntervalPlot,
    Report,
    Section,
    slug,
)
from hybridq.study.statistics import Comparison, Summary
from hybridq.study.theme import DARK, LIGHT

__all__ = ["write_report"]


def write_report(report: Report, folder: str | Path, name: str = "report.html") -> Path:
    """Write the page and its plots.

    The page holds its style and its plots (as SVG, light and dark) and refuses to load anything
    from elsewhere.

    Args:
        report: What to write.
        folder: Where; made if it is missing.
        name: The name of the page.

    Returns:
        The path of the page. Each plot lies beside it as a PNG named after its title.

    Raises:
        MissingExtra: If jinja2 or matplotlib is not installed.
    """
    require("jinja2", "experiments")  # before anything is written
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections, plots = list(zip(_anchors(report.sections), report.sections, strict=True)), {}
    for anchor, section in sections:
        if isinstance(section, (CurvePlot, IntervalPlot)):
            write_whole(folder / f"{anchor}.png", picture(draw(section, LIGHT, True), "png"))
            plots[anchor] = {
                "light": data_uri(draw(section, LIGHT)),
                "dark": data_uri(draw(section, DARK)),
            }
    template = files("hybridq.study") / "report.html.j2"
    write_whole(
        folder / name,
        render_page(template, _FILTERS, {"report": report, "sections": sections, "plots": plots}),
    )
    return folder / name


def _anchors(sections: tuple[Section, ...]) -> list[str]:
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
    """The part of a cell that is read first."""
    if isinstance(value, Summary):
        return value.text(digits, percent).partition(" [")[0].partition(" (")[0]
    if isinstance(value, float):
        return _number(value, digits, percent)
    return "\u2013" if value is None else str(value)


def _detail(value: Cell, digits: int, percent: bool) -> str:
    """The small print of a cell: the interval and the number of seeds."""
    if not isinstance(value, Summary):
        return ""
    parts = []
    if value.interval is not None:
        parts.append(f"95 %: {_span(value.interval, digits, percent)}")
    total = value.n + value.missing
    parts.append(
        f"{value.n} of {total} seeds"
        if value.missing
        else f"{total} seed{'s' if total != 1 else ', no interval'}"
    )
    return " \u00b7 ".join(parts)


def _number(value: float | None, digits: int, percent: bool, sign: bool = False) -> str:
    if value is None:
        return "\u2013"
    text = f"{100 * value if percent else value:{'+' if sign else ''}.{digits}f}{' %' if percent else ''}"
    return text.replace("-", "\u2212")


def _span(interval: tuple[float, float] | None, digits: int, percent: bool) -> str:
    if interval is None:
        return "\u2013"
    scale = 100 if percent else 1
    return " to ".join(f"{scale * bound:.{digits}f}".replace("-", "\u2212") for bound in interval)


def _p_value(test: Comparison) -> str:
    if test.p is None:
        return "\u2013"
    return "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"


_FILTERS: dict[str, Callable[..., Any]] = {
    "main": _main,
    "detail": _detail,
    "number": _number,
    "span": _span,
    "p_value": _p_value,
}
