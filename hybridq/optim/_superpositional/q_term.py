"""The perturbation Q, computed and applied in the chosen entries only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hybridq.optim._perturbations import AbstractPerturbation
from hybridq.optim._superpositional.adam import Batch, Corrections, denominators
from hybridq.optim._superpositional.entries import Slot

__all__ = ["BatchKey", "KeptTerm", "QTerm"]

# The largest number of entries that are joined into one tensor: 128 KB of float32, of which the
# cache of a core holds a few.
_BUCKET = 2**15


class _Members(NamedTuple):
    """Some tensors of a batch with chosen entries."""

    positions: list[int]
    """The position of each in the batch."""
    slots: list[Slot]
    """The chosen entries of each."""


class _Bucket:
    """The chosen entries of some tensors of a batch, joined.

    Views of the entries are kept, because making them costs as much as Q itself.

    Args:
        batch: The batch.
        members: The tensors.
    """

    def __init__(self, batch: Batch, members: _Members) -> None:
        self.members = members.positions
        self.slots = members.slots
        self.places = [
            batch.places[member]._replace(part=slot.part)
            for member, slot in zip(self.members, self.slots, strict=True)
        ]
        self.sizes = [slot.count for slot in self.slots]
        self.thetas = self._views(batch.params)
        self.exp_avgs = self._views(batch.exp_avgs)
        self.exp_avg_sqs = self._views(batch.exp_avg_sqs)

    def _views(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        return [
            slot.view(tensors[member])
            for slot, member in zip(self.slots, self.members, strict=True)
        ]

    def read(self, tensors: Sequence[Tensor], views: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the entries of each tensor: its view, or a copy where there is none."""
        return [
            self.slots[position].take(tensors[self.members[position]]) if view is None else view
            for position, view in enumerate(views)
        ]

    def joined(
        self, tensors: Sequence[Tensor], views: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Return the entries of all tensors, shape (sum of sizes,).

        It may be a view, so do not write to it.
        """
        parts = self.read(tensors, views or [None] * len(self.members))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def corrections(self, batch: Batch) -> Corrections:
        """Return the bias corrections.

        There is one for each entry if the steps must not be read, else one for all.
        """
        if batch.step is not None:
            return Corrections.of(batch.group, batch.step)
        counts = [
            batch.counts[member].expand(size)
            for member, size in zip(self.members, self.sizes, strict=True)
        ]
        return Corrections.of(batch.group, torch.cat(counts).to(batch.params[0].dtype))

    def add_(self, tensors: Sequence[Tensor], delta: Tensor) -> None:
        """Add `delta`, joined, to the entries of `tensors`, one by one."""
        parts = torch.split(delta, self.sizes)
        for member, slot, part in zip(self.members, self.slots, parts, strict=True):
            slot.add_(tensors[member], part)

    def add_to_params_(self, batch: Batch, delta: Tensor) -> None:
        """Add `delta`, joined, to the entries of the parameters."""
        views = [view for view in self.thetas if view is not None]
        if len(views) < len(self.thetas):
            self.add_(batch.params, delta)
        elif batch.foreach:
            torch._foreach_add_(views, torch.split(delta, self.sizes))
        else:
            for view, part in zip(views, torch.split(delta, self.sizes), strict=True):
                view.add_(part)


class QTerm:
    """The entries of one batch that are perturbed.

    Args:
        batch: The batch.
        slots: The slots of its tensors, None where there is nothing to do.
    """

    def __init__(self, batch: Batch, slots: Sequence[Slot | None]) -> None:
        self._buckets = [_Bucket(batch, members) for members in _fill(slots)]

    @staticmethod
    def pointers(batch: Batch) -> list[list[int]]:
        """Return the addresses of the tensors of a batch.

        The kept views keep the memory alive, so no other tensor can move in there.
        """
        return [
            [tensor.data_ptr() for tensor in tensors]
            for tensors in (batch.params, batch.exp_avgs, batch.exp_avg_sqs)
        ]

    def factors(self, batch: Batch, perturbation: AbstractPerturbation, step: int) -> list[Tensor]:
        """Return the factors f of each bucket, from the parameters as they are now."""
        return [
            perturbation.factors(bucket.read(batch.params, bucket.thetas), step, bucket.places)
            for bucket in self._buckets
        ]

    def gradients(self, batch: Batch) -> list[Tensor]:
        """Copy the gradients in the chosen entries, of each bucket."""
        return [bucket.joined(batch.grads).clone() for bucket in self._buckets]

    def feed(self, batch: Batch, factors: Sequence[Tensor], strength: float) -> list[Tensor]:
        """Replace g by g + lambda f g in the batch, not in the `grad` of parameters (SPEC S15).

        Args:
            batch: The batch.
            factors: The factors of each bucket, which are overwritten.
            strength: The number lambda.

        Returns:
            The tensors that were added, of each bucket.
        """
        deltas = []
        for bucket, factor in zip(self._buckets, factors, strict=True):
            delta = factor.mul_(bucket.joined(batch.grads)).mul_(strength)
            for member in bucket.members:
                batch.grads[member] = batch.grads[member].clone()
            bucket.add_(batch.grads, delta)
            deltas.append(delta)
        return deltas

    def steps(self, batch: Batch) -> list[Tensor]:
        """Return the steps that Adam alone does in the chosen entries, of each bucket."""
        steps = []
        for bucket in self._buckets:
            corrections = bucket.corrections(batch)
            exp_avg = bucket.joined(batch.exp_avgs)
            exp_avg_sq = bucket.joined(batch.exp_avg_sqs)
            divisor = denominators(exp_avg_sq, batch.group, corrections)
            steps.append(exp_avg / divisor * (-batch.lr / corrections.first))
        return steps

    def deltas(self, batch: Batch, factors: Sequence[Tensor], strength: float) -> list[Tensor]:
        """Return -lr lambda Q, or lambda Q for an ascent (SPEC S1), of each bucket.

        Args:
            batch: The batch.
            factors: The factors of each bucket, which are overwritten.
            strength: The number lambda.
        """
        group = batch.group
        weight = strength if group["bracket"] == "ascent" else -batch.lr * strength
        deltas = []
        for bucket, factor in zip(self._buckets, factors, strict=True):
            if group["scale"] == "raw" and group["raw_gradient"] == "current":  # SPEC S5, S12
                deltas.append(factor.mul_(bucket.joined(batch.grads)).mul_(weight))
                continue
            corrections = bucket.corrections(batch)
            exp_avg = bucket.joined(batch.exp_avgs, bucket.exp_avgs)
            if group["differentiable"]:
                # Autograd keeps the average, and the next step writes to it.
                exp_avg = exp_avg.clone()
            delta = factor.mul_(exp_avg).mul_(weight / corrections.first)
            if group["scale"] == "normalized":
                exp_avg_sq = bucket.joined(batch.exp_avg_sqs, bucket.exp_avg_sqs)
                delta.div_(denominators(exp_avg_sq, group, corrections))
            deltas.append(delta)
        return deltas

    def add_(self, batch: Batch, deltas: Sequence[Tensor]) -> None:
        """Add `deltas`, one of each bucket, to the parameters."""
        for bucket, delta in zip(self._buckets, deltas, strict=True):
            bucket.add_to_params_(batch, delta)


class BatchKey(NamedTuple):
    """A batch of parameters, from one step to the next."""

    group: int
    """The position of the parameter group."""
    number: int
    """The number of the batch in the group."""


@dataclass(frozen=True)
class KeptTerm:
    """A term of the last step, which serves again if the tensors are still where they were.

    Args:
        pointers: The addresses of the tensors, from `QTerm.pointers`.
        term: The term.
    """

    pointers: list[list[int]]
    term: QTerm


def _fill(slots: Sequence[Slot | None]) -> Iterator[_Members]:
    """Fill the buckets, one after the other."""
    members = _Members([], [])
    n_entries = 0
    for position, slot in enumerate(slots):
        if slot is None:
            continue
        if members.slots and n_entries + slot.count > _BUCKET:
            yield members
            members = _Members([], [])
            n_entries = 0
        members.positions.append(position)
        members.slots.append(slot)
        n_entries += slot.count
    if members.slots:
        yield members
