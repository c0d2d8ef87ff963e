"""A number with its interval, beside the number that shot noise alone gives."""

from dataclasses import dataclass

import numpy as np

from hybridq.comparison.measuring import Array

__all__ = ["Estimate", "NoiseFloor"]


@dataclass(frozen=True)
class NoiseFloor:
    """The distribution of a number for a backend that differs by nothing but its shots.

    Args:
        mean: The mean.
        low: The 2.5 % quantile.
        high: The 97.5 % quantile.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Array) -> "NoiseFloor":
        """Summarize simulated draws, shape (draws,)."""
        low, high = np.quantile(draws, [0.025, 0.975])
        return cls(float(draws.mean()), float(low), float(high))


@dataclass(frozen=True)
class Estimate:
    """A number as tables, plots and the console show it.

    Args:
        value: The number as measured.
        interval: Its 95 % interval; None without one.
        noise_floor: The number that shot noise alone gives; None without shots.
    """

    value: float
    interval: tuple[float, float] | None = None
    noise_floor: NoiseFloor | None = None
