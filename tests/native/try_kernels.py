"""Say which kernels an installed wheel has and that they load, without torch: cibuildwheel runs it in each environment."""

import ctypes
import sys
from importlib.metadata import files


def main() -> None:
    found = {file.stem: file for file in files("hybridq-toolkit") or [] if file.stem.startswith("_kernels_")}
    if "_kernels_baseline" not in found:
        sys.exit(0 if sys.platform == "win32" else "the wheel holds no kernels")
    best = ctypes.CDLL(str(found["_kernels_baseline"].locate())).hq_best()
    print(f"{sorted(found)}; this processor runs number {best} of baseline, avx2, avx512")


if __name__ == "__main__":
    main()
