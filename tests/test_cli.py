"""The command line."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hybridq import __version__
from hybridq.cli import app as cli
from hybridq.study.runs import Run

PNG, SVG = b"\x89PNG", b"<?xml"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"hybridq {__version__}\n"


def test_without_a_command_it_says_what_there_is() -> None:
    assert all(command in run().output for command in ("backends", "draw", "doctor", "report"))


def test_backends() -> None:
    result = run("backends")
    assert result.exit_code == 0
    rows = {
        line.split("│")[1].strip(): line
        for line in result.stdout.splitlines()
        if line.count("│") == 6
    }
    assert {"statevector", "aer", "aer:processor=GPU", "default.qubit", "lightning.qubit"} <= set(
        rows
    )
    assert "yes" in rows["statevector"]
    assert "pip install pennylane-lightning-gpu" in rows["lightning.gpu"]
    assert "'hybridq-toolkit[gpu]'" in result.stdout, "rich took the name of the extra for markup"


def test_draw_as_text() -> None:
    result = run(
        "draw", "--qubits", "2", "--layers", "1", "--encoding", "none", "--readout", "probabilities"
    )
    assert result.exit_code == 0
    assert (
        result.stdout == "0: ──H──RY(w0)──RZ(w1)─╭●─┤ ╭Probs\n1: ──H──RY(w2)──RZ(w3)─╰X─┤ ╰Probs\n"
    )


@pytest.mark.parametrize(("suffix", "magic"), [(".png", PNG), (".svg", SVG)])
def test_draw_as_a_picture(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    path = tmp_path / f"circuit{suffix}"
    assert run("draw", "--qubits", "2", "--output", str(path)).exit_code == 0
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["draw", "ry_rz_cont"], "Did you mean 'ry_rz_cnot'"),
        (["draw", "--pattern", "rings"], "pattern='rings'"),
        (["draw", "--readout", "expval"], "Did you mean 'expval_z'"),
        (["draw", "--output", "circuit.gif"], "ends in .png"),
        (["draw", "--output", "no/such/directory/circuit.png"], "there is no directory"),
        (
            ["draw", "tests.reference.random_circuits:RandomAnsatz", "--layers", "2"],
            "has no such option",
        ),
        (["draw", "tests.reference.random_circuits:RandomAnsatz"], "it needs seed, wires"),
        (["draw", "collections:OrderedDict"], "derived from hybridq.circuits.AbstractAnsatz"),
        (
            ["draw", "hybridq.layers:QuantumAttention"],
            "derived from hybridq.circuits.AbstractAnsatz",
        ),
        (
            ["draw", "hybridq.circuits:AbstractAnsatz"],
            "derived from hybridq.circuits.AbstractAnsatz",
        ),
        (["draw", "hybridq.circuits:Circuit"], "derived from hybridq.circuits.AbstractAnsatz"),
        (["report", "no-such-folder"], "no-such-folder"),
    ],
)
def test_errors_of_ours_are_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_modules_in_the_current_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ansatz_of_my_own.py").write_text("from hybridq.circuits import RyRzCnot as Mine\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    result = run("draw", "ansatz_of_my_own:Mine")
    assert result.exit_code == 0, result.stderr
    assert "RY(w0+x0)" in result.stdout


def test_drawing_from_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_ansatz.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = run("draw", "broken_ansatz:Mine")
    assert result.exit_code == 2
    assert (
        "ansatz='broken_ansatz:Mine': importing it fails with ModuleNotFoundError" in result.stderr
    )
    assert "no_such_module" in result.stderr


def test_report_takes_seeds_together(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for lr in (0.1, 0.2):
        for seed in (0, 1):
            run_ = Run.create(
                tmp_path, f"lr{lr}-seed{seed}", {"optimizer": {"lr": lr}, "seed": seed, "batch": 32}
            )
            for epoch in range(3):
                run_.log(kind="evaluation", epoch=epoch, test_accuracy=0.5 + lr * epoch)
            run_.finish({"test_accuracy": 0.5 + 2 * lr + 0.01 * seed})
    result = run("report", str(tmp_path))
    assert result.exit_code == 0, result.output
    page = Path(result.stdout.strip())
    assert page == tmp_path / "report.html"
    text = page.read_text()
    assert "4 runs of 2 settings, 4 finished." in text
    assert "optimizer.lr 0.1" in text
    assert "0.7050" in text, "the mean of the two seeds"
    assert (tmp_path / "test-accuracy.png").read_bytes().startswith(PNG)
    elsewhere = tmp_path / "elsewhere"
    assert run("report", str(tmp_path / "lr0.1-seed0"), "--output", str(elsewhere)).exit_code == 0
    assert "1 run of 1 setting, 1 finished." in (elsewhere / "report.html").read_text()


def test_report_of_a_folder_without_runs(tmp_path: Path) -> None:
    result = run("report", str(tmp_path))
    assert result.exit_code == 2
    assert "there are no runs" in result.stderr


def test_doctor_finds_nothing_wrong_here() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("OK")
    assert re.search(r"torch +│ \d", result.stdout)


def test_doctor_reports_a_wrong_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_self_test", lambda device: float("nan"))
    result = run("doctor")
    assert result.exit_code == 1
    assert "problem: the engine on cpu deviates" in result.stdout


def test_the_self_test_sees_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = cli.resolve("statevector").__class__._evaluate
    monkeypatch.setattr(
        cli.resolve("statevector").__class__, "_evaluate", lambda *a: evaluate(*a) * (1 + 1e-9)
    )
    assert cli._self_test("cpu") > cli._TOLERANCE


def test_doctor_reports_a_data_directory_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDQ_DATA", "no/such/directory")
    result = run("doctor")
    assert result.exit_code == 1
    assert "HYBRIDQ_DATA" in result.stdout


def test_doctor_reports_conflicting_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_found", lambda name: "1.0")
    result = run("doctor")
    assert result.exit_code == 1
    assert "another project with the same import name" in result.stdout
    assert "qiskit-aer-gpu share a folder" in result.stdout


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = {
        extra: tuple(re.split(r"[>=<]", requirement)[0] for requirement in requirements)
        for extra, requirements in project["optional-dependencies"].items()
        if extra not in ("dev", "gpu")  # gpu is listed among the backends
    }
    assert declared == cli._EXTRAS
    core = {re.split(r"[>=<]", requirement)[0] for requirement in project["dependencies"]}
    assert set(cli._CORE) <= core
