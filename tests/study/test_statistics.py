import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from hybridq.errors import InvalidArgument
from hybridq.study.statistics import Summary, paired, summarize, welch

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


def spread(values: list[float]) -> float:
    return max(values) - min(values)


def test_a_textbook_interval() -> None:
    summary = summarize([1, 2, 3, 4, 5])
    assert (summary.n, summary.mean, summary.missing) == (5, 3.0, 0)
    assert summary.sd == pytest.approx(math.sqrt(2.5))
    half = 2.776445 * math.sqrt(2.5) / math.sqrt(5)  # t(0.975, 4) of the tables
    assert summary.interval == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_one_seed_has_no_interval_and_says_so() -> None:
    assert summarize([2.0]) == Summary(1, 2.0)
    assert summarize([2.0]).text() == "2.00 (one seed, no interval)"


def test_a_seed_without_a_number_is_counted_not_dropped() -> None:
    summary = summarize([4.0, None, 5.0])
    assert (summary.n, summary.missing, summary.mean) == (2, 1, 4.5)
    assert summary.text(1) == "4.5 ± 0.7 [-1.9, 10.9] (2 of 3 seeds)"
    assert summarize([None, None]) == Summary(0, None, missing=2)


@given(VALUES, st.floats(-50, 50), st.floats(0.1, 10))
def test_summary_moves_and_scales_with_the_values(
    values: list[float], shift: float, scale: float
) -> None:
    one, two = summarize(values), summarize([scale * v + shift for v in values])
    assert two.mean == pytest.approx(scale * one.mean + shift, abs=1e-8)
    assert two.sd == pytest.approx(scale * one.sd, abs=1e-8)
    assert one.interval[0] <= one.mean <= one.interval[1]


def test_the_interval_covers_as_often_as_it_says() -> None:
    samples = stats.norm.rvs(size=(2000, 4), random_state=0)
    hits = sum(
        low <= 0 <= high for low, high in (summarize(row.tolist()).interval for row in samples)
    )
    assert abs(hits / 2000 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 2000)


def welch_by_hand(a: list[float], b: list[float]) -> tuple[float, float, float, float]:
    def variance(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)

    va, vb = variance(a), variance(b)
    difference = sum(a) / len(a) - sum(b) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    error = math.sqrt(va + vb)
    half = stats.t.ppf(0.975, freedom) * error
    return (
        difference,
        difference - half,
        difference + half,
        2 * stats.t.sf(abs(difference) / error, freedom),
    )


@given(VALUES, VALUES)
def test_welch_is_the_formula(a: list[float], b: list[float]) -> None:
    assume(spread(a) > 1e-3 and spread(b) > 1e-3)
    test = welch(a, b)
    difference, low, high, p = welch_by_hand(a, b)
    assert test.difference == pytest.approx(difference, abs=1e-9)
    assert test.interval == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    assert test.p == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert test.n == (len(a), len(b))
    other = welch(b, a)
    assert other.difference == pytest.approx(-test.difference, abs=1e-12)
    assert other.p == pytest.approx(test.p)


@given(VALUES, st.floats(-10, 10))
def test_paired_is_the_one_sample_interval_of_the_differences(a: list[float], shift: float) -> None:
    b = [v + shift + 0.5 * (-1) ** i for i, v in enumerate(a)]
    test = paired(a, b)
    differences = summarize([x - y for x, y in zip(a, b, strict=True)])
    assert test.difference == pytest.approx(differences.mean)
    assert test.interval == pytest.approx(differences.interval)


def test_pairs_see_what_groups_do_not() -> None:
    a, b = [1.0, 5.0, 9.0], [1.1, 5.12, 9.1]
    assert paired(a, b).is_significant
    assert not welch(a, b).is_significant


def test_one_seed_gives_a_difference_and_nothing_more() -> None:
    test = welch([1.0], [2.0, 4.0])
    assert (test.difference, test.interval, test.p) == (-2.0, None, None)
    assert "one seed" in test.note
    assert not test.is_significant
    assert "one pair" in paired([1.0], [2.0]).note


@pytest.mark.parametrize("compare", [welch, paired])
def test_groups_that_do_not_vary(compare) -> None:
    test = compare([0.1 + 0.2, 0.3], [1.0, 1.0])
    assert (test.interval, test.p) == (None, None)
    assert test.difference == pytest.approx(-0.7)
    assert test.note


def test_one_group_that_does_not_vary_is_still_a_test() -> None:
    assert welch([1.0, 1.0, 1.0], [2.0, 2.1, 2.2]).is_significant


@pytest.mark.parametrize("compare", [welch, paired])
def test_a_seed_that_never_got_there_forbids_the_comparison(compare) -> None:
    test = compare([4.0, None, 5.0], [7.0, 8.0, None])
    assert (test.difference, test.interval, test.p) == (None, None, None)
    assert test.note == (
        "not compared: 1 of 3 seeds of the first group have no number and "
        "1 of 3 seeds of the second group have no number"
    )


def test_errors() -> None:
    with pytest.raises(InvalidArgument, match="values="):
        summarize([])
    with pytest.raises(InvalidArgument, match="values=nan"):
        summarize([1.0, math.nan])
    with pytest.raises(InvalidArgument, match="a="):
        welch([], [1.0])
    with pytest.raises(InvalidArgument, match="b=inf"):
        welch([1.0], [math.inf])
    with pytest.raises(InvalidArgument, match="b holds 2 seeds: "):
        paired([1.0], [1.0, 2.0])
