"""What all pages have in common: one HTML file that needs nothing else, with the house's style and its plots inside."""

import base64
import io
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from hybridq.errors import require

__all__ = ["data_uri", "picture", "render_page"]

_DPI = 160


def render_page(
    template: Traversable, filters: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]
) -> str:
    """Fill in the template of a page.

    Args:
        template: The file, for Jinja. It can use `style`, the house's style, and the filter `rich`,
            which sets `words` in backticks as code and **words** as strong; whatever it is given is
            escaped.
        filters: Its own filters.
        values: What it is given, by name.

    Returns:
        The page.

    Raises:
        MissingExtra: If jinja2 is not installed.
    """
    jinja2 = require("jinja2", "experiments")
    markup = jinja2.utils.markupsafe.Markup
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "rich": lambda text: markup(_rich(str(jinja2.utils.markupsafe.escape(text)))),
        **filters,
    }
    style = markup(files("hybridq.study").joinpath("page.css").read_text(encoding="utf-8"))
    page: str = environment.from_string(template.read_text(encoding="utf-8")).render(
        style=style, **values
    )
    return page


def _rich(escaped: str) -> str:
    return re.sub(
        r"\*\*([^*]+)\*\*",
        r"<strong>\1</strong>",
        re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped),
    )


def picture(figure: Any, kind: Literal["png", "svg"]) -> bytes:
    """Draw a matplotlib figure into a file's bytes; the same numbers give the same bytes.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    matplotlib, buffer = require("matplotlib", "experiments"), io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": "hybridq"}
    with matplotlib.rc_context({"svg.hashsalt": "hybridq"}):
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def data_uri(figure: Any) -> str:
    """A matplotlib figure as the address of a picture, SVG, that holds all of it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture(figure, 'svg')).decode()}"
