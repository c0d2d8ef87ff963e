"""The statistics against simulations in which the truth is known."""

import numpy as np
import pytest
import scipy.stats
import torch

from hybridq.circuits import ExpvalZ, Probabilities
from hybridq.comparison.deviations import deviations, holm
from hybridq.comparison.distances import Resampling, distances, root_mean_square
from hybridq.comparison.evidence import LogitPair
from hybridq.comparison.measuring import Cost, Measurement
from hybridq.comparison.metrics.accuracy import paired_accuracy
from hybridq.comparison.metrics.deviations import OutputDeviations
from hybridq.comparison.metrics.hellinger import Hellinger
from hybridq.comparison.metrics.logits import paired_logits
from hybridq.comparison.metrics.total_variation import TotalVariation
from hybridq.comparison.pairs import Pair
from hybridq.comparison.verdicts import combined_p

RNG = np.random.default_rng
COST = Cost(0, None, None, 0.0, None, None)
SHOTS, POINTS = 500, 6
TRUE = RNG(3).dirichlet(np.ones(8), POINTS)  # 3 qubits
Z = ExpvalZ().matrix(3).numpy()


def measured(probabilities, shots=None, seed=0, covariances=None):
    if shots is not None and covariances is None:
        probabilities = RNG(seed).multinomial(shots, probabilities) / shots
    return Measurement("x", {}, shots, probabilities, covariances, COST, "")


REFERENCE = measured(TRUE)
total_variation, hellinger = TotalVariation().between, Hellinger().between


def deviations_of(ours, theirs, matrix):
    return deviations(Pair(ours, theirs, matrix))


def verdict_p_values(found, distance, mitigated):
    """All p-values that the verdict looks at."""
    outputs = OutputDeviations().p_values(found, mitigated=mitigated)
    return [*outputs, *TotalVariation().p_values(distance, mitigated=mitigated)]


def p_values(make, matrix, n=400, reference=None):
    return np.array(
        [
            deviations_of(make(seed), reference(seed) if reference else REFERENCE, matrix).p
            for seed in range(n)
        ]
    )


@pytest.mark.parametrize(
    "matrix", [Z, Probabilities().matrix(3).numpy()], ids=["Z", "probabilities"]
)
def test_p_is_uniform_without_a_difference(matrix):
    p = p_values(lambda seed: measured(TRUE, SHOTS, seed), matrix)
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-4


def test_p_is_uniform_when_the_reference_has_shots_too():
    p = p_values(
        lambda seed: measured(TRUE, SHOTS, seed),
        Z,
        reference=lambda seed: measured(TRUE, 2 * SHOTS, 10**6 + seed),
    )
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-4


def test_degrees_of_freedom_are_the_ranks():
    ours = measured(TRUE, SHOTS)
    assert deviations_of(ours, REFERENCE, Z).degrees == 3 * POINTS
    assert (
        deviations_of(ours, REFERENCE, np.eye(8)).degrees == 7 * POINTS
    )  # probabilities add up to 1
    assert deviations_of(ours, REFERENCE, np.concatenate([Z, Z])).degrees == 3 * POINTS


def test_a_difference_is_found_and_named():
    other = TRUE.copy()
    other[2] = np.roll(other[2], 4)  # the other value of the first bit
    found = deviations_of(measured(other, 10 * SHOTS), REFERENCE, Z)
    assert found.p < 1e-6
    assert found.largest == (2, 0)
    assert found.p_holm[2, 0] < 1e-6
    assert (np.delete(found.p_holm, 2, 0) > 0.01).all()


def test_intervals_hold_the_truth_in_95_percent():
    other = RNG(5).dirichlet(np.ones(8), POINTS)
    hits = [
        np.abs(found.values - (other - TRUE) @ Z.T) < 1.959964 * found.errors
        for found in (
            deviations_of(measured(other, SHOTS, seed), REFERENCE, Z) for seed in range(200)
        )
    ]
    assert np.mean(hits) == pytest.approx(
        0.95, abs=5 * np.sqrt(0.95 * 0.05 / np.size(hits)) + 0.003
    )


def test_an_impossible_outcome_is_proof():
    sure = np.zeros((1, 8))
    sure[0, 0] = 1.0
    rare = np.array([[0.99, 0.01, 0, 0, 0, 0, 0, 0]])
    assert deviations_of(measured(sure, SHOTS), measured(sure), Z).p == 1.0
    assert deviations_of(measured(rare, SHOTS), measured(sure), Z).p == 0.0


def test_mitigation_inflates_the_noise_and_p_stays_uniform():
    inflation = 2.0
    spread = (
        inflation * (np.eye(8) * TRUE[:, None, :] - TRUE[:, :, None] * TRUE[:, None, :]) / SHOTS
    )

    def make(seed):
        rng = RNG(seed)
        noisy = np.stack([rng.multivariate_normal(p, c) for p, c in zip(TRUE, spread, strict=True)])
        return measured(
            noisy, SHOTS, covariances=spread * rng.chisquare(30, POINTS)[:, None, None] / 30
        )

    p = p_values(make, Z)
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-3
    effective = np.mean([make(seed).effective_shots(Z) for seed in range(50)])
    assert effective == pytest.approx(SHOTS / inflation, rel=0.05)


def test_mitigation_never_counts_as_less_noise_than_the_shots():
    tiny = measured(TRUE, SHOTS, covariances=np.zeros((POINTS, 8, 8)))
    assert tiny.effective_shots(Z) == pytest.approx(SHOTS)


def test_negative_probabilities_become_the_nearest_distribution():
    given = np.array([[0.7, 0.5, -0.2, 0.0]])
    found = measured(given, SHOTS, covariances=np.zeros((1, 4, 4))).distributions[0]
    np.testing.assert_allclose(found, [0.6, 0.4, 0.0, 0.0], atol=1e-12)


def test_exact_backends_need_no_test():
    found = deviations_of(measured(TRUE), REFERENCE, Z)
    assert found.is_rounding
    assert found.p is None
    assert found.chi2 is None
    assert np.isnan(found.z).all()


def test_holm_by_hand():
    p = np.array([0.01, 0.02, 0.03, 0.5])
    np.testing.assert_allclose(holm(p), [0.04, 0.06, 0.06, 0.5])
    assert holm(np.array([])).shape == (0,)


def test_distances_by_hand():
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert total_variation(p, q) == hellinger(p, q) == 1.0
    assert total_variation(p, np.array([[0.5, 0.5]])) == 0.5
    assert hellinger(p, np.array([[0.5, 0.5]])) == pytest.approx(np.sqrt(1 - np.sqrt(0.5)))
    assert root_mean_square(np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5))


def mean_tv(p, q):
    return total_variation(p, q).mean(-1)[..., None]


def tv_of(other, seed):
    ours = measured(other, SHOTS, seed)
    value = float(mean_tv(ours.distributions, TRUE)[0])
    return distances({"tv": value}, mean_tv, Pair(ours, REFERENCE, Z), Resampling(200, seed))[0]


def test_without_a_difference_the_distance_is_that_of_shots_alone():
    found = [tv_of(TRUE, seed) for seed in range(60)]
    inside = np.mean([one.alone.low <= one.value <= one.alone.high for one in found])
    assert inside > 0.85  # 95 % less 3 sigma of 60, less that of 200 draws
    assert np.mean([one.interval[0] < 1e-9 for one in found]) > 0.9
    assert np.mean([one.p for one in found]) == pytest.approx(0.5, abs=0.15)


def test_the_interval_of_a_distance_holds_the_true_one():
    other = 0.8 * TRUE + 0.2 * np.roll(TRUE, 1, axis=1)
    truth = float(mean_tv(other, TRUE)[0])
    found = [tv_of(other, seed) for seed in range(60)]
    assert (
        np.mean([one.value for one in found]) > 1.1 * truth
    )  # the bias of the shots, which the interval has not
    assert np.mean([one.interval[0] <= truth <= one.interval[1] for one in found]) > 0.85
    assert all(one.p < 0.01 for one in found)


def test_accuracy_is_paired():
    labels = torch.tensor([0] * 10)
    right, wrong = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    theirs = torch.stack([right] * 8 + [wrong] * 2).double()
    ours = torch.stack([wrong] * 3 + [right] * 5 + [right] + [wrong]).double()
    found = paired_accuracy(labels, LogitPair(ours, theirs))
    assert (found.correct, found.lost, found.gained, found.changed) == (6, 3, 1, 4)
    assert found.difference == pytest.approx(-0.2)
    assert found.p == pytest.approx(scipy.stats.binom.cdf(1, 4, 0.5) * 2)
    assert found.difference_interval[0] < -0.2 < found.difference_interval[1]
    errors = paired_logits(LogitPair(ours, theirs), Resampling(200, 0))
    assert errors.rms == pytest.approx(np.sqrt(4 / 10))
    assert errors.largest == 1.0
    same = LogitPair(theirs, theirs)
    unchanged = paired_accuracy(labels, same)
    assert (unchanged.p, unchanged.changed) == (1.0, 0)
    assert paired_logits(same, Resampling(200, 0)).rms == 0.0


def test_three_tests_make_one_p():
    apart = tv_of(TRUE, 1)
    plain = [
        combined_p(
            verdict_p_values(
                deviations_of(measured(TRUE, SHOTS, seed), REFERENCE, Z), tv_of(TRUE, seed), False
            )
        )
        for seed in range(60)
    ]
    assert np.mean(np.array(plain) < 0.2) < 0.2 + 3 * np.sqrt(
        0.2 * 0.8 / 60
    )  # Bonferroni never rejects too often
    found = deviations_of(measured(TRUE, SHOTS, 1), REFERENCE, Z)
    assert combined_p(verdict_p_values(found, apart, False)) == min(
        1.0, 3 * min(found.p, found.p_holm.min(), apart.p)
    )
    assert combined_p(verdict_p_values(found, apart, True)) == min(
        1.0, 2 * min(found.p, found.p_holm.min())
    )


def test_a_distribution_that_differs_only_in_correlations_is_found():
    even = np.full((1, 4), 0.25)
    bell = np.array([[0.5, 0.0, 0.0, 0.5]])  # both bits even, as before
    ours, theirs = measured(bell, SHOTS), measured(even)
    matrix = ExpvalZ().matrix(2).numpy()
    value = float(mean_tv(ours.distributions, even)[0])
    pair = Pair(ours, theirs, matrix)
    apart = distances({"tv": value}, mean_tv, pair, Resampling(200, 0))[0]
    assert combined_p(verdict_p_values(deviations(pair), apart, False)) < 0.05
