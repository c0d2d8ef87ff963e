"""Drawings."""

import sys
from typing import Any

import pennylane as qml
import pytest

from hybridq.circuits import Circuit, ExpvalZ, FirstProbabilities, RealAmplitudes, RyRzCnot
from hybridq.errors import MissingExtra
from tests.circuits._ansaetze import Queues


def test_text_shows_every_gate_with_its_symbols() -> None:
    lines = (
        Circuit(RyRzCnot(n_qubits=2, n_layers=1, frequencies=(11, 0.1)), FirstProbabilities())
        .draw()
        .splitlines()
    )
    assert [line.split(":")[0] for line in lines] == ["0", "1"]
    assert "RY(w0+11*x0)" in lines[0]
    assert "RY(w2+0.1*x0)" in lines[1]
    for line in lines:
        assert line.index("H") < line.index("RY") < line.index("RZ")
        assert "Probs" in line
    assert "●" in lines[0]
    assert "X" in lines[1]


def test_text_of_unusual_gates() -> None:
    def gates(x: Any, w: Any) -> None:
        qml.GlobalPhase(x[..., 0])  # on no wire: not drawn
        qml.PhaseShift(-x[..., 0] - 2 * w[..., 1] + 0.5, 1)
        qml.RX(0.0, 1)
        qml.SWAP([0, 2])

    lines = Circuit(Queues(gates, wires=4), RealAmplitudes()).draw().splitlines()
    assert "PhaseShift(-2*w1+-x0+0.5)" in lines[1]
    assert "RX(0)" in lines[1]
    assert "SWAP" in lines[0]
    assert "SWAP" in lines[2]
    assert len(lines) == 4, "an idle wire is a wire"


def test_drawing_does_not_draw_the_result_into_a_surrounding_circuit() -> None:
    with qml.queuing.AnnotatedQueue() as queue:
        Circuit(RyRzCnot(n_qubits=2, n_layers=1), ExpvalZ()).draw()
    assert not queue.queue


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.usefixtures("headless")
def test_the_figure_shows_every_gate() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    figure = Circuit(RyRzCnot(n_qubits=2, n_layers=1)).draw_figure()
    try:
        texts = {text.get_text().replace("\n", "") for axes in figure.axes for text in axes.texts}
        assert {"0", "1", "H", "RY(w0+x0)", "RZ(w3)"} <= texts
    finally:
        plt.close(figure)


def test_the_figure_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"hybridq-toolkit\[experiments\]"):
        Circuit(RyRzCnot(n_qubits=1, n_layers=1)).draw_figure()
