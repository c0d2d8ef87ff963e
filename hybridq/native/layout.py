"""Whether a library of kernels has the structures that Python has.

Libraries are files that can be older or newer than the Python code beside them. A library with
other structures would read memory that is not there.
"""

import ctypes
from collections.abc import Iterator
from itertools import count

from hybridq.native import attention, circuits

__all__ = ["LAYOUT", "differences"]

# The version is raised at any change of a structure, or of what a kernel makes of it, here and in
# layout.cpp. The sizes follow from the structures.
LAYOUT = {"version": 1, **circuits.SIZES, **attention.SIZES}


class _Entry(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_int64))


def differences(library: ctypes.CDLL) -> list[str]:
    """Compare a library's structures with those of Python.

    Args:
        library: The library.

    Returns:
        A phrase for each difference; none if the library can be called.
    """
    try:
        function = library["hq_layout"]
    except AttributeError:
        return ["it does not say its layout, so it is of an older version"]
    function.argtypes = ()
    function.restype = ctypes.POINTER(_Entry)
    theirs = dict(_entries(function()))
    names = list(LAYOUT) + [name for name in theirs if name not in LAYOUT]
    return [
        f"{name} is {_said(theirs.get(name))}, not {_said(LAYOUT.get(name))}"
        for name in names
        if theirs.get(name) != LAYOUT.get(name)
    ]


def _entries(pointer: "ctypes._Pointer[_Entry]") -> Iterator[tuple[str, int]]:
    for i in count():
        entry = pointer[i]
        if entry.name is None:  # the end
            return
        yield entry.name.decode(), entry.value


def _said(number: int | None) -> str:
    return "missing" if number is None else str(number)
