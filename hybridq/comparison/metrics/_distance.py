"""What metrics that are a distance of two distributions have in common."""

from abc import abstractmethod

import numpy as np

from hybridq.comparison.distances import Distance, distances
from hybridq.comparison.estimates import Estimate
from hybridq.comparison.evidence import Evidence
from hybridq.comparison.measuring import Array
from hybridq.comparison.metrics._metric import AbstractMetric

__all__ = ["AbstractDistance"]


class AbstractDistance(AbstractMetric[Distance]):
    """A distance of two distributions of the bit strings, averaged over the points.

    A subclass needs `name`, `title`, `order` and `between`. The interval, the number that shot
    noise alone gives and everything that is shown follow from them.
    """

    @abstractmethod
    def between(self, p: Array, q: Array) -> Array:
        """Compute the distance of two distributions.

        Args:
            p: The probabilities of the bit strings, shape (..., 2**n).
            q: The probabilities of the reference, the same shape.

        Returns:
            The distance, shape (...), never negative.
        """

    def compute(self, evidence: Evidence) -> Distance:
        """Compute the mean over the points, its interval, and what shot noise alone gives."""
        pair = evidence.pair

        def mean(p: Array, q: Array) -> Array:
            return np.asarray(self.between(p, q).mean(-1, keepdims=True))

        value = float(mean(pair.backend.distributions, pair.reference.distributions)[0])
        # All distances take the same draws, so that they can be compared with each other.
        resampling = evidence.resampling("distributions")
        return distances({self.columns()[0]: value}, mean, pair, resampling)[0]

    def estimate(self, value: Distance) -> Estimate:
        """Return the distance."""
        return value.estimate
