"""What an import loads, and what a missing extra says."""

import subprocess
import sys

import pytest

EXTRAS = ["qiskit", "qiskit_aer", "qiskit_ibm_runtime", "transformers", "matplotlib"]
ROOMS = ", ".join(
    f"hybridq.{room}"
    for room in ("backends", "circuits", "comparison", "engine", "layers", "optim", "study", "cli")
)
BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
USE = """
import torch
from hybridq.backends import available, resolve
from hybridq.circuits import Circuit, RyRzCnot
available()
for name in ("statevector", "default.qubit"):
    resolve(name).evaluate(Circuit(RyRzCnot(2, 1)), torch.zeros(1, 1), torch.zeros(1, 2, 2))
"""


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_package_itself_loads_no_extra() -> None:
    assert run(f"import sys, hybridq; print(sorted(set({EXTRAS}) & set(sys.modules)))") == "[]\n"


def test_importing_the_package_gives_all_rooms() -> None:
    rooms = [room.split(".")[1] for room in ROOMS.split(", ") if room != "hybridq.cli"]
    code = f"""
import sys, hybridq
assert "hybridq.layers" not in sys.modules
assert not {{"torch", "matplotlib", "qiskit"}} & set(sys.modules)
for room in {rooms}:
    assert room in dir(hybridq), room
    assert getattr(hybridq, room).__name__ == f"hybridq.{{room}}"
assert hybridq.compare is hybridq.comparison.compare
print(hybridq.layers.QuantumAttention.__name__)
try:
    hybridq.no_such_room
except AttributeError as error:
    print(error)
"""
    expected = "QuantumAttention\nmodule 'hybridq' has no attribute 'no_such_room'\n"
    assert run(code) == expected


def test_rooms_and_default_backends_load_no_extra() -> None:
    # PennyLane imports matplotlib wherever it is installed; what counts is what we add.
    code = f"import sys, pennylane\nbefore = set(sys.modules)\nimport {ROOMS}\n{USE}"
    assert run(f"{code}\nprint(sorted(set({EXTRAS}) & (set(sys.modules) - before)))") == "[]\n"


def test_rooms_do_not_load_the_compiler() -> None:
    assert run(f"import sys, {ROOMS}\nprint('torch._dynamo' in sys.modules)") == "False\n"


def test_everything_but_the_extras_works_without_them() -> None:
    assert (
        run(f"{BLOCK.format(blocked=EXTRAS)}\nimport {ROOMS}\n{USE}\nprint('works')") == "works\n"
    )


@pytest.mark.parametrize(
    ("blocked", "use", "extra"),
    [
        ("qiskit_aer", "resolve('aer')", "ibm"),
        ("qiskit_ibm_runtime", "resolve('aer:noise=fake_torino')", "ibm"),
        ("qiskit_ibm_runtime", "resolve('ibm:fake_torino,shots=1')", "ibm"),
        ("matplotlib", "Circuit(RyRzCnot(2, 1)).draw_figure()", "experiments"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_gets_it(
    blocked: str, use: str, extra: str
) -> None:
    code = f"""
from hybridq.backends import resolve
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.errors import MissingExtra
try:
    {use}
except MissingExtra as error:
    print(error)
"""
    message = run(BLOCK.format(blocked=[blocked]) + code)
    assert f"pip install 'hybridq-toolkit[{extra}]'" in message
    assert blocked in message
