"""A backend and the reference, measured at the same points."""

from dataclasses import dataclass
from functools import cached_property

from hybridq.comparison.measuring import Array, Measurement

__all__ = ["Pair"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two measurements at the same points, and the observables that are read from both.

    Args:
        backend: The measurement that is judged.
        reference: The measurement that it is compared with.
        matrix: The observables, a linear map of the probabilities, shape (observables, 2**n).
    """

    backend: Measurement
    reference: Measurement
    matrix: Array

    @property
    def exact(self) -> bool:
        """Whether neither carries shot noise."""
        return self.backend.exact and self.reference.exact

    @property
    def mitigated(self) -> bool:
        """Whether the backend mitigated errors and reports its own covariances."""
        return self.backend.covariances is not None

    @cached_property
    def common(self) -> Array:
        """The common probabilities if there is no difference, shape (points, 2**n).

        They are the mean of both, weighted by their shots, or those of the exact one.
        """
        ours = self.backend.effective_shots(self.matrix)
        theirs = self.reference.effective_shots(self.matrix)
        if theirs is None:
            return self.reference.distributions
        if ours is None:
            return self.backend.distributions
        share = ours / (ours + theirs)
        return share * self.backend.distributions + (1 - share) * self.reference.distributions
