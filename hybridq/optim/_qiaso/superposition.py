"""The probabilities of QIASO's candidates: float64 tensors of shape (units, K), in the log domain."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from hybridq.errors import InvalidArgument

__all__ = [
    "cumulative_escape_probability",
    "effective_sample_size",
    "entropy",
    "escape_probability",
    "expectation",
    "mirror_step",
    "z_scores",
]


def z_scores(losses: Tensor) -> Tensor:
    """Subtract the mean of the finite losses of each unit and divide by their standard deviation (SPEC Q8).

    Losses that are all equal become 0; those that are not finite stay as they are.

    Args:
        losses: Shape (units, K).

    Returns:
        A new tensor of shape (units, K).
    """
    finite = losses.isfinite()
    count = finite.sum(1, keepdim=True).clamp(min=1)
    known = torch.where(finite, losses, 0.0)
    centred = torch.where(finite, known - known.sum(1, keepdim=True) / count, 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return torch.where(finite, centred / torch.where(deviation > 0, deviation, 1.0), losses)


def mirror_step(log_prior: Tensor, losses: Tensor, eta: float) -> Tensor:
    """Multiply the probabilities by exp(-eta loss) and normalise.

        p_k <- p_k exp(-eta L_k) / sum_j p_j exp(-eta L_j)

    A loss that is NaN or infinite gets probability 0. Nothing overflows, and nothing is divided by
    0 (SPEC Q29).

    Args:
        log_prior: log p before, shape (units, K).
        losses: Shape (units, K).
        eta: The inverse temperature.

    Returns:
        log p after, shape (units, K).

    Raises:
        InvalidArgument: If a unit has no candidate with a finite loss and a probability other than
            0.

    Reference: AIMS Mathematics 2026, equation (16).
    """
    possible = losses.isfinite() & log_prior.isfinite()
    if not bool(possible.any(1).all()):
        reason = "no candidate is left with a finite loss; look for overflow in the model, or take smaller sigma and epsilon"
        raise InvalidArgument.of("losses", losses[~possible.any(1)][0].tolist(), reason)
    lowest = torch.where(possible, losses, math.inf).amin(1, keepdim=True)
    exponents = log_prior - eta * (losses - lowest)
    return torch.where(possible, exponents, -math.inf).log_softmax(1)


def expectation(log_p: Tensor, losses: Tensor) -> Tensor:
    """<p, L>, shape (units, 1); a candidate of probability 0 does not count, whatever its loss."""
    p = log_p.exp()
    return torch.where(p > 0, p * losses, 0.0).sum(1, keepdim=True)


def effective_sample_size(log_p: Tensor) -> float:
    """1 / sum_k p_k^2, the mean over units: K for a uniform p, 1 if one candidate has it all."""
    return float((1 / log_p.exp().square().sum(1)).mean())


def entropy(log_p: Tensor) -> float:
    """-sum_k p_k log p_k in nats, the mean over units."""
    return float(torch.special.entr(log_p.exp()).sum(1).mean())


def escape_probability(barrier: float, epsilon: float, sigma: float = 1.0) -> float:
    """The probability that one jump passes a barrier along one direction: exact, not a bound (SPEC Q38).

        P(epsilon * xi >= barrier) = Q(barrier / (epsilon * sigma)),   xi ~ N(0, sigma^2)

    Q is the upper tail of the normal distribution. The barrier is a distance in the space of the
    weights; the paper calls it a height of the loss, yet compares it with a length.

    Args:
        barrier: The distance Delta, at least 0.
        epsilon: Scale of the jump, at least 0; 0 never passes.
        sigma: Standard deviation of xi, at least 0.

    Returns:
        A probability, at most 1/2.

    Raises:
        InvalidArgument: If an argument is negative or NaN.

    Example:
        >>> round(escape_probability(0.02, epsilon=0.02), 4)
        0.1587

    Differs from the paper: its bound (69), P >= 1 - exp(-Delta^2 / (2 epsilon^2 sigma^2)), is
    false: it is the complement of the upper bound (68), and says that a higher barrier is passed
    more easily.

    Reference: AIMS Mathematics 2026, equations (67) to (69).
    """
    for argument, value in (("barrier", barrier), ("epsilon", epsilon), ("sigma", sigma)):
        if not value >= 0:
            raise InvalidArgument.of(argument, value, "give a number of at least 0")
    scale = epsilon * sigma
    if scale == 0:
        return 0.0
    return 0.5 * math.erfc(barrier / (scale * math.sqrt(2)))


def cumulative_escape_probability(escape: float, tunnel_probabilities: Iterable[float]) -> float:
    """The probability that at least one of several chances to jump passes the barrier (SPEC Q38).

        1 - prod_t (1 - p_t * P)

    Args:
        escape: P, that one jump passes it: `escape_probability`.
        tunnel_probabilities: p_t, that there is a jump, for each step.

    Returns:
        A probability.

    Raises:
        InvalidArgument: If a number is no probability.

    Example:
        >>> cumulative_escape_probability(0.5, [0.5, 0.5])
        0.4375

    Reference: AIMS Mathematics 2026, equation (70), which is exact for independent jumps from the
    same place.
    """
    if not 0 <= escape <= 1:
        raise InvalidArgument.of("escape", escape, "give a probability, between 0 and 1")
    log_stay = 0.0
    for probability in tunnel_probabilities:
        if not 0 <= probability <= 1:
            raise InvalidArgument.of(
                "tunnel_probabilities", probability, "give probabilities, between 0 and 1"
            )
        log_stay += math.log1p(-probability * escape) if probability * escape < 1 else -math.inf
    return -math.expm1(log_stay)
