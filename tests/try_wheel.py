"""Unpack the wheel in dist/ into an empty folder and use it there: `make wheel`."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SCRIPT = """
import importlib.resources, sys
import hybridq
from hybridq import catalogue
from hybridq.circuits import Circuit, RyRzCnot
assert hybridq.__file__.startswith(sys.argv[1]), hybridq.__file__
assert importlib.resources.files("hybridq").joinpath("py.typed").is_file()
assert importlib.resources.files("hybridq.study").joinpath("report.html.j2").is_file()
assert catalogue.names("circuits") == ["ry_rz_cnot"], catalogue.names("circuits")
print(Circuit(RyRzCnot(n_qubits=2, n_layers=1)).draw())
"""


def main() -> None:
    (wheel,) = Path("dist").glob("*.whl")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        unexpected = [n for n in names if not n.startswith(("hybridq/", "hybridq_toolkit-"))]
        if unexpected:
            sys.exit(f"the wheel holds files of no business there: {unexpected}")
        archive.extractall(folder)
        environment = os.environ | {"PYTHONPATH": folder}
        real = str(Path(folder).resolve())
        subprocess.run([sys.executable, "-P", "-c", SCRIPT, real], cwd=folder, env=environment, check=True)
        subprocess.run([sys.executable, "-P", "-m", "hybridq.cli", "doctor"], cwd=folder, env=environment, check=True)
    print(f"{wheel.name}: {len(names)} files, works away from the checkout")


if __name__ == "__main__":
    main()
