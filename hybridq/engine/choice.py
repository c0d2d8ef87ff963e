"""Which engine runs a circuit: the compiled kernels, or torch."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hybridq.errors import BackendUnavailable, InvalidArgument
from hybridq.native import Kernels, kernels, why_none
from hybridq.native.circuits import DTYPES

__all__ = ["MAX_QUBITS", "Engine", "choose", "full_precision", "kernels_for"]

Engine = Literal["auto", "native", "torch"]
_ENGINES = get_args(Engine)

MAX_QUBITS = 20


def choose(engine: Engine, device: torch.device) -> Kernels | None:
    """Return the kernels that an engine's name means on a device.

    Args:
        engine: "auto", "native" or "torch".
        device: Where the tensors are.

    Returns:
        The kernels; None means that torch runs the circuits.

    Raises:
        InvalidArgument: If there is no such engine.
        BackendUnavailable: If it is "native" and there are none.
    """
    if engine not in _ENGINES:
        names = ", ".join(map(repr, _ENGINES))
        raise InvalidArgument.of("engine", engine, f"choose one of {names}")
    if engine == "torch":
        return None
    if device.type != "cpu":
        if engine == "native":
            reason = f"they run on CPUs, not on {device}. Use engine='torch', or 'auto'."
            raise BackendUnavailable(f"engine='native': the compiled kernels: {reason}")
        return None
    loaded = kernels()
    if engine == "native" and loaded is None:
        raise BackendUnavailable(f"engine='native': the compiled kernels: {why_none()}")
    return loaded


def kernels_for(engine: Engine, inputs: Tensor) -> Kernels | None:
    """Return the kernels that an engine's name means for the dtype and the device of inputs.

    Args:
        engine: "auto", "native" or "torch".
        inputs: The inputs of circuits.

    Returns:
        The kernels; None means that torch runs the circuits.

    Raises:
        InvalidArgument: If there is no such engine, or it is "native" and the kernels do not take
            the dtype.
        BackendUnavailable: If it is "native" and there are none.
    """
    chosen = choose(engine, inputs.device)
    if chosen is None or inputs.dtype in DTYPES:
        return chosen
    if engine == "native":
        reason = "the kernels take float32 and float64; use engine='auto'"
        raise InvalidArgument.of("inputs.dtype", inputs.dtype, reason)
    return None


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off, where it is on: angles in bfloat16 are wrong in the second digit.

    Args:
        device: The device whose autocast is meant.

    Returns:
        A context manager.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
