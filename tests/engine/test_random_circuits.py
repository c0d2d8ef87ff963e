"""Random circuits over the whole gate set: the engine = whole-matrix NumPy = PennyLane, forward and both gradients."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridq.backends import resolve
from hybridq.circuits import Circuit
from hybridq.engine import evaluate
from tests.engine._drawn import FACTORS, READOUTS, Drawn, drawn_circuits, found, points, reference

pytestmark = pytest.mark.usefixtures("engine_in_use")
FEW = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
KINDS = st.sampled_from(sorted(READOUTS))


@settings(FEW, max_examples=300)
@given(drawn_circuits(), KINDS, st.booleans(), st.integers(0, 3))
def test_it_agrees_with_numpy(ansatz: Drawn, kind: str, own_weights: bool, batch: int) -> None:
    x, w = points(batch, own_weights)
    got = found(Circuit(ansatz, READOUTS[kind]), evaluate, x, w)
    for ours, theirs in zip(got, reference(ansatz, kind, x, w), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@settings(FEW, max_examples=60)
@given(drawn_circuits(), KINDS, st.booleans())
def test_it_agrees_with_pennylane(ansatz: Drawn, kind: str, own_weights: bool) -> None:
    circuit, (x, w) = Circuit(ansatz, READOUTS[kind]), points(2, own_weights)
    expected = found(circuit, resolve("default.qubit").evaluate, x, w)
    for ours, theirs in zip(found(circuit, evaluate, x, w), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@settings(FEW, max_examples=60)
@given(drawn_circuits(), KINDS, st.booleans())
def test_float32_loses_no_more_than_its_rounding(
    ansatz: Drawn, kind: str, own_weights: bool
) -> None:
    x, w = points(3, own_weights, torch.float32)
    got = found(Circuit(ansatz, READOUTS[kind]), evaluate, x, w)
    # Every gate is at most three rotations, diagonals and permutations, each of four roundings of
    # numbers below 1, and an angle of size A is off by A roundings. The gradient sums 3 points of
    # at most 2**6 outputs, weighed by at most 1.3, over gates with factors of at most 2.
    n_gates, rounding = len(ansatz.gates) + 1, 2.0**-24
    largest = max(
        1.0, 6 * max(map(abs, FACTORS)) * torch.cat((x.flatten(), w.flatten())).abs().max().item()
    )
    limit = n_gates * (12 + largest) * rounding
    outputs, to_x, to_w = reference(ansatz, kind, x, w)
    torch.testing.assert_close(got[0], outputs, atol=limit, rtol=0)
    for ours, theirs in ((got[1], to_x), (got[2], to_w)):
        torch.testing.assert_close(ours, theirs, atol=limit * 2 * n_gates * 3 * 1.3, rtol=0)
