"""CITATION.cff can be read, and says the same as pyproject.toml and docs/papers.md."""

import tomllib
from typing import Any

import pytest

from tests.docs._pages import ROOT, Page

yaml = pytest.importorskip("yaml", reason="PyYAML comes with huggingface_hub, of [experiments]")

# What version 1.2.0 of the Citation File Format demands, and the kinds of references that are used.
REQUIRED = {"cff-version", "message", "title", "authors"}
KINDS = {"article", "unpublished"}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded["project"]


def test_it_has_what_the_format_demands(citation: dict[str, Any]) -> None:
    assert set(citation) >= REQUIRED
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    for reference in citation["references"]:
        assert reference["type"] in KINDS
        assert reference["title"]
        assert all(author["family-names"] for author in reference["authors"])


def test_it_says_what_the_project_says(citation: dict[str, Any], project: dict[str, Any]) -> None:
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]


def test_its_papers_are_those_of_the_page(citation: dict[str, Any]) -> None:
    text = " ".join(Page(ROOT / "docs" / "papers.md").text.split())
    assert len(citation["references"]) == 3
    for reference in citation["references"]:
        assert " ".join(reference["title"].split()) in text
        for author in reference["authors"]:
            assert f"{author['given-names']} {author['family-names']}" in text
