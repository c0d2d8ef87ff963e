"""What a step of `SuperpositionalAdam` does with one batch of parameters."""

from dataclasses import dataclass, field

from torch import Tensor

from hybridq.optim._superpositional.adam import Batch, adam_update, decayed_gradients
from hybridq.optim._superpositional.diagnosis import Tally
from hybridq.optim._superpositional.q_term import QTerm

__all__ = ["BatchUpdate"]


@dataclass
class BatchUpdate:
    """The update of a batch, prepared so far that nothing in it can fail.

    Args:
        batch: The batch.
        term: The entries that are perturbed. None where the update is Adam's.
        factors: The factors f of these entries, from the parameters before the step (SPEC S17).
        strength: The number lambda.
    """

    batch: Batch
    term: QTerm | None = None
    factors: list[Tensor] = field(default_factory=list)
    strength: float = 0.0

    def apply(self, tally: Tally | None) -> None:
        """Update the batch.

        Args:
            tally: The sums for the record of the step, or None.
        """
        batch = self.batch
        if tally is not None:
            tally.begin(batch, self.factors)
        decayed_gradients(batch)
        if self.term is None:
            adam_update(batch)
        elif batch.group["acts_on"] == "moments":
            self._feed_moments(self.term, tally)
        else:
            self._perturb_update(self.term, tally)
        if tally is not None:
            tally.end(batch)
        for rounded, param in zip(batch.rounded, batch.params, strict=False):
            rounded.copy_(param)

    def _feed_moments(self, term: QTerm, tally: Tally | None) -> None:
        """Feed g + lambda Q to Adam (SPEC S15)."""
        alone = [] if tally is None else term.gradients(self.batch)
        added = term.feed(self.batch, self.factors, self.strength)
        adam_update(self.batch)
        if tally is not None:
            tally.compare(alone, added)

    def _perturb_update(self, term: QTerm, tally: Tally | None) -> None:
        """Add lambda Q to the step of Adam (SPEC S1)."""
        adam_update(self.batch)
        alone = [] if tally is None else term.steps(self.batch)
        added = term.deltas(self.batch, self.factors, self.strength)
        term.add_(self.batch, added)
        if tally is not None:
            tally.compare(alone, added)
