"""The switches of `SuperpositionalAdam`, and the two settings that have a name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from torch import Tensor

from hybridq.errors import InvalidArgument
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
    """Every choice that the paper leaves open; the defaults are `recommended()`.

    A parameter group can override each of them under its own name: `{"params": ..., "entries":
    "all"}`.

    Args:
        entries: Which entries are perturbed (SPEC S6): the first `n_qubits` of each tensor
            ("per_tensor"), the first `n_qubits` of all tensors laid end to end ("global"), all of
            the first `n_qubits` tensors ("tensors"), "all", or those of a "mask": a list in the
            group, under "mask", with a bool tensor or None for each parameter.
        n_qubits: The n above. More than there are entries means all of them (SPEC S9).
        scale: What Q multiplies (SPEC S12): Adam's own step m_hat / (sqrt(v_hat) + eps)
            ("normalized"), or the gradient ("raw").
        raw_gradient: With `scale="raw"` (SPEC S5): the "current" gradient, as clipping and an L2
            penalty left it, or "m_hat". A normalized Q has m_hat by definition.
        acts_on: Where Q enters (SPEC S15): the "update", or the "moments", which are fed g + lambda
            Q with Q = f * g in place of g. Adam then rescales it away to a good part. `scale` and
            `raw_gradient` have no meaning there.
        bracket: `-lr * (adam + lambda Q)` ("descent"), or `-lr * adam + lambda Q` ("ascent"), which
            climbs and does not know the learning rate; here to show it (SPEC S1).
        denominator: `sqrt(v) + eps` ("eps_outside"), or `sqrt(v + eps)` ("eps_inside"), which
            shrinks small steps (SPEC S2).
        bias_correction: Whether m and v are corrected for their start at zero (SPEC S3).
        decay: Weight decay as in AdamW ("decoupled") or as in Adam ("l2") (SPEC S4). None at all is
            `weight_decay=0`.
        perturbation: The factor f: `Sine()`, or what stands in for it in an ablation.

    Raises:
        InvalidArgument: If a field has a value outside these, or `bracket="ascent"` meets
            `acts_on="moments"`, where there is no bracket.

    Example:
        >>> SuperpositionalOptions.literal().entries
        'global'

    Differs from the paper: by all of `recommended()` against `literal()`.

    Reference: arXiv 2511.01918, equations (1) and (2).
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
        for argument, choices in _CHOICES.items():
            known, value = get_args(choices), getattr(self, argument)
            if value not in known:
                raise InvalidArgument.of(
                    argument, value, f"choose one of {', '.join(map(repr, known))}"
                )
        if (
            isinstance(self.n_qubits, bool)
            or not isinstance(self.n_qubits, int)
            or self.n_qubits < 1
        ):
            raise InvalidArgument.of("n_qubits", self.n_qubits, "give a positive integer")
        if not isinstance(self.bias_correction, bool):
            raise InvalidArgument.of("bias_correction", self.bias_correction, "give True or False")
        if not isinstance(self.perturbation, AbstractPerturbation):
            raise InvalidArgument.of(
                "perturbation", self.perturbation, "give a perturbation object such as Sine()"
            )
        if self.bracket == "ascent" and self.acts_on == "moments":
            reason = 'there is no bracket when Q acts on the moments; choose "descent", or acts_on="update"'
            raise InvalidArgument.of("bracket", self.bracket, reason)

    @classmethod
    def recommended(cls) -> Self:
        """The defaults: each step of Adam is multiplied by 1 + lambda sin(pi theta) in four entries of each tensor."""
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """As printed, faults included: four numbers of the whole model, the raw gradient, no bias correction."""
        return cls(entries="global", scale="raw", raw_gradient="current", bias_correction=False)

    def plain(self) -> dict[str, Any]:
        """The fields as a parameter group holds them: no objects, so that a checkpoint loads with `weights_only=True`."""
        values = {switch.name: getattr(self, switch.name) for switch in fields(self)}
        return values | {"perturbation": self.perturbation.name, "seed": self.perturbation.seed}

    @classmethod
    def of_group(cls, group: Mapping[str, Any], perturbation: AbstractPerturbation) -> Self:
        """Read the fields back from a parameter group, checking them."""
        values = {switch.name: group[switch.name] for switch in fields(cls)}
        return cls(**values | {"perturbation": perturbation})


def strength_at(strength: Strength, step: int) -> float:
    """The number lambda at a step, counted from 1 (SPEC S10).

    Args:
        strength: The number, or the function of the step.
        step: The step.

    Returns:
        The number.

    Raises:
        InvalidArgument: If the function returns no finite number of at least 0.
    """
    if not callable(strength):
        return strength
    value = strength(step)
    if not _is_number(value) or value < 0:
        reason = f"the function returned this at step {step}; it has to return a finite number, at least 0"
        raise InvalidArgument.of("strength", value, reason)
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_numbers(group: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that are out of range.

    Args:
        group: A parameter group.

    Raises:
        InvalidArgument: For the first one that is.
    """
    lr = group["lr"]
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise InvalidArgument.of("lr", lr, "a tensor must have one element")
        lr = lr.item()
    for argument, value in (
        ("lr", lr),
        ("eps", group["eps"]),
        ("weight_decay", group["weight_decay"]),
    ):
        if not _is_number(value) or value < 0:
            raise InvalidArgument.of(argument, value, "give a finite number, at least 0")
    betas = group["betas"]
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise InvalidArgument.of("betas", betas, "give two numbers, such as (0.9, 0.999)")
    for number, beta in enumerate(betas):
        if not _is_number(beta) or not 0 <= beta < 1:
            raise InvalidArgument.of(f"betas[{number}]", beta, "give a number in [0, 1)")
    strength = group["strength"]
    if not callable(strength) and (not _is_number(strength) or strength < 0):
        raise InvalidArgument.of(
            "strength", strength, "give a finite number, at least 0, or a function of the step"
        )


def check_switches(group: Mapping[str, Any], perturbation: AbstractPerturbation) -> None:
    """Refuse torch's switches where they are no switches, or cannot be had together.

    Args:
        group: A parameter group.
        perturbation: Its perturbation.

    Raises:
        InvalidArgument: For the first one that is.
    """
    if group["foreach"] not in (None, True, False):
        raise InvalidArgument.of("foreach", group["foreach"], "give True, False or None")
    for argument in ("maximize", "capturable", "differentiable", "check_finite"):
        if not isinstance(group[argument], bool):
            raise InvalidArgument.of(argument, group[argument], "give True or False")
    if group["differentiable"] and group["foreach"]:
        reason = "torch's multi-tensor operations cannot be differentiated; leave it out, or set differentiable=False"
        raise InvalidArgument.of("foreach", True, reason)
    if not group["capturable"]:
        return
    if callable(group["strength"]):
        reason = "a graph cannot call a function; give a number, or set capturable=False"
        raise InvalidArgument.of("strength", group["strength"], reason)
    if not perturbation.capturable:
        reason = "a graph cannot record it, for it is made on the host; choose Sine(), or set capturable=False"
        raise InvalidArgument.of("perturbation", perturbation, reason)
    if group["check_finite"]:
        raise InvalidArgument.of(
            "check_finite", True, "a graph cannot stop; check the loss, or set capturable=False"
        )
