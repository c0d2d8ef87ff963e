"""Links between pages, and into the repository, lead somewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs._pages import PAGES, Page

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def lost_links(page: Page) -> Iterator[str]:
    """Yield the links whose file, or whose place in it, does not exist."""
    for link in page.links():
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        if not target.exists() or (anchor and anchor not in Page(target).anchors()):
            yield link


@every_page
def test_every_link_into_the_repository_leads_somewhere(page: Page) -> None:
    assert list(lost_links(page)) == []


@every_page
def test_html_is_anchors_only(page: Page) -> None:
    """Brackets as in <Z> are tags to Markdown: a code host would not show them."""
    tags = [tag for tag in page.html() if not tag.startswith(('<a id="', "</a>"))]
    assert tags == []


@every_page
def test_every_block_of_python_can_be_parsed(page: Page) -> None:
    for fence in page.fences():
        if fence.info.split()[:1] == ["python"] and ">>>" not in fence.text:
            ast.parse(fence.text, f"{page.name}, line {fence.line}")


@every_page
def test_lines_fit(page: Page) -> None:
    """100 columns; the rows of tables may be wider."""
    if page.name in ("README.md", "CHANGELOG.md"):
        pytest.skip("older pages, which have wider lines")
    wide = [
        f"{page.name}:{number}"
        for number, line in enumerate(page.text.splitlines(), 1)
        if len(line) > 100 and not line.startswith("|")
    ]
    assert wide == []


def test_a_lost_link_is_seen(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text("[a](no.md), [b](#nowhere), [c](#here), [d](https://x.org/y)\n\n# Here\n")
    assert list(lost_links(Page(copy))) == ["no.md", "#nowhere"]
