"""When `QuantumTunneling` jumps, and when it takes a jump back."""

import math
from dataclasses import dataclass
from typing import Literal

from hybridq.optim._tunneling.options import TunnelingOptions

__all__ = ["Clock"]


@dataclass
class Clock:
    """Where a run stands: plain numbers, which a checkpoint holds in its parameter groups.

    Args:
        steps: How many steps there have been.
        epochs: How many epochs have ended.
        jumps: How many jumps there have been.
        best: The best score since the last jump. A score is a metric, turned so that smaller is
            better.
        best_epoch: The epoch of it, or of the jump.
        target: The score that the last jump has to beat.
        trial: The epoch of a jump that may still be taken back, or 0.
    """

    steps: int = 0
    epochs: int = 0
    jumps: int = 0
    best: float = math.inf
    best_epoch: int = 0
    target: float = math.inf
    trial: int = 0

    def end_step(self, options: TunnelingOptions, interval: int, total: int | None) -> bool:
        """Count a step.

        Returns:
            Whether to jump (SPEC T3).
        """
        self.steps += 1
        return (
            options.unit == "step"
            and self.steps % interval == 0
            and _goes_on(self.steps, options, total)
        )

    def end_epoch(
        self, score: float, options: TunnelingOptions, interval: int, total: int | None
    ) -> Literal["jump", "revert"] | None:
        """Count an epoch.

        Args:
            score: The score of the weights as they are, not NaN.
            options: The switches.
            interval: Epochs between two jumps, or without a better score.
            total: The number of the last epoch.

        Returns:
            What to do.
        """
        self.epochs += 1
        if score < self.best:
            self.best, self.best_epoch = score, self.epochs
        if self.best < self.target:
            self.trial = 0  # the jump was worth it
        if self.trial and options.revert_after is not None:  # SPEC T19
            return "revert" if self.epochs - self.trial >= options.revert_after else None
        if options.trigger == "plateau":  # SPEC T17
            due = self.epochs - self.best_epoch >= interval
        else:  # SPEC T1
            due = options.unit == "epoch" and self.epochs % interval == 0
        return "jump" if due and _goes_on(self.epochs, options, total) else None

    def start_trial(self, score: float) -> None:
        """The jump that follows has to beat this score."""
        self.target, self.trial = score, self.epochs

    def jumped(self) -> None:
        """Count a jump; a plateau is looked for anew."""
        self.jumps += 1
        self.best, self.best_epoch = math.inf, self.epochs

    def reverted(self) -> None:
        """The weights, and so their score, are those of before the jump."""
        self.best, self.best_epoch, self.trial = self.target, self.epochs, 0


def _goes_on(count: int, options: TunnelingOptions, total: int | None) -> bool:
    """Whether training goes on after so many epochs or steps, as far as anybody has said (SPEC T2)."""
    return options.jump_at_end or total is None or count < total
