"""The total variation distance."""

import numpy as np

from hybridq.comparison.distances import Distance
from hybridq.comparison.measuring import Array
from hybridq.comparison.metrics._distance import AbstractDistance
from hybridq.comparison.notation import percent
from hybridq.comparison.subjects import Subject
from hybridq.comparison.verdicts import Kind

__all__ = ["TotalVariation"]


class TotalVariation(AbstractDistance):
    """Half the sum of |p - q| over the bit strings.

    This is how much more often any event can happen than it should, at most.
    """

    name = "total_variation"
    title = "total variation distance"
    order = 20
    console = "total variation"
    explanation = (
        "**Total variation distance**: how much more often some event happens than it should, at "
        "most. Shots make every distance larger than 0 on any backend; the grey bars show by how "
        "much (95 % of simulated repetitions). The intervals are of the distance without the "
        "shots.",
    )

    def between(self, p: Array, q: Array) -> Array:
        """Compute the distance, shape (...), of probabilities p and q, shape (..., 2**n)."""
        return np.asarray(np.abs(p - q).sum(-1) / 2)

    def p_values(self, value: Distance, *, mitigated: bool) -> tuple[float, ...]:
        """Return the test of the distributions; not of mitigated ones, whose noise is estimated."""
        return () if value.p is None or mitigated else (value.p,)

    def columns(self) -> tuple[str, ...]:
        """Return the short heading of the table."""
        return ("total variation",)

    def sentences(self, value: Distance, kind: Kind, subject: Subject) -> tuple[str, ...]:
        """Say how far apart the distributions are, and what shots alone make of it."""
        del subject
        if kind == "equal":
            return ()
        if value.alone is None or value.p is None:
            differ = f"The probability of an event differs by up to {value.value:.3f}"
            return (f"{differ}, on average over the points.",)
        return (
            f"The total variation distance is {value.value:.3f}, where {value.alone.mean:.3f} is "
            f"what shots alone make on average, and as much in {percent(value.p, 1)} of cases.",
        )
