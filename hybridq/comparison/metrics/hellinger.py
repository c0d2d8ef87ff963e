"""The Hellinger distance."""

import numpy as np

from hybridq.comparison.measuring import Array
from hybridq.comparison.metrics._distance import AbstractDistance

__all__ = ["Hellinger"]


class Hellinger(AbstractDistance):
    """The square root of 1 - sum of sqrt(p q) over the bit strings."""

    name = "hellinger"
    title = "Hellinger distance"
    order = 30
    console = ""
    explanation = (
        "**Hellinger distance**: another distance of two distributions, which weighs rare outcomes "
        "more.",
    )

    def between(self, p: Array, q: Array) -> Array:
        """Compute the distance, shape (...), of probabilities p and q, shape (..., 2**n)."""
        return np.asarray(np.sqrt(np.clip(1 - np.sqrt(p * q).sum(-1), 0, None)))

    def columns(self) -> tuple[str, ...]:
        """Return the short heading of the table."""
        return ("Hellinger",)
