"""Drawings of a traced circuit, by PennyLane's drawers."""

from typing import Any

import pennylane as qml

from hybridq.circuits._readout import AbstractReadout
from hybridq.circuits._trace import Gate, Trace
from hybridq.errors import require

__all__ = ["draw_figure", "draw_text"]


class _Labelled(qml.operation.Operation):  # type: ignore[misc]
    """A rotation that shows its symbolic angle instead of a number."""

    def __init__(self, text: str, wires: tuple[int, ...]) -> None:
        self.text = text
        super().__init__(wires=wires)

    def label(self, decimals: Any = None, base_label: Any = None, cache: Any = None) -> str:
        """The text that both drawers ask for."""
        return self.text


def draw_text(trace: Trace, readout: AbstractReadout) -> str:
    """Draw as text, one line a wire."""
    return str(
        qml.drawer.tape_text(
            _tape(trace, readout), wire_order=range(trace.n_qubits), show_all_wires=True
        )
    )


def draw_figure(trace: Trace, readout: AbstractReadout) -> Any:
    """Draw as a matplotlib figure.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    require("matplotlib", "experiments")
    figure, _ = qml.drawer.tape_mpl(
        _tape(trace, readout), wire_order=range(trace.n_qubits), show_all_wires=True
    )
    return figure


def _tape(trace: Trace, readout: AbstractReadout) -> Any:
    with qml.queuing.AnnotatedQueue() as queue:
        for gate in trace.gates:
            _queue(gate)
        readout.measure(trace.n_qubits)
    return qml.tape.QuantumScript.from_queue(queue)


def _queue(gate: Gate) -> None:
    if gate.angle is None:
        getattr(qml, gate.name)(wires=gate.wires)
    elif gate.wires:  # a global phase of PennyLane may have no wires
        _Labelled(f"{gate.name}({str(gate.angle).replace(' ', '')})", gate.wires)
