"""Errors name argument, value and way out, and are what a caller would expect to catch."""

from pathlib import Path

import pytest

from hybridq import errors
from hybridq.errors import HybridqError, InvalidArgument, MissingExtra, UnknownName, require

EXPECTED = {
    "InvalidArgument": ValueError,
    "UnknownName": ValueError,
    "NonAffineAngle": ValueError,
    "UnsupportedEncoding": ValueError,
    "MissingExtra": ImportError,
    "BackendUnavailable": RuntimeError,
    "NotDifferentiable": RuntimeError,
    "BudgetExceeded": RuntimeError,
    "DataNotFound": FileNotFoundError,
    "DataCorrupted": ValueError,
    "CheckpointMismatch": ValueError,
}


@pytest.mark.parametrize(("name", "builtin"), EXPECTED.items())
def test_every_error_is_ours_and_the_builtin_one(name: str, builtin: type[Exception]) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, HybridqError)
    assert issubclass(kind, builtin)


def test_no_error_is_forgotten_here() -> None:
    ours = {
        n
        for n in errors.__all__
        if isinstance(getattr(errors, n), type) and issubclass(getattr(errors, n), HybridqError)
    }
    assert ours - {"HybridqError"} == EXPECTED.keys()
    assert issubclass(errors.QuantumNoOpWarning, UserWarning)


def test_a_message_has_argument_value_and_reason() -> None:
    assert (
        str(InvalidArgument.of("shots", 0, "give a positive integer"))
        == "shots=0: give a positive integer"
    )


def test_prose_is_not_printed_in_quotes() -> None:
    error = InvalidArgument.that("weights", "holds NaN or infinity", "give finite angles")
    assert isinstance(error, InvalidArgument)
    assert str(error) == "weights holds NaN or infinity: give finite angles"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "aera",
            "unknown backend 'aera'. Did you mean 'aer'? Known: aer, default.qubit, statevector.",
        ),
        ("x", "unknown backend 'x'. Known: aer, default.qubit, statevector."),
        (
            "default.qubits",
            "unknown backend 'default.qubits'. Did you mean 'default.qubit'? Known: ",
        ),
    ],
)
def test_the_nearest_names_are_offered(name: str, expected: str) -> None:
    assert str(
        UnknownName.among("backend", name, ["statevector", "aer", "default.qubit"])
    ).startswith(expected)


def test_several_near_names_are_offered() -> None:
    assert "Did you mean 'aab' or 'aaa'?" in str(
        UnknownName.among("thing", "aab1", ["aaa", "aab", "zzz"])
    )


def test_what_is_installed_is_imported() -> None:
    assert require("json.decoder", "hf").__name__ == "json.decoder"


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_extra_is_named_with_its_command(module: str) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'hybridq-toolkit\[ibm\]'") as caught:
        require(module, "ibm")
    assert caught.value.name == "no_such_package"


def test_a_package_that_fails_inside_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_but_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        require("installed_but_broken", "ibm")
    assert not isinstance(caught.value, MissingExtra)
