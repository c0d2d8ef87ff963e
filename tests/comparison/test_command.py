"""The command `hybridq compare`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from hybridq.cli.compare import compare
from hybridq.comparison import CompareOptions
from hybridq.comparison import compare as compare_backends
from hybridq.errors import InvalidArgument

APP = typer.Typer()
APP.command()(compare)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "seed").write_text("0")
    return tmp_path


def invoke(run, backends, *more):
    arguments = [
        "--checkpoint",
        str(run),
        "--backends",
        backends,
        "--loader",
        "tests.comparison._models:load",
        *more,
    ]
    return CliRunner().invoke(APP, arguments, catch_exceptions=True)


def test_the_command_of_the_readme(run):
    backends = "statevector,aer:shots=256,ibm:fake_torino,ibm:fake_torino+mitigated"
    result = invoke(run, backends, "--price-per-minute", "60")
    assert result.exit_code == 0, result.output
    assert "ibm:fake_torino needs shots and names none; it gets 256" in result.output
    record = json.loads((run / "compare" / "compare.json").read_text())
    assert [one["label"] for one in record["backends"]] == [
        "statevector",
        "aer:shots=256",
        "ibm:fake_torino,shots=256",
        "ibm:fake_torino+mitigated,shots=256",
    ]
    for one in record["backends"][1:]:
        assert (one["cost"]["circuits"], one["cost"]["jobs"], one["cost"]["transpilations"]) == (
            15,
            1,
            1,
        )
    assert record["settings"]["price_per_minute"] == 60
    assert "compare.html" in result.output


def test_no_shots_anywhere_is_an_error(run):
    result = invoke(run, "statevector,ibm:fake_torino")
    assert isinstance(result.exception, InvalidArgument)
    assert "--shots" in str(result.exception)
    assert not (run / "compare").exists()


def test_stored_records_and_shots(run):
    quick = CompareOptions(
        shots=100, resamples=100, redraws=2, loader="tests.comparison._models:load"
    )
    earlier = compare_backends(run, "statevector,ibm:aer_simulator", options=quick)
    (run / "old.json").write_text(json.dumps(earlier.to_json()))
    result = invoke(
        run, "statevector", "--stored", str(run / "old.json"), "--output", str(run / "b")
    )
    assert result.exit_code == 0, result.output
    verdicts = json.loads((run / "b" / "compare.json").read_text())["results"]
    assert len(verdicts) == 3
    assert any(label.startswith("ibm:aer_simulator,shots=100 (") for label in verdicts)
