"""What a step of `SuperpositionalAdam` did, in plain numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybridq.optim._superpositional.adam import Batch

__all__ = ["SuperpositionalRecord", "Tally"]


@dataclass(frozen=True)
class SuperpositionalRecord:
    """What one step did, in plain numbers. `dataclasses.asdict` gives it to a log.

    All sums go over the entries that lie in this process. Where Q acts on the moments, gradients
    take the place of steps: `q_share` is ||lambda Q|| / ||g + lambda Q||, and `longer` counts the
    gradients that grew.

    Args:
        step: The largest number of updates that a parameter has had.
        update_norm: The Euclidean norm of the change of all parameters, weight decay included, in
            the units of the weights.
        q_share: ||lr lambda Q|| divided by `update_norm` (for an ascent, ||lambda Q||); 0 if
            nothing changed. If Q reverses steps, it can be larger than 1.
        n_perturbed: The number of entries in which Q was computed.
        mean_factor: The mean of the factor f (the sine) over them.
        longer: The fraction of them where Q made the step longer.
    """

    step: int
    update_norm: float
    q_share: float
    n_perturbed: int
    mean_factor: float
    longer: float


class Tally:
    """The sums of one step, from which its record is made.

    It reads numbers from the device, so it is only there if it was asked for.
    """

    def __init__(self) -> None:
        self._before: list[Tensor] = []
        self._step = 0
        self._n_perturbed = 0
        self._n_longer = 0
        self._factors = 0.0
        self._added = 0.0
        self._whole = 0.0
        self._changed = 0.0

    def begin(self, batch: Batch, factors: Sequence[Tensor]) -> None:
        """Note the parameters before the step, and the factors before they are used up."""
        self._before = [param.detach().clone() for param in batch.params]
        self._n_perturbed += sum(len(factor) for factor in factors)
        self._factors += sum(factor.double().sum().item() for factor in factors)

    def compare(self, alone: Sequence[Tensor], added: Sequence[Tensor]) -> None:
        """Note the steps, or the gradients, in the perturbed entries.

        Args:
            alone: Those of Adam alone, of each bucket.
            added: The tensors that Q adds to them.
        """
        for before, delta in zip(alone, added, strict=True):
            self._n_longer += int(((before + delta).abs() > before.abs()).sum())
            self._added += _square(delta)

    def end(self, batch: Batch) -> None:
        """Note the parameters after the step."""
        counts = [int(count.item()) for count in batch.counts]
        self._step = max([self._step, *counts])
        pairs = zip(batch.params, self._before, strict=True)
        changed = sum(_square(param.detach() - before) for param, before in pairs)
        self._changed += changed
        if batch.group["acts_on"] == "moments":
            self._whole += sum(_square(grad) for grad in batch.grads)
        else:
            self._whole += changed
        self._before = []

    def record(self) -> SuperpositionalRecord:
        """Make the record."""
        n_perturbed = self._n_perturbed
        return SuperpositionalRecord(
            step=self._step,
            update_norm=self._changed**0.5,
            q_share=(self._added / self._whole) ** 0.5 if self._whole else 0.0,
            n_perturbed=n_perturbed,
            mean_factor=self._factors / n_perturbed if n_perturbed else 0.0,
            longer=self._n_longer / n_perturbed if n_perturbed else 0.0,
        )


def _square(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).item() ** 2)
