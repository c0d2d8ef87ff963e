"""Distances between distributions, and what shot noise alone would make of them.

A distance is never negative, so shots alone make one where there is none: its mean under shot noise
grows with the number of bit strings and falls with the square root of the shots. Hence each is
shown beside what a backend without any deviation would give with as many shots: a parametric
bootstrap from the common probabilities c.

Its interval comes from turning that test round. Along the line c + scale (p - c) through what was
measured, it holds the true distances under which the measured one lies between the 2.5 % and the
97.5 % quantile. A bootstrap around p itself would add the noise a second time and never reach 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybridq.comparison.deviations import pooled
from hybridq.comparison.measuring import Array, Measurement
from hybridq.seeding import derive

__all__ = [
    "Alone",
    "Distance",
    "distances",
    "hellinger",
    "redraw",
    "root_mean_square",
    "total_variation",
]

Statistic = Callable[[Array, Array], Array]
_CHUNK = 2**22  # numbers
_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Alone:
    """What shot noise alone gives.

    Args:
        mean: Its mean.
        low: The 2.5 % quantile.
        high: The 97.5 % quantile.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array) -> "Alone":
        """Summarize draws."""
        low, high = np.quantile(values, [0.025, 0.975])
        return cls(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Distance:
    """A distance of a backend from the reference.

    Args:
        name: What it is.
        value: As measured.
        interval: The 95 % interval of the true distance, without shots; None if both are exact.
        alone: What shot noise alone gives; None if both are exact.
        p: The share of draws from shot noise alone that are as large; None if both are exact.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    alone: Alone | None = None
    p: float | None = None


def total_variation(p: Array, q: Array) -> Array:
    """Half the sum of |p - q| over the bit strings: how much more often any event can happen; shape (..., points)."""
    return np.asarray(np.abs(p - q).sum(-1) / 2)


def hellinger(p: Array, q: Array) -> Array:
    """The square root of 1 - sum of sqrt(p q) over the bit strings; shape (..., points)."""
    return np.asarray(np.sqrt(np.clip(1 - np.sqrt(p * q).sum(-1), 0, None)))


def root_mean_square(difference: Array) -> Array:
    """The root of the mean square over the last dimension."""
    return np.asarray(np.sqrt((difference**2).mean(-1)))


def redraw(probabilities: Array, shots: float | None, size: int, seed: int) -> Array:
    """Draw frequencies that shots would give.

    Args:
        probabilities: Shape (points, 2**n).
        shots: Shots of each point; None gives the probabilities themselves.
        size: How many draws.
        seed: The source of randomness.

    Returns:
        Shape (size, points, 2**n).
    """
    if shots is None:
        return np.broadcast_to(probabilities, (size, *probabilities.shape))
    count = max(1, round(shots))
    drawn = np.random.default_rng(seed).multinomial(
        count, probabilities, (size, len(probabilities))
    )
    return np.asarray(drawn / count)


def distances(
    measured: dict[str, float],
    statistic: Statistic,
    pair: tuple[Measurement, Measurement],
    matrix: Array,
    resamples: int,
    seed: int,
) -> list[Distance]:
    """Give distances their intervals, and say what shot noise alone gives.

    Args:
        measured: The distances that were measured, by name.
        statistic: Makes them, shape (..., distances), of two arrays of probabilities, shape (...,
            points, 2**n).
        pair: The backend and the reference.
        matrix: The observables that the variance of error mitigation is taken from, shape
            (observables, 2**n).
        resamples: How many times shots are drawn, for each scale.
        seed: The source of randomness.
    """
    backend, reference = pair
    if backend.exact and reference.exact:
        return [Distance(name, value) for name, value in measured.items()]
    common = pooled(backend, reference, matrix)
    truths, draws = [], []
    for scale in _SCALES:
        scaled = [_along(common, one.distributions, scale) for one in pair]
        truths.append(statistic(*scaled))
        draws.append(
            _resample(
                statistic, scaled, pair, matrix, (resamples, derive(seed, "scale", str(scale)))
            )
        )
    true, drawn = (
        np.array(truths),
        np.array(draws),
    )  # (scales, distances), (scales, resamples, distances)
    lowest, highest = np.maximum.accumulate(np.quantile(drawn, [0.025, 0.975], axis=1), axis=1)
    results = []
    for number, (name, value) in enumerate(measured.items()):
        low, high = (
            float(np.interp(value, bound[:, number], true[:, number]))
            for bound in (highest, lowest)
        )
        null = drawn[0, :, number]
        p = (1 + int((null >= value).sum())) / (1 + resamples)
        results.append(Distance(name, value, (low, high), Alone.of(null), p))
    return results


def _along(common: Array, probabilities: Array, scale: float) -> Array:
    """The distributions on the line from the common ones through others."""
    line = np.clip(common + scale * (probabilities - common), 0, None)
    return np.asarray(line / line.sum(1, keepdims=True))


def _resample(
    statistic: Statistic,
    probabilities: list[Array],
    pair: tuple[Measurement, Measurement],
    matrix: Array,
    plan: tuple[int, int],
) -> Array:
    """The statistic of shots drawn from given probabilities, shape (resamples, distances)."""
    resamples, seed = plan
    step = max(1, _CHUNK // probabilities[0].size)
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = [
            redraw(p, measurement.effective_shots(matrix), size, derive(seed, side, start))
            for side, p, measurement in zip(
                ("backend", "reference"), probabilities, pair, strict=True
            )
        ]
        parts.append(statistic(*drawn))
    return np.concatenate(parts)
