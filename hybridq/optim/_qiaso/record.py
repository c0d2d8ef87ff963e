"""What a step of QIASO did, in plain numbers."""

import math
from dataclasses import dataclass

from torch import Tensor

from hybridq.optim._qiaso.candidates import Layout
from hybridq.optim._qiaso.population import Judgement
from hybridq.optim._qiaso.superposition import effective_sample_size, entropy, escape_probability

__all__ = ["QIASORecord", "record_of"]


@dataclass(frozen=True)
class QIASORecord:
    """What a step did, in plain numbers.

    With units smaller than the whole vector, the effective sample size and the entropy are means
    over the units.

    Args:
        step: Its number, counted from 1.
        epoch: The epoch it lies in, counted from 0.
        effective_sample_size: 1 / sum_k p_k^2, between 1 and K, before the collapse.
        entropy: -sum_k p_k log p_k, in nats, before the collapse.
        best_loss: The lowest finite loss of the step.
        mean_loss: The plain mean of the finite losses of the step.
        n_tunnelled: How many candidates jumped at the end of the step; of one that the next step
            refuses, too.
        jump_size: The mean standard deviation of their jumps, per coordinate; None if there were
            none.
        collapsed: Whether the step ended in a collapse.
        escape_probability: That one jump along one direction passes `barrier`, by
            `escape_probability`; None without one.
    """

    step: int
    epoch: int
    effective_sample_size: float
    entropy: float
    best_loss: float
    mean_loss: float
    n_tunnelled: int
    jump_size: float | None
    collapsed: bool
    escape_probability: float | None


def record_of(
    moment: tuple[int, int],
    told: Tensor,
    judgement: Judgement,
    sizes: Tensor,
    collapsed: bool,
    layout: Layout,
    barrier: float | None,
) -> QIASORecord:
    """Make the record of a step.

    Args:
        moment: The step and the epoch.
        told: All losses of the step.
        judgement: What was made of them.
        sizes: Those of the jumps at its end, as multiples of epsilon, 0 for who did not jump, shape
            (units, K).
        collapsed: Whether it ended in a collapse.
        layout: The parameters.
        barrier: The distance, or None.

    Returns:
        The record. Where groups have their own epsilon, it is for the root of its mean square over
        all coordinates.
    """
    lengths = [sum(stop - start for _, start, stop in block.pieces) for block in layout.blocks]
    squares = [
        block.group["epsilon"] ** 2 * length
        for block, length in zip(layout.blocks, lengths, strict=True)
    ]
    epsilon = math.sqrt(sum(squares) / sum(lengths))
    finite, jumped = told[told.isfinite()], sizes[sizes > 0]
    return QIASORecord(
        step=moment[0],
        epoch=moment[1],
        effective_sample_size=effective_sample_size(judgement.log_p),
        entropy=entropy(judgement.log_p),
        best_loss=float(finite.min()),
        mean_loss=float(finite.mean()),
        n_tunnelled=len(jumped),
        jump_size=epsilon * float(jumped.mean()) if len(jumped) else None,
        collapsed=collapsed,
        escape_probability=None if barrier is None else escape_probability(barrier, epsilon),
    )
