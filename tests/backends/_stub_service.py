"""IBM's service on a folder: all above the network is the runtime's own; jobs outlive a process.

The account, devices, jobs, encoding and decoding are `qiskit_ibm_runtime`'s classes. What is ours
is `StubClient`, in the place of the client that speaks HTTP: it keeps jobs as files, runs what it
was sent when the result is asked for, and writes one line to `submissions.txt` for each job that it
accepts.
"""

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import qiskit_ibm_runtime
from ibm_quantum_schemas.common import CompressedTensorModel
from ibm_quantum_schemas.executor.version_2_0 import QuantumProgramResultModel
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import Account
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.fake_provider.executor.run_quantum_program import run_quantum_program
from qiskit_ibm_runtime.options_models.simulator import SimulatorOptions
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic.quantum_program import SamplexItem

INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/account:instance::"
DEVICE = "ibm_manila"
SECONDS = 2.5  # what every job is said to have used
_CALIBRATIONS = Path(qiskit_ibm_runtime.__file__).parent / "fake_provider" / "backends" / "manila"


class StubClient:
    """A service on a folder.

    Args:
        folder: Its jobs.
        delay: Seconds that a job takes.
        answer: Seconds between accepting a job and answering.
    """

    def __init__(self, folder: Path, delay: float = 0.0, answer: float = 0.0) -> None:
        self.folder, self.delay, self.answer = folder, delay, answer
        self._instance = INSTANCE
        self.failures: list[Exception] = []  # raised, first to last, instead of accepting a job
        self.lost_answers = 0  # of jobs that are accepted all the same
        self.ends: dict[str, Any] = {"status": "Completed"}
        self.usage: dict[str, Any] = {"qpu_charge_time_seconds": SECONDS, "status": "complete"}
        self.sessions = True
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def submissions(self) -> list[str]:
        log = self.folder / "submissions.txt"
        return log.read_text().splitlines() if log.exists() else []

    def program_run(self, **request: Any) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        job = {"id": uuid.uuid4().hex, "created": time.time(), "status": "Queued"}
        job |= {
            name: request[name]
            for name in ("program_id", "backend_name", "params", "job_tags", "session_id")
        }
        self._write(job)
        with (self.folder / "submissions.txt").open("a") as log:
            log.write(f"{job['id']} {' '.join(job['job_tags'])}\n")
        time.sleep(self.answer)
        if self.lost_answers:
            self.lost_answers -= 1
            raise RequestsApiError("Connection aborted", -1)
        return {"id": job["id"], "backend": DEVICE}

    def job_get(self, job_id: str, exclude_params: bool = True) -> dict[str, Any]:
        path = self.folder / f"{job_id}.json"
        if not path.exists():
            raise RequestsApiError("Job not found", 404)
        return self._describe(json.loads(path.read_text()))

    def jobs_get(self, *, limit: int, job_tags: list[str], **_: Any) -> dict[str, Any]:
        jobs = [json.loads(path.read_text()) for path in self.folder.glob("*.json")]
        found = [self._describe(job) for job in jobs if set(job_tags) <= set(job["job_tags"])]
        return {"jobs": found[:limit], "count": len(found)}

    def job_results(self, job_id: str) -> str:
        if self.ends["status"] != "Completed":
            return "Traceback: the control electronics have failed"
        job = json.loads((self.folder / f"{job_id}.json").read_text())
        converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS[job["params"]["schema_version"]]
        program, _ = converter.decoder(converter.model.model_validate(job["params"]))
        for item in program.items:
            if isinstance(item, SamplexItem):
                item.samplex.finalize()
        options = SimulatorOptions(seed_simulator=int(job_id[:7], 16), angle_decimals=15)
        result = run_quantum_program(FakeManilaV2(), program, options)
        items = [
            {
                "results": {n: CompressedTensorModel.from_numpy(v) for n, v in item.items()},
                "metadata": {},
            }
            for item in result
        ]
        return QuantumProgramResultModel(
            data=items,
            metadata={"chunk_timing": []},
            passthrough_data=job["params"]["quantum_program"]["passthrough_data"],
            semantic_role=job["params"]["quantum_program"]["semantic_role"],
        ).model_dump_json()

    def job_metadata(self, job_id: str) -> dict[str, Any]:
        return {"usage": self.usage, "timestamps": {}}

    def job_cancel(self, job_id: str) -> None:
        job = json.loads((self.folder / f"{job_id}.json").read_text())
        self._write(job | {"status": "Cancelled"})

    def cloud_usage(self) -> dict[str, Any]:
        return {}

    def list_backends(self, include_mocks: bool = False) -> list[dict[str, Any]]:
        return [{"name": DEVICE, "qubits": 5, "status": {"name": "online"}, "queue_length": 0}]

    def backend_configuration(self, backend_name: str, **_: Any) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((_CALIBRATIONS / "conf_manila.json").read_text())
        return content | {"backend_name": DEVICE, "simulator": False}

    def backend_properties(self, backend_name: str, **_: Any) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((_CALIBRATIONS / "props_manila.json").read_text())
        return content | {"backend_name": DEVICE}

    def backend_status(self, backend_name: str) -> dict[str, Any]:
        status = {"backend_name": DEVICE, "backend_version": "1", "operational": True}
        return status | {"pending_jobs": 0, "status_msg": "active"}

    def create_session(
        self, backend: str, instance: str, max_time: int | None, mode: str
    ) -> dict[str, Any]:
        if mode == "dedicated" and not self.sessions:
            raise RequestsApiError(
                "403 Client Error. "
                "You are not authorized to run a session when using the open plan",
                403,
            )
        return {"id": f"session-{uuid.uuid4().hex}"}

    def close_session(self, session_id: str) -> None:
        (self.folder / "closed.txt").write_text(session_id)

    def _describe(self, job: dict[str, Any]) -> dict[str, Any]:
        state = (
            {"status": "Queued"} if time.time() < job["created"] + self.delay else dict(self.ends)
        )
        if job["status"] == "Cancelled":
            state = {"status": "Cancelled"}
        created = datetime.fromtimestamp(job["created"], UTC).isoformat()
        described = {
            "id": job["id"],
            "backend": DEVICE,
            "program": {"id": job["program_id"]},
            "tags": job["job_tags"],
        }
        return described | {"state": state, "created": created, "session_id": job["session_id"]}

    def _write(self, job: dict[str, Any]) -> None:
        path = self.folder / f"{job['id']}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(job))
        new.rename(path)


class StubService(QiskitRuntimeService):
    """The runtime's service with a `StubClient`; the network is not asked what the account has."""

    def __init__(self, client: StubClient) -> None:
        self._account = Account(token="not-a-token", instance=INSTANCE)  # noqa: S106
        self._channel, self._region, self._plans_preference, self._tags = (
            "ibm_quantum_platform",
            None,
            None,
            None,
        )
        self._all_instances = [
            {"crn": INSTANCE, "name": "mine", "plan": "open", "tags": [], "pricing_type": "free"}
        ]
        self._saved_instances, self._instance_auto, self._default_instance = [], True, True
        self._backend_configs, self._backends_info_per_instance, self._backend_instance_groups = (
            {},
            {},
            [],
        )
        self._active_api_client = client  # type: ignore[assignment]
        self._api_clients = {INSTANCE: client}  # type: ignore[dict-item]

    @property
    def channel(self) -> str:
        return "ibm_quantum_platform"
