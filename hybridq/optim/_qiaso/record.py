"""What a step of `QIASO` did, in plain numbers."""

import math
from dataclasses import dataclass

from torch import Tensor

from hybridq.optim._qiaso.layout import Layout
from hybridq.optim._qiaso.population import Judgement
from hybridq.optim._qiaso.superposition import effective_sample_size, entropy, escape_probability

__all__ = ["QIASORecord", "record_of"]


@dataclass(frozen=True)
class QIASORecord:
    """What a step did, in plain numbers.

    If the units are smaller than the whole vector, the effective sample size and the entropy are
    means over the units.

    Args:
        step: The number of the step, counted from 1.
        epoch: The epoch it lies in, counted from 0.
        effective_sample_size: 1 / sum_k p_k^2 before the collapse, between 1 and K.
        entropy: -sum_k p_k log p_k before the collapse, in nats.
        best_loss: The lowest finite loss of the step.
        mean_loss: The plain mean of the finite losses of the step.
        n_tunnelled: The number of candidates that jumped at the end of the step. A jump that the
            next step refuses counts, too.
        jump_size: The mean standard deviation of these jumps, for each coordinate, in the units of
            the weights. None if no candidate jumped.
        collapsed: Whether the step ended in a collapse.
        escape_probability: The probability that one jump along one direction passes the distance
            `barrier`, from `escape_probability`. None without a barrier.
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
    step: int,
    epoch: int,
    told: Tensor,
    judgement: Judgement,
    sizes: Tensor,
    collapsed: bool,
    layout: Layout,
    barrier: float | None,
) -> QIASORecord:
    """Make the record of a step.

    Args:
        step: The number of the step, counted from 1.
        epoch: The epoch, counted from 0.
        told: All losses of the step, shape (candidates,).
        judgement: The judgement on the candidates.
        sizes: The sizes of the jumps at the end of the step, as multiples of epsilon, shape
            (units, K); 0 for a candidate that did not jump.
        collapsed: Whether the step ended in a collapse.
        layout: The parameters.
        barrier: The distance in the space of the weights, or None.

    Returns:
        The record. Where groups have an epsilon of their own, it takes the root of the mean square
        of epsilon over all coordinates.
    """
    lengths = [block.n_entries for block in layout.blocks]
    squares = [
        block.group["epsilon"] ** 2 * length
        for block, length in zip(layout.blocks, lengths, strict=True)
    ]
    epsilon = math.sqrt(sum(squares) / sum(lengths))
    finite = told[told.isfinite()]
    jumped = sizes[sizes > 0]
    return QIASORecord(
        step=step,
        epoch=epoch,
        effective_sample_size=effective_sample_size(judgement.log_p),
        entropy=entropy(judgement.log_p),
        best_loss=float(finite.min()),
        mean_loss=float(finite.mean()),
        n_tunnelled=len(jumped),
        jump_size=epsilon * float(jumped.mean()) if len(jumped) else None,
        collapsed=collapsed,
        escape_probability=None if barrier is None else escape_probability(barrier, epsilon),
    )
