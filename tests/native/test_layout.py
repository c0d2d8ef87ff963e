"""A library of another version of hybridq is refused, and says how to build it again."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hybridq import native
from hybridq.errors import BackendUnavailable
from hybridq.native import attention, circuits, library
from hybridq.native.layout import LAYOUT

SOURCES = Path(__file__).parents[2] / "hybridq" / "native"
Load = Callable[..., native.Kernels]

# As if a field had been added to a circuit's program.
ANOTHER_SIZE = """
#include "circuit_program.h"
namespace hq::circuits {
struct LargerProgram : Program {
  int64_t another_field;
};
}
#define Program LargerProgram
#include "layout.cpp"
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Compile a source in place of the baseline library, and load that."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    path = tmp_path / "kernels.so"

    def compiled(source: str, *flags: str) -> native.Kernels:
        file = tmp_path / "library.cpp"
        file.write_text(source)
        command = [compiler, "-std=c++17", "-shared", "-fPIC", f"-I{SOURCES}", *flags]
        subprocess.run([*command, str(file), "-o", str(path)], check=True)
        native.load.cache_clear()
        return native.load("baseline")

    monkeypatch.setattr(library, "_path", lambda _: path)
    yield compiled
    native.load.cache_clear()


def test_the_same_layout_is_taken(load: Load) -> None:
    assert load('#include "layout.cpp"').name == "baseline"


def test_another_version_is_refused(load: Load) -> None:
    with pytest.raises(BackendUnavailable) as refused:
        load('#include "layout.cpp"', "-DHQ_LAYOUT_VERSION=999")
    message = str(refused.value)
    assert "'baseline'" in message
    assert "kernels.so" in message
    assert f"version is 999, not {LAYOUT['version']}." in message
    assert "setup.py build_ext --inplace --force" in message
    assert "HYBRIDQ_KERNELS=none" in message


def test_another_size_is_refused(load: Load) -> None:
    size = LAYOUT["circuits.Program"]
    with pytest.raises(BackendUnavailable, match=f"circuits.Program is {size + 8}, not {size}"):
        load(ANOTHER_SIZE)


def test_a_library_without_a_layout_is_refused(load: Load) -> None:
    with pytest.raises(BackendUnavailable, match=r"does not say its layout.*older.*Build it again"):
        load("")


def test_without_a_checkout_the_way_out_is_another(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_SETUP", tmp_path / "setup.py")
    with pytest.raises(BackendUnavailable, match="Install hybridq again"):
        load("")


@pytest.mark.parametrize(
    ("header", "structures"),
    [
        (
            "circuit_program.h",
            (circuits.List, circuits.Term, circuits.Step, circuits.Program, circuits.Call),
        ),
        ("attention_call.h", (attention.Array, attention.Call)),
    ],
)
def test_both_sides_have_the_same_fields_in_the_same_order(
    header: str, structures: tuple[type, ...]
) -> None:
    code = re.sub(r" *//.*", "", (SOURCES / header).read_text())
    for structure in structures:
        found = re.search(rf"struct {structure.__name__} {{(.*?)\n}};", code, re.DOTALL)
        assert found is not None, structure
        fields = re.findall(r"^  [^()\n]*?(\w+);$", found.group(1), re.MULTILINE)
        assert fields == [field[0] for field in structure._fields_]  # type: ignore[attr-defined]
