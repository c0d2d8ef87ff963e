"""The state that `SuperpositionalAdam` keeps for each parameter.

It is also read from checkpoints of torch's Adam and of earlier versions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybridq.errors import CheckpointMismatch

__all__ = [
    "CALLABLE",
    "LOW",
    "SWITCHES",
    "check_shapes",
    "keep_float32",
    "start",
    "upgrade",
    "with_defaults",
]

# A checkpoint holds this word in place of a strength that is a function.
CALLABLE = "callable"
LOW = (torch.bfloat16, torch.float16)
# They are False where a checkpoint does not know them.
SWITCHES = ("maximize", "capturable", "differentiable", "check_finite")

Groups = Sequence[Mapping[str, Any]]


def start(state: dict[str, Any], param: Tensor, group: Mapping[str, Any]) -> None:
    """Fill the empty state of a parameter.

    Args:
        state: The state.
        param: The parameter.
        group: Its group.
    """
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
        defaults: The values of the keys that the group does not have.
        state: The optimizer's state.
    """
    for name, value in defaults.items():
        group.setdefault(name, value)
    for param in group["params"]:
        kept = state.get(param, {})
        if "step" in kept and not isinstance(kept["step"], Tensor):
            device = param.device if group["capturable"] else None
            kept["step"] = torch.tensor(float(kept["step"]), dtype=torch.float32, device=device)


def with_defaults(state_dict: Mapping[str, Any], groups: Groups) -> dict[str, Any]:
    """Return a checkpoint that says everything.

    Args:
        state_dict: The checkpoint.
        groups: The optimizer's groups, in order. They give the values of the keys that the groups
            of the checkpoint do not have.

    Returns:
        The completed checkpoint.
    """
    completed = []
    for saved, group in zip(state_dict["param_groups"], groups, strict=False):
        values = {
            name: value for name, value in group.items() if name not in ("params", "param_names")
        }
        if "decoupled_weight_decay" in saved:  # Torch's Adam has this key.
            values["decay"] = "decoupled" if saved["decoupled_weight_decay"] else "l2"
        completed.append({**values, **saved})
    rest = state_dict["param_groups"][len(completed) :]
    return {**state_dict, "param_groups": [*completed, *rest]}


class _Saved(NamedTuple):
    """The saved state of a parameter."""

    number: int
    """The number of the parameter in the checkpoint."""
    param: Tensor
    state: Mapping[str, Any]


def _saved_states(groups: Groups, state_dict: Mapping[str, Any]) -> Iterator[_Saved]:
    params = [param for group in groups for param in group["params"]]
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    for number, param in zip(numbers, params, strict=False):
        yield _Saved(number, param, state_dict["state"].get(number, {}))


def check_shapes(groups: Groups, state_dict: Mapping[str, Any]) -> None:
    """Refuse the checkpoint of another model.

    Args:
        groups: The optimizer's groups.
        state_dict: The checkpoint.

    Raises:
        CheckpointMismatch: If an average has another shape than its parameter.
    """
    for number, param, state in _saved_states(groups, state_dict):
        if "exp_avg" in state and state["exp_avg"].shape != param.shape:
            shapes = f"{tuple(state['exp_avg'].shape)}, here {tuple(param.shape)}"
            raise CheckpointMismatch(
                f"parameter {number} has the shape {shapes}; load a checkpoint of the same model"
            )


def keep_float32(
    groups: Groups, state: Mapping[Tensor, Any], state_dict: Mapping[str, Any]
) -> None:
    """Put back the averages of parameters in low precision (SPEC S18).

    Torch has rounded them to the dtype of their parameter.

    Args:
        groups: The optimizer's groups.
        state: The optimizer's state.
        state_dict: The checkpoint.
    """
    for _, param, saved in _saved_states(groups, state_dict):
        for name in ("exp_avg", "exp_avg_sq"):
            if name in saved and param.dtype in LOW:
                state[param][name] = saved[name].to(param.device, torch.float32, copy=True)
