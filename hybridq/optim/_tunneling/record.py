"""What a call of `QuantumTunneling` did, in plain numbers."""

from dataclasses import dataclass

__all__ = ["TunnelingRecord"]


@dataclass(frozen=True)
class TunnelingRecord:
    """What the last call of `step`, `epoch_end` or `jump` did.

    Args:
        step: The number of steps so far. Steps with learning rate 0 do not count.
        epoch: The number of epochs that have ended.
        jumps: The number of jumps so far.
        jumped: Whether this call jumped.
        trigger: The reason of the jump: "interval", "plateau" or "call". None without a jump.
        norm: The length of the jump over all tensors that jumped, in the units of the weights; 0
            without a jump.
        relative: That length divided by the length of these tensors before the jump, which is the
            ratio of the root mean squares; 0 without a jump.
        reverted: Whether this call took a jump back.
    """

    step: int
    epoch: int
    jumps: int
    jumped: bool = False
    trigger: str | None = None
    norm: float = 0.0
    relative: float = 0.0
    reverted: bool = False
