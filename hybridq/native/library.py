"""Find and load the compiled kernels: plain C functions, in one shared library for each instruction set.

They are built when hybridq is installed and there is a compiler (`setup.py`). Without them torch
does the same work. The environment variable `HYBRIDQ_KERNELS` chooses: `auto` (the best that the
processor runs), `none`, or one by name.
"""

import ctypes
import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from hybridq.errors import BackendUnavailable, InvalidArgument

__all__ = ["Kernels", "built", "kernels", "load", "why_none"]

NAMES = ("baseline", "avx2", "avx512")
VARIABLE = "HYBRIDQ_KERNELS"
_SUFFIX = ".pyd" if sys.platform == "win32" else ".so"
_SETUP = Path(__file__).parents[2] / "setup.py"  # there in a checkout


@dataclass(frozen=True)
class Kernels:
    """A loaded library.

    Args:
        name: The instruction set: "baseline" (x86-64-v2, or NEON on ARM), "avx2" or "avx512".
        library: Its functions; whoever calls one states its argument types.
    """

    name: str
    library: ctypes.CDLL = field(repr=False, compare=False)


def built() -> list[str]:
    """The names of the libraries that are there, the oldest instruction set first."""
    return [name for name in NAMES if _path(name).exists()]


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """The kernels to use, chosen once in a process.

    Returns:
        Those that `HYBRIDQ_KERNELS` names, else the best that are built and that this processor
        runs; None if there are none or if it says `none`.

    Raises:
        InvalidArgument: If `HYBRIDQ_KERNELS` is no known name.
        BackendUnavailable: If it names kernels that are not built or that this processor cannot
            run.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in ("auto", "none", *NAMES):
        raise InvalidArgument.of(
            VARIABLE, wanted, f"choose one of {', '.join(('auto', 'none', *NAMES))}"
        )
    if wanted == "none":
        return None
    if wanted != "auto":
        return load(wanted)
    usable = _usable()
    return load(usable[-1]) if usable else None


@lru_cache(maxsize=len(NAMES))
def load(name: str) -> Kernels:
    """Load the kernels of one instruction set.

    Args:
        name: One of `NAMES`.

    Returns:
        The kernels; loaded once in a process.

    Raises:
        BackendUnavailable: If they are not built, or this processor cannot run them.
    """
    if name not in built():
        raise BackendUnavailable(
            f"native kernels {name!r}: not built; there are: {', '.join(built()) or 'none'}. {_way_out()}"
        )
    if name not in _usable():
        raise BackendUnavailable(
            f"native kernels {name!r}: this processor cannot run them; use one of {', '.join(_usable())}."
        )
    return Kernels(name, ctypes.CDLL(str(_path(name))))


def why_none() -> str:
    """Why `kernels()` is None, and the way out: one sentence for a person."""
    if os.environ.get(VARIABLE) == "none":
        return f"switched off by {VARIABLE}=none"
    return f"not built. {_way_out()}"


def _way_out() -> str:
    hybridq = "hybridq again"
    if _SETUP.exists():
        hybridq = "this checkout, which Python took before any installed hybridq, by `pip install --no-deps --editable .` in it"
    return f"Install a C++ compiler (g++ or clang++) and {hybridq}; until then torch does the same work, more slowly."


def _usable() -> list[str]:
    """The libraries that are built and that this processor runs."""
    best = {"AVX2": 1, "AVX512": 2}.get(torch.backends.cpu.get_cpu_capability(), 0)
    return [name for name in built() if NAMES.index(name) <= best]


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"_kernels_{name}{_SUFFIX}")
