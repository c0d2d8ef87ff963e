"""Q, computed and applied in the chosen entries only."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hybridq.optim._perturbations import AbstractPerturbation
from hybridq.optim._superpositional.adam import Batch, Corrections, denominators
from hybridq.optim._superpositional.entries import Slot

__all__ = ["QTerm"]

_BUCKET = (
    2**15
)  # entries that are joined into one tensor: 128 KB of float32, a few of which a core's cache holds


class _Bucket:
    """The chosen entries of some tensors of a batch, joined. The views are kept: making them costs as much as Q itself."""

    def __init__(self, batch: Batch, members: list[int], slots: list[Slot]) -> None:
        self.members = members
        self.slots = slots
        self.places = [
            batch.places[member]._replace(part=slot.part)
            for member, slot in zip(members, slots, strict=True)
        ]
        self.sizes = [slot.count for slot in slots]
        self.thetas = self._views(batch.params)
        self.exp_avgs = self._views(batch.exp_avgs)
        self.exp_avg_sqs = self._views(batch.exp_avg_sqs)

    def _views(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        return [
            slot.view(tensors[member])
            for slot, member in zip(self.slots, self.members, strict=True)
        ]

    def read(self, tensors: Sequence[Tensor], views: Sequence[Tensor | None]) -> list[Tensor]:
        """The entries of each tensor: its view, or a copy where there is none."""
        return [
            self.slots[position].take(tensors[self.members[position]]) if view is None else view
            for position, view in enumerate(views)
        ]

    def joined(
        self, tensors: Sequence[Tensor], views: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """The entries of all tensors, shape (sum of sizes,); it may be a view, so do not write to it."""
        parts = self.read(tensors, views or [None] * len(self.members))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def corrections(self, batch: Batch) -> Corrections:
        """Those of each entry, if the steps must not be read; else one for all."""
        if batch.step is not None:
            return Corrections.of(batch.group, batch.step)
        counts = [
            batch.counts[member].expand(size)
            for member, size in zip(self.members, self.sizes, strict=True)
        ]
        return Corrections.of(batch.group, torch.cat(counts).to(batch.params[0].dtype))

    def add_(self, tensors: Sequence[Tensor], delta: Tensor) -> None:
        """Add `delta`, joined, to the entries of `tensors`, one by one."""
        for member, slot, part in zip(
            self.members, self.slots, torch.split(delta, self.sizes), strict=True
        ):
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
        self._buckets = [_Bucket(batch, members, chosen) for members, chosen in _fill(slots)]

    @staticmethod
    def pointers(batch: Batch) -> list[list[int]]:
        """Where the tensors of a batch are. The views keep their memory alive, so no other tensor can move in."""
        return [
            [tensor.data_ptr() for tensor in group]
            for group in (batch.params, batch.exp_avgs, batch.exp_avg_sqs)
        ]

    def factors(self, batch: Batch, form: AbstractPerturbation, step: int) -> list[Tensor]:
        """The factors f of each bucket, from the parameters as they are now (SPEC S17: before the weight decay)."""
        return [
            form.factors(bucket.read(batch.params, bucket.thetas), step, bucket.places)
            for bucket in self._buckets
        ]

    def gradients(self, batch: Batch) -> list[Tensor]:
        """The gradients in the chosen entries, copied."""
        return [bucket.joined(batch.grads).clone() for bucket in self._buckets]

    def feed(self, batch: Batch, factors: Sequence[Tensor], strength: float) -> list[Tensor]:
        """Replace g by g + lambda f g in the batch, not in the parameters' `grad` (SPEC S15). Uses up `factors`.

        Returns:
            What was added, of each bucket.
        """
        deltas = []
        for bucket, factor in zip(self._buckets, factors, strict=True):
            deltas.append(factor.mul_(bucket.joined(batch.grads)).mul_(strength))
            for member in bucket.members:
                batch.grads[member] = batch.grads[member].clone()
            bucket.add_(batch.grads, deltas[-1])
        return deltas

    def steps(self, batch: Batch) -> list[Tensor]:
        """What Adam alone adds to the chosen entries, of each bucket."""
        steps = []
        for bucket in self._buckets:
            corrections = bucket.corrections(batch)
            exp_avg, exp_avg_sq = bucket.joined(batch.exp_avgs), bucket.joined(batch.exp_avg_sqs)
            steps.append(
                exp_avg
                / denominators(exp_avg_sq, batch.group, corrections)
                * (-batch.lr / corrections.first)
            )
        return steps

    def deltas(self, batch: Batch, factors: Sequence[Tensor], strength: float) -> list[Tensor]:
        """-lr lambda Q, or lambda Q for an ascent (SPEC S1), of each bucket. Uses up `factors`."""
        group = batch.group
        weight = strength if group["bracket"] == "ascent" else -batch.lr * strength
        deltas = []
        for bucket, factor in zip(self._buckets, factors, strict=True):
            if group["scale"] == "raw" and group["raw_gradient"] == "current":  # SPEC S5, S12
                delta = factor.mul_(bucket.joined(batch.grads)).mul_(weight)
            else:
                corrections = bucket.corrections(batch)
                exp_avg = bucket.joined(batch.exp_avgs, bucket.exp_avgs)
                exp_avg = (
                    exp_avg.clone() if group["differentiable"] else exp_avg
                )  # the next step writes to the average
                delta = factor.mul_(exp_avg).mul_(weight / corrections.first)
                if group["scale"] == "normalized":
                    exp_avg_sq = bucket.joined(batch.exp_avg_sqs, bucket.exp_avg_sqs)
                    delta.div_(denominators(exp_avg_sq, group, corrections))
            deltas.append(delta)
        return deltas

    def add_(self, batch: Batch, deltas: Sequence[Tensor]) -> None:
        """Add them to the parameters."""
        for bucket, delta in zip(self._buckets, deltas, strict=True):
            bucket.add_to_params_(batch, delta)


def _fill(slots: Sequence[Slot | None]) -> Iterator[tuple[list[int], list[Slot]]]:
    """Fill the buckets, one after the other: the positions and the slots of each."""
    members: list[int] = []
    chosen: list[Slot] = []
    entries = 0
    for position, slot in enumerate(slots):
        if slot is None:
            continue
        if members and entries + slot.count > _BUCKET:
            yield members, chosen
            members, chosen, entries = [], [], 0
        members.append(position)
        chosen.append(slot)
        entries += slot.count
    if members:
        yield members, chosen
