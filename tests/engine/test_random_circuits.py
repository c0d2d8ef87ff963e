"""Random circuits over the whole gate set, outputs and both gradients.

The engine, whole matrices in NumPy and PennyLane agree.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridq.backends import resolve
from hybridq.circuits import Circuit
from hybridq.engine import evaluate
from tests.engine._drawn import (
    FACTORS,
    READOUTS,
    Drawn,
    drawn_circuits,
    outputs_and_gradients,
    points,
    reference,
)

pytestmark = pytest.mark.usefixtures("engine_in_use")
FEW = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
KINDS = st.sampled_from(sorted(READOUTS))


@settings(FEW, max_examples=300)
@given(drawn_circuits(), KINDS, st.booleans(), st.integers(0, 3))
def test_it_agrees_with_numpy(ansatz: Drawn, kind: str, own_weights: bool, batch: int) -> None:
    x, w = points(batch, own_weights)
    got = outputs_and_gradients(Circuit(ansatz, READOUTS[kind]), evaluate, x, w)
    for ours, theirs in zip(got, reference(ansatz, kind, x, w), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@settings(FEW, max_examples=60)
@given(drawn_circuits(), KINDS, st.booleans())
def test_it_agrees_with_pennylane(ansatz: Drawn, kind: str, own_weights: bool) -> None:
    circuit = Circuit(ansatz, READOUTS[kind])
    x, w = points(2, own_weights)
    got = outputs_and_gradients(circuit, evaluate, x, w)
    expected = outputs_and_gradients(circuit, resolve("default.qubit").evaluate, x, w)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@settings(FEW, max_examples=60)
@given(drawn_circuits(), KINDS, st.booleans())
def test_float32_loses_no_more_than_its_rounding(
    ansatz: Drawn, kind: str, own_weights: bool
) -> None:
    x, w = points(3, own_weights, torch.float32)
    got = outputs_and_gradients(Circuit(ansatz, READOUTS[kind]), evaluate, x, w)
    expected = reference(ansatz, kind, x, w)
    # Every gate is at most three rotations, diagonals and permutations. Each of these makes four
    # roundings of numbers below 1, and an angle of size A is off by A roundings.
    n_gates = len(ansatz.gates) + 1
    rounding = 2.0**-24
    largest_variable = torch.cat((x.flatten(), w.flatten())).abs().max().item()
    largest_angle = max(1.0, 6 * max(map(abs, FACTORS)) * largest_variable)
    limit = n_gates * (12 + largest_angle) * rounding
    torch.testing.assert_close(got[0], expected[0], atol=limit, rtol=0)
    # The gradient sums 3 points of at most 2**6 outputs, weighed by at most 1.3, over gates with
    # factors of at most 2.
    gradient_limit = limit * 2 * n_gates * 3 * 1.3
    for ours, theirs in zip(got[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=gradient_limit, rtol=0)
