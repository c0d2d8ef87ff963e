"""Drawings of a traced circuit, by PennyLane's drawers."""

from typing import Any

import pennylane as qml

from hybridq.circuits._trace import Gate, Trace
from hybridq.circuits.readouts._readout import AbstractReadout
from hybridq.errors import require

__all__ = ["draw_figure", "draw_text"]


class _Labelled(qml.operation.Operation):  # type: ignore[misc]
    """A rotation that shows its symbolic angle instead of a number."""

    def __init__(self, text: str, wires: tuple[int, ...]) -> None:
        self.text = text
        super().__init__(wires=wires)

    def label(self, decimals: Any = None, base_label: Any = None, cache: Any = None) -> str:
        """Return the text; both of PennyLane's drawers ask for it."""
        return self.text


def draw_text(trace: Trace, readout: AbstractReadout) -> str:
    """Draw as text, one line per wire.

    Args:
        trace: The gates.
        readout: The measurement after them.
    """
    tape, wires = _tape(trace, readout), range(trace.n_qubits)
    return str(qml.drawer.tape_text(tape, wire_order=wires, show_all_wires=True))


def draw_figure(trace: Trace, readout: AbstractReadout) -> Any:
    """Draw as a matplotlib figure.

    Args:
        trace: The gates.
        readout: The measurement after them.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    require("matplotlib", "experiments")
    tape, wires = _tape(trace, readout), range(trace.n_qubits)
    figure, _ = qml.drawer.tape_mpl(tape, wire_order=wires, show_all_wires=True)
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
    elif gate.wires:  # A global phase of PennyLane may have no wires.
        _Labelled(f"{gate.name}({str(gate.angle).replace(' ', '')})", gate.wires)
