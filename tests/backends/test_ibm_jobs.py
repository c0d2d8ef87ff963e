"""Jobs of the `ibm` backend on a stub service: sent once, found again, paid once."""

import json
import resource
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from hybridq.backends import resolve
from hybridq.backends._ibm.journal import Journal
from hybridq.circuits import Circuit, RyRzCnot
from hybridq.cli.jobs import jobs
from hybridq.errors import BackendUnavailable, BudgetExceeded, DataCorrupted

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")

from requests import ConnectionError as NoConnection

from hybridq.backends.ibm import Ibm
from tests.backends._killed import use
from tests.backends._stub_service import DEVICE, SECONDS, StubClient

CIRCUIT = Circuit(RyRzCnot(n_qubits=2, n_layers=1))
INPUTS = torch.linspace(0, 2, 3, dtype=torch.float64)[:, None]
WEIGHTS = torch.full(CIRCUIT.weight_shape, 0.3, dtype=torch.float64)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubClient:
    client = StubClient(tmp_path / "service")
    use(client, monkeypatch.setattr)
    monkeypatch.setattr("hybridq.backends._ibm.runtime._DELAYS", (0.0, 0.0))
    return client


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What the process has been given is forgotten, as when it starts again."""
    return lambda: monkeypatch.setattr("hybridq.backends._ibm.journal._delivered", Counter())


def backend(path: Path, **options: Any) -> Ibm:
    return Ibm(**{"device_name": DEVICE, "shots": 256, "journal": path / "jobs.sqlite", **options})


def run(device: Ibm) -> Tensor:
    return device.evaluate(CIRCUIT, INPUTS, WEIGHTS)


def test_a_job_is_sent_once_and_its_result_is_kept(
    client: StubClient, again: Callable[[], None], tmp_path: Path
) -> None:
    first = backend(tmp_path)
    outputs = [run(first) for _ in range(2)]
    assert not torch.equal(*outputs), "asking twice draws new shots"
    assert len(client.submissions) == first.jobs_run == 2
    again()
    second = backend(tmp_path)
    assert torch.equal(torch.stack([run(second) for _ in range(2)]), torch.stack(outputs))
    assert (len(client.submissions), second.jobs_run, second.n_circuits_run) == (2, 0, 0)
    run(second)
    assert len(client.submissions) == 3, "what was never given is new"
    again()
    run(backend(tmp_path, seed=1))
    assert len(client.submissions) == 4, "another seed asks for other results"


def test_what_was_run_needs_no_account(
    client: StubClient, again: Callable[[], None], tmp_path: Path, monkeypatch: Any
) -> None:
    outputs = run(backend(tmp_path))
    again()
    monkeypatch.setattr(
        "hybridq.backends._ibm.runtime.Runtime._service",
        property(lambda _: pytest.fail("it connects")),
    )
    assert torch.equal(run(backend(tmp_path)), outputs)


@pytest.mark.parametrize("mitigated", ["", "+mitigated"])
def test_the_values_are_those_of_the_device(
    client: StubClient, tmp_path: Path, mitigated: str
) -> None:
    """They go through the runtime's encoding and a simulated device; the reference is exact."""
    device: Any = resolve(f"ibm:{DEVICE}{mitigated},shots=65536,journal={tmp_path / 'jobs.sqlite'}")
    values, errors = device.evaluate_with_errors(CIRCUIT, INPUTS, WEIGHTS)
    noisy, ideal = (
        resolve(name).evaluate(CIRCUIT, INPUTS, WEIGHTS)
        for name in ("aer:noise=fake_manila", "statevector")
    )
    if not mitigated:
        assert bool(((values - noisy).abs() < 5 * errors).all())
    # How much of the noise is left: 1.00 +- 0.04; mitigated 0.13, which the gates make, +- 0.1 over
    # the twirls.
    left = ((values - ideal) * (noisy - ideal)).sum() / (noisy - ideal).square().sum()
    assert left < 0.6 if mitigated else left > 0.8
    assert device.provenance()["physical_qubits"] == [[3, 4]], (
        "the layout comes from the calibration"
    )


def test_actual_usage_is_recorded_beside_the_estimate(client: StubClient, tmp_path: Path) -> None:
    device = backend(tmp_path)
    estimate = device.estimate(CIRCUIT, INPUTS, WEIGHTS)
    run(device)
    client.usage = {"quantum_seconds": 1.5}  # what other jobs call it
    run(device)
    client.usage = {"qpu_charge_time_seconds": 9.0, "status": "pending"}
    run(device)
    rows = Journal(device.journal).entries()
    assert [row.used_seconds for row in rows] == [SECONDS, 1.5, None]
    assert {row.estimated_seconds for row in rows} == {estimate.qpu_seconds}
    assert device.spent() == pytest.approx(SECONDS + 1.5 + estimate.qpu_seconds)
    record = device.provenance()
    assert (record["qpu_seconds"], len(record["jobs"])) == (SECONDS + 1.5, 3)


def test_the_budget_covers_the_run_also_when_it_starts_again(
    client: StubClient, again: Callable[[], None], tmp_path: Path
) -> None:
    client.usage = {"qpu_charge_time_seconds": 30.0}
    run(backend(tmp_path, max_qpu_seconds=33))
    again()
    device = backend(tmp_path, max_qpu_seconds=31)
    run(device)  # from the journal: it costs nothing
    with pytest.raises(BudgetExceeded, match="has used 30 s") as caught:
        run(device)
    assert caught.value.spent == 30
    assert len(client.submissions) == 1
    assert len(Journal(device.journal).entries()) == 1, "nothing is written down that is not sent"


def test_a_network_that_fails_is_tried_again(client: StubClient, tmp_path: Path) -> None:
    client.failures = [NoConnection("name resolution"), NoConnection("name resolution")]
    run(backend(tmp_path))
    assert len(client.submissions) == 1


@pytest.mark.parametrize("name", [DEVICE, "least_busy"])
def test_a_lost_answer_is_not_paid_twice(client: StubClient, tmp_path: Path, name: str) -> None:
    client.lost_answers = 2
    device = backend(tmp_path, device_name=name)
    run(device)
    assert len(client.submissions) == 1
    assert Journal(device.journal).entries()[0].job_id == client.submissions[0].split()[0]


def test_a_network_that_stays_away_loses_nothing(
    client: StubClient, tmp_path: Path, monkeypatch: Any
) -> None:
    client.lost_answers = 1
    monkeypatch.setattr(StubClient, "jobs_get", _no_connection)
    device = backend(tmp_path)
    with pytest.raises(BackendUnavailable, match=r"sending.*cannot be reached.*run again"):
        run(device)
    monkeypatch.undo()
    use(client, monkeypatch.setattr)
    run(device)
    assert len(client.submissions) == 1, "the same evaluation finds its job"


def test_a_refusal_is_not_tried_again(client: StubClient, tmp_path: Path) -> None:
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError  # noqa: PLC0415

    client.failures = [RequestsApiError("400 Client Error. Circuit too long", 400)]
    device = backend(tmp_path)
    with pytest.raises(BackendUnavailable, match="Circuit too long"):
        run(device)
    assert not client.submissions
    assert [row.state for row in Journal(device.journal).entries()] == ["failed"]
    run(device)
    assert len(client.submissions) == 1


def test_a_job_that_fails_says_why_and_can_be_sent_again(
    client: StubClient, tmp_path: Path
) -> None:
    client.ends = {"status": "Failed", "reason": "the fridge is warm", "reason_code": 1519}
    device = backend(tmp_path)
    with pytest.raises(BackendUnavailable, match=r"job \w+: .*the fridge is warm.*sends a new job"):
        run(device)
    (row,) = Journal(device.journal).entries()
    assert (row.state, row.used_seconds) == ("failed", SECONDS)
    client.ends = {"status": "Completed"}
    run(device)
    assert len(client.submissions) == 2
    assert device.spent() == 2 * SECONDS


def test_an_interrupted_wait_is_taken_up_in_the_same_process(
    client: StubClient, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(StubClient, "job_results", _interrupt)
    device = backend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(device)
    monkeypatch.undo()
    use(client, monkeypatch.setattr)
    run(device)
    assert len(client.submissions) == 1


@pytest.mark.parametrize(("mode", "kind"), [("batch", "Batch"), ("session", "Session")])
def test_batches_and_sessions_are_opened_once_and_closed(
    client: StubClient, tmp_path: Path, mode: Any, kind: str
) -> None:
    device = backend(tmp_path, mode=mode)
    for _ in range(2):
        run(device)
    jobs_sent = [
        json.loads(path.read_text())["session_id"] for path in client.folder.glob("*.json")
    ]
    assert len(set(jobs_sent)) == 1
    assert str(jobs_sent[0]).startswith("session-")
    device.close()
    assert (client.folder / "closed.txt").read_text() == jobs_sent[0]


def test_two_threads_on_one_journal_pay_once(client: StubClient, tmp_path: Path) -> None:
    """Two runs of one program, each with a backend of its own, that share a journal."""
    client.answer = 0.2
    outputs: list[Tensor] = []
    threads = [
        threading.Thread(target=lambda: outputs.append(run(backend(tmp_path)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(*outputs)
    assert len(client.submissions) == 1


def test_a_damaged_journal_sends_nothing(client: StubClient, tmp_path: Path) -> None:
    device = backend(tmp_path)
    run(device)
    assert device.journal is not None
    device.journal.write_bytes(b"?" * 9000)
    with pytest.raises(DataCorrupted, match=r"jobs\.sqlite"):
        run(device)
    assert len(client.submissions) == 1


def test_a_full_disk_sends_nothing(client: StubClient, tmp_path: Path) -> None:
    device = backend(tmp_path)
    run(device)
    assert device.journal is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (1000, hard)
    )  # less than the rollback journal of one row
    try:
        with pytest.raises(
            BackendUnavailable, match=r"jobs\.sqlite: the journal of jobs cannot be used"
        ):
            run(device)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(client.submissions) == 1
    run(device)
    assert len(client.submissions) == 2


def test_killed_while_waiting(tmp_path: Path) -> None:
    """Kill it before the service answers, then while the job runs; then run the program again."""
    assert _killed(tmp_path, ["accepted", "sent"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_anywhere(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert (
        _killed(tmp_path, [f"{moment:.3f}" for moment in rng.uniform(0, 0.8, rng.integers(1, 4))])
        >= 1
    )


@pytest.mark.slow
def test_two_processes_on_one_journal_pay_once(tmp_path: Path) -> None:
    _start(tmp_path, "together")
    results = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2)]
    assert results[0]["outputs"] == results[1]["outputs"]
    assert sum(result["sent"] for result in results) == 2
    assert len((tmp_path / "service" / "submissions.txt").read_text().splitlines()) == 2


def _start(folder: Path, how: str) -> str:
    command = [sys.executable, "-m", "tests.backends._killed", str(folder), how]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def _killed(folder: Path, kills: list[str]) -> int:
    """Check what is left, and say how many processes were killed before they had ended."""
    killed = _start(folder, ",".join(kills)).count("True")
    result = json.loads((folder / "result.json").read_text())
    submissions = (folder / "service" / "submissions.txt").read_text().splitlines()
    assert len(submissions) == 2, "two evaluations, so two jobs, whatever was killed"
    rows = Journal(folder / "jobs.sqlite").entries()
    assert [row.state for row in rows] == ["done", "done"]
    assert [f"{row.job_id} {row.tag}" for row in rows] == submissions
    assert np.array(result["outputs"]).shape == (2, 3, 2)
    return killed


def test_the_commands(client: StubClient, tmp_path: Path) -> None:
    path, runner = tmp_path / "jobs.sqlite", CliRunner()

    def call(*words: str, code: int = 0) -> str:
        result = runner.invoke(jobs, [*words, "--journal", str(path)])
        assert result.exit_code == code, result.output
        return result.output

    assert runner.invoke(jobs, ["list", "--journal", str(path)]).exit_code != 0
    device = backend(tmp_path)
    run(device)
    sent = client.submissions[0].split()[0]
    assert sent in call("list")
    assert "1 job, 2.50 QPU seconds" in call("list")
    shown = call("show", sent)
    assert "circuit_hash" in shown
    assert "estimated_seconds" in shown
    assert call("resume") == "", "there is nothing to do"
    assert isinstance(
        runner.invoke(jobs, ["cancel", sent, "--journal", str(path)]).exception, ValueError
    )


def test_resume_fetches_what_a_killed_process_left(
    client: StubClient, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(StubClient, "job_results", _interrupt)
    for options in ({}, {"readout_mitigation": "trex"}):
        with pytest.raises(KeyboardInterrupt):
            run(backend(tmp_path, **options))
    monkeypatch.undo()
    use(client, monkeypatch.setattr)
    client.usage = {"status": "pending"}
    command = ["--journal", str(tmp_path / "jobs.sqlite")]
    assert CliRunner().invoke(jobs, ["resume", *command]).output.count(": done") == 2
    client.usage = {"quantum_seconds": 3.25, "status": "complete"}
    assert CliRunner().invoke(jobs, ["resume", *command]).output.count("used 3.25 QPU seconds") == 2
    monkeypatch.setattr(
        "hybridq.backends._ibm.runtime.Runtime._service",
        property(lambda _: pytest.fail("it connects")),
    )
    for options in ({}, {"readout_mitigation": "trex"}):
        assert run(backend(tmp_path, **options)).shape == (3, 2)


def test_cancel(client: StubClient, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(StubClient, "job_results", _interrupt)
    device = backend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(device)
    monkeypatch.undo()
    use(client, monkeypatch.setattr)
    sent = client.submissions[0].split()[0]
    assert (
        "cancelled"
        in CliRunner().invoke(jobs, ["cancel", sent, "--journal", str(device.journal)]).output
    )
    assert client.job_get(sent)["state"]["status"] == "Cancelled"
    (row,) = Journal(device.journal).entries()
    assert (row.state, row.key) == ("cancelled", None)


def test_cancelled_while_waiting(client: StubClient, tmp_path: Path) -> None:
    client.ends = {"status": "Cancelled"}
    device = backend(tmp_path)
    with pytest.raises(BackendUnavailable, match="cancelled"):
        run(device)
    assert [row.state for row in Journal(device.journal).entries()] == ["cancelled"]


def _interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def _no_connection(*_: Any, **__: Any) -> Any:
    raise NoConnection("name resolution")
