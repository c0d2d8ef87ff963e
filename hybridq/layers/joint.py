"""All circuits of a model together: one evaluation for each forward pass, on one backend."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from hybridq.backends import AbstractBackend, resolve
from hybridq.errors import InvalidArgument
from hybridq.layers.circuit_module import AbstractCircuitModule
from hybridq.layers.evaluation import evaluate_circuits
from hybridq.layers.given import close_pass, given_to, open_pass

__all__ = ["JointEvaluation", "circuit_modules", "evaluate_together", "to_backend"]


def circuit_modules(model: nn.Module) -> list[AbstractCircuitModule]:
    """Return the modules of a model that run circuits, in the order of `model.modules()`.

    Args:
        model: A model with any number of them.

    Returns:
        The scores of its attention modules, and all other modules that run circuits.

    Raises:
        InvalidArgument: If there are none.
    """
    modules = [module for module in model.modules() if isinstance(module, AbstractCircuitModule)]
    if not modules:
        reason = "it has no module that runs circuits, such as QuantumAttention"
        raise InvalidArgument.of("model", type(model).__name__, reason)
    return modules


@dataclass(frozen=True)
class JointEvaluation:
    """The handle of `evaluate_together`.

    Args:
        handles: The handles of its hooks.
    """

    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """Undo `evaluate_together`: from now on each module runs its own circuits."""
        for handle in self.handles:
            handle.remove()


def evaluate_together(model: nn.Module) -> JointEvaluation:
    """Run all circuits of a model in one evaluation for each forward pass: one job.

    This lasts until it is undone. Without it each module runs its own circuits, with the same
    result. No circuit runs twice if this function is called again, or for a part of the model, too.

    It works under activation checkpointing. With `use_reentrant=False` a block that is computed
    again in the backward pass sees the same results; with `use_reentrant=True` the block then runs
    its own circuits.

    Args:
        model: A model with any number of modules that run circuits, such as `QuantumAttention`.

    Returns:
        A handle whose `remove()` undoes it.

    Raises:
        InvalidArgument: If the model has no such module.
    """
    circuit_modules(model)
    before = model.register_forward_pre_hook(_open)
    after = model.register_forward_hook(_close, always_call=True)
    return JointEvaluation((before, after))


def _open(model: nn.Module, *_: Any) -> None:
    """Run the circuits of the modules that have no results yet, for one forward pass."""
    modules = [module for module in circuit_modules(model) if given_to(module) is None]
    results = evaluate_circuits(modules)
    open_pass(model, tuple(zip(modules, results, strict=True)))


def _close(model: nn.Module, *_: Any) -> None:
    close_pass(model)


def to_backend(model: nn.Module, backend: str | AbstractBackend) -> nn.Module:
    """Run all circuits of a model on one backend from now on; the weights stay.

    Args:
        model: A model with any number of modules that run circuits.
        backend: A name, a name with options, or a backend.

    Returns:
        The model.

    Raises:
        InvalidArgument: If the model has no such module, or an option of the backend does not fit.
        UnknownName: If there is no such backend.
    """
    resolved = resolve(backend)
    for module in circuit_modules(model):
        module.to_backend(resolved)
    return model
