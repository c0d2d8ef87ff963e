"""The pages that people read, as the tests of this folder see them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["PAGES", "ROOT", "Fence", "Page", "code_files"]

ROOT = Path(__file__).resolve().parents[2]
_CODE = ("hybridq", "circuits", "experiments", "benchmarks", "tests")
_SUFFIXES = {".py", ".cpp", ".h", ".j2"}
_ANCHOR = re.compile(r"""<a id=["']([^"']+)["']>""")


@dataclass(frozen=True)
class Fence:
    """A fenced block: what follows its opening fence, its text, and the line of the fence."""

    info: str
    text: str
    line: int


class Page:
    """A Markdown file.

    Args:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self._tokens = MarkdownIt("commonmark").enable("table").parse(self.text)

    @property
    def name(self) -> str:
        """The path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def anchors(self) -> list[str]:
        """List what a link can lead to: the ids that are written down, and the headings."""
        written = [found for token in self._inlines() for found in _ANCHOR.findall(token.content)]
        blocks = [t.content for t in self._tokens if t.type == "html_block"]
        written += [found for block in blocks for found in _ANCHOR.findall(block)]
        return written + list(self._slugs())

    def links(self) -> Iterator[str]:
        """Yield where links and images lead to."""
        for inline in self._inlines():
            for token in inline.children or []:
                target = token.attrs.get("href") or token.attrs.get("src")
                if target:
                    yield unquote(str(target))

    def html(self) -> Iterator[str]:
        """Yield the HTML tags of the page."""
        for token in self._tokens:
            if token.type == "html_block":
                yield from re.findall(r"<[^>]*>", token.content)
        for inline in self._inlines():
            yield from (t.content for t in inline.children or [] if t.type == "html_inline")

    def fences(self) -> list[Fence]:
        """List the fenced blocks."""
        fences = [token for token in self._tokens if token.type == "fence"]
        return [Fence(t.info.strip(), t.content, (t.map or [0])[0] + 1) for t in fences]

    def _inlines(self) -> list[Token]:
        return [token for token in self._tokens if token.type == "inline"]

    def _slugs(self) -> Iterator[str]:
        """Yield the anchors that a code host gives to headings."""
        seen: Counter[str] = Counter()
        for token, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type != "heading_open":
                continue
            words = re.sub(r"[^\w\- ]", "", inline.content.lower())
            slug = words.replace(" ", "-")
            yield f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1


PAGES = [
    Page(path)
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
]


def code_files() -> list[Path]:
    """List the sources, each of them once: `hybridq/circuits` is a link to `circuits`."""
    files = []
    for folder in _CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            linked = path.is_relative_to(ROOT / "hybridq" / "circuits")
            if path.suffix in _SUFFIXES and not linked and "__pycache__" not in path.parts:
                files.append(path)
    return files
