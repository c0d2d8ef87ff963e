"""QuantumTunneling as one reads it in SPEC section 3: NumPy, float64, around SGD with momentum.

It has no regard for speed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draw = Callable[[int, int], Array]  # of the number of the jump and the tensor's place


@dataclass
class Twin:
    """One group of parameters, updated in place."""

    params: list[Array]
    lr: float
    momentum: float
    strength: float
    size: str = "relative"
    tensors: str = "matrices"
    reset: str = "clear"
    reset_factor: float = 0.1
    jumps: int = 0
    buffers: dict[int, Array] = field(default_factory=dict)

    def step(self, gradients: Sequence[Array]) -> None:
        for index, (theta, gradient) in enumerate(zip(self.params, gradients, strict=True)):
            if index in self.buffers:
                self.buffers[index] = self.momentum * self.buffers[index] + gradient
            else:
                self.buffers[index] = gradient.copy()
            theta[...] -= self.lr * self.buffers[index]

    def jump(self, draw: Draw) -> None:
        self.jumps += 1
        for index, theta in enumerate(self.params):
            if self.tensors == "matrices" and theta.ndim < 2:
                continue
            size = np.sqrt(np.mean(theta**2)) if self.size == "relative" else 1.0
            theta[...] += self.strength * size * draw(self.jumps, index)
        self.clean()

    def clean(self) -> None:
        if self.reset == "clear":
            self.buffers.clear()
        elif self.reset == "scale":
            for index, buffer in self.buffers.items():
                if buffer.ndim > 0:
                    self.buffers[index] = self.reset_factor * buffer


def actions(
    losses: Sequence[float],
    interval: int,
    trigger: str = "interval",
    revert_after: int | None = None,
    total: int | None = None,
) -> list[str]:
    """What happens after each epoch, from the whole history: "jump", "revert" or "stay"."""
    losses = [np.inf if np.isnan(loss) else loss for loss in losses]
    done: list[str] = []
    for now in range(1, len(losses) + 1):
        last = max((epoch for epoch, action in enumerate(done, 1) if action != "stay"), default=0)
        reverted = last > 0 and done[last - 1] == "revert"
        on_trial = last > 0 and not reverted and revert_after is not None
        since = list(losses[last:now])
        if on_trial and not any(loss < losses[last - 1] for loss in since):
            done.append("revert" if len(since) == revert_after else "stay")
            continue
        if trigger == "interval":
            due = now % interval == 0
        else:
            # After a revert the weights are those from before the jump, so their loss is what has
            # to be beaten.
            jumped = max(
                (epoch for epoch, action in enumerate(done, 1) if action == "jump"), default=0
            )
            start = losses[jumped - 1] if reverted else np.inf
            best = [start, *since]
            due = len(best) - 1 - int(np.argmin(best)) >= interval
        done.append("jump" if due and (total is None or now < total) else "stay")
    return done
