"""What every metric of `hybridq/comparison/metrics/` must do."""

import io
import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from hybridq import catalogue
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.cli.compare import print_comparison
from hybridq.comparison import CompareOptions, compare, metrics
from hybridq.comparison.comparing import load_metrics
from hybridq.comparison.estimates import Estimate
from hybridq.comparison.metrics import AbstractDistance, AbstractMetric
from hybridq.comparison.page import make_report
from hybridq.errors import InvalidArgument, UnknownName
from hybridq.study.files import to_plain
from hybridq.study.report import render_report
from hybridq.study.sections import Drawing, Entry, Table
from hybridq.study.theme import LIGHT
from tests.comparison._models import tiny

NAMES = catalogue.names("comparison.metrics")
QUICK = {"resamples": 100, "redraws": 2}
BACKENDS = "statevector,default.qubit,aer:shots=200"
INPUTS = torch.tensor([[0.3], [1.2], [2.9]], dtype=torch.float64)
WEIGHTS = torch.linspace(-1, 2, 4, dtype=torch.float64).reshape(1, 2, 2)


class LargestError(AbstractDistance):
    """The largest error of any probability: a metric of somebody's own."""

    name = "largest_error"
    title = "largest error of a probability"
    unit = "parts of one"
    order = 35

    def between(self, p, q):
        return np.abs(p - q).max(-1)


@pytest.fixture(scope="module")
def of_model():
    model, examples = tiny()
    return compare(model, BACKENDS, examples, options=CompareOptions(**QUICK))


def of_circuit(**options):
    circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
    return compare(circuit, BACKENDS, INPUTS, WEIGHTS, options=CompareOptions(**QUICK, **options))


@pytest.fixture(params=NAMES)
def metric(request):
    return catalogue.load("comparison.metrics", request.param)()


def test_the_first_name_of_a_file_is_its_metric(metric):
    assert isinstance(metric, AbstractMetric)
    assert metric.name
    assert metric.title


def test_it_turns_into_json(metric, of_model):
    for result in of_model.results:
        json.dumps(to_plain(metric.to_json(result.values.get(metric.name))), allow_nan=False)
    json.dumps(to_plain(metric.to_json(None)), allow_nan=False)


def test_an_exact_backend_that_agrees_has_no_test_and_differs_by_nothing(metric, of_model):
    value = of_model["default.qubit"][metric.name]
    assert metric.p_values(value, mitigated=False) == ()
    assert not metric.differs(value)
    if not metric.is_of_one_backend:
        # The statevector engine and PennyLane round differently; a root makes 1e-8 of 1e-16.
        assert metric.estimate(value).value == pytest.approx(0.0, abs=1e-6)


def test_shots_give_an_estimate_that_is_a_finite_number(metric, of_model):
    value = of_model["aer:shots=200"][metric.name]
    estimate = metric.estimate(value)
    assert isinstance(estimate, Estimate)
    assert np.isfinite(estimate.value)
    for p in metric.p_values(value, mitigated=False):
        assert 0 <= p <= 1
    if estimate.noise_floor is not None:
        assert estimate.noise_floor.low <= estimate.noise_floor.mean <= estimate.noise_floor.high


def test_a_row_of_the_table_has_a_cell_for_each_column(metric, of_model):
    for result in of_model.others:
        cells = metric.cells(result[metric.name])
        assert len(cells) == len(metric.columns())
        assert all(isinstance(cell, Entry) and cell.text for cell in cells)


def test_what_it_shows_is_text_drawings_and_tables(metric, of_model):
    subject, results = of_model.subject, of_model.results
    for result in of_model.others:
        value = result[metric.name]
        assert isinstance(metric.console_text(value), str)
        sentences = metric.sentences(value, result.verdict.kind, subject)
        assert all(sentence.endswith(".") for sentence in sentences)
    assert all(isinstance(one, Drawing) for one in metric.figures(subject, results))
    assert all(isinstance(one, Table) for one in metric.details(subject, results))
    assert metric.has_panel or metric.figures(subject, results)


def test_it_says_whether_it_applies_to_a_circuit_without_a_model(metric):
    comparison = of_circuit()
    shown = metric.name in comparison.others[0].values
    assert metric.applies(comparison.subject) == shown
    assert comparison.subject.trained is None


def test_metrics_come_in_their_order_and_have_names_of_their_own():
    loaded = load_metrics()
    assert [one.order for one in loaded] == sorted(one.order for one in loaded)
    assert len({one.name for one in loaded}) == len(loaded) == len(NAMES)


def shown_everywhere(comparison, metric):
    """Check that a metric is in the table, the panels, the page, compare.json and the console."""
    report = make_report(
        comparison.subject,
        comparison.results,
        comparison.shown_metrics,
        comparison.settings,
        comparison.environment,
    )
    table = next(one for one in report.sections if one.title == metric.part.table)
    assert metric.heading() in [column.title for column in table.columns]
    plot = next(one for one in report.sections if one.title == metric.part.plot)
    figure = plot.draw(LIGHT)
    assert metric.heading() in [axes.get_title(loc="left") for axes in figure.axes]
    assert metric.heading() in render_report(report)
    for one in comparison.others:
        assert comparison.to_json()["results"][one.label][metric.name]["value"] >= 0
    terminal = Console(file=io.StringIO(), width=240)
    print_comparison(comparison, terminal)
    assert metric.heading() in terminal.file.getvalue()


@pytest.mark.parametrize("given", [f"{__name__}:LargestError", LargestError()])
def test_a_metric_of_your_own_is_shown_everywhere(given):
    pytest.importorskip("matplotlib")
    comparison = of_circuit(metrics=(given,))
    shown_everywhere(comparison, LargestError())
    order = [metric.name for metric in comparison.metrics]
    assert order.index("hellinger") < order.index("largest_error") < order.index("phi")


def test_a_file_that_is_put_into_the_folder_is_shown_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("matplotlib")
    (tmp_path / "overlap.py").write_text(
        textwrap.dedent(
            '''
            """One minus the overlap."""
            from hybridq.comparison.metrics import AbstractDistance

            __all__ = ["Overlap"]


            class Overlap(AbstractDistance):
                name, title, order = "overlap", "one minus the overlap", 33

                def between(self, p, q):
                    return (1 - (p * q) ** 0.5).clip(0).min(-1)
            '''
        )
    )
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    comparison = of_circuit()
    shown_everywhere(comparison, catalogue.load("comparison.metrics", "overlap")())


def test_misuse():
    with pytest.raises(InvalidArgument, match="two metrics have this name"):
        load_metrics(["hellinger"])
    with pytest.raises(InvalidArgument, match=r"metrics=.*AbstractMetric"):
        load_metrics(["collections:OrderedDict"])
    with pytest.raises(UnknownName, match="Did you mean 'hellinger'"):
        load_metrics(["helinger"])
    with pytest.raises(UnknownName, match="unknown metric of"):
        of_circuit().others[0]["phi"]
