"""The degree of the series, against a discrete Fourier transform of PennyLane's own output."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml
import pytest
import torch

from hybridq.circuits import (
    AbstractReadout,
    Circuit,
    ExpvalZ,
    FirstProbabilities,
    Probabilities,
    RealAmplitudes,
    RyRzCnot,
)
from hybridq.errors import UnsupportedEncoding
from tests.circuits._ansaetze import Queues

READOUTS = [ExpvalZ(), Probabilities(), FirstProbabilities(), RealAmplitudes()]


def harmonics(circuit: Circuit, highest: int) -> npt.NDArray[np.float64]:
    """Return the size of each harmonic of s (of s/2 for amplitudes), the largest over outputs.

    The output is sampled twice as densely as needed.
    """
    period = 2 * np.pi if circuit.readout.diagonal else 4 * np.pi
    n = 4 * highest + 8
    points = torch.arange(n, dtype=torch.float64)[:, None] / n * period
    weights = torch.randn(
        circuit.weight_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    values = circuit.readout.collect(circuit.qnode("default.qubit")(points, weights)).numpy()
    values = np.broadcast_to(values, (n, circuit.n_outputs))  # one row if the points do not enter
    return np.abs(np.fft.rfft(values, axis=0) / n).max(1)


def check(circuit: Circuit, expected: int) -> None:
    assert circuit.fourier_degree() == expected
    found = harmonics(circuit, expected)
    assert found[expected + 1 :].max() < 1e-10
    assert found[expected] > 1e-6, "the degree is not attained"


@pytest.mark.parametrize("readout", READOUTS, ids=repr)
@pytest.mark.parametrize(
    ("ansatz", "degree"),
    [
        (RyRzCnot(n_qubits=1, n_layers=1), 1),
        (RyRzCnot(n_qubits=2, n_layers=3), 6),
        (RyRzCnot(n_qubits=4, n_layers=2), 8),
        (RyRzCnot(n_qubits=3, n_layers=3, encoding="first_layer"), 3),
        (RyRzCnot(n_qubits=3, n_layers=2, frequencies=(1, 2, -3)), 12),
        (RyRzCnot(n_qubits=2, n_layers=2, frequencies=(0, 2)), 4),
    ],
    ids=repr,
)
def test_the_degree_is_a_bound_and_attained(
    ansatz: RyRzCnot, degree: int, readout: AbstractReadout
) -> None:
    check(Circuit(ansatz, readout), degree)


@pytest.mark.parametrize("pattern", ["ring", "brick"])
def test_the_degree_bounds_every_pattern(pattern: Any) -> None:
    circuit = Circuit(RyRzCnot(n_qubits=4, n_layers=2, pattern=pattern))
    assert harmonics(circuit, 8)[circuit.fourier_degree() + 1 :].max() < 1e-10


def test_without_encoding_the_degree_is_0() -> None:
    check(Circuit(RyRzCnot(encoding="none"), RealAmplitudes()), 0)


def _phase_shift(x: Any, w: Any) -> None:
    qml.RX(w[..., 0], 0)
    qml.PhaseShift(x[..., 0], 0)
    qml.RY(w[..., 1], 0)


def _global_phase(x: Any, w: Any) -> None:
    qml.RY(2 * x[..., 0] + w[..., 0], 0)
    qml.GlobalPhase(x[..., 0] * 1.5)


def _controlled(x: Any, w: Any) -> None:
    qml.RY(w[..., 0], 0)
    qml.RY(w[..., 1], 1)
    qml.CRX(2 * x[..., 0], [0, 1])


@pytest.mark.parametrize(
    ("gates", "readout", "degree"),
    [
        (_phase_shift, ExpvalZ(), 1),
        (_phase_shift, RealAmplitudes(), 2),  # exp(i s) is of degree 2 in s/2
        (_global_phase, ExpvalZ(), 2),  # a global phase shows in amplitudes only
        (_global_phase, RealAmplitudes(), 5),
        (_controlled, ExpvalZ(), 2),
    ],
)
def test_the_degree_of_other_gates(
    gates: Callable[[Any, Any], None], readout: AbstractReadout, degree: int
) -> None:
    n_wires = 2 if gates is _controlled else 1
    check(Circuit(Queues(gates, wires=n_wires), readout), degree)


def test_factors_that_are_not_integers_are_refused_with_the_way_out() -> None:
    with pytest.raises(UnsupportedEncoding, match=r"factor 0\.5.*method='per_score'"):
        Circuit(RyRzCnot(n_qubits=2, frequencies=(1, 0.5))).fourier_degree()


def test_two_inputs_are_refused() -> None:
    circuit = Circuit(Queues(lambda x, w: qml.RX(x[..., 0] + x[..., 1], 0), inputs=2))
    with pytest.raises(UnsupportedEncoding, match="n_inputs=2"):
        circuit.fourier_degree()
