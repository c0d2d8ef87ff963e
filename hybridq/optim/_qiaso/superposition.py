"""The probabilities of the candidates of `QIASO`.

They are float64 tensors of shape (units, K), in the log domain.
"""

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
    """Return the z-scores of the finite losses of each unit (SPEC Q8).

        (L_k - mean) / standard deviation

    Losses that are all equal become 0. Losses that are not finite stay as they are and do not
    count.

    Args:
        losses: Shape (units, K).

    Returns:
        A new tensor of shape (units, K).
    """
    finite = losses.isfinite()
    count = finite.sum(1, keepdim=True).clamp(min=1)
    known = torch.where(finite, losses, 0.0)
    mean = known.sum(1, keepdim=True) / count
    centred = torch.where(finite, known - mean, 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    divisor = torch.where(deviation > 0, deviation, 1.0)
    return torch.where(finite, centred / divisor, losses)


def mirror_step(log_prior: Tensor, losses: Tensor, eta: float) -> Tensor:
    """Multiply the probabilities by exp(-eta loss) and normalise.

        p_k <- p_k exp(-eta L_k) / sum_j p_j exp(-eta L_j)

    A candidate whose loss is NaN or infinite gets probability 0. Nothing overflows, and nothing is
    divided by 0 (SPEC Q29).

    Args:
        log_prior: log p before, shape (units, K).
        losses: Shape (units, K).
        eta: The inverse temperature, in one over the unit of the losses.

    Returns:
        log p after, shape (units, K).

    Raises:
        InvalidArgument: If a unit has no candidate with both a finite loss and a probability above
            0.

    Reference: AIMS Mathematics 2026, equation (16). I. Sajjad and M. M. AL Sobhi, "The
    quantum-inspired adaptive superposition optimization for neural network training".
    """
    possible = losses.isfinite() & log_prior.isfinite()
    if not bool(possible.any(1).all()):
        reason = (
            "no candidate is left with a finite loss; look for overflow in the model, or take "
            "smaller sigma and epsilon"
        )
        raise InvalidArgument.of("losses", losses[~possible.any(1)][0].tolist(), reason)
    lowest = torch.where(possible, losses, math.inf).amin(1, keepdim=True)
    exponents = log_prior - eta * (losses - lowest)
    return torch.where(possible, exponents, -math.inf).log_softmax(1)


def expectation(log_p: Tensor, losses: Tensor) -> Tensor:
    """Return the expected loss <p, L> of each unit, shape (units, 1).

    A candidate of probability 0 does not count, whatever its loss is.
    """
    p = log_p.exp()
    return torch.where(p > 0, p * losses, 0.0).sum(1, keepdim=True)


def effective_sample_size(log_p: Tensor) -> float:
    """Return 1 / sum_k p_k^2, the mean over the units.

    It is K for a uniform p, and 1 if one candidate has probability 1.
    """
    return float((1 / log_p.exp().square().sum(1)).mean())


def entropy(log_p: Tensor) -> float:
    """Return -sum_k p_k log p_k in nats, the mean over the units."""
    return float(torch.special.entr(log_p.exp()).sum(1).mean())


def escape_probability(barrier: float, epsilon: float, sigma: float = 1.0) -> float:
    """Return the probability that one jump passes a barrier along one direction (SPEC Q38).

        P(epsilon * xi >= barrier) = Q(barrier / (epsilon * sigma)),   xi ~ N(0, sigma^2)

    Q is the upper tail of the normal distribution, so this is exact and not a bound. The barrier is
    a distance in the space of the weights. The paper calls it a height of the loss, yet compares it
    with a length.

    Args:
        barrier: The distance Delta in the space of the weights, at least 0.
        epsilon: The scale of the jump, in the same unit, at least 0. At 0 it never passes.
        sigma: The standard deviation of xi, at least 0.

    Returns:
        A probability, at most 1/2.

    Raises:
        InvalidArgument: If an argument is negative or NaN.

    Example:
        >>> round(escape_probability(0.02, epsilon=0.02), 4)
        0.1587

    Differs from the paper: its bound (69), P >= 1 - exp(-Delta^2 / (2 epsilon^2 sigma^2)), is
    false. It is the complement of the upper bound (68), and says that a higher barrier is passed
    more easily.

    Reference: AIMS Mathematics 2026, equations (67) to (69). I. Sajjad and M. M. AL Sobhi, "The
    quantum-inspired adaptive superposition optimization for neural network training".
    """
    for argument, value in (("barrier", barrier), ("epsilon", epsilon), ("sigma", sigma)):
        if not value >= 0:
            raise InvalidArgument.of(argument, value, "give a number of at least 0")
    scale = epsilon * sigma
    if scale == 0:
        return 0.0
    return 0.5 * math.erfc(barrier / (scale * math.sqrt(2)))


def cumulative_escape_probability(escape: float, tunnel_probabilities: Iterable[float]) -> float:
    """Return the probability that at least one of several jumps passes a barrier (SPEC Q38).

        1 - prod_t (1 - p_t * P)

    Args:
        escape: The probability P that one jump passes it, from `escape_probability`.
        tunnel_probabilities: The probability p_t of a jump in each step.

    Returns:
        A probability.

    Raises:
        InvalidArgument: If one of the numbers is no probability.

    Example:
        >>> cumulative_escape_probability(0.5, [0.5, 0.5])
        0.4375

    Reference: AIMS Mathematics 2026, equation (70), which is exact for independent jumps from the
    same place. I. Sajjad and M. M. AL Sobhi, "The quantum-inspired adaptive superposition
    optimization for neural network training".
    """
    if not 0 <= escape <= 1:
        raise InvalidArgument.of("escape", escape, "give a probability, between 0 and 1")
    log_stay = 0.0
    for probability in tunnel_probabilities:
        if not 0 <= probability <= 1:
            reason = "give probabilities, between 0 and 1"
            raise InvalidArgument.of("tunnel_probabilities", probability, reason)
        passing = probability * escape
        log_stay += math.log1p(-passing) if passing < 1 else -math.inf
    return -math.expm1(log_stay)
