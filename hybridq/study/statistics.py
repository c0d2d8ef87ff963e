"""Means with intervals, and comparisons of two groups of seeds."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats

from hybridq.errors import InvalidArgument

__all__ = ["GroupDifference", "Summary", "paired", "summarize", "welch"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """The mean of some seeds, and its uncertainty.

    Args:
        n: The number of seeds that gave a number.
        mean: The mean of these numbers; None if there are none.
        sd: Their standard deviation (n - 1 in the denominator); None for fewer than two.
        interval: The 95 % interval of the mean by Student's t; None for fewer than two.
        missing: The number of seeds that gave none, such as a level that was never reached. The
            mean is then that of the others only.
    """

    n: int
    mean: float | None
    sd: float | None = None
    interval: tuple[float, float] | None = None
    missing: int = 0

    def text(self, digits: int = 2, percent: bool = False) -> str:
        """Write the summary for a table, for example "4.60 ± 0.50 [4.08, 5.12]".

        The text says how many seeds there were where this is not the usual case.

        Args:
            digits: The decimals.
            percent: Multiply by 100 and write a percent sign.

        Returns:
            One line.

        Example:
            >>> summarize([0.9, 0.92, 0.94]).text(1, percent=True)
            '92.0 ± 2.0 % [87.0, 97.0]'
            >>> summarize([4.5]).text(), summarize([4.5, None]).text(), summarize([None]).text()
            ('4.50 (one seed, no interval)', '4.50 (1 of 2 seeds)', 'never (0 of 1 seeds)')
        """
        of_all = f" ({self.n} of {self.n + self.missing} seeds)" if self.missing else ""
        if self.mean is None:
            return f"never{of_all}"
        scale, unit = (100, " %") if percent else (1, "")
        mean = f"{scale * self.mean:.{digits}f}"
        if self.sd is None or self.interval is None:
            return f"{mean}{unit}{of_all or ' (one seed, no interval)'}"
        low, high = (f"{scale * bound:.{digits}f}" for bound in self.interval)
        return f"{mean} ± {scale * self.sd:.{digits}f}{unit} [{low}, {high}]{of_all}"


@dataclass(frozen=True)
class GroupDifference:
    """The difference of two groups of seeds.

    Args:
        kind: "welch" for independent groups, "paired" for the same seeds in the same order.
        difference: The mean of the first group minus that of the second; None where a group has
            none.
        interval: The 95 % interval of the difference; None where n is too small.
        p: The two-sided p-value; None where n is too small or nothing varies.
        n: The number of seeds of each group.
        note: The reason why one of these is None; empty if none is.
    """

    kind: Literal["welch", "paired"]
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    n: tuple[int, int]
    note: str = ""

    @property
    def is_significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p is not None and self.p < 1 - CONFIDENCE


def summarize(values: Sequence[float | None]) -> Summary:
    """Summarize the numbers of some seeds.

    The interval is mean ± t(0.975, n - 1) sd / sqrt(n).

    Args:
        values: One number per seed; None where a seed has none.

    Returns:
        The summary. For one number it has no interval, and says so.

    Raises:
        InvalidArgument: If there are no seeds at all, or a number is not finite.

    Example:
        >>> summary = summarize([1.0, 2.0, 3.0])
        >>> summary.mean, summary.sd, [round(bound, 3) for bound in summary.interval]
        (2.0, 1.0, [-0.484, 4.484])
    """
    numbers = [float(value) for value in values if value is not None]
    _check("values", numbers)
    if not values:
        raise InvalidArgument.of("values", values, "give at least one seed")
    n, missing = len(numbers), len(values) - len(numbers)
    if n == 0:
        return Summary(0, None, missing=missing)
    mean = math.fsum(numbers) / n
    if n == 1:
        return Summary(1, mean, missing=missing)
    sd = float(np.std(numbers, ddof=1))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, (mean - half, mean + half), missing)


def welch(a: Sequence[float | None], b: Sequence[float | None]) -> GroupDifference:
    """Compare two independent groups of seeds by Welch's t-test.

    Args:
        a: One number per seed of the first group.
        b: One number per seed of the second group.

    Returns:
        The difference mean(a) - mean(b), its 95 % interval and the p-value.

    Raises:
        InvalidArgument: If a group is empty or a number is not finite.

    Example:
        >>> result = welch([4.4, 4.6, 4.8], [7.2, 7.4, 7.6])
        >>> round(result.difference, 2), result.is_significant
        (-2.8, True)
    """
    first, second, note = _numbers(a, b)
    sizes = (len(a), len(b))
    if note:
        return GroupDifference("welch", None, None, None, sizes, note)
    difference = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    if min(sizes) < 2:
        note = "a group of one seed has no spread: no interval, no p"
    elif _is_constant(first) and _is_constant(second):
        note = "neither group varies: no interval, no p"
    if note:
        return GroupDifference("welch", difference, None, None, sizes, note)
    with warnings.catch_warnings():
        # scipy doubts a group that does not vary; beside one that does, its variance of zero is
        # right.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        test = scipy.stats.ttest_ind(first, second, equal_var=False)
    bounds = test.confidence_interval(CONFIDENCE)
    interval = (float(bounds.low), float(bounds.high))
    return GroupDifference("welch", difference, interval, float(test.pvalue), sizes)


def paired(a: Sequence[float | None], b: Sequence[float | None]) -> GroupDifference:
    """Compare two groups that used the same seeds in the same order, by a paired t-test.

    Args:
        a: One number per seed of the first group.
        b: One number per seed of the second group, in the same order.

    Returns:
        The mean of the differences a_i - b_i, its 95 % interval and the p-value.

    Raises:
        InvalidArgument: If the groups differ in size, are empty, or a number is not finite.
    """
    if len(a) != len(b):
        way_out = f"it must have as many as the first group, {len(a)}"
        raise InvalidArgument.that("b", f"holds {len(b)} seeds", way_out)
    first, second, note = _numbers(a, b)
    sizes = (len(a), len(b))
    if note:
        return GroupDifference("paired", None, None, None, sizes, note)
    differences = [x - y for x, y in zip(first, second, strict=True)]
    difference = math.fsum(differences) / len(differences)
    if len(differences) < 2:
        note = "one pair of seeds has no spread: no interval, no p"
    elif _is_constant(differences):
        note = "all pairs differ by the same: no interval, no p"
    if note:
        return GroupDifference("paired", difference, None, None, sizes, note)
    test = scipy.stats.ttest_1samp(differences, 0.0)
    bounds = test.confidence_interval(CONFIDENCE)
    interval = (float(bounds.low), float(bounds.high))
    return GroupDifference("paired", difference, interval, float(test.pvalue), sizes)


def _numbers(
    a: Sequence[float | None], b: Sequence[float | None]
) -> tuple[list[float], list[float], str]:
    groups = []
    notes = []
    for argument, values in (("a", a), ("b", b)):
        numbers = [float(value) for value in values if value is not None]
        if not values:
            raise InvalidArgument.of(argument, values, "give at least one seed")
        _check(argument, numbers)
        if len(numbers) < len(values):
            place = "first" if argument == "a" else "second"
            missing = f"{len(values) - len(numbers)} of {len(values)} seeds"
            notes.append(f"{missing} of the {place} group have no number")
        groups.append(numbers)
    return groups[0], groups[1], f"not compared: {' and '.join(notes)}" if notes else ""


def _check(argument: str, numbers: Sequence[float]) -> None:
    for number in numbers:
        if not math.isfinite(number):
            reason = "give finite numbers, and None for a seed that has none"
            raise InvalidArgument.of(argument, number, reason)


def _is_constant(numbers: Sequence[float]) -> bool:
    # Below this spread a t-test divides rounding errors by rounding errors; scipy warns at the same
    # bound.
    return float(np.ptp(numbers)) <= 1e-12 * max(1e-300, *(abs(number) for number in numbers))
