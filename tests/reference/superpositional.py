"""SuperpositionalAdam as one reads it in SPEC section 1: NumPy, float64, one after the other.

It has no regard for speed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Factor = Callable[[Array, int, int, int], Array]


def sine(theta: Array, step: int, group: int, tensor: int) -> Array:
    return np.sin(np.pi * theta)


@dataclass
class TwinGroup:
    params: list[Array]
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    strength: Callable[[int], float] = lambda step: 0.5
    factor: Factor = sine
    entries: str = "per_tensor"
    n_qubits: int = 4
    mask: list[NDArray[np.bool_] | None] | None = None
    scale: str = "normalized"
    raw_gradient: str = "current"
    acts_on: str = "update"
    bracket: str = "descent"
    denominator: str = "eps_outside"
    bias_correction: bool = True
    decay: str = "decoupled"
    maximize: bool = False
    state: dict[int, Any] = field(default_factory=dict)


def is_chosen(
    group: TwinGroup, tensor: int, position: int, entries_before: int, tensors_before: int
) -> bool:
    match group.entries:
        case "per_tensor":
            return position < group.n_qubits
        case "global":
            return entries_before + position < group.n_qubits
        case "tensors":
            return tensors_before < group.n_qubits
        case "all":
            return True
        case "mask":
            assert group.mask is not None
            mask = group.mask[tensor]
            return mask is not None and bool(mask.flat[position])
    raise AssertionError(group.entries)


def twin_step(groups: list[TwinGroup], gradients: list[list[Array | None]]) -> None:
    """Update the parameters of all groups in place."""
    entries_before = tensors_before = 0
    for number, (group, row) in enumerate(zip(groups, gradients, strict=True)):
        for tensor, (theta, gradient) in enumerate(zip(group.params, row, strict=True)):
            chosen = np.array(
                [
                    is_chosen(group, tensor, i, entries_before, tensors_before)
                    for i in range(theta.size)
                ],
                dtype=np.float64,
            ).reshape(theta.shape)
            entries_before += theta.size
            tensors_before += 1
            if gradient is not None:
                update(group, number, tensor, theta, gradient, chosen)


def update(
    group: TwinGroup, number: int, tensor: int, theta: Array, gradient: Array, chosen: Array
) -> None:
    state = group.state.setdefault(
        tensor, {"step": 0, "m": np.zeros_like(theta), "v": np.zeros_like(theta)}
    )
    state["step"] += 1
    step = state["step"]
    lam = group.strength(step)
    f = chosen * group.factor(theta, step, number, tensor)

    g = -gradient if group.maximize else gradient.copy()
    if group.decay == "l2":
        g = g + group.weight_decay * theta
    else:
        theta *= 1 - group.lr * group.weight_decay

    fed = g + lam * f * g if group.acts_on == "moments" else g
    beta1, beta2 = group.betas
    state["m"] = beta1 * state["m"] + (1 - beta1) * fed
    state["v"] = beta2 * state["v"] + (1 - beta2) * fed**2
    m_hat, v_hat = state["m"], state["v"]
    if group.bias_correction:
        m_hat, v_hat = m_hat / (1 - beta1**step), v_hat / (1 - beta2**step)
    inside = group.denominator == "eps_inside"
    adam = m_hat / (np.sqrt(v_hat + group.eps) if inside else np.sqrt(v_hat) + group.eps)

    if group.acts_on == "moments":
        theta -= group.lr * adam
        return
    q = (
        f * adam
        if group.scale == "normalized"
        else f * (g if group.raw_gradient == "current" else m_hat)
    )
    if group.bracket == "descent":
        theta -= group.lr * (adam + lam * q)
    else:
        theta += -group.lr * adam + lam * q
