"""The switches of `QIASO`, and the two settings that have a name."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from hybridq.errors import InvalidArgument

__all__ = ["QIASOOptions", "check_size"]

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
    """Every choice that the paper leaves open; the defaults are `recommended()`.

    Args:
        n_candidates: K (SPEC Q17). With 1, p says nothing and a collapse is a random walk; the
            greedy search of the paper's ablation (Q34) is `n_candidates=1, collapse_when="epoch",
            accept="if_better", tunnel_best=True`.
        unit: What a candidate is (SPEC Q1): the "whole" parameter vector, with K losses a step;
            each "tensor" by itself, the others at the centre, with K losses for each; or each
            "coordinate", with K losses for each: small problems only.
        eta: The inverse temperature in the exponent, positive.
        losses: What is in the exponent (SPEC Q8): the losses less their mean, divided by their
            standard deviation ("zscore"), or as they are ("raw").
        prior: What p is multiplied onto (SPEC Q34): the "previous" p, or a "uniform" one:
            memoryless.
        temperature: T_0 in eta / (T_0 r^epoch) (SPEC Q9).
        temperature_decay: r; 1 is off. The paper does not give its rate.
        collapse_to: What the centre becomes (SPEC Q10): the "mean" sum_k p_k w_k, or the candidate
            with the largest p ("argmax").
        collapse_when: At every "step", at every `epoch_end()` ("epoch"), or when the effective
            sample size falls below K/2 ("ess") (SPEC Q11).
        sigma_start: Standard deviation of the first candidates around the model's own weights (SPEC
            Q14).
        sigma: The same after a collapse (SPEC Q12).
        sigma_decay: `sigma` is multiplied by it at each epoch; 1 is off.
        tunnel_probability: p_0 (SPEC Q20); 0 is no tunnelling.
        tunnel_decay: The probability is p_0 times this to the power of the epoch.
        tunnel_best: Whether the candidate with the largest p tosses its coin too (SPEC Q19).
        epsilon: Standard deviation of a jump.
        jump_size: What multiplies epsilon (SPEC Q23): 1 ("constant"), T = gamma / (1 + exp(alpha
            loss)) ("printed"), which is small where the loss is high and so does the opposite of
            the text, or T with the other sign ("corrected").
        gamma: In T.
        alpha: In T; it multiplies the loss as it is.
        accept: Whether a jump stays (SPEC Q26): "always", or "if_better", where the candidate is
            evaluated before and after the jump on the same minibatch: one loss more for each jump.
        keep_best: Whether the best candidate seen is kept: one more copy of the parameters.

    Raises:
        InvalidArgument: If a field is out of range.

    Example:
        >>> QIASOOptions.literal().collapse_to
        'argmax'

    Differs from the paper: by all of `recommended()` against `literal()`.

    Reference: AIMS Mathematics 2026, equations (1), (3), (16), (39) to (41), and section 4.1 for
    the numbers.
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
        for argument, choices in _CHOICES.items():
            known, value = get_args(choices), getattr(self, argument)
            if value not in known:
                raise InvalidArgument.of(
                    argument, value, f"choose one of {', '.join(map(repr, known))}"
                )
        if (
            isinstance(self.n_candidates, bool)
            or not isinstance(self.n_candidates, int)
            or self.n_candidates < 1
        ):
            raise InvalidArgument.of("n_candidates", self.n_candidates, "give a positive integer")
        for argument in ("tunnel_best", "keep_best"):
            if not isinstance(getattr(self, argument), bool):
                raise InvalidArgument.of(argument, getattr(self, argument), "give True or False")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for argument in _SIZES:
            check_size(argument, getattr(self, argument))
        for argument in _POSITIVE:
            if getattr(self, argument) <= 0:
                raise InvalidArgument.of(
                    argument, getattr(self, argument), "give a positive number"
                )
        for argument in _FRACTIONS:
            if getattr(self, argument) > 1:
                raise InvalidArgument.of(
                    argument, getattr(self, argument), "give a number of at most 1"
                )

    @classmethod
    def recommended(cls) -> Self:
        """The defaults: whole vectors, z-scored losses, and a collapse to the mean at each step."""
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """As printed: raw losses with eta = 20, and a collapse to the best candidate once an epoch; all tunnel at first."""
        return cls(
            eta=20.0,
            losses="raw",
            collapse_to="argmax",
            collapse_when="epoch",
            tunnel_probability=1.0,
        )

    def eta_at(self, epoch: int) -> float:
        """The inverse temperature eta / T_t (SPEC Q9) in an epoch, counted from 0."""
        return self.eta / (self.temperature * self.temperature_decay**epoch)

    def tunnel_probability_at(self, epoch: int) -> float:
        """The probability p_0 * decay^t of a jump, (41), in an epoch, counted from 0."""
        return self.tunnel_probability * self.tunnel_decay**epoch


def check_size(argument: str, value: object) -> None:
    """Refuse what is no finite number of at least 0.

    Args:
        argument: Its name.
        value: Its value.

    Raises:
        InvalidArgument: If it is not.
    """
    if not _is_number(value) or value < 0:  # type: ignore[operator]
        raise InvalidArgument.of(argument, value, "give a finite number, at least 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
