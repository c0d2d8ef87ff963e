"""The parts of torch's internals that hybridq uses, in one place.

A new version of torch is checked here first.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._compile import _disable_dynamo
from torch.utils.checkpoint import _CheckpointFrame

__all__ = ["checkpoint_frame", "constant_in_graphs", "is_transformed", "not_compiled"]

_F = TypeVar("_F", bound=Callable[..., object])


def constant_in_graphs(function: _F) -> _F:
    """Run a function while its caller is compiled; the graph keeps the result.

    This is `torch.compiler.assume_constant_result` without the import of the compiler, which takes
    a second.

    Args:
        function: Its arguments are constants while compiling, and its result is no tensor.

    Returns:
        The function.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def not_compiled(function: _F) -> _F:
    """Break the graph at a function, which then runs as it is (`torch.compiler.disable`).

    Args:
        function: The function.

    Returns:
        The function, which dynamo does not trace.
    """
    return _disable_dynamo(function)  # type: ignore[return-value]


def is_transformed() -> bool:
    """Return whether vmap, grad, jvp or another transform of torch.func is at work.

    Autograd functions of ours cannot run inside of one.
    """
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def checkpoint_frame() -> object | None:
    """Return the frame of the activation checkpoint that is being computed, or computed again.

    `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)` runs its function twice, in the
    forward pass and again in the backward pass, where it may be in another thread. Both runs have
    the same frame, which no other checkpointed call shares. Of nested checkpoints this is the
    innermost one.

    Returns:
        The frame, which can be referenced weakly; None outside of such checkpoints.
    """
    hooks: tuple[Any, Any] | None = torch._C._autograd._top_saved_tensors_default_hooks(True)
    if hooks is None:
        return None
    # The two hooks of torch.utils.checkpoint keep the frame in their closures.
    pack = inspect.unwrap(hooks[0])
    if not inspect.isfunction(pack):
        return None
    closure = inspect.getclosurevars(pack).nonlocals
    reference = closure.get("target_frame_ref")
    frame = closure.get("frame") if reference is None else reference()
    return frame if isinstance(frame, _CheckpointFrame) else None
