"""The state of a `QIASO` search: K candidates and their probabilities.

Candidates are not stored. Their noise is drawn anew whenever it is needed (SPEC Q33).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._qiaso.candidates import Candidate, Jump
from hybridq.optim._qiaso.layout import Block, Layout
from hybridq.optim._qiaso.options import QIASOOptions
from hybridq.optim._qiaso.superposition import effective_sample_size, mirror_step, z_scores
from hybridq.seeding import derive

__all__ = ["Judgement", "Population"]

_PLAIN = ("seed", "step", "epoch", "generation", "born", "best_loss", "best_step", "shapes")


@dataclass(frozen=True)
class Judgement:
    """The consequences of the losses of one step.

    Args:
        losses: The loss of each candidate where it is now, shape (units, K), float64.
        log_p: log p after the mirror step, shape (units, K), float64.
        jumps: The jumps that stay.
    """

    losses: Tensor
    log_p: Tensor
    jumps: list[Jump]


class _Acceptance(NamedTuple):
    """The jumps that stay, and the losses of the candidates with them."""

    losses: Tensor
    jumps: list[Jump]


@dataclass
class Population:
    """K candidates around a centre, which is where the parameters are.

    Args:
        seed: The source of all noise.
        options: The switches.
        step: The number of steps that were done.
        epoch: The number of epochs that have ended.
        generation: The number of collapses. The noise of the candidates depends on it.
        born: The epoch of the last collapse.
        log_p: log p, shape (units, K), float64. None while p is uniform and no candidate has been
            evaluated.
        jumps: The jumps since the last collapse.
        best_loss: The lowest loss so far.
        best_step: The step in which it was told, counted from 1; 0 before the first.
        shapes: The shapes of the parameters in the last step.
    """

    seed: int
    options: QIASOOptions
    step: int = 0
    epoch: int = 0
    generation: int = 0
    born: int = 0
    log_p: Tensor | None = None
    jumps: list[Jump] = field(default_factory=list)
    best_loss: float = float("inf")
    best_step: int = 0
    shapes: list[list[int]] | None = None

    def restart(self) -> None:
        """Make new candidates, which follow from the numbers that this changes."""
        self.generation += 1
        self.born = self.epoch
        self.log_p = None
        self.jumps = []

    def candidates(self, n_units: int) -> list[Candidate]:
        """Return all candidates that are to be evaluated.

        They are the K of the first unit, the K of the second, and so on. Behind them stand those
        without their last jump, if it is on trial.
        """
        here = [
            Candidate(index, unit)
            for unit in range(n_units)
            for index in range(self.options.n_candidates)
        ]
        on_trial = self._on_trial()
        if on_trial is None:
            return here
        before = [
            Candidate(index, unit, before_jump=True) for unit, index in on_trial.nonzero().tolist()
        ]
        return here + before

    def _on_trial(self) -> Tensor | None:
        """Return which jumps have yet to show that they lower the loss (SPEC Q26).

        Returns:
            Shape (units, K), bool; None if no jump is on trial.
        """
        if self.options.accept == "always" or not self.jumps or self.jumps[-1].step != self.step:
            return None
        return self.jumps[-1].sizes > 0

    def judge(self, told: Tensor, layout: Layout) -> Judgement:
        """Turn losses into new probabilities, and change nothing yet.

        Args:
            told: The losses of `candidates`, shape (candidates,), float64.
            layout: The parameters.

        Returns:
            The judgement.

        Raises:
            InvalidArgument: If other parameters moved in the last step, after which there was no
                collapse.
            InvalidArgument: If no candidate with a probability has a finite loss.
        """
        if self.log_p is not None and self.shapes != layout.shapes:
            reason = (
                "other parameters moved in the last step; freeze, free and reshape them right "
                "after a collapse"
            )
            raise InvalidArgument.of("params", layout.shapes, reason)
        losses, jumps = self._accepted(told, layout.n_units)
        prior = self.log_p
        if prior is None or self.options.prior == "uniform":  # SPEC Q34
            prior = torch.full_like(losses, -math.log(self.options.n_candidates))
        exponents = z_scores(losses) if self.options.losses == "zscore" else losses  # SPEC Q8
        log_p = mirror_step(prior, exponents, self.options.eta_at(self.epoch))
        return Judgement(losses, log_p, jumps)

    def _accepted(self, told: Tensor, n_units: int) -> _Acceptance:
        """Drop the jumps that did not lower the loss (SPEC Q26)."""
        losses = told[: n_units * self.options.n_candidates].view(n_units, -1).clone()
        on_trial = self._on_trial()
        if on_trial is None:
            return _Acceptance(losses, self.jumps)
        before = torch.full_like(losses, math.nan)
        before[on_trial] = told[losses.numel() :]
        # If both losses are equal, the candidate without the jump stays.
        refused = before.isfinite() & ~(losses < before)
        *earlier, last = self.jumps
        rest = Jump(last.step, last.sizes.masked_fill(refused, 0.0))
        jumps = [*earlier, rest] if bool(rest.sizes.any()) else earlier
        return _Acceptance(torch.where(refused, before, losses), jumps)

    def advance(self, judgement: Judgement, layout: Layout) -> None:
        """Count a step and take over its judgement.

        Args:
            judgement: The judgement.
            layout: The parameters that moved.
        """
        self.jumps = judgement.jumps
        self.log_p = judgement.log_p
        self.shapes = layout.shapes
        self.step += 1

    def is_due(self, log_p: Tensor) -> bool:
        """Return whether it is time to collapse although no epoch ends (SPEC Q11)."""
        if self.options.collapse_when == "ess":
            return effective_sample_size(log_p) < self.options.n_candidates / 2
        return self.options.collapse_when == "step"

    def tunnel(self, losses: Tensor, expected: Tensor) -> Tensor:
        """Let candidates jump, each by its own coin (SPEC Q19).

        Args:
            losses: The losses of the candidates before a collapse, shape (units, K).
            expected: sum_k p_k L_k, shape (units, 1). It is the best guess of the loss of new
                candidates.

        Returns:
            The factors that multiply epsilon, shape (units, K); 0 for a candidate that did not
            jump.
        """
        source = torch.Generator().manual_seed(derive(self.seed, "coins", self.step))
        tossed = torch.rand(losses.shape, generator=source, dtype=torch.float64)
        jumping = tossed < self.options.tunnel_probability_at(self.epoch)
        if self.log_p is None:
            losses = expected.expand_as(losses)
        elif not self.options.tunnel_best:
            jumping.scatter_(1, self.log_p.argmax(1, keepdim=True), False)
        sizes = torch.where(jumping, self._jump_sizes(losses), 0.0)
        if bool(sizes.any()):
            self.jumps = [*self.jumps, Jump(self.step, sizes)]
        return sizes

    def _jump_sizes(self, losses: Tensor) -> Tensor:
        """Return 1, or T = gamma / (1 + exp(alpha loss)), or T with the other sign (SPEC Q23)."""
        if self.options.jump_size == "constant":
            return torch.ones_like(losses)
        sign = -1.0 if self.options.jump_size == "printed" else 1.0
        # A candidate without a finite loss counts as one with the highest loss.
        heights = torch.where(losses.isfinite(), losses, math.inf)
        return self.options.gamma * torch.sigmoid(sign * self.options.alpha * heights)

    def entries_at(self, block: Block, centre: Tensor, candidate: Candidate) -> Tensor:
        """Return the entries that a candidate has in a block.

        Args:
            block: The block.
            centre: The entries of the block at the centre, shape (entries,).
            candidate: The candidate.

        Returns:
            Shape (entries,), float64 for parameters in float64, else float32.
        """
        jumps = self.jumps[:-1] if candidate.before_jump else self.jumps
        entries = self._displacement(block, centre, candidate.index, jumps).add_(centre)
        if block.units is None:
            return entries
        return torch.where(block.units.to(centre.device) == candidate.unit, entries, centre)

    def write_collapsed(self, tensors: Sequence[Tensor], layout: Layout) -> None:
        """Write the weights after a collapse; without a loss since the last one, write nothing.

        Args:
            tensors: The tensors to write to, one for each parameter that moves.
            layout: The parameters, which are at the centre.
        """
        if self.log_p is None:
            return
        shares = self._shares(self.log_p)
        for block in layout.blocks:
            centre = block.read(layout.params)
            block.write(tensors, self._collapsed_entries(block, centre, shares))

    def _shares(self, log_p: Tensor) -> Tensor:
        """Return the share of each candidate in the new centre (SPEC Q10), shape (units, K)."""
        if self.options.collapse_to == "mean":
            return log_p.exp()
        return torch.nn.functional.one_hot(log_p.argmax(1), self.options.n_candidates).double()

    def _collapsed_entries(self, block: Block, centre: Tensor, shares: Tensor) -> Tensor:
        """Return centre + sum_k share_k (w_k - centre) in a block.

        Args:
            block: The block.
            centre: The entries of the block at the centre, shape (entries,).
            shares: Shape (units, K).

        Returns:
            Shape (entries,), float64 for parameters in float64, else float32.
        """
        total = torch.zeros_like(centre, dtype=_noise_dtype(centre))
        for index in range(shares.shape[1]):
            share = _in_block(shares, block, index, centre.device)
            if share is not None:
                total += self._displacement(block, centre, index, self.jumps).mul_(share)
        return total.add_(centre)

    def _displacement(
        self, block: Block, centre: Tensor, index: int, jumps: Sequence[Jump]
    ) -> Tensor:
        """Return w_k - centre in a block, a new tensor of shape (entries,)."""
        delta = self._noise(block, centre, index, "candidate", self.generation)
        if self.generation == 0:
            delta.mul_(block.group["sigma_start"])
        else:
            delta.mul_(block.group["sigma"] * self.options.sigma_decay**self.born)
        for jump in jumps:
            size = _in_block(jump.sizes, block, index, centre.device)
            if size is not None:
                noise = self._noise(block, centre, index, "jump", jump.step)
                delta += noise.mul_(size).mul_(block.group["epsilon"])
        return delta

    def _noise(self, block: Block, like: Tensor, index: int, kind: str, number: int) -> Tensor:
        """Draw N(0, 1), a pure function of plain numbers, where the parameters are."""
        seed = derive(self.seed, kind, number, index, block.number)
        source = torch.Generator(like.device).manual_seed(seed)
        noise = torch.empty(len(like), dtype=_noise_dtype(like), device=like.device)
        return noise.normal_(generator=source)

    def saved_values(self) -> dict[str, Any]:
        """Return the state as plain values and tensors, for a checkpoint."""
        values = {name: getattr(self, name) for name in _PLAIN}
        values["jump_steps"] = [jump.step for jump in self.jumps]
        values["jump_sizes"] = (
            torch.stack([jump.sizes for jump in self.jumps]) if self.jumps else None
        )
        values["log_p"] = self.log_p
        values["options"] = asdict(self.options)
        return values

    @classmethod
    def of_saved(cls, values: Mapping[str, Any]) -> "Population":
        """Read the state back from the values that `saved_values` returned."""
        jumps = [
            Jump(step, values["jump_sizes"][number].clone())
            for number, step in enumerate(values["jump_steps"])
        ]
        log_p = None if values["log_p"] is None else values["log_p"].clone()
        numbers = {name: values[name] for name in _PLAIN}
        return cls(options=QIASOOptions(**values["options"]), log_p=log_p, jumps=jumps, **numbers)


def _noise_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _in_block(
    values: Tensor, block: Block, index: int, device: torch.device
) -> float | Tensor | None:
    """Return the value of a candidate for each entry of a block.

    Args:
        values: The values of all candidates, shape (units, K).
        block: The block.
        index: The number of the candidate.
        device: The device of the entries.

    Returns:
        One number for all entries if there is only one unit, else shape (entries,). None if all
        are 0.
    """
    if block.units is None:
        return values[0, index].item() or None
    column = values[block.units, index]
    return column.to(device) if bool(column.any()) else None
