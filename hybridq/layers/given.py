"""Results of circuits brought to the modules that need them, for as long as a forward pass lasts.

Modules keep no state of a pass: they look up here the results that `circuits_given` was given.
Every thread has its own results. Compiled code (torch.compile) cannot read what belongs to a
thread, so it reads a second copy that the process shares. Two threads must therefore not run the
same compiled model at the same time.

A block under activation checkpointing with `use_reentrant=False` runs twice. The second time is in
the backward pass, when the forward pass and its results are over. For each such block the results
are therefore kept under the frame of its checkpoint, which lives as long as the graph that needs
them.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hybridq._torch import checkpoint_frame
from hybridq.layers.circuit_module import AbstractCircuitModule

__all__ = ["Results", "circuits_given", "close_pass", "given_to", "open_pass"]

Results = Sequence[Tensor]
"""The Fourier coefficients of each request of a module, shape (sets, 2 D + 1) each."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """The results of one forward pass.

    Args:
        opener: The model whose pass it is.
        results: The modules and their results.
    """

    opener: object
    results: tuple[tuple[AbstractCircuitModule, Results], ...]


class _Passes:
    """The passes that are open, the innermost one last."""

    def __init__(self) -> None:
        self.open: tuple[_Pass, ...] = ()


class _ThreadPasses(threading.local, _Passes):
    """The passes that are open in this thread."""


_thread = _ThreadPasses()
_compiled = _Passes()
_compiled_lock = threading.Lock()
_checkpointed: WeakKeyDictionary[object, dict[AbstractCircuitModule, Results]] = WeakKeyDictionary()


@contextmanager
def circuits_given(results: Mapping[AbstractCircuitModule, Results]) -> Iterator[None]:
    """Give modules the results of their circuits, so that they do not run them.

    Args:
        results: For each module the Fourier coefficients of its requests, in their order; shape
            (sets, 2 D + 1) each. Modules that are not among the keys run their own circuits.

    Example:
        >>> import torch
        >>> from hybridq.layers import QuantumAttention, circuits_given
        >>> layer = QuantumAttention(8, 2, batch_first=True)
        >>> x = torch.randn(1, 5, 8)
        >>> with circuits_given({layer.score: [torch.zeros(2, 17)]}):  # Phi is 0
        ...     output, _ = layer(x, x, x)
    """
    opener = object()
    open_pass(opener, tuple(results.items()))
    try:
        yield
    finally:
        close_pass(opener)


def open_pass(opener: object, results: tuple[tuple[AbstractCircuitModule, Results], ...]) -> None:
    """Open a pass of this thread; `close_pass` has to follow, whatever happens in between.

    Args:
        opener: The object that opens the pass; with the same object it is closed.
        results: The modules and their results.
    """
    opened = _Pass(opener, results)
    if torch.compiler.is_compiling():
        _compiled.open = (*_compiled.open, opened)
        return
    _thread.open = (*_thread.open, opened)
    with _compiled_lock:
        _compiled.open = (*_compiled.open, opened)


def close_pass(opener: object) -> None:
    """Close the innermost pass that an opener opened; nothing happens if there is none.

    Args:
        opener: The object that opened the pass.
    """
    if torch.compiler.is_compiling():
        _compiled.open = _without_last(_compiled.open, opener)
        return
    _thread.open = _without_last(_thread.open, opener)
    with _compiled_lock:
        _compiled.open = _without_last(_compiled.open, opener)


def given_to(module: AbstractCircuitModule) -> Results | None:
    """Return the results that a module was given for the pass that is under way.

    Args:
        module: The module.

    Returns:
        Its results; None if it was given none.
    """
    if torch.compiler.is_compiling():
        return _find(_compiled.open, module)
    frame = checkpoint_frame()
    if frame is None:
        return _find(_thread.open, module)
    used = _checkpointed.setdefault(frame, {})
    if module not in used:
        results = _find(_thread.open, module)
        if results is None:
            return None
        used[module] = results
    return used[module]


def _find(passes: tuple[_Pass, ...], module: AbstractCircuitModule) -> Results | None:
    for opened in reversed(passes):
        for known, results in opened.results:
            if known is module:
                return results
    return None


def _without_last(passes: tuple[_Pass, ...], opener: object) -> tuple[_Pass, ...]:
    for place in reversed(range(len(passes))):
        if passes[place].opener is opener:
            return passes[:place] + passes[place + 1 :]
    return passes
