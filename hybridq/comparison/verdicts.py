"""What the numbers say, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hybridq.comparison.accuracy import Paired
from hybridq.comparison.deviations import Z95, Deviations
from hybridq.comparison.distances import Distance

__all__ = ["LEVEL", "Verdict", "combined_p", "percent", "signed", "small_p", "verdict"]

LEVEL = 0.05
Kind = Literal["reference", "equal", "within shot noise", "beyond shot noise", "different"]


@dataclass(frozen=True)
class Verdict:
    """The judgement of one backend.

    Args:
        kind: "equal" and "different" are said of exact backends, where no test is needed.
        sentences: Why, and what it does to the model.
        p: What `combined_p` gives, by Holm's method for all backends together; None without a test.
    """

    kind: Kind
    sentences: tuple[str, ...]
    p: float | None = None


def combined_p(found: Deviations, distribution: Distance, mitigated: bool) -> float | None:
    """One p-value of three tests, by Bonferroni's correction.

    The tests are of all outputs together, of the single output that deviates most, and of the
    distributions; each sees what the others miss. Of mitigated probabilities the noise is known too
    roughly for the last.

    Args:
        found: The deviations.
        distribution: The mean total variation distance.
        mitigated: Whether errors were mitigated.

    Returns:
        None if both are exact.
    """
    if found.p is None or distribution.p is None:
        return None
    tests = [found.p, float(found.p_holm.min())] + ([] if mitigated else [distribution.p])
    return min(1.0, len(tests) * min(tests))


def verdict(
    found: Deviations,
    p: float | None,
    names: tuple[Sequence[str], Sequence[str]],
    tv: Distance,
    paired: Paired | None,
) -> Verdict:
    """Judge a backend.

    Args:
        found: Its deviations.
        p: What `combined_p` gives, corrected for the number of backends; None if both are exact.
        names: Of the points, and of the observables.
        tv: The mean total variation distance.
        paired: What becomes of the model; None without one.
    """
    model = () if paired is None else (_model(paired),)
    if p is None and found.is_rounding:
        return Verdict("equal", ("It gives what the reference gives, to rounding.", *model))
    largest = f"The largest deviation is {_largest(found, names)}."
    if p is None or tv.p is None or tv.alone is None:
        distance = f"The probability of an event differs by up to {tv.value:.3f}, on average over the points."
        return Verdict(
            "different", (f"Both are exact, and they differ. {largest}", distance, *model)
        )
    test = f"\u03c7\u00b2 = {found.chi2:.0f} for {found.degrees} degrees of freedom, {small_p(found.p or 0.0)}"
    alone = f"{tv.alone.mean:.3f} is what shots alone make on average, and as much in {percent(tv.p, 1)} of cases"
    distance = f"The total variation distance is {tv.value:.3f}, where {alone}."
    if p >= LEVEL:
        return Verdict(
            "within shot noise",
            (f"No deviation beyond shot noise was found ({test}).", distance, *model),
            p,
        )
    count = (
        f"{found.n_significant} of {found.values.size} outputs deviate significantly one by one."
    )
    beyond = f"It deviates by more than shot noise ({test}). {count}"
    return Verdict("beyond shot noise", (beyond, largest, distance, *model), p)


def small_p(p: float) -> str:
    """Write a p-value.

    Example:
        >>> small_p(0.04321), small_p(1e-9)
        ('p = 0.043', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, and a true minus."""
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def percent(part: float, digits: int) -> str:
    """Write a part of one in percent."""
    if 0 < part < 0.5 * 10.0 ** -(digits + 2):
        return f"less than {10.0**-digits:.{digits}f} %"
    return f"{100 * part:.{digits}f} %"


def _largest(found: Deviations, names: tuple[Sequence[str], Sequence[str]]) -> str:
    point, observable = found.largest
    error = Z95 * float(found.errors[point, observable])
    interval = f" ± {error:.3f}" if error else ""
    where = f" at {names[0][point]}" if names[0][point] else ""
    return f"{signed(float(found.values[point, observable]), 3)}{interval} in {names[1][observable]}{where}"


def _model(paired: Paired) -> str:
    accuracy = percent(paired.accuracy, 1)
    if not paired.changed:
        return f"The model classifies all {paired.examples:,} examples as on the reference, {accuracy} of them rightly."
    interval = " to ".join(signed(100 * bound, 2) for bound in paired.difference_interval)
    told = (
        "a difference that chance does not explain"
        if paired.p < LEVEL
        else "no difference can be told from chance"
    )
    return (
        f"{paired.changed} of {paired.examples:,} examples change their class. The model's accuracy is {accuracy}, "
        f"{signed(100 * paired.difference, 2)} points (95 %: {interval}): {told} (McNemar's test, {small_p(paired.p)})."
    )
