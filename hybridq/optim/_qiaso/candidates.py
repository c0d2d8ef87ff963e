"""The points that `QIASO` evaluates, described by plain numbers."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Best", "Candidate", "Jump"]


@dataclass(frozen=True)
class Candidate:
    """A point in the space of the weights: the centre with one unit of the weights moved.

    Args:
        index: Its number among the K candidates of the unit, counted from 0.
        unit: The number of the unit that differs from the centre. It is 0 if the unit is the whole
            vector.
        before_jump: Whether the last jump is left out. Such a candidate is compared with the one
            that has the jump.
    """

    index: int
    unit: int = 0
    before_jump: bool = False


@dataclass(frozen=True)
class Jump:
    """The jumps that candidates did at the end of one step.

    Args:
        step: The number of the step. The noise of the jumps depends on it.
        sizes: The factors that multiply epsilon, shape (units, K), float64; 0 for a candidate that
            did not jump.
    """

    step: int
    sizes: Tensor


@dataclass(frozen=True)
class Best:
    """The weights that a search recommends, and the best ones that it has seen.

    Args:
        deploy: The weights to deploy, one tensor for each parameter that moves. They are where a
            collapse would put the centre now.
        seen: The weights of the candidate with the lowest loss so far, one tensor for each
            parameter that moves. None without `keep_best`, and before the first step.
        loss: The loss of that candidate. If the minibatches differ, the lowest loss is that of the
            easiest minibatch, and `deploy` is the better choice.
        step: The step in which that candidate was evaluated, counted from 1; 0 before the first.
    """

    deploy: list[Tensor]
    seen: list[Tensor] | None
    loss: float
    step: int
