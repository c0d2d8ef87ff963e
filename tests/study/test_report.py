import base64
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from hybridq.errors import InvalidArgument, MissingExtra
from hybridq.study.plots import draw
from hybridq.study.report import write_report
from hybridq.study.sections import (
    ClaimRow,
    ClaimTable,
    Column,
    Curve,
    CurvePlot,
    DifferenceRow,
    DifferenceTable,
    Facts,
    Highlight,
    Interval,
    IntervalPlot,
    Notes,
    Report,
    Table,
    what_was_run,
)
from hybridq.study.statistics import paired, summarize, welch
from hybridq.study.theme import DARK, LIGHT, Theme

X = (0.0, 1.0, 2.0, 3.0)
ADAM = ((0.25, 0.6, 0.8, 0.9), (0.25, 0.5, 0.7, 0.94))
CURVES = CurvePlot(
    "Test accuracy",
    (
        Curve("Adam", X, ADAM, "plain"),
        Curve("SPGD", X, ADAM, "plain"),
        Curve("Adam", X, ADAM[:1], "quantum"),
    ),
    y_label="accuracy",
    percent=True,
    level=(0.9, "90 %"),
)
INTERVALS = IntervalPlot(
    "Epochs to 90 %",
    (
        Interval("Adam", (7.0, 7.2, 7.6)),
        Interval("SPGD", (4.0, None, 4.4)),
        Interval("literal", (None, None)),
    ),
    "epochs",
    references=((7.4, "paper"),),
)
CLAIMS = ClaimTable(
    "Claims",
    (
        ClaimRow(
            "90 % sooner",
            "4.6",
            summarize([4.1, 4.5, None]),
            "not reproduced",
            "Adam with `lambda = 0`",
            "It gains too.",
        ),
        ClaimRow(
            "Accuracy",
            "93.8 %",
            summarize([0.93, 0.94]),
            "reproduced",
            "equal steps",
            percent=True,
            digits=1,
        ),
        ClaimRow("On a QPU", "none", "not run", "not testable", "needs a QPU"),
    ),
)


def everything() -> Report:
    return Report(
        "Is <SPGD> faster?",
        "No: `lambda = 0` & <b>no bias correction</b> do it.",
        (
            CLAIMS,
            CURVES,
            INTERVALS,
            Table(
                "Results",
                (
                    Column("Optimizer"),
                    Column("Accuracy", 1, True),
                    Column("Step (ms)", 1),
                    Column("n"),
                ),
                (("Adam", summarize([0.9, 0.92, 0.94]), 3.14159, 3), ("SPGD", None, -1.0, 1)),
            ),
            DifferenceTable(
                "Tests",
                (
                    DifferenceRow("SPGD - Adam", welch([4.4, 4.6, 4.8], [7.2, 7.4, 7.6])),
                    DifferenceRow(
                        "quantum - plain", paired([0.93, 0.94, 0.95], [0.92, 0.95, 0.93]), 1, True
                    ),
                    DifferenceRow("none", welch([None], [1.0])),
                ),
            ),
            Facts("What was run", {"seeds": "0, 1, 2"}, "python -m experiments.demo"),
            Notes("Notes", ("A note with `code` and <script>alert(1)</script>.",)),
        ),
        (Highlight("4.6", "epochs", "the paper: 4.6"),),
    )


class Page(HTMLParser):
    """Collects the tags and the visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw = path.read_text(encoding="utf-8")
        self.inside = ""
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(everything(), tmp_path_factory.mktemp("report") / "made")


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path)


def test_the_page_loads_nothing(page: Page) -> None:
    links = [
        (name, value)
        for _, a in page.tags
        for name, value in a.items()
        if name in {"src", "srcset", "href"}
    ]
    assert len(links) > 8
    assert all(value.startswith(("data:", "#")) for _, value in links if value is not None)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "url(" not in page.raw
    assert "@import" not in page.raw
    policy = [
        meta["content"]
        for meta in page.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_plots_are_inside_in_light_and_dark(page: Page) -> None:
    light, dark = page.all("img"), page.all("source")
    assert len(light) == len(dark) == 2
    assert all("dark" in source["media"] for source in dark)
    for image, theme in [*((i["src"], LIGHT) for i in light), *((s["srcset"], DARK) for s in dark)]:
        svg = base64.b64decode(image.removeprefix("data:image/svg+xml;base64,")).decode()
        assert svg.count(theme.series[0]) >= 2
        assert not [link for link in re.findall(r'href="([^"]*)"', svg) if not link.startswith("#")]


def test_alternative_texts_say_the_numbers(page: Page) -> None:
    curves, intervals = (image["alt"] for image in page.all("img"))
    assert "Adam (plain) ends at 92.000 ± 2.828 %" in curves
    assert "Adam 7.27 ± 0.31" in intervals
    assert "SPGD 4.20 ± 0.28 [1.66, 6.74] (2 of 3 seeds)" in intervals
    assert "literal never (0 of 2 seeds)" in intervals


def test_texts_are_escaped_and_backticks_are_code(page: Page) -> None:
    assert "<script" not in page.raw
    assert "alert(1)" in page.text
    assert "Is <SPGD> faster?" in page.text
    assert "<code>lambda = 0</code> &amp; &lt;b&gt;" in page.raw


@pytest.mark.parametrize(
    "text",
    [
        "4.30 ± 0.28",
        "95 %: 1.76 to 6.84 · 2 of 3 seeds",
        "93.5 ± 0.7 %",
        "✓reproduced",
        "✕not reproduced",
        "○not testable",
        "92.0 ± 2.0 %",
        "3.1",
        "\u22121.0",
        "\u22122.80",
        "< 0.001",
        "paired t, n = 3",
        "Welch\u2019s t, n = 3 and 3",
        "not compared: 1 of 1 seeds of the first group have no number",
        "python -m experiments.demo",
        "the paper: 4.6",
    ],
)
def test_the_numbers_stand_on_the_page(page: Page, text: str) -> None:
    assert text in page.text


def test_the_navigation_leads_to_the_sections(page: Page) -> None:
    targets = {a["href"] for a in page.all("a")} - {"#content"}
    assert targets == {f"#{section['id']}" for section in page.all("section")}
    assert len(targets) == 7


def test_pictures_lie_beside_it(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "epochs-to-90.png",
        "report.html",
        "test-accuracy.png",
    ]
    for name in ("epochs-to-90", "test-accuracy"):
        pixels = matplotlib.image.imread(path.parent / f"{name}.png")
        assert pixels.shape[1] > 1000
        assert (pixels[..., :3].min(axis=2) < 0.5).mean() > 0.003  # there is ink on it


def test_the_same_numbers_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    assert write_report(everything(), tmp_path).read_bytes() == path.read_bytes()


def test_two_sections_of_one_title_and_one_without_letters(tmp_path: Path) -> None:
    notes = Notes("Notes", ("a",))
    page = Page(write_report(Report("t", "l", (notes, notes, Notes("λ", ("b",)))), tmp_path))
    assert [section["id"] for section in page.all("section")] == ["notes", "notes-2", "section"]


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"{module}.*hybridq-toolkit\[experiments\]"):
        write_report(everything(), tmp_path)


def test_lines_are_means_and_bands_are_standard_deviations() -> None:
    axes = draw(CURVES).axes[0]
    line = axes.get_lines()[0]
    mean, sd = 100 * np.mean(ADAM, axis=0), 100 * np.std(ADAM, axis=0, ddof=1)
    np.testing.assert_allclose(line.get_ydata(), mean)
    corners = axes.collections[0].get_paths()[0].vertices
    for x, low, high in zip(X, mean - sd, mean + sd, strict=True):
        heights = corners[corners[:, 0] == x, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [low, high])


def test_one_seed_has_no_band() -> None:
    assert not draw(CURVES).axes[1].collections


def test_a_label_has_one_colour_in_all_panels_and_one_entry_in_the_legend() -> None:
    figure = draw(CURVES)
    first, second = (axes.get_lines()[0] for axes in figure.axes)
    assert first.get_color() == second.get_color() != figure.axes[0].get_lines()[1].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Adam", "SPGD"]


def test_the_legend_covers_no_curve() -> None:
    many = tuple(Curve(f"a rather long name of optimizer {i}", X, ADAM) for i in range(6))
    figure = draw(CurvePlot("Many", many), with_title=True)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= 0
    assert legend.x1 <= figure.bbox.x1
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_tightbbox())


def test_intervals_are_drawn_where_they_are() -> None:
    axes = draw(INTERVALS).axes[0]
    low, high = summarize((7.0, 7.2, 7.6)).interval
    bar, dots, mean = axes.get_lines()[:3]
    np.testing.assert_allclose(bar.get_xdata(), [low, high])
    np.testing.assert_allclose(dots.get_xdata(), [7.0, 7.2, 7.6])
    np.testing.assert_allclose(mean.get_xdata(), [21.8 / 3])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["7.27", "4.20, 1 of 3 never", "never, in any seed", "paper"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top


def test_a_logarithmic_axis_and_a_range() -> None:
    plot = CurvePlot(
        "Loss", (Curve("Adam", X, ((1.0, 0.5, 0.1, 0.05),)),), log_y=True, y_range=(0.01, 2)
    )
    axes = draw(plot).axes[0]
    assert (axes.get_yscale(), axes.get_ylim()) == ("log", (0.01, 2))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_stand_out_from_the_background(theme: Theme) -> None:
    for colour, least in [
        *((c, 3.0) for c in theme.series),
        (theme.text, 7.0),
        (theme.muted, 4.5),
    ]:  # the ratios of WCAG 2
        light, dark = sorted((luminance(colour), luminance(theme.background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, colour


def test_nothing_goes_through_pyplot() -> None:
    before = (
        set(sys.modules.get("matplotlib.pyplot").get_fignums())
        if "matplotlib.pyplot" in sys.modules
        else set()
    )
    draw(CURVES)
    after = (
        set(sys.modules.get("matplotlib.pyplot").get_fignums())
        if "matplotlib.pyplot" in sys.modules
        else set()
    )
    assert before == after


def test_what_was_run() -> None:
    environment = {
        "python": "3.11.7",
        "platform": "Linux x86_64",
        "cpu": "A CPU",
        "cores": 2,
        "threads": 1,
        "cuda": [],
        "versions": {"torch": "2.13.0"},
        "git": {"commit": "abc", "dirty": True},
        "command": "python -m experiments.demo",
        "started": "2026-11-21T14:37:44+00:00",
    }
    facts = what_was_run(environment, {"seeds": "0, 1"})
    assert facts.command == "python -m experiments.demo"
    assert facts.items == {
        "seeds": "0, 1",
        "commit": "abc with uncommitted changes",
        "machine": "A CPU, 2 cores, 1 thread, Linux x86_64",
        "versions": "Python 3.11.7, torch 2.13.0",
        "started": "2026-11-21 14:37:44 UTC",
    }
    assert "commit" not in what_was_run(environment | {"git": None}).items


def test_errors() -> None:
    with pytest.raises(InvalidArgument, match="verdict='maybe'"):
        ClaimRow("a", "1", "2", "maybe", "c")
    with pytest.raises(InvalidArgument, match="has 4 positions"):
        Curve("a", X, ((1.0,),))
    with pytest.raises(InvalidArgument, match="at least one"):
        Curve("a", X, ())
    with pytest.raises(InvalidArgument, match="has 1 columns"):
        Table("t", (Column("a"),), ((1, 2),))
    with pytest.raises(InvalidArgument, match="at least one"):
        CurvePlot("t", ())
    with pytest.raises(InvalidArgument, match="at least one"):
        IntervalPlot("t", ())
