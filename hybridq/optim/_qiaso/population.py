"""The state of a QIASO search: K candidates, drawn anew whenever they are needed, and their probabilities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._qiaso.candidates import Block, Candidate, Jump
from hybridq.optim._qiaso.options import QIASOOptions
from hybridq.optim._qiaso.superposition import effective_sample_size, mirror_step, z_scores
from hybridq.seeding import derive

__all__ = ["Judgement", "Population"]

_PLAIN = ("seed", "step", "epoch", "generation", "born", "best_loss", "best_step", "shapes")


@dataclass(frozen=True)
class Judgement:
    """What the losses say of the candidates.

    Args:
        losses: Of each candidate where it is now, shape (units, K), float64.
        log_p: log p after the mirror step, shape (units, K).
        jumps: Those that stay.
    """

    losses: Tensor
    log_p: Tensor
    jumps: list[Jump]


@dataclass
class Population:
    """K candidates around a centre, which is where the parameters are.

    Args:
        seed: The source of all noise.
        options: The choices.
        step: How many steps were done.
        epoch: How many epochs have ended.
        generation: How many collapses there were; it names the noise of the candidates.
        born: The epoch of the last collapse.
        log_p: log p, shape (units, K); None while it is uniform and no candidate has been
            evaluated.
        jumps: The jumps since the last collapse.
        best_loss: The lowest loss so far.
        best_step: The step in which it was told; 0 before the first.
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
        """Make new candidates: they follow from these numbers."""
        self.generation += 1
        self.born = self.epoch
        self.log_p = None
        self.jumps = []

    def candidates(self, n_units: int) -> list[Candidate]:
        """All candidates to be evaluated: K of the first unit, K of the second, ..., and in the end those before a jump."""
        own = [
            Candidate(index, unit)
            for unit in range(n_units)
            for index in range(self.options.n_candidates)
        ]
        doubtful = self.doubtful()
        if doubtful is None:
            return own
        return own + [
            Candidate(index, unit, before_jump=True) for unit, index in doubtful.nonzero().tolist()
        ]

    def doubtful(self) -> Tensor | None:
        """Who jumped after the last step and has yet to show that it is the better for it (SPEC Q26), shape (units, K)."""
        if self.options.accept == "always" or not self.jumps or self.jumps[-1].step != self.step:
            return None
        return self.jumps[-1].sizes > 0

    def judge(self, told: Tensor, n_units: int, shapes: list[list[int]]) -> Judgement:
        """Turn the losses of `candidates` into new probabilities, and change nothing yet."""
        if self.log_p is not None and self.shapes != shapes:
            reason = "other parameters moved in the last step; freeze, free and reshape them right after a collapse"
            raise InvalidArgument.of("params", shapes, reason)
        losses, jumps = self._accepted(told, n_units)
        prior = self.log_p
        if prior is None or self.options.prior == "uniform":  # SPEC Q34
            prior = torch.full_like(losses, -math.log(self.options.n_candidates))
        scaled = z_scores(losses) if self.options.losses == "zscore" else losses  # SPEC Q8
        return Judgement(losses, mirror_step(prior, scaled, self.options.eta_at(self.epoch)), jumps)

    def _accepted(self, told: Tensor, n_units: int) -> tuple[Tensor, list[Jump]]:
        """The losses of the candidates, and the jumps without those that did not pay (SPEC Q26)."""
        losses = told[: n_units * self.options.n_candidates].view(n_units, -1).clone()
        doubtful = self.doubtful()
        if doubtful is None:
            return losses, self.jumps
        before = torch.full_like(losses, math.nan)
        before[doubtful] = told[losses.numel() :]
        refused = before.isfinite() & ~(
            losses < before
        )  # of two that are equal, the one that stayed
        last = self.jumps[-1]
        kept = Jump(last.step, last.sizes.masked_fill(refused, 0.0))
        return torch.where(refused, before, losses), self.jumps[:-1] + (
            [kept] if bool(kept.sizes.any()) else []
        )

    def is_due(self, log_p: Tensor) -> bool:
        """Whether it is time to collapse although no epoch ends (SPEC Q11)."""
        if self.options.collapse_when == "ess":
            return effective_sample_size(log_p) < self.options.n_candidates / 2
        return self.options.collapse_when == "step"

    def collapse_weights(self, log_p: Tensor) -> Tensor:
        """What each candidate contributes to the new centre (SPEC Q10), shape (units, K)."""
        if self.options.collapse_to == "mean":
            return log_p.exp()
        return torch.nn.functional.one_hot(log_p.argmax(1), self.options.n_candidates).double()

    def tunnel(self, losses: Tensor, expected: Tensor) -> Tensor:
        """Let candidates jump, each by its own coin (SPEC Q19).

        Args:
            losses: Of the candidates before a collapse, shape (units, K).
            expected: sum_k p_k L_k, shape (units, 1): the loss of new candidates, as far as it is
                known.

        Returns:
            What multiplies epsilon, 0 for who did not jump, shape (units, K).
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
        """1, or T = gamma / (1 + exp(alpha loss)), or T with the other sign (SPEC Q23)."""
        if self.options.jump_size == "constant":
            return torch.ones_like(losses)
        sign = -1.0 if self.options.jump_size == "printed" else 1.0
        high = torch.where(
            losses.isfinite(), losses, math.inf
        )  # a candidate without a loss has the highest
        return self.options.gamma * torch.sigmoid(sign * self.options.alpha * high)

    def place(self, block: Block, centre: Tensor, candidate: Candidate) -> Tensor:
        """A candidate's entries of a block, shape (entries,), float32 at least.

        Args:
            block: The block.
            centre: Its entries at the centre, shape (entries,).
            candidate: The candidate.
        """
        jumps = self.jumps[:-1] if candidate.before_jump else self.jumps
        there = self._displacement(block, centre, candidate.index, jumps).add_(centre)
        if block.units is None:
            return there
        return torch.where(block.units.to(centre.device) == candidate.unit, there, centre)

    def collapsed(self, block: Block, centre: Tensor, weights: Tensor) -> Tensor:
        """The entries of a block at centre + sum_k weights_k (w_k - centre), shape (entries,), float32 at least.

        Args:
            block: The block.
            centre: Its entries at the centre, shape (entries,).
            weights: Shape (units, K).
        """
        total = torch.zeros_like(centre, dtype=_wide(centre))
        for index in range(weights.shape[1]):
            share = _of_block(weights, block, index, centre.device)
            if share is not None:
                total += self._displacement(block, centre, index, self.jumps).mul_(share)
        return total.add_(centre)

    def _displacement(
        self, block: Block, centre: Tensor, index: int, jumps: Sequence[Jump]
    ) -> Tensor:
        """w_k - centre in a block, a new tensor, float32 at least."""
        delta = self._noise(block, centre, index, "candidate", self.generation)
        if self.generation == 0:
            delta.mul_(block.group["sigma_start"])
        else:
            delta.mul_(block.group["sigma"] * self.options.sigma_decay**self.born)
        for jump in jumps:
            size = _of_block(jump.sizes, block, index, centre.device)
            if size is not None:
                delta += (
                    self._noise(block, centre, index, "jump", jump.step)
                    .mul_(size)
                    .mul_(block.group["epsilon"])
                )
        return delta

    def _noise(self, block: Block, like: Tensor, index: int, kind: str, number: int) -> Tensor:
        """N(0, 1): a pure function of plain numbers, drawn where the parameters are."""
        seed = derive(self.seed, kind, number, index, block.number)
        source = torch.Generator(like.device).manual_seed(seed)
        return torch.empty(len(like), dtype=_wide(like), device=like.device).normal_(
            generator=source
        )

    def plain(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        values = {name: getattr(self, name) for name in _PLAIN}
        sizes = torch.stack([jump.sizes for jump in self.jumps]) if self.jumps else None
        jumps = {"jump_steps": [jump.step for jump in self.jumps], "jump_sizes": sizes}
        return values | jumps | {"log_p": self.log_p, "options": asdict(self.options)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> "Population":
        """What `plain` was made of."""
        jumps = [
            Jump(step, values["jump_sizes"][number].clone())
            for number, step in enumerate(values["jump_steps"])
        ]
        log_p = None if values["log_p"] is None else values["log_p"].clone()
        numbers = {name: values[name] for name in _PLAIN}
        return cls(options=QIASOOptions(**values["options"]), log_p=log_p, jumps=jumps, **numbers)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _of_block(
    table: Tensor, block: Block, index: int, device: torch.device
) -> float | Tensor | None:
    """A candidate's number for all of a block, or its numbers for each entry; None if they are 0."""
    if block.units is None:
        return table[0, index].item() or None
    column = table[block.units, index]
    return column.to(device) if bool(column.any()) else None
