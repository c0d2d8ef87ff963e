"""Which kernels are loaded, and what is said when there are none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hybridq import native
from hybridq.errors import BackendUnavailable, InvalidArgument
from hybridq.native import library

Choice = Callable[[str | None], native.Kernels | None]
needs_kernels = pytest.mark.skipif(not native.built(), reason="the native kernels are not built")


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[Choice]:
    """Set the variable and choose anew."""

    def choose(value: str | None) -> native.Kernels | None:
        if value is None:
            monkeypatch.delenv("HYBRIDQ_KERNELS", raising=False)
        else:
            monkeypatch.setenv("HYBRIDQ_KERNELS", value)
        native.kernels.cache_clear()
        return native.kernels()

    yield choose
    native.kernels.cache_clear()


@needs_kernels
def test_the_best_that_runs_here_is_chosen(choice: Choice) -> None:
    chosen = choice(None)
    assert chosen == choice("auto")
    assert chosen is not None
    best = {"AVX512": "avx512", "AVX2": "avx2"}.get(
        torch.backends.cpu.get_cpu_capability(), "baseline"
    )
    assert chosen.name == best


@needs_kernels
def test_each_can_be_named(choice: Choice) -> None:
    for name in library._usable():
        chosen = choice(name)
        assert chosen is not None
        assert chosen.name == name


def test_none_switches_them_off_and_says_so(choice: Choice) -> None:
    assert choice("none") is None
    assert "HYBRIDQ_KERNELS=none" in native.why_none()


def test_an_unknown_name_is_refused(choice: Choice) -> None:
    with pytest.raises(
        InvalidArgument, match="HYBRIDQ_KERNELS='avx513': choose one of auto, none, baseline"
    ):
        choice("avx513")


def test_without_a_compiler_nothing_is_built_and_the_message_says_how_to_get_it(
    choice: Choice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_path", lambda name: tmp_path / name)
    native.load.cache_clear()
    assert choice(None) is None
    assert "Install a C++ compiler" in native.why_none()
    with pytest.raises(
        BackendUnavailable, match=r"'avx2': not built; there are: none\. Install a C"
    ):
        choice("avx2")


@needs_kernels
def test_kernels_that_the_processor_cannot_run_are_refused(
    choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = native.built()[-1]
    monkeypatch.setattr(library, "_usable", lambda: ["baseline"])
    native.load.cache_clear()
    if newest == "baseline":
        pytest.skip("there is one instruction set only")
    with pytest.raises(
        BackendUnavailable, match=f"{newest!r}: this processor cannot run them; use one of baseline"
    ):
        choice(newest)


@pytest.mark.parametrize("value", ["none", "auto"])
def test_doctor_says_which_kernels_run(value: str) -> None:
    command = [sys.executable, "-m", "hybridq.cli", "doctor"]
    environment = os.environ | {"HYBRIDQ_KERNELS": value}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "native kernels" in line]
    if value == "none" or not native.built():
        assert "none" in line or "not built" in line
    else:
        assert str(native.built()[-1]) in line
