"""Every id and section of the spec that anything names is in docs/spec.md."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs._pages import PAGES, ROOT, Page, code_files

SPEC = Page(ROOT / "docs" / "spec.md")
LIST = r"{item}(?:(?:, and |, | and | to ){item})*"
IDS = re.compile(r"\bSPEC (" + LIST.format(item=r"[A-Z]+\d+\b") + ")")
SECTIONS = re.compile(r"\bSPEC sections? (" + LIST.format(item=r"\d+[a-z]?\b") + ")")
# In a file of the optimizers an id may stand in brackets by itself: "(S12)".
ALONE = re.compile(r"\(([SAFTQ]\d+)\)")


def flat(text: str) -> str:
    """Join the lines of comments and docstrings, so that "SPEC" may end one of them."""
    return re.sub(r"\s*\n\s*(?:#|//)?\s*", " ", text)


def mentions(text: str) -> Iterator[str]:
    """Yield the anchors of the ids and sections that a text refers to."""
    whole = flat(text)
    for names in IDS.findall(whole):
        yield from (name.lower() for name in expanded(names))
    for numbers in SECTIONS.findall(whole):
        yield from (f"section-{number}" for number in re.findall(r"\d+[a-z]?", numbers))


def expanded(names: str) -> Iterator[str]:
    """Yield the ids of a list; of a range such as "A3 to A10", the ends."""
    yield from re.findall(r"[A-Z]+\d+", names)


def sources() -> list[Path]:
    """List what may refer to the spec, but for this file, whose examples are no references."""
    pages = [page.path for page in PAGES]
    return [path for path in (*code_files(), *pages) if path != Path(__file__).resolve()]


def test_a_list_a_range_and_a_broken_line_are_read() -> None:
    text = """the choices (SPEC S6, S8 and S9), SPEC A3 to A10,
    by name (SPEC
    # A24), SPEC sections 1 and 5, last row, SPEC section 2b; SPEC = 3; no spec S1; SPECS S2
    """
    ids = ["s6", "s8", "s9", "a3", "a10", "a24"]
    assert list(mentions(text)) == [*ids, "section-1", "section-5", "section-2b"]


def test_everything_that_names_the_spec_finds_it() -> None:
    known = set(SPEC.anchors())
    named = {
        f"{path.relative_to(ROOT)}: SPEC {anchor}": anchor
        for path in sources()
        for anchor in mentions(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 100, "the references are written in another way now"
    assert [where for where, anchor in named.items() if anchor not in known] == []


def test_ids_in_brackets_are_in_the_spec() -> None:
    known = set(SPEC.anchors())
    files = [path for path in code_files() if path.is_relative_to(ROOT / "hybridq")]
    named = {
        f"{path.relative_to(ROOT)}: ({name})": name.lower()
        for path in files
        for name in ALONE.findall(path.read_text(encoding="utf-8"))
    }
    assert named
    assert [where for where, anchor in named.items() if anchor not in known] == []


def test_every_anchor_is_there_once() -> None:
    counts = Counter(SPEC.anchors())
    assert [anchor for anchor, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("letter", "saftq")
def test_the_ids_of_a_kind_are_in_order(letter: str) -> None:
    numbers = [int(a[1:]) for a in SPEC.anchors() if re.fullmatch(rf"{letter}\d+", a)]
    assert numbers == sorted(numbers) != []
