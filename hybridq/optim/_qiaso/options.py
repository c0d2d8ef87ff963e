"""The switches of `QIASO`, and the two sets of them that have a name."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from hybridq.errors import InvalidArgument
from hybridq.optim._checks import (
    check_choices,
    check_flag,
    check_non_negative,
    check_positive_integer,
)

__all__ = ["QIASOOptions"]

Unit = Literal["whole", "tensor", "coordinate"]
Losses = Literal["zscore", "raw"]
Prior = Literal["previous", "uniform"]
CollapseTo = Literal["mean", "argmax"]
CollapseWhen = Literal["step", "epoch", "ess"]
JumpSize = Literal["constant", "printed", "corrected"]
Accept = Literal["always", "if_better"]

_CHOICES: dict[str, Any] = {
    "unit": Unit,
    "losses": Losses,
    "prior": Prior,
    "collapse_to": CollapseTo,
    "collapse_when": CollapseWhen,
    "jump_size": JumpSize,
    "accept": Accept,
}
_POSITIVE = ("eta", "temperature", "temperature_decay", "sigma_decay", "tunnel_decay", "alpha")
_FRACTIONS = ("tunnel_probability", "tunnel_decay")
_SIZES = (*_POSITIVE, "sigma_start", "sigma", "epsilon", "gamma", "tunnel_probability")


@dataclass(frozen=True)
class QIASOOptions:
    """Every choice that the paper leaves open. The defaults are those of `recommended()`.

    All standard deviations are in the units of the weights, for each coordinate.

    Args:
        n_candidates: The number of candidates K (SPEC Q17), at least 1. With K = 1, p says
            nothing and a collapse is a random walk. The greedy search of the paper's ablation
            (Q34) is `n_candidates=1, collapse_when="epoch", accept="if_better",
            tunnel_best=True`.
        unit: The part of the weights that a candidate moves (SPEC Q1). "whole" is the whole
            parameter vector: K losses a step. "tensor" is each tensor by itself, with the others
            at the centre: K losses for each tensor. "coordinate" is each number by itself: K
            losses for each number, so for small problems only.
        eta: The inverse temperature in the exponent, positive. Its unit is one over that of the
            losses; z-scores have none.
        losses: The losses in the exponent (SPEC Q8). "zscore" subtracts their mean and divides by
            their standard deviation; "raw" takes them as they are.
        prior: The distribution that the exponential is multiplied onto (SPEC Q34): the "previous"
            p, or a "uniform" one, which has no memory.
        temperature: T_0 in eta / (T_0 r^epoch) (SPEC Q9), positive.
        temperature_decay: The factor r for each epoch, positive; 1 is off. The paper does not
            give it.
        collapse_to: The place where a collapse puts the centre (SPEC Q10): the "mean" sum_k p_k
            w_k, or the candidate with the largest p ("argmax").
        collapse_when: The time of a collapse (SPEC Q11): at every "step", at every `epoch_end()`
            ("epoch"), or when the effective sample size falls below K/2 ("ess").
        sigma_start: Standard deviation of the first candidates around the model's own weights
            (SPEC Q14), at least 0.
        sigma: Standard deviation of the candidates after a collapse (SPEC Q12), at least 0.
        sigma_decay: The factor that multiplies `sigma` at each epoch, positive; 1 is off.
        tunnel_probability: p_0, the probability of a jump for each candidate and step in the
            first epoch (SPEC Q20), in [0, 1]. 0 switches tunnelling off.
        tunnel_decay: The factor that multiplies the probability at each epoch, in (0, 1].
        tunnel_best: Whether the candidate with the largest p may jump, too (SPEC Q19).
        epsilon: Standard deviation of a jump, at least 0.
        jump_size: The factor that multiplies epsilon (SPEC Q23). "constant" is 1. "printed" is
            T = gamma / (1 + exp(alpha loss)), which is small where the loss is high and so does
            the opposite of the paper's text. "corrected" is T with the other sign.
        gamma: gamma in T, at least 0.
        alpha: alpha in T, positive. It multiplies the loss as it is, not its z-score.
        accept: The jumps that stay (SPEC Q26): all of them ("always"), or those after which the
            loss is lower ("if_better"). The latter costs one loss more for each jump, because the
            candidate is evaluated with the jump and without it on the same minibatch.
        keep_best: Whether the weights of the best candidate seen are kept, which costs one more
            copy of the parameters.

    Raises:
        InvalidArgument: If a field is out of range.

    Example:
        >>> QIASOOptions.literal().collapse_to
        'argmax'

    Differs from the paper: `recommended()` differs in every switch that `literal()` sets.

    Reference: AIMS Mathematics 2026, equations (1), (3), (16) and (39) to (41), and section 4.1 for
    the numbers. I. Sajjad and M. M. AL Sobhi, "The quantum-inspired adaptive superposition
    optimization for neural network training".
    """

    n_candidates: int = 30
    unit: Unit = "whole"
    eta: float = 1.0
    losses: Losses = "zscore"
    prior: Prior = "previous"
    temperature: float = 1.0
    temperature_decay: float = 1.0
    collapse_to: CollapseTo = "mean"
    collapse_when: CollapseWhen = "step"
    sigma_start: float = 0.05
    sigma: float = 0.02
    sigma_decay: float = 1.0
    tunnel_probability: float = 0.3
    tunnel_decay: float = 0.995
    tunnel_best: bool = False
    epsilon: float = 0.02
    jump_size: JumpSize = "constant"
    gamma: float = 1.0
    alpha: float = 1.0
    accept: Accept = "always"
    keep_best: bool = False

    def __post_init__(self) -> None:
        check_choices(self, _CHOICES)
        check_positive_integer("n_candidates", self.n_candidates)
        check_flag("tunnel_best", self.tunnel_best)
        check_flag("keep_best", self.keep_best)
        for argument in _SIZES:
            check_non_negative(argument, getattr(self, argument))
        for argument in _POSITIVE:
            value = getattr(self, argument)
            if value <= 0:
                raise InvalidArgument.of(argument, value, "give a positive number")
        for argument in _FRACTIONS:
            value = getattr(self, argument)
            if value > 1:
                raise InvalidArgument.of(argument, value, "give a number of at most 1")

    @classmethod
    def recommended(cls) -> Self:
        """Return the defaults: whole vectors, z-scored losses, a collapse to the mean each step."""
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """Return the method as printed, faults included.

        The losses are raw, with eta = 20. Once an epoch the search collapses to the best
        candidate. At first every candidate tunnels in every step.
        """
        return cls(
            eta=20.0,
            losses="raw",
            collapse_to="argmax",
            collapse_when="epoch",
            tunnel_probability=1.0,
        )

    def eta_at(self, epoch: int) -> float:
        """Return the inverse temperature eta / T_t (SPEC Q9) in an epoch, counted from 0."""
        return self.eta / (self.temperature * self.temperature_decay**epoch)

    def tunnel_probability_at(self, epoch: int) -> float:
        """Return the probability p_0 * decay^t of a jump, (41), in an epoch, counted from 0."""
        return self.tunnel_probability * self.tunnel_decay**epoch
