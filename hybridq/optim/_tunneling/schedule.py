"""When `QuantumTunneling` jumps, and when it takes a jump back."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._tunneling.options import TunnelingOptions

__all__ = ["Clock", "score_of"]


@dataclass
class Clock:
    """Where a run stands, in plain numbers, which a checkpoint holds in its parameter groups.

    A score is a metric, turned so that smaller is better.

    Args:
        steps: The number of steps so far.
        epochs: The number of epochs that have ended.
        jumps: The number of jumps so far.
        best: The best score since the last jump.
        best_epoch: The epoch of the best score, or that of the jump if there is none.
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
        """Count a step, and say whether to jump (SPEC T3).

        Args:
            options: The switches.
            interval: The number of steps from one jump to the next.
            total: The number of the last step, or None if it is not known.

        Returns:
            Whether to jump.
        """
        self.steps += 1
        due = options.unit == "step" and self.steps % interval == 0
        return due and _goes_on(self.steps, options, total)

    def end_epoch(
        self, score: float, options: TunnelingOptions, interval: int, total: int | None
    ) -> Literal["jump", "revert"] | None:
        """Count an epoch, and say what to do.

        Args:
            score: The score of the weights as they are, not NaN.
            options: The switches.
            interval: The number of epochs from one jump to the next, or without a better score.
            total: The number of the last epoch, or None if it is not known.

        Returns:
            "jump", "revert" for taking the last jump back, or None.
        """
        self.epochs += 1
        if score < self.best:
            self.best = score
            self.best_epoch = self.epochs
        if self.best < self.target:
            self.trial = 0  # The jump was worth it.
        if self.trial and options.revert_after is not None:  # SPEC T19
            return "revert" if self.epochs - self.trial >= options.revert_after else None
        if options.trigger == "plateau":  # SPEC T17
            due = self.epochs - self.best_epoch >= interval
        else:  # SPEC T1
            due = options.unit == "epoch" and self.epochs % interval == 0
        return "jump" if due and _goes_on(self.epochs, options, total) else None

    def start_trial(self, score: float) -> None:
        """Note the score that the next jump has to beat."""
        self.target = score
        self.trial = self.epochs

    def jumped(self) -> None:
        """Count a jump, and look for a plateau anew."""
        self.jumps += 1
        self.best = math.inf
        self.best_epoch = self.epochs

    def reverted(self) -> None:
        """Note that the weights, and so their score, are those of before the jump."""
        self.best = self.target
        self.best_epoch = self.epochs
        self.trial = 0


def score_of(metric: object, mode: str) -> float:
    """Turn a metric so that smaller is better.

    Args:
        metric: The metric.
        mode: "min" if a smaller metric is better, or "max".

    Returns:
        The score. It is infinite if the metric is NaN, so that any number is better than NaN.

    Raises:
        InvalidArgument: If `metric` is no number.
    """
    if isinstance(metric, bool) or not isinstance(metric, (int, float, Tensor)):
        reason = (
            "a plateau and revert_after compare it from epoch to epoch; give the loss on the "
            "validation set"
        )
        raise InvalidArgument.of("metric", metric, reason)
    score = float(metric) if mode == "min" else -float(metric)
    return math.inf if math.isnan(score) else score


def _goes_on(count: int, options: TunnelingOptions, total: int | None) -> bool:
    """Return whether a jump may follow so many epochs or steps, for training goes on (SPEC T2)."""
    return options.jump_at_end or total is None or count < total
