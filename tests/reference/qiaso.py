"""QIASO as one reads it in SPEC section 4: NumPy, float64, one number after the other.

There are K copies of the weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softmax_step(p: Array, losses: Array, eta: float) -> Array:
    """Equation (16) as printed; a loss that is not finite gets nothing."""
    weights: Array = np.array(
        [
            p_k * math.exp(-eta * loss) if np.isfinite(loss) else 0.0
            for p_k, loss in zip(p, losses, strict=True)
        ]
    )
    probabilities: Array = weights / weights.sum()
    return probabilities


def z_scores(losses: Array) -> Array:
    finite = losses[np.isfinite(losses)]
    scores: Array = (losses - finite.mean()) / (finite.std() or 1.0)
    return scores


@dataclass
class Twin:
    """A search over a flat vector.

    `noise(kind, number, k)` is the vector of candidate k for a generation ("candidate") or a step
    ("jump"), `coin(step, unit, k)` a number in [0, 1), `unit_of[i]` the unit of entry i.
    """

    centre: Array
    unit_of: list[int]
    options: Any
    noise: Callable[[str, int, int], Array]
    coin: Callable[[int, int, int], float]
    epoch: int = 0
    steps: int = 0
    generation: int = 0
    told: bool = False
    w: list[Array] = field(default_factory=list)
    before_jump: dict[tuple[int, int], Array] = field(default_factory=dict)
    p: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        self.spread(self.options.sigma_start)

    @property
    def units(self) -> range:
        return range(max(self.unit_of) + 1)

    def entries(self, unit: int) -> list[int]:
        return [entry for entry, owner in enumerate(self.unit_of) if owner == unit]

    def spread(self, sigma: float) -> None:
        k_all = range(self.options.n_candidates)
        self.w = [self.centre + sigma * self.noise("candidate", self.generation, k) for k in k_all]
        self.p = np.full((len(self.units), len(k_all)), 1 / len(k_all))
        self.before_jump = {}
        self.told = False

    def point(self, unit: int, w: Array) -> Array:
        """The centre with one unit of a candidate."""
        point = self.centre.copy()
        for entry in self.entries(unit):
            point[entry] = w[entry]
        return point

    def step(self, loss: Callable[[Array], float]) -> None:
        options = self.options
        losses = np.array([[loss(self.point(unit, w)) for w in self.w] for unit in self.units])
        if options.accept == "if_better":
            for (unit, k), before in self.before_jump.items():
                loss_before = loss(self.point(unit, before))
                if not losses[unit, k] < loss_before:
                    losses[unit, k] = loss_before
                    for entry in self.entries(unit):
                        self.w[k][entry] = before[entry]
        self.before_jump = {}
        eta = options.eta / (options.temperature * options.temperature_decay**self.epoch)
        for unit in self.units:
            prior = (
                self.p[unit]
                if options.prior == "previous"
                else np.full(len(self.w), 1 / len(self.w))
            )
            scaled = z_scores(losses[unit]) if options.losses == "zscore" else losses[unit]
            self.p[unit] = softmax_step(prior, scaled, eta)
        expected = [
            sum(p * x for p, x in zip(self.p[unit], losses[unit], strict=True) if p > 0)
            for unit in self.units
        ]
        self.told = True
        self.steps += 1
        sample_size = np.mean([1 / (self.p[unit] ** 2).sum() for unit in self.units])
        if options.collapse_when == "step" or (
            options.collapse_when == "ess" and sample_size < len(self.w) / 2
        ):
            self.collapse()
        self.tunnel(losses, expected)

    def tunnel(self, losses: Array, expected: list[float]) -> None:
        options = self.options
        old = [w.copy() for w in self.w]
        for unit in self.units:
            best = int(self.p[unit].argmax()) if self.told and not options.tunnel_best else None
            for k in range(len(self.w)):
                if (
                    k == best
                    or not self.coin(self.steps, unit, k)
                    < options.tunnel_probability * options.tunnel_decay**self.epoch
                ):
                    continue
                here = losses[unit, k] if self.told else expected[unit]
                size = {
                    "constant": 1.0,
                    "printed": options.gamma / (1 + math.exp(options.alpha * here)),
                    "corrected": options.gamma / (1 + math.exp(-options.alpha * here)),
                }[options.jump_size]
                jump = self.noise("jump", self.steps, k)
                self.before_jump[unit, k] = old[k]
                for entry in self.entries(unit):
                    self.w[k][entry] += options.epsilon * size * jump[entry]

    def collapse(self) -> None:
        if not self.told:
            return
        for unit in self.units:
            for entry in self.entries(unit):
                if self.options.collapse_to == "mean":
                    self.centre[entry] = sum(
                        p * w[entry] for p, w in zip(self.p[unit], self.w, strict=True)
                    )
                else:
                    self.centre[entry] = self.w[int(self.p[unit].argmax())][entry]
        self.generation += 1
        self.spread(self.options.sigma * self.options.sigma_decay**self.epoch)

    def epoch_end(self) -> None:
        self.epoch += 1
        if self.options.collapse_when == "epoch":
            self.collapse()
