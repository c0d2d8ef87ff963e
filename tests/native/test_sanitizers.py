"""The kernels under the address and undefined-behaviour sanitizers, driven by C++ programs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "hybridq" / "native"
DRIVERS = sorted(Path(__file__).parent.glob("drive_*.cpp"))
FLAGS = [
    "-std=c++17",
    "-O1",
    "-g",
    "-pthread",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wno-psabi",
    f"-I{ROOM}",
]
SETS = {"baseline": ["-DHQ_BYTES=16"], "avx2": ["-DHQ_BYTES=32", "-mavx2", "-mfma"]}


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", SETS)
def test_the_sanitizers_find_nothing(driver: Path, name: str, tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    if name == "avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    program = tmp_path / "driver"  # which includes the kernel that it drives
    subprocess.run([compiler, *FLAGS, *SETS[name], str(driver), "-o", str(program)], check=True)
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
