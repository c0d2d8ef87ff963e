"""The shell of a page: one HTML file that needs nothing else, with style and plots inside."""

import base64
import io
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Literal

from hybridq.errors import require

__all__ = ["data_uri", "picture", "render_page"]

_DPI = 160


def render_page(
    filters: Mapping[str, Callable[..., Any]],
    tests: Mapping[str, Callable[..., bool]],
    values: Mapping[str, Any],
) -> str:
    """Fill in the template of all pages, `report.html.j2`.

    Beside the given filters the template has `rich`, which sets `words` in backticks as code and
    **words** as strong, and `breakable`, which lets a long name go on in the next line. All values
    are escaped.

    Args:
        filters: The filters of the template, by name.
        tests: The tests of the template, by name.
        values: The variables of the template, by name.

    Returns:
        The page.

    Raises:
        MissingExtra: If jinja2 is not installed.
    """
    jinja2 = require("jinja2", "experiments")
    markupsafe = require("markupsafe", "experiments")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    escape, markup = markupsafe.escape, markupsafe.Markup
    environment.filters |= {
        "rich": lambda text: markup(_rich(str(escape(text)))),
        "breakable": lambda text: markup(_breakable(str(escape(text)))),
        **filters,
    }
    environment.tests |= tests
    folder = files("hybridq.study")
    style = markup(folder.joinpath("page.css").read_text(encoding="utf-8"))
    template = environment.from_string(
        folder.joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    page: str = template.render(style=style, **values)
    return page


def _rich(escaped: str) -> str:
    with_code = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", with_code)


def _breakable(escaped: str) -> str:
    """Allow a line break after a comma and before a plus, as in the names of backends."""
    return escaped.replace(",", ",<wbr>").replace("+", "<wbr>+")


def picture(figure: Any, kind: Literal["png", "svg"]) -> bytes:
    """Draw a matplotlib figure into a file's bytes; the same numbers give the same bytes.

    Args:
        figure: A `matplotlib.figure.Figure`.
        kind: The format.

    Returns:
        The content of the file.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    matplotlib = require("matplotlib", "experiments")
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": "hybridq"}
    with matplotlib.rc_context({"svg.hashsalt": "hybridq"}):
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def data_uri(figure: Any) -> str:
    """Return a matplotlib figure as the address of an SVG picture that holds all of it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture(figure, 'svg')).decode()}"
