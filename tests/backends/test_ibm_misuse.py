"""What goes wrong with an account, a device or a plan is an error of ours, and shows no token."""

import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch

from hybridq.backends import resolve
from hybridq.circuits import Circuit, RealAmplitudes, RyRzCnot
from hybridq.errors import BackendUnavailable, HybridqError, InvalidArgument, UnknownName

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("qiskit_aer")

import qiskit_ibm_runtime.accounts.management as accounts
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError
from requests import ConnectionError as NoConnection

from hybridq.backends.ibm import Ibm
from tests.backends._killed import use
from tests.backends._stub_service import DEVICE, StubClient

TOKEN = "s3cr3t-t0k3n-of-nobody"  # noqa: S105
CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/account:instance::"


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account file of our own, without accounts; no account in the environment."""
    path = tmp_path / "accounts.json"
    monkeypatch.setattr(accounts, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(path))
    for name in ("TOKEN", "CHANNEL", "INSTANCE", "URL"):
        monkeypatch.delenv(f"QISKIT_IBM_{name}", raising=False)
    return path


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubClient:
    client = StubClient(tmp_path / "service")
    use(client, monkeypatch.setattr)
    return client


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """IBM's hosts cannot be found, also where these tests run with a network."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NoConnection(f"Failed to resolve 'iam.cloud.ibm.com' with {TOKEN}")

    monkeypatch.setattr("requests.Session.request", refuse)


def evaluate(path: Path, device: str = DEVICE, n_qubits: int = 2, **options: Any) -> Any:
    circuit = Circuit(RyRzCnot(n_qubits=n_qubits, n_layers=1))
    backend = Ibm(device, **{"shots": 64, "journal": path / "jobs.sqlite", **options})
    return backend.evaluate(circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape))


def test_no_account(tmp_path: Path) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"no IBM account.*QISKIT_IBM_TOKEN.*ibm:fake_torino"
    ):
        evaluate(tmp_path)


@pytest.mark.parametrize("instance", [None, CRN, "my-instance"])
def test_a_token_without_network(
    tmp_path: Path, monkeypatch: Any, offline: None, instance: str | None
) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    with pytest.raises(
        BackendUnavailable, match=r"cannot be reached. Check the network.*the token was not judged"
    ):
        evaluate(tmp_path, instance=instance)


@pytest.mark.parametrize(
    "instance", ["crn:v1:foo", "crn:v1:bluemix:public:quantum-computing:us-east:a/account"]
)
def test_a_malformed_instance(tmp_path: Path, monkeypatch: Any, instance: str) -> None:
    """The runtime raises AttributeError, or asks the network."""
    with pytest.raises(InvalidArgument, match=r"instance='crn:.*ten parts"):
        evaluate(tmp_path, instance=instance)
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", instance)
    with pytest.raises(InvalidArgument, match=r"instance='crn:.*ten parts"):
        evaluate(tmp_path)


def test_a_malformed_instance_in_the_account_file(tmp_path: Path, account: Path) -> None:
    saved = {"channel": "ibm_quantum_platform", "token": TOKEN, "instance": "crn:v1:foo"}
    account.write_text(json.dumps({"default-ibm-quantum-platform": saved}))
    with pytest.raises(InvalidArgument, match=r"instance.*is not a CRN"):
        evaluate(tmp_path)


def test_an_instance_that_the_account_does_not_have(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    monkeypatch.setattr("qiskit_ibm_runtime.accounts.Account.list_instances", lambda self: [])
    for instance in ("mine", CRN):
        with pytest.raises(InvalidArgument, match=f"instance='{instance}': IBM refuses it"):
            evaluate(tmp_path, instance=instance)


@pytest.mark.parametrize(
    ("channel", "reason"), [("ibm_quantum", "has retired"), ("aws", "no such channel")]
)
def test_a_retired_channel(tmp_path: Path, monkeypatch: Any, channel: str, reason: str) -> None:
    with pytest.raises(
        InvalidArgument, match=f"channel='{channel}'.*{reason}.*ibm_quantum_platform"
    ):
        evaluate(tmp_path, channel=channel)
    monkeypatch.setenv("QISKIT_IBM_CHANNEL", channel)
    with pytest.raises(InvalidArgument, match=f"channel='{channel}'.*{reason}"):
        evaluate(tmp_path)


def test_an_unknown_device(client: StubClient, tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"device of this account 'ibm_manilla'\. Did you mean 'ibm_manila'"
    ):
        evaluate(tmp_path, "ibm_manilla")
    with pytest.raises(UnknownName, match="Did you mean 'fake_manila'"):
        evaluate(tmp_path, "fake_manilla")


def test_the_least_busy_device(client: StubClient, tmp_path: Path) -> None:
    assert evaluate(tmp_path, "least_busy").shape == (1, 2)
    message = r"none of the devices of this account has 6 qubits.*ibm_manila"
    with pytest.raises(BackendUnavailable, match=message):
        evaluate(tmp_path, "least_busy", n_qubits=6)
    circuit = Circuit(RyRzCnot(n_qubits=6, n_layers=1))
    backend = Ibm("least_busy", shots=64, journal=tmp_path / "jobs.sqlite")
    with pytest.raises(BackendUnavailable, match=message):
        backend.estimate(circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape))


@pytest.mark.parametrize("device", [DEVICE, "fake_manila"])
def test_a_circuit_wider_than_the_device(client: StubClient, tmp_path: Path, device: str) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"n_qubits=6: the device '\w+_manila' has 5 qubits"
    ):
        evaluate(tmp_path, device, n_qubits=6)


@pytest.mark.parametrize("device", [DEVICE, "fake_manila"])
def test_shots_above_the_limit_of_the_device(
    client: StubClient, tmp_path: Path, device: str
) -> None:
    with pytest.raises(InvalidArgument, match=r"shots=100001.*takes at most 100000"):
        evaluate(tmp_path, device, shots=100_001)
    assert not client.submissions


def test_a_session_that_the_plan_does_not_allow(client: StubClient, tmp_path: Path) -> None:
    client.sessions = False
    with pytest.raises(
        BackendUnavailable, match=r"mode='session'.*open plan.*mode='job' or mode='batch'"
    ):
        evaluate(tmp_path, mode="session")
    assert not client.submissions
    assert evaluate(tmp_path, mode="batch").shape == (1, 2)


def test_a_readout_that_cannot_be_measured() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=1, n_layers=1), RealAmplitudes())
    with pytest.raises(BackendUnavailable, match="amplitudes cannot be measured on backend 'ibm'"):
        resolve("ibm:fake_manila,shots=64").evaluate(
            circuit, torch.zeros(1, 1), torch.zeros(circuit.weight_shape)
        )


def test_no_token_in_any_log_record_or_traceback(
    tmp_path: Path, monkeypatch: Any, offline: None, caplog: Any, account: Path
) -> None:
    """The errors of the account are made to hold the token, as an answer of the service might."""
    caplog.set_level(logging.DEBUG)
    account.write_text(
        json.dumps(
            {"default-ibm-quantum-platform": {"channel": "ibm_quantum_platform", "token": TOKEN}}
        )
    )
    seen = []

    def fail(**options: Any) -> None:
        with pytest.raises(HybridqError) as caught:
            evaluate(tmp_path, **options)
        seen.append("".join(traceback.format_exception(caught.value)))

    fail()
    fail(instance=CRN)
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    fail()
    client = StubClient(tmp_path / "service")
    use(client, monkeypatch.setattr)
    client.failures = [InvalidAccountError(f"Invalid token {TOKEN}")]
    fail()
    evaluate(tmp_path)
    backend = Ibm(DEVICE, shots=64, journal=tmp_path / "jobs.sqlite")
    seen += [repr(backend), json.dumps(backend.provenance()), caplog.text, str(vars(backend))]
    seen += [
        path.read_bytes().decode("latin-1")
        for path in tmp_path.rglob("*")
        if path.is_file() and path != account
    ]
    assert "***" in "".join(seen), "the message with the token was shown without it"
    assert not [text for text in seen if TOKEN in text]
