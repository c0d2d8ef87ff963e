"""Readout mitigation by a calibration: its own inverse, and the package M3."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hybridq.backends import resolve
from hybridq.backends._core.readout_errors import confusion, inverse_confusion
from hybridq.circuits import Circuit, Probabilities, RyRzCnot

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")

from hybridq.backends.ibm import Ibm
from tests.backends.test_ibm import SMALL, points, weights_of


def test_the_readout_errors_of_a_calibration_are_undone() -> None:
    rng = np.random.default_rng(1)
    matrices = [np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([[0.95, 0.15], [0.05, 0.85]])]
    whole = np.kron(*matrices)  # wire 0 leftmost
    calibration = 1e6 * np.stack([whole[:, 0], whole[:, 3]])
    for found, matrix in zip(confusion(calibration), matrices, strict=True):
        np.testing.assert_allclose(found, matrix, atol=1e-12)
    p = rng.dirichlet(np.ones(4))
    np.testing.assert_allclose(inverse_confusion(calibration) @ whole @ p, p, atol=1e-12)


class DenseM3:
    """A stand-in for `M3Mitigation` by a dense inverse, for where mthree is not installed."""

    def cals_from_matrices(self, matrices: list[Any]) -> None:
        self.matrices = matrices  # A[read, prepared] of each qubit

    def apply_correction(self, counts: dict[str, int], qubits: list[int]) -> dict[str, float]:
        inverse = np.ones((1, 1))
        for qubit in qubits:  # the first is the rightmost bit
            inverse = np.kron(np.linalg.inv(self.matrices[qubit]), inverse)
        n = len(qubits)
        frequencies = np.array([counts.get(format(state, f"0{n}b"), 0) for state in range(2**n)])
        found = inverse @ frequencies / frequencies.sum()
        return {format(state, f"0{n}b"): found[state] for state in range(2**n)}


@pytest.mark.parametrize("twirling", [False, True])
def test_what_m3_is_given_and_what_is_made_of_it(
    monkeypatch: pytest.MonkeyPatch, twirling: bool
) -> None:
    monkeypatch.setitem(sys.modules, "mthree", SimpleNamespace(M3Mitigation=DenseM3))
    circuit = Circuit(RyRzCnot(n_qubits=3, n_layers=1), Probabilities())
    ideal = resolve("statevector").evaluate(circuit, points(4), weights_of(circuit))
    deviation = []
    for options in ({}, {"readout_mitigation": "mthree"}):
        backend = Ibm("fake_manila", shots=16_384, twirling=twirling, **options)
        values, errors = backend.evaluate_with_errors(circuit, points(4), weights_of(circuit))
        deviation.append((values - ideal).abs().mean().item())
        assert backend.jobs_run == 1
    assert deviation[1] < 0.7 * deviation[0]
    torch.testing.assert_close(values.sum(1), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    assert bool((errors < 0.01).all())


def test_m3_agrees_with_the_inverse_where_all_states_are_seen() -> None:
    pytest.importorskip("mthree")
    backend = Ibm("fake_manila", shots=16_384, readout_mitigation="mthree")
    values, errors = backend.evaluate_with_errors(SMALL, points(4), weights_of(SMALL))
    ideal = resolve("statevector").evaluate(SMALL, points(4), weights_of(SMALL))
    assert bool(((values - ideal).abs() < 5 * errors + 0.02).all())
