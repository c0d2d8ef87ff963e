"""IBM's service: the account, the device and its jobs.

Errors of the service become errors of hybridq here, and no token gets into a message.
"""

import os
import re
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NoReturn, TypeVar

from hybridq.backends._ibm.local import is_local, local_device
from hybridq.errors import BackendUnavailable, HybridqError, InvalidArgument, UnknownName, require

__all__ = [
    "Mode",
    "Runtime",
    "Unreachable",
    "check_account",
    "clean",
    "has_failed",
    "is_network",
    "patiently",
    "usage",
]

Mode = Literal["job", "batch", "session"]
T = TypeVar("T")

_CHANNELS = ("ibm_quantum_platform", "ibm_cloud")
_CRN = re.compile(r"crn:v1:[^:]*:[^:]*:quantum-computing:[^:]*:a/[^:]+:[^:]+:[^:]*:[^:]*")
_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds between attempts while the network is down
_UNREACHABLE = (-1, 500, 502, 503, 504, 520, 522, 524)  # -1: there was no answer


class Unreachable(BackendUnavailable):
    """IBM's service could not be reached, so that it is not known whether a job was taken."""


@dataclass(eq=False)
class Runtime:
    """A device of an account, or a local one.

    Args:
        name: "least_busy", the name of a device, or of a local one.
        instance: The service instance, by its CRN or its name; None takes the account's.
        channel: The channel; None takes the account's.
        mode: How jobs are grouped. Without meaning for a local device.
        n_qubits: What "least_busy" must have.
    """

    name: str
    instance: str | None
    channel: str | None
    mode: Mode
    n_qubits: int = 1
    _closing: Callable[[], Any] | None = field(default=None, init=False)

    @property
    def local(self) -> bool:
        """Whether jobs run in this process, at no cost."""
        return is_local(self.name)

    @cached_property
    def device(self) -> Any:
        """The Qiskit backend.

        Raises:
            InvalidArgument: If channel or instance cannot be used.
            UnknownName: If the account has no such device.
            BackendUnavailable: If there is no account, or IBM cannot be reached or refuses.
        """
        if self.local:
            return local_device(self.name)
        try:
            if self.name == "least_busy":
                return self._service.least_busy(
                    min_num_qubits=self.n_qubits, operational=True, simulator=False
                )
            return self._service.backend(self.name)
        except require("qiskit.providers.exceptions", "ibm").QiskitBackendNotFoundError:
            self._unknown()
        except _failures() as error:
            _refuse(error, f"device={self.name!r}")

    @cached_property
    def channel_of_jobs(self) -> Any:
        """The mode of a primitive: the device, or a batch or session on it.

        The batch or session is opened when it is first used.

        Raises:
            BackendUnavailable: If the plan has no sessions, or IBM cannot be reached.
        """
        if self.local or self.mode == "job":
            return self.device
        runtime = require("qiskit_ibm_runtime", "ibm")
        kind = runtime.Batch if self.mode == "batch" else runtime.Session
        device = self.device
        try:
            opened = kind(backend=device)
        except _failures() as error:
            if is_network(error):
                _refuse(error, f"mode={self.mode!r}")
            raise BackendUnavailable(
                f"mode={self.mode!r}: IBM does not open a {self.mode} on {device.name!r}: "
                f"{clean(error)}. The open plan has no sessions: use mode='job' or mode='batch'"
            ) from None
        # A session charges the time that it is open.
        self._closing = weakref.finalize(self, opened.close)
        return opened

    def close(self) -> None:
        """Close the batch or session, if one is open. Jobs that were sent run on."""
        if self._closing is not None:
            del self.channel_of_jobs
            patiently(self._closing, f"closing the {self.mode}")
            self._closing = None

    def fetch(self, job_id: str) -> Any:
        """Return the job of an id; None if it was a local one of another process.

        Raises:
            BackendUnavailable: If the service does not know it, or cannot be reached.
        """
        if self.local:
            return None
        return patiently(lambda: self._service.job(job_id), f"fetching job {job_id}")

    def adopt(self, tag: str) -> Any:
        """Return the job that carries a tag, or None. One attempt: errors are the service's."""
        if self.local:
            return None
        if self.name == "least_busy":  # which may be a device of another instance now
            instances = [instance["crn"] for instance in self._service.instances()]
        else:
            instances = [self.device._instance]
        jobs = [
            job
            for crn in instances
            for job in self._service.jobs(limit=1, job_tags=[tag], instance=crn)
        ]
        return jobs[0] if jobs else None

    @cached_property
    def _service(self) -> Any:
        check_account(self.channel, self.instance)
        service = require("qiskit_ibm_runtime", "ibm").QiskitRuntimeService
        named = {"channel": self.channel, "instance": self.instance}
        options = {option: value for option, value in named.items() if value is not None}
        try:
            return service(**options)
        except AttributeError:
            # The runtime raises this for an instance in the account file that is no CRN.
            way_out = "the account's instance is not a CRN; save it again"
            raise InvalidArgument.of("instance", self.instance, way_out) from None
        except require("qiskit_ibm_runtime.exceptions", "ibm").IBMInputValueError as error:
            reason = f"IBM refuses it: {clean(error)}"
            raise InvalidArgument.of("instance", self.instance, reason) from None
        except require("qiskit_ibm_runtime.accounts.exceptions", "ibm").AccountNotFoundError:
            raise BackendUnavailable(
                f"device={self.name!r}: there is no IBM account here. Set QISKIT_IBM_TOKEN, or "
                "save an account with QiskitRuntimeService.save_account(); without one, simulate a "
                "device: 'ibm:fake_torino,shots=4096'"
            ) from None
        except _failures() as error:
            _refuse(error, f"device={self.name!r}")

    def _unknown(self) -> NoReturn:
        names = [device.name for device in patiently(self._service.backends, "listing the devices")]
        if self.name == "least_busy":
            raise BackendUnavailable(
                f"device='least_busy': none of the devices of this account has {self.n_qubits} "
                f"qubits and works: {names}"
            ) from None
        raise UnknownName.among("device of this account", self.name, names) from None


def patiently(action: Callable[[], T], what: str) -> T:
    """Do an action, and again while the network is down, with growing pauses; a refusal is final.

    Args:
        action: The action.
        what: Its name in an error message.

    Raises:
        BackendUnavailable: If the service refuses, or cannot be reached for a minute.
    """
    for delay in _DELAYS:
        try:
            return action()
        except _failures() as error:
            if not is_network(error):
                _refuse(error, what)
        time.sleep(delay)
    try:
        return action()
    except _failures() as error:
        _refuse(error, what)


def is_network(error: BaseException | None) -> bool:
    """Tell whether an error, or its cause, is that the service could not be reached."""
    requests, api = require("requests", "ibm"), require("qiskit_ibm_runtime.api.exceptions", "ibm")
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, (requests.ConnectionError, requests.Timeout)):
            return True
        if isinstance(error, api.RequestsApiError) and error.status_code in _UNREACHABLE:
            return True
        error = error.__cause__ or error.__context__
    return False


def has_failed(error: BaseException) -> bool:
    """Tell whether an error says that a job has ended without a result."""
    kinds = require("qiskit_ibm_runtime.exceptions", "ibm")
    ended = (
        kinds.RuntimeJobFailureError,
        kinds.RuntimeJobMaxTimeoutError,
        kinds.RuntimeInvalidStateError,
    )
    return isinstance(error, ended)


def usage(job: Any) -> float | None:
    """Return the QPU seconds of a job; None while the service has not decided."""
    charged = patiently(job.metrics, "asking for a job's usage").get("usage", {})
    if charged.get("status", "complete") == "pending":
        return None
    seconds = charged.get("qpu_charge_time_seconds", charged.get("quantum_seconds"))
    return None if seconds is None else float(seconds)


def check_account(channel: str | None, instance: str | None) -> None:
    """Refuse an account that the runtime would refuse with a misleading error.

    The network is not asked.

    Raises:
        InvalidArgument: If the channel is retired or unknown, or the instance begins like a CRN and
            is none.
    """
    given = channel or os.environ.get("QISKIT_IBM_CHANNEL")
    if given is not None and given not in _CHANNELS:
        is_retired = given == "ibm_quantum"
        reason = "IBM has retired this channel" if is_retired else "there is no such channel"
        way_out = "choose 'ibm_quantum_platform', with an API key of https://quantum.cloud.ibm.com"
        raise InvalidArgument.of("channel", given, f"{reason}; {way_out}")
    instance = instance or os.environ.get("QISKIT_IBM_INSTANCE")
    if instance is not None and instance.startswith("crn:") and not _CRN.fullmatch(instance):
        way_out = (
            "a CRN has ten parts, as in "
            "crn:v1:bluemix:public:quantum-computing:us-east:a/ACCOUNT:INSTANCE::; copy it from "
            "https://quantum.cloud.ibm.com/instances, or give the instance's name"
        )
        raise InvalidArgument.of("instance", instance, way_out)


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors that the runtime and its own libraries raise."""
    return (
        require("qiskit.exceptions", "ibm").QiskitError,
        require("requests", "ibm").RequestException,
        require("ibm_cloud_sdk_core", "ibm").ApiException,
    )


def _refuse(error: Exception, what: str) -> NoReturn:
    """Raise our error. The runtime's own, whose chain may hold what was sent, stays behind."""
    if isinstance(error, HybridqError):
        raise error
    if is_network(error):  # the runtime itself says then that the token is not valid
        raise Unreachable(
            f"{what}: IBM's service cannot be reached. Check the network (iam.cloud.ibm.com and "
            "quantum.cloud.ibm.com must be reachable); the token was not judged. A job that was "
            "sent is in the journal: run again to fetch it"
        ) from None
    accounts = require("qiskit_ibm_runtime.accounts.exceptions", "ibm")
    refused = (
        accounts.InvalidAccountError,
        require("qiskit_ibm_runtime.exceptions", "ibm").IBMNotAuthorizedError,
    )
    if isinstance(error, refused):
        raise BackendUnavailable(
            f"{what}: IBM refuses the account: {clean(error)}. Check QISKIT_IBM_TOKEN or the saved "
            "account, and the instance"
        ) from None
    raise BackendUnavailable(f"{what}: {clean(error)}") from None


def clean(error: BaseException) -> str:
    """Return an error's text without tokens."""
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    for token in _tokens():
        text = text.replace(token, "***")
    return text.strip().rstrip(".")


def _tokens() -> set[str]:
    service = require("qiskit_ibm_runtime", "ibm").QiskitRuntimeService
    saved = {account.get("token") for account in service.saved_accounts().values()}
    return {token for token in (os.environ.get("QISKIT_IBM_TOKEN"), *saved) if token}
