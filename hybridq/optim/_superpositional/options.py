"""The switches of `SuperpositionalAdam`, and the two sets of them that have a name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from torch import Tensor

from hybridq.errors import InvalidArgument
from hybridq.optim._checks import (
    check_choices,
    check_flag,
    check_non_negative,
    check_positive_integer,
    is_number,
)
from hybridq.optim._perturbations import AbstractPerturbation, Sine

__all__ = ["Strength", "SuperpositionalOptions", "check_numbers", "check_switches", "strength_at"]

Strength = float | Callable[[int], float]

Bracket = Literal["descent", "ascent"]
Denominator = Literal["eps_outside", "eps_inside"]
Decay = Literal["decoupled", "l2"]
Entries = Literal["per_tensor", "global", "tensors", "all", "mask"]
Scale = Literal["normalized", "raw"]
RawGradient = Literal["current", "m_hat"]
ActsOn = Literal["update", "moments"]

_CHOICES: dict[str, Any] = {
    "bracket": Bracket,
    "denominator": Denominator,
    "decay": Decay,
    "entries": Entries,
    "scale": Scale,
    "raw_gradient": RawGradient,
    "acts_on": ActsOn,
}


@dataclass(frozen=True)
class SuperpositionalOptions:
    """Every choice that the paper leaves open. The defaults are those of `recommended()`.

    A parameter group can override each of them under its own name: `{"params": ..., "entries":
    "all"}`.

    Args:
        entries: The entries that are perturbed (SPEC S6). "per_tensor" is the first `n_qubits` of
            each tensor. "global" is the first `n_qubits` of all tensors laid end to end. "tensors"
            is all entries of the first `n_qubits` tensors. "all" is every entry. "mask" is the
            entries of a mask: a list in the group, under "mask", with a bool tensor or None for
            each parameter.
        n_qubits: The number n in `entries`, at least 1. If there are fewer entries, all of them
            are meant (SPEC S9).
        scale: The quantity that Q multiplies (SPEC S12): the step of Adam, m_hat / (sqrt(v_hat) +
            eps) ("normalized"), or the gradient ("raw").
        raw_gradient: The gradient of `scale="raw"` (SPEC S5): the "current" one, as clipping and an
            L2 penalty left it, or "m_hat". A normalized Q has m_hat by definition.
        acts_on: The place where Q enters (SPEC S15): the "update", or the "moments". The moments
            are fed g + lambda Q in place of g, with Q = f * g, most of which Adam then rescales
            away. `scale` and `raw_gradient` have no meaning there.
        bracket: The sign and scale of Q in the update (SPEC S1): `-lr * (adam + lambda Q)`
            ("descent"), or `-lr * adam + lambda Q` ("ascent"). The latter climbs and does not
            depend on the learning rate; it is here to show that.
        denominator: The place of eps (SPEC S2): `sqrt(v) + eps` ("eps_outside"), or `sqrt(v +
            eps)` ("eps_inside"), which shrinks small steps.
        bias_correction: Whether m and v are corrected for their start at zero (SPEC S3).
        decay: The kind of weight decay (SPEC S4): as in AdamW ("decoupled") or as in Adam ("l2").
            `weight_decay=0` is no weight decay at all.
        perturbation: The factor f: `Sine()`, or one that an ablation puts in its place.

    Raises:
        InvalidArgument: If a field is out of range.
        InvalidArgument: If `bracket="ascent"` meets `acts_on="moments"`, where there is no bracket.

    Example:
        >>> SuperpositionalOptions.literal().entries
        'global'

    Differs from the paper: `recommended()` differs in every switch that `literal()` sets.

    Reference: arXiv 2511.01918, equations (1) and (2). A. E. Pamuk, E. K. Özdemir and Ş. T.
    Kocabay, "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training",
    2025.
    """

    entries: Entries = "per_tensor"
    n_qubits: int = 4
    scale: Scale = "normalized"
    raw_gradient: RawGradient = "current"
    acts_on: ActsOn = "update"
    bracket: Bracket = "descent"
    denominator: Denominator = "eps_outside"
    bias_correction: bool = True
    decay: Decay = "decoupled"
    perturbation: AbstractPerturbation = field(default_factory=Sine)

    def __post_init__(self) -> None:
        check_choices(self, _CHOICES)
        check_positive_integer("n_qubits", self.n_qubits)
        check_flag("bias_correction", self.bias_correction)
        if not isinstance(self.perturbation, AbstractPerturbation):
            raise InvalidArgument.of(
                "perturbation", self.perturbation, "give a perturbation object such as Sine()"
            )
        if self.bracket == "ascent" and self.acts_on == "moments":
            reason = (
                'there is no bracket when Q acts on the moments; choose "descent", or '
                'acts_on="update"'
            )
            raise InvalidArgument.of("bracket", self.bracket, reason)

    @classmethod
    def recommended(cls) -> Self:
        """Return the defaults.

        In four entries of each tensor, the step of Adam is multiplied by 1 + lambda sin(pi theta).
        """
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """Return the method as printed, faults included.

        Q takes four numbers of the whole model and the raw gradient. The moments are not corrected
        for their bias.
        """
        return cls(entries="global", scale="raw", raw_gradient="current", bias_correction=False)

    def plain(self) -> dict[str, Any]:
        """Return the fields as a parameter group holds them.

        They are no objects, so that a checkpoint loads with `weights_only=True`.
        """
        values = {switch.name: getattr(self, switch.name) for switch in fields(self)}
        return values | {"perturbation": self.perturbation.name, "seed": self.perturbation.seed}

    @classmethod
    def of_group(cls, group: Mapping[str, Any], perturbation: AbstractPerturbation) -> Self:
        """Read the fields back from a parameter group.

        Args:
            group: The group.
            perturbation: Its perturbation.

        Returns:
            The options.

        Raises:
            InvalidArgument: As for the constructor.
        """
        values = {switch.name: group[switch.name] for switch in fields(cls)}
        return cls(**values | {"perturbation": perturbation})


def strength_at(strength: Strength, step: int) -> float:
    """Return the number lambda at a step (SPEC S10).

    Args:
        strength: The number, or the function of the step.
        step: The step, counted from 1.

    Returns:
        The number.

    Raises:
        InvalidArgument: If the function returns no finite number of at least 0.
    """
    if not callable(strength):
        return strength
    value = strength(step)
    if not is_number(value) or value < 0:
        reason = (
            f"the function returned this at step {step}; it has to return a finite number, at "
            "least 0"
        )
        raise InvalidArgument.of("strength", value, reason)
    return float(value)


def check_numbers(group: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that are out of range.

    Args:
        group: A parameter group.

    Raises:
        InvalidArgument: For the first hyperparameter that is out of range.
    """
    lr = group["lr"]
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise InvalidArgument.of("lr", lr, "a tensor must have one element")
        lr = lr.item()
    check_non_negative("lr", lr)
    check_non_negative("eps", group["eps"])
    check_non_negative("weight_decay", group["weight_decay"])
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise InvalidArgument.of("betas", betas, "give two numbers, such as (0.9, 0.999)")
    for number, beta in enumerate(betas):
        if not is_number(beta) or not 0 <= beta < 1:
            raise InvalidArgument.of(f"betas[{number}]", beta, "give a number in [0, 1)")
    strength = group["strength"]
    if not callable(strength) and (not is_number(strength) or strength < 0):
        reason = "give a finite number, at least 0, or a function of the step"
        raise InvalidArgument.of("strength", strength, reason)


def check_switches(group: Mapping[str, Any], perturbation: AbstractPerturbation) -> None:
    """Refuse torch's switches if their values are none, or exclude each other.

    Args:
        group: A parameter group.
        perturbation: Its perturbation.

    Raises:
        InvalidArgument: For the first such switch.
    """
    if group["foreach"] not in (None, True, False):
        raise InvalidArgument.of("foreach", group["foreach"], "give True, False or None")
    for argument in ("maximize", "capturable", "differentiable", "check_finite"):
        check_flag(argument, group[argument])
    if group["differentiable"] and group["foreach"]:
        reason = (
            "torch's multi-tensor operations cannot be differentiated; leave it out, or set "
            "differentiable=False"
        )
        raise InvalidArgument.of("foreach", True, reason)
    if not group["capturable"]:
        return
    if callable(group["strength"]):
        reason = "a graph cannot call a function; give a number, or set capturable=False"
        raise InvalidArgument.of("strength", group["strength"], reason)
    if not perturbation.capturable:
        reason = (
            "a graph cannot record it, for it is made on the host; choose Sine(), or set "
            "capturable=False"
        )
        raise InvalidArgument.of("perturbation", perturbation, reason)
    if group["check_finite"]:
        reason = "a graph cannot stop; check the loss, or set capturable=False"
        raise InvalidArgument.of("check_finite", True, reason)
