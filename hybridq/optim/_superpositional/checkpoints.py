"""What SuperpositionalAdam keeps for each parameter, and how it is read from checkpoints of others and of older versions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hybridq.errors import CheckpointMismatch

__all__ = [
    "CALLABLE",
    "LOW",
    "SWITCHES",
    "check_shapes",
    "completed",
    "keep_float32",
    "start",
    "upgrade",
]

CALLABLE = "callable"  # what a checkpoint holds in place of a strength that is a function
LOW = (torch.bfloat16, torch.float16)
SWITCHES = (
    "maximize",
    "capturable",
    "differentiable",
    "check_finite",
)  # False where a checkpoint does not know them

Groups = Sequence[Mapping[str, Any]]


def start(state: dict[str, Any], param: Tensor, group: Mapping[str, Any]) -> None:
    """Fill the empty state of a parameter."""
    dtype = torch.float32 if param.dtype in LOW else param.dtype
    device = param.device if group["capturable"] else None
    state["step"] = torch.zeros((), dtype=torch.float32, device=device)
    state["exp_avg"] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
    state["exp_avg_sq"] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)


def upgrade(
    group: dict[str, Any], defaults: Mapping[str, Any], state: Mapping[Tensor, Any]
) -> None:
    """Complete a group of an older version, and turn step counts that are numbers into tensors.

    Args:
        group: The group.
        defaults: What it says where it says nothing.
        state: The optimizer's state.
    """
    for name, value in defaults.items():
        group.setdefault(name, value)
    for param in group["params"]:
        kept = state.get(param, {})
        if "step" in kept and not isinstance(kept["step"], Tensor):
            device = param.device if group["capturable"] else None
            kept["step"] = torch.tensor(float(kept["step"]), dtype=torch.float32, device=device)


def completed(state_dict: Mapping[str, Any], groups: Groups) -> dict[str, Any]:
    """The checkpoint, whose groups say as the optimizer's own groups do what they do not say."""
    rows = []
    for saved, own in zip(state_dict["param_groups"], groups, strict=False):
        row = {name: value for name, value in own.items() if name not in ("params", "param_names")}
        if "decoupled_weight_decay" in saved:  # of torch's Adam
            row["decay"] = "decoupled" if saved["decoupled_weight_decay"] else "l2"
        rows.append({**row, **saved})
    return {**state_dict, "param_groups": [*rows, *state_dict["param_groups"][len(rows) :]]}


def saved_states(
    groups: Groups, state_dict: Mapping[str, Any]
) -> Iterator[tuple[int, Tensor, Mapping[str, Any]]]:
    """Number, parameter and saved state of each parameter."""
    params = [param for group in groups for param in group["params"]]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    for number, param in zip(numbers, params, strict=False):
        yield number, param, state_dict["state"].get(number, {})


def check_shapes(groups: Groups, state_dict: Mapping[str, Any]) -> None:
    """Refuse the checkpoint of another model.

    Raises:
        CheckpointMismatch: If an average has another shape than its parameter.
    """
    for number, param, saved in saved_states(groups, state_dict):
        if "exp_avg" in saved and saved["exp_avg"].shape != param.shape:
            shapes = f"{tuple(saved['exp_avg'].shape)}, here {tuple(param.shape)}"
            raise CheckpointMismatch(
                f"parameter {number} has the shape {shapes}; load a checkpoint of the same model"
            )


def keep_float32(
    groups: Groups, state: Mapping[Tensor, Any], state_dict: Mapping[str, Any]
) -> None:
    """Put back the averages of low-precision parameters, which torch has rounded to their dtype (SPEC S18)."""
    for _, param, saved in saved_states(groups, state_dict):
        for name in ("exp_avg", "exp_avg_sq"):
            if name in saved and param.dtype in LOW:
                state[param][name] = saved[name].to(param.device, torch.float32, copy=True)
