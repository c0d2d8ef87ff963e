"""Names of files and of classes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.optim import Optimizer

from hybridq import catalogue
from hybridq.backends import AbstractBackend
from hybridq.circuits import AbstractAnsatz, AbstractReadout, RyRzCnot
from hybridq.errors import HybridqError, InvalidArgument, UnknownName

HOUSE = Path(catalogue.__file__).parent
ROOMS = [room for room in catalogue._KINDS if (HOUSE / room.replace(".", "/")).is_dir()]


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_are_its_names(room: str) -> None:
    folder = HOUSE / room.replace(".", "/")
    expected = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    assert catalogue.names(room) == expected != []


def test_listing_names_imports_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hybridq.backends.aer", raising=False)
    assert "aer" in catalogue.names("backends")
    assert "hybridq.backends.aer" not in sys.modules


def test_a_name_gives_the_class_that_its_file_offers() -> None:
    assert catalogue.load("circuits", "ry_rz_cnot") is RyRzCnot


@pytest.mark.parametrize(
    ("room", "base"),
    [
        ("circuits", AbstractAnsatz),
        ("circuits.readouts", AbstractReadout),
        ("backends", AbstractBackend),
        ("optim", Optimizer),
    ],
)
def test_every_file_offers_a_class(room: str, base: type) -> None:
    for name in catalogue.names(room):
        assert issubclass(catalogue.load(room, name), base), name


def test_a_path_gives_a_class_of_your_own() -> None:
    assert (
        catalogue.load("circuits", "tests.reference.random_circuits:RandomAnsatz").__name__
        == "RandomAnsatz"
    )


@pytest.mark.parametrize(
    ("room", "name", "message"),
    [
        ("circuits", "ry_rz_cnott", "unknown ansatz 'ry_rz_cnott'. Did you mean 'ry_rz_cnot'"),
        ("backends", "statevectro", "unknown backend 'statevectro'. Did you mean 'statevector'"),
        ("circuits", "_ansatz", "unknown ansatz '_ansatz'"),
        ("circuits", "", "unknown ansatz ''"),
        ("circuit", "ry_rz_cnot", "unknown room 'circuit'. Did you mean 'circuits'"),
        (
            "circuits.readouts",
            "expval_zz",
            "unknown readout 'expval_zz'. Did you mean 'expval_z'",
        ),
        (
            "circuits",
            "hybridq.circuits:RyRzCnott",
            "unknown class of hybridq.circuits 'RyRzCnott'. Did you mean 'RyRzCnot'?",
        ),
        ("circuits", "hybridq.circuits:", "unknown class of hybridq.circuits ''"),
    ],
)
def test_an_unknown_name_is_shown_with_the_nearest_ones(room: str, name: str, message: str) -> None:
    with pytest.raises(UnknownName) as caught:
        catalogue.load(room, name)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, HybridqError)


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_like_no_other_is_shown_with_all_that_there_are(room: str) -> None:
    with pytest.raises(UnknownName) as caught:
        catalogue.load(room, "%%%")
    assert str(caught.value).endswith(f" '%%%'. Known: {', '.join(catalogue.names(room))}.")


@pytest.mark.parametrize(
    "path", ["no_such_package.module:Class", "hybridq.no_such_module:Class", ":Class"]
)
def test_an_unknown_module_is_named(path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"there is no module .*Python path"):
        catalogue.load("circuits", path)


def test_a_file_without_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("hybridq.circuits.ry_rz_cnot.__all__")
    with pytest.raises(InvalidArgument, match=r"ansatz='ry_rz_cnot'.*no __all__; write one"):
        catalogue.load("circuits", "ry_rz_cnot")


def test_the_experiments_of_a_checkout_are_found_from_any_folder(tmp_path: Path) -> None:
    script = (
        "from hybridq.catalogue import load_object; "
        "print(type(load_object('loader', 'experiments.text_classification.loading:load_run')))"
    )
    checkout = str(Path(catalogue.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "hybridq").symlink_to(Path(checkout) / "hybridq")
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "RunLoader" in printed


def test_an_error_inside_a_module_of_your_own_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_ansatz_file.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InvalidArgument, match=r"ansatz='broken_ansatz_file:Class'.*no_such_dependency"
    ) as caught:
        catalogue.load("circuits", "broken_ansatz_file:Class")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
