"""Every paper that the code cites is in docs/papers.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs._pages import ROOT, Page, code_files

PAPERS = Page(ROOT / "docs" / "papers.md")
REFERENCE = re.compile(r"^References?:[ \n]*(.*?)(?:\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
ARXIV = re.compile(r"\b\d{4}\.\d{4,5}\b|\barXiv:? ?[a-z-]+/\d{7}")
DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;]+[^\s,;.)]")
# "Holm 1979", "Agresti and Min 2005", "Socher et al. 2013", with or without a bracket at the year.
NAME = r"[A-Z][a-zé]+(?:-[A-Z][a-z]+)?"
AUTHORS = re.compile(rf"\b({NAME}(?:, {NAME})*(?: and {NAME}| et al\.)?) \(?((?:19|20)\d\d)\b")
NO_AUTHORS = {"In", "Since", "Copyright", "Mathematics", "Python", "Version"} | {
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
}


def citation_keys(page: Page) -> set[str]:
    """Read the names that the page says papers are cited by."""
    named = re.findall(r"Cited as: ((?:`[^`]+`(?:, )?)+)", page.text)
    keys = {key for names in named for key in re.findall(r"`([^`]+)`", names)}
    cells = re.findall(r"^\| ([^|]+?) \| [^|]*\*[^|]*\| [^|]*\|$", page.text, re.MULTILINE)
    return keys | set(cells)


KEYS = citation_keys(PAPERS)


def references(source: str) -> Iterator[str]:
    """Yield what docstrings have under "Reference"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for found in REFERENCE.findall(ast.get_docstring(node) or ""):
                yield " ".join(found.split())


def authors_and_years(text: str) -> Iterator[str]:
    """Yield citations such as "Holm 1979"."""
    for authors, year in AUTHORS.findall(" ".join(text.split())):
        if authors.split()[0].strip(",") not in NO_AUTHORS:
            yield f"{authors} {year}"


def cited() -> dict[str, str]:
    """Collect each Reference of the code, by itself, with the file that it is in."""
    found = {}
    for path in code_files():
        if path.suffix == ".py":
            for reference in references(path.read_text(encoding="utf-8")):
                found[f"{path.relative_to(ROOT)}: {reference}"] = reference
    return found


def test_citations_are_read() -> None:
    source = '''
def f():
    """Do it.

    Reference: Socher et al. 2013, in the splits of
    Kim 2014, arXiv 2511.01918.

    Example: none of May 2026.
    """
'''
    (reference,) = references(source)
    assert list(authors_and_years(reference)) == ["Socher et al. 2013", "Kim 2014"]
    assert ARXIV.findall(reference) == ["2511.01918"]
    assert list(authors_and_years("Agresti and Min (2005), of May 2026")) == [
        "Agresti and Min 2005"
    ]


def test_the_page_has_its_keys() -> None:
    assert {"arXiv 2511.01918", "the SGD-QT paper", "AIMS Mathematics 2026"} <= KEYS
    assert {"Holm 1979", "Spall 1992", "QSANN", "M3"} <= KEYS


def test_every_reference_names_a_paper_of_the_page() -> None:
    references_of_the_code = cited()
    assert len(references_of_the_code) > 10
    lost = [
        where
        for where, reference in references_of_the_code.items()
        if not any(key in reference for key in KEYS)
    ]
    assert lost == []


def test_every_number_in_a_reference_is_on_the_page() -> None:
    lost = [
        f"{where}: {number}"
        for where, reference in cited().items()
        for number in (*ARXIV.findall(reference), *DOI.findall(reference))
        if number not in PAPERS.text
    ]
    assert lost == []


def test_every_author_and_year_is_on_the_page() -> None:
    this = Path(__file__).resolve()
    pages = [ROOT / "README.md", ROOT / "docs" / "spec.md"]
    lost = [
        f"{path.relative_to(ROOT)}: {citation}"
        for path in (*code_files(), *pages)
        if path != this
        for citation in authors_and_years(path.read_text(encoding="utf-8"))
        if citation not in KEYS
    ]
    assert lost == []
