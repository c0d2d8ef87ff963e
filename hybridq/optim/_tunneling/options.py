"""The switches of `QuantumTunneling`, and the two sets of them that have a name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from hybridq.errors import InvalidArgument
from hybridq.optim._checks import (
    check_choices,
    check_flag,
    check_non_negative,
    check_positive_integer,
)

__all__ = ["TunnelingOptions"]

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
    """Every choice that the paper leaves open. The defaults are those of `recommended()`.

    Args:
        unit: The unit of `interval` and `total` (SPEC T1, T3): calls of `epoch_end` ("epoch"), or
            calls of `step` ("step"). Steps with learning rate 0 do not count.
        trigger: The reason of a jump. "interval" jumps after every `interval` epochs or steps.
            "plateau" jumps when `interval` epochs have brought no better metric (SPEC T17),
            counted anew from each jump.
        mode: Whether a smaller metric is better ("min") or a larger one ("max").
        revert_after: The number of epochs after which a jump is taken back, if none of them has a
            better metric than the one before the jump (SPEC T19). It keeps a copy of all
            parameters. None: no jump is taken back.
        jump_at_end: Whether a jump may follow the last epoch or step, the one that `total` names
            (SPEC T2).
        noise: The distribution of the noise (SPEC T4): N(0, 1) ("normal"), uniform with the same
            variance ("uniform"), or "cauchy", which has no variance. Of a million Cauchy numbers
            the largest is about 300,000 times the typical one.
        size: The meaning of `strength` (SPEC T5). "absolute" multiplies the noise by it.
            "relative" multiplies by the root mean square of the tensor, too, so that a tensor of
            zeros stays.
        tensors: The trainable tensors that jump (SPEC T6): "all", or only "matrices", which are
            those of 2 or more dimensions.
        reset: The treatment of the base optimizer's state after a jump, for all parameters (SPEC
            T8). "clear" empties it, as at the start. "keep" leaves it. "scale" multiplies by
            `reset_factor` its floating-point tensors that have a dimension, which are the moments
            and not the counts.
        reset_factor: That factor, at least 0.
        check_finite: Whether to look for NaN and infinity in the gradients before each step. On a
            GPU the host waits for the answer.

    Raises:
        InvalidArgument: If a field is out of range.
        InvalidArgument: If a plateau or `revert_after` meets `unit="step"`, where there is no
            metric.

    Example:
        >>> TunnelingOptions.literal().size
        'absolute'

    Differs from the paper: `recommended()` differs in every switch that `literal()` sets.

    Reference: the SGD-QT paper, section 2.2 and algorithm 1, and section 5 for the plateau. A.
    Pradhan, "Quantum-Inspired Stochastic Gradient Descent for Enhanced Exploration and Accelerated
    Training of Deep Neural Networks".
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
        check_choices(self, _CHOICES)
        check_flag("jump_at_end", self.jump_at_end)
        check_flag("check_finite", self.check_finite)
        check_non_negative("reset_factor", self.reset_factor)
        if self.revert_after is not None:
            check_positive_integer("revert_after", self.revert_after)
        if self.unit == "step" and (self.trigger == "plateau" or self.revert_after is not None):
            reason = 'a plateau and revert_after need the metric of an epoch; choose "epoch"'
            raise InvalidArgument.of("unit", self.unit, reason)

    @classmethod
    def recommended(cls) -> Self:
        """Return the defaults.

        Matrices move by `strength` times their root mean square, and not after the last epoch.
        """
        return cls()

    @classmethod
    def literal(cls) -> Self:
        """Return the method as printed, faults included.

        Every tensor moves by `strength` itself, after the last epoch, too.
        """
        return cls(size="absolute", tensors="all", jump_at_end=True)

    @classmethod
    def of_group(cls, group: Mapping[str, Any], prefix: str) -> Self:
        """Read the fields back from a parameter group.

        Args:
            group: The group.
            prefix: The prefix of its keys.

        Returns:
            The options.

        Raises:
            InvalidArgument: As for the constructor.
        """
        return cls(**{switch.name: group[prefix + switch.name] for switch in fields(cls)})
