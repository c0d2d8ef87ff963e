"""What torch.compile does with a function, said without importing the compiler, which takes a second."""

from collections.abc import Callable
from typing import TypeVar

from torch._compile import _disable_dynamo

__all__ = ["constant_in_graphs", "not_compiled"]

_F = TypeVar("_F", bound=Callable[..., object])


def constant_in_graphs(function: _F) -> _F:
    """Run a function while its caller is compiled; the graph keeps the result (`torch.compiler.assume_constant_result`).

    Args:
        function: Its arguments are constants while compiling, its result is no tensor.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def not_compiled(function: _F) -> _F:
    """Break the graph at a function, which runs as it is (`torch.compiler.disable`)."""
    return _disable_dynamo(function)  # type: ignore[return-value]
