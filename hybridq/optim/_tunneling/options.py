"""The switches of `QuantumTunneling`, and the two settings that have a name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from hybridq.errors import InvalidArgument

__all__ = ["TunnelingOptions", "check_count", "check_strength"]

Unit = Literal["epoch", "step"]
Trigger = Literal["interval", "plateau"]
Mode = Literal["min", "max"]
Noise = Literal["normal", "uniform", "cauchy"]
Size = Literal["relative", "absolute"]
Tensors = Literal["matrices", "all"]
Reset = Literal["clear", "keep", "scale"]

_CHOICES: dict[str, Any] = {
    "unit": Unit,
    "trigger": Trigger,
    "mode": Mode,
    "noise": Noise,
    "size": Size,
    "tensors": Tensors,
    "reset": Reset,
}


@dataclass(frozen=True)
class TunnelingOptions:
    """Every choice that the paper leaves open; the defaults are `recommended()`.

    Args:
        unit: What `interval` and `total` count (SPEC T1, T3): calls of `epoch_end` ("epoch"), or of
            `step` ("step"), but for those with learning rate 0.
        trigger: Jump every `interval` ("interval"), or when `interval` epochs have brought no
            better metric ("plateau", SPEC T17), counted anew from each jump.
        mode: Whether a smaller metric is better ("min") or a larger one ("max").
        revert_after: Take a jump back if none of that many epochs after it has a better metric than
            the one it started from (SPEC T19). It keeps a copy of all parameters. None: never.
        jump_at_end: Whether to jump after the last epoch or step too, the one that `total` names
            (SPEC T2).
        noise: N(0, 1) ("normal"), uniform with the same variance ("uniform"), or "cauchy", which
            has none: of a million entries the largest is about 300,000 times the typical one (SPEC
            T4).
        size: Whether `strength` multiplies the noise ("absolute"), or the noise times the root mean
            square of the tensor ("relative"), so that a tensor of zeros stays (SPEC T5).
        tensors: Jump with "all" trainable tensors, or only with "matrices", those of 2 or more
            dimensions (SPEC T6).
        reset: What happens to the base optimizer's state, of all parameters (SPEC T8): "clear" it
            as at the start, "keep" it, or "scale" by `reset_factor` its floating-point tensors that
            have a dimension: the moments, not the counts.
        reset_factor: That factor.
        check_finite: Whether to look for NaN and infinity in the gradients before each step. On a
            GPU it waits for them.

    Raises:
        InvalidArgument: If a field has a value outside these, or a plateau or `revert_after` meets
            `unit="step"`, where there is no metric.

    Example:
        >>> TunnelingOptions.literal().size
        'absolute'

    Differs from the paper: by all of `recommended()` against `literal()`.

    Reference: the SGD-QT paper, section 2.2 and algorithm 1; section 5 for the plateau.
    """

    unit: Unit = "epoch"
    trigger: Trigger = "interval"
    mode: Mode = "min"
    revert_after: int | None = None
    jump_at_end: bool = False
    noise: Noise = "normal"
    size: Size = "relative"
    tensors: Tensors = "matrices"
    reset: Reset = "clear"
    reset_factor: float = 0.1
    check_finite: bool = False

    def __post_init__(self) -> None:
        for argument, choices in _CHOICES.items():
            known, value = get_args(choices), getattr(self, argument)
            if value not in known:
                raise InvalidArgument.of(
                    argument, value, f"choose one of {', '.join(map(repr, known))}"
                )
        for argument in ("jump_at_end", "check_finite"):
            if not isinstance(getattr(self, argument), bool):
                raise InvalidArgument.of(argument, getattr(self, argument), "give True or False")
        check_strength("reset_factor", self.reset_factor)
        if self.revert_after is not None:
            check_count("revert_after", self.revert_after)
        if self.unit == "step" and (self.trigger == "plateau" or self.revert_after is not None):
            reason = 'a plateau and revert_after need the metric of an epoch; choose "epoch"'
            raise InvalidArgument.of("unit", self.unit, reason)

    @classmethod
    def recommended(cls) -> Self:
        """The defaults: matrices move by `strength` times their root mean square, and not after the last epoch."""
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """As printed, faults included: every tensor moves by `strength` itself, after the last epoch too."""
        return cls(size="absolute", tensors="all", jump_at_end=True)

    @classmethod
    def of_group(cls, group: Mapping[str, Any], prefix: str) -> Self:
        """Read the fields back from a parameter group, checking them."""
        return cls(**{switch.name: group[prefix + switch.name] for switch in fields(cls)})


def check_count(argument: str, value: object) -> None:
    """Refuse what is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument.of(argument, value, "give a positive integer")


def check_strength(argument: str, value: object) -> None:
    """Refuse what is not a finite number of at least 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise InvalidArgument.of(argument, value, "give a finite number, at least 0")
