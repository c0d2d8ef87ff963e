"""What metrics that are a distance of two distributions have in common."""

from abc import abstractmethod
from dataclasses import replace

from hybridq.comparison.distances import Distance
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
        """Return the mean over the points, its interval, and what shot noise alone gives."""
        return replace(evidence.distances[self.name], name=self.columns()[0])

    def estimate(self, value: Distance) -> Estimate:
        """Return the distance."""
        return value.estimate
