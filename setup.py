"""Build the native kernels, if there is a compiler: the same sources once for each instruction set.

Each instruction set gets a shared library of its own, with plain C functions that hybridq loads by
ctypes. There are no headers of Python or torch in them, so one wheel serves every Python of a
platform. Everything else is in pyproject.toml.
"""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOM = Path("hybridq/native")
FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wno-psabi",  # vectors wider than a register: they are not passed between libraries
    "-pthread",
]
BASELINE = ["-march=x86-64-v2"]
AVX2 = [*BASELINE, "-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512_PARTS = [f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")]
AVX512 = [*AVX2, "-mprefer-vector-width=512", *AVX512_PARTS]
X86 = {  # HQ_BYTES: the bytes of a register
    "baseline": ["-DHQ_BYTES=16", *BASELINE],
    "avx2": ["-DHQ_BYTES=32", *AVX2],
    "avx512": ["-DHQ_BYTES=64", *AVX512],
}


class BuildKernels(build_ext):
    """Builds libraries for ctypes, without a tag of a Python in their names."""

    def get_ext_filename(self, fullname):
        """Return the file's path without the tag."""
        return str(Path(*fullname.split("."))) + (".pyd" if sys.platform == "win32" else ".so")

    def get_export_symbols(self, ext):
        """Return what the sources do not export by themselves: nothing."""
        return ext.export_symbols


class PlatformWheel(bdist_wheel):
    """A wheel for every Python 3 of a platform."""

    def get_tag(self):
        """Return the tag."""
        return "py3", "none", super().get_tag()[2]


def extensions():
    """One extension for each instruction set of this machine."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    sources = sorted(str(path) for path in ROOM.glob("*.cpp"))
    return [
        Extension(
            f"hybridq.native._kernels_{name}",
            sources=sources,
            depends=sorted(str(path) for path in ROOM.glob("*.h")),
            extra_compile_args=FLAGS + flags,
            extra_link_args=["-pthread"] if sys.platform == "darwin" else ["-pthread", "-s"],
            language="c++",
            optional=True,  # without a compiler hybridq installs, and torch does the work
        )
        for name, flags in (X86 if is_x86 else {"baseline": ["-DHQ_BYTES=16"]}).items()
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel})
