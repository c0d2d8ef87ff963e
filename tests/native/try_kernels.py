"""Load the kernels of an installed wheel, without torch.

cibuildwheel runs it in each environment.
"""

import ctypes
import sys
from importlib.metadata import files


def main() -> None:
    found = {
        file.stem: file
        for file in files("hybridq-toolkit") or []
        if file.stem.startswith("_kernels_")
    }
    if "_kernels_baseline" not in found:
        sys.exit(0 if sys.platform == "win32" else "the wheel holds no kernels")
    for name, file in sorted(found.items()):
        library = ctypes.CDLL(str(file.locate()))
        functions = (library.hq_layout, library.hq_circuits_float, library.hq_attention_float)
        print(name, *functions)


if __name__ == "__main__":
    main()
