"""Clang compiles the kernels, without a warning, for every platform that gets a wheel with them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "hybridq" / "native"
FLAGS = ["-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
PLATFORMS = {
    "linux": ["-target", "x86_64-linux-gnu", "-march=x86_64_v2", "-DHQ_BYTES=16"],
    "linux-avx2": ["-target", "x86_64-linux-gnu", "-march=x86_64_v3", "-DHQ_BYTES=32"],
    "linux-avx512": ["-target", "x86_64-linux-gnu", "-march=x86_64_v4", "-DHQ_BYTES=64"],
    "linux-arm": ["-target", "aarch64-linux-gnu", "-DHQ_BYTES=16"],
    "macos-arm": ["-target", "aarch64-macos", "-DHQ_BYTES=16"],
}


@pytest.mark.slow
@pytest.mark.parametrize("source", sorted(ROOM.glob("*.cpp")), ids=lambda path: path.stem)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_clang_compiles_the_kernels(platform: str, source: Path, tmp_path: Path) -> None:
    compiler = [sys.executable, "-m", "ziglang", "c++"]  # clang, with the headers of all platforms
    command = [
        *compiler,
        *PLATFORMS[platform],
        *FLAGS,
        "-c",
        str(source),
        "-o",
        str(tmp_path / "kernels.o"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
