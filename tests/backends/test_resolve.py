"""From names and options to backends."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hybridq import catalogue
from hybridq.backends import available, resolve
from hybridq.backends._core.pennylane_device import PennyLaneDevice
from hybridq.backends.aer import Aer
from hybridq.backends.statevector import Statevector
from hybridq.errors import InvalidArgument, MissingExtra, UnknownName


@dataclass
class Tuned(Statevector):
    """A backend of one's own, with a field of every kind."""

    rate: float = 0.5
    fast: bool = True
    label: str = "a:b"


HERE = f"{__name__}:Tuned"
MALFORMED = [
    "aer:4096",
    "aer:shots",
    "aer:",
    "aer,shots=4",
    "aer shots=4",
    "aer:shots=4:seed=5",
    "default.qubit:5",
]
MALFORMED += ["", " ", ":shots=4"]


def test_names() -> None:
    assert isinstance(resolve("statevector"), Statevector)
    assert isinstance(resolve("aer"), Aer)
    assert resolve("lightning.qubit") == PennyLaneDevice("lightning.qubit")
    assert isinstance(resolve(HERE), Tuned)
    backend = Statevector()
    assert resolve(backend) is backend


def test_options_are_read_by_the_type_of_their_field() -> None:
    assert resolve("aer:shots=4096") == Aer(shots=4096)
    assert resolve("aer: shots=none, seed=7") == Aer(seed=7)
    expected = Aer(noise="fake_torino", shots=1024, seed=3, initial_layout=(4, 5))
    assert resolve("aer:noise=fake_torino,shots=1024,seed=3,initial_layout=4-5") == expected
    assert resolve("default.qubit:shots=10,seed=1") == PennyLaneDevice(
        "default.qubit", shots=10, seed=1
    )
    tuned = resolve(f"{HERE}:rate=1e-3,fast=True,label=x")
    assert isinstance(tuned, Tuned)
    assert (tuned.rate, tuned.fast, tuned.label) == (1e-3, True, "x")
    assert resolve(f"{HERE}:fast=false") == Tuned(fast=False)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("are", UnknownName, "Did you mean 'aer'"),
        ("defualt.qubit", UnknownName, "Did you mean 'default.qubit'"),
        ("aer:shot=3", UnknownName, "option of backend 'aer' 'shot'. Did you mean 'shots'"),
        ("default.qubit:device_name=x", UnknownName, "option"),
        ("aer:n_circuits_run=3", UnknownName, "option"),
        ("aer:shots=many", InvalidArgument, "shots='many'.*int or None"),
        ("aer:shots=1,shots=2", InvalidArgument, "given twice"),
        ("aer:shots=1,exact", InvalidArgument, "option=value"),
        ("statevector:shots=100", UnknownName, "'statevector' takes no shots.*'aer:shots=100'"),
        *((text, InvalidArgument, "NAME:option=value,option=value") for text in MALFORMED),
        ("lightning.kokkos", MissingExtra, "not installed.*pip install pennylane-lightning-kokkos"),
        ("null.qubit", InvalidArgument, "made-up"),
        ("aer:processor=TPU", InvalidArgument, "processor"),
        (f"{HERE}:fast=yes", InvalidArgument, "fast"),
        ("no.such.module:Class", InvalidArgument, "no module"),
        (f"{__name__}:Tunde", UnknownName, "Did you mean 'Tuned'"),
        ("hybridq.errors:HybridqError", InvalidArgument, "AbstractBackend"),
    ],
)
def test_what_cannot_be_resolved(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve(name)


def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_backend.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidArgument, match=r"ModuleNotFoundError.*no_such_module"):
        resolve("broken_backend:Backend")


def test_neither_a_name_nor_a_backend() -> None:
    with pytest.raises(InvalidArgument, match="backend=3"):
        resolve(3)  # type: ignore[arg-type]


def test_available_lists_what_resolve_takes() -> None:
    found = {info.name: info for info in available()}
    assert {"statevector", "aer", "default.qubit", "lightning.qubit"} <= set(found)
    assert all(bool(info.version) == info.installed for info in found.values())
    assert all(bool(info.missing and info.install) != info.installed for info in found.values())


def test_available_says_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "qiskit-aer":
            raise metadata.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr("hybridq.backends._core.resolve.metadata.version", version)
    aer = next(info for info in available() if info.name == "aer")
    assert not aer.installed
    assert aer.missing == "qiskit-aer"
    assert aer.install == "pip install 'hybridq-toolkit[ibm]'"


def test_a_device_whose_module_is_missing_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "quimb":
            raise metadata.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr("hybridq.backends._core.resolve.metadata.version", version)
    (tensor,) = (info for info in available() if info.name == "default.tensor")
    assert (tensor.installed, tensor.missing, tensor.install) == (
        False,
        "quimb",
        "pip install quimb",
    )
    monkeypatch.setattr("hybridq.backends._core.resolve.metadata.version", lambda name: "1.0")
    (tensor,) = (info for info in available() if info.name == "default.tensor")
    assert tensor.installed


def test_a_file_that_cannot_be_imported_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = catalogue.load

    def failing(room: str, name: str) -> Any:
        if name == "aer":
            raise InvalidArgument.of("backend", name, "importing it fails")
        return load(room, name)

    monkeypatch.setattr(catalogue, "load", failing)
    listed = {info.name: info for info in available()}
    assert not listed["aer"].installed
    assert "importing it fails" in listed["aer"].missing
    assert listed["statevector"].installed
