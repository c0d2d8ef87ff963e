"""Find and load the compiled kernels: C functions, in a shared library for each instruction set.

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
from hybridq.native.layout import differences

__all__ = ["Kernels", "built", "kernels", "load", "why_none"]

NAMES = ("baseline", "avx2", "avx512")
VARIABLE = "HYBRIDQ_KERNELS"
_SUFFIX = ".pyd" if sys.platform == "win32" else ".so"
_SETUP = Path(__file__).parents[2] / "setup.py"  # which exists in a checkout


@dataclass(frozen=True)
class Kernels:
    """A loaded library.

    Args:
        name: The instruction set: "baseline" (x86-64-v2, or NEON on ARM), "avx2" or "avx512".
        library: The library's functions. Whoever calls one states its argument types.
    """

    name: str
    library: ctypes.CDLL = field(repr=False, compare=False)


def built() -> list[str]:
    """Return the names of the libraries that are there, the oldest instruction set first."""
    return [name for name in NAMES if _path(name).exists()]


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """Choose the kernels to use, once in a process.

    Returns:
        The kernels that `HYBRIDQ_KERNELS` names. Without it, the best that are built and that this
        processor runs. None if there are none, or if it says `none`.

    Raises:
        InvalidArgument: If `HYBRIDQ_KERNELS` is no known name.
        BackendUnavailable: If it names kernels that are not built or that this processor cannot
            run, or if the library is of another version of hybridq.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    choices = ("auto", "none", *NAMES)
    if wanted not in choices:
        raise InvalidArgument.of(VARIABLE, wanted, f"choose one of {', '.join(choices)}")
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
        BackendUnavailable: If they are not built, this processor cannot run them, or the library
            is of another version of hybridq.
    """
    if name not in built():
        there = ", ".join(built()) or "none"
        raise BackendUnavailable(
            f"native kernels {name!r}: not built; there are: {there}. {_way_out()}"
        )
    if name not in _usable():
        raise BackendUnavailable(
            f"native kernels {name!r}: this processor cannot run them; use one of "
            f"{', '.join(_usable())}."
        )
    path = _path(name)
    library = ctypes.CDLL(str(path))
    different = differences(library)
    if different:
        raise BackendUnavailable(
            f"native kernels {name!r}: {path} is of another version of hybridq than the Python "
            f"code: {'; '.join(different)}. {_way_to_rebuild()}"
        )
    return Kernels(name, library)


def why_none() -> str:
    """Say why `kernels()` is None, and the way out: one sentence for a person."""
    if os.environ.get(VARIABLE) == "none":
        return f"switched off by {VARIABLE}=none"
    return f"not built. {_way_out()}"


def _way_out() -> str:
    hybridq = "hybridq again"
    if _SETUP.exists():
        hybridq = (
            "this checkout, which Python took before any installed hybridq, by "
            "`pip install --no-deps --editable .` in it"
        )
    return (
        f"Install a C++ compiler (g++ or clang++) and {hybridq}; until then torch does the same "
        "work, more slowly."
    )


def _way_to_rebuild() -> str:
    without = f"{VARIABLE}=none lets torch do the work until then."
    if _SETUP.exists():
        command = "python setup.py build_ext --inplace --force"
        return f"Build it again with `{command}` in {_SETUP.parent}; {without}"
    return f"Install hybridq again; {without}"


def _usable() -> list[str]:
    """Return the names of the libraries that are built and that this processor runs."""
    best = {"AVX2": 1, "AVX512": 2}.get(torch.backends.cpu.get_cpu_capability(), 0)
    return [name for name in built() if NAMES.index(name) <= best]


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"_kernels_{name}{_SUFFIX}")
