"""A report as one HTML page that needs nothing else, with its plots beside it as PNG files."""

import base64
import io
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from hybridq.errors import require
from hybridq.study.plots import DARK, LIGHT, Theme, draw
from hybridq.study.sections import (
    Cell,
    ClaimRow,
    ClaimTable,
    Column,
    ComparisonRow,
    ComparisonTable,
    Curve,
    CurvePlot,
    Facts,
    Highlight,
    Interval,
    IntervalPlot,
    Notes,
    Report,
    Section,
    Table,
    Verdict,
    slug,
    what_was_run,
)
from hybridq.study.statistics import Comparison, Summary

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
    "write_report",
]

_DPI = 160


def write_report(report: Report, folder: str | Path, name: str = "report.html") -> Path:
    """Write the page and its plots.

    The page holds its style and its plots (as SVG, light and dark) and refuses to load anything from elsewhere.

    Args:
        report: What to write.
        folder: Where; made if it is missing.
        name: The name of the page.

    Returns:
        The path of the page. Each plot lies beside it as a PNG named after its title.

    Raises:
        MissingExtra: If jinja2 or matplotlib is not installed.
    """
    jinja2 = require("jinja2", "experiments")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    anchors = _anchors(report.sections)
    plots = {}
    for anchor, section in zip(anchors, report.sections, strict=True):
        if isinstance(section, (CurvePlot, IntervalPlot)):
            _replace(folder / f"{anchor}.png", _image(section, LIGHT, "png", with_title=True))
            plots[anchor] = {"light": _data_uri(section, LIGHT), "dark": _data_uri(section, DARK)}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= _filters(jinja2)
    template = environment.from_string(files("hybridq.study").joinpath("report.html.j2").read_text(encoding="utf-8"))
    page: str = template.render(report=report, sections=list(zip(anchors, report.sections, strict=True)), plots=plots)
    _replace(folder / name, page.encode())
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


def _image(plot: CurvePlot | IntervalPlot, theme: Theme, kind: str, with_title: bool = False) -> bytes:
    matplotlib = require("matplotlib", "experiments")
    buffer = io.BytesIO()
    # With a fixed salt and no date the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "hybridq"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": "hybridq"}
        draw(plot, theme, with_title).savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def _data_uri(plot: CurvePlot | IntervalPlot, theme: Theme) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(_image(plot, theme, 'svg')).decode()}"


def _filters(jinja2: Any) -> dict[str, Callable[..., Any]]:
    def code(text: str) -> Any:
        """Set `words in backticks` as code."""
        safe = str(jinja2.utils.markupsafe.escape(text))
        return jinja2.utils.markupsafe.Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", safe))

    return {"code": code, "main": _main, "detail": _detail, "number": _number, "span": _span, "p_value": _p_value}


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
    parts.append(f"{value.n} of {total} seeds" if value.missing else f"{total} seed{'s' if total != 1 else ', no interval'}")
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


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)
