"""Unpack a wheel and use it away from the checkout.

`python tests/try_wheel.py FOLDER with-kernels|without-kernels`.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = """
import importlib.resources, sys
import hybridq
import torch
from hybridq import catalogue
from hybridq.backends import resolve
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.native import built
folder, kernels = sys.argv[1:]
assert hybridq.__file__.startswith(folder), hybridq.__file__
assert importlib.resources.files("hybridq").joinpath("py.typed").is_file()
for name in ("report.html.j2", "page.css"):
    assert importlib.resources.files("hybridq.study").joinpath(name).is_file(), name
for room in ("backends", "circuits", "circuits.readouts", "optim"):
    for name in catalogue.names(room):
        catalogue.load(room, name)
assert bool(built()) == (kernels == "with-kernels"), built()
circuit = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
resolve("statevector").evaluate(circuit, torch.zeros(3, 1), torch.zeros(1, 2, 2))
print(circuit.draw())
"""


def modules() -> set[str]:
    """List the modules of the checkout, by the names that they have in a wheel."""
    rooms = {CHECKOUT / "hybridq": "hybridq", CHECKOUT / "circuits": "hybridq/circuits"}
    files = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in rooms.items()
        for path in folder.rglob("*.py")
        if folder / "circuits" not in path.parents  # the link hybridq/circuits
    }
    assert "hybridq/circuits/ry_rz_cnot.py" in files, files
    return files


def main() -> None:
    source, kernels = sys.argv[1:]
    (wheel,) = Path(source).glob("*.whl")
    if "-py3-none-" not in wheel.name:
        sys.exit(f"{wheel.name}: a wheel must serve every Python 3 of a platform")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        unexpected = [
            n
            for n in names
            if not n.startswith(("hybridq/", "hybridq_toolkit-")) or n.endswith((".cpp", ".h"))
        ]
        if unexpected:
            sys.exit(f"the wheel holds files of no business there: {unexpected}")
        if missing := modules() - set(names):
            sys.exit(
                f"the wheel lacks modules of the checkout: {sorted(missing)}; see pyproject.toml"
            )
        archive.extractall(folder)
        environment = os.environ | {"PYTHONPATH": folder}
        real = str(Path(folder).resolve())
        subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, real, kernels],
            cwd=folder,
            env=environment,
            check=True,
        )
        subprocess.run(
            [sys.executable, "-P", "-m", "hybridq.cli", "doctor"],
            cwd=folder,
            env=environment,
            check=True,
        )
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {len(names)} files, {size:.1f} MB, works away from the checkout")


if __name__ == "__main__":
    main()
