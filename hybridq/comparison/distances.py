"""Distances of a backend from the reference, beside those that shot noise alone gives.

A distance is never negative, so shots alone make one where there is none: its mean under shot noise
grows with the number of bit strings and falls with the square root of the shots. Hence each is
shown beside the distance that a backend without any deviation would give with as many shots. This
is a parametric bootstrap from the common probabilities c.

The interval comes from inverting that test. Along the line c + scale (p - c) through the measured
probabilities p, it holds the true distances for which the measured one lies between the 2.5 % and
the 97.5 % quantile. A bootstrap around p itself would add the noise a second time and never reach
0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybridq.comparison.estimates import Estimate, NoiseFloor
from hybridq.comparison.measuring import Array
from hybridq.comparison.pairs import Pair
from hybridq.seeding import derive

__all__ = ["Distance", "Resampling", "Statistic", "distances", "redraw", "root_mean_square"]

Statistic = Callable[[Array, Array], Array]
_CHUNK = 2**22  # numbers that are drawn at once
_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Resampling:
    """How shots are drawn again in simulation.

    Args:
        draws: The number of simulated repetitions.
        seed: The source of randomness.
    """

    draws: int
    seed: int

    def of(self, *path: str | int) -> "Resampling":
        """Return the same with an independent seed that the path names."""
        return Resampling(self.draws, derive(self.seed, *path))


@dataclass(frozen=True)
class Distance:
    """A distance of a backend from the reference.

    Args:
        name: The name of the distance.
        value: The distance as measured.
        interval: The 95 % interval of the true distance, without shots; None if both are exact.
        alone: The distance that shot noise alone gives; None if both are exact.
        p: The share of draws from shot noise alone that are as large; None if both are exact.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    alone: NoiseFloor | None = None
    p: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The distance as tables and plots show it."""
        return Estimate(self.value, self.interval, self.alone)


def root_mean_square(difference: Array) -> Array:
    """Return the root of the mean square over the last dimension."""
    return np.asarray(np.sqrt((difference**2).mean(-1)))


def redraw(probabilities: Array, shots: float | None, resampling: Resampling) -> Array:
    """Draw the frequencies that shots would give.

    Args:
        probabilities: The probabilities of the bit strings, shape (points, 2**n).
        shots: The shots of each point; None gives the probabilities themselves.
        resampling: The number of draws, and the seed.

    Returns:
        The frequencies, shape (draws, points, 2**n).
    """
    if shots is None:
        return np.broadcast_to(probabilities, (resampling.draws, *probabilities.shape))
    count = max(1, round(shots))
    rng = np.random.default_rng(resampling.seed)
    drawn = rng.multinomial(count, probabilities, (resampling.draws, len(probabilities)))
    return np.asarray(drawn / count)


def distances(
    measured: dict[str, float], statistic: Statistic, pair: Pair, resampling: Resampling
) -> list[Distance]:
    """Give measured distances their intervals, and add what shot noise alone gives.

    Args:
        measured: The measured distances, by name.
        statistic: The function that makes all of them, shape (..., distances), of two arrays of
            probabilities, shape (..., points, 2**n).
        pair: The backend and the reference. The variance of error mitigation is that of their
            observables.
        resampling: The number of draws for each scale, and the seed.

    Returns:
        The distances, in the order of their names.
    """
    if pair.exact:
        return [Distance(name, value) for name, value in measured.items()]
    truths, draws = [], []
    for scale in _SCALES:
        ours = _along(pair.common, pair.backend.distributions, scale)
        theirs = _along(pair.common, pair.reference.distributions, scale)
        truths.append(statistic(ours, theirs))
        scaled_seed = resampling.of("scale", str(scale))
        draws.append(_resample(statistic, ours, theirs, pair, scaled_seed))
    true = np.array(truths)  # (scales, distances)
    drawn = np.array(draws)  # (scales, draws, distances)
    quantiles = np.quantile(drawn, [0.025, 0.975], axis=1)
    lowest, highest = np.maximum.accumulate(quantiles, axis=1)  # (scales, distances) each
    results = []
    for number, (name, value) in enumerate(measured.items()):
        low = float(np.interp(value, highest[:, number], true[:, number]))
        high = float(np.interp(value, lowest[:, number], true[:, number]))
        null = drawn[0, :, number]
        p = (1 + int((null >= value).sum())) / (1 + resampling.draws)
        results.append(Distance(name, value, (low, high), NoiseFloor.of(null), p))
    return results


def _along(common: Array, probabilities: Array, scale: float) -> Array:
    """Return the distributions on the line from the common ones through others."""
    line = np.clip(common + scale * (probabilities - common), 0, None)
    return np.asarray(line / line.sum(1, keepdims=True))


def _resample(
    statistic: Statistic, ours: Array, theirs: Array, pair: Pair, resampling: Resampling
) -> Array:
    """Return the statistic of shots drawn from given probabilities, shape (draws, distances)."""
    our_shots = pair.backend.effective_shots(pair.matrix)
    their_shots = pair.reference.effective_shots(pair.matrix)
    step = max(1, _CHUNK // ours.size)
    parts = []
    for start in range(0, resampling.draws, step):
        size = min(step, resampling.draws - start)
        first = Resampling(size, derive(resampling.seed, "backend", start))
        second = Resampling(size, derive(resampling.seed, "reference", start))
        parts.append(statistic(redraw(ours, our_shots, first), redraw(theirs, their_shots, second)))
    return np.concatenate(parts)
